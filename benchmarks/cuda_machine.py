"""Measure a CUDA machine in one run: parity, graph times, memory, the server, its workers, training.

    python -m benchmarks.cuda_machine [--quick] [--output docs/benchmarks/cuda.md]

Every part compares with a reference from the same run: parity with the CPU provider, the graphs with a copy in device
memory (bytes of the table over the measured bandwidth is the least time in which a whole catalogue can be scored),
several workers with one, training on the device with training on the CPU. A part that fails is reported in its place;
the others go on, and the exit status is 1.

Without a CUDA device every part runs as far as it can on the CPU provider, with the buffers and padded batches of a
device, and says so. That run shows only that the script works.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.cuda_graphs import K, bound_runs, device_memory, graph_times, has_cuda, parity, version_of
from cofactor_client import Client
from cofactor_trainer.architectures.recipes import find_recipe
from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.training.train import train
from tests.support import synthetic

SECONDS_OF_LOAD = 5.0


def main() -> int:
    """Run every part; print the page and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="use small catalogues and short loads")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="Markdown page to write")
    arguments = parser.parse_args()
    sizes = (1_682, 20_000) if arguments.quick else (1_682, 100_000, 1_000_000)
    lines, failed = [f"# On {device_name()}", "", f"`{' '.join(['python', *sys.argv])}`, {machine()}", ""], 0
    parts = (parity, graph_times, bound_runs, device_memory, server_throughput, worker_scaling, training_times)
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            print(part.__name__, flush=True)
            try:
                lines += part(Path(folder), sizes, quick=arguments.quick)
            except Exception as error:
                traceback.print_exc()
                failed += 1
                lines += [f"## {part.__name__} FAILED", "", f"{type(error).__name__}: {error}", ""]
    page = "\n".join(lines) + "\n"
    print(page)
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")
    return int(failed > 0)


def device_name() -> str:
    """Return the name of the device, or say that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "a machine without CUDA (CPU provider only)"


def machine() -> str:
    """Describe the machine and its software."""
    return (
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"ONNX Runtime {onnxruntime.__version__}"
    )


@contextmanager
def serving(models: Path, provider: str, workers: int) -> Iterator[str]:
    """Run a server process on a free port; yield its address once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cofactor_server", "--models", str(models), "--port", str(port)]
    # Without the cache: otherwise the benchmark would measure only cached responses.
    command += ["--provider", provider, "--workers", str(workers), "--cache-mib", "0", "--log-level", "warning"]
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
    """Call Recommend in a closed loop from several threads; return the number of responses."""
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
    """Return the requests per second of several client processes with eight calls in flight each."""
    with multiprocessing.get_context("spawn").Pool(n_clients) as pool:
        pool.starmap(ask, [(address, 1.0, 2, n_items)] * n_clients)
        return sum(pool.starmap(ask, [(address, seconds, 8, n_items)] * n_clients)) / seconds


def n_client_processes() -> int:
    """Return half of the number of cores; the server gets the other half."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


def served_alone(models: Path, n_items: int) -> Path:
    """Return a folder that holds one model only."""
    alone = models / f"serve-{n_items}"
    if not alone.exists():
        version = version_of(models, "dot-product", n_items)
        alone.mkdir()
        # Hard links: the server follows no symbolic links.
        shutil.copytree(version.parent, alone / version.parent.name, copy_function=os.link)
    return alone


def server_throughput(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Measure unary Recommend through the server on each provider."""
    seconds = SECONDS_OF_LOAD / (5 if quick else 1)
    lines = [f"## Server: unary Recommend, {n_client_processes()} client processes with 8 calls in flight each", ""]
    lines += ["| items | CPU, 1 worker, requests/s | CUDA, 1 worker, requests/s |", "|---|---|---|"]
    for n_items in sizes:
        alone = served_alone(models, n_items)
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
    """Measure requests per second of 1, 2, 4 … workers on the CPU, up to half of the cores."""
    seconds = SECONDS_OF_LOAD / (5 if quick else 1)
    lines = ["## Workers on the CPU", "", "| workers | requests/s | relative to one worker |", "|---|---|---|"]
    alone, first, workers = served_alone(models, sizes[0]), 0.0, 1
    while workers <= n_client_processes():
        with serving(alone, "cpu", workers) as address:
            rate = throughput(address, n_client_processes(), seconds, sizes[0])
        first = first or rate
        lines.append(f"| {workers} | {rate:,.0f} | {rate / first:.2f} |")
        workers *= 2
    return [*lines, ""]


def training_times(models: Path, sizes: tuple[int, ...], *, quick: bool) -> list[str]:
    """Measure seconds per epoch with large batches, on the CPU and on the device."""
    del models, sizes
    n_users, n_items, n_ratings = (2_000, 4_000, 200_000) if quick else (138_000, 27_000, 20_000_000)
    ratings = synthetic_ratings(n_users, n_items, n_ratings)
    split = random_split(ratings, 0.01)
    recipe = replace(find_recipe("p6"), epochs=2, batch_size=65_536, learning_rate=2e-2)
    lines = [f"## Training, {n_ratings:,} synthetic ratings, {n_users:,} users, {n_items:,} items, batch 65,536", ""]
    lines += ["| device | seconds per epoch | validation MSE |", "|---|---|---|"]
    for device in ("cpu", "cuda"):
        if device == "cuda" and not torch.cuda.is_available():
            lines.append("| cuda | no CUDA device | |")
            continue
        result = train(split.train, split.validation, recipe, device=device)
        last = result.history[-1]
        lines.append(f"| {device} | {last.seconds:.2f} | {last.validation_loss:.4f} |")
    return [*lines, ""]


def synthetic_ratings(n_users: int, n_items: int, n_ratings: int):
    """Return random ratings of items of varying popularity, with some structure to learn."""
    random = np.random.default_rng(0)
    users = (n_users * random.random(n_ratings) ** 1.5).astype(np.int32)
    items = (n_items * random.random(n_ratings) ** 2).astype(np.int32)
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
    sys.exit(main())
