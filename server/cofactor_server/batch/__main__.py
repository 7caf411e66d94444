"""Run recommend-all, export-embeddings and export-feedback; `cofactor recommend-all` starts this module."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from cofactor_server.errors import CofactorError

_PACKAGES = {"pyarrow": "batch"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0, 2 if it cannot run, or 130 after Ctrl-C."""
    parsed = build_parser().parse_args(arguments)
    try:
        from cofactor_server.observability.logs import configure_logging

        configure_logging("warning", "text")
        print(_command(parsed.command)(parsed))
    except CofactorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on where this one was\n")
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "cofactor").startswith("cofactor"):
            raise  # a broken installation or a mistake in an import, not a missing extra
        extra = _PACKAGES.get(error.name or "", "server")
        sys.stderr.write(
            f"error: {parsed.command} needs the package {error.name}: pip install 'cofactor[{extra}]' (in a checkout "
            f"'.[{extra}]')\n"
        )
        return 2
    return 0


def _command(name: str) -> Callable[[argparse.Namespace], str]:
    """Return the function of a command; it returns a sentence about the result."""
    if name == "export-feedback":
        from cofactor_server.batch.feedback import export_feedback

        return export_feedback
    from cofactor_server.batch import commands

    return commands.recommend_all if name == "recommend-all" else commands.export_embeddings


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="cofactor", description="Batch jobs on a version, without a running server.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    recommend = commands.add_parser(
        "recommend-all",
        description="Recommend to all users of a version and write the result to a Parquet file. An interrupted run "
        "goes on where it was if the same command is run again.",
    )
    _add_version_flags(recommend)
    recommend.add_argument("--output", type=Path, required=True, metavar="FILE.parquet", help="file to write")
    recommend.add_argument("-k", type=int, metavar="K", help="items per user (default: 10)")
    recommend.add_argument(
        "--users", type=Path, metavar="FILE", help="only these users: a text file with one id a line (default: all)"
    )
    recommend.add_argument(
        "--request",
        type=Path,
        metavar="FILE.json",
        help="RecommendRequest in ProtoJSON without a user: filter, ranking, diversity and so on, as in the API",
    )
    recommend.add_argument(
        "--layout",
        choices=("long", "lists"),
        default="long",
        help="long: a row for each user and item, with its rank; lists: a row for each user (default: %(default)s)",
    )
    recommend.add_argument("--restart", action="store_true", help="remove the parts of an interrupted run first")
    recommend.add_argument("--users-per-part", type=_positive, default=20_000, help="default: %(default)s")
    recommend.add_argument(
        "--batch-size", type=_positive, default=64, help="most users in one run of the engine (default: %(default)s)"
    )
    recommend.add_argument("--threads", type=_positive, help="runs at a time (default: one for each processor)")
    embeddings = commands.add_parser(
        "export-embeddings",
        description="Write the vectors of the items, and of the users, to Parquet files for a vector database.",
    )
    _add_version_flags(embeddings)
    embeddings.add_argument("--output", type=Path, required=True, metavar="ITEMS.parquet", help="file of the items")
    embeddings.add_argument("--users", type=Path, metavar="USERS.parquet", help="also write the users to this file")
    _add_feedback_command(commands)
    return parser


def _add_feedback_command(commands: Any) -> None:
    feedback = commands.add_parser(
        "export-feedback",
        description="Write the events and the served lists of feedback logs to Parquet files, one for each day (UTC): "
        "DIR/events/2026-11-26.parquet and DIR/served/2026-11-26.parquet. cofactor-train --dataset DIR/events learns "
        "from them. Servers may write to the logs meanwhile.",
    )
    feedback.add_argument(
        "--log",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="feedback log of a server; repeat it for several servers: an event that is in two logs is written once",
    )
    feedback.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    feedback.add_argument(
        "--model", default="", metavar="NAME", help="required if the logs have rows of several models"
    )
    feedback.add_argument("--since", type=date.fromisoformat, metavar="YYYY-MM-DD", help="first day (default: all)")
    feedback.add_argument("--until", type=date.fromisoformat, metavar="YYYY-MM-DD", help="last day (default: all)")


def _add_version_flags(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--model-repository", metavar="DIR", help="model repository: a folder or an fsspec address")
    place.add_argument(
        "--version-dir", type=Path, metavar="DIR", help="version directory <repository>/<model>/<version>"
    )
    parser.add_argument("--model", default="", metavar="NAME", help="default: the first by name")
    parser.add_argument("--model-version", default="", metavar="VERSION", help="default: the current version")
    parser.add_argument("--label", default="", metavar="LABEL", help="use the version with this label")
    parser.add_argument("--provider", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--erasure-key-file", default="", metavar="FILE", help="key of the erased users")
    parser.add_argument("--require-signature", default="", metavar="FILE", help="public key of the signatures, PEM")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
