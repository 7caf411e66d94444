"""Test that a large run of the recommend graph returns its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Runs in a process of its own. In this one, a run could reuse memory that other tests have freed, and show no growth.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import psutil
from cofactor_server.inference import engine as engine_module
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_server.inference.execution_providers import CPU

directory = open_version_directory(Path(sys.argv[1]))
n_items, n_factors = int(directory.manifest.item_count), directory.manifest.user_factor_count
n_users = 4 * engine_module.MAX_ARENA_FLOATS // n_items  # 64 MiB of scores
if sys.argv[2] == "keep":
    engine_module.MAX_ARENA_FLOATS = 2**40
engine = engine_module.Engine(directory, [CPU], must_use_first=True)

def recommend(n_users):
    zeros = np.zeros(n_users, np.float32)
    excluded = np.full((n_users, 1), n_items, np.int64)
    engine.recommend(np.zeros((n_users, n_factors), np.float32), zeros, zeros, excluded, 10)

recommend(1)
before = psutil.Process().memory_info().rss
recommend(n_users)
print((psutil.Process().memory_info().rss - before) // 2**20)
"""


def mib_left_by_a_run(version, mode) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, version, mode], check=True, capture_output=True, text=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems return memory at their own pace")
def test_a_large_run_returns_its_memory(indexed_version) -> None:
    assert mib_left_by_a_run(indexed_version, "return") < 16
    assert mib_left_by_a_run(indexed_version, "keep") > 32, "the control"
