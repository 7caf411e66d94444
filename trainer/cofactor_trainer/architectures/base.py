"""The models while they train, each with the plain arrays it folds into."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.architectures.batches import Batch, rating_batches
from cofactor_trainer.architectures.collapse import fill_unknown, fold_perceptron, rare_items, to_array
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Range, Recipe, embedding_size
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.scoring.trained_model import TrainedModel

# The vectors of so many ratings stay in a CPU's cache, and those of a batch of millions out of the memory.
_CACHED_RATINGS = 1 << 14


class RatingModel(nn.Module, ABC):
    """A model of ratings; row n_users of the user tables and row n_items of the item tables are never trained.

    Attributes:
        rating_range: ends of the sigmoid, or None.
        global_bias: added to every logit.
    """

    def __init__(self, rating_range: Range | None, global_bias: float) -> None:
        super().__init__()
        self.rating_range = rating_range
        self.global_bias = global_bias

    @abstractmethod
    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """user_rows (n,), item_rows (n,) -> logits (n,)."""

    @abstractmethod
    def decay_groups(self) -> Sequence[DecayGroup]:
        """Every parameter, once."""

    @abstractmethod
    def fold(self, train: RatingsDataset) -> TrainedModel:
        """The plain arrays that predict what this model does, the unknown rows filled in."""

    def ratings(self, logits: Tensor) -> Tensor:
        """Logits to ratings."""
        if self.rating_range is None:
            return logits
        low, high = self.rating_range
        return low + (high - low) * torch.sigmoid(logits)

    def batches(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
        """What each step of an epoch trains on; the columns are (n_ratings,) each."""
        return rating_batches(user_rows, item_rows, ratings, size)

    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """Add the gradient of the mean squared error of a batch to the parameters' .grad -> the error, ()."""
        loss = functional.mse_loss(self.ratings(self.logits(user_rows, item_rows)), ratings)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


