"""Read CSV, TSV and Parquet files in batches of records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from cofactor_trainer.data.delimited_text import (
    TextFormat,
    check_encoding,
    open_text,
    read_fixed_length_records,
    read_records,
)
from cofactor_trainer.errors import InputError

_BYTES_PER_TEXT_BATCH = 1 << 24
_ROWS_PER_PARQUET_BATCH = 1 << 20


def is_parquet(path: Path) -> bool:
    """Return True if the file's suffix is that of Parquet."""
    return path.suffix.lower() in {".parquet", ".pq"}


def read_header(path: Path, encoding: str) -> list[str]:
    """Return the column names of a table."""
    if is_parquet(path):
        return list(_open_parquet(path).schema_arrow.names)
    return _read_text_header(path, TextFormat.of_file(path, encoding))


def read_batches(path: Path, text_format: TextFormat) -> Iterator[pa.RecordBatch]:
    """Yield a table in batches; every column of a text file is text.

    Raises:
        InputError: the file is missing, damaged, or not in the given format.
    """
    if is_parquet(path):
        yield from _open_parquet(path).iter_batches(_ROWS_PER_PARQUET_BATCH)
    else:
        yield from _read_text_batches(path, text_format)


def check_columns(batch: pa.RecordBatch, path: Path, names: tuple[str, ...]) -> None:
    """Raise an `InputError` if the batch lacks one of the named columns."""
    present = batch.schema.names
    for name in names:
        if name not in present:
            raise InputError(
                f"there is no column {name!r} among {', '.join(present)}: pass the right names with --columns",
                path,
                line=1,
            )


def _open_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(path)
    except FileNotFoundError:
        raise InputError("no such file", path) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"this is not a Parquet file ({_first_line(error)})", path) from None


def _read_text_batches(path: Path, text_format: TextFormat) -> Iterator[pa.RecordBatch]:
    names = text_format.column_names
    header = _read_text_header(path, text_format) if names is None else list(names)
    try:
        with open_text(path, text_format) as stream:
            yield from pyarrow.csv.open_csv(
                stream,
                pyarrow.csv.ReadOptions(
                    block_size=_BYTES_PER_TEXT_BATCH,
                    encoding=text_format.encoding,
                    column_names=None if names is None else header,
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=text_format.single_delimiter,
                    quote_char='"' if text_format.is_quoted else False,
                    newlines_in_values=text_format.is_quoted,
                ),
                pyarrow.csv.ConvertOptions(
                    column_types={name: pa.string() for name in header}, strings_can_be_null=False, check_utf8=True
                ),
            )
    except (pa.ArrowInvalid, UnicodeDecodeError, EOFError, OSError) as error:
        # Arrow does not say on which line it failed: read the file again, slowly, to find out.
        check_encoding(path, text_format)
        for _ in read_fixed_length_records(path, text_format, len(header)):
            pass
        raise InputError(_first_line(error), path) from None


def _read_text_header(path: Path, text_format: TextFormat) -> list[str]:
    header = next((record for _, record in read_records(path, text_format)), None)
    if header is None:
        raise InputError("the file is empty", path)
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise InputError(f"two columns have the name {sorted(repeated)[0]!r}: rename one", path, line=1)
    return header


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
