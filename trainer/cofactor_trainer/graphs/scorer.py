"""Compute logits and ratings of a model, as a torch module that exports to ONNX.

Buffers of every graph have the names of the tables in docs/model-format.md, so that the export stores one copy of each
table for all graphs. No operand of a matrix product has rank 1: ONNX Runtime's MatmulTransposeFusion computes wrong
numbers for one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.scoring.trained_model import TrainedModel


def gather_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Return table[rows] along the first axis, for rows of any shape, as one ONNX Gather.

    Indexing would become a GatherND, and in places a transposed copy of the table.
    """
    if rows.ndim == 1:
        return table.index_select(0, rows)
    return table.index_select(0, rows.flatten()).reshape(*rows.shape, *table.shape[1:])


def precompute_item_hidden(model: TrainedModel) -> Tensor:
    """Compute the item half of the network's first layer, its bias included, (n_items + 1, h)."""
    first = model.layers[0]
    factors = torch.from_numpy(model.item_factors[:, model.n_dot_factors : model.n_item_columns])
    weight = torch.from_numpy(first.weight[:, -factors.shape[1] :])
    return functional.linear(factors, weight, torch.from_numpy(first.bias))


class Network(nn.Module):
    """The multilayer perceptron, with its first layer split into a user half and a precomputed item half."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        n_user = model.n_user_columns - model.n_dot_factors
        self.register_buffer("user_weight", torch.from_numpy(model.layers[0].weight[:, :n_user].copy()))
        for number, layer in enumerate(model.layers[1:]):
            self.register_buffer(f"weight_{number}", torch.from_numpy(layer.weight))
            self.register_buffer(f"bias_{number}", torch.from_numpy(layer.bias))
        self.depth = len(model.layers) - 1

    def user_hidden(self, user_factors: Tensor) -> Tensor:
        """Compute the user half of the first layer: (B, n_user) -> (B, h)."""
        return functional.linear(user_factors, self.get_buffer("user_weight"))

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the other layers to the sum of both halves: (..., h) -> logits (...)."""
        for number in range(self.depth):
            hidden = functional.linear(
                hidden.relu(), self.get_buffer(f"weight_{number}"), self.get_buffer(f"bias_{number}")
            )
        return hidden[..., 0]

    def linearise(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits and their derivatives with respect to hidden: (..., h) -> (...), (..., h)."""
        positive = []
        for number in range(self.depth):
            positive.append((hidden > 0).float())
            hidden = functional.linear(
                hidden * positive[-1], self.get_buffer(f"weight_{number}"), self.get_buffer(f"bias_{number}")
            )
        derivative = torch.ones_like(hidden)
        for number in reversed(range(self.depth)):
            derivative = (derivative @ self.get_buffer(f"weight_{number}")) * positive[number]
        return hidden[..., 0], derivative


class Scorer(nn.Module):
    """Logits and ratings of a trained model."""

    item_factors: Tensor
    item_bias: Tensor
    item_hidden: Tensor

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.n_dot = model.n_dot_factors
        self.n_items = len(model.item_bias) - 1
        self.n_user_factors = model.user_factors.shape[1]
        self.n_user_columns = model.n_user_columns
        self.n_ranking = model.n_ranking_factors
        self.global_bias = model.global_bias
        self.rating_range = model.rating_range
        self.register_buffer("item_factors", torch.from_numpy(model.item_factors))
        self.register_buffer("item_bias", torch.from_numpy(model.item_bias))
        self.network = Network(model) if model.layers else None
        if model.layers:
            self.register_buffer("item_hidden", precompute_item_hidden(model))

    def pairs(self, user_factors: Tensor, user_bias: Tensor, item_rows: Tensor) -> Tensor:
        """Compute the logits of pairs: (N, d), (N,), (N,) -> (N,). A single user is broadcast to all N items."""
        logits = gather_rows(self.item_bias, item_rows) + (user_bias + self.global_bias)
        if self.n_dot:
            factors = gather_rows(self.item_factors, item_rows)[:, : self.n_dot]
            logits = logits + (user_factors[:, : self.n_dot] * factors).sum(1)
        if self.network is not None:
            logits = logits + self.network(self.user_hidden(user_factors) + gather_rows(self.item_hidden, item_rows))
        return logits

    def user_hidden(self, user_factors: Tensor) -> Tensor:
        """Compute the user half of the network's first layer: (B, d) -> (B, h)."""
        assert self.network is not None
        return self.network.user_hidden(user_factors[:, self.n_dot : self.n_user_columns])

    def ratings(self, logits: Tensor) -> Tensor:
        """Convert logits of any shape to ratings on the scale of the model."""
        if self.rating_range is None:
            return logits
        low, high = self.rating_range
        return logits.sigmoid() * (high - low) + low
