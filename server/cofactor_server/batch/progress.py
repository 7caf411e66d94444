"""Show how far a batch job is: a bar in a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0


class JobProgress:
    """Progress of a job over `total` users, on standard error; rate and remaining time are of this run alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._n_done = 0
        self._n_new = 0
        self._started = self._last_line = time.monotonic()
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("users", total=total, rate="")

    def skip(self, n_users: int) -> None:
        """Count users that an earlier run has done."""
        self._n_done += n_users
        self._show()

    def advance(self, n_users: int) -> None:
        """Count users that are done."""
        self._n_done += n_users
        self._n_new += n_users
        self._show()

    @property
    def rate(self) -> float:
        """Return the users per second of this run."""
        return self._n_new / max(1e-9, time.monotonic() - self._started)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._n_done, rate=f"{self.rate:,.0f} users/s")
            return
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        seconds = (self._total - self._n_done) / self.rate if self._n_new else 0.0
        sys.stderr.write(
            f"{self._n_done:,} of {self._total:,} users, {self.rate:,.0f} users/s, {seconds / 60:.1f} min left\n"
        )

    def __enter__(self) -> JobProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
