"""Measure what the HTTP gateway costs beside gRPC.

    python -m benchmarks.web.gateway --output docs/benchmarks/gateway.md [--seconds 5] [--rounds 5] [--fuzz 10000]

A server of a synthetic model (943 users, 1,682 items, 50 factors) and a gateway run in processes of their own. This
process sends requests over 16 connections. A rate per core is the number of requests divided by the CPU seconds that
the process used meanwhile: it does not depend on what else the machine does, as a rate per second would. The same
requests go to the server over gRPC, in turns with those to the gateway. --fuzz sends requests that schemathesis makes
from the OpenAPI document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import orjson
import psutil
from google.protobuf import json_format

from benchmarks.serving.machine import describe
from cofactor.v1 import recommender_pb2, recommender_pb2_grpc
from cofactor_web.rpcs import api_rpcs
from tests.support import synthetic
from tests.support.server_process import ServerProcess

CONNECTIONS = 16
N_USERS, N_ITEMS = 943, 1682
TARGET = 1500
HISTORY = {"ratings": [{"itemId": f"i{7 * row:04}", "rating": 0.5 + row % 10 / 2} for row in range(20)]}
REQUESTS = {
    "known user, 10 results": {"user": {"userId": "u0003"}},
    "known user, 10 results with titles": {"user": {"userId": "u0003"}, "returnItems": True},
    "20 ratings, 10 results with titles": {"user": {"history": HISTORY}, "returnItems": True},
}


@dataclass(frozen=True)
class Row:
    """Hold the cost of one kind of request.

    Attributes:
        name: the kind.
        gateway: CPU microseconds of the gateway per request, by round.
        server: those of the server meanwhile.
        grpc_server: those of the server per call over gRPC.
        http_ms: median time of a request to the gateway that is alone, in milliseconds.
        grpc_ms: the same over gRPC.
    """

    name: str
    gateway: list[float]
    server: list[float]
    grpc_server: list[float]
    http_ms: float
    grpc_ms: float


@contextmanager
def processes() -> Iterator[tuple[psutil.Process, psutil.Process, int, int]]:
    """Run a server and a gateway. Yields (server, gateway, port of the server, port of the gateway)."""
    from cofactor_trainer.export.version_writer import export_version

    with tempfile.TemporaryDirectory() as folder:
        model = synthetic.make_model(n_users=N_USERS, n_items=N_ITEMS, n_factors=50)
        dataset = synthetic.make_dataset(N_USERS, N_ITEMS, ratings_per_user=100)
        export_version(model, dataset, Path(folder), "films", "1", metrics={}, hyperparameters={})
        server = ServerProcess(Path(folder), Path(folder) / "server.log")
        command = [sys.executable, "-m", "cofactor_web", "--target", f"127.0.0.1:{server.port}", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as gateway:
            try:
                port = int(gateway.stdout.readline().rstrip("/\n").rpartition(":")[2])
                yield psutil.Process(server.pid), psutil.Process(gateway.pid), server.port, port
            finally:
                gateway.terminate()
                gateway.wait(30)
                server.process.terminate()
                server.process.wait(30)


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


async def http_worker(port: int, body: bytes, until: float, times: list[float]) -> None:
    """Send requests over one connection until a moment."""
    head = f"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    request = f"{head}\r\n\r\n".encode() + body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(answer.decode())
        await reader.readexactly(int(answer.partition(b"content-length: ")[2].partition(b"\r")[0]))
        times.append(time.perf_counter() - started)
    writer.close()


async def grpc_worker(stub, request, until: float, times: list[float]) -> None:
    """Make calls, one after the other, until a moment."""
    while time.perf_counter() < until:
        started = time.perf_counter()
        await stub.Recommend(request)
        times.append(time.perf_counter() - started)


async def send_http(port: int, body: bytes, seconds: float, connections: int) -> list[float]:
    """Return the times of requests over some connections."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(http_worker(port, body, until, times) for _ in range(connections)))
    return times


async def send_grpc(port: int, body: bytes, seconds: float, connections: int) -> list[float]:
    """Return the times of calls, as many at once as there are connections over HTTP."""
    request = json_format.Parse(body, recommender_pb2.RecommendRequest())
    times: list[float] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        await stub.Recommend(request)
        until = time.perf_counter() + seconds
        await asyncio.gather(*(grpc_worker(stub, request, until, times) for _ in range(connections)))
    return times


def measure(name: str, message: object, seconds: float, rounds: int, running) -> Row:
    """Measure one kind of request, over HTTP and gRPC in turns."""
    server, gateway, server_port, port = running
    body = json.dumps(message).encode()
    asyncio.run(send_http(port, body, 1, CONNECTIONS))  # warm up
    costs: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        before = cpu_seconds(gateway), cpu_seconds(server)
        n = len(asyncio.run(send_http(port, body, seconds, CONNECTIONS)))
        middle = cpu_seconds(gateway), cpu_seconds(server)
        n_calls = len(asyncio.run(send_grpc(server_port, body, seconds, CONNECTIONS)))
        used = middle[0] - before[0], middle[1] - before[1], cpu_seconds(server) - middle[1]
        costs.append((used[0] / n * 1e6, used[1] / n * 1e6, used[2] / n_calls * 1e6))
    alone = [
        1000 * statistics.median(asyncio.run(send(to, body, seconds, 1)))
        for send, to in ((send_http, port), (send_grpc, server_port))
    ]
    return Row(name, *map(list, zip(*costs, strict=True)), *alone)


