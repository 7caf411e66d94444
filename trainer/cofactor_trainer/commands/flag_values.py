"""Parse the values of flags."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence

from cofactor_trainer.data.item_attributes import ATTRIBUTE_TYPES
from cofactor_trainer.errors import InputError

MAX_SEED = 2**32 - 1
_ATTRIBUTE_TYPES = (*ATTRIBUTE_TYPES, "ignore")


def parse_seed(text: str) -> int:
    """Parse a 32-bit whole number, the range that numpy accepts and that leaves torch room for the epoch's number."""
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_SEED):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {MAX_SEED}")
    return int(text)


def parse_pair(text: str) -> tuple[float, float]:
    """Parse two numbers such as "0,5.5"."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers such as 0.5,5") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise argparse.ArgumentTypeError(f"{text!r} is not two finite numbers such as 0.5,5")
    return low, high


def parse_numbers(text: str) -> tuple[float, ...]:
    """Parse numbers such as "99" or "-1,99"."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as -1,99") from None


def parse_names(text: str) -> tuple[str, ...]:
    """Parse names such as "click,purchase"."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of names such as click,purchase")
    return names


def parse_delimiter(text: str) -> str:
    """Parse the one or two characters between fields; "tab" and "\\t" are a tab."""
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text, text)
    is_ascii = delimiter.isascii() and not set(delimiter) & set('"\r\n')
    if not (is_ascii and len(delimiter) in (1, 2) and not delimiter.isalnum()):
        raise argparse.ArgumentTypeError(f"{text!r} is not one or two characters such as ; or :: or tab")
    return delimiter


def parse_attribute_types(text: str) -> dict[str, str]:
    """Parse types by column such as "price=number,tags=texts"."""
    types: dict[str, str] = {}
    for part in text.split(","):
        name, equals, kind = [word.strip() for word in part.rpartition("=")]
        if not (name and equals and kind in _ATTRIBUTE_TYPES):
            listed = f"{', '.join(_ATTRIBUTE_TYPES[:-1])} or {_ATTRIBUTE_TYPES[-1]}"
            raise argparse.ArgumentTypeError(f"{part.strip()!r} is not a column with its type, {listed}")
        if name in types:
            raise argparse.ArgumentTypeError(f"the column {name!r} has two types: leave out one")
        types[name] = kind
    return types


def join_negative_values(words: Sequence[str]) -> list[str]:
    """Join a flag with a value that begins with a minus, "--scale -10,10" to "--scale=-10,10", for argparse."""
    joined: list[str] = []
    for word in words:
        if re.match(r"-\.?\d", word) and joined and re.fullmatch(r"--[a-z][a-z-]*", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def reject_flags(arguments: argparse.Namespace, dataset: str, *flags: str) -> None:
    """Raise an `InputError` if one of the flags is set, because it would have no effect on the dataset."""
    for flag in flags:
        if getattr(arguments, flag) not in (None, False):
            raise InputError(f"--{flag.replace('_', '-')} does not apply to {dataset}: leave it out")
