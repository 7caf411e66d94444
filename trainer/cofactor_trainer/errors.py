"""Define the errors that a user can fix.

TrainerError            the command prints it as one line and exits with code 2
├── InputError          a file or a value is unusable; the message says where (file, line, column) and what to do
│   └── LockedError     another update of the model is running (refresh/repository_lock.py)
├── RecipeError         settings contradict each other or do not fit the ratings
├── ExportError         a trained model cannot be exported; the message says where it is kept
├── ParityError         an exported graph computes something else than torch (export/verification/parity.py)
└── MissingExtraError   an optional dependency is not installed
"""

from __future__ import annotations

from pathlib import Path


class TrainerError(Exception):
    """Base class of all errors that a user can fix."""


class InputError(TrainerError):
    """A file or a value is unusable.

    The message reads "ratings.csv, line 3, column rating: 'abc' is not a number".
    """

    def __init__(
        self, message: str, path: Path | str | None = None, *, line: int | None = None, column: str | None = None
    ) -> None:
        location = [str(path)] if path is not None else []
        location += [f"line {line}"] if line is not None else []
        location += [f"column {column}"] if column is not None else []
        super().__init__(f"{', '.join(location)}: {message}" if location else message)


class RecipeError(TrainerError):
    """Settings contradict each other or do not fit the ratings."""


class ExportError(TrainerError):
    """A trained model cannot be exported; the message says where it is kept and how to repeat the export."""


class MissingExtraError(TrainerError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}: pip install 'cofactor[{extra}]' (in a checkout '.[{extra}]')"
        )


def describe_os_error(error: OSError) -> str:
    """Say in one line which file could not be read or written, and why."""
    reason = error.strerror or (str(error) or type(error).__name__).splitlines()[0]
    return f"{error.filename}: {reason}" if error.filename else reason
