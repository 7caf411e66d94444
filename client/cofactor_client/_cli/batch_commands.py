"""The subcommands that the server package runs: they work on a version directory, without a running server."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any

COMMANDS = {
    "recommend-all": "recommend to all users of a version, to a Parquet file; no running server is needed",
    "export-feedback": "write the events and served lists of feedback logs to Parquet files, for the next training",
    "export-embeddings": "write the vectors of a version's items and users to Parquet files, for a vector database",
}
_PROGRAM = "cofactor_server"


def add_parsers(subparsers: Any) -> None:
    """Add the subcommands to the help and to the completion; their flags are those of the other program."""
    for name, about in COMMANDS.items():
        subparsers.add_parser(name, help=about, add_help=False)


def run(words: Sequence[str]) -> int:
    """Replace this process by the program of the server package, which the client does not import.

    Returns 2 if the package is not installed.
    """
    if importlib.util.find_spec(_PROGRAM) is not None:
        sys.stdout.flush()
        # No shell takes part, and the program is this very interpreter.
        os.execv(sys.executable, [sys.executable, "-m", f"{_PROGRAM}.batch", *words])  # noqa: S606
    print(f"cofactor: error: {words[0]} needs the package {_PROGRAM}: pip install 'cofactor[batch]'", file=sys.stderr)
    return 2
