"""Read ratings from text, Parquet and JSON files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from cofactor_trainer.data.checked_batch import CheckedBatch
from cofactor_trainer.data.dataset import BoolArray, RatingsDataset
from cofactor_trainer.data.dataset_builder import RatingScale, RatingsChunk, build_dataset
from cofactor_trainer.data.delimited_text import TextFormat
from cofactor_trainer.data.plausibility import warn_of_odd_ratings
from cofactor_trainer.data.side_tables import (
    ItemTable,
    column_key,
    match_items,
    match_profiles,
    read_items,
    read_profiles,
)
from cofactor_trainer.data.table_files import check_columns, is_json, is_text, read_batches, read_header, table_parts
from cofactor_trainer.data.text_detection import delimiter_name, detect_format, read_first_record
from cofactor_trainer.data.times import TimeReader

# The standard name first. Case, blanks, "-" and "_" do not count.
KNOWN_NAMES = {
    "user": ("user_id", "user", "customer_id", "customer", "uid", "reviewer_id", "username"),
    "item": ("item_id", "item", "movie_id", "movie", "product_id", "product", "book_id", "iid", "asin", "isbn"),
    "rating": ("rating", "score", "stars", "book_rating", "overall"),
    "timestamp": ("timestamp", "time", "unix_timestamp", "ts", "unix_review_time", "date", "datetime", "created_at"),
}
_IF_EVENTS = "; if the rows are events such as clicks or purchases, pass --feedback events"


@dataclass(frozen=True)
class ColumnNames:
    """Names of the columns of a table of ratings; "1" and so on if the file has no header.

    Attributes:
        user: column of user ids, 64-bit whole numbers or text.
        item: column of item ids, likewise.
        rating: column of numbers.
        timestamp: column of times; a table need not have it.
    """

    user: str = "user_id"
    item: str = "item_id"
    rating: str = "rating"
    timestamp: str = "timestamp"


@dataclass(frozen=True)
class FileOptions:
    """How to read files; None leaves the choice to the reader.

    Attributes:
        encoding: encoding of text files.
        delimiter: characters between the fields of the ratings.
        has_header: True if the first line of the ratings names the columns.
        missing: numbers that stand for "no rating".
        items_id_column: id column of the items table.
        users_id_column: id column of the users table.
        item_attributes: types of columns of the items table by name, "ignore" for none; others are detected.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    has_header: bool | None = None
    missing: tuple[float, ...] = ()
    items_id_column: str | None = None
    users_id_column: str | None = None
    item_attributes: Mapping[str, str] = field(default_factory=dict)

    def read_items(self, path: Path, item_column: str) -> ItemTable:
        """Read a table of items; its id column has the same name as ``item_column`` unless the options name it."""
        return read_items(path, self.items_id_column or item_column, self.encoding, self.item_attributes)


@dataclass(frozen=True)
class PredefinedParts:
    """How files say which ratings are held out: by a column, or in a file of their own.

    Attributes:
        column: column of the ratings that has the part, or None.
        value: value of the held-out part in that column; None for words such as "train" and "test".
        path: file of the held-out ratings, with the same columns as the ratings, or None.
    """

    column: str | None = None
    value: str | None = None
    path: Path | None = None

    def describe(self) -> str:
        """Say where the parts come from."""
        if self.path is not None:
            return f"the file {self.path.name}"
        return f"column {self.column}" + ("" if self.value is None else f" where it is {self.value}")


