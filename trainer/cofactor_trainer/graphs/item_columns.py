"""Score a large catalogue for one user from a table with one row per factor.

To multiply one row by a matrix, ONNX Runtime runs through the matrix in the order of memory and adds a multiple of each
matrix row to all scores. With one row per factor it reads at the speed of memory. With one row per item it takes 1.4
times as long, because it sums the products of every item across a register.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.graphs.graph_spec import table_slice_name
from cofactor_trainer.graphs.recommend import Recommend, Users
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.similarity import SimilarItems
from cofactor_trainer.graphs.top_k import mask_excluded, padded_length, top_k_rows


def build_item_columns(
    item_factors: Float32Array, item_bias: Float32Array, item_log_popularity: Float32Array, inverse_norms: Float32Array
) -> Float32Array:
    """Build the table item_columns: one row per factor, then rows of bias, log popularity and inverse norms.

    item_factors (n, q), the others (n,) -> (q + 3, padded_length(n)).
    """
    n_rows, n_factors = item_factors.shape
    columns = np.zeros((n_factors + 3, padded_length(n_rows)), dtype=np.float32)
    # Transposed in blocks: numpy would read the whole table once per factor.
    for start in range(0, n_rows, 1 << 14):
        block = item_factors[start : start + (1 << 14)]
        columns[:n_factors, start : start + len(block)] = block.T
    for row, values in enumerate((item_bias, item_log_popularity, inverse_norms), n_factors):
        columns[row, :n_rows] = values
    return columns


class RecommendColumnwise(Recommend):
    """Exact Recommend for a dot product and one user; one matrix product includes bias and popularity."""

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor, item_columns: Tensor) -> None:
        super().__init__(scorer, item_log_popularity)
        self.register_buffer(table_slice_name("item_columns", 0), item_columns[: scorer.n_user_factors + 2])

    def find(self, users: Users, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best items of one user, as `Recommend.find` does."""
        factors = self.query(users)
        assert factors is not None
        query = torch.cat([factors, users.weighted(torch.ones_like(users.popularity)), users.popularity], 1)
        scores = query @ self.get_buffer(table_slice_name("item_columns", 0))
        return top_k_rows(mask_excluded(scores, excluded_rows, self.scorer.n_items), k)


class SimilarItemsColumnwise(SimilarItems):
    """SimilarItems for a dot product over a large catalogue."""

    def __init__(self, scorer: Scorer, item_inverse_norms: Tensor, item_columns: Tensor) -> None:
        super().__init__(scorer, item_inverse_norms)
        n_factors = scorer.item_factors.shape[1]
        self.norms_name = table_slice_name("item_columns", n_factors + 2)
        self.register_buffer(table_slice_name("item_columns", 0), item_columns[:n_factors])
        self.register_buffer(self.norms_name, item_columns[n_factors + 2 :])

    def forward(self, item_rows: Tensor, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Compute graph similar_items; docs/model-format.md has the shapes."""
        scores = self.query(item_rows) @ self.get_buffer(table_slice_name("item_columns", 0))
        scores = scores * self.get_buffer(self.norms_name)
        masked = mask_excluded(scores, torch.cat([excluded_rows, item_rows])[None], self.n_items)
        similar_rows, best = top_k_rows(masked, k)
        return similar_rows[0], best[0]
