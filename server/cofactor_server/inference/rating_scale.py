"""Keep predicted ratings on the rating scale of the model."""

from __future__ import annotations

import numpy as np

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_server.arrays import FloatArray


class RatingScale:
    """The lowest and the highest rating that a model may answer.

    The graphs predict without these bounds: a sigmoid may map to a wider interval, and a model without a sigmoid has no
    bounds at all. The scores that order items are not clipped. A ranking model has no scale.
    """

    def __init__(self, manifest: Manifest) -> None:
        is_bounded = manifest.objective == "rating"
        # Arrays without dimensions: with Python floats, the two functions below take four times as long.
        self._low = np.array(manifest.rating_min if is_bounded else -np.inf, dtype=np.float32)
        self._high = np.array(manifest.rating_max if is_bounded else np.inf, dtype=np.float32)

    def clip(self, ratings: FloatArray) -> FloatArray:
        """Return the ratings, each at least the lowest and at most the highest; NaN stays NaN.

        For ten ratings this takes 0.5 microseconds, and np.clip 3.
        """
        clipped: FloatArray = np.minimum(np.maximum(ratings, self._low), self._high)
        return clipped
