"""Count the requests in a call: the rate limit charges for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cofactor.v1.recommender_pb2 import BatchRecommendRequest
from cofactor_server.config import ServerConfig
from cofactor_server.services.open_inference.messages import PACKAGE, SERVICE, InferRequest


def call_costs(config: ServerConfig) -> Mapping[str, Callable[[Any], int]]:
    """Return a function for every method whose calls count more than once, by full name: request -> its cost.

    A call with more requests than are allowed counts as the largest call that is.
    """
    limit = config.max_requests_per_batch

    def entries(request: BatchRecommendRequest) -> int:
        return min(len(request.requests), limit)

    def users(request: InferRequest) -> int:
        if not request.model_name.endswith(".recommend"):
            return 1
        sizes = [tensor.shape[0] for tensor in request.inputs if tensor.name == "user_id" and tensor.shape]
        return min(max(sizes, default=1), limit)

    return {"/cofactor.v1.RecommenderService/BatchRecommend": entries, f"/{PACKAGE}.{SERVICE}/ModelInfer": users}
