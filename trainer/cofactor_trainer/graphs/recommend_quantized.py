"""Recommend from 8-bit codes of the items: less memory to read, and exact scores for the best items.

The codes rank the whole catalogue roughly, bias and popularity included. The items that rank highest are scored again
from the float32 table. The returned scores are therefore exact; only an item that the rough ranking misses can be lost.
The export measures how many are lost. Rough scores stay integers, because converting each of them to a float takes as
long as computing it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.graphs.item_codes import MAX_CODE, ZERO_POINT
from cofactor_trainer.graphs.recommend import Recommend, Users
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.top_k import EXCLUDED_SCORE, top_k_rows

# Lower than every rough score, whose magnitude is below 2^7 * 2^7 times the number of codes.
EXCLUDED_ROUGH_SCORE = -(1 << 30)
# Items that are scored exactly: 64, and 4 more for every result.
CANDIDATES = 64
CANDIDATES_PER_RESULT = 4


class RecommendQuantized(Recommend):
    """Recommend for a dot product and one user. It may miss one of the best items; the scores are exact."""

    item_codes: Tensor
    item_code_basis: Tensor
    item_code_steps: Tensor

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor, tables: Mapping[str, Tensor]) -> None:
        super().__init__(scorer, item_log_popularity)
        for name in ("item_codes", "item_code_basis", "item_code_steps"):
            self.register_buffer(name, tables[name])

    def find(self, users: Users, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best items of one user, as `Recommend.find` does."""
        query = self.query(users)
        assert query is not None
        n_items = self.scorer.n_items
        beyond = torch.arange(n_items, self.item_codes.shape[1])[None]
        rough = self._rough_scores(users, query)
        rough = rough.scatter(1, torch.cat([excluded_rows, beyond], 1), EXCLUDED_ROUGH_SCORE)
        n_candidates = (k * CANDIDATES_PER_RESULT + CANDIDATES).clamp(max=n_items)
        candidates, rough = top_k_rows(rough, n_candidates)
        # In the order of rows, so that equal scores stay in that order.
        order = candidates.argsort(1)
        candidates, rough = candidates.gather(1, order), rough.gather(1, order)
        scores = self.score_rows(users, query, candidates)
        # Excluded items are recognised by their rough score.
        scores = torch.where(rough == EXCLUDED_ROUGH_SCORE, EXCLUDED_SCORE, scores)
        best, positions = torch.topk(scores, k.item())  # type: ignore[arg-type]
        return candidates.gather(1, positions), best

    def _rough_scores(self, users: Users, query: Tensor) -> Tensor:
        """Score the whole catalogue in integers: query (1, q) -> int32 (1, padded_length(n_items + 1))."""
        popularity_step, mean_step, bias_step = self.item_code_steps[:, None, None].unbind()
        bias_step = users.weighted(bias_step)
        signed = torch.cat([query @ self.item_code_basis, users.popularity * popularity_step], 1)
        mean = signed.sum(1, keepdim=True) * mean_step
        unsigned = torch.cat([mean.relu(), (-mean).relu(), bias_step], 1)
        step = torch.maximum(
            signed.abs().amax(1, keepdim=True) / (MAX_CODE - ZERO_POINT),
            unsigned.amax(1, keepdim=True) / MAX_CODE,
        )
        codes = torch.cat([torch.round(signed / step) + ZERO_POINT, torch.round(unsigned / step)], 1)
        codes = functional.pad(codes, (0, self.item_codes.shape[0] - codes.shape[1])).to(torch.uint8)
        return torch.onnx.ops.symbolic(
            "MatMulInteger",
            (codes, self.item_codes),
            dtype=torch.int32,
            shape=(1, self.item_codes.shape[1]),
        )
