"""Base class of the asyncio client: its connection, and the methods of CatalogService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

from cofactor_client import _request_messages as build
from cofactor_client import _response_parsing as parse
from cofactor_client._aio_transport import AsyncTransport, iterate_pages
from cofactor_client._catalog_types import Item, ItemMap, ItemPage, Model, ModelDescription, ModelPage, ServingLimits
from cofactor_client._channel import Connection, Tls
from cofactor_client._request_types import ModelLike, Order


class AsyncCatalogClient:
    """Connection to the servers, and the methods of CatalogService. Base class of AsyncClient."""

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:50051",
        *,
        model: ModelLike = None,
        timeout: float | None = 10.0,
        tls: Tls | None = None,
        token: str | Callable[[], str] | None = None,
        max_message_bytes: int = 16 * 2**20,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._model = model
        self._transport = AsyncTransport(
            Connection(address, timeout, tls, token, max_message_bytes, tuple(channel_options))
        )
        self._limits: ServingLimits | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel the calls in flight and close the connections."""
        await self._transport.close()

    async def wait_until_ready(self, timeout: float = 30.0) -> None:
        """Wait until a server is reachable and its health is SERVING.

        Raises UnavailableError after `timeout` seconds.
        """
        await self._transport.wait_until_ready(timeout)

    async def search_items(
        self,
        query: str,
        k: int = 10,
        *,
        page_token: str = "",
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> ItemPage:
        """Search for items by words, or beginnings of words, of their title. Ignores case and accents."""
        request = build.search_items(self._resolve_model(model), query, k, page_token)
        return parse.item_page(await self._transport.call(self._transport.catalog.SearchItems, request, timeout))

    def iter_search_items(
        self, query: str, *, page_size: int = 100, model: ModelLike = None, timeout: float | None = None
    ) -> AsyncIterator[Item]:
        """Iterate over every item that matches, best match first. Fetches a page when it is needed."""
        return iterate_pages(
            lambda token: self.search_items(query, page_size, page_token=token, model=model, timeout=timeout)
        )

    async def top_items(
        self,
        order: Order = "highest-bias",
        k: int = 10,
        *,
        page_token: str = "",
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> ItemPage:
        """List the items that users in general like best or least, or have rated most, or to ask new users about."""
        request = build.top_items(self._resolve_model(model), order, k, page_token)
        return parse.item_page(await self._transport.call(self._transport.catalog.ListTopItems, request, timeout))

    def iter_top_items(
        self,
        order: Order = "highest-bias",
        *,
        page_size: int = 100,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Item]:
        """Iterate over the whole catalogue in the given order. Fetches a page when it is needed."""
        return iterate_pages(
            lambda token: self.top_items(order, page_size, page_token=token, model=model, timeout=timeout)
        )

    async def item_map(self, max_items: int = 0, *, model: ModelLike = None, timeout: float | None = None) -> ItemMap:
        """Get the map of the most rated items, on which items that the same people like are close together.

        `max_items` is 0 for all items on the map. Raises ItemMapUnsupportedError for a version without a map.
        """
        request = build.item_map(self._resolve_model(model), max_items)
        return parse.item_map(await self._transport.call(self._transport.catalog.GetItemMap, request, timeout))

    async def get_model(self, *, model: ModelLike = None, timeout: float | None = None) -> ModelDescription:
        """Describe one model and the server's limits."""
        request = build.get_model(self._resolve_model(model))
        return parse.model_description(await self._transport.call(self._transport.catalog.GetModel, request, timeout))

    async def list_models(self, k: int = 10, *, page_token: str = "", timeout: float | None = None) -> ModelPage:
        """List the loaded model versions, by name, newest version first."""
        request = build.list_models(k, page_token)
        return parse.model_page(await self._transport.call(self._transport.catalog.ListModels, request, timeout))

    def iter_models(self, *, page_size: int = 100, timeout: float | None = None) -> AsyncIterator[Model]:
        """Iterate over every loaded model version. Fetches a page when it is needed."""
        return iterate_pages(lambda token: self.list_models(page_size, page_token=token, timeout=timeout))

    def _resolve_model(self, model: ModelLike) -> ModelLike:
        return self._model if model is None else model

    async def _serving_limits(self) -> ServingLimits:
        if self._limits is None:
            self._limits = (await self.get_model()).limits
        return self._limits
