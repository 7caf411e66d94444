"""Run the command `cofactor-train`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cofactor_trainer.errors import MissingExtraError, TrainerError, describe_os_error
from cofactor_trainer.interruption import (
    describe,
    exit_when_interrupted,
    ignore_interruptions,
    raise_once_when_interrupted,
)

_GLOBAL_FLAGS = ("-h", "--help", "--version", "--print-completion")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command, by default `train`.

    Returns 2 for an error that the user can fix, 130 after Ctrl-C, and 143 after SIGTERM.
    """
    try:
        with exit_when_interrupted():  # the imports take seconds
            parsed, run = _load(sys.argv[1:] if arguments is None else arguments)
    except MissingExtraError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with raise_once_when_interrupted():
        try:
            status = run(parsed)
            sys.stdout.flush()  # here an error can still be reported
            return status
        except TrainerError as error:
            print(f"error: {error}", file=sys.stderr)
        except BrokenPipeError:
            # Nobody reads the output: flushing it at exit would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            print("error: the output was closed", file=sys.stderr)
        except OSError as error:
            print(f"error: {describe_os_error(error)}", file=sys.stderr)
        except MemoryError as error:
            print(f"error: there is not enough memory ({error})", file=sys.stderr)
        except KeyboardInterrupt as interruption:
            line, status = describe(interruption)
            print(line, file=sys.stderr)
            return status
        finally:
            if arguments is None:  # the process ends: nothing is left to interrupt
                ignore_interruptions()
        return 2


def _load(arguments: Sequence[str]) -> tuple[argparse.Namespace, Callable[[argparse.Namespace], int]]:
    """Parse the flags and import the module of the sub-command; no other sub-command's libraries are imported.

    Raises:
        MissingExtraError: a library is not installed.
    """
    try:
        parsed = _parse(arguments)
        if parsed.command == "train":  # its output is for people; that of the others may be JSON
            print("starting: importing torch and pandas", flush=True)
        module = import_module(f"cofactor_trainer.commands.{parsed.command.replace('-', '_')}")
    except ModuleNotFoundError as error:
        if (error.name or "cofactor").startswith("cofactor"):
            raise  # a broken installation or a mistake in an import, not a missing extra
        raise MissingExtraError("cofactor-train", error.name or "", "trainer") from error
    _log_to_stderr()
    return parsed, module.run


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    from cofactor_trainer.commands.flag_values import join_negative_values
    from cofactor_trainer.commands.parsers import PARSERS

    words = join_negative_values(arguments)
    if not words or words[0] not in (*PARSERS, *_GLOBAL_FLAGS):
        words.insert(0, "train")
    return _parser().parse_args(words)


def _log_to_stderr() -> None:
    """Print warnings to stderr, because stdout may be JSON."""
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])


def _parser() -> argparse.ArgumentParser:
    import shtab

    from cofactor_trainer.commands.parsers import add_parsers

    parser = argparse.ArgumentParser(
        prog="cofactor-train",
        description="Train recommenders and export them to ONNX. Without a command, train.",
    )
    parser.add_argument("--version", action="version", version=f"cofactor-train {_version()}")
    shtab.add_argument_to(parser, help="print the completion script of a shell")
    commands = parser.add_subparsers(dest="command", required=True)
    add_parsers(commands)
    for command in commands.choices.values():
        for action in command._actions:
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # an attribute that shtab looks for
    return parser


def _version() -> str:
    try:
        return version("cofactor")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
