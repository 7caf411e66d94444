"""Read columns of times: dates in ISO 8601, or numbers since 1970 in seconds or a smaller unit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cofactor_trainer.errors import InputError

Float64Array = npt.NDArray[np.float64]

_EXPECTED = "neither a date in ISO 8601 nor a number of seconds since 1970"
# The unit of numbers is chosen by their size: the largest time below is in the year 5138.
_UNITS = ((1e11, "seconds", 1.0), (1e14, "milliseconds", 1e3), (1e17, "microseconds", 1e6), (1e20, "nanoseconds", 1e9))
# With more numbers than this share a column has numbers, and its other values are the mistakes.
_NUMBERS_SHARE = 0.5
_INT32, _ROWS_AT_ONCE = np.iinfo(np.int32), 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR_SECONDS = 253_402_300_799.0


class BadTimeError(ValueError):
    """A value of a column is not a time.

    Attributes:
        record: position of the value in its column.
    """

    def __init__(self, message: str, record: int) -> None:
        super().__init__(message)
        self.record = record


def parse_times(column: pa.Array) -> tuple[Float64Array, bool]:
    """Return numbers since 1970 (n,), and True if the column has dates: their numbers are seconds.

    Raises:
        BadTimeError: a value is missing or is not a time.
    """
    is_date = pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)
    if is_date:
        values = _date_seconds(column.cast(pa.timestamp("us"), safe=False))
    elif pa.types.is_string(column.type):
        values, is_date = _parse_texts(pc.utf8_trim_whitespace(column))
    else:
        try:
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise BadTimeError(f"values of type {column.type} are {_EXPECTED}", 0) from None
    is_time = np.isfinite(values) & (np.abs(values) < _UNITS[-1][0])
    if not is_time.all():
        record = int(np.argmin(is_time))
        value = column[record].as_py()
        if value is None or not str(value).strip():
            raise BadTimeError("the value is missing", record)
        raise BadTimeError(f"{str(value)[:64]!r} is {_EXPECTED}", record)
    return values, is_date


def to_seconds(values: Float64Array) -> Float64Array:
    """Convert numbers since 1970 to seconds, in place; their unit is chosen by the largest of them."""
    values /= _unit(float(np.abs(values).max(initial=0.0)))[1]
    return values


def compact_seconds(seconds: Float64Array) -> Float64Array | npt.NDArray[np.int32]:
    """Return whole seconds as numbers of 4 bytes, which takes half of the memory; others stay as they are."""
    if len(seconds) and not (_INT32.min <= seconds.min() and seconds.max() <= _INT32.max):
        return seconds
    whole = np.empty(len(seconds), np.int32)
    for start in range(0, len(seconds), _ROWS_AT_ONCE):
        part = seconds[start : start + _ROWS_AT_ONCE]
        whole[start : start + len(part)] = part
        if (whole[start : start + len(part)] != part).any():
            return seconds
    return whole


class TimeReader:
    """Reads the time column of a file chunk by chunk; stops at the first value that is not a time.

    Attributes:
        problem: why the file has no times, or None.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._is_date: bool | None = None
        self._low, self._high = np.inf, -np.inf

    def read(self, parse: Callable[[], tuple[Float64Array, bool] | None]) -> Float64Array | None:
        """Parse the times of a chunk; return None if there are none, or if they or earlier ones cannot be read."""
        if self.problem is not None:
            return None
        try:
            parsed = parse()
        except InputError as error:
            self.problem = str(error)
            return None
        if parsed is None or not len(parsed[0]):
            return None
        values, is_date = parsed
        if self._is_date not in (None, is_date):
            self.problem = "the time column has both dates and numbers"
            return None
        self._is_date = is_date
        self._low, self._high = min(self._low, values.min()), max(self._high, values.max())
        return values

    def read_all(self, parse: Callable[[], tuple[Float64Array, bool] | None]) -> Float64Array | None:
        """Parse the times of a chunk, every one of which must be a time.

        Raises:
            InputError: a value is not a time, or dates and numbers are mixed.
        """
        values = self.read(parse)
        if self.problem is not None:
            raise InputError(f"{self.problem}: correct it, or leave the column out of --columns")
        return values

    def describe(self) -> str:
        """Say how the times were read, and their range."""
        if self.problem is not None:
            return "not read"
        if self._is_date is None:
            return "none"
        name, divisor = _unit(max(abs(self._low), abs(self._high)))
        kind = "dates" if self._is_date else f"{name} since 1970"
        return f"{kind}, {_day(self._low / divisor)} to {_day(self._high / divisor)}"


def _parse_texts(texts: pa.Array) -> tuple[Float64Array, bool]:
    try:
        return texts.cast(pa.float64()).to_numpy(zero_copy_only=False), False
    except pa.ArrowInvalid:
        pass
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return _date_seconds(texts.cast(kind)), True
        except pa.ArrowInvalid:
            continue
    numbers = pd.to_numeric(pd.Series(texts.to_pylist(), dtype=object), errors="coerce").to_numpy(np.float64)
    if np.isfinite(numbers).mean() > _NUMBERS_SHARE:
        return numbers, False
    # Arrow is fast, but refuses a column in which only some times have a zone.
    dates = pd.to_datetime(pd.Series(texts.to_pylist(), dtype=object), format="ISO8601", utc=True, errors="coerce")
    return _date_seconds(pa.array(dates.dt.tz_localize(None)).cast(pa.timestamp("us"), safe=False)), True


def _date_seconds(dates: pa.Array) -> Float64Array:
    microseconds: Float64Array = dates.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return microseconds / 1e6


def _unit(largest: float) -> tuple[str, float]:
    """Return the name of the unit, and how many of it make a second."""
    return next(((name, divisor) for limit, name, divisor in _UNITS if largest < limit), _UNITS[-1][1:])


def _day(seconds: float) -> str:
    if not -62_135_596_800.0 <= seconds <= _LAST_YEAR_SECONDS:
        return f"{seconds:g} s"
    return (_EPOCH + timedelta(seconds=float(seconds))).date().isoformat()
