"""Odd files that people have: each is read, and what was detected is said, or it is refused in one line."""

import argparse
import gzip
import io
import json
import logging
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from rich.console import Console

from cofactor_trainer.__main__ import main
from cofactor_trainer.commands.dataset_flags import add_dataset_flags, load_dataset, print_dataset
from cofactor_trainer.commands.flag_values import join_negative_values
from cofactor_trainer.commands.split_flags import split_dataset
from cofactor_trainer.data.dataset_builder import RatingScale
from cofactor_trainer.data.rating_files import ColumnNames, FileOptions, read_ratings
from cofactor_trainer.errors import InputError

ROWS = [("ann", "10", 4.0), ("bob", "9", 5.0), ("ann", "9", 3.5), ("cid", "10", 1.0)]
HEAD = ("user_id", "item_id", "rating")
TIMES = (1500290613, 1500290614, 1500290615, 1500290616)  # from 2017-07-17 11:23:33 on
DATES = [f"2017-07-17 11:23:{second}" for second in (33, 34, 35, 36)]


def table(*columns, delimiter=",", header=(*HEAD, "timestamp"), rows=ROWS):
    """Return the ratings as text, with more columns."""
    lines = [delimiter.join(header[: 3 + len(columns)])] if header else []
    lines += [delimiter.join(str(value) for value in (*row, *more)) for row, *more in zip(rows, *columns, strict=True)]
    return "\n".join(lines) + "\n"


def columns(**kinds):
    """Return the ratings as an Arrow table whose columns have the given types."""
    table = pa.table(FRAME)
    for number, name in enumerate(table.column_names):
        if name in kinds:
            table = table.set_column(number, name, table.column(number).cast(kinds[name]))
    return table


def zipped(**files):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return target.getvalue()


def json_lines(*times):
    rows = zip(ROWS, *times, strict=True)
    return "\n".join(json.dumps(dict(zip((*HEAD, "timestamp"), (*row, *more), strict=False))) for row, *more in rows)


