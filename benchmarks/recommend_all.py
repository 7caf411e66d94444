"""Measure `cofactor recommend-all`: processor time per user, beside the engine alone and a server's BatchRecommend.

    python -m benchmarks.recommend_all [--items 1682 100000] [--users 1000000] [--sample 10000] [--rounds 3]
        [--full-run-minutes 15] [--scratch DIR] [--output docs/benchmarks/recommend-all.md]

The versions have random factors; every user has 20 ratings. A round measures every way once, in turn, on the same
users. Processor time is counted, because other load on the machine changes it little. Then recommend-all runs for all
users, if by the time that was measured this takes less than --full-run-minutes of one core; otherwise the page
extrapolates, and says so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from benchmarks.bulk_predict import peak_mib, serving
from cofactor_client import Client, recommend_request
from cofactor_server.batch.__main__ import build_parser
from cofactor_server.batch.commands import write_recommendations
from cofactor_server.batch.version_choice import VersionChoice, load_version
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.export.version_writer import export_version
from cofactor_trainer.scoring.trained_model import TrainedModel

N_FACTORS, RATINGS_PER_USER, K = 64, 20, 10
ENGINE_BATCH = 64
CALL_SIZE, CALLS_IN_FLIGHT = 256, 4
WAYS = ("engine", "recommend-all", "BatchRecommend")


@dataclass
class Measured:
    """Processor microseconds per user of every way, by round, and what the full run took."""

    n_items: int
    times: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    full_seconds: float | None = None
    full_processor_s: float = 0.0
    full_load: float = 0.0
    full_mib: float = 0.0
    file_mb: float = 0.0

    def median(self, way: str) -> float:
        """Return the median time of a way."""
        return statistics.median(self.times[way])

    def ratio(self, way: str) -> float:
        """Return the median over the rounds of a way's time, relative to that of the engine in the same round."""
        return statistics.median(a / b for a, b in zip(self.times[way], self.times["engine"], strict=True))


def make_version(folder: Path, n_users: int, n_items: int) -> Path:
    """Export a dot product of random factors."""
    random = np.random.default_rng(0)

    def table(n_rows: int) -> np.ndarray:
        rows = random.standard_normal((n_rows + 1, N_FACTORS), dtype=np.float32) * np.float32(0.2)
        rows[-1] = rows[:-1].mean(axis=0)
        return rows

    model = TrainedModel(
        architecture="dot-product",
        objective="rating",
        user_factors=table(n_users),
        user_bias=np.append(random.normal(0, 0.3, n_users), 0).astype(np.float32),
        item_factors=table(n_items),
        item_bias=np.append(random.normal(0, 0.4, n_items), 0).astype(np.float32),
        global_bias=0.3,
        rating_range=(0.5, 5.5),
        n_dot_factors=N_FACTORS,
    )
    steps = np.sort(random.random((n_users, RATINGS_PER_USER), dtype=np.float32), axis=1)
    spread = np.arange(RATINGS_PER_USER, dtype=np.int32)
    items = (steps * (n_items - RATINGS_PER_USER)).astype(np.int32) + spread  # ascending and unique
    dataset = RatingsDataset(
        name="random",
        user_ids=[f"user-{row:07}" for row in range(n_users)],
        catalogue=Catalogue(
            [f"item-{row:06}" for row in range(n_items)], [""] * n_items, [()] * n_items, np.zeros(n_items, np.int64)
        ),
        user_rows=np.repeat(np.arange(n_users, dtype=np.int32), RATINGS_PER_USER),
        item_rows=items.ravel(),
        ratings=random.integers(1, 6, items.size).astype(np.float32),
        timestamps=None,
        rating_min=1.0,
        rating_max=5.0,
    )
    return export_version(model, dataset, folder, "random", "1", metrics={}, hyperparameters={})


