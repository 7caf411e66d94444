"""A trained model as plain arrays: what training hands to evaluation and to export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cofactor_trainer.data.dataset import Float32Array

Architecture = Literal["dot-product", "neural-network", "hybrid"]
Objective = Literal["rating", "ranking"]


@dataclass(frozen=True)
class Layer:
    """A linear layer: weight (n_out, n_in), bias (n_out,)."""

    weight: Float32Array
    bias: Float32Array


@dataclass(frozen=True)
class TrainedModel:
    """Everything a prediction needs, whatever the model was while it trained.

    Implicit feedback, batch normalisation and dropout are folded away. The last row of the user arrays is the
    unknown user, the last row of the item arrays the unknown item.

    The first n_dot_factors columns of both factor tables enter a dot product; the other columns, concatenated
    (user first), are the input of the network: linear layers with ReLU between them, the last with one output.
    The logit of user u and item i is

        user_factors[u, :n_dot] . item_factors[i, :n_dot] + network([user_factors[u, n_dot:], item_factors[i, n_dot:]])
        + user_bias[u] + item_bias[i] + global_bias

    where a part that the architecture does not have is 0. The rating is low + (high - low) * sigmoid(logit), or
    the logit itself where rating_range is None.

    Attributes:
        architecture: which parts it has.
        objective: "rating" for predicted ratings, "ranking" for an order of items.
        user_factors: (n_users + 1, n_user_factors).
        user_bias: (n_users + 1,).
        item_factors: (n_items + 1, n_item_factors).
        item_bias: (n_items + 1,).
        global_bias: the logit of the average prediction.
        rating_range: (low, high), or None.
        n_dot_factors: columns of the dot product; 0 for a neural network.
        layers: the network; empty for a dot product.
    """

    architecture: Architecture
    objective: Objective
    user_factors: Float32Array
    user_bias: Float32Array
    item_factors: Float32Array
    item_bias: Float32Array
    global_bias: float
    rating_range: tuple[float, float] | None
    n_dot_factors: int
    layers: tuple[Layer, ...] = ()
