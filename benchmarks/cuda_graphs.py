"""Measure the graphs for benchmarks/cuda_machine.py: parity, times, bound buffers, device memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from cofactor_server.inference.io_binding import BoundSession

from cofactor_server.inference.engine import RECOMMEND_OUTPUTS, Engine
from cofactor_server.inference.execution_providers import CPU, CUDA, n_cuda_devices, requested_providers
from cofactor_server.inference.shape_buckets import ShapeBuckets
from cofactor_server.observability.call_timing import TimedSession
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_trainer.export.version_writer import export_version
from tests.support import synthetic

ARCHITECTURES = ("dot-product", "neural-network", "hybrid")
BATCHES = (1, 8, 32, 128)
N_FACTORS = 64
K = 10
# The two providers add the same products in a different order.
TOLERANCE = 1e-4
REPEATS = 15


def has_cuda() -> bool:
    """Return True if the machine has a CUDA device."""
    return n_cuda_devices() > 0


def version_of(models: Path, architecture: str, n_items: int) -> Path:
    """Export a synthetic version unless it is there; return its directory."""
    name = f"{architecture}-{n_items}"
    place = models / name / "1"
    if not place.exists():
        model = synthetic.make_model(architecture, n_items=n_items, n_factors=N_FACTORS)
        # As small as trained factors, so that sums of 64 products stay within the sigmoid's range.
        model = replace(model, user_factors=model.user_factors / 3, item_factors=model.item_factors / 3)
        dataset = synthetic.make_dataset(n_items=n_items)
        export_version(model, dataset, models, name, "1", metrics={}, hyperparameters={})
    return place


def plain_session(version: Path, graph: str, provider: str) -> onnxruntime.InferenceSession:
    """Open a session of one graph; it does not share its tables with other sessions."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")
    wanted = requested_providers("cuda" if provider == CUDA else "cpu", 0)
    return onnxruntime.InferenceSession(str(version / f"{graph}.onnx"), options, providers=wanted)


def engine_of(version: Path, provider: str) -> Engine:
    """Return the server's engine on one provider."""
    wanted = requested_providers("cuda" if provider == CUDA else "cpu", 0)
    return Engine(open_version_directory(version), wanted, must_use_first=True)


def as_on_a_device(version: Path, engine: Engine) -> Engine:
    """Give a CPU engine the bound buffers and padded batches that Recommend has on a device."""
    bound = BoundSession(plain_session(version, "recommend", CPU), RECOMMEND_OUTPUTS, "cpu")
    engine._recommend = TimedSession(ShapeBuckets(bound, int(open_version_directory(version).manifest.item_count)))
    return engine


def graph_calls(version: Path, engine: Engine, batch: int) -> dict[str, Callable[[], tuple[np.ndarray, ...]]]:
    """Return one call of every graph for `batch` users, pairs or ratings, with the same random inputs each time."""
    tables = open_version_directory(version).tables
    n_items, n_users = len(tables["item_bias"]) - 1, len(tables["user_bias"]) - 1
    random = np.random.default_rng(7)
    users = random.integers(0, n_users, batch)
    factors, bias = np.ascontiguousarray(tables["user_factors"][users]), tables["user_bias"][users]
    rows = random.integers(0, n_items, batch)
    excluded = random.integers(0, n_items, (batch, 100))
    rated, ratings = random.integers(0, n_items, (batch, 20)), random.uniform(1, 5, (batch, 20)).astype(np.float32)
    weights = np.ones(batch, np.float32)
    return {
        "predict": lambda: engine.predict(factors, bias, rows),
        "recommend": lambda: engine.recommend(factors, bias, weights, excluded, K)[1:],
        "similar_items": lambda: engine.similar_items(rows[:1], excluded[0], K)[1:],
        "similarity": lambda: (engine.similarity(rows[:1], rows),),
        "embed_user": lambda: engine.embed_user(rated, ratings, np.zeros((batch, 0), np.float32)),
    }


def graph_names() -> list[str]:
    """Return the names of the graphs in the order of the table columns."""
    return ["predict", "recommend", "similar_items", "similarity", "embed_user"]