# name -> file name, content, options, words of the line about the file.
READ = {
    "semicolons": ("r.csv", table(delimiter=";"), {}, "separated by semicolons, with header"),
    "decimal commas": ("r.csv", table(delimiter=";").replace(".", ","), {}, "semicolons"),
    "tabs in .txt": ("r.txt", table(delimiter="\t"), {}, "separated by tabs, with header"),
    "tabs in .dat, no header": (
        "r.dat",
        table(delimiter="\t", header=None),
        {},
        "tabs, without header",
    ),
    "commas in .tsv": ("r.tsv", table(), {}, "separated by commas"),
    "double colons": (
        "r.dat",
        table(TIMES, delimiter="::", header=None),
        {},
        "'::', without header",
    ),
    "double colons, utf-16": ("r.dat", table(delimiter="::", header=None), {"encoding": "utf-16"}, "'::'"),
    "bars": ("r.csv", table(delimiter="|"), {}, "separated by '|'"),
    "no header": ("r.csv", table(header=None), {}, "separated by commas, without header"),
    "no header, by number": (
        "r.csv",
        "\n".join(f"{rating},{item},{user}" for user, item, rating in ROWS),
        {"columns": ColumnNames("3", "2", "1")},
        "without header; columns: user 3, item 2, rating 1, no times",
    ),
    "no header, named": (
        "r.csv",
        table(header=None),
        {"columns": ColumnNames("who", "what", "mark"), "has_header": False},
        "without header; columns: user who, item what, rating mark",
    ),
    "no header, named, more columns": (
        "r.csv",
        table("wxyz", header=None),
        {"columns": ColumnNames("a", "b", "c")},
        "without header; columns: user a",
    ),
    "a delimiter that is not detected": ("r.csv", table(delimiter="^"), {"delimiter": "^"}, "separated by '^'"),
    "blanks after commas": ("r.csv", table(delimiter=", "), {}, "commas, with header; columns: user user_id"),
    "blanks around ids": ("r.csv", table().replace("ann", " ann\u00a0").replace(",9", ", 9 "), {}, "commas"),
    "a line break in quotes": ("r.csv", table(('"a\nb"', '"c,""\n"', "d", "e")), {}, "not read"),
    "old line breaks": ("r.csv", table().replace("\n", "\r"), {}, "commas"),
    "a byte order mark and empty lines": ("r.csv", "\ufeff\n\n" + table(), {}, "commas, with header"),
    "an index column": (
        "r.csv",
        table().replace("\n", "\n7,")[:-2].replace("user_id", ",user_id", 1),
        {},
        "user user_id",
    ),
    "other spelling": ("r.csv", table(delimiter=";", header=("User-ID", "ISBN", "Book-Rating")), {}, "item ISBN"),
    "JSON lines": ("r.jsonl", json_lines(TIMES), {}, "JSON lines; columns: user user_id"),
    "JSON lines, gzip": ("r.jsonl.gz", gzip.compress(json_lines().encode()), {}, "JSON lines"),
    "zip": ("r.zip", zipped(r__csv=table()), {}, "separated by commas"),
    "zip of tabs": ("r.zip", zipped(r__tsv=table(delimiter="\t")), {}, "separated by tabs"),
    "zip of JSON lines": ("r.zip", zipped(r__jsonl=json_lines()), {}, "JSON lines"),
    "99 means no rating": (
        "r.csv",
        table() + "cid,9,99\nbob,10,99.0\n",
        {"missing": (99.0,)},
        "; 2 ratings left out as",
    ),
    # Times.
    "dates": ("r.csv", table(DATES), {}, "time timestamp (dates, 2017-07-17 to 2017-07-17)"),
    "dates with T and Z": ("r.csv", table([f"{d.replace(' ', 'T')}Z" for d in DATES]), {}, "(dates, 2017-07-17"),
    "dates, some with a zone": (
        "r.csv",
        table([DATES[0], *(f"{d}+00:00" for d in DATES[1:])]),
        {},
        "(dates, 2017-07-17",
    ),
    "dates with fractions": ("r.csv", table([f"{d}.000" for d in DATES]), {}, "(dates, 2017-07-17"),
    "floats": ("r.csv", table([f"{time}.0" for time in TIMES]), {}, "(seconds since 1970, 2017-07-17 to"),
    "exponents": ("r.csv", table([f"{time / 1e9:.9f}e9" for time in TIMES]), {}, "(seconds since 1970, 2017-07-17 to"),
    "milliseconds": ("r.csv", table([time * 1000 for time in TIMES]), {}, "(milliseconds since 1970, 2017-07-17"),
    "microseconds": ("r.csv", table([time * 10**6 for time in TIMES]), {}, "(microseconds since 1970, 2017-07-17"),
    "nanoseconds": ("r.csv", table([time * 10**9 for time in TIMES]), {}, "(nanoseconds since 1970, 2017-07-17"),
    "no date": ("r.csv", table([*DATES[:3], "yesterday"]), {}, "time timestamp (not read)"),
    "a missing date": ("r.csv", table([*DATES[:3], ""]), {}, "time timestamp (not read)"),
}


def rows_of(dataset):
    rows = zip(dataset.user_rows, dataset.item_rows, dataset.ratings, strict=True)
    return [(dataset.user_ids[user], dataset.catalogue.item_ids[item], float(rating)) for user, item, rating in rows]