def conversion_times(message: object, server_port: int) -> tuple[float, float, float, float]:
    """Return the microseconds of (our decoding, json_format's, our encoding, json_format's), each the best of 5."""
    rpc = next(rpc for rpc in api_rpcs() if rpc.path == "/v1/recommend")
    body = json.dumps(message).encode()
    request = json_format.Parse(body, recommender_pb2.RecommendRequest())
    with grpc.insecure_channel(f"127.0.0.1:{server_port}") as channel:
        response = recommender_pb2_grpc.RecommenderServiceStub(channel).Recommend(request)

    def decode() -> None:
        rpc.decode(recommender_pb2.RecommendRequest(), orjson.loads(body))

    def encode_with_json_format() -> None:
        orjson.dumps(json_format.MessageToDict(response, always_print_fields_with_no_presence=True))

    return (
        best_time(decode),
        best_time(lambda: json_format.Parse(body, recommender_pb2.RecommendRequest())),
        best_time(lambda: orjson.dumps(rpc.encode(response))),
        best_time(encode_with_json_format),
    )


def best_time(function: Callable[[], None], repeats: int = 500) -> float:
    """Return the CPU microseconds of a call, the best of 5 times."""
    times = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(repeats):
            function()
        times.append((time.process_time() - started) / repeats * 1e6)
    return min(times)


def fuzzing_lines(n_requests: int, port: int) -> list[str]:
    """Send random requests and describe what came of them."""
    from tests.support.web.fuzzing import fuzz

    found = fuzz(f"http://127.0.0.1:{port}", n_requests // len(api_rpcs()) + 1)
    counts = ", ".join(f"{count:,} with {status}" for status, count in sorted(found.statuses.items()))
    n_sent = sum(found.by_route.values())
    verdict = "none" if not found.failures else "; ".join(found.failures)
    return [
        "## Random requests",
        f"schemathesis made {n_sent:,} requests from the OpenAPI document, half of them valid: {counts}. "
        f"Server errors, and responses that do not fit the document: {verdict}.",
        "",
    ]


def page(rows: list[Row], conversions: dict[str, tuple[float, ...]], fuzzing: list[str], command: str) -> str:
    """Return the page."""
    lines = [
        "# What the HTTP gateway costs",
        "",
        f"<!-- Written by `{command}`. -->",
        f"{describe()}. A server and a gateway, one process each; a synthetic model of {N_USERS} users, {N_ITEMS:,} "
        f"items and 50 factors; {CONNECTIONS} requests at a time. Requests per core are per CPU second of the gateway. "
        f"Load average when it ended: {os.getloadavg()[1]:.0f}; beside other work, CPU times are longer too.",
        "",
        "| Recommend | requests per core of the gateway | lowest and highest round | CPU of the gateway | CPU of the "
        "server through it | CPU of the server over gRPC | a lone request, HTTP | a lone call, gRPC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gateway, server, direct = map(statistics.median, (row.gateway, row.server, row.grpc_server))
        lines.append(
            f"| {row.name} | {1e6 / gateway:,.0f} | {1e6 / max(row.gateway):,.0f} to {1e6 / min(row.gateway):,.0f} | "
            f"{gateway:.0f} µs | {server:.0f} µs | {direct:.0f} µs | {row.http_ms:.2f} ms | {row.grpc_ms:.2f} ms |"
        )
    met = [row.name for row in rows if 1e6 / statistics.median(row.gateway) >= TARGET]
    missed = [row.name for row in rows if row.name not in met]
    lines += [
        "",
        f"The target is {TARGET:,} requests per core. Met: {'; '.join(met) or 'none'}. "
        f"Missed: {'; '.join(missed) or 'none'}.",
        "",
        "## JSON",
        "CPU time to decode a request and to encode its response, with the gateway's own encoders and decoders and "
        "with google.protobuf.json_format.",
        "",
        "| Recommend | decode | json_format | encode | json_format |",
        "|---|---|---|---|---|",
    ]
    for name, times in conversions.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.0f} µs" for value in times) + " |")
    return "\n".join([*lines, "", *fuzzing])


def main() -> None:
    """Measure, and write or print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="page to write (default: print it)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every kind of request")
    parser.add_argument("--fuzz", type=int, default=10_000, help="random requests; 0 for none")
    arguments = parser.parse_args()
    with processes() as running:
        rows = [measure(name, body, arguments.seconds, arguments.rounds, running) for name, body in REQUESTS.items()]
        conversions = {name: conversion_times(body, running[2]) for name, body in REQUESTS.items()}
        fuzzing = fuzzing_lines(arguments.fuzz, running[3]) if arguments.fuzz else []
    text = page(rows, conversions, fuzzing, f"python -m benchmarks.web.gateway --output {arguments.output}")
    if arguments.output is None:
        print(text)
    else:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
