"""Output of a subcommand: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, RenderableType


@dataclass(frozen=True)
class Output:
    """Result of a subcommand.

    Attributes:
        value: printed as JSON with --json.
        tables: builds the tables to print otherwise. Not called for JSON, because looking up titles may cost a call.
    """

    value: Any
    tables: Callable[[], Iterator[RenderableType]]

    def show(self, *, as_json: bool) -> None:
        """Print the result on standard output."""
        if as_json:
            print(to_json(self.value))
        else:
            _console().print(*self.tables(), sep="\n")


def print_note(message: str) -> None:
    """Print a note on standard error, which leaves the output for programs as it is."""
    print(f"cofactor: note: {message}", file=sys.stderr)


def to_json(value: Any) -> str:
    """Convert a result to JSON. NaN becomes null; times become ISO 8601 strings."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=2, allow_nan=False)


def _console() -> Console:
    """Return a console for standard output: the terminal's width and colours, or 160 columns in a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
