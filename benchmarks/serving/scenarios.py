"""Define the scenarios: groups of rows (a server under a load) that are measured in turn, A B A B.

The docstring of a scenario is the caption of its table.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from benchmarks.serving import catalogue, servers, tools, workload
from benchmarks.serving.catalogue import Catalogue
from benchmarks.serving.driver import Load, Measurement
from benchmarks.serving.server_process import ServerSpec
from benchmarks.serving.workload import Recommendation, Truth, Workload

Results = dict[str, list[Measurement]]
BATCH_METHOD = f"{servers.SERVICE}/BatchRecommend"
STREAM_METHOD = f"{servers.SERVICE}/StreamRecommend"
PREDICT_METHOD = f"{servers.SERVICE}/Predict"


@dataclass(frozen=True)
class Row:
    """A server under a load.

    Attributes:
        shared: True if the driver runs on the server's cores, because the server takes all of them.
    """

    name: str
    server: ServerSpec
    load: Load
    shared: bool = False


@dataclass
class Context:
    """The versions, workloads and servers that scenarios are built from.

    Attributes:
        measured: results of earlier scenarios.
    """

    measured: Results = field(default_factory=dict)

    def version(self, size: Catalogue) -> Path:
        """Return a version directory; export it if needed."""
        return catalogue.write(size, tools.CACHE)

    @cached_property
    def small(self) -> list[Recommendation]:
        """Return the right recommendations for users of the small catalogue."""
        return Truth(self.version(catalogue.ML100K)).recommendations(512)

    @cached_property
    def constant_response(self) -> Path:
        """Return the file with the bare echo's response."""
        path = tools.CACHE / "constant-response"
        path.write_bytes(workload.constant_response(self.small[0]))
        return path

    def calls(self, size: Catalogue) -> Path:
        """Return the folder of a catalogue's workload files."""
        return tools.CACHE / "calls" / size.name

    @cached_property
    def recommend(self) -> Workload:
        """Return the workload of Recommend on the small catalogue."""
        return workload.recommend(self.calls(catalogue.ML100K), self.small)

    @cached_property
    def echo(self) -> Workload:
        """Return the same requests with a constant response."""
        return workload.echo(self.calls(catalogue.ML100K), self.small, self.constant_response.read_bytes())

    def cofactor(self, *flags: str) -> ServerSpec:
        """Return Cofactor's server on the small catalogue."""
        return servers.cofactor(" ".join(("cofactor", *flags)), catalogue.ML100K, *flags)

    def echo_server(self) -> ServerSpec:
        """Return the bare echo on grpcio, the server that Cofactor is built on: the upper limit."""
        return servers.echo("echo", "sync", self.constant_response)


def unary(context: Context) -> Sequence[Row]:
    """Recommend with k = 10, beside the bare echo and the peers."""
    version, users = context.version(catalogue.ML100K), context.small
    folder = context.calls(catalogue.ML100K)
    packed = Load(workload.msgpack(folder, users), 64)
    compact = Load(workload.json_bodies(folder, users, (",", ":")), 64)
    spaced = Load(workload.json_bodies(folder, users, (", ", ": ")), 64)
    return [
        Row("echo", context.echo_server(), Load(context.echo, 64)),
        Row("Recommend", context.cofactor(), Load(context.recommend, 64)),
        Row("Recommend, cache hits", context.cofactor("--cache-mib", "64"), Load(context.recommend, 64)),
        Row("mosec HTTP", servers.mosec("mosec", version), packed),
        Row("mosec HTTP, batches of 64", servers.mosec("mosec-batched", version, servers.MOSEC_BATCH), packed),
        Row("MLServer gRPC", servers.mlserver("mlserver", version), Load(workload.open_inference(folder, users), 64)),
        Row("LitServe HTTP", servers.litserve("litserve", version), compact),
        Row("BentoML HTTP", servers.bentoml("bentoml", version), spaced),
    ]


def concurrency(context: Context) -> Sequence[Row]:
    """Recommend and the echo with 1 to 256 calls in flight."""
    pairs = [(context.echo_server(), context.echo, "echo"), (context.cofactor(), context.recommend, "Recommend")]
    return [
        Row(f"{name}, {in_flight} in flight", server, Load(calls, in_flight))
        for in_flight in (1, 16, 64, 256)
        for server, calls, name in pairs
    ]


def bulk(context: Context) -> Sequence[Row]:
    """Streams, batches and columns, beside unary calls and the batches of mosec."""
    folder, users = context.calls(catalogue.ML100K), context.small
    version = context.version(catalogue.ML100K)
    pairs = workload.predict(folder, Truth(version))
    stream = Load(context.recommend, 32, streams=8, method=STREAM_METHOD)
    batch = Load(workload.batch_recommend(folder, users), 4, per_call=workload.BATCH, method=BATCH_METHOD)
    return [
        Row("unary, 64 in flight", context.cofactor(), Load(context.recommend, 64)),
        Row(
            "mosec, batches of 64",
            servers.mosec("mosec-batched", version, 64),
            Load(workload.msgpack(folder, users), 64),
        ),
        Row("stream echo, 8 x 32", context.echo_server(), replace(stream, workload=context.echo)),
        Row("StreamRecommend, 8 x 32", context.cofactor(), stream),
        Row("BatchRecommend of 64", context.cofactor(), batch),
        Row(
            "Predict of 10,000 pairs",
            context.cofactor(),
            Load(pairs, 2, per_call=workload.PAIRS, method=PREDICT_METHOD),
        ),
    ]


