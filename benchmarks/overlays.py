"""Measure what an overlay costs: the time until it is seen, and the calls of versions with and without one.

    python -m benchmarks.overlays [--items 2000 20000] [--rounds 5] [--before REVISION] [--output PAGE]

The models are random dot products of 64 factors, which take the same time as trained ones. Two servers run: one
whose repository has no overlay, and one with the same two models, one of which has an overlay of 100 added and 20
removed items. With --before a third runs the code of an earlier revision, which knows no overlays. Windows of calls to
them alternate. Throughput is that of 16 calls in flight from this process; the
processor time of the server per call depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks.serving.compare import checkout
from benchmarks.serving.machine import describe
from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor.v1 import catalog_pb2, catalog_pb2_grpc, recommender_pb2_grpc
from cofactor.v1 import recommender_pb2 as pb
from cofactor.v1.model_pb2 import ModelRef
from cofactor_server.config import ServerConfig
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.overlaid_version import overlay_version
from cofactor_trainer.export.version_writer import export_version
from tests.support.overlays import Twins, publish
from tests.support.server_process import ServerProcess, free_port
from tests.support.synthetic import make_dataset, make_model

ADDED, REMOVED = 100, 20
N_USERS, IN_FLIGHT, BATCH = 200, 16, 64
PLAIN, OVERLAID = "plain", "overlaid"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Kind:
    """A kind of call.

    Attributes:
        name: how the page names it.
        method: name of the method of the stub.
        requests: requests for a model, called in turn.
        users: number of users that a call answers.
    """

    name: str
    method: str
    requests: Callable[[ModelRef], Sequence[Any]]
    users: int = 1


def kinds(item_ids: Sequence[str]) -> list[Kind]:
    """Return the kinds of calls, of items that no overlay touches."""
    users = [pb.User(user_id=f"u{number:0{len(item_ids[0]) - 1}}") for number in range(64)]
    own = item_ids[REMOVED:]

    def recommend(model: ModelRef) -> list[pb.RecommendRequest]:
        return [pb.RecommendRequest(model=model, user=user, page_size=10) for user in users]

    def batches(model: ModelRef) -> list[pb.BatchRecommendRequest]:
        requests = [pb.RecommendRequest(user=user, page_size=10) for user in users]
        return [pb.BatchRecommendRequest(model=model, requests=requests[:BATCH])]

    return [
        Kind("Recommend", "Recommend", recommend),
        Kind("BatchRecommend of 64", "BatchRecommend", batches, BATCH),
        Kind(
            "Predict of 100 items",
            "Predict",
            lambda model: [pb.PredictRequest(model=model, user=user, item_ids=own[:100]) for user in users],
        ),
        Kind(
            "SimilarItems",
            "SimilarItems",
            lambda model: [pb.SimilarItemsRequest(model=model, item_ids=[item_id]) for item_id in own[:64]],
        ),
        Kind(
            "Recommend of 100 candidates",
            "Recommend",
            lambda model: [
                pb.RecommendRequest(model=model, user=user, filter=pb.ItemFilter(candidate_item_ids=own[:100]))
                for user in users
            ],
        ),
    ]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def window(call: Any, requests: Sequence[Any], seconds: float) -> int:
    """Call with IN_FLIGHT calls in flight for some seconds; return the number of calls that ended."""
    ended, lock, is_over = [0], threading.Lock(), threading.Event()
    idle = threading.Semaphore(0)

    def next_call(number: int) -> None:
        if is_over.is_set():
            idle.release()
            return
        future = call.future(requests[number % len(requests)], timeout=30)
        future.add_done_callback(lambda done: finish(done, number))

    def finish(done: Any, number: int) -> None:
        done.result()
        with lock:
            ended[0] += 1
        next_call(number + IN_FLIGHT)

    for number in range(IN_FLIGHT):
        next_call(number)
    is_over.wait(seconds)
    is_over.set()
    for _ in range(IN_FLIGHT):
        idle.acquire()
    return ended[0]


@dataclass(frozen=True)
class Arm:
    """A server process and a model that it serves."""

    server: ServerProcess
    stub: Any
    model: ModelRef

    def measure(self, kind: Kind, seconds: float) -> tuple[float, float]:
        """Return users a second, and the server's processor time for one in microseconds."""
        call, requests = getattr(self.stub, kind.method), kind.requests(self.model)
        cpu, started = cpu_seconds(self.server.pid), time.perf_counter()
        users = window(call, requests, seconds) * kind.users
        elapsed = time.perf_counter() - started
        return users / elapsed, 1e6 * (cpu_seconds(self.server.pid) - cpu) / users


