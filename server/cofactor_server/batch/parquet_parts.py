"""Write a Parquet file in parts, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cofactor_server.errors import ConfigurationError
from cofactor_server.repository.locked_folder import lock_folder

_STATE = "state.json"
_COMPRESSION = "zstd"


@contextmanager
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; rename it to `path` after the block, or remove it if the block fails.

    It lies in `folder`, by default that of `path`. The content is on the disk before it has its name.
    """
    temporary = (folder or path.parent) / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class ParquetParts:
    """A Parquet file that is made of parts, one row group each.

    The parts lie in `<output>.parts` until all are there. A part has its name only when it is complete, so a run that
    was killed at any moment goes on with the parts that are missing, and ends with the same bytes.

    Args:
        output: the file.
        schema: of all parts.
        fingerprint: names everything that the content depends on; parts of another run are not used.

    Raises ConfigurationError if the folder holds parts of another run, or another process writes them now.
    """

    def __init__(self, output: Path, schema: pa.Schema, fingerprint: Mapping[str, Any]) -> None:
        self._output = output
        self._schema = schema
        self._folder = output.with_name(f"{output.name}.parts")
        text = json.dumps(fingerprint, sort_keys=True)
        self._state = {"fingerprint": hashlib.sha256(text.encode()).hexdigest()}

    @contextmanager
    def locked(self, *, restart: bool) -> Iterator[None]:
        """Hold the folder of the parts, which is made or, with `restart`, emptied first."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with lock_folder(self._folder, 0.0):
                if restart:
                    _empty(self._folder)
                self._check_state()
                yield
        except BlockingIOError:
            raise ConfigurationError(f"--output: another process writes {self._output} now") from None
        except OSError as error:
            raise ConfigurationError(
                f"--output: cannot write {error.filename or self._output}: {error.strerror}"
            ) from None

    def _check_state(self) -> None:
        path = self._folder / _STATE
        try:
            state = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            _empty(self._folder)  # parts without a state may be of any run
            state = None
        except ValueError:
            state = None
        if state != self._state and any(self._folder.glob("part-*.parquet")):
            raise ConfigurationError(
                f"--output: {self._folder} holds the parts of an interrupted run with another version, other users or "
                "other flags; go on with those, or pass --restart to start again"
            )
        if state != self._state:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(self._state), "utf-8")

    def write_missing(self, n_parts: int, make: Callable[[int], pa.Table], on_found: Callable[[int], None]) -> None:
        """Write every part that is not there yet: `make` returns part i; `on_found` is called for those that are."""
        for number in range(n_parts):
            path = self._path(number)
            if path.is_file():
                on_found(number)
                continue
            with replacing(path) as temporary:
                pq.write_table(make(number), temporary, compression=_COMPRESSION)

    def join(self, n_parts: int) -> None:
        """Write the parts to the output, and remove them."""
        # In the folder of the parts, which the next run removes if this one is killed.
        with (
            replacing(self._output, self._folder) as temporary,
            pq.ParquetWriter(temporary, self._schema, compression=_COMPRESSION) as writer,
        ):
            for number in range(n_parts):
                part = pq.ParquetFile(self._path(number)).read()
                writer.write_table(part.cast(self._schema), row_group_size=max(1, part.num_rows))
        _empty(self._folder)
        self._folder.rmdir()

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:06}.parquet"


def _empty(folder: Path) -> None:
    """Remove the parts, and their state last: a state never stands for parts of another run."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == _STATE):
        path.unlink()
