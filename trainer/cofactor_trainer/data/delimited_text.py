"""Read delimited text files in records or in blocks, and locate records in them by line."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cofactor_trainer.data.byte_streams import DelimiterReplacer, buffered, content_suffix, open_bytes, open_utf8
from cofactor_trainer.errors import InputError

_TAB_SUFFIXES = {".tsv", ".tab", ".data"}
_READ_BYTES = 1 << 20
_MAX_RECORD_BYTES = 1 << 24


@dataclass(frozen=True)
class TextFormat:
    """Format of a text file.

    Attributes:
        delimiter: one or two characters between fields; MovieLens 1M has "::".
        encoding: a Python encoding name.
        column_names: names of the columns if the file has no header line, else None.
        is_quoted: True if a field may be in double quotes.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    column_names: tuple[str, ...] | None = None
    is_quoted: bool = True

    @classmethod
    def of_file(cls, path: Path, encoding: str = "utf-8") -> TextFormat:
        """Choose the delimiter by the file's suffix: a tab for .tsv, .tab and .data, else a comma."""
        try:
            b"\n".decode(encoding, errors="replace")  # also refuses codecs of bytes, such as "hex"
        except LookupError:
            raise InputError(f"--encoding {encoding!r} is unknown: try utf-8, latin-1 or cp1252") from None
        return cls("\t" if content_suffix(path) in _TAB_SUFFIXES else ",", encoding)

    @property
    def single_delimiter(self) -> str:
        """The delimiter in the bytes that `open_text` returns: always one character."""
        return self.delimiter if len(self.delimiter) == 1 else "\t"


def open_text(path: Path, text_format: TextFormat) -> IO[bytes]:
    """Open a file as UTF-8, decompress it, and replace a delimiter of two characters by a tab."""
    stream = open_utf8(path, text_format.encoding)
    if len(text_format.delimiter) == 1:
        return stream
    old, new = text_format.delimiter.encode(), text_format.single_delimiter.encode()
    return buffered(DelimiterReplacer(stream, old, new))


def read_records(path: Path, text_format: TextFormat) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a file, each with the line it begins on; skip empty lines.

    This is slow: use it for small files and to locate errors.
    """
    with open_text(path, text_format) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        reader = csv.reader(
            text,
            delimiter=text_format.single_delimiter,
            quoting=csv.QUOTE_MINIMAL if text_format.is_quoted else csv.QUOTE_NONE,
        )
        line = 1
        try:
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"{error}: remove the unpaired double quote", path, line=line) from None
        except UnicodeDecodeError:
            check_encoding(path, text_format.encoding)
            raise


def read_fixed_length_records(path: Path, text_format: TextFormat, n_fields: int) -> Iterator[list[str]]:
    """Yield the records of a file and raise an `InputError` at the first that has not exactly n_fields fields."""
    for line, record in read_records(path, text_format):
        if len(record) != n_fields:
            raise InputError(f"the line has {len(record)} fields, but it must have {n_fields}", path, line=line)
        yield record


def read_blocks(stream: IO[bytes], text_format: TextFormat, n_bytes: int) -> Iterator[bytes]:
    """Yield a stream of `open_text` in blocks of about n_bytes that end with a record; skip empty blocks.

    Raises:
        ValueError: a record is longer than 16 MiB.
    """
    pending = stream.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
    while True:
        read = stream.read(n_bytes)
        block = pending + read
        end = _end_of_records(block, text_format) if read else len(block)
        pending = block[end:]
        if len(pending) > _MAX_RECORD_BYTES:
            raise ValueError("a record is longer than 16 MiB")
        if block[:end].strip():
            yield block[:end]
        if not read:
            return


def line_of_record(path: Path, text_format: TextFormat, record: int) -> int:
    """Return the line that a record begins on; record 0 is the first after the header."""
    position = record + (text_format.column_names is None)
    return next(line for number, (line, _) in enumerate(read_records(path, text_format)) if number == position)


def check_encoding(path: Path, encoding: str) -> None:
    """Raise an `InputError` that locates the first byte that is invalid in the encoding, if there is one."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, line = 0, 1
    with open_bytes(path) as stream:
        while True:
            chunk = stream.read(_READ_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise InputError(
                    f"the byte at offset {offset - pending + error.start} is not {encoding}: "
                    "pass the right encoding with --encoding (often latin-1 or cp1252)",
                    path,
                    line=line,
                ) from None
            if not chunk:
                return
            offset += len(chunk)
            line += chunk.count(b"\n")


def _end_of_records(block: bytes, text_format: TextFormat) -> int:
    """Return where the last complete record of a block ends: after its last line break outside of quotes."""
    line_break = b"\n" if b"\n" in block else b"\r"
    if not text_format.is_quoted or b'"' not in block:
        return block.rfind(line_break, 0, len(block) - (line_break == b"\r")) + 1
    # A quote opens a field only at its start; a block starts with a record.
    delimiter = re.escape(text_format.single_delimiter.encode())
    end = outside = 0
    for field in re.finditer(rb"(?:\A|(?<=[\r\n])|(?<=" + delimiter + rb'))"[^"]*(?:""[^"]*)*("|\Z)', block):
        end = max(end, block.rfind(line_break, outside, field.start()) + 1)
        if not field[1] or field.end() == len(block):
            return end
        outside = field.end()
    return max(end, block.rfind(line_break, outside, len(block) - (line_break == b"\r")) + 1)
