"""Recommend by scoring the whole catalogue."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.graphs.scorer import Scorer, gather_rows
from cofactor_trainer.graphs.top_k import EXCLUDED_SCORE, mask_excluded, top_k_rows


class Users(NamedTuple):
    """The users of a run and the order of each.

    Attributes:
        factors: (B, d).
        bias: (B,).
        popularity_weight: (B,).
        order_weights: (B, 2), weights of the rating logit and of the ranking logit; None for (1, 0).
    """

    factors: Tensor
    bias: Tensor
    popularity_weight: Tensor
    order_weights: Tensor | None = None

    @property
    def popularity(self) -> Tensor:
        """Return the weights of popularity as a column, (B, 1)."""
        return self.popularity_weight[:, None]

    def weighted_items(self, values: Tensor) -> Tensor:
        """Multiply a table of items, (n,), by the weight of the rating logit -> (n,) or (B, n).

        The table keeps its shape, so that the graph reads it from tables.bin.
        """
        return values if self.order_weights is None else self.order_weights[:, :1] * values

    def weighted(self, logits: Tensor) -> Tensor:
        """Multiply rating logits or parts of them, (B, ...), by their weight in the order."""
        if self.order_weights is None:
            return logits
        return logits * self.order_weights[:, :1].reshape(-1, *[1] * (logits.ndim - 1))


class Recommend(nn.Module):
    """Graph recommend: the best items of the whole catalogue for every user.

    Args:
        scorer: logits and ratings.
        item_log_popularity: (n_items + 1,).
        reads_network: False for a graph that may leave out the network, because the weight of the rating logit is 0.
    """

    item_log_popularity: Tensor

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor, *, reads_network: bool = True) -> None:
        super().__init__()
        self.scorer = scorer
        self.reads_network = reads_network and scorer.network is not None
        self.register_buffer("item_log_popularity", item_log_popularity)

    def forward(
        self,
        user_factors: Tensor,
        user_bias: Tensor,
        popularity_weight: Tensor,
        excluded_rows: Tensor,
        k: Tensor,
        order_weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph recommend; docs/model-format.md has the shapes."""
        users = Users(user_factors, user_bias, popularity_weight, order_weights)
        item_rows, best = self.find(users, excluded_rows, k)
        return self._outputs(users, item_rows, best)

    def find(self, users: Users, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best items of every user: excluded_rows (B, E), k (1,) -> rows (B, k), scores (B, k).

        The scores lack the terms that are equal for all items of a user.
        """
        scores = users.popularity * self.item_log_popularity + users.weighted_items(self.scorer.item_bias)
        query = self.query(users)
        if query is not None:
            scores = functional.linear(query, self.scorer.item_factors) + scores
        if self.reads_network:
            network = self._network(users, self.scorer.item_hidden)
            scores = users.weighted(network) + scores
        return top_k_rows(mask_excluded(scores, excluded_rows, self.scorer.n_items), k)

    def query(self, users: Users) -> Tensor | None:
        """Return what multiplies the item factors, (B, q); None if no column of them takes part.

        Zeros for the network's columns keep the table whole: a slice of it would be a second copy.
        """
        scorer, factors = self.scorer, users.factors
        n_others = scorer.item_factors.shape[1] - scorer.n_dot - scorer.n_ranking
        if users.order_weights is None:
            if not scorer.n_dot:
                return None
            return functional.pad(factors[:, : scorer.n_dot], (0, n_others)) if n_others else factors
        ranking = factors[:, scorer.n_user_columns :] * users.order_weights[:, 1:]
        if scorer.n_dot:
            dot = users.weighted(factors[:, : scorer.n_dot])
            return torch.cat([functional.pad(dot, (0, n_others)) if n_others else dot, ranking], 1)
        return functional.pad(ranking, (n_others, 0))

    def score_rows(self, users: Users, query: Tensor, item_rows: Tensor) -> Tensor:
        """Score items by a dot product, without the terms that are equal for all items of a user.

        query (B, q), item_rows (B, R) -> (B, R).
        """
        scorer = self.scorer
        scores = (gather_rows(scorer.item_factors, item_rows) @ query[:, :, None])[:, :, 0]
        scores = scores + users.weighted(gather_rows(scorer.item_bias, item_rows))
        return scores + users.popularity * gather_rows(self.item_log_popularity, item_rows)

    def _network(self, users: Users, item_hidden: Tensor) -> Tensor:
        """Compute the logits of the network: item_hidden (n, h) or (B, n, h) -> (B, n)."""
        network = self.scorer.network
        assert network is not None
        logits: Tensor = network(self.scorer.user_hidden(users.factors)[:, None] + item_hidden)
        return logits

    def _outputs(self, users: Users, item_rows: Tensor, best: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Complete the scores of the chosen items and compute their ratings.

        The terms that are equal for all items of a user do not change the order, so they are added to k scores only.

        item_rows (B, k), best (B, k) -> rows, scores, ratings, (B, k) each.
        """
        constant = (users.bias + self.scorer.global_bias)[:, None]
        best = best + users.weighted(constant)
        if users.order_weights is None:
            popularity = users.popularity * gather_rows(self.item_log_popularity, item_rows)
            return item_rows, best, self.scorer.ratings(best - popularity)
        logits = torch.where(best > 0.1 * EXCLUDED_SCORE, self._rating_logits(users, item_rows) + constant, best)
        return item_rows, best, self.scorer.ratings(logits)

    def _rating_logits(self, users: Users, item_rows: Tensor) -> Tensor:
        """Compute the rating logits of item_rows (B, k), without the constant terms -> (B, k)."""
        scorer = self.scorer
        logits = gather_rows(scorer.item_bias, item_rows)
        if scorer.n_dot:
            factors = gather_rows(scorer.item_factors, item_rows)[:, :, : scorer.n_dot]
            logits = logits + (factors @ users.factors[:, : scorer.n_dot, None])[:, :, 0]
        if scorer.network is not None:
            logits = logits + self._network(users, gather_rows(scorer.item_hidden, item_rows))
        return logits
