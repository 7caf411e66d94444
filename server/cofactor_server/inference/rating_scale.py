"""Keep predicted ratings on the rating scale of the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_server.arrays import FloatArray

# The function that np.clip calls after two layers of Python, which take six times as long (numpy issue 14281). It has
# no public name.
_clip: Callable[..., FloatArray] = getattr(getattr(getattr(np, "_core", None), "umath", None), "clip", np.clip)


class RatingScale:
    """The lowest and the highest rating that a model may answer.

    The graphs predict without these bounds: a sigmoid may map to a wider interval, and a model without a sigmoid has no
    bounds at all. The scores that order items are not clipped. A ranking model has no scale.
    """

    def __init__(self, manifest: Manifest) -> None:
        is_bounded = manifest.objective == "rating"
        # Arrays without dimensions: Python floats would be converted in every call.
        self._low = np.array(manifest.rating_min if is_bounded else -np.inf, dtype=np.float32)
        self._high = np.array(manifest.rating_max if is_bounded else np.inf, dtype=np.float32)

    def clip(self, ratings: FloatArray) -> FloatArray:
        """Return the ratings, each at least the lowest and at most the highest; NaN stays NaN."""
        return _clip(ratings, self._low, self._high)
