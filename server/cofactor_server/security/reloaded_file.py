"""Read a file again when it changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Generic, TypeVar

from cofactor_server.errors import ConfigurationError

_LOGGER = logging.getLogger(__name__)
_CHECK_INTERVAL_S = 1.0

Content = TypeVar("Content", bound=Sized)


class ReloadedFile(Generic[Content]):
    """The parsed content of a file, parsed again when the file changes.

    If the new content cannot be parsed, the old content stays in use.
    """

    def __init__(self, name: str, path: Path, parse: Callable[[Path], Content], clock: Callable[[], float]) -> None:
        """Parse the file; raises what `parse` raises. The log calls the content `name`; `clock` counts seconds."""
        self._name = name
        self._path = path
        self._parse = parse
        self._clock = clock
        self._reloading = threading.Lock()
        self._modified_ns = _modified_ns(path)  # before the content, or a change in between would go unseen
        self._content = parse(path)
        self._next_check = clock() + _CHECK_INTERVAL_S

    def content(self) -> Content:
        """Return the content; looks for a change of the file at most once a second."""
        if self._clock() >= self._next_check:
            with self._reloading:
                if self._clock() >= self._next_check:
                    self._reload_if_changed()
                    self._next_check = self._clock() + _CHECK_INTERVAL_S
        return self._content

    def reload(self) -> None:
        """Read the file now, also if it does not seem to have changed."""
        with self._reloading:
            self._modified_ns = -1
            self._reload_if_changed()

    def _reload_if_changed(self) -> None:
        modified_ns = _modified_ns(self._path)
        if modified_ns == self._modified_ns:
            return
        try:
            self._content = self._parse(self._path)
        except ConfigurationError as error:
            _LOGGER.error("%s not reloaded, the old ones stay valid: %s", self._name, error)
            return
        self._modified_ns = modified_ns
        _LOGGER.info("%s reloaded: %d", self._name, len(self._content))


def _modified_ns(path: Path) -> int:
    """Return the time of the last change, 0 if the file cannot be found."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
