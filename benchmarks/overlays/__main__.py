"""Measure what an overlay costs: the time until it is seen, and the calls of versions with and without one.

    python -m benchmarks.overlays [--items 2000 20000] [--rounds 200] [--before REVISION] [--output PAGE]

The models are random dot products of 64 factors, which take the same time as trained ones. Processes answer calls
without gRPC and without the response cache: one has no overlay; one has the same two models, one of them with an
overlay of 100 added and 20 removed items; with --before, one runs an earlier revision, which knows no overlays.
Windows of a few milliseconds alternate between them, in a new order every time. The figures are processor time, which
bounds the throughput of a server. The ratios are medians of the rounds, with their quartiles.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from benchmarks.serving.compare import checkout
from benchmarks.serving.machine import describe
from cofactor.admin.v1 import admin_pb2, admin_pb2_grpc
from cofactor.v1 import catalog_pb2, catalog_pb2_grpc
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
N_USERS = 200
PLAIN, OVERLAID = "plain", "overlaid"


# Kind of call in worker.py -> its name on the page, and calls in a window.
KINDS = {
    "recommend": ("Recommend", 16),
    "batch": ("BatchRecommend of 64 users", 1),
    "predict": ("Predict of 100 items", 16),
    "similar": ("SimilarItems", 16),
    "candidates": ("Recommend of 100 candidates", 16),
}


class Worker:
    """A process of worker.py."""

    def __init__(self, models: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("worker.py"), models],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit("a worker does not start")

    def measure(self, line: str) -> float:
        """Return the processor time of one call in microseconds; `line` asks for a window."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def compare(
    arms: dict[str, tuple[Worker, str]], kind: str, item_ids: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Return what each arm took in each round, for the model that it names, after a tenth as many to warm up."""
    user_ids = [f"u{number:0{len(item_ids[0]) - 1}}" for number in range(64)]
    found: dict[str, list[float]] = {name: [] for name in arms}
    chance = random.Random(1)
    for number in range(-rounds // 10, rounds):
        for name in chance.sample(list(arms), len(arms)):
            worker, model = arms[name]
            took = worker.measure(
                json.dumps([kind, model, user_ids, item_ids[REMOVED : REMOVED + 100], KINDS[kind][1]])
            )
            if number >= 0:
                found[name].append(took)
    return found


def ratio(values: Sequence[float], reference: Sequence[float]) -> str:
    """Return the median and the quartiles of the ratios of the rounds as a cell."""
    ratios = [value / base for value, base in zip(values, reference, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return f"{median:.3f} ({low:.2f} to {high:.2f})"


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
    """Return the median processor time of an action in milliseconds."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        action()
        times.append(1e3 * (time.process_time() - started))
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


def cost_rows(models: Path, without: Path, item_ids: Sequence[str], options: Any) -> Iterator[str]:
    """Yield a row for each kind of call."""
    with (
        Worker(without, {}) as none,
        Worker(without, {}) as control,
        Worker(models, {}) as some,
        Worker(without, environment_of(options.before)) as before,
    ):
        arms = {"none": (none, PLAIN), "control": (control, PLAIN), "elsewhere": (some, PLAIN), "own": (some, OVERLAID)}
        if options.before:
            arms["before"] = (before, PLAIN)
        for kind, (name, _) in KINDS.items():
            found = compare(arms, kind, item_ids, options.rounds)
            cells = [ratio(found[arm], found["none"]) for arm in ("control", "elsewhere", "own")]
            if options.before:
                cells.append(ratio(found["none"], found["before"]))
            yield f"| {name} | {statistics.median(found['none']):,.0f} | {' | '.join(cells)} |"


def heading(before: str) -> list[str]:
    """Return the sentence and the head of the table of calls."""
    text = "Ratios of processor time to the process without overlays. The control is a second such process."
    head = "| call | µs without overlays | control | overlay of another model | overlay of this model |"
    rule = "|---|---|---|---|---|"
    if before:
        text += f" The last column is the ratio of the process without overlays to one of revision {before}."
        head, rule = head + " this code to the code before |", rule + "---|"
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
            lines += [*heading(options.before), *cost_rows(models, without, twins.item_ids, options)]
            lines += [
                "",
                "### Time to apply",
                "",
                "| added items | file | processor time |",
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
    parser.add_argument("--rounds", type=int, default=200, metavar="N", help="default: %(default)s")
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
