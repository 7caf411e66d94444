"""Versions are compared on the lists that they served."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.served_lists import ServedLists

START = pd.Timestamp("2026-11-20", tz="UTC")


def served(name, version, user, hour=0, items=("a", "b"), propensities=None, **fields):
    """Return the rows of a served list."""
    return [
        {
            "recommendation_id": name,
            "time": START + pd.Timedelta(hours=hour),
            "version": version,
            "user_id": user,
            "policy": "scores",
            "is_routed": True,
            "is_fallback": False,
            "rank": rank,
            "item_id": item,
            "propensity": None if propensities is None else propensities[rank - 1],
            **fields,
        }
        for rank, item in enumerate(items, 1)
    ]


def event(name, item, kind="click"):
    return {"user_id": "u", "item_id": item, "event": kind, "count": 1.0, "time": START, "recommendation_id": name}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes lists and events as export-feedback does, in two days."""

    def write(lists, events):
        rows = [row for rows in lists for row in rows]
        for folder, table in (("served", rows), ("events", events)):
            (tmp_path / folder).mkdir()
            half = len(table) // 2
            for day, part in enumerate((table[:half], table[half:])):
                frame = pd.DataFrame(part, columns=list(table[0]))
                if folder == "served":
                    frame["propensity"] = frame["propensity"].astype("float32")
                frame.to_parquet(tmp_path / folder / f"2026-11-{20 + day}.parquet")
        return tmp_path

    return write


def test_the_first_routed_list_of_each_user_counts(write) -> None:
    lists = [
        served("r1", "1", "ann", 1),
        served("r2", "1", "ann", 2),
        served("r3", "2", "bob", 3),
        served("r4", "2", "cat", 4),
        served("r5", "1", "cat", 5),
        served("r6", "2", "dan", 1, is_routed=False),
        served("r7", "1", "dan", 6),
        served("r8", "1", "", 1),
    ]
    events = [event("r1", "b"), event("r1", "a"), event("r3", "zzz"), event("r4", "a"), event("r8", "a")]
    folder = write(lists, [*events, event("", "a"), event("r7", "b", "view")])
    log = ServedLists(folder)
    assert log.versions() == ["1", "2"]
    first, second = log.first_lists_of("1"), log.first_lists_of("2")
    assert (first.n, first.n_successes) == (2, 2)  # ann and dan
    assert (second.n, second.n_successes) == (2, 1)  # bob chose an item that was not in the list
    clicks = ServedLists(folder, ["click"]).first_lists_of("1")
    assert (clicks.n, clicks.n_successes) == (2, 1)


def test_explored_items_are_weighted_by_inverse_propensity(write) -> None:
    nan = float("nan")
    lists = [
        served("r1", "1", "ann", items=("a", "b"), propensities=(nan, 0.5)),
        served("r2", "1", "bob", items=("c", "b"), propensities=(0.1, nan)),
        served("r3", "2", "cat"),
    ]
    log = ServedLists(write(lists, [event("r1", "b"), event("r1", "a")]))
    explored = log.explored_items_of("1")
    assert (explored.n, explored.rate_as_drawn) == (2, 0.5)
    assert explored.rate_of_all == pytest.approx(2 / 12)
    assert explored.standard_error == pytest.approx(np.hypot(2 * (1 - 1 / 6), 10 / 6) / 12)
    assert log.explored_items_of("2") is None


def test_the_command_says_which_version_is_better(write, capsys) -> None:
    chance = np.random.default_rng(3)
    lists, events = [], []
    for number in range(4000):
        version = "stable" if number % 4 else "canary"
        lists.append(served(f"r{number}", version, f"u{number}", number / 100))
        if chance.random() < (0.1 if version == "stable" else 0.2):
            events.append(event(f"r{number}", "b"))
    folder = write(lists, events)
    assert main(["evaluate", "--from-log", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "of 3,000 users" in shown
    assert "canary is better" in shown
    assert main(["evaluate", "--from-log", str(folder), "--versions", "canary,stable", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["comparison"]["high"] < 0
    assert found["versions"]["canary"]["n"] == 1000


def test_what_cannot_be_compared_is_one_clear_line(write, tmp_path, capsys) -> None:
    def problem(*flags):
        assert main(["evaluate", *flags]) == 2
        return capsys.readouterr().err

    assert "cofactor export-feedback wrote" in problem("--from-log", str(tmp_path))
    folder = str(write([served("r1", "1", "ann"), served("r2", "1", "bob")], [event("r1", "a"), event("r2", "a")]))
    assert "the log has 1: give CURRENT,CANARY" in problem("--from-log", folder)
    assert "no lists of 9, but of 1" in problem("--from-log", folder, "--versions", "1,9")
    assert "no events of buy, but of click" in problem("--from-log", folder, "--success", "buy")
    assert "--from-log" in problem("--success", "buy")


def test_files_of_something_else_are_refused(tmp_path) -> None:
    (tmp_path / "served").mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "served" / "a.parquet")
    with pytest.raises(InputError, match="not written by cofactor export-feedback"):
        ServedLists(tmp_path)