class DotProduct(RatingModel):
    """Dot product of a user's and an item's factors, with biases or without."""

    def __init__(
        self, recipe: Recipe, n_users: int, n_items: int, rating_range: Range | None, global_bias: float
    ) -> None:
        super().__init__(rating_range, global_bias)
        n_factors = recipe.n_factors or embedding_size(max(n_users, n_items) + 1)
        self.has_bias = recipe.model == "dot-product-bias"
        self._weight_decay = recipe.weight_decay
        self._bias_weight_decay = recipe.weight_decay if recipe.bias_weight_decay is None else recipe.bias_weight_decay
        self.user_factors = table(n_users + 1, n_factors, recipe.initial_std)
        self.item_factors = table(n_items + 1, n_factors, recipe.initial_std)
        if self.has_bias:
            self.user_bias = table(n_users + 1, 1, recipe.initial_std)
            self.item_bias = table(n_items + 1, 1, recipe.initial_std)

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """user_rows (n,), item_rows (n,) -> logits (n,)."""
        logits = (self.user_factors[user_rows] * self.item_factors[item_rows]).sum(1) + self.global_bias
        if self.has_bias:
            logits = logits + self.user_bias[user_rows, 0] + self.item_bias[item_rows, 0]
        return logits

    def decay_groups(self) -> Sequence[DecayGroup]:
        """Factors and biases."""
        factors, biases = (
            [self.user_factors, self.item_factors],
            [self.user_bias, self.item_bias] if self.has_bias else [],
        )
        if self._weight_decay == self._bias_weight_decay:
            return [DecayGroup(factors + biases, self._weight_decay)]
        return [DecayGroup(factors, self._weight_decay), DecayGroup(biases, self._bias_weight_decay)]

    @torch.no_grad()
    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """The same in closed form: autograd would cost more than the arithmetic."""
        n_ratings = len(ratings)
        if n_ratings <= _CACHED_RATINGS or ratings.device.type != "cpu":
            errors = self._add_gradient(user_rows, item_rows, ratings, n_ratings)
        else:
            columns = (torch.split(column, _CACHED_RATINGS) for column in (user_rows, item_rows, ratings))
            errors = torch.cat([self._add_gradient(u, i, r, n_ratings) for u, i, r in zip(*columns, strict=True)])
        return errors.dot(errors) / n_ratings

    def _add_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor, n_ratings: int) -> Tensor:
        """Add what some of n_ratings ratings contribute to the gradient -> their errors, (n,)."""
        users = self.user_factors.index_select(0, user_rows)
        items = self.item_factors.index_select(0, item_rows)
        logits = torch.einsum("nf,nf->n", users, items).add_(self.global_bias)
        if self.has_bias:
            logits += self.user_bias.view(-1).index_select(0, user_rows)
            logits += self.item_bias.view(-1).index_select(0, item_rows)
        errors, slope = self._errors_and_logit_gradient(logits, ratings, n_ratings)
        column = slope.unsqueeze(1)
        gradient(self.user_factors).index_add_(0, user_rows, items.mul_(column))
        gradient(self.item_factors).index_add_(0, item_rows, users.mul_(column))
        if self.has_bias:
            gradient(self.user_bias).view(-1).index_add_(0, user_rows, slope)
            gradient(self.item_bias).view(-1).index_add_(0, item_rows, slope)
        return errors

    def _errors_and_logit_gradient(self, logits: Tensor, ratings: Tensor, n_ratings: int) -> tuple[Tensor, Tensor]:
        """Errors (n,), and by each logit (n,) the derivative of the mean square of n_ratings errors, in closed form."""
        scale = 2.0 / n_ratings
        if self.rating_range is None:
            errors = logits - ratings
            return errors, errors * scale
        low, high = self.rating_range
        probability = torch.sigmoid(logits)
        errors = torch.add(low - ratings, probability, alpha=high - low)
        slope = torch.addcmul(probability, probability, probability, value=-1.0)
        return errors, errors.mul(slope).mul_(scale * (high - low))

    def fold(self, train: RatingsDataset) -> TrainedModel:
        """The tables themselves."""
        user_bias = to_array(self.user_bias)[:, 0] if self.has_bias else np.zeros(train.n_users + 1, np.float32)
        item_bias = to_array(self.item_bias)[:, 0] if self.has_bias else np.zeros(train.n_items + 1, np.float32)
        rare = rare_items(train)
        return TrainedModel(
            architecture="dot-product",
            objective="rating",
            user_factors=fill_unknown(to_array(self.user_factors)),
            user_bias=fill_unknown(user_bias),
            item_factors=fill_unknown(to_array(self.item_factors), rare),
            item_bias=fill_unknown(item_bias, rare),
            global_bias=self.global_bias,
            rating_range=self.rating_range,
            n_dot_factors=self.user_factors.shape[1],
        )


