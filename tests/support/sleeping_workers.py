"""Worker processes for test_supervisor.py, in a module of their own because their processes import it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from cofactor_server.runtime.supervisor import SupervisorLink


def sleep_until_stopped(link: SupervisorLink, slot: int, folder: Path) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    link.on_orphaned(stopping.set)
    (folder / str(os.getpid())).touch()
    link.announce_ready()
    stopping.wait()
    (folder / f"{os.getpid()}.drained").touch()


def note_reloads(link: SupervisorLink, slot: int, folder: Path) -> None:
    """Announce a reload if this is the worker in slot 0, and note those of others."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    link.on_orphaned(stopping.set, on_reload=(folder / f"{slot}.reloaded").touch)
    link.announce_ready()
    while slot == 0 and not stopping.wait(0.02):
        if (folder / "announce").exists():
            (folder / "announce").unlink()
            link.announce_reload()
    stopping.wait()


def ignore_sigterm(link: SupervisorLink, slot: int, folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link.announce_ready()
    time.sleep(60)


def exit_while_starting(link: SupervisorLink, slot: int, folder: Path) -> None:
    sys.exit(2)


def crash_when_ready(link: SupervisorLink, slot: int, folder: Path) -> None:
    link.announce_ready()
    os._exit(3)
