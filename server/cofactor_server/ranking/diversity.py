"""Maximal marginal relevance (Carbonell and Goldstein, 1998, https://doi.org/10.1145/290941.291025)."""

from __future__ import annotations

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray


def diversified(scores: FloatArray, vectors: FloatArray, diversity: float, n_picks: int) -> IndexArray:
    """Positions in an order in which each next item is good and unlike those before it.

    scores (n,) best first, vectors (n, q) of length 1 or 0 -> positions (n,): n_picks by maximal marginal relevance,
    with scores scaled to 0...1 against the highest cosine with an item picked before; then the others in their
    old order.
    The first n_picks do not depend on n_picks, so that pages fit together.
    """
    spread = float(scores[0] - scores[-1])
    relevance = (scores - scores[-1]) / spread if spread > 0 else np.zeros_like(scores)
    closeness = np.zeros_like(scores)
    left = np.ones(len(scores), dtype=bool)
    picked: list[int] = []
    for step in range(min(n_picks, len(scores))):
        value = (1 - diversity) * relevance - diversity * closeness
        best = int(np.argmax(np.where(left, value, -np.inf)))
        picked.append(best)
        left[best] = False
        cosines = vectors @ vectors[best]
        closeness = cosines if step == 0 else np.maximum(closeness, cosines)
    return np.concatenate([np.array(picked, dtype=np.int64), np.flatnonzero(left)])
