"""Limit the request bodies that are under way at once.

gRPC holds what has come of a body until the rest is there, up to the largest message for every open call, and before
the server knows anything about the caller. As long as the server has not asked for the body of a call, flow control
stops it after one window of 64 KiB. So the server asks for few bodies at a time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

# Memory for bodies under way, if each is as large as a message may be.
MAX_INCOMING_BYTES = 128 * 2**20
_FEWEST_SLOTS = 4
# Further calls, which wait until the server asks for their bodies. They hold one window each.
MAX_WAITING = 1024

# A body that takes longer than this gives way to a call that waits: one of the connection that has the most bodies
# under way gives way to another connection after the shorter time.
PATIENCE_S = 2.0
PATIENCE_WITH_MANY_S = 0.25
_TOO_SLOW = (
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
    "the body of the request came slowly while other calls waited to send theirs; retry, with less in one request",
)


class Connected(Protocol):
    """A call of gRPC."""

    def peer(self) -> Any:
        """Return the address of the client, with its port."""

    def cancel(self, code: int, details: str) -> Any:
        """End the call with a status."""


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """Call whose body nobody has asked for yet.

    Attributes:
        call: the call.
        ask: asks gRPC for the body; returns False if the call has ended in the meantime.
    """

    call: Connected
    ask: Callable[[], bool]


class IncomingBodies:
    """Ask for the bodies of at most `n_slots` calls at a time, over all connections of a server.

    A call that sends its body gets it through whatever other callers do: among the calls that wait, the connection with
    the fewest bodies under way comes first, then the latest call; bodies that take long give way.
    """

    def __init__(self, max_message_bytes: int) -> None:
        """Take as many slots as messages of this size fit into MAX_INCOMING_BYTES, but a few in any case."""
        self._n_slots = max(_FEWEST_SLOTS, MAX_INCOMING_BYTES // max_message_bytes)
        self._lock = threading.Lock()
        # Each with the time when it was asked for, by time.monotonic(); the oldest first. A pair and not a class: every
        # call creates one.
        self._under_way: dict[Hashable, tuple[Connected, float]] = {}
        self._giving_way: set[Hashable] = set()
        self._waiting: dict[Hashable, WaitingCall] = {}
        self._timer: threading.Timer | None = None

    def __len__(self) -> int:
        return len(self._under_way) + len(self._giving_way)

    @property
    def n_waiting(self) -> int:
        """Return the number of calls whose bodies nobody has asked for yet."""
        return len(self._waiting)

    def begin(self, key: Hashable, call: Connected) -> bool:
        """Note that the body of a call is asked for now; return False if it has to wait() for a free slot."""
        with self._lock:
            if len(self._under_way) + len(self._giving_way) >= self._n_slots:
                return False
            self._under_way[key] = call, time.monotonic()
            return True

    def wait(self, key: Hashable, call: Connected, ask: Callable[[], bool]) -> bool:
        """Ask for the body of a call when there is a free slot; return False if too many calls wait.

        `ask` asks gRPC for the body, and returns False if the call has ended in the meantime.
        """
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting[key] = WaitingCall(call, ask)
            self._make_room()
        self._ask_for_next()  # a slot may be free since begin()
        return True

    def end(self, key: Hashable) -> None:
        """Note that a body has come, or that its call has ended; ask for the next one."""
        with self._lock:
            if self._under_way.pop(key, None) is None:
                self._giving_way.discard(key)
            if not self._waiting:
                return
            self._waiting.pop(key, None)
        self._ask_for_next()

    def _ask_for_next(self) -> None:
        """Ask for the body of the call whose turn it is, if there is a free slot for it."""
        is_asked = False
        while not is_asked:
            with self._lock:
                if not self._waiting or len(self) >= self._n_slots:
                    return
                key = self._next()
                waited = self._waiting.pop(key)
                self._under_way[key] = waited.call, time.monotonic()
            is_asked = waited.ask()
            if not is_asked:
                with self._lock:
                    self._under_way.pop(key, None)

    def _next(self) -> Hashable:
        """Return the call whose turn it is, of those that wait."""
        counts = self._counts()
        return min(reversed(self._waiting), key=lambda key: counts[self._waiting[key].call.peer()])

    def _counts(self) -> Counter[Any]:
        """Return the number of bodies under way by connection."""
        return Counter(call.peer() for call, _ in self._under_way.values())

    def _make_room(self) -> None:
        """End calls that have to give way to those that wait; look again later while any waits."""
        now = time.monotonic()
        patience = PATIENCE_WITH_MANY_S  # for one call at a time; the rest may use up their time
        for _ in range(len(self._waiting) - len(self._giving_way)):
            key = self._slowest(now, patience)
            if key is None:
                break
            patience = PATIENCE_S
            self._giving_way.add(key)
            call, _ = self._under_way.pop(key)
            call.cancel(*_TOO_SLOW)
        if self._waiting and self._timer is None:
            self._timer = threading.Timer(PATIENCE_WITH_MANY_S, self._on_timer)
            self._timer.daemon = True
            self._timer.start()

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
            self._make_room()

    def _slowest(self, now: float, patience_with_many: float) -> Hashable | None:
        """Return the call that has to give way, None if all have time left."""
        if not self._under_way:
            return None
        oldest, (_, since) = next(iter(self._under_way.items()))
        if now - since < patience_with_many:
            return None
        counts = self._counts()
        connection, most = counts.most_common(1)[0]
        if min(counts[waiting.call.peer()] for waiting in self._waiting.values()) + 1 < most:
            candidates = (key for key, (call, _) in self._under_way.items() if call.peer() == connection)
            candidate = next(candidates)
            if now - self._under_way[candidate][1] >= patience_with_many:
                return candidate
        return oldest if now - since >= PATIENCE_S else None