def two_parts(context: Context) -> Sequence[Row]:
    """The same catalogue in a version that predicts and ranks, and in one that only predicts."""
    rows = []
    for name, size in (("predicts and ranks", catalogue.ML100K_TWO_PARTS), ("predicts", catalogue.ML100K)):
        folder, users = context.calls(size), Truth(context.version(size)).recommendations(512)
        server = servers.cofactor(f"cofactor-{size.name}", size)
        batches = workload.batch_recommend(folder, users)
        rows += [
            Row(f"Recommend, 64 in flight, {name}", server, Load(workload.recommend(folder, users), 64)),
            Row(
                f"BatchRecommend of 64, {name}", server, Load(batches, 4, per_call=workload.BATCH, method=BATCH_METHOD)
            ),
        ]
    return [rows[0], rows[2], rows[1], rows[3]]


def open_loop(context: Context) -> Sequence[Row]:
    """A fixed arrival rate, half of what saturates each server. Latency counts from the time when a call was due."""
    saturated = context.measured
    return [
        Row(
            f"{name} at half of saturation",
            server,
            Load(calls, 0, rate=statistics.median(one.rate for one in saturated[f"unary/{row}"]) / 2),
        )
        for name, row, server, calls in (
            ("Recommend", "Recommend", context.cofactor(), context.recommend),
            ("echo", "echo", context.echo_server(), context.echo),
        )
    ]


def _large(context: Context, size: Catalogue, n_users: int, in_flight: Sequence[int]) -> Sequence[Row]:
    users = Truth(context.version(size)).recommendations(n_users)
    calls = workload.recommend(context.calls(size), users)
    return [
        Row(
            f"{mode}, {calls_in_flight} in flight",
            servers.cofactor(f"cofactor-{size.name}-{mode}", size, "--batching", flag),
            Load(calls, calls_in_flight),
        )
        for calls_in_flight in in_flight
        for mode, flag in (("batched", "auto"), ("direct", "off"))
    ]


def hundred_thousand(context: Context) -> Sequence[Row]:
    """A catalogue of 100,000 items, with dynamic batching and without ("direct")."""
    return _large(context, catalogue.HUNDRED_THOUSAND, 128, (1, 16, 64))


def million(context: Context) -> Sequence[Row]:
    """A catalogue of a million items, with dynamic batching and without ("direct")."""
    return _large(context, catalogue.MILLION, 32, (1, 16))


def workers(context: Context) -> Sequence[Row]:
    """One and two worker processes; two workers share their cores with the driver."""
    two = context.cofactor("--workers", "2")
    return [
        Row("one worker on one core", context.cofactor(), Load(context.recommend, 64)),
        Row(
            "two workers on two cores", replace(two, cores=servers.ALL_CORES), Load(context.recommend, 128), shared=True
        ),
    ]


FRONTS = {
    "grpcio": ("sync", ()),
    "grpcio, tuned for throughput": ("sync", ("grpc.optimization_target=1",)),
    "grpc.aio": ("aio", ()),
    "grpc.aio on uvloop": ("aio-uvloop", ()),
    "pygrpc-native, threads": ("native-sync", ()),
    "pygrpc-native, asyncio": ("native-aio", ()),
    "pygrpc-native, events": ("native-events", ()),
}


def fronts(context: Context) -> Sequence[Row]:
    """The bare echo behind every gRPC front that runs Python handlers."""
    response, load = context.constant_response, Load(context.echo, 64)
    rows = [
        Row(name, servers.echo(f"front-{front}-{len(options)}", front, response, *options), load)
        for name, (front, options) in FRONTS.items()
    ]
    rows += [
        Row(f"pyvoy (Envoy), ASGI on {loop}", servers.pyvoy(f"pyvoy-{loop}", response, loop), load)
        for loop in ("asyncio", "uvloop")
    ]
    return [*rows, Row("grpclib", servers.grpclib("grpclib", response), load)]


SCENARIOS: Mapping[str, Callable[[Context], Sequence[Row]]] = {
    "unary": unary,
    "concurrency": concurrency,
    "two-parts": two_parts,
    "open-loop": open_loop,
    "bulk": bulk,
    "100k": hundred_thousand,
    "1m": million,
    "workers": workers,
    "fronts": fronts,
}
NEEDS = {"open-loop": "unary"}
"""Scenarios that need the results of another one."""
