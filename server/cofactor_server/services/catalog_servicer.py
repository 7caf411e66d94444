"""CatalogService: unpack, call, pack."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.errors import InvalidField
from cofactor_server.ranking.catalogue import Order
from cofactor_server.services.pagination import list_models, open_page
from cofactor_server.services.request_parsing import RequestReader, limits_of
from cofactor_server.services.response_messages import item_messages
from cofactor_server.serving.registry import ModelRegistry

_ORDERS: dict[int, Order] = {
    catalog_pb2.ListTopItemsRequest.ORDER_UNSPECIFIED: "highest_bias",
    catalog_pb2.ListTopItemsRequest.ORDER_HIGHEST_BIAS: "highest_bias",
    catalog_pb2.ListTopItemsRequest.ORDER_LOWEST_BIAS: "lowest_bias",
    catalog_pb2.ListTopItemsRequest.ORDER_MOST_RATED: "most_rated",
}


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):  # type: ignore[misc] # generated without annotations
    """Answers CatalogService from the repository of the moment."""

    def __init__(self, repository: Callable[[], ModelRegistry], config: ServerConfig) -> None:
        self._repository = repository
        self._reader = RequestReader(config)
        self._limits = limits_of(config)

    def GetModel(  # noqa: N802 (gRPC's name)
        self, request: catalog_pb2.GetModelRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.GetModelResponse:
        """See catalog.proto."""
        repository = self._repository()
        model = repository.describe(repository.resolve(request.model))
        return catalog_pb2.GetModelResponse(model=model, limits=self._limits)

    def ListModels(  # noqa: N802
        self, request: catalog_pb2.ListModelsRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.ListModelsResponse:
        """See catalog.proto."""
        return list_models(self._repository(), request, self._reader.page_size(request.page_size))

    def SearchItems(  # noqa: N802
        self, request: catalog_pb2.SearchItemsRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.SearchItemsResponse:
        """See catalog.proto."""
        page = open_page(self._repository(), request)
        size, query = self._reader.page_size(request.page_size), self._reader.query(request)
        rows = page.version.title_search.find_rows(query)
        return catalog_pb2.SearchItemsResponse(
            items=item_messages(page.version, rows[page.offset : page.offset + size]),
            next_page_token=page.next_token_if(len(rows), size),
            model=page.version.served_model,
        )

    def ListTopItems(  # noqa: N802
        self, request: catalog_pb2.ListTopItemsRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.ListTopItemsResponse:
        """See catalog.proto."""
        page = open_page(self._repository(), request)
        size = self._reader.page_size(request.page_size)
        if request.order not in _ORDERS:
            raise InvalidField("order", f"{request.order} is not an order; use one that the API names")
        rows = page.version.catalogue.sorted_rows(_ORDERS[request.order])
        return catalog_pb2.ListTopItemsResponse(
            items=item_messages(page.version, rows[page.offset : page.offset + size]),
            next_page_token=page.next_token_if(len(rows), size),
            model=page.version.served_model,
        )
