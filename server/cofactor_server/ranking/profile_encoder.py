"""Encode profile answers (from sign-up) as the numeric columns that the embed_user graph takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cofactor.v1.manifest_pb2 import ProfileFeature
from cofactor_server.arrays import FloatArray
from cofactor_server.errors import InvalidField, quoted

# Standard deviations from the mean. A number further away is a mistake of the caller, and its square would outweigh
# every rating.
MAX_DEVIATION = 100.0


class ProfileEncoder:
    """Encodes answers such as {"age": "24"}, as Manifest.profile_features describes."""

    def __init__(self, features: Sequence[ProfileFeature]) -> None:
        self._features = {feature.key: feature for feature in features}

    @property
    def n_columns(self) -> int:
        """Return P, the number of columns; 0 if the model has no profile features."""
        columns, _ = self.encode({}, "profile")
        return columns.size

    def encode(self, profile: Mapping[str, str], field: str) -> tuple[FloatArray, list[str]]:
        """Return columns (1, P) and the ignored keys, sorted. The columns of a missing answer are 0.

        Raises InvalidField if a numeric answer is not a number or is far outside the training data.
        """
        ignored = sorted(key for key in profile if key not in self._features)
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
    """Return the standardised answer and its square, zeros if there is no answer."""
    if answer is None:
        return [0.0, 0.0]
    try:
        deviation = (float(answer) - feature.numeric.mean) / (feature.numeric.scale or 1.0)
    except ValueError:
        raise InvalidField(field, f"must be a number, not {quoted(answer)}") from None
    if not math.isfinite(deviation) or abs(deviation) > MAX_DEVIATION:
        limit = f"{MAX_DEVIATION:g} standard deviations of the training data's mean"
        raise InvalidField(field, f"must be a number within {limit}, not {quoted(answer)}")
    return [deviation, deviation * deviation]
