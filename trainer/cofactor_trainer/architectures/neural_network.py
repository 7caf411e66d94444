"""Train a multilayer perceptron on concatenated embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cofactor_trainer.architectures.base import RatingModel, gradient, perceptron, table
from cofactor_trainer.architectures.collapse import fill_unknown, fold_perceptron, rare_items, to_array
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Range, Recipe, embedding_size
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.trained_model import TrainedModel


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
