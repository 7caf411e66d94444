"""Decide which difference between two outputs is only rounding in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.trained_model import TrainedModel

# Largest difference that counts as rounding, in the unit of `relative_difference`.
TOLERANCE = 1e-5
# An ill-conditioned output may differ by this many times the error of torch itself in float32 ...
OWN_ERRORS = 4
# ... but by no more than half of what a server accepts (cofactor_server.inference.golden_check), so that every version
# that the trainer exports also loads on a processor that rounds otherwise.
LARGEST_TOLERANCE = 5e-5
# Lower scores belong to excluded rows, whose order does not matter.
EXCLUDED = -1e29


def output_units(model: TrainedModel, dataset: RatingsDataset) -> Mapping[str, float]:
    """Return the unit of every output whose unit is not 1.

    Rounding a logit moves a rating by up to a quarter of the range of the sigmoid, its steepest slope. Without a
    sigmoid logits are ratings, and their terms are as large as the rating scale. A scale of 1 to 5 has the unit 1.
    """
    if model.rating_range is not None:
        low, high = model.rating_range
        return dict.fromkeys(("ratings", "fitted"), max(1.0, (high - low) / 4))
    if model.objective == "ranking":
        return {}
    unit = max(1.0, (dataset.rating_max - dataset.rating_min) / 4)
    return dict.fromkeys(("ratings", "fitted", "logits", "scores", "user_bias", "item_bias"), unit)


def relative_difference(
    given: npt.NDArray[Any], wanted: npt.NDArray[Any], unit: float
) -> npt.NDArray[np.floating[Any]]:
    """Compare two outputs element by element, in units, or in tenths of the wanted value if these are larger.

    The scores of rows that both outputs exclude are equal. A row that only one of them excludes differs infinitely.
    """
    is_excluded = wanted < EXCLUDED
    difference = np.abs(given - wanted) / np.maximum(unit, np.abs(wanted) / 10)
    difference = np.where(is_excluded, 0, difference)
    return np.where(is_excluded == (given < EXCLUDED), difference, np.inf)