def engine_time(version: LoadedVersion, user_rows: Sequence[int]) -> float:
    """Run the graph alone, with all processors, from arrays that are ready."""
    order = version.orders.known[0]
    runs = []
    for start in range(0, len(user_rows), ENGINE_BATCH):
        users = [version.users.known(row) for row in user_rows[start : start + ENGINE_BATCH]]
        factors, bias = np.concatenate([u.factors for u in users]), np.concatenate([u.bias for u in users])
        popularity = np.full(len(users), order.popularity_weight, np.float32)
        runs.append((factors, bias, popularity, np.stack([u.rated_rows for u in users]), K, None))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        started = time.process_time()
        for _ in threads.map(lambda run: version.engine.recommend(*run), runs):
            pass
        return (time.process_time() - started) / len(user_rows) * 1e6


@dataclass(frozen=True)
class CommandRun:
    """Hold the cost of a run of recommend-all, from its start to the finished file."""

    seconds: float
    processor_s: float
    peak_mib: float


def run_command(version: Path, output: Path) -> CommandRun:
    """Run recommend-all."""
    output.unlink(missing_ok=True)
    words = ["recommend-all", "--version-dir", str(version), "--output", str(output), "--provider", "cpu"]
    command = [sys.executable, "-m", "cofactor_server.batch", *words]
    started, before, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(OSError, StopIteration):  # it has just ended
                peak = max(peak, peak_mib(watched))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"recommend-all ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return CommandRun(time.perf_counter() - started, used, peak)


def command_time(version: LoadedVersion, folder: Path, n_users: int) -> float:
    """Do what recommend-all does for the users in users.txt, less what it does without users."""
    (folder / "nobody.txt").write_text("")
    words = ["recommend-all", "--version-dir", "", "--output", str(folder / "out.parquet")]
    seconds = []
    for users in ("nobody.txt", "users.txt"):
        started = time.process_time()
        write_recommendations(version, build_parser().parse_args([*words, "--users", str(folder / users)]))
        seconds.append(time.process_time() - started)
    return (seconds[1] - seconds[0]) / n_users * 1e6


def server_time(server: psutil.Process, client: Client, user_ids: Sequence[str]) -> float:
    """Send the users through BatchRecommend with several calls in flight; server and client count."""
    calls = [
        [recommend_request(user_id, k=K) for user_id in user_ids[start : start + CALL_SIZE]]
        for start in range(0, len(user_ids), CALL_SIZE)
    ]
    before, started = server.cpu_times(), time.process_time()
    with ThreadPoolExecutor(CALLS_IN_FLIGHT) as threads:
        answered = sum(len(responses) for responses in threads.map(partial(client.batch_recommend, timeout=600), calls))
    used, after = time.process_time() - started, server.cpu_times()
    assert answered == len(user_ids)
    return (used + after.user + after.system - before.user - before.system) / len(user_ids) * 1e6


def measure(folder: Path, arguments: argparse.Namespace, n_items: int) -> Measured:
    """Measure all ways on a sample of the users, then recommend-all on all of them."""
    measured, n_users = Measured(n_items), arguments.users
    path = folder / "models" / "random" / "1"
    if not path.exists():
        make_version(folder / "models", n_users, n_items)
    sample = np.random.default_rng(1).choice(n_users, min(arguments.sample, n_users), replace=False)
    rows = np.sort(sample).tolist()
    user_ids = [f"user-{row:07}" for row in rows]
    (folder / "users.txt").write_text("\n".join(user_ids) + "\n")
    choice = VersionChoice.of_directory(path, VersionChoice("", provider="cpu", batch_size=ENGINE_BATCH))
    with load_version(choice) as version, serving(folder / "models") as (server, client):
        ways: dict[str, Callable[[], float]] = {
            "engine": lambda: engine_time(version, rows),
            "recommend-all": lambda: command_time(version, folder, len(rows)),
            "BatchRecommend": lambda: server_time(server, client, user_ids),
        }
        for number in range(arguments.rounds):
            for way in ways if number % 2 else reversed(ways):
                measured.times[way].append(ways[way]())
            print(n_items, {way: round(times[-1], 1) for way, times in measured.times.items()}, flush=True)
    if n_users * measured.median("recommend-all") / 1e6 < 60 * arguments.full_run_minutes:
        run = run_command(path, folder / "out.parquet")
        measured.full_seconds, measured.full_processor_s, measured.full_mib = run.seconds, run.processor_s, run.peak_mib
        measured.full_load, measured.file_mb = os.getloadavg()[1], (folder / "out.parquet").stat().st_size / 1e6
    return measured


