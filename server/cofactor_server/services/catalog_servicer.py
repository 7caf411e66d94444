"""Implement CatalogService: unpack, call, pack."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from cofactor.v1 import catalog_pb2, catalog_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.services.item_map import item_map
from cofactor_server.services.list_models import list_models
from cofactor_server.services.pagination import find_page
from cofactor_server.services.parsing.requests import RequestParser, check_query, parse_order
from cofactor_server.services.response_messages import item_messages, limits_message
from cofactor_server.serving.registry import ModelRegistry


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):  # type: ignore[misc] # generated without annotations
    """Serve CatalogService from the registry that is current when a call begins."""

    def __init__(self, registry: Callable[[], ModelRegistry], config: ServerConfig) -> None:
        self._registry = registry
        self._parser = RequestParser(config)
        self._limits = limits_message(config)

    def GetModel(  # noqa: N802 (gRPC's name)
        self, request: catalog_pb2.GetModelRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.GetModelResponse:
        """See catalog.proto."""
        registry = self._registry()
        model = registry.describe(registry.resolve(request.model))
        return catalog_pb2.GetModelResponse(model=model, limits=self._limits)

    def ListModels(  # noqa: N802
        self, request: catalog_pb2.ListModelsRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.ListModelsResponse:
        """See catalog.proto."""
        return list_models(self._registry(), request, self._parser.page_size(request.page_size))

    def SearchItems(  # noqa: N802
        self, request: catalog_pb2.SearchItemsRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.SearchItemsResponse:
        """See catalog.proto."""
        page = find_page(self._registry(), request)
        page_size, query = self._parser.page_size(request.page_size), check_query(request.query)
        page.version.response_sizes.check(page_size, with_items=True)
        rows, next_page_token = page.cut(page.version.title_search.find_rows(query), page_size)
        return catalog_pb2.SearchItemsResponse(
            items=item_messages(page.version, rows), next_page_token=next_page_token, model=page.version.served_model
        )

    def ListTopItems(  # noqa: N802
        self, request: catalog_pb2.ListTopItemsRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.ListTopItemsResponse:
        """See catalog.proto."""
        page = find_page(self._registry(), request)
        page_size, order = self._parser.page_size(request.page_size), parse_order(request.order)
        page.version.response_sizes.check(page_size, with_items=True)
        rows, next_page_token = page.cut(page.version.catalogue.sorted_rows(order), page_size)
        return catalog_pb2.ListTopItemsResponse(
            items=item_messages(page.version, rows), next_page_token=next_page_token, model=page.version.served_model
        )

    def GetItemMap(  # noqa: N802
        self, request: catalog_pb2.GetItemMapRequest, _context: grpc.ServicerContext
    ) -> catalog_pb2.GetItemMapResponse:
        """See catalog.proto."""
        return item_map(self._registry().resolve(request.model), request, self._limits.max_response_bytes)