def parity(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Compare the providers: the largest difference of every graph, relative for values above 1."""
    del quick
    other = "CUDA" if has_cuda() else "the CPU itself, Recommend with bound buffers and padded batches (no CUDA device)"
    lines = [f"## Parity of the CPU provider with {other}", ""]
    lines += ["| model | items | batch | " + " | ".join(graph_names()) + " |"]
    lines += ["|---|---|---|" + "---|" * len(graph_names())]
    worst = 0.0
    for architecture in ARCHITECTURES:
        for n_items in sizes[: 2 if architecture != "dot-product" else None]:
            version = version_of(models, architecture, n_items)
            reference = engine_of(version, CPU)
            engine = engine_of(version, CUDA) if has_cuda() else as_on_a_device(version, engine_of(version, CPU))
            for batch in (1, 20):
                ours, theirs = graph_calls(version, reference, batch), graph_calls(version, engine, batch)
                errors = []
                for graph in graph_names():
                    pairs = zip(ours[graph](), theirs[graph](), strict=True)
                    errors.append(max(float(np.max(np.abs(a - b) / np.maximum(1, np.abs(a)))) for a, b in pairs))
                worst = max(worst, *errors)
                cells = " | ".join(f"{e:.0e}" + (" **over tolerance**" if e > TOLERANCE else "") for e in errors)
                lines.append(f"| {architecture} | {n_items:,} | {batch} | {cells} |")
    if not worst <= TOLERANCE:
        raise AssertionError(
            "\n".join([f"a graph differs by {worst}, more than the tolerance of {TOLERANCE}", "", *lines])
        )
    return [*lines, ""]


def bandwidth() -> float:
    """Return the median bytes per second that a copy in device memory reads and writes."""
    source = torch.empty(256 * 2**20, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * source.nbytes / statistics.median(times)


def graph_times(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Time every graph, and compare Recommend with the time to read its table once."""
    provider = CUDA if has_cuda() else CPU
    lines = [f"## Graphs on {provider}, ms (median, min to max of {REPEATS})", ""]
    rate = bandwidth() if has_cuda() else None
    if rate:
        lines += [f"A copy in device memory reads and writes {rate / 1e12:.2f} TB/s together.", ""]
    lines += ["| model | items | batch | " + " | ".join(graph_names()) + " | recommend / read of the table |"]
    lines += ["|---|---|---|" + "---|" * (len(graph_names()) + 1)]
    for architecture in ARCHITECTURES:
        for n_items in sizes[: 2 if architecture != "dot-product" else None]:
            version = version_of(models, architecture, n_items)
            engine = engine_of(version, provider)
            for batch in BATCHES[:: 2 if quick else 1]:
                timings = {graph: timed(call) for graph, call in graph_calls(version, engine, batch).items()}
                read = open_version_directory(version).tables["item_factors"].nbytes / rate * 1e3 if rate else None
                ratio = f"{timings['recommend'][1] / read:.1f}" if read else "-"
                cells = [f"{middle:.3f} ({low:.3f} to {high:.3f})" for low, middle, high in timings.values()]
                lines.append(f"| {architecture} | {n_items:,} | {batch} | " + " | ".join(cells) + f" | {ratio} |")
    return [*lines, ""]


def bound_runs(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Compare Recommend with bound buffers and with padded batches to plain runs of the same graph."""
    provider, device = (CUDA, "cuda") if has_cuda() else (CPU, "cpu")
    lines = [f"## Recommend with bound buffers, on {provider}, ms (median, min to max of {REPEATS})", ""]
    lines += ["| items | batch | plain | bound | bound and padded |", "|---|---|---|---|---|"]
    for n_items in sizes:
        version = version_of(models, "dot-product", n_items)
        session = plain_session(version, "recommend", provider)
        tables = open_version_directory(version).tables
        bound = BoundSession(session, RECOMMEND_OUTPUTS, device)
        fixed = ShapeBuckets(bound, n_items)
        for batch in (1, 20, 32)[:: 2 if quick else 1]:
            inputs = {
                "user_factors": np.ascontiguousarray(np.tile(tables["user_factors"][:1], (batch, 1))),
                "user_bias": np.zeros(batch, np.float32),
                "popularity_weight": np.ones(batch, np.float32),
                "excluded_rows": np.random.default_rng(3).integers(0, n_items, (batch, 100)),
                "k": np.array([K]),
            }
            cells = []
            for run in (session.run, bound.run, fixed.run):
                low, middle, high = timed(lambda run=run, inputs=inputs: run(RECOMMEND_OUTPUTS, inputs))
                cells.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
            lines.append(f"| {n_items:,} | {batch} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def device_memory(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Measure the device memory of all graphs of a version; the tables that they read should be there once."""
    del quick
    lines = ["## Device memory of a version whose graphs were loaded and run once", ""]
    if not has_cuda():
        return [*lines, "Not measured: this machine has no CUDA device.", ""]
    lines += ["| items | tables that the graphs read, MB | device memory taken, MB |", "|---|---|---|"]
    for n_items in sizes:
        version = version_of(models, "dot-product", n_items)
        directory = open_version_directory(version)
        names = {table for graph in directory.manifest.graphs for table in graph.tables.values()}
        needed = sum(directory.tables[name].nbytes for name in names) / 2**20
        before = torch.cuda.mem_get_info()[0]
        engine = engine_of(version, CUDA)
        for call in graph_calls(version, engine, 1).values():
            call()
        taken = (before - torch.cuda.mem_get_info()[0]) / 2**20
        lines.append(f"| {n_items:,} | {needed:.0f} | {taken:.0f} |")
        del engine
    return [*lines, ""]


def timed(call: Callable[[], object]) -> tuple[float, float, float]:
    """Time a call until its results are on the host; return the least, median and most milliseconds."""
    for _ in range(3):
        call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return min(times), statistics.median(times), max(times)
