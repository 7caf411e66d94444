"""A CUDA machine's answers in one run: parity with the CPU, every graph's time, the server, its workers, training.

    python benchmarks/cuda_machine.py [--quick] [--output docs/benchmarks-cuda.md]

Every part is a ratio against a reference of the same run: the CPU provider for parity, a copy in device memory for the
graphs (bytes of the table over measured bandwidth is the least a score of the whole catalogue can take), one worker
for the others, training on the CPU for training on the device. Without a CUDA device it runs the parts that need
none, on the CPU provider, and says so: that it runs at all is then what it shows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import synthetic
from cofactor_client import Client
from cofactor_server.bundle import open_bundle
from cofactor_server.engine import Engine
from cofactor_server.providers import CPU, CUDA, n_cuda_devices, requested_providers
from cofactor_trainer.export import export_version
from cofactor_trainer.recipes import find_recipe
from cofactor_trainer.splits import random_split
from cofactor_trainer.training import train

ARCHITECTURES = ("dot-product", "neural-network", "hybrid")
BATCHES = (1, 8, 32, 128)
N_FACTORS = 64
K = 10
# Scores of the two providers are sums of the same products in another order.
TOLERANCE = 1e-4
REPEATS = 15
SECONDS_OF_LOAD = 5.0


def main() -> None:
    """Run every part and print, or write, one Markdown page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small catalogues and short loads")
    parser.add_argument("--output", type=Path, help="also write the page here")
    arguments = parser.parse_args()
    sizes = (1_682, 20_000) if arguments.quick else (1_682, 100_000, 1_000_000)
    lines = [f"# On {device_name()}", "", f"`python benchmarks/cuda_machine.py`, {machine()}", ""]
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        for part in (parity, graph_times, server_throughput, worker_scaling):
            print(part.__name__, flush=True)
            lines += part(models, sizes, quick=arguments.quick)
        print("training_times", flush=True)
        lines += training_times(quick=arguments.quick)
    page = "\n".join(lines) + "\n"
    print(page)
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")


def has_cuda() -> bool:
    """Whether there is a CUDA device at all."""
    return n_cuda_devices() > 0


def device_name() -> str:
    """The device, or that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "a machine without CUDA (CPU provider only)"


def machine() -> str:
    """What else ran."""
    import onnxruntime

    return (
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"ONNX Runtime {onnxruntime.__version__}"
    )


def version_of(models: Path, architecture: str, n_items: int) -> Path:
    """A synthetic version, exported once."""
    name = f"{architecture}-{n_items}"
    place = models / name / "1"
    if not place.exists():
        model = synthetic.make_model(architecture, n_items=n_items, n_factors=N_FACTORS)
        # Of the size of trained factors: sums of 64 products then stay within the sigmoid's range.
        model = replace(model, user_factors=model.user_factors / 3, item_factors=model.item_factors / 3)
        dataset = synthetic.make_dataset(n_items=n_items)
        export_version(model, dataset, models, name, "1", metrics={}, hyperparameters={})
    return place


def engine_of(version: Path, provider: str) -> Engine:
    """The server's own engine on one provider."""
    wanted = requested_providers("cuda" if provider == CUDA else "cpu", 0)
    return Engine(open_bundle(version), wanted, must_use_first=True)


def graph_calls(version: Path, engine: Engine, batch: int) -> dict[str, Callable[[], tuple[np.ndarray, ...]]]:
    """One call of every graph for `batch` users (or pairs, or ratings), on the same random inputs each time."""
    tables = open_bundle(version).tables
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
        "embed_user": lambda: engine.embed_user(rated, ratings, None),
    }


