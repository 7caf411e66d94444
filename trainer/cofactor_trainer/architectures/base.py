"""Define what every model has in common while it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.architectures.batches import Batch, rating_batches
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Range, Recipe
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.trained_model import TrainedModel


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
