"""Measure bulk prediction from a DataFrame through a local server: time, and memory of client and server.

    make demo                            # trains the models that this benchmark serves
    python -m benchmarks.bulk_predict    # [--models DIR] [--pairs 1000000] [--repeats 3]

The script starts cofactor-serve, predicts random pairs of the model's users and items with Client.predict_frame, and
compares a sample of the predictions with single calls.
"""

import argparse
import os
import platform
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from cofactor_client import Client

MIB = 2**20


@contextmanager
def serving(models, *flags):
    """Run a server process with these flags; yield it and a client, once the server is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cofactor_server", "--models", models, "--port", str(port), "--provider", "cpu"]
    with subprocess.Popen([*command, *map(str, flags)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            with Client(f"127.0.0.1:{port}") as client:
                client.wait_until_ready(60)
                yield psutil.Process(server.pid), client
        finally:
            server.terminate()


def peak_mib(process):
    """Return the peak resident memory of a process, MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def pairs_of(version, n_pairs):
    """Return n_pairs random pairs of the user and item ids of a version directory."""
    from cofactor_server.repository.version_directory import open_version_directory

    directory = open_version_directory(version)
    random = np.random.default_rng(1)
    columns = {}
    for column, table in (("user_id", "user_ids"), ("item_id", "item_ids")):
        offsets = directory.tables[f"{table}.offsets"]
        text = bytes(directory.tables[f"{table}.bytes"])
        ids = np.array([text[a:b].decode() for a, b in pairwise(offsets)], dtype=object)
        columns[column] = ids[random.integers(0, len(ids), n_pairs)]
    return pd.DataFrame(columns)


def main():
    """Measure every model of the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    demo_models = str(Path(__file__).resolve().parents[1] / ".demo" / "models")
    parser.add_argument("--models", default=demo_models, help="folder of models (default: those of make demo)")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    me = psutil.Process()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with serving(arguments.models) as (server, client):
        for model in client.iter_models():
            frame = pairs_of(Path(arguments.models) / model.name / model.version, arguments.pairs)
            before = me.memory_info().rss / MIB, server.memory_info().rss / MIB
            for _ in range(arguments.repeats):
                cpu = me.cpu_times().user, server.cpu_times().user
                started = time.perf_counter()
                ratings = client.predict_frame(frame, model=model.name)
                seconds = time.perf_counter() - started
                used = me.cpu_times().user - cpu[0], server.cpu_times().user - cpu[1]
                print(
                    f"{model.name}: {len(frame):,} pairs in {seconds:.2f} s ({len(frame) / seconds:,.0f} pairs/s); "
                    f"CPU client {used[0]:.2f} s, server {used[1]:.2f} s"
                )
            print(
                f"{model.name}: resident memory before and peak: client {before[0]:.0f}, {peak_mib(me):.0f} MiB; "
                f"server {before[1]:.0f}, {peak_mib(server):.0f} MiB"
            )
            for row in range(0, len(frame), max(1, len(frame) // 20)):
                user, item = frame.iloc[row]
                single = client.predict(user, [item], model=model.name).ratings[0]
                if abs(single - ratings.iloc[row]) > 1e-5:
                    sys.exit(f"error: row {row}: {ratings.iloc[row]} in bulk, {single} in a single call")


if __name__ == "__main__":
    main()
