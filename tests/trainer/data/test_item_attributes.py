"""Columns of a table of items become typed attributes."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from cofactor_trainer.commands.flag_values import parse_attribute_types
from cofactor_trainer.data.events.demo_shop import load_demo_shop, write_files
from cofactor_trainer.data.events.files import read_events
from cofactor_trainer.data.item_attributes import AttributeColumn, ItemAttributes
from cofactor_trainer.data.rating_files import FileOptions, read_ratings
from cofactor_trainer.errors import InputError

RATINGS = "user_id,item_id,rating\nu1,a,1\nu1,b,2\nu2,a,3\nu2,c,4\n"
DAY = datetime(2024, 5, 17, tzinfo=UTC)


def read(tmp_path, content, name="items.csv", **options):
    """Read three rated items, a to c, with a table of items."""
    (tmp_path / "ratings.csv").write_text(RATINGS, encoding="utf-8")
    path = tmp_path / name
    if isinstance(content, pd.DataFrame):
        content.to_parquet(path)
    else:
        path.write_text(content, encoding="utf-8")
    return read_ratings(tmp_path / "ratings.csv", items_path=path, options=FileOptions(**options))


def values(dataset):
    """Return the type and the values of every attribute, by name."""
    columns = dataset.catalogue.attributes.columns
    return {column.name: (column.type, [column.value(row) for row in range(3)]) for column in columns}


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (("1.5", "", "7"), "number", [1.5, None, 7.0]),
        (("1.5", "n/a", "-3e2"), "number", [1.5, None, -300.0]),
        (("007", "010", "3"), "text", ["007", "010", "3"]),
        (("1.5", "two", "7"), "text", ["1.5", "two", "7"]),
        (("yes", "NO", ""), "boolean", [True, False, None]),
        (("true", "False", "-"), "boolean", [True, False, None]),
        (("2024-05-17", "", "2024-05-17T00:00:00.25Z"), "time", [DAY, None, DAY.replace(microsecond=250_000)]),
        (("x|y", "y", "y|x"), "texts", [("x", "y"), ("y",), ("x", "y")]),
        (("Rock; loud", "Jazz", "Pop"), "text", ["Rock; loud", "Jazz", "Pop"]),
    ],
)
def test_the_type_of_a_column_is_detected_from_all_its_values(cells, kind, expected, tmp_path):
    rows = "".join(f"{item},{cell}\n" for item, cell in zip("abc", cells, strict=True))
    assert values(read(tmp_path, f"item_id,thing\n{rows}")) == {"thing": (kind, expected)}


def test_a_column_of_tags_has_lists_even_without_a_separator(tmp_path):
    dataset = read(tmp_path, 'item_id,title,tags\na,A,"sale, red"\nb,B,sale\n')
    assert values(dataset) == {"tags": ("texts", [("red", "sale"), ("sale",), None])}
    # The column also gives the genres, as before.
    assert dataset.catalogue.genres == [("sale", "red"), ("sale",), ()]


def test_types_of_parquet_are_kept(tmp_path):
    frame = pd.DataFrame(
        {
            "item_id": ["c", "b", "a"],
            "stock": [True, None, False],
            "price": [3, 2, 1],
            "since": pd.to_datetime(["2024-05-17", None, "2024-05-17"]),
            "colours": [["red", "blue"], [], None],
        }
    )
    assert values(read(tmp_path, frame, "items.parquet")) == {
        "stock": ("boolean", [False, None, True]),
        "price": ("number", [1.0, 2.0, 3.0]),
        "since": ("time", [DAY, None, DAY]),
        "colours": ("texts", [None, None, ("blue", "red")]),
    }


def test_a_category_and_a_day_are_attributes_beside_genre_and_year(tmp_path):
    dataset = read(tmp_path, "item_id,category,release_date\na,Shoes,2024-05-17\n")
    assert values(dataset) == {
        "category": ("text", ["Shoes", None, None]),
        "release_date": ("time", [DAY, None, None]),
    }
    assert (dataset.catalogue.genres[0], dataset.catalogue.release_years[0]) == (("Shoes",), 2024)


def test_named_types_override_the_detected_ones(tmp_path):
    table = "item_id,code,flag,day,words,note\na,1,0,1715904000,x;y,z\n"
    types = {"code": "text", "flag": "boolean", "day": "time", "words": "texts", "note": "ignore"}
    assert values(read(tmp_path, table, item_attributes=types)) == {
        "code": ("text", ["1", None, None]),
        "flag": ("boolean", [False, None, None]),
        "day": ("time", [DAY, None, None]),
        "words": ("texts", [("x", "y"), None, None]),
    }


@pytest.mark.parametrize(
    ("kind", "cells", "said"),
    [
        ("number", ("1", "cheap"), r"items\.csv, line 3, column x: 'cheap' is not a number: correct it, or .* x=text"),
        ("number", ("1", "inf"), r"line 3, column x: 'inf' is not a number"),
        ("boolean", ("maybe", "1"), r"line 2, column x: 'maybe' is neither true nor false"),
        ("time", ("2024-01-01", "soon"), r"line 3, column x: 'soon' is neither a date in ISO 8601 nor"),
        ("time", ("2024-01-01", "1e17"), r"line 3, column x: '1e17' is neither a date|line 3, column x"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_line(kind, cells, said, tmp_path):
    with pytest.raises(InputError, match=said):
        read(tmp_path, f"item_id,x\na,{cells[0]}\nb,{cells[1]}\n", item_attributes={"x": kind})


def test_a_bad_value_of_parquet_is_named_with_its_row(tmp_path):
    with pytest.raises(InputError, match=r"column x: row 2: 'b' is not a number"):
        read(
            tmp_path,
            pd.DataFrame({"item_id": ["a", "b"], "x": ["1", "b"]}),
            "i.parquet",
            item_attributes={"x": "number"},
        )


def test_a_type_for_a_column_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(InputError, match="--item-attributes names 'cost', which is none of price"):
        read(tmp_path, "item_id,price\na,1\n", item_attributes={"cost": "number"})


@pytest.mark.parametrize(
    ("header", "names", "said"),
    [
        (
            "In Stock,2nd price,NOT",
            ["In_Stock", "_2nd_price", "NOT_"],
            "In_Stock (text), _2nd_price (text), NOT_ (text)",
        ),
        ("rating_count,y", ["y"], "rating_count is not used, because every model has an attribute of this name"),
        ("a-b,a b", ["a_b"], "a b is not used, because another column is called a_b, too"),
    ],
)
def test_names_of_columns_become_names_that_expressions_can_use(header, names, said, tmp_path):
    cells = ",".join(["v"] * len(header.split(",")))
    dataset = read(tmp_path, f"item_id,{header}\na,{cells}\n")
    assert list(values(dataset)) == names
    assert said in dataset.notes[1]


def test_columns_without_values_and_descriptions_are_not_used(tmp_path):
    dataset = read(tmp_path, f"item_id,empty,story,x\na,,{'long ' * 300},1\nb,N/A,short,2\n")
    assert list(values(dataset)) == ["x"]
    assert "empty is not used, because it has no values" in dataset.notes[1]
    assert "story is not used, because a text has more than 1,000 characters" in dataset.notes[1]


def test_the_last_row_of_an_item_counts(tmp_path):
    assert values(read(tmp_path, "item_id,x\na,1\na,2\n"))["x"] == ("number", [2.0, None, None])


COLUMNS = {
    "text": ["b", None, "a", "b"],
    "number": [1.5, 2.0, None, -1.0],
    "boolean": [True, None, False, True],
    "time": [DAY, None, DAY.replace(year=1900), DAY],
    "texts": [("b", "a"), None, ("c",), ("a",)],
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_selected_items_keep_their_values(kind):
    column = AttributeColumn.of_values("x", kind, COLUMNS[kind])
    plain = [tuple(sorted(v)) if isinstance(v, tuple) else v for v in COLUMNS[kind]]
    assert [column.value(row) for row in range(4)] == plain
    assert column.is_known().tolist() == [value is not None for value in plain]
    chosen = np.array([2, -1, 0])
    selected = ItemAttributes((column,)).select(chosen).columns[0]
    assert [selected.value(row) for row in range(3)] == [plain[2], None, plain[0]]
    assert (selected.n_items, selected.name, selected.type) == (3, "x", kind)
    assert set(selected.texts) == {
        t for v in (plain[2], plain[0]) for t in (v if isinstance(v, tuple) else (v,))
    } & set(column.texts)


def test_the_demo_shop_has_the_same_attributes_generated_or_read_from_its_files(tmp_path):
    write_files(tmp_path)
    read_back = read_events(tmp_path / "events.csv", items_path=tmp_path / "items.csv").catalogue
    generated = load_demo_shop().catalogue
    assert read_back.item_ids == generated.item_ids
    for one, other in zip(read_back.attributes.columns, generated.attributes.columns, strict=True):
        assert (one.name, one.type) == (other.name, other.type)
        assert [one.value(row) for row in range(300)] == [other.value(row) for row in range(300)]
    brand = generated.attributes.columns[1]
    assert all(title.startswith(brand.value(row)) for row, title in enumerate(generated.titles))


def test_the_flag_names_types():
    assert parse_attribute_types("price=number, in stock=boolean,a=b=ignore") == {
        "price": "number",
        "in stock": "boolean",
        "a=b": "ignore",
    }
    for text, said in (
        ("price", "'price' is not a column with its type, text, number, boolean, time, texts or ignore"),
        ("price=cents", "'price=cents' is not a column with its type"),
        ("price=number,price=text", "the column 'price' has two types"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=said):
            parse_attribute_types(text)
