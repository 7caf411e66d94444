"""Open files as streams of bytes: decompress them, convert them to UTF-8, and refuse what is no table."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import IO, BinaryIO, TypeVar, cast

from cofactor_trainer.errors import InputError

Opened = TypeVar("Opened")

_READ_BYTES = 1 << 20
_EXCEL = "an Excel workbook: save its sheet as CSV"
_ARROW = "an Arrow file: save the table as Parquet"
_PICKLE = "a pickled object: save the table as CSV or Parquet"
_DATABASE = "a database: export the table as CSV"
# Files that are recognised only to name the remedy.
_REFUSED = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), _EXCEL),
    **dict.fromkeys((".feather", ".arrow"), _ARROW),
    **dict.fromkeys((".pkl", ".pickle"), _PICKLE),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), _DATABASE),
    **dict.fromkeys((".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz", ".rar"), "compressed: unpack it, and name the file"),
    **dict.fromkeys((".avro", ".orc"), "not a format that is read: save the table as Parquet"),
}
# First bytes of files whose name says something else.
_SIGNATURES = {
    b"\x1f\x8b": "the file is gzipped: add .gz to its name",
    b"PK\x03\x04": "the file is a zip archive or an Excel workbook: add .zip to its name, or save the sheet as CSV",
    b"PAR1": "the file is Parquet: end its name in .parquet",
}
_DAMAGED = (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError)


def content_name(path: Path) -> str:
    """Return the name of the file inside a .gz or .zip file, or the file's own name."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with _translated_errors(path, lambda: zipfile.ZipFile(path)) as archive:
            return PurePath(_only_member(archive, path)).name
    return path.stem if suffix == ".gz" else path.name


def content_suffix(path: Path) -> str:
    """Return the suffix of `content_name` in lower case."""
    return PurePath(content_name(path)).suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file and decompress .gz and .zip.

    Raises:
        InputError: the file is missing, unreadable, or of a kind that is not read; the message names the remedy.
    """
    suffix = path.suffix.lower()
    refused = _REFUSED.get(suffix)
    if refused is not None:
        raise InputError(f"the file is {refused}", path)
    if suffix == ".gz":
        return _decompressed(path, _translated_errors(path, lambda: cast(BinaryIO, gzip.open(path))))
    if suffix == ".zip":
        return _decompressed(path, _translated_errors(path, lambda: _open_member(path)))
    stream = _translated_errors(path, lambda: path.open("rb"))
    start = stream.peek(8)[:8]
    for signature, message in _SIGNATURES.items():
        if start.startswith(signature):
            stream.close()
            raise InputError(message, path)
    return stream


def open_utf8(path: Path, encoding: str) -> IO[bytes]:
    """Open a text file as UTF-8; text in UTF-8 is passed on unchecked."""
    raw = open_bytes(path)
    if codecs.lookup(encoding).name == "utf-8":
        return raw
    return buffered(Transcoder(raw, encoding))


def buffered(stream: io.RawIOBase) -> IO[bytes]:
    """Return a buffered stream."""
    return cast(IO[bytes], io.BufferedReader(stream, _READ_BYTES))


def _translated_errors(path: Path, open_it: Callable[[], Opened]) -> Opened:
    """Call a function that opens a file, and raise an `InputError` if it cannot be opened."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError("this is a pipe or a device, and the file is read twice: save it to a file", path)
        return open_it()
    except FileNotFoundError:
        raise InputError("no such file", path) from None
    except IsADirectoryError:
        raise InputError("this is a directory: name a file in it", path) from None
    except PermissionError:
        raise InputError("permission denied: make the file readable", path) from None
    except _DAMAGED as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise InputError(f"the file cannot be opened ({error.strerror or error})", path) from None


def _open_member(path: Path) -> BinaryIO:
    archive = zipfile.ZipFile(path)
    return cast(BinaryIO, archive.open(_only_member(archive, path)))


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith(("__MACOSX/", "."))]
    if len(names) != 1:
        raise InputError(
            f"the archive has {len(names)} files: unpack it, and name one of them (or the directory, for MovieLens)",
            path,
        )
    if PurePath(names[0]).suffix.lower() in {".parquet", ".pq", *_REFUSED}:
        raise InputError(f"the archive has {names[0]}, which is not read from an archive: unpack it", path)
    return names[0]


def _damaged(path: Path, error: Exception) -> InputError:
    suffix = path.suffix.lower()
    return InputError(
        f"the file cannot be decompressed ({error}): get a complete copy, or remove {suffix} from its name if it is "
        "not compressed",
        path,
    )


def _decompressed(path: Path, stream: BinaryIO) -> IO[bytes]:
    return buffered(_DecompressedReader(path, stream))


class _DecompressedReader(io.RawIOBase):
    """Decompressed bytes of a file; a damaged file raises an `InputError`."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path, self._stream = path, stream

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with decompressed bytes."""
        try:
            read = self._stream.read(len(buffer))
        except _DAMAGED as error:
            raise _damaged(self._path, error) from None
        buffer[: len(read)] = read
        return len(read)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._stream.close()
        super().close()


class _Converter(io.RawIOBase):
    """A stream whose bytes are converted piece by piece."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._converted = b""

    def convert(self, piece: bytes) -> bytes:
        """Convert the next piece of the stream; an empty one is its end."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with converted bytes."""
        while not self._converted:
            piece = self._stream.read(len(buffer))
            self._converted = self.convert(piece)
            if not piece:
                break
        size = min(len(buffer), len(self._converted))
        buffer[:size] = self._converted[:size]
        self._converted = self._converted[size:]
        return size

    def close(self) -> None:
        """Close the stream and the one below."""
        if not self.closed:
            self._stream.close()
        super().close()


class Transcoder(_Converter):
    """A stream of text in any encoding as UTF-8; a byte order mark is dropped."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        super().__init__(stream)
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def convert(self, piece: bytes) -> bytes:
        """Decode and encode the next piece."""
        return self._decoder.decode(piece, final=not piece).encode()


class DelimiterReplacer(_Converter):
    """A stream with every ``old`` delimiter of two bytes replaced by ``new``."""

    def __init__(self, stream: IO[bytes], old: bytes, new: bytes) -> None:
        super().__init__(stream)
        self._old, self._new = old, new
        self._pending = b""

    def convert(self, piece: bytes) -> bytes:
        """Replace the delimiters; a first half at the end of a piece waits for the next piece."""
        text = self._pending + piece
        # An odd number of colons at the end may be cut in the middle of "::": the last one waits.
        n_trailing = len(text) - len(text.rstrip(self._old[:1]))
        waits = bool(piece) and (n_trailing % 2 == 1 if self._old[:1] == self._old[1:] else n_trailing > 0)
        self._pending = text[-1:] if waits else b""
        return (text[:-1] if waits else text).replace(self._old, self._new)
