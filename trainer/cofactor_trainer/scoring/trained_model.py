"""Hold a trained model as plain arrays: the form in which training hands it to evaluation and export."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RowArray

Architecture = Literal["dot-product", "neural-network", "hybrid"]
Objective = Literal["rating", "ranking"]
IndexArray = Int64Array | RowArray


@dataclass(frozen=True)
class Layer:
    """A linear layer: weight (n_out, n_in), bias (n_out,)."""

    weight: Float32Array
    bias: Float32Array


@dataclass(frozen=True)
class Order:
    """Weights of an order of items: rating logit, ranking logit, and log(rating count + 1)."""

    rating_weight: float = 1.0
    ranking_weight: float = 0.0
    popularity_weight: float = 0.0


BY_RATING = Order()


@dataclass(frozen=True)
class TrainedModel:
    """The arrays of a trained model, in one form for all recipes.

    Implicit feedback, batch normalisation and dropout are collapsed into these arrays. The last row of the user arrays
    is the unknown user; the last row of the item arrays is the unknown item.

    The first n_dot_factors columns of both factor tables enter a dot product. The other columns, concatenated (user
    first), are the input of the network: linear layers with ReLU between them, the last one with one output. The logit
    of user u and item i is

        user_factors[u, :n_dot] . item_factors[i, :n_dot] + network([user_factors[u, n_dot:], item_factors[i, n_dot:]])
        + user_bias[u] + item_bias[i] + global_bias

    A term that the architecture lacks is 0. The rating is low + (high - low) * sigmoid(logit), or the logit itself if
    rating_range is None.

    A model may have a ranking part: the last n_ranking_factors columns of both factor tables, which neither the dot
    product above nor the network reads. Their dot product is the ranking logit. In its last column every user has a 1
    and every item its bias. Orders weigh the two logits.

    The dot product with biases is that of Y. Koren, R. Bell and C. Volinsky (Matrix factorization techniques for
    recommender systems, 2009). Adding a network to it follows X. He et al. (Neural collaborative filtering, 2017).

    Attributes:
        architecture: which of the two terms, dot product and network, the model has.
        objective: "rating" if it predicts ratings, "ranking" if it only orders items.
        user_factors: (n_users + 1, n_user_factors).
        user_bias: (n_users + 1,).
        item_factors: (n_items + 1, n_item_factors).
        item_bias: (n_items + 1,).
        global_bias: constant term of the logit.
        rating_range: ends of the sigmoid, (low, high), or None.
        n_dot_factors: number of columns in the dot product; 0 for a neural network.
        layers: layers of the network; empty for a dot product.
        n_ranking_factors: number of columns of the ranking part; 0 for none.
        order: best order for the users of the training data.
        new_user_order: best order for users who were folded in.
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
    n_ranking_factors: int = 0
    order: Order = BY_RATING
    new_user_order: Order = BY_RATING

    @property
    def n_user_columns(self) -> int:
        """Return the number of user columns of the rating part."""
        return int(self.user_factors.shape[1]) - self.n_ranking_factors

    @property
    def n_item_columns(self) -> int:
        """Return the number of item columns of the rating part."""
        return int(self.item_factors.shape[1]) - self.n_ranking_factors


def select_rows(model: TrainedModel, user_rows: IndexArray, item_rows: IndexArray) -> TrainedModel:
    """Return a model of other users and items, by their rows in this one; the last ones stand for unknown ones."""
    return replace(
        model,
        user_factors=model.user_factors[user_rows],
        user_bias=model.user_bias[user_rows],
        item_factors=model.item_factors[item_rows],
        item_bias=model.item_bias[item_rows],
    )
