"""Files of ratings: all accepted formats give the same dataset."""

import gzip
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cofactor_trainer.architectures.recipes import RECIPES, resolve_range
from cofactor_trainer.data import table_files
from cofactor_trainer.data.dataset_builder import RatingScale
from cofactor_trainer.data.rating_files import ColumnNames, read_ratings
from cofactor_trainer.errors import InputError, RecipeError

ROWS = [("ann", "10", 4.0, 100), ("bob", "9", 5.0, 200), ("ann", "9", 3.5, 300), ("zoë", "10", 1.0, 400)]
HEADER = ("user_id", "item_id", "rating", "timestamp")


def text(delimiter=",", newline="\n", header=HEADER):
    return newline.join(delimiter.join(str(value) for value in row) for row in (header, *ROWS)) + newline


FORMATS = {
    "csv": ("r.csv", text().encode(), {}),
    "no final line break": ("r.csv", text().rstrip("\n").encode(), {}),
    "tsv": ("r.tsv", text("\t").encode(), {}),
    "CRLF": ("r.csv", text(newline="\r\n").encode(), {}),
    "byte order mark": ("r.csv", text().encode("utf-8-sig"), {}),
    "gzip": ("r.csv.gz", gzip.compress(text().encode()), {}),
    "tsv, gzip": ("r.tsv.gz", gzip.compress(text("\t").encode()), {}),
    "latin-1": ("r.csv", text().encode("latin-1"), {"encoding": "latin-1"}),
    "utf-16": ("r.csv", text().encode("utf-16"), {"encoding": "utf-16"}),
    "empty lines": ("r.csv", text().replace("\n", "\n\n").encode(), {}),
    "quoted": ("r.csv", text().replace("ann", '"ann"').encode(), {}),
    "usual names": ("r.csv", text(header=("userId", "movieId", "Rating", "time")).encode(), {}),
    "other names": (
        "r.csv",
        text(header=("who", "what", "how", "when")).encode(),
        {"columns": ColumnNames("who", "what", "how", "when")},
    ),
}


def assert_is_rows(dataset):
    assert dataset.user_ids == ["ann", "bob", "zoë"]
    assert dataset.catalogue.item_ids == ["10", "9"]
    found = [
        (dataset.user_ids[user], dataset.catalogue.item_ids[item], float(rating), int(time))
        for user, item, rating, time in zip(
            dataset.user_rows, dataset.item_rows, dataset.ratings, dataset.timestamps, strict=True
        )
    ]
    assert found == ROWS
    assert (dataset.rating_min, dataset.rating_max) == (1.0, 5.0)


@pytest.mark.parametrize("text_format", FORMATS)
def test_every_text_format_gives_the_same_dataset(text_format, tmp_path):
    name, content, options = FORMATS[text_format]
    (tmp_path / name).write_bytes(content)
    assert_is_rows(read_ratings(tmp_path / name, **options))


@pytest.mark.parametrize("item_type", [str, np.int64, np.int32, "category"])
def test_parquet_gives_the_same_dataset(item_type, tmp_path):
    frame = pd.DataFrame(ROWS, columns=HEADER).astype({"item_id": item_type, "rating": np.float32})
    frame.to_parquet(tmp_path / "r.parquet")
    assert_is_rows(read_ratings(tmp_path / "r.parquet"))


def test_the_batches_of_a_file_are_one_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "_BYTES_PER_TEXT_BATCH", 40)
    (tmp_path / "r.csv").write_text(text(), encoding="utf-8")
    assert_is_rows(read_ratings(tmp_path / "r.csv"))
    (tmp_path / "bad.csv").write_text(text() + "cid,9,x,5\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 6, column rating: 'x'"):
        read_ratings(tmp_path / "bad.csv")


def test_a_64_bit_id_keeps_every_digit(tmp_path):
    huge = 2**63 - 1
    frame = pd.DataFrame({"user_id": [huge, huge - 1], "item_id": [1, 2], "rating": [1.0, 2.0]})
    frame.to_parquet(tmp_path / "r.parquet")
    frame.to_csv(tmp_path / "r.csv", index=False)
    for name in ("r.parquet", "r.csv"):
        assert read_ratings(tmp_path / name).user_ids == [str(huge - 1), str(huge)]


