"""Train models with implicit feedback on both sides: which items a user rated, and which users rated an item.

The implicit feedback is that of SVD++ (Y. Koren, Factorization meets the neighborhood, KDD 2008), used on both sides as
in the flipped SVD++ of S. Rendle et al., On the difficulty of evaluating baselines, 2019. A user's vector is

    own vector
    + (number of ratings)^-1/2 * sum of the implicit vectors of the rated items
    + sum over the user's features of (value * vector of the feature)

and an item's vector is built likewise from the users who rated it. In training, each rating is predicted without its
own feedback: its item is left out of the user's sum and its user out of the item's sum. When the model serves, a rating
to be predicted is not among the user's ratings either. The model collapses to one plain vector per row.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.architectures.base import RatingModel, embedding_table, multilayer_perceptron
from cofactor_trainer.architectures.collapse import append_unknown_row, collapse_perceptron, rarely_rated_items
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Range, Recipe, embedding_size
from cofactor_trainer.data.dataset import Float32Array, RatingsDataset, RowArray, row_counts
from cofactor_trainer.data.features import side_features
from cofactor_trainer.scoring.trained_model import Architecture, TrainedModel

_ARCHITECTURES: dict[str, Architecture] = {
    "implicit-dot-product": "dot-product",
    "implicit-neural-network": "neural-network",
    "hybrid": "hybrid",
}


class SvdppModel(RatingModel):
    """Dot product with biases, network, or the sum of both (hybrid), on vectors with implicit feedback."""

    def __init__(self, recipe: Recipe, train: RatingsDataset, rating_range: Range | None, global_bias: float) -> None:
        super().__init__(rating_range, global_bias)
        self._recipe = recipe
        self.has_dot = recipe.model != "implicit-neural-network"
        self.has_network = recipe.model != "implicit-dot-product"
        n_factors = recipe.n_factors or embedding_size(max(train.n_users, train.n_items) + 1)
        n_columns = n_factors * (self.has_dot + self.has_network)
        self.n_dot = n_factors * self.has_dot
        user_feedback, item_feedback = implicit_feedback(train)
        user_features, item_features = side_features(train, enabled=recipe.side_information)
        std = recipe.initial_std
        self.users = SvdppVectors(user_feedback, user_features, n_columns, std)
        self.items = SvdppVectors(item_feedback, item_features, n_columns, std)
        if self.has_dot:
            self.user_bias = SvdppBiases(train.n_users, user_features)
            self.item_bias = SvdppBiases(train.n_items, item_features)
        if self.has_network:
            self.network = multilayer_perceptron(2 * n_factors, recipe)

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """Compute the logits of pairs: user_rows (n,), item_rows (n,) -> (n,)."""
        users, items = self.users.vectors(user_rows, item_rows), self.items.vectors(item_rows, user_rows)
        logits = torch.full_like(users[:, 0], self.global_bias)
        if self.has_dot:
            logits = logits + (users[:, : self.n_dot] * items[:, : self.n_dot]).sum(1)
            logits = logits + self.user_bias()[user_rows] + self.item_bias()[item_rows]
        if self.has_network:
            inputs = torch.cat([users[:, self.n_dot :], items[:, self.n_dot :]], 1)
            logits = logits + cast(Tensor, self.network(inputs))[:, 0]
        return logits

    def decay_groups(self) -> Sequence[DecayGroup]:
        """Return the vectors, the vectors of features, the biases, the network's weights and its other parameters."""
        recipe, sides = self._recipe, (self.users, self.items)
        bias_decay = recipe.weight_decay if recipe.bias_weight_decay is None else recipe.bias_weight_decay
        net_decay = recipe.weight_decay if recipe.network_weight_decay is None else recipe.network_weight_decay
        groups = [
            DecayGroup([p for side in sides for p in (side.own, side.implicit)], recipe.weight_decay),
            DecayGroup([side.feature_vectors for side in sides], recipe.side_weight_decay),
        ]
        if self.has_dot:
            groups.append(DecayGroup([*self.user_bias.parameters(), *self.item_bias.parameters()], bias_decay))
        if self.has_network:
            groups.append(DecayGroup([p for p in self.network.parameters() if p.ndim == 2], net_decay))
            groups.append(DecayGroup([p for p in self.network.parameters() if p.ndim == 1], 0.0))
        return groups

    def collapse(self, train: RatingsDataset) -> TrainedModel:
        """Add up the own vector, the implicit feedback and the features of every row."""
        users, items = self.users(), self.items()
        rare = rarely_rated_items(train)
        zeros = torch.zeros(train.n_users), torch.zeros(train.n_items)
        user_bias, item_bias = (self.user_bias(), self.item_bias()) if self.has_dot else zeros
        return TrainedModel(
            architecture=_ARCHITECTURES[self._recipe.model],
            objective="rating",
            user_factors=append_unknown_row(users),
            user_bias=append_unknown_row(user_bias),
            item_factors=append_unknown_row(items, rare),
            item_bias=append_unknown_row(item_bias, rare),
            global_bias=self.global_bias,
            rating_range=self.rating_range,
            n_dot_factors=self.n_dot,
            layers=collapse_perceptron(self.network) if self.has_network else (),
        )


