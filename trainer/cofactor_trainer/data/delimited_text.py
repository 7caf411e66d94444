"""Read delimited text files and locate records in them by line."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from cofactor_trainer.errors import InputError

_TAB_SUFFIXES = {".tsv", ".tab", ".data"}
_READ_BYTES = 1 << 20


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
            codecs.lookup(encoding)
        except LookupError:
            raise InputError(f"--encoding {encoding!r} is unknown: try utf-8, latin-1 or cp1252") from None
        suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
        return cls("\t" if suffix.lower() in _TAB_SUFFIXES else ",", encoding)

    @property
    def single_delimiter(self) -> str:
        """The delimiter in the bytes that `open_text` returns: always one character."""
        return self.delimiter if len(self.delimiter) == 1 else "\t"


def open_text(path: Path, text_format: TextFormat) -> IO[bytes]:
    """Open a file, decompress .gz, and replace a delimiter of two characters by a tab."""
    raw = _open_bytes(path)
    if len(text_format.delimiter) == 1:
        return raw
    replacer = _DelimiterReplacer(raw, text_format.delimiter.encode(), text_format.single_delimiter.encode())
    return cast(IO[bytes], io.BufferedReader(replacer, _READ_BYTES))


def read_records(path: Path, text_format: TextFormat) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a file, each with the line it begins on; skip empty lines.

    This is slow: use it for small files and to locate errors.
    """
    encoding = "utf-8-sig" if codecs.lookup(text_format.encoding).name == "utf-8" else text_format.encoding
    with open_text(path, text_format) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
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
            check_encoding(path, text_format)
            raise


def read_fixed_length_records(path: Path, text_format: TextFormat, n_fields: int) -> Iterator[list[str]]:
    """Yield the records of a file and raise an `InputError` at the first that has not exactly n_fields fields."""
    for line, record in read_records(path, text_format):
        if len(record) != n_fields:
            raise InputError(f"the line has {len(record)} fields, but it must have {n_fields}", path, line=line)
        yield record


def line_of_record(path: Path, text_format: TextFormat, record: int) -> int:
    """Return the line that a record begins on; record 0 is the first after the header."""
    position = record + (text_format.column_names is None)
    return next(line for number, (line, _) in enumerate(read_records(path, text_format)) if number == position)


def check_encoding(path: Path, text_format: TextFormat) -> None:
    """Raise an `InputError` that locates the first byte that is invalid in the encoding, if there is one."""
    decoder = codecs.getincrementaldecoder(text_format.encoding)()
    offset, line = 0, 1
    with _open_bytes(path) as stream:
        while True:
            chunk = stream.read(_READ_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise InputError(
                    f"the byte at offset {offset - pending + error.start} is not {text_format.encoding}: "
                    "pass the right encoding with --encoding (often latin-1 or cp1252)",
                    path,
                    line=line,
                ) from None
            if not chunk:
                return
            offset += len(chunk)
            line += chunk.count(b"\n")


def _open_bytes(path: Path) -> IO[bytes]:
    try:
        if path.suffix.lower() != ".gz":
            return path.open("rb")
        return cast(IO[bytes], io.BufferedReader(_GzipReader(path), _READ_BYTES))
    except FileNotFoundError:
        raise InputError("no such file", path) from None
    except IsADirectoryError:
        raise InputError("this is a directory: name a file in it", path) from None
    except PermissionError:
        raise InputError("permission denied: make the file readable", path) from None


class _GzipReader(io.RawIOBase):
    """Decompressed bytes of a .gz file; a damaged file raises an `InputError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = gzip.open(path)  # noqa: SIM115  closed by close()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with decompressed bytes."""
        try:
            return self._stream.readinto(buffer)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"the file cannot be decompressed ({error}): get a complete copy, or remove .gz from its name if it is "
                "not compressed",
                self._path,
            ) from None

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._stream.close()
        super().close()


class _DelimiterReplacer(io.RawIOBase):
    """A stream with every ``old`` delimiter replaced by ``new``, which must not be longer."""

    def __init__(self, stream: IO[bytes], old: bytes, new: bytes) -> None:
        self._stream, self._old, self._new = cast(BinaryIO, stream), old, new
        self._pending = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with replaced bytes.

        If a read ends with the first half of a delimiter, that half waits for the next read.
        """
        while True:
            read = self._stream.read(len(buffer) - len(self._pending))
            chunk = self._pending + read
            cut = len(chunk) - 1 if read and chunk.endswith(self._old[:1]) else len(chunk)
            self._pending = chunk[cut:]
            replaced = chunk[:cut].replace(self._old, self._new)
            if replaced or not read:
                buffer[: len(replaced)] = replaced
                return len(replaced)
