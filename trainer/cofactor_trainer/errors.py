"""What goes wrong for a reason that the caller can mend.

TrainerError            the command prints it as one line and exits with 2
├── InputError          a file or a value that cannot be used: says where (file, line, column) and what to do
├── RecipeError         settings that contradict each other or the ratings
├── ParityError         an exported graph does not answer what torch answers (parity.py)
└── MissingExtraError   an optional dependency is not installed
"""

from __future__ import annotations

from pathlib import Path


class TrainerError(Exception):
    """The root of the tree."""


class InputError(TrainerError):
    """Input that cannot be used.

    The message reads "ratings.csv, line 3, column rating: 'abc' is not a number".
    """

    def __init__(
        self, message: str, path: Path | str | None = None, *, line: int | None = None, column: str | None = None
    ) -> None:
        where = [str(path)] if path is not None else []
        where += [f"line {line}"] if line is not None else []
        where += [f"column {column}"] if column is not None else []
        super().__init__(f"{', '.join(where)}: {message}" if where else message)


class RecipeError(TrainerError):
    """Settings that contradict each other or the ratings."""


class MissingExtraError(TrainerError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs the package {package}: pip install 'cofactor[{extra}]'")
