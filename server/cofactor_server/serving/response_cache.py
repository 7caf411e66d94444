"""Answers kept to be given again."""

from __future__ import annotations

import threading
from collections import OrderedDict

# What Python takes for an entry besides the bytes of the request and the answer: two bytes objects, a tuple, an offset,
# and the dictionary's own share.
ENTRY_BYTES = 360

Key = tuple[bytes, int]


class ResponseCache:
    """Encoded answers of one version by request and offset; the least recently used are given up first.

    Each version has its own, so that no answer outlives the version that gave it. Keeps at most `most_bytes`, with 0
    nothing. Safe for threads: the dictionary's methods are atomic, and changes of its size are made under a lock.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._answers: OrderedDict[Key, bytes] = OrderedDict()
        self._n_bytes = 0
        self._resizing = threading.Lock()
        self.is_on = most_bytes > 0

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def n_bytes(self) -> int:
        """Bytes it takes now."""
        return self._n_bytes

    def get(self, key: Key) -> bytes | None:
        """The answer kept for a request, or None."""
        try:
            self._answers.move_to_end(key)
            return self._answers[key]
        except KeyError:  # never kept, or given up, perhaps just now by another thread
            return None

    def put(self, key: Key, answer: bytes) -> None:
        """Keep an answer, unless it is larger than everything that may be kept."""
        size = _size(key, answer)
        if size > self._most_bytes:
            return
        with self._resizing:
            if key in self._answers:
                return  # another thread had the same request
            self._answers[key] = answer
            self._n_bytes += size
            while self._n_bytes > self._most_bytes:
                self._n_bytes -= _size(*self._answers.popitem(last=False))


def _size(key: Key, answer: bytes) -> int:
    return len(key[0]) + len(answer) + ENTRY_BYTES
