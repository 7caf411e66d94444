"""Tables of ratings in files: CSV, TSV, Parquet and gz of them, with named columns, read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset
from cofactor_trainer.data.dataset_builder import (
    ItemDescription,
    RatingsBlock,
    Scale,
    build_dataset,
    split_genres,
    year_of_title,
)
from cofactor_trainer.data.delimited_text import TextFormat, line_of_record, open_text, records, refuse_bad_bytes
from cofactor_trainer.errors import InputError

_BLOCK_BYTES = 1 << 24
_ROWS_PER_PARQUET_BLOCK = 1 << 20


@dataclass(frozen=True)
class Columns:
    """What the columns of a table of ratings are called.

    Attributes:
        user: user ids, 64-bit whole numbers or text.
        item: item ids, the same.
        rating: numbers.
        timestamp: seconds since 1970; a table need not have it.
    """

    user: str = "user_id"
    item: str = "item_id"
    rating: str = "rating"
    timestamp: str = "timestamp"


def read_ratings(
    path: Path,
    columns: Columns | None = None,
    *,
    encoding: str = "utf-8",
    items_path: Path | None = None,
    users_path: Path | None = None,
    scale: Scale | None = None,
) -> RatingsDataset:
    """The ratings of one file.

    Args:
        path: .csv, .tsv (or .txt, .tab), .parquet; text may be gzipped (.gz).
        columns: their names; the usual ones of each kind (user_id, userId, user, …) are found where None.
        encoding: of text files.
        items_path: table with the item column and any of title, genres ('A|B'), year.
        users_path: table with the user column; every other column is a sign-up answer.
        scale: lowest and highest rating, those of the ratings where None.

    Raises:
        InputError: with file, line and column of what cannot be used.
    """
    names = columns or guess_columns(column_names(path, encoding))
    return build_dataset(
        path.name,
        rating_blocks(path, names, TextFormat.of(path, encoding)),
        items=None if items_path is None else read_items(items_path, names.item, encoding),
        profiles=None if users_path is None else read_profiles(users_path, names.user, encoding),
        scale=scale,
        source=path,
    )


_USUAL_NAMES = {
    "user": ("user_id", "userid", "user", "customer_id", "uid"),
    "item": ("item_id", "itemid", "item", "movie_id", "movieid", "movie", "product_id", "book_id", "iid"),
    "rating": ("rating", "score", "stars"),
    "timestamp": ("timestamp", "time", "unix_timestamp", "ts"),
}


def guess_columns(names: list[str]) -> Columns:
    """The usual names among those of a table, upper and lower case aside; the standard name where none is there."""
    by_lower = {name.lower(): name for name in reversed(names)}
    found = {
        kind: next((by_lower[u] for u in usual if u in by_lower), usual[0]) for kind, usual in _USUAL_NAMES.items()
    }
    return Columns(**found)


def is_parquet(path: Path) -> bool:
    """Whether the name says Parquet."""
    return path.suffix.lower() in {".parquet", ".pq"}


def column_names(path: Path, encoding: str) -> list[str]:
    """The header of a table."""
    if is_parquet(path):
        return list(_open_parquet(path).schema_arrow.names)
    return _header(path, TextFormat.of(path, encoding))


def rating_blocks(path: Path, columns: Columns, text_format: TextFormat) -> Iterator[RatingsBlock]:
    """The ratings of a file, a block at a time."""
    first_record = 0
    for batch in table_batches(path, text_format):
        _require(batch, path, (columns.user, columns.item, columns.rating))
        place = _Place(path, text_format, first_record)
        has_times = columns.timestamp in batch.schema.names
        yield RatingsBlock(
            user_ids=_ids(batch, columns.user, place),
            item_ids=_ids(batch, columns.item, place),
            ratings=_ratings(batch, columns.rating, place),
            timestamps=_timestamps(batch, columns.timestamp, place) if has_times else None,
        )
        first_record += batch.num_rows


def read_items(path: Path, id_column: str, encoding: str = "utf-8") -> dict[str, ItemDescription]:
    """Titles, genres and years by item id; the year is taken from the end of the title where there is no column."""
    frame = _read_described(path, id_column, encoding)
    lower = {name.lower(): name for name in frame.columns}
    titles = frame[lower["title"]].fillna("") if "title" in lower else pd.Series("", index=frame.index)
    genres = frame[lower["genres"]].fillna("") if "genres" in lower else pd.Series("", index=frame.index)
    years = (
        pd.to_numeric(frame[lower["year"]], errors="coerce").fillna(0) if "year" in lower else titles.map(year_of_title)
    )
    return {
        item_id: ItemDescription(title, split_genres(genre), int(year))
        for item_id, title, genre, year in zip(frame.index, titles.astype(str), genres.astype(str), years, strict=True)
    }


def read_profiles(path: Path, id_column: str, encoding: str = "utf-8") -> pd.DataFrame:
    """Sign-up answers by user id; a column of nothing but numbers becomes numeric."""
    frame = _read_described(path, id_column, encoding)
    for name in frame.columns:
        try:
            frame[name] = pd.to_numeric(frame[name])
        except (ValueError, TypeError):
            continue
    return frame


def table_batches(path: Path, text_format: TextFormat) -> Iterator[pa.RecordBatch]:
    """A table a block at a time; every column of a text file is text."""
    if is_parquet(path):
        yield from _open_parquet(path).iter_batches(_ROWS_PER_PARQUET_BLOCK)
    else:
        yield from _text_batches(path, text_format, text_format.names)


@dataclass(frozen=True)
class _Place:
    """Where a batch begins, to say where something is wrong."""

    path: Path
    text_format: TextFormat
    first_record: int

    def error(self, message: str, record: int, column: str) -> InputError:
        """An error at a record of the batch; a record of a Parquet file has a row number, but no line."""
        record += self.first_record
        if is_parquet(self.path):
            return InputError(f"row {record + 1}: {message}", self.path, column=column)
        return InputError(message, self.path, line=line_of_record(self.path, self.text_format, record), column=column)


def _open_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(path)
    except FileNotFoundError:
        raise InputError("no such file", path) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"not a Parquet file ({_first_line(error)})", path) from None


def _text_batches(path: Path, text_format: TextFormat, names: tuple[str, ...] | None) -> Iterator[pa.RecordBatch]:
    header = _header(path, text_format) if names is None else list(names)
    try:
        with open_text(path, text_format) as stream:
            yield from pyarrow.csv.open_csv(
                stream,
                pyarrow.csv.ReadOptions(
                    block_size=_BLOCK_BYTES, encoding=text_format.encoding, column_names=names and list(names)
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=text_format.arrow_delimiter,
                    quote_char='"' if text_format.quoted else False,
                    newlines_in_values=text_format.quoted,
                ),
                pyarrow.csv.ConvertOptions(
                    column_types={name: pa.string() for name in header}, strings_can_be_null=False, check_utf8=True
                ),
            )
    except (pa.ArrowInvalid, UnicodeDecodeError, EOFError, OSError) as error:
        refuse_bad_bytes(path, text_format)
        _refuse_ragged_line(path, text_format, len(header))
        raise InputError(_first_line(error), path) from None


def _refuse_ragged_line(path: Path, text_format: TextFormat, n_fields: int) -> None:
    for line, record in records(path, text_format):
        if len(record) != n_fields:
            raise InputError(f"{len(record)} fields where {n_fields} belong", path, line=line)


def _header(path: Path, text_format: TextFormat) -> list[str]:
    header = next((record for _, record in records(path, text_format)), None)
    if header is None:
        raise InputError("is empty", path)
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise InputError(f"two columns have the name {sorted(repeated)[0]!r}", path, line=1)
    return header


def _require(batch: pa.RecordBatch, path: Path, wanted: tuple[str, ...]) -> None:
    present = batch.schema.names
    for name in wanted:
        if name not in present:
            raise InputError(
                f"no column {name!r}; the columns are {', '.join(present)}: name the right one", path, line=1
            )


def _ids(batch: pa.RecordBatch, name: str, place: _Place) -> pa.DictionaryArray:
    column = batch.column(batch.schema.get_field_index(name))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (
        pa.types.is_integer(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    ):
        raise InputError(f"ids are {column.type}: they must be 64-bit whole numbers or text", place.path, column=name)
    texts = column.cast(pa.string())
    missing = pc.or_kleene(pc.is_null(texts), pc.equal(pc.utf8_trim_whitespace(texts), "")).fill_null(True)
    record = pc.index(missing, True).as_py()
    if record >= 0:
        raise place.error("the id is missing", record, name)
    return texts.dictionary_encode()


def _ratings(batch: pa.RecordBatch, name: str, place: _Place) -> Float32Array:
    values = _numbers(batch, name, place, pa.float64(), "a number")
    finite = np.isfinite(values)
    if not finite.all():
        record = int(np.argmin(finite))
        raise place.error(f"{values[record]} is not a rating: leave such rows out", record, name)
    return values.astype(np.float32)


def _timestamps(batch: pa.RecordBatch, name: str, place: _Place) -> Int64Array:
    return _numbers(batch, name, place, pa.int64(), "a whole number of seconds since 1970")


def _numbers(batch: pa.RecordBatch, name: str, place: _Place, kind: pa.DataType, what: str) -> np.ndarray:
    column = batch.column(batch.schema.get_field_index(name))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s"), safe=False)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
    try:
        numbers = column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _not_a_number(column, name, place, kind, what) from None
    if numbers.null_count:
        raise place.error("the value is missing", pc.index(pc.is_null(numbers), True).as_py(), name)
    values: np.ndarray = numbers.to_numpy(zero_copy_only=False)
    return values


def _not_a_number(column: pa.Array, name: str, place: _Place, kind: pa.DataType, what: str) -> InputError:
    for record, value in enumerate(column):
        try:
            value.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            shown = str(value.as_py())[:64]
            return place.error(f"{shown!r} is not {what}" if shown else "the value is missing", record, name)
    return InputError(f"values are {column.type}, not {what}", place.path, column=name)


def _read_described(path: Path, id_column: str, encoding: str) -> pd.DataFrame:
    """A small table as text, indexed by its ids; the last row of an id wins."""
    batches = list(table_batches(path, TextFormat.of(path, encoding)))
    if not batches:
        raise InputError("holds no rows", path)
    _require(batches[0], path, (id_column,))
    frame: pd.DataFrame = pa.Table.from_batches(batches).to_pandas()
    frame[id_column] = frame[id_column].astype(str)
    return frame.drop_duplicates(id_column, keep="last").set_index(id_column)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
