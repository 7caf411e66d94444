"""Sign-up answers as the columns that embed_user takes (Manifest.profile_features)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cofactor.v1.manifest_pb2 import ProfileFeature
from cofactor_server.arrays import FloatArray
from cofactor_server.errors import InvalidField, quoted

# Standard deviations from the mean; further out is a slip of the caller, and its square would swamp every rating.
LARGEST_DEVIATION = 100.0


class ProfileEncoder:
    """Turns answers such as {"age": "24"} into numbers."""

    def __init__(self, features: Sequence[ProfileFeature]) -> None:
        self._features = {feature.key: feature for feature in features}

    @property
    def keys(self) -> list[str]:
        """The answers that the model understands."""
        return list(self._features)

    def encode(self, profile: Mapping[str, str], field: str) -> tuple[FloatArray | None, list[str]]:
        """Columns (1, P), None where the model has no features, and the keys that were of no use, sorted.

        Raises InvalidField for a numeric answer that is no number, or far off what the model was trained on.
        """
        ignored = sorted(key for key in profile if key not in self._features)
        if not self._features:
            return None, ignored
        columns: list[float] = []
        for key, feature in self._features.items():
            answer = profile.get(key)
            if feature.WhichOneof("kind") == "numeric":
                columns += _numeric(feature, answer, f'{field}["{key}"]')
                continue
            categories = list(feature.categorical.categories)
            columns += [float(category == answer) for category in categories]
            if answer is not None and answer not in categories:
                ignored.append(key)
        return np.array([columns], dtype=np.float32), sorted(ignored)


def _numeric(feature: ProfileFeature, answer: str | None, field: str) -> list[float]:
    if answer is None:
        return [0.0, 0.0]
    try:
        value = (float(answer) - feature.numeric.mean) / (feature.numeric.scale or 1.0)
    except ValueError:
        raise InvalidField(field, f"must be a number, not {quoted(answer)}") from None
    if not math.isfinite(value) or abs(value) > LARGEST_DEVIATION:
        raise InvalidField(field, "is not a number, or far from every one the model was trained on")
    return [value, value * value]
