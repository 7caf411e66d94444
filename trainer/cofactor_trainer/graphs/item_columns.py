"""Item factors column by column: one user's scores of a large catalogue are then read at the speed of memory.

ONNX Runtime's product of one row and a matrix runs through the matrix as it lies in memory, adding a multiple of
each of its rows to all scores. With a row for every factor it reads as fast as memory gives; with a row for every
item it takes 1.4 times as long, for it sums every item's products across a register.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.graphs.exact_top_k import exclude, padded_length, top_rows
from cofactor_trainer.graphs.modules import Recommend, Scorer, SimilarItems
from cofactor_trainer.graphs.onnx_writer import part_of_table


def item_columns(
    item_factors: Float32Array, item_bias: Float32Array, item_log_popularity: Float32Array, inverse_norms: Float32Array
) -> Float32Array:
    """(n, q), (n,), (n,), (n,) -> (q + 3, padded_length(n)): a row for every factor, then one for every other."""
    n_rows, n_factors = item_factors.shape
    columns = np.zeros((n_factors + 3, padded_length(n_rows)), dtype=np.float32)
    # In parts: column by column, the whole table would be read once for each.
    for start in range(0, n_rows, 1 << 14):
        part = item_factors[start : start + (1 << 14)]
        columns[:n_factors, start : start + len(part)] = part.T
    for row, others in enumerate((item_bias, item_log_popularity, inverse_norms), n_factors):
        columns[row, :n_rows] = others
    return columns


class RecommendOne(Recommend):
    """Recommend for a dot product and one user, exact; bias and popularity are part of the one matrix product."""

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor, item_columns: Tensor) -> None:
        super().__init__(scorer, item_log_popularity)
        self.register_buffer(part_of_table("item_columns", 0), item_columns[: scorer.n_user_factors + 2])

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph recommend, for B = 1."""
        weights = popularity_weight[:, None]
        query = torch.cat([user_factors, torch.ones_like(weights), weights], 1)
        scores = query @ self.get_buffer(part_of_table("item_columns", 0))
        item_rows, best = top_rows(exclude(scores, excluded_rows, self.scorer.n_items), k)
        return self._answer(user_bias, popularity_weight, item_rows, best)


class SimilarItemsByColumn(SimilarItems):
    """SimilarItems for a dot product over a large catalogue."""

    def __init__(self, scorer: Scorer, item_inverse_norms: Tensor, item_columns: Tensor) -> None:
        super().__init__(scorer, item_inverse_norms)
        n_factors = scorer.n_user_factors
        self.norms_name = part_of_table("item_columns", n_factors + 2)
        self.register_buffer(part_of_table("item_columns", 0), item_columns[:n_factors])
        self.register_buffer(self.norms_name, item_columns[n_factors + 2 :])

    def forward(self, item_rows: Tensor, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """See docs/model-format.md, graph similar_items."""
        scores = self.query(item_rows) @ self.get_buffer(part_of_table("item_columns", 0))
        scores = scores * self.get_buffer(self.norms_name)
        excluded = exclude(scores, torch.cat([excluded_rows, item_rows])[None], self.n_items)
        similar_rows, best = top_rows(excluded, k)
        return similar_rows[0], best[0]