class SvdppVectors(nn.Module):
    """The vectors of all users, or of all items.

    Checkpoints contain the names of the parameters, so a new name makes old checkpoints unreadable.

    Attributes:
        sums: computes the sums of implicit vectors.
        own: (n_rows, n_columns), own vectors.
        implicit: (n_others, n_columns), an implicit vector for each row of the other side.
        features: (n_rows, n_features).
        feature_vectors: (n_features, n_columns).
    """

    features: Tensor

    def __init__(self, feedback: ImplicitFeedback, features: Float32Array, n_columns: int, std: float) -> None:
        super().__init__()
        self.sums = feedback
        self.register_buffer("features", torch.from_numpy(features))
        self.own = embedding_table(feedback.n_rows, n_columns, std)
        self.implicit = embedding_table(feedback.n_others, n_columns, std)
        self.feature_vectors = embedding_table(features.shape[1], n_columns, std)

    def forward(self) -> Tensor:
        """Compute the vector of every row, (n_rows, n_columns)."""
        vectors: Tensor = self.own + self.sums(self.implicit)
        return vectors + self.features @ self.feature_vectors if self.features.shape[1] else vectors

    def vectors(self, rows: Tensor, other_rows: Tensor) -> Tensor:
        """Compute the vectors of rows (n,) to be paired with other_rows (n,): (n, n_columns).

        In training, the implicit feedback leaves out the pair itself.
        """
        vectors: Tensor = self()[rows]
        return vectors - self.sums.contribution(self.implicit, rows, other_rows) if self.training else vectors


class SvdppBiases(nn.Module):
    """The biases of all users, or of all items: one per row plus one per feature."""

    features: Tensor

    def __init__(self, n_rows: int, features: Float32Array) -> None:
        super().__init__()
        self.register_buffer("features", torch.from_numpy(features))
        self.own = nn.Parameter(torch.zeros(n_rows))
        self.of_features = nn.Parameter(torch.zeros(features.shape[1]))

    def forward(self) -> Tensor:
        """Compute the bias of every row, (n_rows,)."""
        return self.own + self.features @ self.of_features


class ImplicitFeedback(nn.Module):
    """Scaled sums of implicit vectors: a row of one side sums over the rows of the other side in its ratings.

    Attributes:
        matrix: (n_rows, n_others) sparse, 1 for every rating.
        transposed: the transposed matrix.
        weights: (n_rows,), number of ratings to the power of -1/2.
    """

    matrix: Tensor
    transposed: Tensor
    weights: Tensor

    def __init__(self, matrix: Tensor, transposed: Tensor) -> None:
        super().__init__()
        self.n_rows, self.n_others = matrix.shape
        self.register_buffer("matrix", matrix)
        self.register_buffer("transposed", transposed)
        self.register_buffer("weights", matrix.crow_indices().diff().clamp(min=1).float().rsqrt())

    def forward(self, implicit: Tensor) -> Tensor:
        """Compute the scaled sums of implicit vectors: implicit (n_others, n_columns) -> (n_rows, n_columns)."""
        return cast(Tensor, _SparseProduct.apply(implicit, self.matrix, self.transposed)) * self.weights[:, None]

    def contribution(self, implicit: Tensor, rows: Tensor, other_rows: Tensor) -> Tensor:
        """Compute what other_rows (n,) contribute to the sums of rows (n,): (n, n_columns)."""
        return self.weights[rows][:, None] * implicit[other_rows]


def implicit_feedback(train: RatingsDataset) -> tuple[ImplicitFeedback, ImplicitFeedback]:
    """Return the feedback of the users, from the items they rated, and that of the items; they share two matrices."""
    by_user = _csr(train.user_rows, train.item_rows, train.n_users, train.n_items)
    by_item = _csr(train.item_rows, train.user_rows, train.n_items, train.n_users)
    return ImplicitFeedback(by_user, by_item), ImplicitFeedback(by_item, by_user)


class _SparseProduct(torch.autograd.Function):
    """The product matrix @ dense; the backward pass of torch's own product would make the matrix dense."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed @ gradients[0].contiguous(), None, None


def _csr(rows: RowArray, columns: RowArray, n_rows: int, n_columns: int) -> Tensor:
    """Build a sparse matrix with a 1 for every rating; 32-bit indices hold 25 million ratings in 0.2 GB."""
    order = np.argsort(rows, kind="stable")
    starts = np.concatenate([[0], np.cumsum(row_counts(rows, n_rows))])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # torch warns that its sparse tensors are in beta
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts.astype(np.int32)),
            torch.from_numpy(columns[order]),
            torch.ones(len(rows)),
            size=(n_rows, n_columns),
        )
