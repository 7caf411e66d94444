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

from cofactor_trainer.graphs.recommend import Recommend
from cofactor_trainer.graphs.scorer import Network, Scorer, gather_rows
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

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph recommend; docs/model-format.md has the shapes."""
        scorer = self.scorer
        rough = self._rough_scores(user_factors)
        rough = rough + (popularity_weight[:, None] * self.item_log_popularity + scorer.item_bias)
        n_candidates = (k * CANDIDATES_PER_RESULT + self.n_candidates).clamp(max=scorer.n_items)
        candidates, rough = top_k_rows(mask_excluded(rough, excluded_rows, scorer.n_items), n_candidates)
        # In the order of rows, so that equal scores stay in that order.
        order = candidates.argsort(1)
        candidates, rough = candidates.gather(1, order), rough.gather(1, order)
        scores = self._exact_scores(user_factors, popularity_weight, candidates)
        # Excluded items are recognised by their rough score.
        scores = torch.where(rough < 0.1 * EXCLUDED_SCORE, torch.full_like(scores, EXCLUDED_SCORE), scores)
        wanted: int = k.item()  # type: ignore[assignment]
        torch._check(wanted >= 1)
        torch._check(wanted <= scores.shape[1])
        best, positions = torch.topk(scores, wanted)
        return self._outputs(user_bias, popularity_weight, candidates.gather(1, positions), best)

    @property
    def _network(self) -> Network:
        assert self.scorer.network is not None
        return self.scorer.network

    def _rough_scores(self, user_factors: Tensor) -> Tensor:
        """Apply the linearised network to the whole catalogue: (B, d) -> (B, n_items + 1)."""
        scorer, network = self.scorer, self._network
        hidden = network.user_hidden(user_factors[:, scorer.n_dot :])
        logits, derivative = network.linearise(hidden[:, None] + gather_rows(scorer.item_hidden, self.probe_rows))
        weight = (logits * SHARPNESS).softmax(1)
        rough = functional.linear((weight[:, :, None] * derivative).sum(1), scorer.item_hidden)
        if not scorer.n_dot:
            return rough
        n_others = scorer.item_factors.shape[1] - scorer.n_dot
        dot = functional.pad(user_factors[:, : scorer.n_dot], (0, n_others))
        return functional.linear(dot, scorer.item_factors) + rough

    def _exact_scores(self, user_factors: Tensor, popularity_weight: Tensor, item_rows: Tensor) -> Tensor:
        """Score item_rows (B, C) exactly, without the terms that are equal for all items of a user -> (B, C)."""
        scorer, network = self.scorer, self._network
        hidden = network.user_hidden(user_factors[:, scorer.n_dot :])
        scores: Tensor = network(hidden[:, None] + gather_rows(scorer.item_hidden, item_rows))
        if scorer.n_dot:
            factors = gather_rows(scorer.item_factors, item_rows)[:, :, : scorer.n_dot]
            scores = scores + (factors @ user_factors[:, : scorer.n_dot, None])[:, :, 0]
        scores = scores + gather_rows(scorer.item_bias, item_rows)
        return scores + popularity_weight[:, None] * gather_rows(self.item_log_popularity, item_rows)