def compare(arms: dict[str, Arm], kind: Kind, rounds: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Return what each arm measured in each round. The first round warms up and is left out."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        order = list(arms) if number % 2 else list(reversed(arms))
        for name in order:
            measured = arms[name].measure(kind, seconds)
            if number:
                found[name].append(measured)
    return found


def ratio(values: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]], column: int) -> str:
    """Return the median, the lowest and the highest ratio of the rounds as a cell."""
    ratios = [value[column] / base[column] for value, base in zip(values, reference, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})"


def export(models: Path, n_items: int) -> tuple[Twins, Path]:
    """Write the two models, and an overlay of one of them."""
    model = make_model(n_users=N_USERS, n_items=n_items, n_factors=64)
    dataset = make_dataset(N_USERS, n_items, ratings_per_user=50)
    for name in (PLAIN, OVERLAID):
        version = export_version(model, dataset, models, name, "1", metrics={}, hyperparameters={})
    return Twins(version), version


def items(twins: Twins, count: int) -> list[Any]:
    """Return new items."""
    of = itertools.cycle(twins.item_ids[REMOVED:])
    return [twins.twin(next(of), f"new-{number}") for number in range(count)]


def time_of(action: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of an action in milliseconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def apply_times(version: Path, twins: Twins) -> Iterator[str]:
    """Yield a row for each size of an overlay: the time to apply it, beside that to load the version."""
    config = ServerConfig(models="", provider="cpu")

    def load() -> LoadedVersion:
        return LoadedVersion(open_version_directory(version), ["CPUExecutionProvider"], config)

    base = load()
    for count in (100, 1000, 10_000):
        overlay = twins.overlay(1, items(twins, count), twins.item_ids[:REMOVED])
        overlay_version(base, overlay)
        size = overlay.ByteSize() / 2**20
        yield f"| {count:,} | {size:.2f} MiB | {time_of(lambda o=overlay: overlay_version(base, o)):.1f} ms |"
    yield f"| the version loaded anew | | {time_of(load, 3):.0f} ms |"


def seen_after(models: Path, twins: Twins, folder: Path, count: int = 8) -> tuple[list[float], list[float]]:
    """Return the seconds until overlays are seen at the default poll interval, and those that UpdateOverlay takes."""
    admin_port = free_port()
    polled, called = [], []
    with (
        ServerProcess(models, folder / "seen.log", "--admin-port", str(admin_port)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        grpc.insecure_channel(f"127.0.0.1:{admin_port}") as admin_channel,
    ):
        catalog, admin = catalog_pb2_grpc.CatalogServiceStub(channel), admin_pb2_grpc.AdminServiceStub(admin_channel)
        request = catalog_pb2.GetModelRequest(model=ModelRef(name=OVERLAID))
        for number in range(2, count + 2):
            publish(models, twins.overlay(number, items(twins, ADDED)))
            started = time.perf_counter()
            while catalog.GetModel(request).model.overlay_sequence != number:
                time.sleep(0.01)
            polled.append(time.perf_counter() - started)
        for number in range(count):
            started = time.perf_counter()
            added = [twins.twin(twins.item_ids[30], f"by-admin-{number}")]
            answer = admin.UpdateOverlay(admin_pb2.UpdateOverlayRequest(name=OVERLAID, added_items=added))
            called.append(time.perf_counter() - started)
            assert catalog.GetModel(request).model.overlay_sequence == answer.sequence
    return polled, called


def environment_of(revision: str) -> dict[str, str]:
    """Return the environment in which a server runs the code of a revision; empty for the code of this checkout."""
    if not revision:
        return {}
    folder = checkout(revision)
    return {"PYTHONPATH": os.pathsep.join(str(folder / top) for top in ("proto", "server"))}


def cost_rows(models: Path, without: Path, folder: Path, item_ids: Sequence[str], options: Any) -> Iterator[str]:
    """Yield a row for each kind of call."""
    with (
        ServerProcess(without, folder / "before.log", environment=environment_of(options.before)) as before,
        grpc.insecure_channel(f"127.0.0.1:{before.port}") as before_channel,
        ServerProcess(without, folder / "without.log") as none,
        ServerProcess(models, folder / "with.log") as some,
        grpc.insecure_channel(f"127.0.0.1:{none.port}") as none_channel,
        grpc.insecure_channel(f"127.0.0.1:{some.port}") as some_channel,
    ):
        none_stub, some_stub = map(recommender_pb2_grpc.RecommenderServiceStub, (none_channel, some_channel))
        arms = {
            "reference": Arm(none, none_stub, ModelRef(name=PLAIN)),
            "elsewhere": Arm(some, some_stub, ModelRef(name=PLAIN)),
            "own": Arm(some, some_stub, ModelRef(name=OVERLAID)),
        }
        if options.before:
            arms["before"] = Arm(
                before, recommender_pb2_grpc.RecommenderServiceStub(before_channel), ModelRef(name=PLAIN)
            )
        for kind in kinds(item_ids):
            found = compare(arms, kind, options.rounds, options.seconds)
            rate, cpu = (statistics.median(row[column] for row in found["reference"]) for column in (0, 1))
            compared = [(arm, "reference") for arm in ("elsewhere", "own")]
            if options.before:
                compared.append(("reference", "before"))
            cells = [ratio(found[arm], found[to], column) for arm, to in compared for column in (0, 1)]
            yield f"| {kind.name} | {rate:,.0f} | {cpu:,.0f} | {' | '.join(cells)} |"


def heading(before: str) -> list[str]:
    """Return the sentence and the head of the table of calls."""
    text = "Ratios to the server without overlays: median of the rounds, lowest and highest."
    head = (
        "| call | users/s without overlays | µs of processor time | overlay of another model: throughput | CPU "
        "| overlay of this model: throughput | CPU |"
    )
    rule = "|---|---|---|---|---|---|---|"
    if before:
        text += f" The last two columns are the ratios of that server to the one of {before}."
        head, rule = head + " this code to the code before: throughput | CPU |", rule + "---|---|"
    return [text, "", head, rule]


def report(options: Any) -> str:
    """Return the page."""
    lines = [
        "# Overlays",
        "",
        f"`python -m benchmarks.overlays --items {' '.join(map(str, options.items))} --rounds {options.rounds}"
        f"{' --before ' + options.before if options.before else ''}` on "
        f"{describe()}, shared with other work.",
        "",
        __doc__.partition("\n\n")[2].partition("\n\n")[2].strip(),
    ]
    for n_items in options.items:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            models, without = folder / "models", folder / "without"
            models.mkdir()
            twins, version = export(models, n_items)
            shutil.copytree(models, without)
            publish(models, twins.overlay(1, items(twins, ADDED), twins.item_ids[:REMOVED]))
            lines += ["", f"## {n_items:,} items", "", "### Calls", ""]
            lines += [*heading(options.before), *cost_rows(models, without, folder, twins.item_ids, options)]
            lines += [
                "",
                "### Time to apply",
                "",
                "| added items | file | time |",
                "|---|---|---|",
                *apply_times(version, twins),
            ]
            if n_items == options.items[0]:
                polled, called = seen_after(models, twins, folder)
                lines += [
                    "",
                    "### Time until an overlay is seen",
                    "",
                    f"From the rename of the file, at the default poll interval of 5 s, {len(polled)} overlays: median "
                    f"{statistics.median(polled):.1f} s, longest {max(polled):.1f} s. Through `UpdateOverlay` on the "
                    f"server itself: median {1e3 * statistics.median(called):.0f} ms, longest "
                    f"{1e3 * max(called):.0f} ms.",
                ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[2000, 20_000], metavar="N", help="sizes of catalogues")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="length of a window")
    parser.add_argument("--before", default="", metavar="REVISION", help="a revision without overlays to compare with")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page to this file")
    options = parser.parse_args()
    page = report(options)
    if options.output:
        options.output.write_text(page, "utf-8")
    else:
        print(page, end="")


if __name__ == "__main__":
    main()
