"""Check the figures of our load driver with ghz, a load tool by others, on the same servers."""

from __future__ import annotations

import json
import subprocess

import psutil
from google.protobuf import descriptor, descriptor_pb2

from benchmarks.serving import tools, workload
from benchmarks.serving.machine import DRIVER_CORE, on_cores, prioritise
from benchmarks.serving.scenarios import Context
from benchmarks.serving.server_process import RunningServer
from cofactor.v1 import recommender_pb2

IN_FLIGHT = 64


def measure(server: RunningServer, context: Context, seconds: float) -> dict[str, float]:
    """Return the rate and latencies that ghz reports. It parses responses, so it needs more CPU than our driver."""
    users = [{"user": {"user_id": user.user_id}, "page_size": workload.K} for user in context.small[:64]]
    data = tools.CACHE / "ghz.json"
    data.write_text(json.dumps(users))
    schema = tools.CACHE / "recommender.protoset"
    schema.write_bytes(descriptor_set())
    command = [
        str(tools.ghz()), "--insecure", "--protoset", str(schema),
        "--call", "cofactor.v1.RecommenderService.Recommend", "--data-file", str(data),
        "--concurrency", str(IN_FLIGHT), "--connections", str(IN_FLIGHT // 8),
        "--duration", f"{seconds}s", "--duration-stop", "ignore", "--format", "json", server.target,
    ]  # fmt: skip
    with on_cores([DRIVER_CORE]):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    prioritise(psutil.Process(process.pid))
    text, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"ghz ended with status {process.returncode}; its message is above")
    found = json.loads(text)
    percentiles = {entry["percentage"]: entry["latency"] / 1e6 for entry in found["latencyDistribution"]}
    return {"rate": found["rps"], "p50": percentiles[50], "p99": percentiles[99]}


def descriptor_set() -> bytes:
    """Return the API as compiled descriptors: the parser of ghz is older than proto3's `optional`."""
    files = descriptor_pb2.FileDescriptorSet()

    def add(file: descriptor.FileDescriptor) -> None:
        for dependency in file.dependencies:
            add(dependency)
        if file.name not in {known.name for known in files.file}:
            file.CopyToProto(files.file.add())

    add(recommender_pb2.DESCRIPTOR)
    return files.SerializeToString()