def write(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


@pytest.mark.parametrize("case", READ)
def test_an_odd_file_is_read_and_what_was_detected_is_said(case, tmp_path):
    name, content, options, said = READ[case]
    columns = options.get("columns")
    options = FileOptions(**{key: value for key, value in options.items() if key != "columns"})
    dataset = read_ratings(write(tmp_path / name, content, options.encoding), columns, options=options)
    assert rows_of(dataset) == ROWS
    assert said in dataset.notes[0]
    if "since 1970" in said or "(dates" in said:
        assert dataset.timestamps.tolist() == list(TIMES)


@pytest.mark.parametrize("case", READ)
def test_blocks_of_any_size_give_the_same_ratings(case, tmp_path, monkeypatch):
    monkeypatch.setattr("cofactor_trainer.data.table_files._BYTES_PER_TEXT_BATCH", 7)
    monkeypatch.setattr("cofactor_trainer.data.table_files._ROWS_PER_JSON_BATCH", 2)
    test_an_odd_file_is_read_and_what_was_detected_is_said(case, tmp_path)


# name -> file name, content, flags, words of the error.
REFUSED = {
    "a time is missing, and needed": (
        "r.csv",
        table([*DATES[:3], "soon"]),
        ["--split", "time"],
        ["this split needs times, but", "line 5, column timestamp: 'soon' is neither a date", "--split random"],
    ),
    "dates and numbers": (
        "r.csv",
        table([*DATES[:3], "7"]),
        ["--split", "per-user-last"],
        ["line 5, column timestamp"],
    ),
    "wrong delimiter": ("r.csv", table(delimiter=";"), ["--delimiter", ","], ["separated by commas", "--delimiter"]),
    "no column": ("r.csv", table(header=("a", "b", "c")), [], ["no column 'user_id' among a, b, c", "--columns"]),
    "infinite rating": ("r.csv", table() + "ann,7,1e300\n", [], ["line 6, column rating: 1e+300 is not a rating"]),
    "JSON array": ("r.json", json.dumps([{"user_id": 1}]), [], ["line 1", "write one object a line", "jq"]),
    "JSON with a bad line": ("r.jsonl", json_lines() + "\n{oops\n", [], ["line 5", "this is not a JSON object"]),
    "JSON without a rating": (
        "r.jsonl",
        json_lines() + '\n{"user_id": 1, "item_id": 2}\n',
        [],
        ["row 5: the value"],
    ),
    "a delimiter for JSON": ("r.jsonl", json_lines(), ["--delimiter", ";"], ["--delimiter does not apply to JSON"]),
    "no header for Parquet": ("r.parquet", "", ["--no-header"], ["--no-header does not apply to Parquet"]),
    "zip of two files": ("r.zip", zipped(a__csv="", b__csv=""), [], ["the archive has 2 files: unpack it"]),
    "zip of Parquet": ("r.zip", zipped(a__parquet=""), [], ["a.parquet", "unpack it"]),
    "not a zip": ("r.zip", table(), [], ["cannot be decompressed", "remove .zip from its name"]),
    "gzip without .gz": ("r.csv", gzip.compress(table().encode()), [], ["add .gz to its name"]),
    "zip without .zip": ("r.csv", zipped(a__csv=""), [], ["add .zip to its name"]),
    "Excel": ("r.xlsx", zipped(a__csv=""), [], ["an Excel workbook: save its sheet as CSV"]),
    "bzip2": ("r.csv.bz2", b"BZh9", [], ["compressed: unpack it"]),
    "an encoding of bytes": ("r.csv", table(), ["--encoding", "hex"], ["--encoding 'hex' is unknown"]),
    "an id column without a table": ("r.csv", table(), ["--items-id-column", "sku"], ["without --items"]),
    "scale upside down": ("r.csv", table(), ["--scale", "5,1"], ["outside the scale"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_odd_file_is_refused_in_one_line(case, tmp_path, capsys):
    name, content, flags, expected = REFUSED[case]
    path = write(tmp_path / name, content)
    assert main(["evaluate", "--dataset", str(path), "--epochs", "1", "--device", "cpu", *flags]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    for words in expected:
        assert words in message


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--scale", "nan,5"], "'nan,5' is not two finite numbers"),
        (["--missing", "none"], "'none' is not a list of numbers"),
        (["--delimiter", "ab"], "'ab' is not one or two characters"),
        (["--delimiter", ""], "'' is not one or two characters"),
    ],
)
def test_bad_values_of_flags_are_refused(flags, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *flags])
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err


def test_a_value_may_begin_with_a_minus():
    assert join_negative_values(["--scale", "-10,10", "--missing", "-1", "--seed", "1", "--resume", "-h"]) == [
        *("--scale=-10,10", "--missing=-1", "--seed", "1", "--resume", "-h")
    ]


def test_a_negative_scale_is_read_from_the_command_line(tmp_path, capsys):
    path = write(tmp_path / "r.csv", table(rows=[(*row[:2], row[2] - 4) for row in ROWS]))
    flags = ["--epochs", "1", "--device", "cpu", "--recipe", "p5", "--rating-range", "-10,10"]
    assert main(["evaluate", "--dataset", str(path), "--scale", "-10,10", *flags, "--validation-fraction", "0.5"]) == 0
    output = capsys.readouterr().out
    assert "4 ratings of -10 to 10" in output
    assert "ratings: r.csv, separated by commas, with header; columns: user user_id, item item_id, rating" in output


@pytest.mark.parametrize("timed", [True, False])
def test_the_latest_rating_counts_or_without_times_the_last(timed, tmp_path, caplog):
    rows = ["1,101,5,1500000000", "1,101,1,1499000000", "2,102,3,1500000001"]
    text = "user_id,item_id,rating,timestamp\n" + "\n".join(rows) + "\n"
    path = write(tmp_path / "r.csv", text if timed else text.replace("timestamp", "comment"))
    with caplog.at_level(logging.WARNING):
        dataset = read_ratings(path)
    assert rows_of(dataset) == [("1", "101", 5.0 if timed else 1.0), ("2", "102", 3.0)]
    assert ("again later" if timed else "again in a later row") in caplog.text


def test_re_ratings_within_a_second_keep_their_order(tmp_path):
    rows = ["1,101,5,1500000000900", "1,101,1,1500000000100", "2,102,3,1500000001000"]
    path = write(tmp_path / "r.csv", "user_id,item_id,rating,timestamp\n" + "\n".join(rows) + "\n")
    assert rows_of(read_ratings(path))[0] == ("1", "101", 5.0)


FRAME = pd.DataFrame([(*row, time) for row, time in zip(ROWS, TIMES, strict=True)], columns=[*HEAD, "timestamp"])
PARQUET = {
    "string views": lambda: columns(user_id=pa.string_view(), item_id=pa.string_view(), timestamp=pa.int32()),
    "large strings": lambda: columns(user_id=pa.large_string(), item_id=pa.large_string(), timestamp=pa.float64()),
    "categories": lambda: pa.Table.from_pandas(FRAME.astype({"user_id": "category", "item_id": "category"})),
    "ids in the index": lambda: pa.Table.from_pandas(FRAME.set_index(["user_id", "item_id"])),
    "float ids": lambda: pa.Table.from_pandas(FRAME.astype({"item_id": float})),
    "dates": lambda: pa.Table.from_pandas(FRAME.assign(timestamp=pd.to_datetime(FRAME["timestamp"], unit="s"))),
    "dates with a zone": lambda: pa.Table.from_pandas(
        FRAME.assign(timestamp=pd.to_datetime(FRAME["timestamp"], unit="s", utc=True).dt.tz_convert("Asia/Tokyo"))
    ),
    "decimals": lambda: columns(rating=pa.decimal128(5, 2)),
    "other columns": lambda: pa.Table.from_pandas(FRAME.assign(tags=[["a"], None, [], ["b"]], nothing=None)),
}


@pytest.mark.parametrize("case", PARQUET)
def test_odd_parquet_files_are_read(case, tmp_path):
    pyarrow.parquet.write_table(PARQUET[case](), tmp_path / "r.parquet")
    dataset = read_ratings(tmp_path / "r.parquet")
    assert rows_of(dataset) == ROWS
    assert dataset.timestamps.tolist() == list(TIMES)
    assert "Parquet; columns: user user_id, item item_id, rating rating, time timestamp (" in dataset.notes[0]


def test_an_index_that_counts_up_has_ids(tmp_path):
    frame = FRAME.assign(item_id=[1, 1, 2, 2])
    frame.index = pd.RangeIndex(7, 11, name="user")
    frame.drop(columns="user_id").to_parquet(tmp_path / "r.parquet")
    assert read_ratings(tmp_path / "r.parquet").user_ids == ["10", "7", "8", "9"]


def items(tmp_path, content, name="items.csv", **options):
    """Read the ratings with a table of items."""
    if isinstance(content, pd.DataFrame):
        content.to_parquet(tmp_path / "items.parquet")
        path = tmp_path / "items.parquet"
    else:
        path = write(tmp_path / name, content)
    return read_ratings(write(tmp_path / "r.csv", table()), items_path=path, options=FileOptions(**options))


# name -> content, what is said, titles, genres and years of the items 10 and 9.
ITEMS = {
    "other names": (
        "item_id,name,genre,price\n10,Ten,A|B,7\n9,Nine,C,8\n",
        "2 of 2 rated items described; title from name, genres from genre, attributes: price (number)",
        (["Ten", "Nine"], [("A", "B"), ("C",)], [0, 0]),
    ),
    "semicolons": (
        "id;title;year\n10;Ten, or X;1999\n",
        "1 of 2 rated items described",
        (["Ten, or X", ""], [(), ()], [1999, 0]),
    ),
    "genres with commas": (
        'item_id,genres\n10,"A, B"\n',
        "genres separated by ','",
        (["", ""], [("A", "B"), ()], [0, 0]),
    ),
    "absurd years": (
        "item_id,title,year\n10,Ten,99999999999999999999\n9,Nine,3000000000\n",
        "2 years are not from 1 to 9999 and not used",
        (["Ten", "Nine"], [(), ()], [0, 0]),
    ),
    "dates": (
        "item_id,title,release_date\n10,Ten,1995-05-17\n9,Nine,1996.0\n",
        "year from release_date",
        (["Ten", "Nine"], [(), ()], [1995, 1996]),
    ),
    "categories with gaps": (
        pd.DataFrame({"item_id": ["10", "9"], "genres": pd.Categorical(["A", None])}),
        "2 of 2 rated",
        (["", ""], [("A",), ()], [0, 0]),
    ),
    "float titles and infinite years": (
        pd.DataFrame({"item_id": [10, 9], "title": [300.0, np.nan], "year": [np.inf, 1999.0]}),
        "1 years are not from",
        (["300", ""], [(), ()], [0, 1999]),
    ),
    "ids in the index": (
        pd.DataFrame({"title": ["Ten", "Nine"]}, index=pd.Index(["10", "9"], name="item_id")),
        "2 rows by item_id",
        (["Ten", "Nine"], [(), ()], [0, 0]),
    ),
    "ids in an index without a name": (
        pd.DataFrame({"title": ["Ten"]}, index=["10"]),
        "1 of 2",
        (["Ten", ""], [(), ()], [0, 0]),
    ),
    "lists": (
        pd.DataFrame({"item_id": [10, 9], "genres": [["A", "B"], []]}),
        "2 of 2",
        (["", ""], [("A", "B"), ()], [0, 0]),
    ),
    "JSON lines": (
        '{"item_id": 10, "title": "Ten", "genres": ["A", "B"]}\n',
        "1 of 2",
        (["Ten", ""], [("A", "B"), ()], [0, 0]),
    ),
}


@pytest.mark.parametrize("case", ITEMS)
def test_tables_of_items_are_read_and_what_matched_is_said(case, tmp_path):
    content, said, expected = ITEMS[case]
    dataset = items(tmp_path, content, "items.jsonl" if case == "JSON lines" else "items.csv")
    catalogue = dataset.catalogue
    assert said in dataset.notes[1]
    assert (catalogue.titles, catalogue.genres, catalogue.release_years.tolist()) == expected


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (
            "item_id,title\nx,Ten\n",
            {},
            r"item_id: none of its 1 ids is among the 2 items of the ratings \('x' here",
        ),
        ("item_id,title\n10.0,Ten\n", {}, "written differently: '10.0' here, '10' in the ratings"),
        ("item_id,title\n009,Nine\n", {}, "written differently: '009' here, '9' in the ratings"),
        ("item_id,title,sku\n1,Ten,10\n2,Nine,9\n", {}, "2 values of column sku are: pass --items-id-column sku"),
        ("nr,title\n10,Ten\n", {}, "no column 'item_id' among nr, title: .* --items-id-column"),
        ("item_id\n10\n", {}, "no column that describes the items beside the ids"),
        ("item_id,title\n10,Ten\n", {"items_id_column": "sku"}, None),
        ("item_id,title\n", {}, "the file has no rows"),
    ],
)
def test_a_table_of_items_that_describes_nothing_is_refused(content, options, expected, tmp_path):
    if expected is None:
        assert "by item_id" in items(tmp_path, content, **options).notes[1]
        return
    with pytest.raises(InputError, match=expected):
        items(tmp_path, content, **options)


