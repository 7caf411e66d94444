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
_NO_STAMP = (-1,)  # of no file

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
        self._stamp = file_stamp(path)  # before the content, or a change in between would go unseen
        self._problem = ""
        self._content = parse(path)
        if not len(self._content):
            _LOGGER.warning("%s: there are none in %s, so every call is refused", name, path)
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
            self._stamp = _NO_STAMP
            self._reload_if_changed()

    def _reload_if_changed(self) -> None:
        stamp = file_stamp(self._path)
        if stamp == self._stamp:
            self._problem = ""
            return
        try:
            self._content = self._parse(self._path)
        except ConfigurationError as error:
            self._report(str(error))
        except Exception as error:  # the call that looks for changes must not fail, and the old content is valid
            self._report(f"{type(error).__name__}: {error}")
        else:
            self._stamp, self._problem = stamp, ""
            if len(self._content):
                _LOGGER.info("%s reloaded: %d", self._name, len(self._content))
            else:
                _LOGGER.warning("%s reloaded: there are none, so every call is refused", self._name)

    def _report(self, problem: str) -> None:
        """Log a problem when it begins or changes, and not once a second."""
        if problem != self._problem:
            _LOGGER.error("%s not reloaded, the old ones stay valid: %s", self._name, problem)
        self._problem = problem


def file_stamp(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a file does, also if its size or its time stays; () if it cannot be found.

    Tools that copy files set the time of the last change, so that alone does not tell. The kernel sets st_ctime_ns.
    """
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
