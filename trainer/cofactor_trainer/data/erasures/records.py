"""Read the records of erased users, and find their rows (docs/erasure.md)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import json_format

from cofactor.v1.erasure_pb2 import ErasureRecord
from cofactor_trainer.data.dataset import AppliedErasures, BoolArray, RatingsDataset
from cofactor_trainer.errors import InputError

# Where servers record erasures in a model repository.
FOLDER = ".erasures"
SHORTEST_KEY = 32
_USER, _KEY = b"cofactor-user:", b"cofactor-key"
_KEY_ID_DIGITS = 16


@dataclass(frozen=True)
class Erasures:
    """The erasures that concern one model, oldest first, and the key of their hashes."""

    records: Sequence[ErasureRecord]
    key: bytes

    @classmethod
    def read(cls, path: Path, key_path: Path, model_name: str = "") -> Erasures:
        """Read a folder .erasures, or the file that `cofactor models erasures --output` writes.

        model_name: leave out the erasures from other models.

        Raises:
            InputError: a file is unusable, or a record was made under another key.
        """
        key = _read_key(key_path)
        key_id = hmac.digest(key, _KEY, "sha256").hex()[:_KEY_ID_DIGITS]
        records = {}
        for file, line, text in _lines(path):
            record = _parse(file, line, text)
            if record.key_id != key_id:
                raise InputError("the erasure was recorded under another key than that of --erasure-key-file", file)
            if record.model_name in ("", model_name):
                records[record.record_id] = record
        return cls([records[record_id] for record_id in sorted(records)], key)

    def left_out(self, dataset: RatingsDataset) -> BoolArray:
        """Mark the rows of erased users that are not newer than the erasure: (n_ratings,).

        Without times, all rows of erased users are marked.
        """
        erase_times = {bytes.fromhex(record.user_hash): _seconds(record) for record in self.records}
        times = np.full(dataset.n_users + 1, -np.inf)
        for row, user_id in enumerate(dataset.user_ids):
            times[row] = erase_times.get(self._hash(user_id), -np.inf)
        limits = times[dataset.user_rows]
        if dataset.timestamps is None:
            return np.asarray(limits > -np.inf)
        return np.asarray(dataset.timestamps <= limits)

    def describe(self, left_out_row_count: int) -> AppliedErasures:
        """Return what the manifest notes about these erasures."""
        lines = "".join(f"{record.record_id} {record.user_hash}\n" for record in self.records)
        newest = max(map(_seconds, self.records), default=None)
        digest = hashlib.sha256(lines.encode()).hexdigest()
        return AppliedErasures(len(self.records), digest, newest, left_out_row_count)

    def _hash(self, user_id: str) -> bytes:
        return hmac.digest(self.key, _USER + user_id.encode("utf-8", "surrogatepass"), "sha256")


def has_records(folder: Path) -> bool:
    """Return True if a model repository holds erasures."""
    return any((folder / FOLDER).glob("*.json"))


def _read_key(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise InputError(f"the erasure key cannot be read: {error.strerror}", path) from None
    if len(key) < SHORTEST_KEY:
        raise InputError(f"the erasure key has {len(key)} characters, and {SHORTEST_KEY} are the least", path)
    return key


def _lines(path: Path) -> Iterator[tuple[Path, int, str]]:
    """Yield the file, line number and text of every record; a repository without erasures has no folder of them."""
    if path.name == FOLDER and not path.exists():
        return
    try:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
                if line.strip():
                    yield file, number, line
    except UnicodeDecodeError:
        raise InputError("is not a list of erasures: it is not UTF-8", path) from None
    except OSError as error:
        raise InputError(f"the erasures cannot be read: {error.strerror}", path) from None


def _parse(path: Path, line: int, text: str) -> ErasureRecord:
    try:
        record = json_format.Parse(text, ErasureRecord(), ignore_unknown_fields=True)
        is_record = bool(record.record_id) and len(bytes.fromhex(record.user_hash)) == hashlib.sha256().digest_size
    except (json_format.ParseError, ValueError):
        is_record = False
    if not is_record:
        raise InputError(
            "is not the record of an erasure: name the folder .erasures of the model repository, or the file of "
            "cofactor models erasures --output",
            path,
            line=line,
        )
    return record


def _seconds(record: ErasureRecord) -> float:
    return record.erase_time.seconds + record.erase_time.nanos / 1e9