def test_a_flag_names_the_id_column(tmp_path):
    dataset = items(tmp_path, "item_id,title,sku\n1,Ten,10\n2,Nine,9\n", items_id_column="sku")
    assert dataset.catalogue.titles == ["Ten", "Nine"]
    assert "2 rows by sku" in dataset.notes[1]


def users(tmp_path, content):
    path = write(tmp_path / "users.csv", content)
    return read_ratings(write(tmp_path / "r.csv", table()), users_path=path)


def test_missing_and_absurd_answers_are_said_and_bounded(tmp_path):
    dataset = users(tmp_path, "user_id,age,town,spent\nann,2442,NULL,1\nbob,NULL,Bonn,2\ncid,31,Lyon,3\nd,1,,inf\n")
    assert dataset.profiles["age"].fillna(-1).tolist() == [-1, -1, 31]
    assert dataset.profiles["town"].fillna("-").tolist() == ["-", "Bonn", "Lyon"]
    note = dataset.notes[1]
    assert "4 rows by user_id, 3 of 3 users described" in note
    assert "age (numbers), 1 of age missing, such as 'NULL', 1 answer of age beyond 0 to 120, such as 2442" in note
    assert "town (text), 1 of town missing, such as 'NULL'" in note
    assert "spent (numbers), 1 answer of spent far beyond the others, such as inf" in note


