"""Read text, Parquet and JSON files in batches of records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from cofactor_trainer.data.byte_streams import content_suffix, open_utf8
from cofactor_trainer.data.delimited_text import (
    TextFormat,
    check_encoding,
    open_text,
    read_blocks,
    read_fixed_length_records,
)
from cofactor_trainer.data.text_detection import delimiter_name, read_first_record
from cofactor_trainer.errors import InputError

_BYTES_PER_TEXT_BATCH = 1 << 22
_ROWS_PER_PARQUET_BATCH = 1 << 20
_ROWS_PER_JSON_BATCH = 1 << 16


def is_parquet(path: Path) -> bool:
    """Return True if the file's suffix is that of Parquet, or the path is a folder of such files."""
    return _has_parquet_suffix(path) or table_parts(path) != [path]


def _has_parquet_suffix(path: Path) -> bool:
    return path.suffix.lower() in {".parquet", ".pq"}


def table_parts(path: Path) -> list[Path]:
    """Return the Parquet files of a folder by name, which are one table; for any other path, the path itself."""
    if not path.is_dir():
        return [path]
    return sorted(filter(_has_parquet_suffix, path.iterdir())) or [path]


def is_json(path: Path) -> bool:
    """Return True if the file's suffix is that of JSON lines."""
    return content_suffix(path) in {".jsonl", ".ndjson", ".json"}


def is_text(path: Path) -> bool:
    """Return True if the file has delimited text."""
    return not is_parquet(path) and not is_json(path)


def read_header(path: Path, text_format: TextFormat) -> list[str]:
    """Return the column names of a table."""
    if is_parquet(path):
        with _open_parquet(path) as file:
            return [*file.schema_arrow.names, *(name for name, _ in _range_indexes(file))]
    if is_json(path):
        return next((list(record) for _, record in _json_records(path, text_format.encoding)), [])
    return _read_text_header(path, text_format)


def read_batches(path: Path, text_format: TextFormat) -> Iterator[pa.RecordBatch]:
    """Yield a table in batches; every column of a text file is text, and no column is dictionary encoded.

    Raises:
        InputError: the file is missing, damaged, or not in the given format.
    """
    if is_parquet(path):
        yield from _read_parquet_batches(path)
    elif is_json(path):
        yield from _read_json_batches(path, text_format.encoding)
    else:
        yield from _read_text_batches(path, text_format)


def check_columns(
    batch: pa.RecordBatch,
    path: Path,
    names: tuple[str, ...],
    text_format: TextFormat,
    hints: Mapping[str, str] | None = None,
) -> None:
    """Raise an `InputError` if the batch lacks one of the named columns; ``hints`` add to the message by the column."""
    present = batch.schema.names
    for name in names:
        if name not in present:
            remedy = "pass the right names with --columns"
            if is_text(path):
                separated = delimiter_name(text_format.delimiter)
                remedy += f" (fields are separated by {separated}: --delimiter changes that; --no-header if the first "
                remedy += "line is a rating)"
            remedy += (hints or {}).get(name, "")
            raise InputError(f"there is no column {name!r} among {', '.join(present)}: {remedy}", path, line=1)


def as_texts(column: pa.Array) -> list[str]:
    """Return the values of any column as text: "" for a missing value, no ".0" after a whole number, lists as "A|B"."""
    if pa.types.is_floating(column.type):
        return ["" if value is None or value != value else f"{value:.15g}" for value in column.to_pylist()]
    return [_as_text(value) for value in column.to_pylist()]


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(_as_text(part) for part in value)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _open_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except FileNotFoundError:
        raise InputError("no such file", path) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"this is not a Parquet file ({_first_line(error)})", path) from None
    _check_unique(file.schema_arrow.names, path, None)
    return file


def _range_indexes(file: pyarrow.parquet.ParquetFile) -> list[tuple[str, range]]:
    """Return the index columns that pandas did not store, because they count up, by name."""
    metadata = file.schema_arrow.pandas_metadata or {}
    return [
        (index["name"], range(index["start"], index["stop"], index["step"]))
        for index in metadata.get("index_columns", ())
        if isinstance(index, dict) and isinstance(index.get("name"), str)
    ]


