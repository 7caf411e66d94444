"""Remember that a device has failed while serving, and tell whoever must act on it, once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_LOGGER = logging.getLogger(__name__)


class DeviceFailure:
    """Outcome of all runs on the devices of a process: none has failed yet, or one has.

    A CUDA context cannot be used again after most errors, so the process has to be replaced.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self.has_happened = False

    def then(self, action: Callable[[], None]) -> None:
        """Call `action` when a run fails; at once if one has failed already. It must not block."""
        with self._lock:
            self._actions.append(action)
            has_happened = self.has_happened
        if has_happened:
            action()

    def report(self, reason: str) -> None:
        """Record a failed run. Later ones change nothing."""
        with self._lock:
            if self.has_happened:
                return
            self.has_happened = True
            actions = list(self._actions)
        _LOGGER.error("the device has failed, and the server stops: %s", reason)
        for action in actions:
            action()
