"""Recommend for a network over a large catalogue: candidates by a matrix product, the network only for them.

Seen from one user the network is nearly linear in the item half of its first layer, near the items that this user
likes. So it is linearised at a sample of the catalogue, weighted towards what scores high there; the linear score
of every item is one product with a table that is there anyway, and the best few thousand are scored exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.graphs.exact_top_k import EXCLUDED_SCORE, exclude, top_rows
from cofactor_trainer.graphs.modules import Recommend, Scorer, take

N_PROBES = 256
# How sharply the probes' weights follow their logits.
SHARPNESS = 3.0
CANDIDATES = 2048
CANDIDATES_PER_RESULT = 4


class RecommendCandidates(Recommend):
    """Recommend for a neural network or a hybrid."""

    probe_rows: Tensor

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor) -> None:
        super().__init__(scorer, item_log_popularity)
        self.n_candidates = CANDIDATES
        probes = np.random.default_rng(0).choice(scorer.n_items, min(N_PROBES, scorer.n_items), replace=False)
        self.register_buffer("probe_rows", torch.from_numpy(np.sort(probes)))

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph recommend."""
        scorer = self.scorer
        rough = self._rough_scores(user_factors)
        rough = rough + (popularity_weight[:, None] * self.item_log_popularity + scorer.item_bias)
        n_candidates = (k * CANDIDATES_PER_RESULT + self.n_candidates).clamp(max=scorer.n_items)
        candidates, rough = top_rows(exclude(rough, excluded_rows, scorer.n_items), n_candidates)
        # In the order of rows, so that equals stay in it; the excluded ones are told by their rough score.
        order = candidates.argsort(1)
        candidates, rough = candidates.gather(1, order), rough.gather(1, order)
        scores = self._scores(user_factors, popularity_weight, candidates)
        scores = torch.where(rough < 0.1 * EXCLUDED_SCORE, torch.full_like(scores, EXCLUDED_SCORE), scores)
        wanted: int = k.item()  # type: ignore[assignment]
        torch._check(wanted >= 1)
        torch._check(wanted <= scores.shape[1])
        best, positions = torch.topk(scores, wanted)
        return self._answer(user_bias, popularity_weight, candidates.gather(1, positions), best)

    def _rough_scores(self, user_factors: Tensor) -> Tensor:
        """The linearised network over the whole catalogue: (B, d) -> (B, n_items + 1)."""
        scorer = self.scorer
        assert scorer.network is not None
        hidden = scorer.network.user_hidden(user_factors[:, scorer.n_dot :])
        logits, derivative = scorer.network.linearise(hidden[:, None] + take(scorer.item_hidden, self.probe_rows))
        weight = (logits * SHARPNESS).softmax(1)
        rough = functional.linear((weight[:, :, None] * derivative).sum(1), scorer.item_hidden)
        if not scorer.n_dot:
            return rough
        n_others = scorer.item_factors.shape[1] - scorer.n_dot
        dot = functional.pad(user_factors[:, : scorer.n_dot], (0, n_others))
        return functional.linear(dot, scorer.item_factors) + rough

    def _scores(self, user_factors: Tensor, popularity_weight: Tensor, item_rows: Tensor) -> Tensor:
        """Exact scores of item_rows (B, C), without what is the same for every item of a user."""
        scorer = self.scorer
        assert scorer.network is not None
        hidden = scorer.network.user_hidden(user_factors[:, scorer.n_dot :])
        scores: Tensor = scorer.network(hidden[:, None] + take(scorer.item_hidden, item_rows))
        if scorer.n_dot:
            factors = take(scorer.item_factors, item_rows)[:, :, : scorer.n_dot]
            scores = scores + (factors @ user_factors[:, : scorer.n_dot, None])[:, :, 0]
        scores = scores + take(scorer.item_bias, item_rows)
        return scores + popularity_weight[:, None] * take(self.item_log_popularity, item_rows)
