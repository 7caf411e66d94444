"""Parse the values of flags."""

from __future__ import annotations

import argparse

MAX_SEED = 2**32 - 1


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
    return low, high
