"""ghz, a load tool that is not ours, against the same servers: do our figures hold."""

from __future__ import annotations

import json
import os
import subprocess

import tools
import workload
from machine import DRIVER_CORE
from scenarios import Context
from server_process import RunningServer

IN_FLIGHT = 64


def measure(server: RunningServer, context: Context, seconds: float) -> dict[str, float]:
    """Requests per second and milliseconds that ghz reports. It parses answers, and so is dearer than our driver."""
    users = [{"user": {"user_id": each.user_id}, "page_size": workload.K} for each in context.small[:64]]
    data = tools.CACHE / "ghz.json"
    data.write_text(json.dumps(users))
    proto = tools.ROOT / "proto"
    command = [
        str(tools.ghz()), "--insecure", "--proto", str(proto / "cofactor/v1/recommender.proto"),
        "--import-paths", str(proto), "--call", "cofactor.v1.RecommenderService.Recommend",
        "--data-file", str(data), "--concurrency", str(IN_FLIGHT), "--connections", str(IN_FLIGHT // 8),
        "--duration", f"{seconds}s", "--duration-stop", "ignore", "--format", "json", server.target,
    ]  # fmt: skip
    finished = subprocess.run(
        command, check=True, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, [DRIVER_CORE])
    )
    found = json.loads(finished.stdout)
    percentiles = {each["percentage"]: each["latency"] / 1e6 for each in found["latencyDistribution"]}
    return {"rate": found["rps"], "p50": percentiles[50], "p99": percentiles[99]}
