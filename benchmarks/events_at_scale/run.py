"""Train in a process of its own, and load the version in a server."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from benchmarks.cold_start import free_port
from benchmarks.events_at_scale.events import Size, write_events
from cofactor.v1.recommender_pb2 import EmbedNewUserRequest, Event
from cofactor.v1.recommender_pb2_grpc import RecommenderServiceStub
from cofactor_trainer.export.verification.parity import cpu_session

FOLD_IN_EVENTS, FOLD_INS = 200, 300
# Phases by the first words of the line that the command prints when they begin.
PHASES = {
    "reading ": "read, summarise, split, weigh",
    "training on ": "train, to measure",
    "measuring on the ": "measure",
    "training again ": "train again, to export",
    "metrics: ": "save, export, verify",
    "exported: ": "",
}


@dataclass(frozen=True)
class FoldIn:
    """Milliseconds of a fold-in by the graph alone and by an RPC, its events, and the memory of the server, GB."""

    graph: float
    rpc: float
    events: int
    gigabytes: float


@dataclass(frozen=True)
class Run:
    """The measures of a run of the command.

    Attributes:
        phases: seconds by phase.
        gigabytes: peak of resident memory, 10^9 bytes.
        epochs: seconds of every epoch of the measured training.
        losses: their train losses.
        events, pairs, users, items: numbers of the data.
        megabytes: size of the version, 10^6 bytes.
        measures: measures on held-out events, of the model and of baselines.
        fold_in: how long a fold-in takes.
        libraries: resident memory of the imports alone, 10^9 bytes.
    """

    phases: dict[str, float]
    gigabytes: float
    epochs: tuple[float, ...]
    losses: tuple[float, ...]
    events: int
    pairs: int
    users: int
    items: int
    megabytes: float
    measures: dict[str, dict[str, float]]
    fold_in: FoldIn
    libraries: float = field(default_factory=lambda: library_gigabytes())


def train(events: Path, models: Path, flags: Sequence[str]) -> tuple[dict[str, float], float]:
    """Run the command; return the seconds of its phases and its peak of resident memory, 10^9 bytes.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-u", "-m", "cofactor_trainer", "train", "--dataset", str(events), "--output"]
    command += [str(models), "--name", "scale", "--version", "1", "--device", "cpu", *flags]
    phases: dict[str, float] = {}
    phase, began = "import", time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print("   ", line, end="", flush=True)
        lines.append(line)
        found = next((name for start, name in PHASES.items() if line.startswith(start)), None)
        if found is not None:
            now = time.perf_counter()
            phases[phase] = phases.get(phase, 0.0) + now - began
            phase, began = found, now
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("the training failed:\n" + "".join(lines[-20:]))
    return phases, usage.ru_maxrss * 1024 / 1e9


def fold_in(version: Path, items: Sequence[str], n_events: int) -> FoldIn:
    """Load the version in a server and fold new users in; their events are of items as popular as those of others."""
    random = np.random.default_rng(1)
    chosen = [random.choice(len(items), min(n_events, len(items) // 2), replace=False) for _ in range(FOLD_INS + 20)]
    session = cpu_session(version / "embed_user.onnx")
    graph = []
    for rows in chosen:
        history = {"item_rows": rows[None], "ratings": np.ones((1, len(rows)), np.float32)}
        began = time.perf_counter()
        session.run(None, history)
        graph.append(time.perf_counter() - began)
    port = free_port()
    command = [sys.executable, "-m", "cofactor_server", "--models", str(version.parents[1]), "--port", str(port)]
    server = subprocess.Popen([*command, "--provider", "cpu", "--log-level", "warning"])
    rpc = []
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            embed = RecommenderServiceStub(channel).EmbedNewUser
            for rows in chosen:
                request = EmbedNewUserRequest(events=[Event(item_id=items[row]) for row in rows])
                began = time.perf_counter()
                embed(request, timeout=300, wait_for_ready=True)
                rpc.append(time.perf_counter() - began)
        memory = psutil.Process(server.pid).memory_info().rss / 1e9
    finally:
        server.terminate()
        server.wait(30)
    return FoldIn(*(1000 * statistics.median(seconds[20:]) for seconds in (graph, rpc)), len(chosen[0]), memory)


def read_items(version: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the item ids of a version."""
    tables = {table["name"]: table for table in manifest["tables"]}
    stored = np.memmap(version / "tables.bin", np.uint8, "r")

    def read(name: str, kind: type) -> np.ndarray:
        start, length = int(tables[name].get("offset", 0)), int(tables[name]["shape"][0])
        return stored[start : start + length * np.dtype(kind).itemsize].view(kind)

    text, offsets = read("item_ids.bytes", np.uint8).tobytes(), read("item_ids.offsets", np.int64).tolist()
    return [text[start:end].decode() for start, end in pairwise(offsets)]


def measure(size: Size, flags: Sequence[str], folder: Path) -> Run:
    """Write the events, train, and load the version in a server."""
    began = time.perf_counter()
    events = folder / "events.csv"
    write_events(events, size)
    print(f"{events.stat().st_size / 1e6:,.0f} MB of events in {time.perf_counter() - began:.0f} s", flush=True)
    phases, gigabytes = train(events, folder / "models", flags)
    events.unlink()
    version = folder / "models" / "scale" / "1"
    manifest, measures = (json.loads((version / name).read_text()) for name in ("manifest.json", "measures.json"))
    return Run(
        phases=phases,
        gigabytes=gigabytes,
        epochs=tuple(epoch["seconds"] for epoch in manifest["epochs"]),
        losses=tuple(epoch["trainLoss"] for epoch in manifest["epochs"]),
        events=size.events,
        pairs=int(manifest["ratingCount"]),
        users=int(manifest["userCount"]),
        items=int(manifest["itemCount"]),
        megabytes=sum(path.stat().st_size for path in version.iterdir()) / 1e6,
        measures=measures["models"],
        fold_in=fold_in(version, read_items(version, manifest), FOLD_IN_EVENTS),
    )


def library_gigabytes() -> float:
    """Return the resident memory of a process that only imports torch and the trainer, 10^9 bytes."""
    code = "import resource, torch, cofactor_trainer.commands.train; "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    return int(subprocess.check_output([sys.executable, "-c", code])) * 1024 / 1e9