class NeuralNetwork(RatingModel):
    """A multilayer perceptron of a user's and an item's factors, concatenated.

    The layout is that of the published source: linear (without bias where batch normalisation follows), ReLU, batch
    normalisation, dropout, for each hidden layer; then a linear layer with one output.
    """

    def __init__(
        self, recipe: Recipe, n_users: int, n_items: int, rating_range: Range | None, global_bias: float
    ) -> None:
        super().__init__(rating_range, global_bias)
        self._weight_decay = recipe.weight_decay
        self._network_weight_decay = (
            recipe.weight_decay if recipe.network_weight_decay is None else recipe.network_weight_decay
        )
        user_size = recipe.n_factors or embedding_size(n_users + 1)
        item_size = recipe.n_factors or embedding_size(n_items + 1)
        self.user_factors = table(n_users + 1, user_size, recipe.initial_std)
        self.item_factors = table(n_items + 1, item_size, recipe.initial_std)
        self.network = perceptron(user_size + item_size, recipe)

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """user_rows (n,), item_rows (n,) -> logits (n,)."""
        return self._network_logits(self._gather(user_rows, item_rows))

    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """The same, with autograd through the network only: through the tables it would make a dense gradient."""
        with torch.no_grad():
            gathered = self._gather(user_rows, item_rows)
        gathered.requires_grad_()
        loss = functional.mse_loss(self.ratings(self._network_logits(gathered)), ratings)
        loss.backward()  # type: ignore[no-untyped-call]
        n_user = self.user_factors.shape[1]
        gradient(self.user_factors).index_add_(0, user_rows, gradient(gathered)[:, :n_user])
        gradient(self.item_factors).index_add_(0, item_rows, gradient(gathered)[:, n_user:])
        return loss.detach()

    def _gather(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        parts = [self.user_factors.index_select(0, user_rows), self.item_factors.index_select(0, item_rows)]
        return torch.cat(parts, 1)

    def _network_logits(self, gathered: Tensor) -> Tensor:
        return cast(Tensor, self.network(gathered))[:, 0] + self.global_bias

    def decay_groups(self) -> Sequence[DecayGroup]:
        """Tables, the network's weights, and what does not decay: its biases and batch normalisation."""
        weights = [p for p in self.network.parameters() if p.ndim == 2]
        others = [p for p in self.network.parameters() if p.ndim == 1]
        return [
            DecayGroup([self.user_factors, self.item_factors], self._weight_decay),
            DecayGroup(weights, self._network_weight_decay),
            DecayGroup(others, 0.0),
        ]

    def fold(self, train: RatingsDataset) -> TrainedModel:
        """The tables, and the network with batch normalisation folded into the layer that follows."""
        return TrainedModel(
            architecture="neural-network",
            objective="rating",
            user_factors=fill_unknown(to_array(self.user_factors)),
            user_bias=np.zeros(train.n_users + 1, np.float32),
            item_factors=fill_unknown(to_array(self.item_factors), rare_items(train)),
            item_bias=np.zeros(train.n_items + 1, np.float32),
            global_bias=self.global_bias,
            rating_range=self.rating_range,
            n_dot_factors=0,
            layers=fold_perceptron(self.network),
        )


def build_model(recipe: Recipe, train: RatingsDataset, rating_range: Range | None) -> RatingModel:
    """An untrained model; its initial values depend on torch's random state alone."""
    if recipe.model == "blend":
        raise RecipeError(f"recipe {recipe.name} is no single model: choose another")
    # Both imports are here, for these modules build on this one.
    if recipe.model == "ranking":
        from cofactor_trainer.architectures.softmax_ranking import RankingModel

        return RankingModel(recipe, train)
    global_bias = _logit_of_mean(train, rating_range) if recipe.centred else 0.0
    if recipe.model in ("implicit-dot-product", "implicit-neural-network", "hybrid"):
        from cofactor_trainer.architectures.svdpp import ImplicitModel

        return ImplicitModel(recipe, train, rating_range, global_bias)
    architecture = NeuralNetwork if recipe.model == "neural-network" else DotProduct
    return architecture(recipe, train.n_users, train.n_items, rating_range, global_bias)


def table(n_rows: int, n_columns: int, std: float) -> nn.Parameter:
    """Normal values cut at two standard deviations by the remainder, as fastai draws its embeddings."""
    return nn.Parameter(torch.randn(n_rows, n_columns).fmod_(2).mul_(std))


def perceptron(n_inputs: int, recipe: Recipe) -> nn.Sequential:
    """Hidden layers of the recipe, then one output."""
    modules: list[nn.Module] = [nn.Dropout(recipe.embedding_dropout)]
    for width in recipe.hidden_layers:
        modules += [nn.Linear(n_inputs, width, bias=not recipe.batch_norm), nn.ReLU()]
        if recipe.batch_norm:
            norm = nn.BatchNorm1d(width)
            nn.init.constant_(norm.bias, 1e-3)
            modules.append(norm)
        modules.append(nn.Dropout(recipe.hidden_dropout))
        n_inputs = width
    return nn.Sequential(*modules, nn.Linear(n_inputs, 1))


def gradient(parameter: Tensor) -> Tensor:
    """The buffer that a parameter's gradient is added to."""
    assert parameter.grad is not None
    return parameter.grad


def _logit_of_mean(train: RatingsDataset, rating_range: Range | None) -> float:
    mean = float(train.ratings.mean(dtype=np.float64))
    if rating_range is None:
        return mean
    low, high = rating_range
    probability = (mean - low) / (high - low)
    return math.log(probability / (1 - probability)) if 0 < probability < 1 else 0.0
