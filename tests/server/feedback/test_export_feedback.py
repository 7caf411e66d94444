"""export-feedback: the days of one or several logs as Parquet, and a training from them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq

from cofactor.v1 import recommender_pb2 as pb
from cofactor_server.batch.__main__ import main as export
from tests.support.feedback import event, request

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(days: float) -> float:
    return (NOON + timedelta(days=days)).timestamp()


def read(folder):
    return {path.name: pq.read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))}


def record(api, *events, model=""):
    return api.feedback.RecordEvents(request(events, model), timeout=30)


def test_every_day_has_a_file_with_the_events_and_one_with_the_served_items(serve_log, log_file, tmp_path) -> None:
    api = serve_log()
    user = pb.User(user_id="u003")
    response = api.recommender.Recommend(pb.RecommendRequest(user=user, page_size=3), timeout=60)
    shown = [result.item_id for result in response.results]
    clicked = event("u003", shown[1], "click", at=at(0), recommendation_id=response.recommendation_id)
    record(api, clicked, event("ü", "日本", "view", at=at(0.4), count=2.5), event("u001", "i002", "view", at=at(-2)))
    api.server.stop()
    assert export(["export-feedback", "--log", str(log_file), "--output", str(tmp_path / "out")]) == 0
    events = read(tmp_path / "out" / "events")
    assert list(events) == ["2026-11-18.parquet", "2026-11-20.parquet"]
    assert sorted(events["2026-11-20.parquet"], key=lambda row: row["event"]) == [
        {
            "user_id": "u003",
            "item_id": shown[1],
            "event": "click",
            "count": 1.0,
            "time": NOON,
            "recommendation_id": response.recommendation_id,
        },
        {
            "user_id": "ü",
            "item_id": "日本",
            "event": "view",
            "count": 2.5,
            "time": NOON + timedelta(days=0.4),
            "recommendation_id": "",
        },
    ]
    [[*served]] = read(tmp_path / "out" / "served").values()
    assert [(row["rank"], row["item_id"]) for row in served] == list(enumerate(shown, 1))
    first = served[0]
    assert (datetime.now(UTC) - first.pop("time")).total_seconds() < 600
    assert first == {
        "recommendation_id": response.recommendation_id,
        "version": response.model.version,
        "user_id": "u003",
        "policy": "scores",
        "is_routed": True,
        "is_fallback": False,
        "rank": 1,
        "item_id": shown[0],
        "propensity": None,
    }


def test_an_event_that_two_servers_have_is_exported_once(serve_log, log_file, tmp_path) -> None:
    other = tmp_path / "other.sqlite"
    both, only_first, only_second = event("both", at=at(0)), event("a", at=at(0)), event("b", at=at(0))
    record(serve_log(), both, only_first)
    record(serve_log(feedback_log=str(other)), only_second, both)
    logs = ["--log", str(log_file), "--log", str(other)]
    assert export(["export-feedback", *logs, "--output", str(tmp_path / "out")]) == 0
    [rows] = read(tmp_path / "out" / "events").values()
    assert Counter(row["user_id"] for row in rows) == {"both": 1, "a": 1, "b": 1}


def test_days_and_a_model_can_be_chosen(serve_log, log_file, versions, dot_version, models, tmp_path, capsys) -> None:
    versions.copy(dot_version, models, "other")
    api = serve_log(model="dot")
    record(api, *(event(at=at(day)) for day in range(-5, 1)))
    record(api, event("them", at=at(0)), model="other")
    command = ["export-feedback", "--log", str(log_file), "--output", str(tmp_path / "out")]
    assert export(command) == 2
    assert "choose one with --model: dot, other" in capsys.readouterr().err
    assert export([*command, "--model", "nope"]) == 2
    assert "no rows of nope, but of dot, other" in capsys.readouterr().err
    assert export([*command, "--model", "dot", "--since", "2026-11-17", "--until", "2026-11-18"]) == 0
    assert list(read(tmp_path / "out" / "events")) == ["2026-11-17.parquet", "2026-11-18.parquet"]
    assert export([*command, "--model", "other"]) == 0
    assert [row["user_id"] for row in read(tmp_path / "out" / "events")["2026-11-20.parquet"]] == ["them"]


def test_what_cannot_be_exported_is_one_clear_line(serve_log, log_file, tmp_path, capsys) -> None:
    def problem(log, output):
        assert export(["export-feedback", "--log", str(log), "--output", str(output)]) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    assert "a server with --feedback-log writes one" in problem(log_file, tmp_path)
    api = serve_log()
    assert "there is nothing in the logs yet" in problem(log_file, tmp_path)
    record(api, event())
    assert "--output: cannot write" in problem(log_file, log_file)
    api.server.stop()
    with closing(sqlite3.connect(log_file)) as connection:
        connection.execute("PRAGMA user_version = 9")
    assert "schema version 9" in problem(log_file, tmp_path)


def test_a_version_is_trained_from_an_exported_log(serve_log, log_file, tmp_path) -> None:
    """Users click on items of their own half of the catalogue, and the next version recommends these."""
    api = serve_log()
    chance = np.random.default_rng(7)
    clicks = [
        event(f"user{user}", f"item{2 * int(item) + user % 2}", "click", at=at(-float(day)), event_id=f"{user}-{turn}")
        for user in range(60)
        for turn, (item, day) in enumerate(zip(chance.integers(0, 15, 20), chance.uniform(0, 9, 20), strict=True))
    ]
    assert record(api, *clicks).recorded_count == len(clicks)
    assert export(["export-feedback", "--log", str(log_file), "--output", str(tmp_path / "out")]) == 0
    flags = ["--dataset", str(tmp_path / "out" / "events"), "--output", str(tmp_path / "next"), "--epochs", "20"]
    done = subprocess.run(
        [sys.executable, "-m", "cofactor_trainer", "train", *flags, "--name", "next", "--factors", "8"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "event event, count count, time time (dates, 2026-11-11 to 2026-11-20)" in " ".join(done.stdout.split())
    assert "Parquet, files: 10" in done.stdout
    api = serve_log(models=tmp_path / "next", model="next")
    own = 0
    for user in range(20):
        wanted = pb.RecommendRequest(user=pb.User(user_id=f"user{user}"), page_size=5, include_rated=True)
        items = [result.item_id for result in api.recommender.Recommend(wanted, timeout=60).results]
        own += sum(int(item.removeprefix("item")) % 2 == user % 2 for item in items)
    assert own >= 80  # of 100; 50 by chance
