"""What runs of the recommend graph leave in memory: little for the next run, and nothing of a large one."""

from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from cofactor_server import engine as engine_module
from cofactor_server.bundle import open_bundle
from cofactor_server.engine import Engine
from cofactor_server.providers import CPU

MIB = 2**20


def recommend(engine: Engine, n_items: int, n_factors: int, n_users: int) -> None:
    engine.recommend(
        np.zeros((n_users, n_factors), np.float32),
        np.zeros(n_users, np.float32),
        np.zeros(n_users, np.float32),
        np.full((n_users, 1), n_items, np.int64),
        10,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_run_gives_its_memory_back(indexed_version, monkeypatch) -> None:
    bundle = open_bundle(indexed_version)
    n_items, n_factors = int(bundle.manifest.item_count), bundle.manifest.user_factor_count
    n_users = 4 * engine_module.FLOATS_KEPT // n_items  # 64 MiB of scores
    process = psutil.Process()

    def left_by_a_run(engine: Engine) -> int:
        before = process.memory_info().rss
        recommend(engine, n_items, n_factors, n_users)
        return process.memory_info().rss - before

    engines = [Engine(bundle, [CPU], must_use_first=True) for _ in range(2)]
    for engine in engines:
        recommend(engine, n_items, n_factors, 1)
    assert left_by_a_run(engines[0]) < 16 * MIB
    monkeypatch.setattr(engine_module, "FLOATS_KEPT", 2**40)
    assert left_by_a_run(engines[1]) > 32 * MIB, "the control"
