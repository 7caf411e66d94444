"""Text files of records: how they are delimited, and on which line a record stands."""

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
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class TextFormat:
    """How a text file is written.

    Attributes:
        delimiter: between the fields; may have two characters, as in MovieLens 1M ("::").
        encoding: of the text.
        names: of the columns where the file has no header line.
        quoted: whether fields may stand in double quotes.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None
    quoted: bool = True

    @classmethod
    def of(cls, path: Path, encoding: str = "utf-8") -> TextFormat:
        """The format that the name of a file says: tabs for .tsv and .tab, commas else."""
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise InputError(f"there is no encoding {encoding!r}; usual ones are utf-8, latin-1 and cp1252") from None
        suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
        return cls("\t" if suffix.lower() in _TAB_SUFFIXES else ",", encoding)

    @property
    def arrow_delimiter(self) -> str:
        """One character: what `open_text` puts in place of a longer delimiter."""
        return self.delimiter if len(self.delimiter) == 1 else "\t"


def open_text(path: Path, text_format: TextFormat) -> IO[bytes]:
    """The bytes of a file, unpacked, a delimiter of two characters replaced by a tab."""
    raw = _open_bytes(path)
    if len(text_format.delimiter) == 1:
        return raw
    replacing = _Replacing(raw, text_format.delimiter.encode(), text_format.arrow_delimiter.encode())
    return cast(IO[bytes], io.BufferedReader(replacing, _CHUNK_BYTES))


def records(path: Path, text_format: TextFormat) -> Iterator[tuple[int, list[str]]]:
    """The records of a file with the line each begins on, empty lines left out, slowly."""
    encoding = "utf-8-sig" if codecs.lookup(text_format.encoding).name == "utf-8" else text_format.encoding
    with open_text(path, text_format) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
        reader = csv.reader(
            text,
            delimiter=text_format.arrow_delimiter,
            quoting=csv.QUOTE_MINIMAL if text_format.quoted else csv.QUOTE_NONE,
        )
        line = 1
        try:
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"{error}: a double quote that stands alone has to go", path, line=line) from None
        except UnicodeDecodeError:
            refuse_bad_bytes(path, text_format)
            raise


def line_of_record(path: Path, text_format: TextFormat, record: int) -> int:
    """The line on which a record stands; records count from 0 after the header."""
    wanted = record + (text_format.names is None)
    return next(line for position, (line, _) in enumerate(records(path, text_format)) if position == wanted)


def refuse_bad_bytes(path: Path, text_format: TextFormat) -> None:
    """Raise an `InputError` with the place of the first byte that is not text in the encoding, if there is one."""
    decoder = codecs.getincrementaldecoder(text_format.encoding)()
    offset, line = 0, 1
    with _open_bytes(path) as stream:
        while True:
            chunk = stream.read(_CHUNK_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise InputError(
                    f"the byte at offset {offset - pending + error.start} is not {text_format.encoding}: "
                    "name the right encoding with --encoding (latin-1 and cp1252 are usual)",
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
        return cast(IO[bytes], io.BufferedReader(_Unpacked(path), _CHUNK_BYTES))
    except FileNotFoundError:
        raise InputError("no such file", path) from None
    except IsADirectoryError:
        raise InputError("is a folder; name the file in it", path) from None
    except PermissionError:
        raise InputError("may not be read", path) from None


class _Unpacked(io.RawIOBase):
    """What a gzipped file holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = gzip.open(path)  # noqa: SIM115  closed by close()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with unpacked bytes."""
        try:
            return self._stream.readinto(buffer)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"cannot be unpacked ({error}): get a whole copy of it, or drop .gz from its name if it is not packed",
                self._path,
            ) from None

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._stream.close()
        super().close()


class _Replacing(io.RawIOBase):
    """A stream with every ``old`` replaced by ``new``, which must not be longer."""

    def __init__(self, stream: IO[bytes], old: bytes, new: bytes) -> None:
        self._stream, self._old, self._new = cast(BinaryIO, stream), old, new
        self._held = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with replaced bytes; a delimiter cut by the end of a read waits for its other half."""
        while True:
            read = self._stream.read(len(buffer) - len(self._held))
            chunk = self._held + read
            cut = len(chunk) - 1 if read and chunk.endswith(self._old[:1]) else len(chunk)
            self._held = chunk[cut:]
            replaced = chunk[:cut].replace(self._old, self._new)
            if replaced or not read:
                buffer[: len(replaced)] = replaced
                return len(replaced)
