"""Run Recommend in this process, without a network, for benchmarks that compare requests or revisions of the server.

    python recommend_worker.py MODELS

MODELS is a folder with one model. Every line on standard input is a JSON list of a number of calls and of requests
(RecommendRequest, in base64), which take turns. The answer is a line with the processor seconds per call. The file
imports only what older revisions of the server have, too: PYTHONPATH chooses the revision.
"""

import base64
import json
import sys
import time

from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.config import ServerConfig
from cofactor_server.observability.counters import Metrics
from cofactor_server.ranking.ranker import always_active
from cofactor_server.server import create_server
from cofactor_server.services.parsing.requests import RequestParser
from cofactor_server.services.recommend import RecommendPipeline


def main() -> None:
    """Answer lines until standard input ends."""
    config = ServerConfig(models=sys.argv[1], port=0, provider="cpu", cache_mib=0)
    with create_server(config) as server:
        registry, pipeline = server.repository, RecommendPipeline(RequestParser(config), Metrics())
        print("ready", flush=True)
        for line in sys.stdin:
            n_calls, encoded = json.loads(line)
            requests = [RecommendRequest.FromString(base64.b64decode(text)) for text in encoded]
            start = time.process_time()
            for _ in range(n_calls):
                for request in requests:
                    pipeline.run(registry, request, always_active)
            print((time.process_time() - start) / n_calls / len(requests), flush=True)


if __name__ == "__main__":
    main()