def test_a_number_far_beyond_the_others_is_clipped(tmp_path):
    dataset = users(tmp_path, "user_id,spent\nann,1e300\nbob,2\ncid,3\nd,4\ne,5\nf,6\n")
    assert dataset.profiles["spent"].max() < 100


def test_a_table_of_users_that_matches_nobody_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none of its 1 ids is among the 3 users .*: they are written diff"):
        users(tmp_path, "user_id,age\nANN,3\n")


@pytest.mark.parametrize(
    ("other", "warned"),
    [("Ann", True), ("\uff41\uff4e\uff4e", True), ("an\u0303n", False), ("anna", False)],
)
def test_ids_that_differ_only_in_writing_are_warned_of(other, warned, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = read_ratings(write(tmp_path / "r.csv", table() + f"{other},10,3\n"))
    assert other in dataset.user_ids
    assert ("1 user ids differ from another one only in case" in caplog.text) == warned


def test_an_id_that_means_missing_is_warned_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read_ratings(write(tmp_path / "r.csv", table() + "NULL,10,3\n"))
    assert "the user id 'NULL' counts as one user" in caplog.text


@pytest.mark.parametrize(
    ("more", "value"),
    [("cid,9,99\n", "99"), ("cid,9,-1\n", "-1"), ("bob,10,0\ncid,9,0\n", "0"), ("", None), ("cid,9,0.5\n", None)],
)
def test_a_value_that_may_mean_no_rating_is_hinted_at(more, value, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read_ratings(write(tmp_path / "r.csv", table() + more), scale=RatingScale(-1, 99))
    assert ("pass --missing" in caplog.text) == (value is not None)
    if value is not None:
        assert f"pass --missing {value} if" in caplog.text


def test_the_flags_reach_the_reader_and_the_lines_are_printed(tmp_path, capsys):
    write(tmp_path / "r.csv", table(delimiter="^", header=None) + "cid^9^99\n")
    write(tmp_path / "i.csv", "nr,title,sku\n1,Ten,10\n")
    parser = argparse.ArgumentParser()
    add_dataset_flags(parser)
    flags = f"--dataset {tmp_path}/r.csv --delimiter ^ --no-header --missing 99 --items {tmp_path}/i.csv"
    arguments = parser.parse_args([*flags.split(), "--items-id-column", "sku", "--validation-fraction", "0.5"])
    dataset = load_dataset(arguments)
    assert split_dataset(dataset, arguments).train.notes == dataset.notes
    print_dataset(Console(), dataset, None)
    output = capsys.readouterr().out
    assert "ratings: r.csv, separated by '^', without header" in output
    assert "1 ratings left out as missing" in output
    assert "items: i.csv, 1 rows by sku, 1 of 2 rated items described" in output