def parity(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Largest difference between the providers, scores relative to their size."""
    del quick
    lines = ["## Parity with the CPU provider", ""]
    if not has_cuda():
        return [*lines, "Not measured: there is no CUDA device.", ""]
    lines += ["| model | items | " + " | ".join(graph_names()) + " |", "|---|---|" + "---|" * len(graph_names())]
    for architecture in ARCHITECTURES:
        for n_items in sizes[: 2 if architecture != "dot-product" else None]:
            version = version_of(models, architecture, n_items)
            ours, theirs = (graph_calls(version, engine_of(version, provider), 32) for provider in (CPU, CUDA))
            errors = []
            for graph in graph_names():
                pairs = zip(ours[graph](), theirs[graph](), strict=True)
                errors.append(max(float(np.max(np.abs(a - b) / np.maximum(1, np.abs(a)))) for a, b in pairs))
                assert errors[-1] <= TOLERANCE, f"{graph} of {architecture} differs by {errors[-1]} on CUDA"
            lines.append(f"| {architecture} | {n_items:,} | " + " | ".join(f"{e:.0e}" for e in errors) + " |")
    return [*lines, ""]


def graph_names() -> list[str]:
    """The graphs, in the order of the tables."""
    return ["predict", "recommend", "similar_items", "similarity", "embed_user"]


def bandwidth() -> float:
    """Bytes a second of a copy in device memory, read and written, median."""
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
    """Milliseconds of each graph, median and spread, and Recommend beside the reading of its table."""
    provider = CUDA if has_cuda() else CPU
    lines = [f"## Graphs on {provider}, ms (median, min to max of {REPEATS})", ""]
    rate = bandwidth() if has_cuda() else None
    if rate:
        lines += [f"A copy in device memory moves {rate / 1e12:.2f} TB/s, bytes read and written.", ""]
    lines += ["| model | items | batch | " + " | ".join(graph_names()) + " | recommend / read of the table |"]
    lines += ["|---|---|---|" + "---|" * (len(graph_names()) + 1)]
    for architecture in ARCHITECTURES:
        for n_items in sizes[: 2 if architecture != "dot-product" else None]:
            version = version_of(models, architecture, n_items)
            engine = engine_of(version, provider)
            for batch in BATCHES[:: 2 if quick else 1]:
                timings = {graph: timed(call) for graph, call in graph_calls(version, engine, batch).items()}
                read = open_bundle(version).tables["item_factors"].nbytes / rate * 1e3 if rate else None
                ratio = f"{timings['recommend'][1] / read:.1f}" if read else "-"
                cells = [f"{middle:.3f} ({low:.3f} to {high:.3f})" for low, middle, high in timings.values()]
                lines.append(f"| {architecture} | {n_items:,} | {batch} | " + " | ".join(cells) + f" | {ratio} |")
    return [*lines, ""]


def timed(call: Callable[[], object]) -> tuple[float, float, float]:
    """Milliseconds of a call that returns when its answer is on the host: least, median, most."""
    for _ in range(3):
        call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return min(times), statistics.median(times), max(times)


@contextmanager
def serving(models: Path, provider: str, workers: int) -> Iterator[str]:
    """A server process on a free port -> its address."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cofactor_server", "--models", str(models), "--port", str(port)]
    command += ["--provider", provider, "--workers", str(workers)]
    with subprocess.Popen(command) as process:
        try:
            address = f"127.0.0.1:{port}"
            with Client(address) as client:
                client.wait_until_ready(120)
            yield address
        finally:
            process.terminate()
            process.wait(60)


def ask(address: str, seconds: float, n_threads: int, n_items: int) -> int:
    """Closed loop of Recommend calls from threads of one process -> calls answered."""
    from concurrent.futures import ThreadPoolExecutor

    with Client(address) as client:
        known = synthetic.make_dataset(n_items=n_items).user_ids
        end = time.monotonic() + seconds

        def loop(start: int) -> int:
            done = 0
            while time.monotonic() < end:
                assert len(client.recommend(known[(start + done) % len(known)], k=K, return_items=False).results) == K
                done += 1
            return done

        with ThreadPoolExecutor(n_threads) as pool:
            return sum(pool.map(loop, range(n_threads)))


def throughput(address: str, n_clients: int, seconds: float, n_items: int) -> float:
    """Requests a second of several client processes with eight calls in flight each."""
    with multiprocessing.get_context("spawn").Pool(n_clients) as pool:
        pool.starmap(ask, [(address, 1.0, 2, n_items)] * n_clients)
        return sum(pool.starmap(ask, [(address, seconds, 8, n_items)] * n_clients)) / seconds


