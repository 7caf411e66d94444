"""Rows of erased users: a data set without them is the data set of a file that never had them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format

from cofactor_server.repository import erasure_records as server_records
from cofactor_trainer.__main__ import main
from cofactor_trainer.data.erasures.left_out_rows import leave_out_erased
from cofactor_trainer.data.erasures.records import Erasures
from cofactor_trainer.data.events.feedback import EventSettings
from cofactor_trainer.data.events.files import read_events
from cofactor_trainer.data.rating_files import read_ratings
from cofactor_trainer.errors import InputError

KEY = "0123456789abcdef0123456789abcdef"
ERASED = "u2"
# Times are days since 1970. The erased user alone has the lowest rating, the newest time and the item i9.
RATINGS = [
    *(("u1", "i1", 3, 10), ("u1", "i2", 4, 11), ("u2", "i1", 1, 12), ("u2", "i9", 4, 90), ("u3", "i2", 5, 14)),
    *(("u3", "i3", 3, 15), ("u4", "i1", 2, 16), ("u4", "i3", 4, 17), ("u2", "i3", 3, 13)),
]
DAY = 86_400


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "erasure.key"
    path.write_text(KEY)
    return path


def record_erasure(folder, user_id, day=50, model_name="", key=KEY, n=0):
    """Record an erasure as the server does, at another time."""
    record = server_records.new_record(server_records.ErasureKey(key.encode()), user_id, model_name, "", "")
    record.record_id = f"20260101T00000000000{n}Z-00000000"
    record.erase_time.FromSeconds(day * DAY)
    folder.mkdir(exist_ok=True)
    (folder / f"{record.record_id}.json").write_text(server_records.format_record(record))
    return record


def write_ratings(path, rows, *, with_times=True):
    header = "user_id,item_id,rating" + (",timestamp" if with_times else "")
    lines = [f"{user},{item},{rating}" + (f",{day * DAY}" if with_times else "") for user, item, rating, day in rows]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def assert_same(dataset, expected):
    assert list(dataset.user_ids) == list(expected.user_ids)
    assert list(dataset.catalogue.item_ids) == list(expected.catalogue.item_ids)
    for name in ("user_rows", "item_rows", "ratings", "timestamps", "given_ratings"):
        np.testing.assert_array_equal(getattr(dataset, name), getattr(expected, name))
    assert (dataset.rating_min, dataset.rating_max) == (expected.rating_min, expected.rating_max)
    assert dataset.given_scale == expected.given_scale
    if expected.events is not None:
        assert dataset.events.newest_time == expected.events.newest_time


@pytest.mark.parametrize("with_times", [True, False])
def test_ratings_of_an_erased_user_are_left_out_up_to_the_erasure(tmp_path, key, with_times) -> None:
    record_erasure(tmp_path / ".erasures", ERASED)
    erasures = Erasures.read(tmp_path / ".erasures", key)
    ratings = read_ratings(write_ratings(tmp_path / "all.csv", RATINGS, with_times=with_times))
    remaining = [row for row in RATINGS if row[0] != ERASED or (with_times and row[3] > 50)]
    expected = read_ratings(write_ratings(tmp_path / "remaining.csv", remaining, with_times=with_times))
    dataset = leave_out_erased(ratings, erasures, scale_is_given=False)
    assert_same(dataset, expected)
    assert dataset.erasures.left_out_row_count == len(RATINGS) - len(remaining) == (2 if with_times else 3)
    assert ERASED in dataset.user_ids if with_times else ERASED not in dataset.user_ids


def test_the_newest_of_several_erasures_counts_and_a_given_scale_stays(tmp_path, key) -> None:
    record_erasure(tmp_path / ".erasures", ERASED, day=95, n=2)
    record_erasure(tmp_path / ".erasures", ERASED, day=50, n=1)
    erasures = Erasures.read(tmp_path / ".erasures", key)
    dataset = leave_out_erased(
        read_ratings(write_ratings(tmp_path / "all.csv", RATINGS)), erasures, scale_is_given=True
    )
    assert list(dataset.user_ids) == ["u1", "u3", "u4"]
    assert list(dataset.catalogue.item_ids) == ["i1", "i2", "i3"]
    assert dataset.rating_min == 1


def test_events_of_an_erased_user_are_left_out(tmp_path, key) -> None:
    record_erasure(tmp_path / ".erasures", ERASED, day=100)
    columns = "user_id,item_id,event_type,rating,timestamp"

    def read(name, rows):
        lines = [f"{u},{i},{'buy' if r > 3 else 'view'},{r if r != 2 else ''},{day * DAY}" for u, i, r, day in rows]
        (tmp_path / name).write_text("\n".join([columns, *lines]) + "\n")
        return read_events(tmp_path / name, settings=EventSettings(half_life=DAY), has_ratings=True)

    dataset = leave_out_erased(
        read("all.csv", RATINGS), Erasures.read(tmp_path / ".erasures", key), scale_is_given=False
    )
    assert_same(dataset, read("remaining.csv", [row for row in RATINGS if row[0] != ERASED]))


def test_only_the_erasures_of_this_model_and_of_all_models_count(tmp_path, key) -> None:
    folder = tmp_path / ".erasures"
    record_erasure(folder, "u1", model_name="other", n=1)
    kept = [record_erasure(folder, "u2", model_name="films", n=2), record_erasure(folder, "u3", n=3)]
    erasures = Erasures.read(folder, key, "films")
    dataset = leave_out_erased(
        read_ratings(write_ratings(tmp_path / "all.csv", RATINGS, with_times=False)), erasures, scale_is_given=False
    )
    assert list(dataset.user_ids) == ["u1", "u4"]
    assert dataset.erasures.record_count == 2
    assert dataset.erasures.records_sha256 == server_records.digest_of(kept), "trainer and server name a list alike"
    lines = [json_format.MessageToJson(record, indent=None) for record in kept]
    (tmp_path / "erasures.jsonl").write_text("\n".join(lines) + "\n")
    assert Erasures.read(tmp_path / "erasures.jsonl", key, "films") == erasures


def test_unusable_files_are_named(tmp_path, key) -> None:
    folder = tmp_path / ".erasures"
    record_erasure(folder, "u1", key="f" * 64)
    with pytest.raises(InputError, match="another key"):
        Erasures.read(folder, key)
    next(folder.iterdir()).write_text('{"record_id": "x"}\n')
    with pytest.raises(InputError, match=r"\.json, line 1: is not the record of an erasure"):
        Erasures.read(folder, key)
    with pytest.raises(InputError, match="cannot be read"):
        Erasures.read(tmp_path / "none.jsonl", key)
    key.write_text("short")
    with pytest.raises(InputError, match="5 characters"):
        Erasures.read(folder, key)


def test_an_erasure_that_leaves_too_little_is_an_error(tmp_path, key) -> None:
    for number, user_id in enumerate(("u1", "u2", "u3")):
        record_erasure(tmp_path / ".erasures", user_id, n=number)
    ratings = read_ratings(write_ratings(tmp_path / "all.csv", RATINGS, with_times=False))
    with pytest.raises(InputError, match="without the erased users"):
        leave_out_erased(ratings, Erasures.read(tmp_path / ".erasures", key), scale_is_given=False)


def train(dataset: Path, models: Path, *flags: str) -> int:
    sizes = ("--epochs", "1", "--factors", "4", "--batch-size", "64", "--validation-fraction", "0", "--device", "cpu")
    names = ("--output", str(models), "--name", "films", "--version", "1")
    return main(["train", "--dataset", str(dataset), *sizes, *names, *flags])


def test_train_exports_the_version_of_a_file_without_the_erased_user(tmp_path, key, capsys) -> None:
    random = np.random.default_rng(3)
    rows = [(f"u{user}", f"i{item}", 1 + (user * item) % 5, 1) for user in range(12) for item in range(9)]
    rows = [row for row in rows if random.random() < 0.7]
    everyone = write_ratings(tmp_path / "ratings.csv", rows)
    (tmp_path / "models").mkdir()
    record = record_erasure(tmp_path / "models" / ".erasures", ERASED)
    assert train(everyone, tmp_path / "models") == 2
    assert "pass --erasure-key-file" in capsys.readouterr().err
    assert train(everyone, tmp_path / "models", "--erasure-key-file", str(key)) == 0
    n_left_out = sum(row[0] == ERASED for row in rows)
    assert f"erasures: 1 recorded, {n_left_out} rows of erased users left out" in capsys.readouterr().out
    (tmp_path / "without").mkdir()
    remaining = write_ratings(tmp_path / "without" / "ratings.csv", [row for row in rows if row[0] != ERASED])
    assert train(remaining, tmp_path / "expected") == 0
    version, expected = tmp_path / "models" / "films" / "1", tmp_path / "expected" / "films" / "1"
    assert (version / "tables.bin").read_bytes() == (expected / "tables.bin").read_bytes()
    noted = json.loads((version / "manifest.json").read_text())["erasures"]
    assert noted["recordsSha256"] == server_records.digest_of([record])
    assert (int(noted["recordCount"]), int(noted["leftOutRowCount"])) == (1, n_left_out)
    assert "erasures" not in json.loads((expected / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--erasures", "x"], "needs --erasure-key-file"), (["--erasure-key-file", "x"], "needs --erasures")],
)
def test_one_flag_needs_the_other(tmp_path, flags, message, capsys) -> None:
    ratings = write_ratings(tmp_path / "ratings.csv", RATINGS)
    assert main(["evaluate", "--dataset", str(ratings), *flags]) == 2
    assert message in capsys.readouterr().err
