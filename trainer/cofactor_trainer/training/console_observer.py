"""Show a training run on the console."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cofactor_trainer.training.epochs import EpochResult

_HEADER = f"{'epoch':>6}{'train loss':>13}{'validation loss':>18}{'RMSE':>10}{'time':>10}"
_BAR_UPDATES = 200


class ConsoleObserver:
    """Observer that prints one line per epoch, unless lists_epochs is False, and on a terminal draws a progress bar."""

    def __init__(self, console: Console, *, lists_epochs: bool = True) -> None:
        self._console = console
        self._lists_epochs = lists_epochs
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=1.0)
        self._next_update = 0

    def __enter__(self) -> ConsoleObserver:
        if self._lists_epochs:
            self._console.print(_HEADER, style="bold")
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def on_progress(self, trained: int, total: int) -> None:
        """Move the bar, at most 200 times in all."""
        if trained >= self._next_update:
            self._progress.update(self._task, completed=trained / total)
            self._next_update = trained + total // _BAR_UPDATES

    def on_epoch(self, result: EpochResult) -> None:
        """Print the line of the epoch."""
        if not self._lists_epochs:
            return
        validation = "-" if result.validation_loss is None else f"{result.validation_loss:.4f}"
        rmse = "-" if result.rmse is None else f"{result.rmse:.4f}"
        line = f"{result.epoch:>6}{result.train_loss:>13.4f}{validation:>18}{rmse:>10}{result.seconds:>8.2f} s"
        self._progress.console.print(line, highlight=False)
