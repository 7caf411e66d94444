"""Measure a server's cold start: the time to its first response, and its memory then.

    python -m benchmarks.cold_start --models .demo/models --runs 5 --check

Targets for ml-latest-small on a CPU: 1.5 s and 150 MB resident.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time

import grpc
import psutil

from cofactor.v1.catalog_pb2 import ListTopItemsRequest
from cofactor.v1.catalog_pb2_grpc import CatalogServiceStub
from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import RatingHistory, RecommendRequest, User
from cofactor.v1.recommender_pb2_grpc import RecommenderServiceStub

MAX_SECONDS = 1.5
MAX_MEGABYTES = 150.0


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def measure(models: str, model: str) -> tuple[float, float, float]:
    """Start a server and call Recommend; return seconds, CPU seconds and resident megabytes at the first response."""
    port = free_port()
    command = [sys.executable, "-m", "cofactor_server", "--models", models, "--port", str(port), "--provider", "cpu"]
    started = time.perf_counter()
    server = subprocess.Popen([*command, "--log-level", "warning"])
    try:
        options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 20)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            request = RecommendRequest(model=ModelRef(name=model), user=User(history=RatingHistory()))
            response = RecommenderServiceStub(channel).Recommend(request, timeout=60, wait_for_ready=True)
            seconds = time.perf_counter() - started
            assert len(response.results) == 10
            assert CatalogServiceStub(channel).ListTopItems(ListTopItemsRequest(), timeout=10).items
        process = psutil.Process(server.pid)
        return seconds, sum(process.cpu_times()[:2]), process.memory_info().rss / 1e6
    finally:
        server.terminate()
        server.wait(30)


def main() -> int:
    """Measure and print; return 1 if --check is given and a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, help="folder of models")
    parser.add_argument("--model", default="", help="model to ask (default: the server's default)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    arguments = parser.parse_args()
    measured = [measure(arguments.models, arguments.model) for _ in range(arguments.runs)]
    seconds, cpu, megabytes = (statistics.median(runs) for runs in zip(*measured, strict=True))
    slowest, _, largest = (max(runs) for runs in zip(*measured, strict=True))
    print(
        f"first response after {seconds:.2f} s (slowest {slowest:.2f} s), median of {arguments.runs}; CPU {cpu:.2f} s"
    )
    print(f"resident memory {megabytes:.0f} MB (largest {largest:.0f} MB)")
    return int(arguments.check and (seconds > MAX_SECONDS or megabytes > MAX_MEGABYTES))


if __name__ == "__main__":
    sys.exit(main())
