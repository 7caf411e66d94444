"""Count the requests of canaries, and those that stay with the current version, apart.

Both are counted by the same rule, so that errors and times can be compared: first pages for a user id, of a model that
has a canary, that leave the choice of the version to the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from cofactor.v1.recommender_pb2 import PredictRequest, RecommendRequest
from cofactor_server.errors import InternalError, RequestError
from cofactor_server.observability.counters import Metrics
from cofactor_server.serving.registry import ModelRegistry

Response = TypeVar("Response")
Share = tuple[str, str, str]


class CanaryTraffic:
    """Counts requests in the metrics; for registries with canaries only, others must not pay for it."""

    def __init__(self, metrics: Metrics) -> None:
        self._record = metrics.record_canary

    def run(
        self, registry: ModelRegistry, request: RecommendRequest | PredictRequest, answer: Callable[[], Response]
    ) -> Response:
        """Return the response of `answer()` to a request, and count it with its code and its time."""
        share = _share(registry, request)
        if share is None:
            return answer()
        code, started = InternalError.code, time.perf_counter()
        try:
            response = answer()
            code = "OK"
        except RequestError as error:
            code = error.code
            raise
        finally:
            self._record(share, code, time.perf_counter() - started)
        return response

    def run_many(
        self,
        registry: ModelRegistry,
        requests: Sequence[RecommendRequest],
        answer: Callable[[], list[bytes | RequestError]],
    ) -> list[bytes | RequestError]:
        """Return the responses of `answer()` to requests, and count each with the time of all, for so long it waited.

        If `answer()` fails as a whole, nothing is counted: coalesced calls then run one by one.
        """
        shares = [_share(registry, request) for request in requests]  # first, because `answer` clears the page tokens
        started = time.perf_counter()
        responses = answer()
        seconds = time.perf_counter() - started
        for share, response in zip(shares, responses, strict=True):
            if share is not None:
                self._record(share, response.code if isinstance(response, RequestError) else "OK", seconds)
        return responses


def _share(registry: ModelRegistry, request: RecommendRequest | PredictRequest) -> Share | None:
    """Return the share that decides which version serves a request, None if no share does."""
    if isinstance(request, RecommendRequest) and request.page_token:
        return None  # later pages stay on the version of the first
    return registry.canary_share(request.model, request.user.user_id)