def read_ratings(
    path: Path,
    columns: ColumnNames | None = None,
    *,
    encoding: str = "utf-8",
    items_path: Path | None = None,
    users_path: Path | None = None,
    scale: RatingScale | None = None,
    options: FileOptions | None = None,
    parts: PredefinedParts | None = None,
) -> RatingsDataset:
    """Read the ratings of one file, or of one file for each part of a predefined split.

    Args:
        path: a file of delimited text, JSON lines (.jsonl) or Parquet, or a folder of Parquet files; text may be in a
            .gz or .zip file.
        columns: names of the columns; None to look for usual names (user_id, userId, user, …).
        encoding: of text files; ``options`` replaces it.
        items_path: table with the item column and any of title, genres ("A|B"), year and further attributes.
        users_path: table with the user column; every other column is a sign-up answer.
        scale: lowest and highest possible rating; None for the range that the ratings span.
        options: how to read the files.
        parts: how the files say which ratings are held out; None if they do not.

    Raises:
        InputError: a file is unusable; the message names the line and the column.
    """
    options = options or FileOptions(encoding)
    tables = [(part, *detect_table(part, columns, options)) for part in table_parts(path)]
    names = tables[0][2]
    items = items_path and options.read_items(items_path, names.item)
    profiles = users_path and read_profiles(users_path, options.users_id_column or names.user, options.encoding)
    times, parts = TimeReader(), parts or PredefinedParts()
    if parts.path is not None:
        tables.append((parts.path, *detect_table(parts.path, columns, options)))
    readers = [
        _RatingsReader(part, part_names, text_format, options.missing, times, parts)
        for part, text_format, part_names in tables
    ]
    dataset = build_dataset(
        path.name,
        chain.from_iterable(reader.chunks() for reader in readers),
        items=items.descriptions if items else None,
        profiles=profiles.frame if profiles else None,
        scale=scale,
        source=path,
        times=times,
        held_out_by="" if parts == PredefinedParts() else parts.describe(),
    )
    warn_of_odd_ratings(dataset.ratings)
    # Of the files of a folder, the first stands for all.
    described = [readers[0], *(readers[-1:] if parts.path is not None else [])]
    notes = [reader.describe() for reader in described]
    if items:
        notes.append(match_items(items, dataset.catalogue.item_ids))
        dataset = items.describe_all(dataset)
    if profiles:
        notes.append(match_profiles(profiles, dataset.user_ids))
    return replace(dataset, notes=tuple(notes))


def detect_table(path: Path, columns: ColumnNames | None, options: FileOptions) -> tuple[TextFormat, ColumnNames]:
    """Find out how a file separates its fields, whether it has a header, and the names of its columns."""
    if not is_text(path):
        text_format = TextFormat.of_file(path, options.encoding)
        return text_format, columns or guess_columns(read_header(path, text_format))
    text_format = detect_format(path, options.encoding, 3, options.delimiter)
    first = read_first_record(path, text_format)
    has_header = _has_header(first, columns) if options.has_header is None else options.has_header
    if has_header:
        return text_format, columns or guess_columns(first)
    numbers = tuple(str(number + 1) for number in range(len(first)))
    if columns is not None and not {columns.user, columns.item, columns.rating} <= set(numbers):
        # Names of a file without header follow the order of its columns.
        given = (columns.user, columns.item, columns.rating, columns.timestamp)
        numbers = (*given, *numbers)[: len(first)] if len(first) <= len(given) else (*given, *numbers[len(given) :])
    return replace(text_format, column_names=numbers), columns or ColumnNames("1", "2", "3", "4")


def _has_header(first: Sequence[str], columns: ColumnNames | None) -> bool:
    """Return False if the first record has none of the names, and a number where the ratings are."""
    if columns is not None:
        position = int(columns.rating) - 1 if columns.rating.isdecimal() else 2
        if {columns.user, columns.item, columns.rating} & set(first) and not columns.rating.isdecimal():
            return True
    else:
        position = 2
        if names_a_column(first, KNOWN_NAMES):
            return True
    try:
        float(first[position].replace(",", "."))
    except (IndexError, ValueError):
        return True
    return False


def names_a_column(record: Sequence[str], known: Mapping[str, Sequence[str]]) -> bool:
    """Return True if a record has a usual name of a column, in any spelling."""
    return bool({column_key(name) for names in known.values() for name in names} & {column_key(n) for n in record})


