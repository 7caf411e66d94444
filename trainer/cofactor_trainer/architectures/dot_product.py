"""Train dot products of user factors and item factors, with or without biases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cofactor_trainer.architectures.base import RatingModel, embedding_table, gradient_buffer
from cofactor_trainer.architectures.collapse import rarely_rated_items, set_unknown_row, to_array
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Range, Recipe, embedding_size
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.trained_model import TrainedModel

# Large batches are processed in parts of this many ratings, whose factors fit in a CPU's cache.
_CACHED_RATINGS = 1 << 14


class DotProduct(RatingModel):
    """Dot product of a user's and an item's factors, with or without biases."""

    def __init__(
        self, recipe: Recipe, n_users: int, n_items: int, rating_range: Range | None, global_bias: float
    ) -> None:
        super().__init__(rating_range, global_bias)
        n_factors = recipe.n_factors or embedding_size(max(n_users, n_items) + 1)
        self.has_bias = recipe.model == "dot-product-bias"
        self._weight_decay = recipe.weight_decay
        self._bias_weight_decay = recipe.weight_decay if recipe.bias_weight_decay is None else recipe.bias_weight_decay
        self.user_factors = embedding_table(n_users + 1, n_factors, recipe.initial_std)
        self.item_factors = embedding_table(n_items + 1, n_factors, recipe.initial_std)
        if self.has_bias:
            self.user_bias = embedding_table(n_users + 1, 1, recipe.initial_std)
            self.item_bias = embedding_table(n_items + 1, 1, recipe.initial_std)

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """Compute the logits of pairs: user_rows (n,), item_rows (n,) -> (n,)."""
        logits = (self.user_factors[user_rows] * self.item_factors[item_rows]).sum(1) + self.global_bias
        if self.has_bias:
            logits = logits + self.user_bias[user_rows, 0] + self.item_bias[item_rows, 0]
        return logits

    def decay_groups(self) -> Sequence[DecayGroup]:
        """Return the factors and the biases, in one group if they decay alike."""
        factors = [self.user_factors, self.item_factors]
        biases = [self.user_bias, self.item_bias] if self.has_bias else []
        if self._weight_decay == self._bias_weight_decay:
            return [DecayGroup(factors + biases, self._weight_decay)]
        return [DecayGroup(factors, self._weight_decay), DecayGroup(biases, self._bias_weight_decay)]

    @torch.no_grad()
    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """Do the same as the base class in closed form, because autograd costs more than the arithmetic."""
        n_ratings = len(ratings)
        if n_ratings <= _CACHED_RATINGS or ratings.device.type != "cpu":
            errors = self._add_gradient(user_rows, item_rows, ratings, n_ratings)
        else:
            columns = (torch.split(column, _CACHED_RATINGS) for column in (user_rows, item_rows, ratings))
            errors = torch.cat([self._add_gradient(u, i, r, n_ratings) for u, i, r in zip(*columns, strict=True)])
        return errors.dot(errors) / n_ratings

    def _add_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor, n_ratings: int) -> Tensor:
        """Add the gradient of a part of the batch's n_ratings ratings and return the errors of that part, (n,)."""
        users = self.user_factors.index_select(0, user_rows)
        items = self.item_factors.index_select(0, item_rows)
        logits = torch.einsum("nf,nf->n", users, items).add_(self.global_bias)
        if self.has_bias:
            logits += self.user_bias.view(-1).index_select(0, user_rows)
            logits += self.item_bias.view(-1).index_select(0, item_rows)
        errors, slope = self._errors_and_logit_gradient(logits, ratings, n_ratings)
        column = slope.unsqueeze(1)
        gradient_buffer(self.user_factors).index_add_(0, user_rows, items.mul_(column))
        gradient_buffer(self.item_factors).index_add_(0, item_rows, users.mul_(column))
        if self.has_bias:
            gradient_buffer(self.user_bias).view(-1).index_add_(0, user_rows, slope)
            gradient_buffer(self.item_bias).view(-1).index_add_(0, item_rows, slope)
        return errors

    def _errors_and_logit_gradient(self, logits: Tensor, ratings: Tensor, n_ratings: int) -> tuple[Tensor, Tensor]:
        """Return the errors (n,) and the derivative of the batch's mean squared error by each logit (n,)."""
        scale = 2.0 / n_ratings
        if self.rating_range is None:
            errors = logits - ratings
            return errors, errors * scale
        low, high = self.rating_range
        probability = torch.sigmoid(logits)
        errors = torch.add(low - ratings, probability, alpha=high - low)
        slope = torch.addcmul(probability, probability, probability, value=-1.0)
        return errors, errors.mul(slope).mul_(scale * (high - low))

    def collapse(self, train: RatingsDataset) -> TrainedModel:
        """Return the tables, with the unknown rows filled in."""
        user_bias = to_array(self.user_bias)[:, 0] if self.has_bias else np.zeros(train.n_users + 1, np.float32)
        item_bias = to_array(self.item_bias)[:, 0] if self.has_bias else np.zeros(train.n_items + 1, np.float32)
        rare = rarely_rated_items(train)
        return TrainedModel(
            architecture="dot-product",
            objective="rating",
            user_factors=set_unknown_row(to_array(self.user_factors)),
            user_bias=set_unknown_row(user_bias),
            item_factors=set_unknown_row(to_array(self.item_factors), rare),
            item_bias=set_unknown_row(item_bias, rare),
            global_bias=self.global_bias,
            rating_range=self.rating_range,
            n_dot_factors=self.user_factors.shape[1],
        )
