"""Observe a training run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cofactor_trainer.training.epochs import EpochResult


class Observer(Protocol):
    """Receiver of the progress of a training run."""

    def on_progress(self, trained: int, total: int) -> None:
        """Receive the number of ratings trained so far, of the total over all epochs."""

    def on_epoch(self, result: EpochResult) -> None:
        """Receive the result of an epoch, after its checkpoint is written."""


class CompositeObserver:
    """Observer that forwards to several others."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def on_progress(self, trained: int, total: int) -> None:
        """Forward the progress to every observer."""
        for observer in self._observers:
            observer.on_progress(trained, total)

    def on_epoch(self, result: EpochResult) -> None:
        """Forward the result to every observer."""
        for observer in self._observers:
            observer.on_epoch(result)
