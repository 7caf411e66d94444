"""Complete the responses of Recommend, and offer the lists to the feedback log."""

from __future__ import annotations

import random
import time

from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.feedback.log import FeedbackLog
from cofactor_server.feedback.rows import ServedList
from cofactor_server.services.pagination import RequestedPage
from cofactor_server.services.response_messages import new_recommendation_id


class ListCompleter:
    """Give every list its id, and offer the feedback log a share of the lists.

    Args:
        log: the feedback log; None if the server has none.
        share: share of the lists that it gets, drawn at random.
    """

    def __init__(self, log: FeedbackLog | None = None, share: float = 1.0) -> None:
        self._log = log if share > 0 else None
        self._share = share

    def complete(
        self, page: RequestedPage, request: RecommendRequest, response: bytes, *, with_model: bool = True
    ) -> bytes:
        """Return an encoded response with a new id and, `with_model`, the model."""
        recommendation_id = new_recommendation_id()
        if self._log is not None:
            self._offer(self._log, page, request, response, recommendation_id, with_model)
        return page.version.response_encoder.complete(response, recommendation_id, with_model=with_model)

    def _offer(
        self,
        log: FeedbackLog,
        page: RequestedPage,
        request: RecommendRequest,
        response: bytes,
        recommendation_id: str,
        with_model: bool,
    ) -> None:
        # Nobody gains by guessing which lists are drawn.
        if self._share < 1 and random.random() >= self._share:  # noqa: S311
            return
        # In a batch, whose responses do not name a model each, canaries take no part.
        is_routed = with_model and not page.offset and request.model.WhichOneof("choice") is None
        log.offer(
            ServedList(
                recommendation_id,
                time.time_ns() // 1000,
                page.version.key,
                request,
                response,
                page.offset,
                is_routed,
            )
        )
