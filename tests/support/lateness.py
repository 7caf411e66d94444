"""Check that calls end close to their deadlines."""

from __future__ import annotations

from collections.abc import Sequence

TOLERANCE_S = 0.05
LIMIT_S = 0.25


def assert_on_time(late: Sequence[float]) -> None:
    """Check the seconds between the deadlines of calls and their ends.

    Up to a tenth of the calls, or one, may be off by more than TOLERANCE_S, because the machine itself is sometimes
    late. None may be off by more than LIMIT_S.
    """
    off = [seconds for seconds in late if abs(seconds) > TOLERANCE_S]
    assert len(off) <= max(1, len(late) // 10), late
    assert all(abs(seconds) <= LIMIT_S for seconds in late), late
