"""Encode the attributes of a new item as the numeric columns that the embed_item graph takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cofactor.v1.manifest_pb2 import ProfileFeature
from cofactor_server.arrays import FloatArray

# A number further from the mean, in standard deviations, is cut to this.
MAX_DEVIATION = 100.0
# The value of an attribute: a number, or any number of texts.
Evidence = float | Sequence[str]


class ItemFeatureEncoder:
    """Encodes attributes such as {"genres": ["Drama"]}, as Manifest.item_features describes."""

    def __init__(self, features: Sequence[ProfileFeature]) -> None:
        self._features = {feature.key: feature for feature in features}

    def is_numeric(self, key: str) -> bool | None:
        """Return True for an attribute that is a number, False for one of texts, None for one that is not used."""
        feature = self._features.get(key)
        return None if feature is None else feature.WhichOneof("kind") == "numeric"

    def encode(self, attributes: Mapping[str, Evidence]) -> tuple[FloatArray, list[str]]:
        """Return columns (1, P) and the ignored keys, sorted. The columns of a missing attribute are 0.

        The attributes are those that the model uses, of the right kind. One of texts is ignored if no text is known.
        """
        columns: list[float] = []
        ignored: list[str] = []
        for key, feature in self._features.items():
            value = attributes.get(key)
            if feature.WhichOneof("kind") == "numeric":
                columns += _numeric(feature, value) if isinstance(value, float) else [0.0, 0.0]
                continue
            texts = () if value is None or isinstance(value, float) else value
            categories = list(feature.categorical.categories)
            columns += [float(category in texts) for category in categories]
            if texts and not set(texts).intersection(categories):
                ignored.append(key)
        return np.array([columns], dtype=np.float32).reshape(1, -1), sorted(ignored)


def _numeric(feature: ProfileFeature, number: float) -> list[float]:
    """Return the standardised number and its square."""
    deviation = (number - feature.numeric.mean) / (feature.numeric.scale or 1.0)
    deviation = min(max(deviation, -MAX_DEVIATION), MAX_DEVIATION)
    return [deviation, deviation * deviation]
