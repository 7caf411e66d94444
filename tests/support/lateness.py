"""How far from their deadlines calls may end."""

from __future__ import annotations

from collections.abc import Sequence

USUAL_S = 0.05
EVER_S = 0.25


def assert_on_time(late: Sequence[float]) -> None:
    """Seconds after its deadline that each call ended. The machine itself is late now and then: one in ten, or one."""
    off = [each for each in late if abs(each) > USUAL_S]
    assert len(off) <= max(1, len(late) // 10), late
    assert all(abs(each) <= EVER_S for each in late), late
