"""Train a ranking of items with a softmax over the catalogue.

The model is a denoising autoencoder with a dot product: S. Sedhain et al., AutoRec, WWW 2015. The multinomial
likelihood and the dropout of rated items are from D. Liang et al., Variational autoencoders for collaborative
filtering, WWW 2018. A user's vector is

    own vector + (number of ratings)^-1/2 * sum over the rated items of (weight * history vector of the item)

where the weight grows with the rating. An item's vector may have a part that its genres and release year decide. The
model collapses to one plain vector per user and item.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.architectures.base import RatingModel, embedding_table, gradient_buffer
from cofactor_trainer.architectures.batches import Batch, rating_tensors, user_batches
from cofactor_trainer.architectures.collapse import append_unknown_row, rarely_rated_items
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.architectures.sampled_softmax import SAMPLED_FROM_ITEMS, draw_candidates, replace_by_gradient
from cofactor_trainer.data.dataset import RatingsDataset, row_counts
from cofactor_trainer.data.features import side_features
from cofactor_trainer.scoring.trained_model import TrainedModel

# Weights of the lowest and the highest rating of the scale. The lowest counts too: the user chose the item.
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.1, 1.3
HISTORY_DROPOUT = 0.5
# Histories are summed in parts: a vector for each of 20 million ratings would take 16 GB.
RATINGS_AT_ONCE = 1 << 16
_INITIAL_STD, _INITIAL_FEATURE_STD = 0.05, 0.01
_FEATURE_BIAS_DECAY = 1.0
_SMALLEST_BATCH = 16


class WeightScale:
    """Weighs ratings, or weights of events, in the loss and in the history of a user."""

    def __init__(self, recipe: Recipe, train: RatingsDataset) -> None:
        self._history_weights = recipe.history_weights
        self._scale = train.rating_min, train.rating_max
        # The weights of events are relative: their mean is 1 in the loss and in the history.
        self._mean_weight = None if train.events is None else train.events.mean_weight

    def of_loss(self, ratings: Tensor) -> Tensor:
        """Return the weights of ratings, or of weights of events, in the loss: ratings (n,) -> (n,)."""
        return self._between(ratings, LOWEST_WEIGHT, HIGHEST_WEIGHT)

    def of_history(self, ratings: Tensor) -> Tensor:
        """Return the weights of ratings in the history: ratings (n,) -> (n,)."""
        return self._between(ratings, *self._history_weights)

    def _between(self, ratings: Tensor, lowest: float, highest: float) -> Tensor:
        if self._mean_weight is not None:
            return ratings / self._mean_weight
        low, high = self._scale
        return lowest + (highest - lowest) * (ratings - low) / (high - low)


class SoftmaxRanking(RatingModel):
    """Softmax over the catalogue, given a user's history.

    Attributes:
        user_factors: (n_users, n_factors), own vectors of the users.
        history_factors: (n_items, n_factors), history vectors, summed over the items that a user rated.
        item_factors: (n_items, n_factors).
        item_bias: (n_items,), initially the log of the popularity.
        feature_factors: (n_features, n_factors), added to the vectors of the items that have the feature.
        feature_bias: (n_features,), added to their biases.
        features: (n_items, n_features), genres and release years; no columns without side information.
        counts: (n_items,), ratings per item.
        user_scale: (n_users,), number of ratings to the power of -1/2, or of the recipe's power.
    """

    features: Tensor
    counts: Tensor
    user_scale: Tensor

    def __init__(self, recipe: Recipe, train: RatingsDataset) -> None:
        super().__init__(None, 0.0)
        self._weight_decay = recipe.weight_decay
        self._own_weight_decay = recipe.weight_decay if recipe.own_weight_decay is None else recipe.own_weight_decay
        self._side_weight_decay = recipe.side_weight_decay
        self._min_steps = recipe.min_steps_per_epoch
        self._weights = WeightScale(recipe, train)
        n_factors = recipe.n_factors or 200
        self.user_factors = nn.Parameter(torch.zeros(train.n_users, n_factors))
        self.history_factors = embedding_table(train.n_items, n_factors, _INITIAL_STD)
        self.item_factors = embedding_table(train.n_items, n_factors, _INITIAL_STD)
        counts = torch.from_numpy(train.item_rating_counts()).float()
        self.item_bias = nn.Parameter(torch.log1p(counts))
        per_user = np.maximum(row_counts(train.user_rows, train.n_users), 1)
        features = side_features(train, enabled=recipe.side_information)[1]
        self.feature_factors = embedding_table(features.shape[1], n_factors, _INITIAL_FEATURE_STD)
        self.feature_bias = nn.Parameter(torch.zeros(features.shape[1]))
        self.register_buffer("features", torch.from_numpy(features))
        self.register_buffer("counts", counts)
        self.register_buffer("user_scale", torch.from_numpy(per_user**-recipe.history_power).float())

    def user_vectors(self, user_rows: Tensor, positions: Tensor, item_rows: Tensor, weights: Tensor) -> Tensor:
        """Compute the vectors of users (n_users,) from their ratings, (n_users, n_factors).

        Rating i is by user_rows[positions[i]], of item_rows[i], with weights[i].
        """
        rated = self.history_factors[item_rows] * weights[:, None]
        history = torch.zeros(len(user_rows), rated.shape[1], device=rated.device).index_add(0, positions, rated)
        return self.user_factors[user_rows] + history * self.user_scale[user_rows, None]

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """Raise NotImplementedError: logits need the users' histories, which only `collapse` has."""
        raise NotImplementedError

    def batches(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
        """Yield ``size`` users at a time, or fewer if there are few users, with all their ratings."""
        if self._min_steps is not None:
            size = min(size, max(_SMALLEST_BATCH, math.ceil(len(self.user_scale) / self._min_steps)))
        return user_batches(user_rows, item_rows, ratings, size)

    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """Add the gradient of the cross-entropy of the users' items, weighted by the ratings, and return the loss, ().

        The users' histories go through dropout.
        """
        users, positions = torch.unique(user_rows, return_inverse=True)
        weights = self._weights.of_loss(ratings)
        dropout = (torch.rand_like(weights) >= HISTORY_DROPOUT) / (1 - HISTORY_DROPOUT)
        history = self._weights.of_history(ratings) * dropout
        if len(self.item_bias) < SAMPLED_FROM_ITEMS:
            return self._accumulate_of_all_items(users, positions, item_rows, weights, history)
        vectors = self.user_vectors(users, positions, item_rows, history)
        candidates, log_inclusion = self._candidates(item_rows, len(users))
        columns = torch.searchsorted(candidates, item_rows.long())
        features = self.features[candidates]
        factors = self.item_factors[candidates] + features @ self.feature_factors
        bias = self.item_bias[candidates] + features @ self.feature_bias
        scores = nn.functional.linear(vectors, factors, bias)
        normaliser = torch.logsumexp(scores - log_inclusion, 1)
        loss = ((normaliser[positions] - scores[positions, columns]) * weights).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()
    def _accumulate_of_all_items(
        self, users: Tensor, positions: Tensor, item_rows: Tensor, weights: Tensor, history: Tensor
    ) -> Tensor:
        """Do the same with a softmax over all items.

        The histories are rows of a dense matrix, so that the gradients are matrix products. Derived by hand: autograd
        would store a vector for every rating, which takes twice as long.
        """
        n_users, n_items = len(users), len(self.item_bias)
        histories = torch.zeros(n_users, n_items, device=weights.device)
        histories.index_put_((positions, item_rows), history * self.user_scale[users][positions], accumulate=True)
        vectors = torch.addmm(self.user_factors[users], histories, self.history_factors)
        item_vectors, item_bias = self.items()
        scores = torch.addmm(item_bias, vectors, item_vectors.t())
        loss = replace_by_gradient(scores, positions, item_rows, weights)
        by_vector = scores @ item_vectors
        by_bias, by_item = scores.sum(0), scores.t() @ vectors
        gradient_buffer(self.item_bias).add_(by_bias)
        gradient_buffer(self.item_factors).add_(by_item)
        gradient_buffer(self.feature_bias).addmv_(self.features.t(), by_bias)
        gradient_buffer(self.feature_factors).addmm_(self.features.t(), by_item)
        gradient_buffer(self.history_factors).addmm_(histories.t(), by_vector)
        gradient_buffer(self.user_factors).index_add_(0, users, by_vector)
        return loss

    def items(self) -> tuple[Tensor, Tensor]:
        """Return the vectors and biases of all items with the parts of their features: (n_items, f), (n_items,)."""
        if not self.features.shape[1]:
            return self.item_factors, self.item_bias
        vectors = torch.addmm(self.item_factors, self.features, self.feature_factors)
        return vectors, torch.addmv(self.item_bias, self.features, self.feature_bias)

    def _candidates(self, item_rows: Tensor, n_users: int) -> tuple[Tensor, Tensor]:
        """Return the rows of the items that the softmax runs over, and the log of their inclusion probabilities."""
        return draw_candidates(item_rows, n_users, self.counts / len(self.user_scale))

    def decay_groups(self) -> Sequence[DecayGroup]:
        """Return the vectors, and the biases, which do not decay."""
        vectors = [self.history_factors, self.item_factors]
        return [
            DecayGroup([self.user_factors], self._own_weight_decay),
            DecayGroup(vectors, self._weight_decay),
            DecayGroup([self.item_bias], 0.0),
            DecayGroup([self.feature_factors], self._side_weight_decay),
            DecayGroup([self.feature_bias], _FEATURE_BIAS_DECAY),
        ]

    def collapse(self, train: RatingsDataset) -> TrainedModel:
        """Add every user's history to the own vector, without dropout."""
        users, items, ratings = rating_tensors(train, str(self.item_bias.device))
        vectors = torch.zeros_like(self.user_factors)
        columns = (torch.split(column, RATINGS_AT_ONCE) for column in (users, items, self._weights.of_history(ratings)))
        for user_rows, item_rows, weights in zip(*columns, strict=True):
            vectors.index_add_(0, user_rows, self.history_factors[item_rows] * weights[:, None])
        vectors.mul_(self.user_scale[:, None]).add_(self.user_factors)
        rare = rarely_rated_items(train)
        item_vectors, item_bias = self.items()
        return TrainedModel(
            architecture="dot-product",
            objective="ranking",
            user_factors=append_unknown_row(vectors),
            user_bias=np.zeros(train.n_users + 1, np.float32),
            item_factors=append_unknown_row(item_vectors, rare),
            item_bias=append_unknown_row(item_bias, rare),
            global_bias=0.0,
            rating_range=None,
            n_dot_factors=self.item_factors.shape[1],
        )
