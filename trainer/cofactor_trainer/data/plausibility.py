"""Find what is readable, but probably not meant: ids that differ only in writing, odd ratings, absurd answers."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from cofactor_trainer.data.dataset import Float32Array

logger = logging.getLogger(__name__)

_MISSING_IDS = {"null", "nan", "\\n", "<na>"}
MISSING_ANSWERS = frozenset(("", "null", "nan", "\\n", "n/a", "<na>", "#n/a"))
# In a column of numbers these cannot be answers.
MISSING_NUMBERS = MISSING_ANSWERS | {"na", "none", "-", "?", "unknown"}
_MAX_AGE = 120
# A number further from the middle half than this many times the width of that half is clipped.
_FENCE = 10.0
_MAX_NUMBER = 1e15
_ZERO_SHARE = 0.25
# A rating is alone if its distance from the others is this many times their range.
_FAR = 2.0


def plain_id(value: str) -> str:
    """Return an id without what people do not see or mean: case, Unicode form, leading zeros, ".0"."""
    if value.isascii() and value.isdecimal():
        return value.lstrip("0") or "0"
    plain = unicodedata.normalize("NFKC", value).casefold().strip()
    return re.sub(r"^0+(?=\d+$)", "", re.sub(r"(?<=\d)\.0+$", "", plain))


def warn_of_similar_ids(kind: str, ids: Sequence[str]) -> None:
    """Warn of ids that differ only in case, Unicode form, leading zeros or ".0", and of an id such as NULL."""
    first: dict[str, str] = {}
    pairs = [(other, value) for value in ids if (other := first.setdefault(plain_id(value), value)) != value]
    if pairs:
        logger.warning(
            "%d %s ids differ from another one only in case, Unicode form, leading zeros or '.0', such as %r and %r: "
            "they count as different %ss",
            *(len(pairs), kind, *pairs[0], kind),
        )
    for value in ids if _MISSING_IDS & first.keys() else ():
        if value.casefold() in _MISSING_IDS:
            logger.warning("the %s id %r counts as one %s: remove its rows if it means a missing id", kind, value, kind)


def warn_of_odd_ratings(ratings: Float32Array) -> None:
    """Warn if the lowest or the highest rating stands far outside of the others, or zero may mean "not rated"."""
    for value in (float(ratings.min()), float(ratings.max())):
        others = ratings[ratings != np.float32(value)]
        low, high = float(others.min()), float(others.max())
        share = 1 - len(others) / len(ratings)
        gap = max(low - value, value - high)
        is_alone = low < high and gap > _FAR * (high - low)
        is_negative = value < 0 <= low and low < high
        is_zero = value == 0 and low >= 1 and share > _ZERO_SHARE
        if is_alone or is_negative or is_zero:
            logger.warning(
                "the rating %g (%.1f %% of all) stands outside of the others, %g to %g: pass --missing %g if it means "
                "'no rating'",
                *(value, 100 * share, low, high, value),
            )


def bound_answers(name: str, answers: pd.Series) -> tuple[pd.Series, str | None]:
    """Bound a column of numbers, and say what was bounded.

    An age beyond 0 to 120 counts as missing. Other numbers far beyond the rest are clipped.
    """
    values = answers.to_numpy(dtype=np.float64, na_value=np.nan)
    known = values[np.isfinite(values)]
    is_infinite = np.isinf(values)
    if re.search(r"(^|[^a-z])age($|[^a-z])", name.lower()):
        is_absurd = is_infinite | (values < 0) | (values > _MAX_AGE)
        if not is_absurd.any():
            return answers, None
        note = f"{_count(is_absurd.sum(), 'answer')} of {name} beyond 0 to {_MAX_AGE}, such as "
        note += f"{values[is_absurd][0]:g}, count as missing"
        return pd.Series(np.where(is_absurd, np.nan, values), index=answers.index), note
    if not len(known):
        return pd.Series(np.full(len(values), np.nan), index=answers.index), None
    lower, upper = np.quantile(known, (0.25, 0.75))
    margin = _FENCE * (upper - lower) if lower < upper else np.inf
    # Whatever its column looks like, no number is so large that its square overflows in single precision.
    low, high = max(lower - margin, -_MAX_NUMBER), min(upper + margin, _MAX_NUMBER)
    is_far = is_infinite | (values < low) | (values > high)
    if not is_far.any():
        return answers, None
    clipped = np.where(is_infinite, np.nan, np.clip(values, low, high))
    note = f"{_count(is_far.sum(), 'answer')} of {name} far beyond the others, such as {values[is_far][0]:g}, are "
    return pd.Series(clipped, index=answers.index), note + f"clipped to {low:g} to {high:g}"


def likely_cause(table_ids: Iterable[str], known_ids: Iterable[str]) -> str | None:
    """Say why two sets of ids have nothing in common, if they have once written alike."""
    by_plain = {plain_id(value): value for value in known_ids}
    pair = next(((value, by_plain[plain_id(value)]) for value in table_ids if plain_id(value) in by_plain), None)
    return None if pair is None else f"they are written differently: {pair[0]!r} here, {pair[1]!r} in the ratings"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
