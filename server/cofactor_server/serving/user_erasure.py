"""Erase users from loaded versions: their ids become unknown, and cached responses are dropped."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from cofactor.v1.erasure_pb2 import ErasureRecord
from cofactor_server.repository.erasure_records import ErasureKey, ErasureStore, not_applied
from cofactor_server.repository.id_index import IdIndex
from cofactor_server.serving.loaded_version import LoadedVersion

_LOGGER = logging.getLogger(__name__)
# Ids that are hashed, in about 2 ms, before other threads run: hashing holds Python's lock.
_CHUNK = 1024
_PAUSE_S = 0.0005
_PREFIX_BYTES = 8


class HashedUsers:
    """The users of one version by the hash of their id; hashing a million ids takes about 2.5 s of processor time.

    Attributes:
        erased: the record_ids of erasures whose user the version had.
    """

    def __init__(self, user_ids: IdIndex, key: ErasureKey) -> None:
        self._user_ids = user_ids
        self._key = key
        self._prefixes = _hash_prefixes(user_ids.ids, key)
        self.erased: set[str] = set()

    def erase(self, records: Sequence[ErasureRecord]) -> bool:
        """Forget the users of some records; return True if the version had one that was not erased before."""
        has_changed = False
        for record in records:
            expected = bytes.fromhex(record.user_hash)
            row = self._row_of(expected)
            if row is not None:
                has_changed |= self._user_ids.forget(row)
                self.erased.add(record.record_id)
        return has_changed

    def _row_of(self, expected: bytes) -> int | None:
        """Return the row of the user with this hash, None if there is none.

        The first 8 bytes decide: of a million users, two share them with a probability of 3e-8, and the row is then
        checked by its whole hash, as long as its id is known.
        """
        prefix = np.frombuffer(expected[:_PREFIX_BYTES], dtype=np.uint64)
        for row in np.flatnonzero(self._prefixes == prefix).tolist():
            user_id = self._user_ids.ids[row]
            if not user_id or self._key.hash_user(user_id) == expected:
                return int(row)
        return None


class UserErasure:
    """Apply the erasures of a repository to the versions that are loaded from it; implements the watcher's Revision.

    Only the watcher's polls call it, one at a time.

    Attributes:
        store: the erasures.
    """

    def __init__(self, store: ErasureStore) -> None:
        self.store = store
        self._hashed: WeakKeyDictionary[IdIndex, HashedUsers] = WeakKeyDictionary()
        self._revised_for: WeakKeyDictionary[IdIndex, tuple[ErasureRecord, ...]] = WeakKeyDictionary()

    def refresh(self) -> None:
        """Read the new erasures. Raises ErasureError or OSError."""
        self.store.refresh()

    def revise(self, version: LoadedVersion) -> LoadedVersion:
        """Return a version without the erased users: the same object if it has none that is not erased already.

        A call that is under way keeps the object that it began with, and its cache. The new object has an empty cache.
        """
        key, all_records = self.store.key, self.store.records
        if not all_records or key is None or self._revised_for.get(version.user_ids) is all_records:
            return version
        self._revised_for[version.user_ids] = all_records
        records = not_applied(self.store.concerning(version.manifest.name), version.manifest.erasures)
        if not records:
            return version
        users = self._hashed.get(version.user_ids)
        if users is None:
            started = time.monotonic()
            users = self._hashed[version.user_ids] = HashedUsers(version.user_ids, key)
            _LOGGER.info("%s: hashed the user ids in %.2f s", version.key, time.monotonic() - started)
        if not users.erase(records):
            return version
        _LOGGER.info("%s: %d of %d erasures concern its users", version.key, len(users.erased), len(records))
        return version.without_cached_responses()

    def has_traces(self, record_id: str, version: LoadedVersion) -> bool:
        """Return True if a version was trained with the data of the user of this erasure."""
        users = self._hashed.get(version.user_ids)
        return users is not None and record_id in users.erased


def _hash_prefixes(user_ids: Sequence[str], key: ErasureKey) -> npt.NDArray[np.uint64]:
    """Return the first 8 bytes of the hash of every id, (n,); let other threads run in between."""
    prefixes = np.empty(len(user_ids), dtype=np.uint64)
    for start in range(0, len(user_ids), _CHUNK):
        hashes = [key.hash_user(user_id)[:_PREFIX_BYTES] for user_id in user_ids[start : start + _CHUNK]]
        prefixes[start : start + _CHUNK] = np.frombuffer(b"".join(hashes), dtype=np.uint64)
        time.sleep(_PAUSE_S)
    return prefixes
