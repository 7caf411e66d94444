"""Check and convert the columns of a batch of ratings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cofactor_trainer.data.dataset import BoolArray, Float32Array, Float64Array
from cofactor_trainer.data.delimited_text import TextFormat, line_of_record
from cofactor_trainer.data.table_files import is_text
from cofactor_trainer.data.times import BadTimeError, parse_times
from cofactor_trainer.errors import InputError

# Single precision, and the squares of errors, have room for it.
MAX_RATING = 1e9
_MAX_WHOLE_FLOAT = 2.0**53
# Words for the parts of a split, in lower case.
_TRAIN_WORDS = ("train", "training", "base", "0", "false")
_HELD_OUT_WORDS = ("validation", "valid", "val", "test", "1", "true")


@dataclass(frozen=True)
class CheckedBatch:
    """A batch of records whose columns are checked when they are read.

    Every method raises an `InputError` that names the line (a row for Parquet) of the first bad value.

    Attributes:
        records: the batch.
        path: the file that it comes from.
        text_format: the format of that file, if it is text.
        first_record: position of the batch's first record in the file.
    """

    records: pa.RecordBatch
    path: Path
    text_format: TextFormat
    first_record: int

    def ids(self, name: str) -> pa.DictionaryArray:
        """Return a column of 64-bit whole numbers or text as dictionary-encoded strings without blanks around, (n,).

        The dictionary may have a string twice.
        """
        return self._names(name, "id")

    def event_types(self, name: str) -> pa.DictionaryArray:
        """Return a column of event types, as `ids` does."""
        return self._names(name, "event type")

    def _names(self, name: str, noun: str) -> pa.DictionaryArray:
        column = _whole_numbers(self._column(name))
        if not (pa.types.is_integer(column.type) or _is_text(column)):
            raise InputError(f"{noun}s are {column.type}: use 64-bit whole numbers or text", self.path, column=name)
        texts = column.cast(pa.string())
        is_missing = pc.or_kleene(pc.is_null(texts), pc.equal(pc.utf8_trim_whitespace(texts), "")).fill_null(True)
        record = pc.index(is_missing, True).as_py()
        if record >= 0:
            raise self._error(f"the {noun} is missing", record, name)
        encoded = texts.dictionary_encode()
        return pa.DictionaryArray.from_arrays(encoded.indices, pc.utf8_trim_whitespace(encoded.dictionary))

    def ratings(self, name: str) -> Float32Array:
        """Return a column of numbers of at most a billion, (n,)."""
        values = self._numbers(name, pa.float64(), "a number")
        is_rating = np.abs(values) <= MAX_RATING
        if not is_rating.all():
            record = int(np.argmin(is_rating))
            raise self._error(f"{values[record]:g} is not a rating: remove the row", record, name)
        return values.astype(np.float32)

    def ratings_or_nan(self, name: str) -> Float32Array:
        """Return a column of numbers of at most a billion, (n,), with NaN for the rows that have none."""
        values: Float64Array = self._numbers(name, pa.float64(), "a rating", allow_missing=True)
        is_rating = (np.abs(values) <= MAX_RATING) | np.isnan(values)
        if not is_rating.all():
            record = int(np.argmin(is_rating))
            raise self._error(f"{values[record]:g} is not a rating: leave it empty", record, name)
        return values.astype(np.float32)

    def counts(self, name: str) -> Float64Array:
        """Return a column of numbers above 0 and up to a billion, (n,)."""
        values: Float64Array = self._numbers(name, pa.float64(), "a number")
        is_count = (values > 0) & (values <= MAX_RATING)
        if not is_count.all():
            record = int(np.argmin(is_count))
            raise self._error(
                f"{values[record]:g} is not a count above 0: remove the row, or give returns a type of their own and "
                "name it with --negative-events",
                record,
                name,
            )
        return values

    def held_out(self, name: str, value: str | None) -> BoolArray:
        """Return True where a column says that a rating is held out, (n,).

        With ``value`` those ratings are held out that have this value. Without, the column must have words such as
        "train" and "test", 0 and 1, or false and true.
        """
        texts = pc.utf8_trim_whitespace(_whole_numbers(self._column(name)).cast(pa.string())).fill_null("")
        missing = pc.index(pc.equal(texts, ""), True).as_py()
        if missing >= 0:
            raise self._error("the part of the split is missing", missing, name)
        if value is not None:
            return _as_mask(pc.equal(texts, value))
        words = pc.utf8_lower(texts)
        is_held_out = _as_mask(pc.is_in(words, pa.array(_HELD_OUT_WORDS)))
        is_known = is_held_out | _as_mask(pc.is_in(words, pa.array(_TRAIN_WORDS)))
        if not is_known.all():
            record = int(np.argmin(is_known))
            text = texts[record].as_py()[:64]
            raise self._error(
                f"{text!r} is neither train nor test: name the value of the held-out part with --held-out-value",
                record,
                name,
            )
        return is_held_out

    def times(self, name: str) -> tuple[Float64Array, bool] | None:
        """Return what `parse_times` makes of a column, or None if there is no such column."""
        if name not in self.records.schema.names:
            return None
        try:
            return parse_times(self._column(name))
        except BadTimeError as error:
            raise self._error(str(error), error.record, name) from None

    def _column(self, name: str) -> pa.Array:
        return self.records.column(self.records.schema.get_field_index(name))

    def _numbers(self, name: str, kind: pa.DataType, expected: str, *, allow_missing: bool = False) -> np.ndarray:
        """Convert a column to numbers of a kind; ``expected`` describes them in errors.

        Missing values are an error, or NaN if ``allow_missing`` is set.
        """
        column = self._column(name)
        if _is_text(column):
            column = pc.utf8_trim_whitespace(column)
            if self.text_format.delimiter != ",":
                column = pc.replace_substring_regex(column, r"^([+-]?\d+),(\d+)$", r"\1.\2")
        if allow_missing and _is_text(column):
            column = pc.if_else(pc.equal(column, ""), None, column)
        try:
            numbers = column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise self._conversion_error(column, name, kind, expected) from None
        if numbers.null_count and not allow_missing:
            raise self._error("the value is missing", pc.index(pc.is_null(numbers), True).as_py(), name)
        values: np.ndarray = numbers.to_numpy(zero_copy_only=False)
        return values

    def _conversion_error(self, column: pa.Array, name: str, kind: pa.DataType, expected: str) -> InputError:
        """Locate the first value of a column that cannot be converted."""
        for record, value in enumerate(column):
            try:
                value.cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                text = str(value.as_py())[:64]
                return self._error(f"{text!r} is not {expected}" if text else "the value is missing", record, name)
        return InputError(f"values are {column.type}, not {expected}", self.path, column=name)

    def _error(self, message: str, record: int, column: str) -> InputError:
        """Return an error at a record of the batch; only records of text have a line, others have a row number."""
        record += self.first_record
        if not is_text(self.path):
            return InputError(f"row {record + 1}: {message}", self.path, column=column)
        return InputError(message, self.path, line=line_of_record(self.path, self.text_format, record), column=column)


def _as_mask(values: pa.Array) -> BoolArray:
    mask: BoolArray = values.to_numpy(zero_copy_only=False).astype(bool)
    return mask


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type))


def _whole_numbers(column: pa.Array) -> pa.Array:
    """Convert floats that are all whole numbers: pandas stores ids so if one is missing."""
    if not pa.types.is_floating(column.type):
        return column
    values = column.to_numpy(zero_copy_only=False)
    values = values[np.isfinite(values)]
    is_whole = (values == np.floor(values)) & (np.abs(values) < _MAX_WHOLE_FLOAT)
    return column.cast(pa.int64(), safe=False) if is_whole.all() else column
