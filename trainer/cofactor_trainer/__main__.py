"""Run the command `cofactor-train`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cofactor_trainer.errors import MissingExtraError, TrainerError

try:
    import shtab
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
    """Run a sub-command, by default `train`; return 2 for an error that the user can fix."""
    words = join_negative_values(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in (*_COMMANDS, *_GLOBAL_FLAGS):
        words.insert(0, "train")
    parsed = _parser().parse_args(words)
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(show_time=False, show_path=False)]
    )
    try:
        status: int = parsed.run(parsed)
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(f"interrupted: {interruption}" if str(interruption) else "interrupted", file=sys.stderr)
        return 130
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
