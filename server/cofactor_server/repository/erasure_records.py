"""Records of erased users: hash user ids under a secret key, and read and write the records (docs/erasure.md)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf import json_format

from cofactor.v1.erasure_pb2 import AppliedErasures, ErasureRecord
from cofactor_server.errors import ConfigurationError

SHORTEST_KEY = 32
_USER, _KEY = b"cofactor-user:", b"cofactor-key"
_KEY_ID_DIGITS = 16
_RECORD_ID = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}")
_USER_HASH = re.compile(r"[0-9a-f]{64}")


class ErasureError(ValueError):
    """The erasures of a repository cannot be applied; str() is one sentence for the operator."""


class ErasureKey:
    """The secret key that user ids are hashed under.

    Attributes:
        key_id: tells keys apart, and says nothing about the key.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.key_id = hmac.digest(key, _KEY, "sha256").hex()[:_KEY_ID_DIGITS]

    @classmethod
    def read(cls, path: Path) -> ErasureKey:
        """Read the key in a file: its text without blanks at the ends, at least 32 characters.

        Raises ConfigurationError if there is no such key.
        """
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            raise ConfigurationError(f"--erasure-key-file: cannot read {path}: {error.strerror}") from None
        if len(key) < SHORTEST_KEY:
            raise ConfigurationError(
                f"--erasure-key-file: the key in {path} has {len(key)} characters, and {SHORTEST_KEY} are the least; "
                "make one with openssl rand -hex 32"
            )
        return cls(key)

    def hash_user(self, user_id: str) -> bytes:
        """Return the hash of a user id, 32 bytes."""
        return hmac.digest(self._key, _USER + user_id.encode("utf-8", "surrogatepass"), "sha256")


def new_record(key: ErasureKey, user_id: str, model_name: str, requested_by: str, request_id: str) -> ErasureRecord:
    """Return the record of an erasure that happens now. `model_name` is empty for all models."""
    now = datetime.now(UTC)
    record = ErasureRecord(
        record_id=f"{now:%Y%m%dT%H%M%S%f}Z-{secrets.token_hex(4)}",
        model_name=model_name,
        user_hash=key.hash_user(user_id).hex(),
        key_id=key.key_id,
        requested_by=requested_by,
        request_id=request_id,
    )
    record.erase_time.FromDatetime(now)
    return record


def format_record(record: ErasureRecord) -> str:
    """Return a record as the text of its file."""
    return json_format.MessageToJson(record, preserving_proto_field_name=True, indent=None) + "\n"


def parse_record(record_id: str, text: str) -> ErasureRecord:
    """Parse the file of a record. Raises ErasureError."""
    try:
        record = json_format.Parse(text, ErasureRecord(), ignore_unknown_fields=True)
    except json_format.ParseError:
        raise ErasureError(f"the erasure {record_id}.json is not a record; restore it from a backup") from None
    if record.record_id != record_id or not _USER_HASH.fullmatch(record.user_hash):
        raise ErasureError(f"the erasure {record_id}.json was changed; restore it from a backup")
    return record


def is_record_id(name: str) -> bool:
    """Return True if a file of this name, without .json, is a record."""
    return _RECORD_ID.fullmatch(name) is not None


def digest_of(records: Sequence[ErasureRecord]) -> str:
    """Return the SHA-256 by which a manifest names the records that its training took into account."""
    lines = (f"{record.record_id} {record.user_hash}\n" for record in records)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def not_applied(records: Sequence[ErasureRecord], applied: AppliedErasures) -> Sequence[ErasureRecord]:
    """Return the records that the training of a version did not take into account.

    These are all but the first `record_count` ones, if the manifest names just these; otherwise all, to be safe.
    """
    first = records[: applied.record_count]
    return records[len(first) :] if digest_of(first) == applied.records_sha256 else records


class ErasureStore:
    """The erasures of a repository. A record that was read once stays until the server restarts.

    Args:
        list_ids: returns the names of the records in the repository.
        read: returns the text of a record.
        key: the key of the records; None if the server has none.

    Attributes:
        records: the records, oldest first. Replaced, never changed.
    """

    def __init__(self, list_ids: Callable[[], list[str]], read: Callable[[str], str], key: ErasureKey | None) -> None:
        self._list_ids = list_ids
        self._read = read
        self.key = key
        self.records: tuple[ErasureRecord, ...] = ()

    def refresh(self) -> None:
        """Read the records that are new. Raises ErasureError, and OSError if the repository cannot be read."""
        known = {record.record_id for record in self.records}
        new = [parse_record(name, self._read(name)) for name in self._list_ids() if name not in known]
        if not new:
            return
        if self.key is None:
            raise ErasureError(
                f"it holds {len(new)} erasures, and without their key this server would serve the erased users; name "
                "it with --erasure-key-file"
            )
        for record in new:
            if record.key_id != self.key.key_id:
                raise ErasureError(
                    f"the erasure {record.record_id}.json was recorded under another key than that of "
                    "--erasure-key-file; all servers of a repository need one key"
                )
        self.records = tuple(sorted([*self.records, *new], key=lambda record: record.record_id))

    def concerning(self, model_name: str) -> list[ErasureRecord]:
        """Return the records that concern a model, oldest first."""
        return [record for record in self.records if record.model_name in ("", model_name)]