def test_ids_that_are_fractions_are_refused(tmp_path):
    pd.DataFrame({"user_id": [1.5, 2.5], "item_id": [1, 2], "rating": [1.0, 2.0]}).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputError, match="column user_id: ids are double"):
        read_ratings(tmp_path / "r.parquet")


def test_a_bad_row_of_a_parquet_file_is_located(tmp_path):
    frame = pd.DataFrame(ROWS, columns=HEADER)
    frame.loc[2, "rating"] = np.nan
    frame.to_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputError, match=r"column rating: row 3: .*(nan is not a rating|missing)"):
        read_ratings(tmp_path / "r.parquet")


def test_the_last_of_duplicate_ratings_counts_and_the_others_are_reported(tmp_path, caplog):
    (tmp_path / "r.csv").write_text(text() + "ann,10,2,500\nann,10,1.5,600\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        dataset = read_ratings(tmp_path / "r.csv")
    assert "dropped 2 ratings" in caplog.text
    assert dataset.ratings.tolist() == [5.0, 3.5, 1.0, 1.5]
    assert dataset.timestamps.tolist() == [200, 300, 400, 600]


def test_the_scale_may_be_wider_than_the_ratings(tmp_path):
    (tmp_path / "r.csv").write_text(text(), encoding="utf-8")
    dataset = read_ratings(tmp_path / "r.csv", scale=RatingScale(0.0, 10.0))
    assert (dataset.rating_min, dataset.rating_max) == (0.0, 10.0)


def test_the_ends_of_the_scale_are_compared_in_single_precision(tmp_path):
    """In double precision 0.7 is above a rating of 0.7, and 4.9 is below a rating of 4.9."""
    path = tmp_path / "r.csv"
    path.write_text("user_id,item_id,rating\na,x,0.7\na,y,4.9\nb,x,2\n", encoding="utf-8")
    recipe = replace(RECIPES["dot-bias"], rating_range=(0.7, 4.9))
    for scale in (RatingScale(0.7, 4.9), None):
        dataset = read_ratings(path, scale=scale)
        assert (dataset.rating_min, dataset.rating_max) == (np.float32(0.7), np.float32(4.9))
        assert resolve_range(recipe, dataset) == (0.7, 4.9)
    with pytest.raises(InputError, match=r"outside the scale of 0\.7 to 4\.89999:"):
        read_ratings(path, scale=RatingScale(0.7, 4.89999))
    with pytest.raises(RecipeError, match=r"0\.70001 to 4\.9 .* does not contain all ratings"):
        resolve_range(replace(recipe, rating_range=(0.70001, 4.9)), dataset)


def test_the_items_and_users_tables_describe_the_rated_items_and_the_users(tmp_path):
    (tmp_path / "r.csv").write_text(text(), encoding="utf-8")
    (tmp_path / "items.csv").write_text(
        'item_id,title,genres\n9,"Alien, Director\'s Cut (1979)",Horror|Sci-Fi\n7,Unrated (2001),Drama\n',
        encoding="utf-8",
    )
    (tmp_path / "users.csv").write_text("user_id,age,town\nzoë,31,Lyon\nann,22,Bonn\n", encoding="utf-8")
    dataset = read_ratings(tmp_path / "r.csv", items_path=tmp_path / "items.csv", users_path=tmp_path / "users.csv")
    assert dataset.catalogue.titles == ["", "Alien, Director's Cut (1979)"]
    assert dataset.catalogue.genres == [(), ("Horror", "Sci-Fi")]
    assert dataset.catalogue.release_years.tolist() == [0, 1979]
    assert dataset.profiles["age"].tolist()[::2] == [22, 31]
    assert dataset.profiles["town"].fillna("").tolist() == ["Bonn", "", "Lyon"]
    assert np.isnan(dataset.profiles["age"].tolist()[1])
