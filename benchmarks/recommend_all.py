"""Measure `cofactor recommend-all`: users per second, beside the engine alone and beside BatchRecommend of a server.

    python -m benchmarks.recommend_all [--items 1682 100000] [--users 1000000] [--sample 20000] [--rounds 5]
        [--full-run-minutes 15] [--output docs/benchmarks/recommend-all.md]

The versions have random factors; every user has 20 ratings. A round measures every way once, in turn, on the same
users, so that other load on the machine slows all of them down alike. Then recommend-all runs for all users, if by the
rate that was measured this takes less than --full-run-minutes; otherwise the page extrapolates, and says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.bulk_predict import peak_mib, serving
from cofactor_client import Client, recommend_request
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
    """Users per second of every way, by round, and what the full run took."""

    n_items: int
    rates: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    full_seconds: float | None = None
    full_mib: float = 0.0
    file_mb: float = 0.0

    def median(self, way: str) -> float:
        """Return the median rate of a way."""
        return statistics.median(self.rates[way])

    def ratio(self, way: str) -> float:
        """Return the median over the rounds of a way's rate, relative to that of the engine in the same round."""
        return statistics.median(a / b for a, b in zip(self.rates[way], self.rates["engine"], strict=True))


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


def engine_rate(version: LoadedVersion, user_rows: Sequence[int]) -> float:
    """Run the graph alone, all processors, from arrays that are ready."""
    order = version.orders.known[0]
    runs = []
    for start in range(0, len(user_rows), ENGINE_BATCH):
        users = [version.users.known(row) for row in user_rows[start : start + ENGINE_BATCH]]
        factors, bias = np.concatenate([u.factors for u in users]), np.concatenate([u.bias for u in users])
        popularity = np.full(len(users), order.popularity_weight, np.float32)
        runs.append((factors, bias, popularity, np.stack([u.rated_rows for u in users]), K, None))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        started = time.perf_counter()
        for _ in threads.map(lambda run: version.engine.recommend(*run), runs):
            pass
        return len(user_rows) / (time.perf_counter() - started)


def command_rate(version: Path, output: Path, *flags: str) -> tuple[float, float, float]:
    """Run recommend-all; return users per second without the start, seconds with it, and peak MiB."""
    output.unlink(missing_ok=True)
    words = ["recommend-all", "--version-dir", str(version), "--output", str(output), "--provider", "cpu", *flags]
    command = [sys.executable, "-m", "cofactor_server.batch", *words]
    import psutil

    started, peak = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, peak_mib(watched))
            except (OSError, StopIteration):  # it has just ended
                break
            time.sleep(0.2)
        text = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"recommend-all failed: {text}")
    found = re.search(r"([\d,]+) users/s", text)
    assert found is not None
    return float(found[1].replace(",", "")), time.perf_counter() - started, peak


def server_rate(client: Client, user_ids: Sequence[str]) -> float:
    """Send the users through BatchRecommend with several calls in flight."""
    calls = [
        [recommend_request(user_id, k=K) for user_id in user_ids[start : start + CALL_SIZE]]
        for start in range(0, len(user_ids), CALL_SIZE)
    ]
    with ThreadPoolExecutor(CALLS_IN_FLIGHT) as threads:
        started = time.perf_counter()
        answered = sum(len(responses) for responses in threads.map(client.batch_recommend, calls))
        seconds = time.perf_counter() - started
    assert answered == len(user_ids)
    return len(user_ids) / seconds


def measure(n_users: int, n_items: int, n_sample: int, n_rounds: int, minutes: float) -> Measured:
    """Measure all ways on a sample of the users, then recommend-all on all of them."""
    measured = Measured(n_items)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = make_version(folder / "models", n_users, n_items)
        rows = np.sort(np.random.default_rng(1).choice(n_users, min(n_sample, n_users), replace=False)).tolist()
        user_ids, users, output = [f"user-{row:07}" for row in rows], folder / "users.txt", folder / "out.parquet"
        users.write_text("\n".join(user_ids) + "\n")
        choice = VersionChoice.of_directory(path, VersionChoice("", provider="cpu", batch_size=ENGINE_BATCH))
        with load_version(choice) as version, serving(folder / "models") as (_, client):
            ways: dict[str, Callable[[], float]] = {
                "engine": lambda: engine_rate(version, rows),
                "recommend-all": lambda: command_rate(path, output, "--users", str(users))[0],
                "BatchRecommend": lambda: server_rate(client, user_ids),
            }
            for number in range(n_rounds):
                for way in ways if number % 2 else reversed(ways):
                    measured.rates[way].append(ways[way]())
                print(n_items, {way: round(rates[-1]) for way, rates in measured.rates.items()}, flush=True)
        if n_users / measured.median("recommend-all") < 60 * minutes:
            _, measured.full_seconds, measured.full_mib = command_rate(path, output)
            measured.file_mb = output.stat().st_size / 1e6
    return measured


def row(measured: Measured, n_users: int) -> str:
    """Return the table row of a catalogue."""
    rates = [f"{measured.median(way):,.0f}" for way in WAYS]
    spread = measured.rates["recommend-all"]
    ratios = [f"{measured.ratio(way):.2f}" for way in WAYS[1:]]
    if measured.full_seconds is None:
        full = f"{n_users / measured.median('recommend-all') / 60:.0f} min, **extrapolated** from the rate"
    else:
        full = f"{measured.full_seconds / 60:.1f} min, {measured.full_mib:,.0f} MiB, file of {measured.file_mb:,.0f} MB"
    rates[1] += f" ({min(spread):,.0f} to {max(spread):,.0f})"
    return f"| {measured.n_items:,} | {' | '.join(rates)} | {' | '.join(ratios)} | {full} |"


def document(rows: Sequence[str], arguments: argparse.Namespace) -> str:
    """Return the page."""
    command = " ".join(["python -m benchmarks.recommend_all", *sys.argv[1:]])
    table = "\n".join(rows)
    columns = ["items", *(f"{way}, users/s" for way in WAYS), *(f"{way} : engine" for way in WAYS[1:])]
    columns.append(f"all {arguments.users:,} users")
    return f"""# Recommendations for all users

How fast does `cofactor recommend-all` write the {K} best items of every user to a Parquet file? Random versions with
{arguments.users:,} users, {N_FACTORS} factors and {RATINGS_PER_USER} ratings of each user, which are left out.

The rates are medians of {arguments.rounds} rounds over {arguments.sample:,} users (in brackets the slowest and the
fastest), with all processors of the machine. Other load slows down all columns alike, so read the ratios. `engine` runs
the ONNX graph alone, from arrays that are ready. `BatchRecommend` is a running server with one process and no cache,
{CALLS_IN_FLIGHT} calls of {CALL_SIZE} users in flight, and the Python client, which shares the machine. The last column
is a run of `recommend-all` for all users, from the start of the command to the finished file.

`{command}` on {platform.machine()}, {os.cpu_count()} cores.

| {" | ".join(columns)} |
|{"---|" * len(columns)}
{table}
"""


def main() -> int:
    """Measure every catalogue."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[1682, 100_000])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=20_000, help="users of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full-run-minutes", type=float, default=15.0, help="run for all users if it takes less")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    os.environ["COFACTOR_CACHE_MIB"] = "0"  # of the server: every round asks for the same users
    rows = []
    for n_items in arguments.items:
        sizes = (arguments.users, n_items, arguments.sample, arguments.rounds, arguments.full_run_minutes)
        rows.append(row(measure(*sizes), arguments.users))
        print(rows[-1], flush=True)
        if arguments.output is not None:
            arguments.output.write_text(document(rows, arguments), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
