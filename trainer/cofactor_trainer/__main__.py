"""Run the command `cofactor-train`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cofactor_trainer.errors import MissingExtraError, TrainerError, describe_os_error
from cofactor_trainer.interruption import (
    describe,
    exit_when_interrupted,
    ignore_interruptions,
    raise_once_when_interrupted,
)

try:
    with exit_when_interrupted():  # the imports take seconds
        import shtab
        from rich.console import Console
        from rich.logging import RichHandler

        from cofactor_trainer.commands import evaluate, export, lr_find, publish, report, search, train
        from cofactor_trainer.commands.flag_values import join_negative_values
except ModuleNotFoundError as error:
    if (error.name or "cofactor").startswith("cofactor"):
        raise  # a broken installation or a mistake in an import, not a missing extra
    print(f"error: {MissingExtraError('cofactor-train', error.name or '', 'trainer')}", file=sys.stderr)
    sys.exit(2)

_COMMANDS = ("train", "evaluate", "lr-find", "search", "report", "export", "publish")
_GLOBAL_FLAGS = ("-h", "--help", "--version", "--print-completion")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command, by default `train`.

    Returns 2 for an error that the user can fix, 130 after Ctrl-C, and 143 after SIGTERM.
    """
    with raise_once_when_interrupted():
        try:
            status = _run(arguments)
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


def _run(arguments: Sequence[str] | None) -> int:
    words = join_negative_values(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in (*_COMMANDS, *_GLOBAL_FLAGS):
        words.insert(0, "train")
    parsed = _parser().parse_args(words)
    # Warnings go to stderr, because stdout may be JSON.
    handler = RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    status: int = parsed.run(parsed)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cofactor-train",
        description="Train recommenders and export them to ONNX. Without a command, train.",
    )
    parser.add_argument("--version", action="version", version=f"cofactor-train {_version()}")
    shtab.add_argument_to(parser, help="print the completion script of a shell")
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (train, evaluate, lr_find, search, report, export, publish):
        module.add_parser(commands)
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
