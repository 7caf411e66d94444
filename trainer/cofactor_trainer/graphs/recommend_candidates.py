"""Recommend for a network over a large catalogue: a linear model picks candidates, and the network scores only those.

For one user the network is nearly linear in the item half of its first layer, in the region of the items that this user
likes. It is linearised there: at a sample of the catalogue, weighted towards the items with a high logit. The linear
score of every item is one matrix product with a table that the graph holds anyway. The best few thousand items are
scored exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.graphs.recommend import Recommend, Users
from cofactor_trainer.graphs.scorer import Scorer, gather_rows
from cofactor_trainer.graphs.top_k import EXCLUDED_SCORE, mask_excluded, top_k_rows

# Items at which the network is linearised.
N_PROBES = 256
# Factor of the logits in the softmax that weights the probes.
SHARPNESS = 3.0
# Items that are scored exactly: 2048, and 4 more for every result.
CANDIDATES = 2048
CANDIDATES_PER_RESULT = 4


class RecommendFromCandidates(Recommend):
    """Recommend for a neural network or a hybrid. It may miss one of the best items; the scores are exact."""

    probe_rows: Tensor

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor) -> None:
        super().__init__(scorer, item_log_popularity)
        self.n_candidates = CANDIDATES
        probes = np.random.default_rng(0).choice(scorer.n_items, min(N_PROBES, scorer.n_items), replace=False)
        self.register_buffer("probe_rows", torch.from_numpy(np.sort(probes)))

    def find(self, users: Users, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best items of every user, as `Recommend.find` does, but for the items that it misses."""
        scorer, query = self.scorer, self.query(users)
        rough = users.weighted(self._rough_network(users))
        if query is not None:
            rough = functional.linear(query, scorer.item_factors) + rough
        rough = rough + (users.popularity * self.item_log_popularity + users.weighted_items(scorer.item_bias))
        n_candidates = (k * CANDIDATES_PER_RESULT + self.n_candidates).clamp(max=scorer.n_items)
        candidates, rough = top_k_rows(mask_excluded(rough, excluded_rows, scorer.n_items), n_candidates)
        # In the order of rows, so that equal scores stay in that order.
        order = candidates.argsort(1)
        candidates, rough = candidates.gather(1, order), rough.gather(1, order)
        scores = self._exact_scores(users, query, candidates)
        # Excluded items are recognised by their rough score.
        scores = torch.where(rough < 0.1 * EXCLUDED_SCORE, torch.full_like(scores, EXCLUDED_SCORE), scores)
        wanted: int = k.item()  # type: ignore[assignment]
        torch._check(wanted >= 1)
        torch._check(wanted <= scores.shape[1])
        best, positions = torch.topk(scores, wanted)
        return candidates.gather(1, positions), best

    def _rough_network(self, users: Users) -> Tensor:
        """Apply the linearised network to the whole catalogue -> (B, n_items + 1)."""
        scorer, network = self.scorer, self.scorer.network
        assert network is not None
        hidden = scorer.user_hidden(users.factors)
        logits, derivative = network.linearise(hidden[:, None] + gather_rows(scorer.item_hidden, self.probe_rows))
        weight = (logits * SHARPNESS).softmax(1)
        return functional.linear((weight[:, :, None] * derivative).sum(1), scorer.item_hidden)

    def _exact_scores(self, users: Users, query: Tensor | None, item_rows: Tensor) -> Tensor:
        """Score item_rows (B, C) exactly, without the terms that are equal for all items of a user -> (B, C)."""
        scorer = self.scorer
        scores = users.weighted(self._network(users, gather_rows(scorer.item_hidden, item_rows)))
        if query is not None:
            return scores + self.score_rows(users, query, item_rows)
        scores = scores + users.weighted(gather_rows(scorer.item_bias, item_rows))
        return scores + users.popularity * gather_rows(self.item_log_popularity, item_rows)
