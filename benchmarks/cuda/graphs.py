"""Measure the graphs of exported versions on a device: start, parity, placement, device memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.cuda.run import Run, row, table_head
from benchmarks.serving import catalogue
from cofactor_server.inference.device.graphs import DeviceGraphs
from cofactor_server.inference.device.placement import MARGIN
from cofactor_server.inference.device.trial_inputs import TRIAL_SIZES, TrialInputs
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.golden_check import run_golden_tests
from cofactor_server.inference.sessions import load_on_cpu
from cofactor_server.repository.version_directory import VersionDirectory, open_version_directory
from cofactor_trainer.export.version_writer import export_version
from tests.support import synthetic

GRAPHS = tuple(TRIAL_SIZES)
MAX_BATCH_SIZE = 32  # the server's default


def small_version(versions: Path, architecture: str, *, two_parts: bool) -> Path:
    """Export a version of 1,682 items unless it is there -> its directory."""
    n_items = 1_682
    name = f"{architecture}-{'two-parts-' if two_parts else ''}{n_items}"
    # In a folder of its own: a server loads every model of its folder.
    models = versions / "models" / name
    if (models / name / "1").exists():
        return models / name / "1"
    if two_parts:
        model = synthetic.make_two_part_model(architecture, n_items=n_items)
    else:
        model = synthetic.make_model(architecture, n_items=n_items, n_factors=50)
        # As small as trained factors, so that sums of 50 products stay within the sigmoid's range.
        model = replace(model, user_factors=model.user_factors / 3, item_factors=model.item_factors / 3)
    dataset = synthetic.make_dataset(n_items=n_items)
    return export_version(model, dataset, models, name, "1", metrics={}, hyperparameters={})


def large_version(run: Run, n_items: int) -> Path:
    """Export a version of a large catalogue with random tables unless it is there -> its directory."""
    sizes = {100_000: catalogue.HUNDRED_THOUSAND, 1_000_000: catalogue.MILLION}
    usual = catalogue.Catalogue(f"items-{n_items}", 200, n_items, 16, 20)
    return catalogue.write(sizes.get(n_items, usual), run.versions)


def start_and_parity(run: Run) -> Iterator[str]:
    """Load dot products with all graphs on the device, check them, and compare every graph with the CPU."""
    yield from _parity(run, [("dot-product", False), ("dot-product", True)])


def networks(run: Run) -> Iterator[str]:
    """Do the same for networks, whose export traces torch and takes longer."""
    if run.is_small:
        yield "Left out of small runs."
        return
    yield from _parity(run, [("hybrid", True), ("neural-network", False)])


def _parity(run: Run, models: list[tuple[str, bool]]) -> Iterator[str]:
    yield "Seconds to load a version, golden tests passed on the device, largest difference from the CPU's outputs."
    yield ""
    yield from table_head("model", "load, s", "golden tests", *GRAPHS)
    for architecture, two_parts in models:
        directory = open_version_directory(small_version(run.versions, architecture, two_parts=two_parts))
        start = time.perf_counter()
        everything = frozenset(GRAPHS)
        engine = Engine(directory, [], must_use_first=True, pinned=everything, device=run.device)
        n_golden_tests = run_golden_tests(directory, engine)
        seconds = time.perf_counter() - start
        assert engine.device_graphs is not None
        differences = [largest_difference(directory, engine.device_graphs, graph) for graph in GRAPHS]
        run.figures[f"parity {directory.label}"] = max(differences)
        name = f"{architecture}{', with a ranking part' if two_parts else ''}"
        yield row(name, f"{seconds:.2f}", n_golden_tests, *(f"{value:.2g}" for value in differences))


def largest_difference(directory: VersionDirectory, graphs: DeviceGraphs, graph: str) -> float:
    """Return the largest difference of a graph's outputs that are not rows, relative for values above 1."""
    session, worst = load_on_cpu(directory, graph), 0.0
    names = [output.name for output in session.get_outputs() if "rows" not in output.name]
    inputs = TrialInputs(directory)
    for size in TRIAL_SIZES[graph]:
        given = inputs.make(graph, size)
        expected, actual = session.run(names, given), graphs.run(graph, names, given)
        assert actual is not None, f"the device does not run {graph}"
        for own, other in zip(actual, expected, strict=True):
            worst = max(worst, float(np.max(np.abs(own - other) / np.maximum(1, np.abs(other)))))
    assert worst < 1e-4, f"graph {graph} differs by {worst}"
    return worst


def placement(run: Run) -> Iterator[str]:
    """Let the server place the graphs of a small and a large version: times on both, and device memory."""
    yield f"What the server measures when it loads a version. It must take at most {MARGIN:g} of the CPU's time."
    yield ""
    yield from table_head("items", "graph", "size", "CPU, ms", "device, ms", "runs on")
    lines = []
    small, *large = run.catalogues[:3]
    for n_items in (small, *sorted(large, reverse=True)):  # the most important first
        if run.seconds_left() < 0:
            yield row(f"{n_items:,}", "left out: no time left", *[""] * 4)
            continue
        if n_items == run.catalogues[0]:
            version = small_version(run.versions, "dot-product", two_parts=True)
        else:
            version = large_version(run, n_items)
        engine = Engine(open_version_directory(version), [], must_use_first=True, device=run.device)
        engine.warm_up(MAX_BATCH_SIZE)
        for place in engine.placements:
            for trial, is_on_device in zip(place.trials, place.on_device, strict=True):
                times = [f"{1e3 * value:.3f}" if value else "not tried" for value in (trial.cpu_s, trial.device_s)]
                yield row(f"{n_items:,}", place.graph, trial.size, *times, "device" if is_on_device else "CPU")
        lines.append(_memory(run, engine, n_items))
        del engine
    yield ""
    yield from lines


def _memory(run: Run, engine: Engine, n_items: int) -> str:
    """Say what a version has taken of the device's memory."""
    assert engine.device_graphs is not None
    tables, taken = engine.device_graphs.tables.n_bytes / 2**20, engine.device_graphs.memory_bytes
    if taken is None:
        return f"{n_items:,} items: {tables:,.0f} MiB of tables; the memory that was taken is not known here."
    run.figures[f"memory beside the tables {n_items}"] = taken / 2**20 - tables
    return f"{n_items:,} items: {taken / 2**20:,.0f} MiB of device memory taken, {tables:,.0f} of them for tables."
