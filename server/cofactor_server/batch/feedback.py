"""Write the events and the served lists of feedback logs to Parquet files, one for each day."""

from __future__ import annotations

import argparse
import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import date
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cofactor_server.batch.arrow_arrays import of_numbers, of_strings
from cofactor_server.batch.parquet_parts import replacing
from cofactor_server.errors import ConfigurationError
from cofactor_server.feedback.database import open_to_read

_COMPRESSION = "zstd"
_ROWS_PER_GROUP = 100_000
_EPOCH = date(1970, 1, 1).toordinal()
_TIME = pa.timestamp("us", "UTC")
_EVENT_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("count", pa.float64(), nullable=False),
        pa.field("time", _TIME, nullable=False),
        pa.field("recommendation_id", pa.string(), nullable=False),
    ]
)
_SERVED_SCHEMA = pa.schema(
    [
        pa.field("recommendation_id", pa.string(), nullable=False),
        pa.field("time", _TIME, nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("is_routed", pa.bool_(), nullable=False),
        pa.field("is_fallback", pa.bool_(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("propensity", pa.float32()),
    ]
)
_EVENTS = (
    "SELECT digest, user_id, item_id, event, count, time_us, recommendation_id FROM events "
    "WHERE day = ? AND model = ? ORDER BY digest"
)
_LISTS = (
    "SELECT recommendation_id, served_us, version, user_id, policy, is_routed, is_fallback, first_rank, item_ids, "
    "propensities FROM served_lists WHERE day = ? AND model = ? ORDER BY rowid"
)


def export_feedback(arguments: argparse.Namespace) -> str:
    """Write the days of some logs; return a sentence about the result. Raises ConfigurationError."""
    with ExitStack() as stack:
        logs = [stack.enter_context(closing(open_to_read(path))) for path in arguments.log]
        try:
            model = _model(logs, arguments.model)
            days = _days(logs, model, arguments.since, arguments.until)
            n_events = _write_days(arguments.output / "events", _EVENT_SCHEMA, days["events"], logs, model, _events)
            n_served = _write_days(
                arguments.output / "served", _SERVED_SCHEMA, days["served_lists"], logs, model, _items
            )
        except sqlite3.Error as error:
            raise ConfigurationError(f"--log: a feedback log cannot be read: {error}") from None
        except OSError as error:
            raise ConfigurationError(f"--output: cannot write {error.filename or arguments.output}: {error}") from None
    return (
        f"{arguments.output}: model {model}; events: {n_events:,}, days: {len(days['events'])}; served items: "
        f"{n_served:,}, days: {len(days['served_lists'])}"
    )


def _model(logs: Sequence[sqlite3.Connection], name: str) -> str:
    """Return the model whose rows are exported."""
    found: set[str] = set()
    for log in logs:
        found.update(
            row[0] for row in log.execute("SELECT DISTINCT model FROM events UNION SELECT model FROM served_lists")
        )
    if name and name not in found:
        raise ConfigurationError(
            f"--model: the logs have no rows of {name}, but of {', '.join(sorted(found)) or 'none'}"
        )
    if not found:
        raise ConfigurationError("--log: there is nothing in the logs yet")
    if not name and len(found) > 1:
        raise ConfigurationError(
            f"the logs have rows of several models; choose one with --model: {', '.join(sorted(found))}"
        )
    return name or found.pop()


def _days(
    logs: Sequence[sqlite3.Connection], model: str, since: date | None, until: date | None
) -> dict[str, list[int]]:
    """Return the days from `since` to `until` of which each table has rows, in days since 1970."""
    first = -_EPOCH if since is None else since.toordinal() - _EPOCH
    last = 2**31 if until is None else until.toordinal() - _EPOCH
    days: dict[str, list[int]] = {}
    for table in ("events", "served_lists"):
        query = f"SELECT DISTINCT day FROM {table} WHERE day BETWEEN ? AND ? AND model = ?"  # noqa: S608 (fixed names)
        days[table] = sorted({row[0] for log in logs for row in log.execute(query, (first, last, model))})
    return days


def _write_days(
    folder: Path, schema: pa.Schema, days: Iterable[int], logs: Sequence[sqlite3.Connection], model: str, rows_of: Any
) -> int:
    """Write a file for each day, in place of an older one; return the number of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    n_rows = 0
    for day in days:
        rows = rows_of(logs, day, model)
        name = f"{date.fromordinal(_EPOCH + day)}.parquet"
        with (
            replacing(folder / name) as temporary,
            pq.ParquetWriter(temporary, schema, compression=_COMPRESSION) as out,
        ):
            while block := list(islice(rows, _ROWS_PER_GROUP)):
                columns = map(_column, zip(*block, strict=True), schema)
                out.write_table(pa.Table.from_arrays(list(columns), schema=schema))
                n_rows += len(block)
    return n_rows


def _column(values: Sequence[Any], field: pa.Field) -> Any:
    """Return the Arrow array of a column."""
    if pa.types.is_string(field.type):
        return of_strings(values)
    if not field.nullable:
        # Booleans as numbers: numpy has a byte for each, and Arrow a bit.
        kind = np.uint8 if pa.types.is_boolean(field.type) else None
        return of_numbers(np.array(values, dtype=kind)).cast(field.type)
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
    is_valid = np.packbits(~np.isnan(numbers), bitorder="little")
    return pa.Array.from_buffers(pa.float32(), len(numbers), [pa.py_buffer(is_valid), pa.py_buffer(numbers)])


def _events(logs: Sequence[sqlite3.Connection], day: int, model: str) -> Iterator[tuple[Any, ...]]:
    """Yield the events of a day as rows of _EVENT_SCHEMA; one that is in several logs only once."""
    sources = [log.execute(_EVENTS, (day, model)) for log in logs]
    for _, copies in groupby(heapq.merge(*sources, key=itemgetter(0)), key=itemgetter(0)):
        _, user_id, item_id, event, count, time_us, recommendation_id = next(copies)
        yield user_id, item_id, event, count, time_us, recommendation_id


def _items(logs: Sequence[sqlite3.Connection], day: int, model: str) -> Iterator[tuple[Any, ...]]:
    """Yield the items of the lists that were served on a day as rows of _SERVED_SCHEMA."""
    for log in logs:
        for *shared, is_routed, is_fallback, first_rank, item_ids, propensities in log.execute(_LISTS, (day, model)):
            items = json.loads(item_ids)
            drawn = json.loads(propensities) if propensities else [None] * len(items)
            for place, (item_id, propensity) in enumerate(zip(items, drawn, strict=True)):
                yield *shared, bool(is_routed), bool(is_fallback), first_rank + place, item_id, propensity
