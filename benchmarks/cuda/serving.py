"""Measure servers on the CPU and on a device, and training, for benchmarks/cuda_machine.py."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.cuda.graphs import large_version, small_version
from benchmarks.cuda.load import CALLS_IN_FLIGHT
from benchmarks.cuda.run import Run, row, table_head
from cofactor_client import Client
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_trainer.architectures.recipes import find_recipe
from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.data.splits import random_split
from cofactor_trainer.training.train import train

SECONDS_OF_LOAD = 5.0


@contextmanager
def serving(version: Path, provider: str, cores: set[int]) -> Iterator[str]:
    """Run a server process for one model on some cores; yield its address once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cofactor_server", "--models", str(version.parents[1]), "--port", str(port)]
    command += ["--model", version.parent.name, "--poll-interval-s", "0", "--provider", provider]
    # Without the cache: otherwise the benchmark would measure only cached responses.
    command += ["--cache-mib", "0", "--max-batch-size", "128", "--log-level", "warning"]
    with subprocess.Popen(command) as process:
        try:
            os.sched_setaffinity(process.pid, cores)  # before the server starts its threads
            address = f"127.0.0.1:{port}"
            with Client(address) as client:
                client.wait_until_ready(180)
            yield address
        finally:
            process.terminate()
            process.wait(60)


def answered(address: str, version: Path, cores: set[int], seconds: float) -> int:
    """Keep a server busy from one client process for each core; return the number of responses."""
    command = [sys.executable, "-m", "benchmarks.cuda.load", address, version.parent.name, str(seconds)]
    clients = []
    for _ in cores:
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(client.pid, cores)
        clients.append(client)
    user_ids = "\n".join(list(open_version_directory(version).strings("user_ids"))[:500])
    for client in clients:
        assert client.stdin is not None
        client.stdin.write(user_ids)
        client.stdin.close()
    total = 0
    for client in clients:
        assert client.stdout is not None
        total += int(client.stdout.read())
        assert client.wait(60) == 0
    return total


def throughput(version: Path, provider: str, server_cores: set[int], client_cores: set[int], seconds: float) -> float:
    """Return the requests per second of a server that client processes on other cores keep busy."""
    with serving(version, provider, server_cores) as address:
        return answered(address, version, client_cores, seconds) / seconds


def server_throughput(run: Run) -> Iterator[str]:
    """Measure unary Recommend through gRPC: servers on one core, on several, and with the device."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    server_cores, client_cores = set(cores[:half]), set(cores[half:] or cores)
    seconds = SECONDS_OF_LOAD / (10 if run.is_small else 1)
    yield (
        f"Requests per second, {len(client_cores)} client processes with {CALLS_IN_FLIGHT} calls in flight each, on "
        f"other cores than the server, which has {len(server_cores)}."
    )
    yield ""
    yield from table_head("items", "CPU, one core", "CPU, all cores of the server", "with the device")
    for n_items in _served_catalogues(run):
        if run.seconds_left() < 0:
            yield row(f"{n_items:,}", "left out: no time left", "", "")
            continue
        if n_items == run.catalogues[0]:
            version = small_version(run.versions, "dot-product", two_parts=False)
        else:
            version = large_version(run, n_items)
        ways = {"one core": ("cpu", {cores[0]}), "all cores": ("cpu", server_cores), "device": ("cuda", server_cores)}
        texts = []
        for name, (provider, own_cores) in ways.items():
            if provider == "cuda" and not run.is_on_cuda:
                texts.append("no device")
            elif run.is_small and name == "all cores":
                texts.append("left out")
            else:
                rate = throughput(version, provider, own_cores, client_cores, seconds)
                run.figures[f"server {name} {n_items}"] = rate
                texts.append(f"{rate:,.0f}")
        yield row(f"{n_items:,}", *texts)


def _served_catalogues(run: Run) -> tuple[int, ...]:
    """Return the sizes that are served, the most important first."""
    return (1_682,) if run.is_small else (1_682, 1_000_000, 100_000)


def training(run: Run) -> Iterator[str]:
    """Measure seconds per epoch on the CPU and on the device: large batches of many ratings, and few ratings."""
    yield from table_head("ratings", "batch", "device", "seconds per epoch", "validation loss")
    sizes = [(943, 1_682, 100_000, 1024), (138_000, 27_000, 20_000_000, 65_536)]
    for n_users, n_items, n_ratings, batch_size in [(400, 300, 20_000, 1024)] if run.is_small else sizes:
        split = random_split(synthetic_ratings(n_users, n_items, n_ratings), 0.05)
        recipe = replace(find_recipe("fast"), epochs=2, batch_size=batch_size)
        for device in sorted({"cpu", run.torch_device}, reverse=True):
            if run.seconds_left() < 0:
                yield row(f"{n_ratings:,}", batch_size, device, "left out: no time left", "")
                continue
            result = train(split.train, split.validation, recipe, device=device)
            last = result.history[-1]
            run.figures[f"epoch {n_ratings} {device}"] = last.seconds
            yield row(f"{n_ratings:,}", batch_size, device, f"{last.seconds:.3f}", f"{last.validation_loss:.4f}")
            if device == "cuda":
                torch.cuda.empty_cache()


def synthetic_ratings(n_users: int, n_items: int, n_ratings: int) -> RatingsDataset:
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