def n_client_processes() -> int:
    """Clients take half of the cores, the server the other half."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


def server_throughput(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Unary Recommend through the real server, on each provider."""
    seconds = SECONDS_OF_LOAD / (5 if quick else 1)
    lines = [f"## Server, unary Recommend, {n_client_processes()} client processes of 8 calls in flight", ""]
    lines += ["| items | CPU, 1 worker, requests/s | CUDA, 1 worker, requests/s |", "|---|---|---|"]
    for n_items in sizes:
        alone = models / f"serve-{n_items}"
        if not alone.exists():
            alone.mkdir()
            version = version_of(models, "dot-product", n_items)
            (alone / version.parent.name).symlink_to(version.parent, target_is_directory=True)
        rates = []
        for provider in ("cpu", "cuda"):
            if provider == "cuda" and not has_cuda():
                rates.append("no CUDA device")
                continue
            with serving(alone, provider, 1) as address:
                rates.append(f"{throughput(address, n_client_processes(), seconds, n_items):,.0f}")
        lines.append(f"| {n_items:,} | " + " | ".join(rates) + " |")
    return [*lines, ""]


def worker_scaling(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Requests a second of 1, 2, 4 … workers on the CPU, up to half of the cores."""
    seconds = SECONDS_OF_LOAD / (5 if quick else 1)
    lines = ["## Workers on the CPU", "", "| workers | requests/s | times one worker |", "|---|---|---|"]
    alone, first, workers = models / f"serve-{sizes[0]}", 0.0, 1
    while workers <= n_client_processes():
        with serving(alone, "cpu", workers) as address:
            rate = throughput(address, n_client_processes(), seconds, sizes[0])
        first = first or rate
        lines.append(f"| {workers} | {rate:,.0f} | {rate / first:.2f} |")
        workers *= 2
    return [*lines, ""]


def training_times(*, quick: bool) -> list[str]:
    """Seconds an epoch of the default recipe and of a large batch, on the CPU and on the device."""
    n_users, n_items, n_ratings = (2_000, 4_000, 200_000) if quick else (138_000, 27_000, 20_000_000)
    ratings = synthetic_ratings(n_users, n_items, n_ratings)
    split = random_split(ratings, 0.01)
    recipe = replace(find_recipe("p6"), epochs=2, batch_size=65_536, learning_rate=2e-2)
    lines = [f"## Training, {n_ratings:,} synthetic ratings, {n_users:,} users, {n_items:,} items, batch 65,536", ""]
    lines += ["| device | seconds an epoch | validation MSE |", "|---|---|---|"]
    for device in ("cpu", "cuda"):
        if device == "cuda" and not torch.cuda.is_available():
            lines.append("| cuda | no CUDA device | |")
            continue
        result = train(split.train, split.validation, recipe, device=device)
        last = result.history[-1]
        lines.append(f"| {device} | {last.seconds:.2f} | {last.validation_loss:.4f} |")
    return [*lines, ""]


def synthetic_ratings(n_users: int, n_items: int, n_ratings: int):
    """Ratings of users and items of random popularity, with a little structure to learn."""
    from cofactor_trainer.dataset import Catalogue, RatingsDataset

    random = np.random.default_rng(0)
    users = (n_users * random.random(n_ratings) ** 1.5).astype(np.int64)
    items = (n_items * random.random(n_ratings) ** 2).astype(np.int64)
    quality = random.normal(0, 0.5, n_items)[items] + random.normal(0, 0.5, n_users)[users]
    ratings = np.clip(np.round(3.5 + quality + random.normal(0, 0.7, n_ratings)), 1, 5).astype(np.float32)
    return RatingsDataset(
        name="synthetic",
        user_ids=sorted(map(str, range(n_users))),
        catalogue=Catalogue(
            sorted(map(str, range(n_items))), [""] * n_items, [()] * n_items, np.zeros(n_items, dtype=np.int64)
        ),
        user_rows=users,
        item_rows=items,
        ratings=ratings,
        timestamps=None,
        rating_min=1.0,
        rating_max=5.0,
    )


if __name__ == "__main__":
    main()
