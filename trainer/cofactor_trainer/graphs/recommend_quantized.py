"""Recommend from 8-bit codes of the items: a fraction of the memory to read, and exact scores for the best of them.

The codes rank the catalogue roughly, bias and popularity included; what ranks high is scored again from the float32
table, so that scores are exact, and only an item that the rough ranking misses can be lost; the export measures how
many. Rough scores stay integers: to turn every one into a number of its own scale takes as long as to compute it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.graphs.exact_top_k import EXCLUDED_SCORE, top_rows
from cofactor_trainer.graphs.item_codes import LARGEST, ZERO
from cofactor_trainer.graphs.modules import Recommend, Scorer

# Below every rough score, which is below 2^7 * 2^7 times the number of codes.
EXCLUDED_ROUGH_SCORE = -(1 << 30)
# Candidates that are scored exactly, for k results.
CANDIDATES_PER_RESULT = 4
MORE_CANDIDATES = 64


class RecommendQuantized(Recommend):
    """Recommend for a dot product and one user."""

    item_codes: Tensor
    item_code_basis: Tensor
    item_code_steps: Tensor

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor, tables: Mapping[str, Tensor]) -> None:
        super().__init__(scorer, item_log_popularity)
        for name in ("item_codes", "item_code_basis", "item_code_steps"):
            self.register_buffer(name, tables[name])

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph recommend, for B = 1."""
        n_items = self.scorer.n_items
        beyond = torch.arange(n_items, self.item_codes.shape[1])[None]
        rough = self._rough_scores(user_factors, popularity_weight)
        rough = rough.scatter(1, torch.cat([excluded_rows, beyond], 1), EXCLUDED_ROUGH_SCORE)
        n_candidates = (k * CANDIDATES_PER_RESULT + MORE_CANDIDATES).clamp(max=n_items)
        candidates, rough = top_rows(rough, n_candidates)
        # In the order of rows, so that equals stay in it; the excluded ones are told by their rough score.
        order = candidates.argsort(1)
        candidates, rough = candidates.gather(1, order), rough.gather(1, order)
        scores = self.scores(user_factors, popularity_weight, candidates)
        scores = torch.where(rough == EXCLUDED_ROUGH_SCORE, EXCLUDED_SCORE, scores)
        best, positions = torch.topk(scores, k.item())  # type: ignore[arg-type]
        return self._answer(user_bias, popularity_weight, candidates.gather(1, positions), best)

    def _rough_scores(self, user_factors: Tensor, popularity_weight: Tensor) -> Tensor:
        """(1, d), (1,) -> int32 (1, padded_length(n_items + 1))."""
        popularity_step, mean_step, bias_step = self.item_code_steps[:, None, None].unbind()
        signed = torch.cat([user_factors @ self.item_code_basis, popularity_weight[:, None] * popularity_step], 1)
        mean = signed.sum(1, keepdim=True) * mean_step
        unsigned = torch.cat([mean.relu(), (-mean).relu(), bias_step], 1)
        step = torch.maximum(
            signed.abs().amax(1, keepdim=True) / (LARGEST - ZERO), unsigned.amax(1, keepdim=True) / LARGEST
        )
        codes = torch.cat([torch.round(signed / step) + ZERO, torch.round(unsigned / step)], 1)
        codes = functional.pad(codes, (0, self.item_codes.shape[0] - codes.shape[1])).to(torch.uint8)
        return torch.onnx.ops.symbolic(
            "MatMulInteger",
            (codes, self.item_codes),
            dtype=torch.int32,
            shape=(1, self.item_codes.shape[1]),
        )
