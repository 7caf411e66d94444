"""Answer calls without gRPC and say what they took: a process of `python -m benchmarks.overlays`.

    python benchmarks/overlays/worker.py MODELS

Each line of standard input is a JSON list: kind, model, user ids, item ids, number of calls. The reply is the processor
time of one call in microseconds. It uses nothing but the server, so that an earlier revision can run it too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cofactor.v1 import recommender_pb2 as pb
from cofactor.v1.model_pb2 import ModelRef
from cofactor_server.config import ServerConfig
from cofactor_server.observability.counters import Metrics
from cofactor_server.ranking.ranker import always_active
from cofactor_server.services.recommender_servicer import RecommenderServicer
from cofactor_server.services.shadow import ShadowTraffic
from cofactor_server.serving.registry import LiveRegistry

PREDICTED, CANDIDATES = 100, 100


def calls(kind: str, model: ModelRef, user_ids: Sequence[str], item_ids: Sequence[str]) -> list[Any]:
    """Return requests of a kind, one for each user."""
    users = [pb.User(user_id=user_id) for user_id in user_ids]
    if kind == "batch":
        return [pb.BatchRecommendRequest(model=model, requests=[pb.RecommendRequest(user=user) for user in users])]
    if kind == "predict":
        return [pb.PredictRequest(model=model, user=user, item_ids=item_ids[:PREDICTED]) for user in users]
    if kind == "similar":
        return [pb.SimilarItemsRequest(model=model, item_ids=[item_id]) for item_id in item_ids[: len(users)]]
    item_filter = pb.ItemFilter(candidate_item_ids=item_ids[:CANDIDATES]) if kind == "candidates" else None
    return [pb.RecommendRequest(model=model, user=user, filter=item_filter) for user in users]


def main() -> None:
    """Load the models, then answer lines until the input ends."""
    config = ServerConfig(models=Path(sys.argv[1]), provider="cpu", poll_interval_s=0, batching="off", cache_mib=0)
    metrics = Metrics()
    live = LiveRegistry(config, metrics)
    shadow = ShadowTraffic(metrics, lambda: False)
    servicer = RecommenderServicer(lambda: live.current, config, metrics, shadow)
    recommend: Callable[[Any, Any], Any] = lambda request, _: servicer._pipeline.run(  # noqa: E731
        live.current, request, always_active
    )
    methods = {
        "recommend": recommend,
        "candidates": recommend,
        "batch": servicer.BatchRecommend,
        "predict": servicer.Predict,
        "similar": servicer.SimilarItems,
    }
    requests: dict[tuple[str, str], list[Any]] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        kind, model, user_ids, item_ids, count = json.loads(line)
        if (kind, model) not in requests:
            requests[kind, model] = calls(kind, ModelRef(name=model), user_ids, item_ids)
        method, own = methods[kind], requests[kind, model]
        started = time.process_time_ns()
        for number in range(count):
            method(own[number % len(own)], None)
        print((time.process_time_ns() - started) / count / 1000, flush=True)
    live.close()


if __name__ == "__main__":
    main()