def guess_columns(header: Sequence[str]) -> ColumnNames:
    """Find usual column names in a header, in any spelling; fall back to the standard names."""
    by_key = {column_key(name): name for name in reversed(header)}
    found = {
        kind: next((by_key[column_key(name)] for name in known if column_key(name) in by_key), known[0])
        for kind, known in KNOWN_NAMES.items()
    }
    return ColumnNames(**found)


def read_chunks(
    path: Path,
    columns: ColumnNames,
    text_format: TextFormat,
    times: TimeReader,
    parts: PredefinedParts | None = None,
) -> Iterator[RatingsChunk]:
    """Yield the ratings of a file in chunks; ``times`` reads their times, ``parts`` says which are held out."""
    first_record, parts = 0, parts or PredefinedParts()
    required = (columns.user, columns.item, columns.rating, *(() if parts.column is None else (parts.column,)))
    for records in read_batches(path, text_format):
        check_columns(records, path, required, text_format, {columns.rating: _IF_EVENTS})
        batch = CheckedBatch(records, path, text_format, first_record)
        yield RatingsChunk(
            user_ids=batch.ids(columns.user),
            item_ids=batch.ids(columns.item),
            ratings=batch.ratings(columns.rating),
            timestamps=times.read(lambda batch=batch: batch.times(columns.timestamp)),  # type: ignore[misc]
            held_out=_held_out(batch, path, parts),
        )
        first_record += records.num_rows


def _held_out(batch: CheckedBatch, path: Path, parts: PredefinedParts) -> BoolArray | None:
    """Mark the held-out ratings of a batch; None without a predefined split."""
    if parts.column is not None:
        return batch.held_out(parts.column, parts.value)
    return None if parts.path is None else np.full(batch.records.num_rows, path == parts.path)


class _RatingsReader:
    """Reads the ratings of a file and notes how it did."""

    def __init__(
        self,
        path: Path,
        columns: ColumnNames,
        text_format: TextFormat,
        missing: tuple[float, ...],
        times: TimeReader,
        parts: PredefinedParts,
    ) -> None:
        self._times, self._parts = times, parts
        self._path, self._columns, self._format = path, columns, text_format
        self._missing = np.array(missing, np.float32)
        self._n_missing = 0

    def chunks(self) -> Iterator[RatingsChunk]:
        """Yield the ratings in chunks, without those that stand for "no rating"."""
        for chunk in read_chunks(self._path, self._columns, self._format, self._times, self._parts):
            is_missing = np.isin(chunk.ratings, self._missing)
            self._n_missing += int(is_missing.sum())
            yield select_chunk(chunk, ~is_missing) if is_missing.any() else chunk

    def describe(self) -> str:
        """Say what was detected and used."""
        if is_text(self._path):
            header = "with header" if self._format.column_names is None else "without header"
            kind = f"separated by {delimiter_name(self._format.delimiter)}, {header}"
        else:
            kind = "JSON lines" if is_json(self._path) else "Parquet"
        columns = self._columns
        used = f"user {columns.user}, item {columns.item}, rating {columns.rating}"
        time = self._times.describe()
        used += ", no times" if time == "none" else f", time {columns.timestamp} ({time})"
        missing = f"; {self._n_missing:,} ratings left out as missing" if len(self._missing) else ""
        return f"ratings: {self._path.name}, {kind}; columns: {used}{missing}"


def select_chunk(chunk: RatingsChunk, selected: BoolArray) -> RatingsChunk:
    """Return the selected ratings of a chunk: a mask (n,)."""
    mask = pa.array(selected)
    return RatingsChunk(
        user_ids=chunk.user_ids.filter(mask),
        item_ids=chunk.item_ids.filter(mask),
        ratings=chunk.ratings[selected],
        timestamps=None if chunk.timestamps is None else chunk.timestamps[selected],
        held_out=None if chunk.held_out is None else chunk.held_out[selected],
        given_ratings=None if chunk.given_ratings is None else chunk.given_ratings[selected],
    )
