"""Group the rated items that move a score into a few reasons, each a rated item with the items similar to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_server.arrays import BoolArray, FloatArray, IndexArray
from cofactor_server.ranking.directions import Float64Array

# Lowest cosine of items that count as similar. On ML-100k a higher one leaves many ratings in no reason.
SIMILAR_FROM = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Reason:
    """A rated item, and its part of a score together with those of similar rated items.

    Attributes:
        position: position of the rated item in the history.
        contribution: sum of the contributions of the item and of the similar ones.
        own_contribution: contribution of the item alone.
        n_similar: number of the similar ones.
    """

    position: int
    contribution: float
    own_contribution: float
    n_similar: int


def group_reasons(
    contributions: Float64Array, unit_vectors: FloatArray, n_reasons: int
) -> tuple[list[Reason], IndexArray]:
    """Group contributions (n,) of items with vectors (n, m) -> up to n_reasons reasons, positions of all other items.

    The item that contributes most, by absolute value, takes with it all items that are similar and move the score in
    the same direction; then the next one of the rest. Reasons are ordered by the sum of their group.
    """
    is_left: BoolArray = np.ones(len(contributions), dtype=bool)
    reasons: list[Reason] = []
    for _ in range(min(n_reasons, len(contributions))):
        leader = int(np.argmax(np.where(is_left, np.abs(contributions), -1.0)))
        if not is_left[leader]:
            break
        group = is_left & (np.sign(contributions) == np.sign(contributions[leader]))
        group &= unit_vectors @ unit_vectors[leader] >= SIMILAR_FROM
        group[leader] = True
        is_left &= ~group
        total, own = float(contributions[group].sum()), float(contributions[leader])
        reasons.append(Reason(leader, total, own, int(group.sum()) - 1))
    reasons.sort(key=lambda reason: -abs(reason.contribution))
    return reasons, np.flatnonzero(is_left)
