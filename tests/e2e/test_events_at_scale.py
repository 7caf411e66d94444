"""Run benchmarks/events_at_scale from end to end on few events."""

from __future__ import annotations

import numpy as np
import pyarrow.csv
import pytest

from benchmarks.events_at_scale import run as runs
from benchmarks.events_at_scale.__main__ import document, verdicts
from benchmarks.events_at_scale.events import Size, write_events
from benchmarks.events_at_scale.run import measure


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    size, patch = Size(30_000, 1_500, 800), pytest.MonkeyPatch()
    patch.setattr(runs, "FOLD_INS", 20)
    flags = ["--recipe", "ranking-large", "--epochs", "4", "--export", "judged"]
    try:
        return measure(size, flags, tmp_path_factory.mktemp("scale"))
    finally:
        patch.undo()


def test_the_command_trains_and_a_server_folds_users_in(run):
    assert (run.events, run.users, run.items) == (30_000, 1_500, 800)
    assert run.gigabytes - 0.5 * run.libraries > 0.15
    assert set(run.phases) >= {"import", "train, to measure", "measure", "save, export, verify"}
    assert len(run.epochs) == 4
    assert run.losses[-1] < run.losses[0]
    assert run.fold_in.events == 200
    assert 0 < run.fold_in.graph < run.fold_in.rpc


def test_the_hidden_groups_are_learnt(run):
    assert run.measures["this model"]["ndcg"] > 1.3 * run.measures["popularity"]["ndcg"]


def test_the_page_says_what_was_met(run):
    page = document(run, ["| a line | 1 | 2 | met |"], ["--recipe", "ranking-large"])
    assert "# 30,000 events" in page
    assert "| a line | 1 | 2 | met |" in page
    names = [name for name, *_ in verdicts(run, 1.0)]
    assert names[0] == "peak of resident memory, GB"
    assert [is_met for *_, is_met in verdicts(run, 0.01)][-1]


def test_activity_and_popularity_follow_power_laws(tmp_path):
    write_events(tmp_path / "events.csv", Size(100_000, 5_000, 2_000))
    table = pyarrow.csv.read_csv(tmp_path / "events.csv")
    users, items = (np.sort(np.bincount(table[name]))[::-1] for name in ("user_id", "item_id"))
    assert len(users) == 5_000
    assert len(items) == 2_000
    assert min(users.min(), items.min()) >= 1
    # Of the densities r^(-1/2) and r^(-2/3), the first tenth has 10^(-1/2) and 10^(-1/3).
    assert users[:500].sum() / users.sum() == pytest.approx(0.1**0.5, abs=0.05)
    assert items[:200].sum() / items.sum() == pytest.approx(0.1 ** (1 / 3), abs=0.15)
