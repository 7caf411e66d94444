"""Recommend by scoring the whole catalogue."""

from __future__ import annotations

from torch import Tensor, nn

from cofactor_trainer.graphs.scorer import Scorer, gather_rows
from cofactor_trainer.graphs.top_k import mask_excluded, top_k_rows


class Recommend(nn.Module):
    """Graph recommend: the best items of the whole catalogue for every user."""

    item_log_popularity: Tensor

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor) -> None:
        super().__init__()
        self.scorer = scorer
        self.register_buffer("item_log_popularity", item_log_popularity)

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph recommend; docs/model-format.md has the shapes."""
        offset = popularity_weight[:, None] * self.item_log_popularity + self.scorer.item_bias
        scores = mask_excluded(self.scorer.catalogue(user_factors, offset), excluded_rows, self.scorer.n_items)
        item_rows, best = top_k_rows(scores, k)
        return self._outputs(user_bias, popularity_weight, item_rows, best)

    def dot_product_scores(self, user_factors: Tensor, popularity_weight: Tensor, item_rows: Tensor) -> Tensor:
        """Score items by a dot product, without the terms that are equal for all items of a user.

        user_factors (B, d), popularity_weight (B,), item_rows (B, R) -> (B, R).
        """
        scorer = self.scorer
        scores = (gather_rows(scorer.item_factors, item_rows) @ user_factors[:, :, None])[:, :, 0]
        scores = scores + gather_rows(scorer.item_bias, item_rows)
        return scores + popularity_weight[:, None] * gather_rows(self.item_log_popularity, item_rows)

    def _outputs(
        self, user_bias: Tensor, popularity_weight: Tensor, item_rows: Tensor, best: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Complete the scores of the chosen items and compute their ratings.

        The terms that are equal for all items of a user do not change the order, so they are added to k scores only.

        user_bias (B,), popularity_weight (B,), item_rows (B, k), best (B, k) -> rows, scores, ratings, (B, k) each.
        """
        best = best + (user_bias + self.scorer.global_bias)[:, None]
        popularity = popularity_weight[:, None] * gather_rows(self.item_log_popularity, item_rows)
        return item_rows, best, self.scorer.ratings(best - popularity)
