"""Run a training in a second process, so that two trainings of one thread each use two processors."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

import torch

from cofactor_trainer.errors import TrainerError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class SecondProcess(Generic[Result]):
    """A function that runs in a second process, made by `in_second_process`."""

    def __init__(self, function: Callable[[], Result], receiver: Connection) -> None:
        self._function, self._receiver = function, receiver

    @property
    def is_done(self) -> bool:
        """True if the result is there."""
        return self._receiver.poll()

    def result(self) -> Result:
        """Wait for the result. If the second process fails, the function runs again, in this process.

        Raises:
            TrainerError: the function raised it.
        """
        try:
            result, error = self._receiver.recv()
        except EOFError:
            result, error = None, "it was killed"
        if isinstance(error, TrainerError):
            raise error
        if error is None:
            returned: Result = result
            return returned
        logger.warning("the second process failed (%s): this one does its work", error)
        return self._function()


@contextmanager
def in_second_process(function: Callable[[], Result]) -> Iterator[SecondProcess[Result]]:
    """Run a function on the CPU, with one thread, in a process that ends with the block at the latest.

    The process is a fork, as torch's own data loaders are: it needs no second import of torch and no copy of the
    ratings.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(function, sender), daemon=True)
    with warnings.catch_warnings():
        # Python warns that threads do not survive a fork. With one thread, torch waits for none.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    sender.close()
    try:
        yield SecondProcess(function, receiver)
    finally:
        process.kill()
        process.join()
        receiver.close()


def has_second_processor() -> bool:
    """Return True if a second process can run beside this one."""
    if sys.platform != "linux":  # elsewhere a fork is not safe
        return False
    return len(os.sched_getaffinity(0)) > 1


def _run(function: Callable[[], Result], sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the first one ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    try:
        sender.send((function(), None))
    except TrainerError as error:
        sender.send((None, error))
    except Exception as error:
        sender.send((None, f"{type(error).__name__}: {error}"))
