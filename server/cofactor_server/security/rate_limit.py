"""Limit the rate of every client with a token bucket."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

# Beyond this number, the client seen least recently is forgotten: a caller with many addresses costs bounded memory.
MAX_CLIENTS = 65_536


class RateLimiter:
    """Allow every client `rate` requests per second, and `burst` requests at once after a pause."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        if not rate > 0 or burst < 1:
            raise ValueError(f"a rate limit needs a rate above 0 and a burst of at least 1, not {rate} and {burst}")
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (tokens, time of the count)

    def acquire(self, client: str) -> float:
        """Take a token from a client's bucket; return 0, or the seconds until there is a token to take."""
        now = self._clock()
        with self._lock:
            tokens = self._count(client, now)
            is_allowed = tokens >= 1
            self._buckets[client] = (tokens - 1 if is_allowed else tokens, now)
        return 0.0 if is_allowed else (1 - tokens) / self._rate

    def charge(self, client: str, n_tokens: int) -> None:
        """Take tokens for a call that acquire() has allowed, even if the bucket then lacks them.

        The client waits longer for its next call instead. Otherwise a call that costs more than the burst could never
        be made.
        """
        now = self._clock()
        with self._lock:
            self._buckets[client] = (self._count(client, now) - n_tokens, now)

    def _count(self, client: str, now: float) -> float:
        """Remove a client's bucket and return its tokens; the caller puts it back as the one used last."""
        tokens, counted = self._buckets.pop(client, (self._burst, now))
        if len(self._buckets) >= MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return min(self._burst, tokens + (now - counted) * self._rate)
