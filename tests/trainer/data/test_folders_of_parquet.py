"""A folder of Parquet files is one table: of events or of ratings."""

from __future__ import annotations

import argparse

import pandas as pd
import pytest

from cofactor_trainer.commands.dataset_flags import add_dataset_flags, load_dataset
from cofactor_trainer.errors import InputError


def load(folder, *flags):
    parser = argparse.ArgumentParser()
    add_dataset_flags(parser)
    return load_dataset(parser.parse_args(["--dataset", str(folder), *flags]))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "table").mkdir()
    return tmp_path / "table"


def write(folder, name, **columns):
    pd.DataFrame(columns).to_parquet(folder / name)


def test_events_of_all_files_are_read(folder) -> None:
    write(folder, "2026-01-02.parquet", user_id=["c", "a"], item_id=["x", "y"], event=["view", "buy"])
    write(folder, "2026-01-01.parquet", user_id=["a", "b"], item_id=["x", "z"], event=["view", "view"])
    (folder / ".2026-01-03.parquet.tmp").write_bytes(b"unfinished")
    dataset = load(folder)
    assert dataset.events is not None
    assert sorted(dataset.user_ids) == ["a", "b", "c"]
    assert sorted(dataset.catalogue.item_ids) == ["x", "y", "z"]
    assert len(dataset.ratings) == 4
    assert any("Parquet, files: 2" in note for note in dataset.notes)


def test_ratings_of_all_files_are_read(folder) -> None:
    write(folder, "one.parquet", user_id=["a", "b"], item_id=["x", "z"], rating=[1.0, 5.0])
    write(folder, "two.parquet", user_id=["c"], item_id=["x"], rating=[3.0])
    dataset = load(folder)
    assert dataset.events is None
    assert (dataset.n_users, dataset.n_items, dataset.n_ratings) == (3, 2, 3)


def test_a_mistake_is_reported_with_its_file_and_row(folder) -> None:
    write(folder, "one.parquet", user_id=["a", "b"], item_id=["x", "z"], event=["view", "view"], count=[1.0, 1.0])
    write(folder, "two.parquet", user_id=["a", "b"], item_id=["x", "z"], event=["view", "view"], count=[1.0, -1.0])
    with pytest.raises(InputError, match=r"two\.parquet.*row 2"):
        load(folder)


def test_a_folder_without_parquet_is_still_one_of_movielens(folder) -> None:
    (folder / "notes.txt").write_text("nothing")
    with pytest.raises(InputError) as refused:
        load(folder)
    assert "MovieLens" in str(refused.value) or "ratings" in str(refused.value)
