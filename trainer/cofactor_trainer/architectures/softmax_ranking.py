"""A model that orders items: a softmax over the catalogue says what else a user has rated, and rated well.

A denoising autoencoder with a dot product (S. Sedhain et al., AutoRec, WWW 2015; the multinomial likelihood and
the dropout of what was rated are those of D. Liang et al., Variational autoencoders for collaborative filtering, WWW
2018): a user's vector is an own one plus (number of ratings)^-1/2 * sum of a vector of each item rated, times a
weight that grows with the rating. It folds into one plain vector per user.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.architectures.base import RatingModel, table
from cofactor_trainer.architectures.batches import Batch, user_batches
from cofactor_trainer.architectures.collapse import rare_items, with_unknown
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.data.dataset import RatingsDataset, row_counts
from cofactor_trainer.scoring.trained_model import TrainedModel

# What the lowest and the highest rating of the scale count: a film rated badly was still chosen.
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.1, 1.3
# From this many items on the softmax runs over a sample.
SAMPLED_FROM_ITEMS = 20_000
SAMPLED_ITEMS = 8_192
_HISTORY_DROPOUT = 0.5
# Folded at once: a vector of each of 20 million ratings would take 16 GB.
_RATINGS_AT_ONCE = 1 << 16
_INITIAL_STD = 0.05


class RankingModel(RatingModel):
    """Softmax over the catalogue.

    Attributes:
        user_factors: (n_users, n_factors), what a user's history does not say.
        history_factors: (n_items, n_factors), summed over what a user rated.
        item_factors: (n_items, n_factors).
        item_bias: (n_items,), log popularity to begin with.
    """

    counts: Tensor
    user_scale: Tensor

    def __init__(self, recipe: Recipe, train: RatingsDataset) -> None:
        super().__init__(None, 0.0)
        self._weight_decay = recipe.weight_decay
        self._scale = train.rating_min, train.rating_max
        n_factors = recipe.n_factors or 200
        self.user_factors = nn.Parameter(torch.zeros(train.n_users, n_factors))
        self.history_factors = table(train.n_items, n_factors, _INITIAL_STD)
        self.item_factors = table(train.n_items, n_factors, _INITIAL_STD)
        counts = torch.from_numpy(train.item_rating_counts()).float()
        self.item_bias = nn.Parameter(torch.log1p(counts))
        per_user = np.maximum(row_counts(train.user_rows, train.n_users), 1)
        self.register_buffer("counts", counts)
        self.register_buffer("user_scale", torch.from_numpy(per_user**-0.5).float())

    def weights(self, ratings: Tensor) -> Tensor:
        """What a rating counts, as history and as target: ratings (n,) -> (n,)."""
        low, high = self._scale
        return LOWEST_WEIGHT + (HIGHEST_WEIGHT - LOWEST_WEIGHT) * (ratings - low) / (high - low)

    def users(self, user_rows: Tensor, places: Tensor, item_rows: Tensor, weights: Tensor) -> Tensor:
        """Vectors of users (b,) who have rated; places (n,) in user_rows, item_rows (n,), weights (n,) -> (b, d)."""
        rated = self.history_factors[item_rows] * weights[:, None]
        history = torch.zeros(len(user_rows), rated.shape[1], device=rated.device).index_add(0, places, rated)
        return self.user_factors[user_rows] + history * self.user_scale[user_rows, None]

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """Not known without the histories: `fold` has them."""
        raise NotImplementedError

    def batches(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
        """``size`` users at a time with all that they rated."""
        return user_batches(user_rows, item_rows, ratings, size)

    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """Cross-entropy of all that some users rated, weighted by the ratings; part of the history is dropped."""
        users, places = torch.unique(user_rows, return_inverse=True)
        weights = self.weights(ratings)
        kept = (torch.rand_like(weights) >= _HISTORY_DROPOUT) / (1 - _HISTORY_DROPOUT)
        vectors = self.users(users, places, item_rows, weights * kept)
        candidates, corrections = self._candidates(item_rows, len(users))
        factors, bias = self.item_factors, self.item_bias
        scores = (
            nn.functional.linear(vectors, factors, bias)
            if candidates is None
            else (nn.functional.linear(vectors, factors[candidates], bias[candidates]))
        )
        normaliser = torch.logsumexp(scores - corrections, 1)
        columns = item_rows if candidates is None else torch.searchsorted(candidates, item_rows.long())
        loss = ((normaliser[places] - scores[places, columns]) * weights).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _candidates(self, item_rows: Tensor, n_users: int) -> tuple[Tensor | None, Tensor]:
        """Items that the softmax runs over, ascending (all: None), and the logarithm of how likely each was to.

        Subtracting that logarithm makes the sampled sum of exponentials an unbiased estimate of the whole
        (D. G. Horvitz and D. J. Thompson, 1952).
        """
        n_items = len(self.item_bias)
        if n_items < SAMPLED_FROM_ITEMS:
            return None, torch.zeros((), device=item_rows.device)
        drawn = torch.randint(n_items, (SAMPLED_ITEMS,), device=item_rows.device)
        candidates = torch.unique(torch.cat([item_rows.long(), drawn]))
        rated_by = (self.counts[candidates] / len(self.user_scale)).clamp(max=1 - 1e-6)
        absent = torch.pow(1 - rated_by, n_users) * (1 - 1 / n_items) ** SAMPLED_ITEMS
        return candidates, torch.log1p(-absent)

    def decay_groups(self) -> Sequence[DecayGroup]:
        """Vectors, and the biases that do not decay."""
        vectors = [self.user_factors, self.history_factors, self.item_factors]
        return [DecayGroup(vectors, self._weight_decay), DecayGroup([self.item_bias], 0.0)]

    def fold(self, train: RatingsDataset) -> TrainedModel:
        """One plain vector for each user, the whole history in it."""
        device = self.item_bias.device
        users, items, ratings = (
            torch.from_numpy(column).to(device) for column in (train.user_rows, train.item_rows, train.ratings)
        )
        weights = self.weights(ratings)
        history = torch.zeros_like(self.user_factors)
        columns = (torch.split(column, _RATINGS_AT_ONCE) for column in (users, items, weights))
        for some_users, some_items, some_weights in zip(*columns, strict=True):
            history.index_add_(0, some_users, self.history_factors[some_items] * some_weights[:, None])
        history.mul_(self.user_scale[:, None]).add_(self.user_factors)
        rare = rare_items(train)
        return TrainedModel(
            architecture="dot-product",
            objective="ranking",
            user_factors=with_unknown(history),
            user_bias=np.zeros(train.n_users + 1, np.float32),
            item_factors=with_unknown(self.item_factors, rare),
            item_bias=with_unknown(self.item_bias, rare),
            global_bias=0.0,
            rating_range=None,
            n_dot_factors=self.item_factors.shape[1],
        )
