"""Find out how a text file separates its fields."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

from cofactor_trainer.data.byte_streams import open_utf8
from cofactor_trainer.data.delimited_text import TextFormat, check_encoding, read_records
from cofactor_trainer.errors import InputError

_CANDIDATES = (",", "\t", ";", "::", "|")
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "::": "'::'", "|": "'|'", " ": "blanks"}
_SAMPLE_BYTES = 1 << 16
_SAMPLE_LINES = 100


def delimiter_name(delimiter: str) -> str:
    """Return the name of a delimiter to print."""
    return _NAMES.get(delimiter, repr(delimiter))


def detect_format(path: Path, encoding: str, min_fields: int, delimiter: str | None = None) -> TextFormat:
    """Choose the delimiter under which most lines have as many fields as the first one, at least min_fields.

    The delimiter that fits the suffix wins a draw. ``delimiter`` is used without a look at the file.
    """
    by_suffix = TextFormat.of_file(path, encoding)
    if delimiter is not None:
        return replace(by_suffix, delimiter=delimiter, is_quoted=len(delimiter) == 1)
    sample = _sample(path, encoding)
    rated = {}
    for candidate in _CANDIDATES:
        lengths = _field_counts(sample, candidate)
        if lengths and lengths[0] >= min_fields:
            share = Counter(lengths)[lengths[0]] / len(lengths)
            rated[candidate] = (round(share, 1), candidate == by_suffix.delimiter, lengths[0])
    if not rated:
        return by_suffix
    best = max(rated, key=lambda candidate: rated[candidate])
    return replace(by_suffix, delimiter=best, is_quoted=len(best) == 1)


def read_first_record(path: Path, text_format: TextFormat) -> list[str]:
    """Return the first record of a file without blanks around its fields."""
    record = next((record for _, record in read_records(path, text_format)), None)
    if record is None:
        raise InputError("the file is empty", path)
    return [field.strip() for field in record]


def _sample(path: Path, encoding: str) -> str:
    """Return complete lines at the beginning of a file."""
    try:
        with open_utf8(path, encoding) as stream:
            content = stream.read(_SAMPLE_BYTES)
    except UnicodeDecodeError:
        check_encoding(path, encoding)
        raise
    text = content.decode(errors="replace").removeprefix("\ufeff")
    return text[: text.rfind("\n") + 1] if len(content) == _SAMPLE_BYTES and "\n" in text else text


def _field_counts(sample: str, delimiter: str) -> list[int]:
    """Return the number of fields of each of the first lines; none if the delimiter cannot be right."""
    if len(delimiter) > 1:
        return [line.count(delimiter) + 1 for line in sample.splitlines()[:_SAMPLE_LINES] if line]
    counts = []
    try:
        for record in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if record:
                counts.append(len(record))
            if len(counts) == _SAMPLE_LINES:
                break
    except csv.Error:
        pass
    return counts
