"""8-bit codes that rank a catalogue roughly by one product of integers.

Trained factors are far from independent: scores vary along few directions, and half of the 64 of a trained model keep
99.8 % of their variance. The codes are of the items' coordinates along these directions, which are found as for a
truncated singular value decomposition of the matrix of all scores, U Q' (Eckart and Young, 1936).

All items share their steps, one for each code: to scale every item's score would take as long as to compute it. And the
only product that ONNX Runtime streams as it lies in memory is of unsigned numbers by signed ones, of which ZERO stands
for the user's 0; that adds ZERO times the sum of an item's codes to its score. So the codes are made to sum to 0: their
mean is taken away from each item, and has a code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.graphs.exact_top_k import padded_length

Float64Array = npt.NDArray[np.float64]

# The largest code. The sum of two products of 7 bits by 8 is below 2^15, where processors without VNNI stop.
LARGEST = 127
# What stands for 0 in the user's half, which has no signs.
ZERO = 64
# Share of the scores' variance that directions are left out for; rounding to 8 bits costs about as much.
LOST_VARIANCE = 0.001
_ROWS_AT_ONCE = 1 << 16


def quantize(
    user_factors: Float32Array, item_factors: Float32Array, item_bias: Float32Array, item_log_popularity: Float32Array
) -> dict[str, npt.NDArray[Any]]:
    """(m, d), (n, d), (n,), (n,) -> the tables item_codes, item_code_basis and item_code_steps.

    item_codes, int8 (c, padded_length(n)), c a multiple of 4, has r rows for directions and one for log popularity,
    which sum to 0; their mean before that, twice, the second time negative; the bias; then zeros. item_code_basis,
    (d, r), makes a user's factors what a step of each direction's code is worth. item_code_steps, (3,), is what a step
    is worth of log popularity's code, of the mean's for a user whose values of the others sum to 1, and of the bias'.
    """
    user_basis, item_basis = directions(user_factors, item_factors)
    n_rows, n_columns = len(item_factors), item_basis.shape[1] + 1
    parts = [slice(start, min(start + _ROWS_AT_ONCE, n_rows)) for start in range(0, n_rows, _ROWS_AT_ONCE)]

    def columns(part: slice) -> Float64Array:
        return np.column_stack([item_factors[part].astype(np.float64) @ item_basis, item_log_popularity[part]])

    centre = sum(columns(part).sum(0) for part in parts) / n_rows
    spread = np.max([np.abs(columns(part) - centre).max(0) for part in parts], axis=0)
    spread[spread == 0] = 1

    def balanced(part: slice) -> tuple[Float64Array, Float64Array]:
        values = (columns(part) - centre) / spread
        mean = values.mean(1)
        return values - mean[:, None], mean

    largest = max(np.abs(balanced(part)[0]).max() for part in parts) or 1.0
    largest_mean = max(np.abs(balanced(part)[1]).max() for part in parts) or 1.0
    codes = np.zeros((n_columns + 3 + -(n_columns + 3) % 4, padded_length(n_rows)), dtype=np.int8)
    for part in parts:
        values, mean = balanced(part)
        # Rounding the sums up to each column, not the columns, leaves their sum at 0.
        sums = np.rint(np.cumsum(values * ((LARGEST - 1) / largest), axis=1))
        codes[:n_columns, part] = np.diff(sums, axis=1, prepend=0).T
        codes[n_columns, part] = np.rint(mean * (LARGEST / largest_mean))
        codes[n_columns + 1, part] = -codes[n_columns, part]
    middle, bias_step = _centred(item_bias)
    codes[n_columns + 2, :n_rows] = np.rint((item_bias - middle) / bias_step)
    steps = spread * (largest / (LARGEST - 1))
    mean_step = largest_mean / LARGEST * (LARGEST - 1) / largest
    return {
        "item_codes": codes,
        "item_code_basis": (user_basis * steps[:-1]).astype(np.float32),
        "item_code_steps": np.array([steps[-1], mean_step, bias_step], dtype=np.float32),
    }


def directions(user_factors: Float32Array, item_factors: Float32Array) -> tuple[Float64Array, Float64Array]:
    """(m, d), (n, d) -> bases of users and of items, (d, r) each, of which the product keeps the scores' variance.

    As few directions as lose no more than LOST_VARIANCE of it, all users and items alike, and then so many that no row
    of the codes is left empty.
    """
    n_users, n_factors = user_factors.shape
    users = sum((part.T @ part for part in _parts(user_factors)), np.zeros((n_factors, n_factors))) / n_users
    mean = item_factors.mean(0, dtype=np.float64)
    items = sum(((part - mean).T @ (part - mean) for part in _parts(item_factors)), np.zeros_like(users))
    variance, axes = np.linalg.eigh(users)
    # Users who vary nowhere along an axis say nothing of it; new ones may.
    root = axes * np.sqrt(np.maximum(variance, 1e-6 * variance.max() or 1.0))
    explained, rotation = np.linalg.eigh(root.T @ items @ root)
    explained, rotation = np.maximum(explained[::-1], 0), rotation[:, ::-1]
    lost = explained.sum() - np.cumsum(explained)
    n_kept = int(np.argmax(lost <= LOST_VARIANCE * explained.sum())) + 1
    n_kept = min(n_factors, n_kept + -n_kept % 4)
    return np.linalg.inv(root).T @ rotation[:, :n_kept], root @ rotation[:, :n_kept]


def _parts(factors: Float32Array) -> Iterator[Float64Array]:
    for start in range(0, len(factors), _ROWS_AT_ONCE):
        yield factors[start : start + _ROWS_AT_ONCE].astype(np.float64)


def _centred(values: Float32Array) -> tuple[float, float]:
    """The middle of values, and the step that takes the codes from there to their ends."""
    low, high = float(values.min()), float(values.max())
    return (low + high) / 2, (high - low) / 2 / LARGEST or 1.0
