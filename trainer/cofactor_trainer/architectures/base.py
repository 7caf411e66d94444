"""Define what all models have in common while they train."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.architectures.batches import Batch, rating_batches
from cofactor_trainer.architectures.optimizer import DecayGroup, FlatAdamW, Optimizer
from cofactor_trainer.architectures.recipes import Range, Recipe
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.trained_model import TrainedModel


class RatingModel(nn.Module, ABC):
    """Base class of the models of ratings.

    If a table has a row for the unknown user or item, it is the last row and never trains.

    Attributes:
        rating_range: ends of the sigmoid, or None for no sigmoid.
        global_bias: constant added to every logit.
    """

    def __init__(self, rating_range: Range | None, global_bias: float) -> None:
        super().__init__()
        self.rating_range = rating_range
        self.global_bias = global_bias

    @abstractmethod
    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """Compute the logits of pairs: user_rows (n,), item_rows (n,) -> (n,)."""

    @abstractmethod
    def decay_groups(self) -> Sequence[DecayGroup]:
        """Return all parameters, each in one group."""

    @abstractmethod
    def collapse(self, train: RatingsDataset) -> TrainedModel:
        """Collapse the model to plain arrays with the same predictions, and fill in the unknown rows."""

    def optimizer(self) -> Optimizer:
        """Return the optimiser of the model's parameters."""
        return FlatAdamW(self.decay_groups())

    def ratings(self, logits: Tensor) -> Tensor:
        """Map logits to ratings."""
        if self.rating_range is None:
            return logits
        low, high = self.rating_range
        return low + (high - low) * torch.sigmoid(logits)

    def batches(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
        """Yield the batches of one epoch; user_rows, item_rows and ratings are (n_ratings,)."""
        return rating_batches(user_rows, item_rows, ratings, size)

    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """Add the gradient of a batch's mean squared error to the parameters' .grad and return that error, ()."""
        loss = functional.mse_loss(self.ratings(self.logits(user_rows, item_rows)), ratings)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def embedding_table(n_rows: int, n_columns: int, std: float) -> nn.Parameter:
    """Draw normal values; those beyond two standard deviations become the remainder, as in fastai's embeddings."""
    return nn.Parameter(torch.randn(n_rows, n_columns).fmod_(2).mul_(std))


def multilayer_perceptron(n_inputs: int, recipe: Recipe) -> nn.Sequential:
    """Build the recipe's hidden layers and a last layer with one output.

    A hidden layer is linear (without bias if batch normalisation follows), ReLU, batch normalisation, dropout, in the
    order of the published source.
    """
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


def gradient_buffer(parameter: Tensor) -> Tensor:
    """Return the buffer that accumulates a parameter's gradient."""
    assert parameter.grad is not None
    return parameter.grad
