"""Quantize items to 8-bit codes that rank a catalogue roughly by one integer matrix product.

Trained factors are far from independent: scores vary along few directions. In a trained model with 64 factors, 32
directions hold 99.8 % of the variance of the scores. The codes are the coordinates of the items along such directions.
They are found as for a truncated singular value decomposition of the matrix of all scores, U Q' (C. Eckart and
G. Young, 1936).

All items share the step of a code, because scaling the score of every item would take as long as computing it.

The only integer product that ONNX Runtime reads in the order of memory is unsigned (the user) by signed (the items).
The user's codes are therefore shifted by ZERO_POINT. The shift adds ZERO_POINT times the sum of an item's codes to its
score. To cancel it, the codes of an item are made to sum to 0: their mean is subtracted, and gets a code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.graphs.top_k import padded_length

Float64Array = npt.NDArray[np.float64]

# The largest code. The sum of two products of 7 bits by 8 bits is below 2^15, where processors without VNNI saturate.
MAX_CODE = 127
# The user's code that stands for 0.
ZERO_POINT = 64
# Share of the scores' variance that may be lost by leaving out directions. Rounding to 8 bits loses about as much.
MAX_LOST_VARIANCE = 0.001
_ROWS_PER_BLOCK = 1 << 16


def quantize_items(
    user_factors: Float32Array, item_factors: Float32Array, item_bias: Float32Array, item_log_popularity: Float32Array
) -> dict[str, npt.NDArray[Any]]:
    """Compute the tables item_codes, item_code_basis and item_code_steps.

    user_factors (m, d), item_factors (n, d), item_bias (n,), item_log_popularity (n,).

    Returns:
        The tables by name.
        item_codes, int8 (c, padded_length(n)) with c a multiple of 4, has rows for: r directions and log popularity,
        whose codes sum to 0 for every item; the mean that was subtracted for that; its negative; the bias; then zeros.
        item_code_basis, (d, r), converts user factors to what one step of each direction's code adds to a score.
        item_code_steps, (3,), has what one step of another code adds to a score: of log popularity at a popularity
        weight of 1, of the mean for a user whose steps of the first r + 1 codes add 1 in total, and of the bias.
    """
    user_basis, item_basis = principal_score_directions(user_factors, item_factors)
    signed = _SignedValues(item_factors, item_basis, item_log_popularity)
    n_rows, n_signed = len(item_factors), item_basis.shape[1] + 1
    codes = np.zeros((n_signed + 3 + -(n_signed + 3) % 4, padded_length(n_rows)), dtype=np.int8)
    for block in _blocks(n_rows):
        values, mean = signed.balanced(block)
        # Rounding the cumulative sums, not the values, keeps the sum of the codes at 0. A code may grow by 1.
        sums = np.rint(np.cumsum(values * ((MAX_CODE - 1) / signed.largest), axis=1))
        codes[:n_signed, block] = np.diff(sums, axis=1, prepend=0).T
        codes[n_signed, block] = np.rint(mean * (MAX_CODE / signed.largest_mean))
        codes[n_signed + 1, block] = -codes[n_signed, block]
    middle, bias_step = _middle_and_step(item_bias)
    codes[n_signed + 2, :n_rows] = np.rint((item_bias - middle) / bias_step)
    steps = signed.spread * (signed.largest / (MAX_CODE - 1))
    mean_step = signed.largest_mean / MAX_CODE * (MAX_CODE - 1) / signed.largest
    return {
        "item_codes": codes,
        "item_code_basis": (user_basis * steps[:-1]).astype(np.float32),
        "item_code_steps": np.array([steps[-1], mean_step, bias_step], dtype=np.float32),
    }


def principal_score_directions(
    user_factors: Float32Array, item_factors: Float32Array
) -> tuple[Float64Array, Float64Array]:
    """Find the directions along which the scores of all users and items vary most.

    The number of directions r is the smallest that loses at most MAX_LOST_VARIANCE of the variance, rounded up to a
    multiple of 4 so that no row of the codes is empty.

    user_factors (m, d), item_factors (n, d) -> bases of users and of items, (d, r) each. The product of the coordinates
    in these bases approximates the score.
    """
    n_users, n_factors = user_factors.shape
    users = (
        sum((block.T @ block for block in _float64_blocks(user_factors)), np.zeros((n_factors, n_factors))) / n_users
    )
    mean = item_factors.mean(0, dtype=np.float64)
    items = sum(((block - mean).T @ (block - mean) for block in _float64_blocks(item_factors)), np.zeros_like(users))
    variance, axes = np.linalg.eigh(users)
    # An axis along which no trained user varies has a small variance instead of 0, because new users may vary along it.
    root = axes * np.sqrt(np.maximum(variance, 1e-6 * variance.max() or 1.0))
    explained, rotation = np.linalg.eigh(root.T @ items @ root)
    explained, rotation = np.maximum(explained[::-1], 0), rotation[:, ::-1]
    lost = explained.sum() - np.cumsum(explained)
    n_kept = int(np.argmax(lost <= MAX_LOST_VARIANCE * explained.sum())) + 1
    n_kept = min(n_factors, n_kept + -n_kept % 4)
    return np.linalg.inv(root).T @ rotation[:, :n_kept], root @ rotation[:, :n_kept]


class _SignedValues:
    """Coordinates of the items along the directions, and log popularity, scaled so that all are alike.

    Attributes:
        spread: largest distance of each value from its mean over all items, (r + 1,).
        largest: largest magnitude of a balanced value.
        largest_mean: largest magnitude of the mean of an item's values.
    """

    def __init__(self, item_factors: Float32Array, item_basis: Float64Array, item_log_popularity: Float32Array) -> None:
        self._item_factors, self._item_basis = item_factors, item_basis
        self._item_log_popularity = item_log_popularity
        blocks = _blocks(len(item_factors))
        self._centre = sum(self._raw(block).sum(0) for block in blocks) / len(item_factors)
        self.spread = np.max([np.abs(self._raw(block) - self._centre).max(0) for block in blocks], axis=0)
        self.spread[self.spread == 0] = 1
        maxima = np.max([[np.abs(part).max() for part in self.balanced(block)] for block in blocks], axis=0)
        self.largest, self.largest_mean = (maximum or 1.0 for maximum in maxima)

    def balanced(self, block: slice) -> tuple[Float64Array, Float64Array]:
        """Return the values of a block of items less their mean, (b, r + 1), and the mean of each item, (b,)."""
        values = (self._raw(block) - self._centre) / self.spread
        mean = values.mean(1)
        return values - mean[:, None], mean

    def _raw(self, block: slice) -> Float64Array:
        coordinates = self._item_factors[block].astype(np.float64) @ self._item_basis
        return np.column_stack([coordinates, self._item_log_popularity[block]])


def _blocks(n_rows: int) -> list[slice]:
    return [slice(start, min(start + _ROWS_PER_BLOCK, n_rows)) for start in range(0, n_rows, _ROWS_PER_BLOCK)]


def _float64_blocks(factors: Float32Array) -> Iterator[Float64Array]:
    for block in _blocks(len(factors)):
        yield factors[block].astype(np.float64)


def _middle_and_step(values: Float32Array) -> tuple[float, float]:
    """Return the middle of the range of values, and the step with which codes of +-MAX_CODE reach its ends."""
    low, high = float(values.min()), float(values.max())
    return (low + high) / 2, (high - low) / 2 / MAX_CODE or 1.0
