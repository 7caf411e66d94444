"""Maximal marginal relevance (Carbonell and Goldstein, 1998, https://doi.org/10.1145/290941.291025)."""

from __future__ import annotations

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray


def diversify(scores: FloatArray, vectors: FloatArray, diversity: float, n_picks: int) -> IndexArray:
    """Return the positions of the items, reordered so that good items come early and are unlike those before them.

    scores (n,) best first, vectors (n, q) of length 1 or 0 -> positions (n,).

    The first n_picks positions are picked one by one. Each pick maximises
    (1 - diversity) * score, scaled to 0...1, - diversity * highest cosine with an item picked before.
    The others follow in their old order. The first positions are the same for every n_picks, so that pages fit
    together.
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
