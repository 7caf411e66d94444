"""Group the errors of predicted ratings: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupErrors:
    """Prediction errors by group.

    Attributes:
        labels: labels of the groups.
        rmse: root mean squared error of every group.
        mean_error: mean of predicted less true, of every group.
        counts: number of ratings in every group.
    """

    labels: list[str]
    rmse: Float64Array
    mean_error: Float64Array
    counts: Int64Array


def errors_by_group(groups: Int64Array, labels: list[str], predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """Compute the errors of every group that has ratings.

    groups (n,) positions in labels, predicted (n,), true (n,).
    """
    error = predicted.astype(np.float64) - true
    counts = np.bincount(groups, minlength=len(labels))
    present = np.flatnonzero(counts)
    squared = np.bincount(groups, error**2, len(labels))[present] / counts[present]
    signed = np.bincount(groups, error, len(labels))[present] / counts[present]
    return GroupErrors([labels[group] for group in present], np.sqrt(squared), signed, counts[present])


def errors_by_rating(predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """Group errors by the true rating, rounded to halves: predicted (n,), true (n,)."""
    halves, groups = np.unique(np.round(true * 2) / 2, return_inverse=True)
    return errors_by_group(groups, [f"{half:g}" for half in halves], predicted, true)


def errors_by_popularity(counts: Int64Array, predicted: Float32Array, true: Float32Array) -> GroupErrors:
    """Group errors by the number of training ratings of the item: counts (n,), predicted (n,), true (n,)."""
    edges = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000]
    labels = ["0", "1"] + [f"{low:,}-{high - 1:,}" for low, high in pairwise(edges[1:])]
    labels.append(f"{edges[-1]:,} and more")
    return errors_by_group(np.searchsorted(edges, counts, side="right"), labels, predicted, true)