def _read_parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    first_row = 0
    try:
        with _open_parquet(path) as file:
            indexes = _range_indexes(file)
            for batch in file.iter_batches(_ROWS_PER_PARQUET_BATCH):
                names, columns = list(batch.schema.names), [_plain(column) for column in batch.columns]
                for name, values in indexes:
                    names.append(name)
                    columns.append(pa.array(np.array(values[first_row : first_row + batch.num_rows], np.int64)))
                yield pa.RecordBatch.from_arrays(columns, names)
                first_row += batch.num_rows
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(f"the file cannot be read ({_first_line(error)})", path) from None


def _plain(column: pa.Array) -> pa.Array:
    """Convert every form of text to one, and decode dictionaries."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_other_text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.string()) if is_other_text or pa.types.is_null(column.type) else column


def _read_json_batches(path: Path, encoding: str) -> Iterator[pa.RecordBatch]:
    names: list[str] | None = None
    rows: list[dict[str, Any]] = []
    for _, record in _json_records(path, encoding):
        names = names or list(record)
        rows.append(record)
        if len(rows) == _ROWS_PER_JSON_BATCH:
            yield _json_batch(rows, names)
            rows = []
    if rows and names:
        yield _json_batch(rows, names)


def _json_records(path: Path, encoding: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines, each with its line."""
    try:
        with open_utf8(path, encoding) as stream:
            for line, content in enumerate(stream, 1):
                text = content.decode().strip().removeprefix("\ufeff")
                if not text:
                    continue
                try:
                    record = json.loads(text)
                except (ValueError, RecursionError):
                    record = None
                if not isinstance(record, dict) or not record:
                    raise InputError(
                        "this is not a JSON object: write one object a line (jq -c '.[]' converts an array)",
                        path,
                        line=line,
                    )
                yield line, record
    except UnicodeDecodeError:
        check_encoding(path, encoding)
        raise


def _json_batch(rows: list[dict[str, Any]], names: list[str]) -> pa.RecordBatch:
    """Build a batch of texts; JSON's own kinds of numbers could differ from line to line."""
    columns = [
        pa.array([None if (value := row.get(name)) is None else _as_text(value) for row in rows], pa.string())
        for name in names
    ]
    return pa.RecordBatch.from_arrays(columns, names)


def _read_text_batches(path: Path, text_format: TextFormat) -> Iterator[pa.RecordBatch]:
    header = _read_text_header(path, text_format)
    try:
        with open_text(path, text_format) as stream:
            is_first = text_format.column_names is None
            for block in read_blocks(stream, text_format, _BYTES_PER_TEXT_BATCH):
                yield from _parse_block(block, header, text_format, skips_header=is_first)
                is_first = False
    except (pa.ArrowInvalid, ValueError, EOFError) as error:
        # Arrow does not say on which line it failed: read the file again, slowly, to find out.
        check_encoding(path, text_format.encoding)
        for _ in read_fixed_length_records(path, text_format, len(header)):
            pass
        raise InputError(_first_line(error), path) from None


def _parse_block(
    block: bytes, header: list[str], text_format: TextFormat, *, skips_header: bool
) -> Iterator[pa.RecordBatch]:
    """Parse complete records.

    Arrow's own reader of streams is not used: its threads read ahead from the Python stream, and one that is still
    at it when the interpreter ends aborts the process (https://github.com/python/cpython/issues/87135). Hence the
    memory here is Arrow's, and no thread outlives the call.
    """
    if skips_header:  # Arrow would count empty lines before the header
        block = block.lstrip(b"\r\n")
    memory = pa.allocate_buffer(len(block))
    np.frombuffer(memory, np.uint8)[:] = np.frombuffer(block, np.uint8)
    # Names by position: those of the file may have blanks around them.
    table = pyarrow.csv.read_csv(
        pa.BufferReader(memory),
        pyarrow.csv.ReadOptions(
            use_threads=False,
            block_size=len(block) + 1,
            column_names=header,
            skip_rows_after_names=int(skips_header),
        ),
        pyarrow.csv.ParseOptions(
            delimiter=text_format.single_delimiter,
            quote_char='"' if text_format.is_quoted else False,
            newlines_in_values=text_format.is_quoted,
        ),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, check_utf8=True
        ),
    )
    yield from table.combine_chunks().to_batches()


def _read_text_header(path: Path, text_format: TextFormat) -> list[str]:
    if text_format.column_names is not None:
        return list(text_format.column_names)
    header = read_first_record(path, text_format)
    _check_unique(header, path, 1)
    return header


def _check_unique(names: list[str], path: Path, line: int | None) -> None:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"two columns have the name {sorted(repeated)[0]!r}: rename one", path, line=line)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
