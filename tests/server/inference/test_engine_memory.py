"""What runs of the recommend graph leave in memory: little for the next run, and nothing of a large one."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: what others have freed before would be used again, and no growth be seen.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import psutil
from cofactor_server.inference import engine as engine_module
from cofactor_server.repository.version_directory import open_version_directory
from cofactor_server.inference.execution_providers import CPU

bundle = open_version_directory(Path(sys.argv[1]))
n_items, n_factors = int(bundle.manifest.item_count), bundle.manifest.user_factor_count
n_users = 4 * engine_module.FLOATS_KEPT // n_items  # 64 MiB of scores
if sys.argv[2] == "keep":
    engine_module.FLOATS_KEPT = 2**40
engine = engine_module.Engine(bundle, [CPU], must_use_first=True)

def recommend(n_users):
    zeros = np.zeros(n_users, np.float32)
    excluded = np.full((n_users, 1), n_items, np.int64)
    engine.recommend(np.zeros((n_users, n_factors), np.float32), zeros, zeros, excluded, 10)

recommend(1)
before = psutil.Process().memory_info().rss
recommend(n_users)
print((psutil.Process().memory_info().rss - before) // 2**20)
"""


def mib_left_by_a_run(version, way) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, version, way], check=True, capture_output=True, text=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give memory back at their own pace")
def test_a_large_run_gives_its_memory_back(indexed_version) -> None:
    assert mib_left_by_a_run(indexed_version, "give back") < 16
    assert mib_left_by_a_run(indexed_version, "keep") > 32, "the control"
