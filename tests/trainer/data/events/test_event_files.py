"""Tables of events are recognised, read and weighed by type and count."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from cofactor_trainer.data.events.columns import EventColumns, is_event_table
from cofactor_trainer.data.events.feedback import EventSettings
from cofactor_trainer.data.events.files import read_events
from cofactor_trainer.data.rating_files import FileOptions
from cofactor_trainer.errors import InputError

SHOP = """customer,sku,action,qty,ordered_at
ann,shoe,view,1,2026-01-01
ann,shoe,purchase,2,2026-01-03
bob,shoe,cart,1,2026-01-02
bob,hat,return,1,2026-01-04
ann,hat,view,3,2026-01-05
"""
WEIGHTS = EventSettings({"purchase": 5, "cart": 2, "view": 0.5}, negative=("return",))


@pytest.fixture
def write(tmp_path):
    def write(text, name="shop.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def rows(events):
    """Return user id, item id and weight of every event."""
    return [
        (events.user_ids[user], events.catalogue.item_ids[item], round(float(weight), 4))
        for user, item, weight in zip(events.user_rows, events.item_rows, events.ratings, strict=True)
    ]


def test_events_weigh_as_their_type_times_their_count(write):
    events = read_events(write(SHOP), settings=WEIGHTS)
    assert rows(events) == [
        *[("ann", "shoe", 0.5), ("ann", "shoe", 10.0), ("bob", "shoe", 2.0), ("bob", "hat", 0.0), ("ann", "hat", 1.5)]
    ]
    assert {kind.name: (kind.weight, kind.is_negative, kind.n_events) for kind in events.events.types} == {
        "cart": (2, False, 1),
        "purchase": (5, False, 2),
        "return": (0, True, 1),
        "view": (0.5, False, 4),
    }
    assert events.events.weight_cap == 5  # as heavy as the heaviest type
    assert events.timestamps[1] == 1767398400


def test_a_type_of_weight_0_is_left_out(write):
    events = read_events(write(SHOP), settings=EventSettings({"purchase": 5, "cart": 1, "view": 0, "return": 0}))
    assert rows(events) == [("ann", "shoe", 10.0), ("bob", "shoe", 1.0)]
    assert "view 4 (left out)" in "\n".join(events.notes)


def test_without_weights_every_type_counts_once(write):
    assert {weight for *_, weight in rows(read_events(write(SHOP)))} == {1.0, 2.0, 3.0}


def test_the_summary_says_what_was_read(write):
    notes = "\n".join(read_events(write(SHOP), settings=WEIGHTS).notes)
    for part in (
        "columns: user customer, item sku, event action, count qty, time ordered_at (dates, 2026-01-01 to 2026-01-05)",
        "cart 1 (weight 2), purchase 2 (weight 5), return 1 (negative), view 4 (weight 0.5)",
        "5 rows by 2 users of 2 items, 2026-01-01 to 2026-01-05 (4 days)",
        "4 pairs of a user and an item, 1 rows (20%) repeat one",
        "the heaviest 1 users have 60% of the rows",
        "weights: sum of a user's events of an item, at most 5",
    ):
        assert part in notes


def test_likely_returns_that_count_as_wanted_are_a_warning(write, caplog):
    read_events(write(SHOP))
    assert "--negative-events return" in caplog.text


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (("1700000000", "1700000060"), [1700000000, 1700000060]),
        (("1700000000000", "1700000060000"), [1700000000, 1700000060]),
        (("2023-11-14T22:13:20", "2023-11-14 22:14:20"), [1700000000, 1700000060]),
        (("2023-11-14T22:13:20Z", "2023-11-15T00:14:20+02:00"), [1700000000, 1700000060]),
    ],
)
def test_times_are_seconds_milliseconds_or_dates_with_and_without_zone(times, expected, write):
    events = read_events(write(f"user,item,time\na,x,{times[0]}\nb,y,{times[1]}\n"))
    assert events.timestamps.tolist() == expected


def test_json_lines_and_parquet_hold_the_same_events(write, tmp_path):
    table = [dict(zip(SHOP.splitlines()[0].split(","), line.split(","), strict=True)) for line in SHOP.splitlines()[1:]]
    lines = write("\n".join(map(json.dumps, table)), "shop.jsonl")
    parquet = tmp_path / "shop.parquet"
    pa.parquet.write_table(pa.Table.from_pylist([{**row, "qty": int(row["qty"])} for row in table]), parquet)
    expected = rows(read_events(write(SHOP), settings=WEIGHTS))
    assert is_event_table(lines, FileOptions())
    assert is_event_table(parquet, FileOptions())
    assert rows(read_events(lines, settings=WEIGHTS)) == rows(read_events(parquet, settings=WEIGHTS)) == expected


def test_columns_of_a_file_without_header_are_numbered(write):
    path = write("7;10\n7;11\n8;10\n", "clicks.csv")
    events = read_events(path, EventColumns("1", "2"), options=FileOptions(has_header=False))
    assert rows(events) == [("7", "10", 1.0), ("7", "11", 1.0), ("8", "10", 1.0)]
    with pytest.raises(InputError, match="number them, as in --columns user=1,item=2,time=3"):
        read_events(path)


@pytest.mark.parametrize(
    ("header", "is_event"),
    [
        ("user_id,item_id", True),
        ("userID\tartistID\tweight", True),
        ("visitorid,itemid,event,timestamp,transactionid", True),
        ("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID", True),
        ("user_id,item_id,time", True),
        ("user_id,item_id,rating", False),
        ("user_id,item_id,rating,timestamp", False),
        ("user_id,item_id,mark", False),  # a rating of another name?
        ("a,b,c", False),
    ],
)
def test_a_table_without_ratings_is_recognised_by_its_columns(header, is_event, write):
    delimiter = "\t" if "\t" in header else ","
    row = delimiter.join("1" for _ in header.split(delimiter))
    assert is_event_table(write(f"{header}\n{row}\n{row}\n"), FileOptions()) == is_event


def test_an_array_of_weights_is_single_precision(write):
    assert read_events(write(SHOP)).ratings.dtype == np.float32
