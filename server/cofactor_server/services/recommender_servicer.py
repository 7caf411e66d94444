"""RecommenderService: unpack, call, pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc

from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from cofactor_server.config import ServerConfig
from cofactor_server.observability.counters import Metrics
from cofactor_server.ranking.filters import EVERYTHING
from cofactor_server.services.batch_and_stream import batch_recommend, stream_recommend
from cofactor_server.services.pagination import open_page
from cofactor_server.services.predict import predict
from cofactor_server.services.recommend import CoalescedRecommend, Recommendations
from cofactor_server.services.request_parsing import DEFAULT_CONTRIBUTIONS, RequestReader, Selected
from cofactor_server.services.response_messages import explanation_message, similar_items
from cofactor_server.services.shadow import ShadowTraffic
from cofactor_server.serving.registry import ModelRegistry


class RecommenderServicer(recommender_pb2_grpc.RecommenderServiceServicer):  # type: ignore[misc] # generated without annotations
    """Answers RecommenderService from the repository of the moment; each call keeps the one it began with.

    Answers that are encoded already are bytes; the interceptor lets them through.

    Attributes:
        coalesced_methods: the methods whose calls may be coalesced, by full name.
    """

    def __init__(
        self,
        repository: Callable[[], ModelRegistry],
        config: ServerConfig,
        metrics: Metrics,
        shadow: ShadowTraffic,
    ) -> None:
        self._repository = repository
        self._reader = RequestReader(config)
        self._recommendations = Recommendations(self._reader, metrics, shadow)
        self.coalesced_methods = {
            "/cofactor.v1.RecommenderService/Recommend": CoalescedRecommend(repository, self._recommendations)
        }
        self._max_requests_per_batch = config.max_requests_per_batch
        self._max_batch_size = config.max_batch_size

    def Predict(  # noqa: N802 (gRPC's name)
        self, request: recommender_pb2.PredictRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.PredictResponse:
        """See recommender.proto."""
        return predict(self._repository(), self._reader, request)

    def Recommend(  # noqa: N802
        self, request: recommender_pb2.RecommendRequest, context: grpc.ServicerContext
    ) -> bytes:
        """See recommender.proto."""
        return self._recommendations.answer(self._repository(), request, _caller_waits(context))

    def SimilarItems(  # noqa: N802
        self, request: recommender_pb2.SimilarItemsRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.SimilarItemsResponse:
        """See recommender.proto."""
        page = open_page(self._repository(), request)
        version, page_size = page.version, self._reader.page_size(request.page_size)
        item_rows = self._reader.item_rows(version, request.item_ids, "item_ids")
        selected = Selected(EVERYTHING)
        if request.HasField("filter"):
            selected = self._reader.selection(version, request.filter)
        ranking = version.similar_items.rank(item_rows, selected.selection, page.offset, page_size)
        return recommender_pb2.SimilarItemsResponse(
            results=similar_items(version, ranking, with_items=request.return_items),
            next_page_token=page.next_token(page_size) if ranking.has_more else "",
            missing_item_ids=selected.missing_item_ids,
            model=version.served,
        )

    def EmbedNewUser(  # noqa: N802
        self, request: recommender_pb2.EmbedNewUserRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.EmbedNewUserResponse:
        """See recommender.proto."""
        version = self._repository().resolve(request.model)
        read = self._reader.history(version, request.ratings, request.profile, skip_unknown=request.skip_unknown_items)
        folded = version.users.fold(read.history)
        return recommender_pb2.EmbedNewUserResponse(
            embedding=recommender_pb2.UserEmbedding(
                factors=folded.vector.factors[0].tolist(),
                bias=float(folded.vector.bias[0]),
                embedding_space=version.manifest.embedding_space,
                rated_item_ids=[version.item_ids.ids[row] for row in read.history.item_rows.tolist()],
            ),
            fit_rmse=folded.fit_rmse,
            used_rating_count=len(read.history.item_rows),
            missing_item_ids=read.missing_item_ids,
            ignored_profile_keys=read.ignored_profile_keys,
            model=version.served,
        )

    def BatchRecommend(  # noqa: N802
        self, request: recommender_pb2.BatchRecommendRequest, _context: grpc.ServicerContext
    ) -> bytes:
        """See recommender.proto."""
        return batch_recommend(self._repository(), self._recommendations, request, self._max_requests_per_batch)

    def StreamRecommend(  # noqa: N802
        self, request_iterator: Iterator[recommender_pb2.StreamRecommendRequest], _context: grpc.ServicerContext
    ) -> Iterator[recommender_pb2.StreamRecommendResponse | bytes]:
        """See recommender.proto."""
        return stream_recommend(self._repository, self._recommendations, request_iterator, self._max_batch_size)

    def Explain(  # noqa: N802
        self, request: recommender_pb2.ExplainRequest, _context: grpc.ServicerContext
    ) -> recommender_pb2.ExplainResponse:
        """See recommender.proto."""
        version = self._repository().resolve(request.model)
        n_contributions = self._reader.page_size(request.max_contributions, "max_contributions", DEFAULT_CONTRIBUTIONS)
        item_row = self._reader.item_row(version, request.item_id, "item_id")
        user, history = self._reader.user_with_history(version, request.user)
        explanation = version.explainer.explain(user, history, item_row, n_contributions)
        return explanation_message(version, explanation)


def _caller_waits(context: grpc.ServicerContext) -> Callable[[], bool]:
    """Whether the caller still waits for this call: it has neither cancelled nor run out of time."""

    def is_wanted() -> bool:
        remaining = context.time_remaining()
        return context.is_active() and (remaining is None or remaining > 0)

    return is_wanted
