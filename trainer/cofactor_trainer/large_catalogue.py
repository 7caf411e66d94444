"""Recommend for catalogues that no cache holds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.graphs import Recommend, Scorer
from cofactor_trainer.onnx_file import part_of_table
from cofactor_trainer.top_k import BLOCK_SIZE, PADDING_SCORE, exclude, top_rows

# Scores of so many items and 32 users stay in a core's cache between one operation and the next.
PART_ROWS = 1 << 15
# Every part is three nodes.
MAX_PARTS = 64


class RecommendInParts(Recommend):
    """Recommend for a dot product, exact, reading the table once.

    Biases and popularity are added to one part of the catalogue at a time, while it is in the cache: over the whole
    catalogue every addition would go through memory, which for a batch of users takes as long as the matrix product.
    The parts are views of the table, not copies.
    """

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor) -> None:
        super().__init__(scorer, item_log_popularity)
        n_rows = scorer.n_items + 1
        step = max(PART_ROWS, -(-n_rows // MAX_PARTS))
        self.parts = [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
        tables = {
            "item_factors": scorer.item_factors,
            "item_bias": scorer.item_bias,
            "item_log_popularity": item_log_popularity,
        }
        for name, table in tables.items():
            for start, stop in self.parts:
                self.register_buffer(part_of_table(name, start), table[start:stop])

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph recommend."""
        scores = [self._part(start, user_factors, popularity_weight) for start, _ in self.parts]
        # Whole blocks, so that nothing pads (and copies) all scores later.
        scores[-1] = functional.pad(scores[-1], (0, -(self.scorer.n_items + 1) % BLOCK_SIZE), value=PADDING_SCORE)
        item_rows, best = top_rows(exclude(torch.cat(scores, 1), excluded_rows, self.scorer.n_items), k)
        return self._answer(user_bias, popularity_weight, item_rows, best)

    def _part(self, start: int, user_factors: Tensor, popularity_weight: Tensor) -> Tensor:
        factors, bias, popularity = (
            self.get_buffer(part_of_table(name, start)) for name in ("item_factors", "item_bias", "item_log_popularity")
        )
        return functional.linear(user_factors, factors, bias) + popularity_weight[:, None] * popularity
