"""Opening and closing the asyncio client, and its questions about what is served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

from cofactor.v1 import catalog_pb2
from cofactor_client import _request_messages, _response_parsing
from cofactor_client._aio_transport import AsyncTransport, over_pages
from cofactor_client._channel import Connection, Tls
from cofactor_client._request_messages import ModelLike
from cofactor_client._request_types import Order
from cofactor_client._response_types import (
    Item,
    ItemPage,
    Model,
    ModelDescription,
    ModelPage,
    ServingLimits,
)


class AsyncCatalogClient:
    """The base of AsyncClient: its connection, and the methods of CatalogService."""

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
        """Ends the calls under way and closes the connections."""
        await self._transport.close()

    async def wait_until_ready(self, timeout: float = 30.0) -> None:
        """Returns when a server is reachable and its health is SERVING; UnavailableError after `timeout` seconds."""
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
        """Items by words, or beginnings of words, of their title; case and accents are ignored."""
        request = _request_messages.search_items(self._ref(model), query, k, page_token)
        return _response_parsing.item_page(
            await self._transport.call(self._transport.catalog.SearchItems, request, timeout)
        )

    def iter_search_items(
        self, query: str, *, page_size: int = 100, model: ModelLike = None, timeout: float | None = None
    ) -> AsyncIterator[Item]:
        """Every item that matches, best match first, page after page as they are needed."""
        return over_pages(
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
        """The best liked, worst liked or most rated items, whatever one's taste."""
        request = _request_messages.top_items(self._ref(model), order, k, page_token)
        return _response_parsing.item_page(
            await self._transport.call(self._transport.catalog.ListTopItems, request, timeout)
        )

    def iter_top_items(
        self,
        order: Order = "highest-bias",
        *,
        page_size: int = 100,
        model: ModelLike = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Item]:
        """The whole catalogue in that order, page after page as it is needed."""
        return over_pages(
            lambda token: self.top_items(order, page_size, page_token=token, model=model, timeout=timeout)
        )

    async def get_model(self, *, model: ModelLike = None, timeout: float | None = None) -> ModelDescription:
        """Describes one model and the server's limits."""
        request = catalog_pb2.GetModelRequest(model=_request_messages.model_ref(self._ref(model)))
        return _response_parsing.model_description(
            await self._transport.call(self._transport.catalog.GetModel, request, timeout)
        )

    async def list_models(self, k: int = 10, *, page_token: str = "", timeout: float | None = None) -> ModelPage:
        """Model versions that the server holds, by name, newest version first."""
        request = catalog_pb2.ListModelsRequest(page_size=k, page_token=page_token)
        return _response_parsing.model_page(
            await self._transport.call(self._transport.catalog.ListModels, request, timeout)
        )

    def iter_models(self, *, page_size: int = 100, timeout: float | None = None) -> AsyncIterator[Model]:
        """Every model version that the server holds, page after page as they are needed."""
        return over_pages(lambda token: self.list_models(page_size, page_token=token, timeout=timeout))

    def _ref(self, model: ModelLike) -> ModelLike:
        return self._model if model is None else model

    async def _serving_limits(self) -> ServingLimits:
        if self._limits is None:
            self._limits = (await self.get_model()).limits
        return self._limits