def row(measured: Measured, n_users: int) -> str:
    """Return the table row of a catalogue."""
    times = [f"{measured.median(way):,.0f}" for way in WAYS]
    spread = measured.times["recommend-all"]
    times[1] += f" ({min(spread):,.0f} to {max(spread):,.0f})"
    ratios = [f"{measured.ratio(way):.2f}" for way in WAYS[1:]]
    per_core = f"{1e6 / measured.median('recommend-all'):,.0f}"
    if measured.full_seconds is None:
        minutes = n_users * measured.median("recommend-all") / 60e6
        full = f"{minutes:.1f} min of one core, **extrapolated**"
    else:
        full = (
            f"{measured.full_processor_s / 60:.1f} min of one core; {measured.full_seconds / 60:.1f} min by the clock "
            f"at a load of {measured.full_load:.0f}; {measured.full_mib:,.0f} MiB; file of {measured.file_mb:,.0f} MB"
        )
    return f"| {measured.n_items:,} | {' | '.join(times)} | {' | '.join(ratios)} | {per_core} | {full} |"


def document(rows: Sequence[str], arguments: argparse.Namespace) -> str:
    """Return the page."""
    table = "\n".join(rows)
    columns = ["items", *(f"{way}, µs" for way in WAYS), *(f"{way} : engine" for way in WAYS[1:])]
    columns += ["recommend-all, users/s of one core", f"all {arguments.users:,} users"]
    return f"""# Recommendations for all users

How fast does `cofactor recommend-all` write the {K} best items of every user to a Parquet file? Random versions with
{arguments.users:,} users, {N_FACTORS} factors and {RATINGS_PER_USER} ratings of each user, which are left out.

The times are processor microseconds per user, medians of {arguments.rounds} rounds over {arguments.sample:,} users (in
brackets the least and the most). `engine` runs the ONNX graph alone, from arrays that are ready. `recommend-all` is the
command without its start, with the writing of the file. `BatchRecommend` is a running server with one process and no
cache, {CALLS_IN_FLIGHT} calls of {CALL_SIZE} users in flight, and the Python client, which counts, too. The last column
is a run of the command for all users, from its start to the finished file.

`python -m benchmarks.recommend_all` on {platform.machine()}, {os.cpu_count()} cores.

| {" | ".join(columns)} |
|{"---|" * len(columns)}
{table}
"""


def main() -> int:
    """Measure every catalogue."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[1682, 100_000])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=10_000, help="users of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full-run-minutes", type=float, default=15.0, help="run for all users if it takes less")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="keep the versions here, and use those that are")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    os.environ["COFACTOR_CACHE_MIB"] = "0"  # of the server: every round asks for the same users
    rows = {} if arguments.output is None else rows_of(arguments.output)
    for n_items in arguments.items:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (arguments.scratch or Path(temporary)) / f"{arguments.users}-users-{n_items}-items"
            folder.mkdir(parents=True, exist_ok=True)
            rows[n_items] = row(measure(folder, arguments, n_items), arguments.users)
        print(rows[n_items], flush=True)
        if arguments.output is not None:
            arguments.output.write_text(document([rows[n] for n in sorted(rows)], arguments), encoding="utf-8")
    return 0


def rows_of(page: Path) -> dict[int, str]:
    """Return the rows that a page has, by number of items: those of other catalogues stay."""
    if not page.exists():
        return {}
    found = re.findall(r"^(\| ([\d,]+) \|.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {int(number.replace(",", "")): line for line, number in found}


if __name__ == "__main__":
    sys.exit(main())
