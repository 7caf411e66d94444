"""Hold a stream to the rate limit of its client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

# A stream that has ended is noticed after at most this time.
LONGEST_PAUSE_S = 0.25


def paced(
    bodies: Iterator[bytes],
    acquire: Callable[[], float],
    is_active: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bytes]:
    """Yield the messages of a stream as fast as the rate limit allows.

    `acquire()` returns 0 if a message may pass, or the seconds to wait before it is asked again. The first message is
    free, because the call itself was counted. While a message waits no other is read, so that HTTP/2 flow control holds
    the client back. Ends once `is_active()` returns False.
    """
    is_first = True
    for body in bodies:
        while not is_first and (wait_s := acquire()) > 0:
            if not is_active():
                return
            sleep(min(wait_s, LONGEST_PAUSE_S))
        is_first = False
        yield body
