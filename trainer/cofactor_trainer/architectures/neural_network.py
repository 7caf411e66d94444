"""Train a multilayer perceptron on concatenated user and item factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.architectures.base import RatingModel, embedding_table, gradient_buffer, multilayer_perceptron
from cofactor_trainer.architectures.collapse import collapse_perceptron, rarely_rated_items, set_unknown_row, to_array
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Range, Recipe, embedding_size
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.trained_model import TrainedModel


class NeuralNetwork(RatingModel):
    """Multilayer perceptron on a user's and an item's factors, concatenated."""

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
        self.user_factors = embedding_table(n_users + 1, user_size, recipe.initial_std)
        self.item_factors = embedding_table(n_items + 1, item_size, recipe.initial_std)
        self.network = multilayer_perceptron(user_size + item_size, recipe)

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """Compute the logits of pairs: user_rows (n,), item_rows (n,) -> (n,)."""
        return self._network_logits(self._gather(user_rows, item_rows))

    def accumulate_gradient(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> Tensor:
        """Do the same as the base class, but use autograd for the network only.

        Autograd would make a dense gradient of the tables.
        """
        with torch.no_grad():
            gathered = self._gather(user_rows, item_rows)
        gathered.requires_grad_()
        loss = functional.mse_loss(self.ratings(self._network_logits(gathered)), ratings)
        loss.backward()  # type: ignore[no-untyped-call]
        n_user = self.user_factors.shape[1]
        gradient_buffer(self.user_factors).index_add_(0, user_rows, gradient_buffer(gathered)[:, :n_user])
        gradient_buffer(self.item_factors).index_add_(0, item_rows, gradient_buffer(gathered)[:, n_user:])
        return loss.detach()

    def _gather(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """Return the network's input, the factors of users and items: (n, user_size + item_size)."""
        parts = [self.user_factors.index_select(0, user_rows), self.item_factors.index_select(0, item_rows)]
        return torch.cat(parts, 1)

    def _network_logits(self, gathered: Tensor) -> Tensor:
        return cast(Tensor, self.network(gathered))[:, 0] + self.global_bias

    def decay_groups(self) -> Sequence[DecayGroup]:
        """Return the tables, the network's weights, and its biases and batch normalisation, which do not decay."""
        weights = [p for p in self.network.parameters() if p.ndim == 2]
        others = [p for p in self.network.parameters() if p.ndim == 1]
        return [
            DecayGroup([self.user_factors, self.item_factors], self._weight_decay),
            DecayGroup(weights, self._network_weight_decay),
            DecayGroup(others, 0.0),
        ]

    def collapse(self, train: RatingsDataset) -> TrainedModel:
        """Return the tables, and the network with batch normalisation merged into the layer that follows it."""
        return TrainedModel(
            architecture="neural-network",
            objective="rating",
            user_factors=set_unknown_row(to_array(self.user_factors)),
            user_bias=np.zeros(train.n_users + 1, np.float32),
            item_factors=set_unknown_row(to_array(self.item_factors), rarely_rated_items(train)),
            item_bias=np.zeros(train.n_items + 1, np.float32),
            global_bias=self.global_bias,
            rating_range=self.rating_range,
            n_dot_factors=0,
            layers=collapse_perceptron(self.network),
        )
