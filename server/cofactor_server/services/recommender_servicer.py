"""Implement RecommenderService: unpack, call, pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import grpc

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.observability.counters import Metrics
from cofactor_server.services.batch_and_stream import batch_recommend, stream_recommend
from cofactor_server.services.canary_traffic import CanaryTraffic
from cofactor_server.services.pagination import find_page
from cofactor_server.services.parsing.filters import UNFILTERED
from cofactor_server.services.parsing.requests import DEFAULT_CONTRIBUTIONS, RequestParser
from cofactor_server.services.predict import predict
from cofactor_server.services.recommend import CoalescedRecommend, RecommendPipeline, parse_order
from cofactor_server.services.response_messages import (
    embedding_response,
    explanation_response,
    item_embedding_response,
    scored_item_messages,
)
from cofactor_server.services.served_lists import ListCompleter
from cofactor_server.services.shadow import ShadowTraffic
from cofactor_server.serving.registry import ModelRegistry


class RecommenderServicer(recommender_pb2_grpc.RecommenderServiceServicer):  # type: ignore[misc] # generated without annotations
    """Serve RecommenderService from the registry that is current when a call begins.

    Some methods return encoded responses, as bytes; the interceptor passes them on as they are.

    Attributes:
        coalesced_methods: the methods whose calls may be coalesced, by full name.
    """

    def __init__(
        self,
        registry: Callable[[], ModelRegistry],
        config: ServerConfig,
        metrics: Metrics,
        shadow: ShadowTraffic,
        completer: ListCompleter | None = None,
    ) -> None:
        self._registry = registry
        self._parser = RequestParser(config)
        self._pipeline = RecommendPipeline(self._parser, metrics, shadow, completer)
        self._canaries = CanaryTraffic(metrics)
        self.coalesced_methods = {
            "/cofactor.v1.RecommenderService/Recommend": CoalescedRecommend(registry, self._pipeline)
        }
        self._max_requests_per_batch = config.max_requests_per_batch
        self._max_batch_size = config.max_batch_size

    def Predict(  # noqa: N802 (gRPC's name)
        self, request: recommender_pb2.PredictRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.PredictResponse:
        """See recommender.proto."""
        registry = self._registry()
        if registry.has_canaries:
            return self._canaries.run(registry, request, partial(predict, registry, self._parser, request))
        return predict(registry, self._parser, request)

    def Recommend(  # noqa: N802
        self, request: recommender_pb2.RecommendRequest, context: grpc.ServicerContext
    ) -> bytes:
        """See recommender.proto."""
        return self._pipeline.run(self._registry(), request, _caller_waits(context))

    def SimilarItems(  # noqa: N802
        self, request: recommender_pb2.SimilarItemsRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.SimilarItemsResponse:
        """See recommender.proto."""
        page = find_page(self._registry(), request)
        version, page_size = page.version, self._parser.page_size(request.page_size)
        version.response_sizes.check(page_size, with_items=request.return_items)
        item_rows = self._parser.ids.item_rows(version, request.item_ids, "item_ids")
        item_filter = self._parser.filters.parse(version, request.filter) if request.HasField("filter") else UNFILTERED
        ranking = version.similar_items.rank(item_rows, item_filter.selection, page.offset, page_size)
        return recommender_pb2.SimilarItemsResponse(
            results=scored_item_messages(version, ranking, with_items=request.return_items),
            next_page_token=page.next_token(page_size) if ranking.has_more else "",
            missing_item_ids=item_filter.missing_item_ids,
            model=version.served_model,
        )

    def EmbedNewUser(  # noqa: N802
        self, request: recommender_pb2.EmbedNewUserRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.EmbedNewUserResponse:
        """See recommender.proto."""
        version = self._registry().resolve(request.model)
        parsed = self._parser.histories.parse(version, request, skip_unknown=request.skip_unknown_items)
        return embedding_response(version, parsed, version.users.fold_in(parsed.history))

    def EmbedNewItem(  # noqa: N802
        self, request: recommender_pb2.EmbedNewItemRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.EmbedNewItemResponse:
        """See recommender.proto."""
        version = self._registry().resolve(request.model)
        parsed = self._parser.new_items.parse(version, request)
        return item_embedding_response(version, parsed, version.new_items.fold_in(parsed.evidence))

    def BatchRecommend(  # noqa: N802
        self, request: recommender_pb2.BatchRecommendRequest, _context: grpc.ServicerContext
    ) -> bytes:
        """See recommender.proto."""
        return batch_recommend(self._registry(), self._pipeline, request, self._max_requests_per_batch)

    def StreamRecommend(  # noqa: N802
        self, request_iterator: Iterator[recommender_pb2.StreamRecommendRequest], _context: grpc.ServicerContext
    ) -> Iterator[recommender_pb2.StreamRecommendResponse | bytes]:
        """See recommender.proto."""
        return stream_recommend(self._registry, self._pipeline, request_iterator, self._max_batch_size)

    def Explain(  # noqa: N802
        self, request: recommender_pb2.ExplainRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.ExplainResponse:
        """See recommender.proto."""
        version = self._registry().resolve(request.model)
        n_contributions = self._parser.page_size(request.max_contributions, "max_contributions", DEFAULT_CONTRIBUTIONS)
        item_row = self._parser.ids.item_row(version, request.item_id, "item_id")
        user, history = self._parser.users.parse_with_history(version, request.user)
        order = parse_order(version, user, request.ranking, request.popularity_penalty)
        explanation = version.explainer.explain(user, history, item_row, n_contributions, order)
        return explanation_response(version, explanation)


def _caller_waits(context: grpc.ServicerContext) -> Callable[[], bool]:
    """Return a function that returns False once the call is cancelled or past its deadline."""

    def is_active() -> bool:
        remaining = context.time_remaining()
        return context.is_active() and (remaining is None or remaining > 0)

    return is_active
