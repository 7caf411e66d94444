"""Compute every graph in plain torch, without blocks, unrolled loops or split layers, for comparison."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.scoring.ranking_part import similarity_columns
from cofactor_trainer.scoring.trained_model import TrainedModel

_EXCLUDED_SCORE = -1e30
_ROWS_AT_ONCE = 1 << 16


class Reference:
    """Expected outputs of every graph but embed_user, in float32 or float64.

    docs/model-format.md has the shapes of the graphs.
    """

    def __init__(self, model: TrainedModel, item_log_popularity: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.model, self.dtype = model, dtype
        self.item_factors = torch.from_numpy(model.item_factors).to(dtype)
        self.item_bias = torch.from_numpy(model.item_bias).to(dtype)
        self.item_log_popularity = item_log_popularity.to(dtype)
        self.n_items = len(model.item_bias) - 1

    def logits(self, user_factors: Tensor, user_bias: Tensor, item_rows: Tensor) -> Tensor:
        """Compute the logits of pairs: (N, d), (N,), (N,) -> (N,)."""
        if len(user_factors) == 1 and len(item_rows) > _ROWS_AT_ONCE:
            parts = torch.split(item_rows, _ROWS_AT_ONCE)  # their factors are copied
            return torch.cat([self.logits(user_factors, user_bias, part) for part in parts])
        model = self.model
        factors = self.item_factors[item_rows, : model.n_item_columns]
        user_factors = user_factors[:, : model.n_user_columns].expand(len(item_rows), -1)
        logits = user_bias + self.item_bias[item_rows] + model.global_bias
        n_dot = model.n_dot_factors
        logits = logits + (user_factors[:, :n_dot] * factors[:, :n_dot]).sum(1)
        if model.layers:
            hidden = torch.cat([user_factors[:, n_dot:], factors[:, n_dot:]], 1)
            for number, layer in enumerate(model.layers):
                hidden = hidden if number == 0 else hidden.relu()
                weight, bias = (torch.from_numpy(part).to(self.dtype) for part in (layer.weight, layer.bias))
                hidden = functional.linear(hidden, weight, bias)
            logits = logits + hidden[:, 0]
        return logits

    def ratings(self, logits: Tensor) -> Tensor:
        """Convert logits of any shape to ratings."""
        if self.model.rating_range is None:
            return logits
        low, high = self.model.rating_range
        return low + (high - low) * torch.sigmoid(logits)

    def score(
        self, user_factors: Tensor, logits: Tensor, item_rows: Tensor, popularity: Tensor, order: Tensor | None
    ) -> Tensor:
        """Compute the scores that order items for one user.

        user_factors (1, d), logits (N,) of item_rows (N,), popularity (), order (2,) or None for (1, 0) -> (N,).
        """
        score = logits + popularity * self.item_log_popularity[item_rows]
        if order is None:
            return score
        n_ranking = self.model.n_ranking_factors
        ranking = (self.item_factors[item_rows, -n_ranking:] * user_factors[:, -n_ranking:]).sum(1)
        return score + (order[0] - 1) * logits + order[1] * ranking

    def predict(self, user_factors: Tensor, user_bias: Tensor, item_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute graph predict."""
        logits = self.logits(user_factors, user_bias, item_rows)
        return logits, self.ratings(logits)

    def recommend(
        self,
        user_factors: Tensor,
        user_bias: Tensor,
        popularity_weight: Tensor,
        excluded_rows: Tensor,
        k: Tensor,
        order_weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph recommend."""
        everything = torch.arange(self.n_items)
        rows, scores, ratings = [], [], []
        for user in range(len(user_factors)):
            factors = user_factors[user : user + 1]
            logits = self.logits(factors, user_bias[user : user + 1], everything)
            order = None if order_weights is None else order_weights[user]
            score = self.score(factors, logits, everything, popularity_weight[user], order)
            row, best = self._top_k(score, excluded_rows[user], int(k))
            rows.append(row)
            scores.append(best)
            ratings.append(self.ratings(torch.where(best > 0.1 * _EXCLUDED_SCORE, logits[row], best)))
        return torch.stack(rows), torch.stack(scores), torch.stack(ratings)

    def recommend_for_rows(
        self,
        rows: Tensor,
        user_factors: Tensor,
        user_bias: Tensor,
        popularity_weight: Tensor,
        excluded_rows: Tensor,
        k: Tensor,  # noqa: ARG002 - the same inputs as recommend
        order_weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute scores and ratings of the rows that a recommend graph chose: (B, k) -> (B, k), (B, k)."""
        scores, ratings = [], []
        for user, chosen in enumerate(rows):
            factors = user_factors[user : user + 1]
            logits = self.logits(factors, user_bias[user : user + 1], chosen)
            order = None if order_weights is None else order_weights[user]
            score = self.score(factors, logits, chosen, popularity_weight[user], order)
            excluded = torch.isin(chosen, excluded_rows[user])
            scores.append(score.masked_fill(excluded, _EXCLUDED_SCORE))
            ratings.append(self.ratings(logits.masked_fill(excluded, _EXCLUDED_SCORE)))
        return torch.stack(scores), torch.stack(ratings)

    def similarity(self, item_rows: Tensor, candidate_rows: Tensor) -> Tensor:
        """Compute graph similarity."""
        vectors = self.item_factors[:, similarity_columns(self.model)]
        query = functional.normalize(vectors[item_rows], eps=0.0).nan_to_num().mean(0, keepdim=True)
        parts = torch.split(candidate_rows, _ROWS_AT_ONCE)
        similarities = [functional.cosine_similarity(query, vectors[part], eps=1e-20) for part in parts]
        return torch.cat(similarities).nan_to_num()

    def similar_items(self, item_rows: Tensor, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Compute graph similar_items."""
        scores = self.similarity(item_rows, torch.arange(self.n_items))
        return self._top_k(scores, torch.cat([item_rows, excluded_rows]), int(k))

    def similar_items_for_rows(
        self,
        rows: Tensor,
        item_rows: Tensor,
        excluded_rows: Tensor,
        k: Tensor,  # noqa: ARG002 - the same inputs as similar_items
    ) -> Tensor:
        """Compute the scores of the rows that a similar_items graph chose: (k,) -> (k,)."""
        excluded = torch.isin(rows, torch.cat([item_rows, excluded_rows]))
        return self.similarity(item_rows, rows).masked_fill(excluded, _EXCLUDED_SCORE)

    def _top_k(self, scores: Tensor, excluded_rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        scores = scores.clone()
        scores[excluded_rows[excluded_rows < self.n_items]] = _EXCLUDED_SCORE
        best, rows = torch.sort(scores, descending=True, stable=True)
        return rows[:k], best[:k]
