"""Train a ranking of very many users and items with a softmax over a sample of the catalogue.

The loss is that of `softmax_ranking`. Three things save memory: a user is the sum of the history and has no own vector;
a step computes gradients of the rows that it touches only; and the optimiser has one number of state a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.architectures.base import RatingModel, embedding_table
from cofactor_trainer.architectures.batches import Batch, rating_tensors, user_batches
from cofactor_trainer.architectures.collapse import append_unknown_row, rarely_rated_items
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.architectures.row_adagrad import RowAdagrad
from cofactor_trainer.architectures.sampled_softmax import draw_candidates, replace_by_gradient
from cofactor_trainer.architectures.softmax_ranking import HISTORY_DROPOUT, RATINGS_AT_ONCE, WeightScale
from cofactor_trainer.data.dataset import Float32Array, RatingsDataset, row_counts
from cofactor_trainer.scoring.trained_model import TrainedModel

_INITIAL_STD = 0.05


class SparseRanking(RatingModel):
    """Softmax over a sample of the catalogue, given a user's history.

    Attributes:
        history_factors: (n_items, n_factors), history vectors, summed over the items that a user rated.
        item_factors: (n_items, n_factors).
        item_bias: (n_items,), initially the log of the popularity.
        rated_shares: (n_items,), share of the users who rated each item.
        user_scale: (n_users,), number of ratings to the power of minus the recipe's power.
    """

    rated_shares: Tensor
    user_scale: Tensor

    def __init__(self, recipe: Recipe, train: RatingsDataset) -> None:
        super().__init__(None, 0.0)
        self._weight_decay = recipe.weight_decay
        self._weights = WeightScale(recipe, train)
        n_factors = recipe.n_factors or 32
        self.history_factors = embedding_table(train.n_items, n_factors, _INITIAL_STD)
        self.item_factors = embedding_table(train.n_items, n_factors, _INITIAL_STD)
        counts = torch.from_numpy(train.item_rating_counts()).float()
        self.item_bias = nn.Parameter(torch.log1p(counts))
        per_user = np.maximum(row_counts(train.user_rows, train.n_users), 1)
        self.register_buffer("rated_shares", counts / train.n_users)
        self.register_buffer("user_scale", torch.from_numpy(per_user**-recipe.history_power).float())

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """Raise NotImplementedError: logits need the users' histories, which only `collapse` has."""
        raise NotImplementedError

    def batches(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
        """Yield ``size`` users at a time with all their ratings."""
        return user_batches(user_rows, item_rows, ratings, size)

    @torch.no_grad()
    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """Set the gradient of the cross-entropy of the users' items, weighted by the ratings; return the loss, ().

        The users' histories go through dropout. Derived by hand, as in `SoftmaxRanking`.
        """
        users, positions = torch.unique(user_rows, return_inverse=True)
        rated, histories = self._histories(users, positions, item_rows, ratings)
        vectors = histories @ self.history_factors.index_select(0, rated)
        candidates, log_inclusion = draw_candidates(item_rows, len(users), self.rated_shares)
        factors = self.item_factors.index_select(0, candidates)
        bias = self.item_bias.index_select(0, candidates)
        scores = torch.addmm(bias - log_inclusion, vectors, factors.t())
        columns = torch.searchsorted(candidates, item_rows)
        loss = replace_by_gradient(scores, positions, columns, self._weights.of_loss(ratings), log_inclusion)
        _set_gradient(self.item_bias, candidates, scores.sum(0))
        _set_gradient(self.item_factors, candidates, scores.t() @ vectors)
        _set_gradient(self.history_factors, rated, histories.t() @ (scores @ factors))
        return loss

    def _histories(self, users: Tensor, positions: Tensor, item_rows: Tensor, ratings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of the items that users rated, (m,), and their weights after dropout, (n_users, m).

        Rating i is by users[positions[i]], of item_rows[i].
        """
        dropout = (torch.rand_like(ratings) >= HISTORY_DROPOUT) / (1 - HISTORY_DROPOUT)
        scale = self.user_scale.index_select(0, users).index_select(0, positions)
        rated, places = torch.unique(item_rows, return_inverse=True)
        histories = torch.zeros(len(users), len(rated), device=ratings.device)
        weights = self._weights.of_history(ratings) * dropout * scale
        return rated, histories.index_put_((positions, places), weights, accumulate=True)

    def decay_groups(self) -> Sequence[DecayGroup]:
        """Return the vectors, and the biases, which do not decay."""
        return [
            DecayGroup([self.history_factors, self.item_factors], self._weight_decay),
            DecayGroup([self.item_bias], 0.0),
        ]

    def optimizer(self) -> RowAdagrad:
        """Return an optimiser with little state."""
        return RowAdagrad(self.decay_groups())

    def collapse(self, train: RatingsDataset) -> TrainedModel:
        """Sum every user's history, without dropout."""
        rare = rarely_rated_items(train)
        return TrainedModel(
            architecture="dot-product",
            objective="ranking",
            user_factors=self._user_factors(train),
            user_bias=np.zeros(train.n_users + 1, np.float32),
            item_factors=append_unknown_row(self.item_factors, rare),
            item_bias=append_unknown_row(self.item_bias, rare),
            global_bias=0.0,
            rating_range=None,
            n_dot_factors=self.item_factors.shape[1],
        )

    def _user_factors(self, train: RatingsDataset) -> Float32Array:
        """Return the vectors of the users, and last their mean, (n_users + 1, n_factors)."""
        device = self.item_bias.device
        vectors = torch.zeros(train.n_users + 1, self.item_factors.shape[1], device=device)
        columns = (torch.split(column, RATINGS_AT_ONCE) for column in rating_tensors(train, str(device)))
        for user_rows, item_rows, ratings in zip(*columns, strict=True):
            weights = self._weights.of_history(ratings)
            vectors.index_add_(0, user_rows, self.history_factors.index_select(0, item_rows) * weights[:, None])
        vectors[:-1].mul_(self.user_scale[:, None])
        found: Float32Array = vectors.cpu().numpy()
        found[-1] = found[:-1].mean(0, dtype=np.float64)
        return found


def _set_gradient(parameter: Tensor, rows: Tensor, values: Tensor) -> None:
    parameter.grad = torch.sparse_coo_tensor(
        rows[None], values, parameter.shape, is_coalesced=True, check_invariants=False
    )
