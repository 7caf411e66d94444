"""Models in which what a user rated, and who rated an item, says something beside the ratings themselves.

The implicit feedback of SVD++ (Y. Koren, Factorization meets the neighborhood, KDD 2008) on both sides, as in the
flipped SVD++ of S. Rendle et al., On the difficulty of evaluating baselines, 2019. A user's vector is

    own vector + (number of ratings)^-1/2 * sum of an implicit vector of each item rated + features * their vectors

and an item's likewise. While a rating trains, its own item is left out of its user's sum and its own user out of
its item's: a rating to be predicted is never part of the sums. All of it folds into one plain vector per row.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.architectures.base import RatingModel, perceptron, table
from cofactor_trainer.architectures.collapse import fold_perceptron, rare_items, with_unknown
from cofactor_trainer.architectures.optimizer import DecayGroup
from cofactor_trainer.architectures.recipes import Range, Recipe, embedding_size
from cofactor_trainer.data.dataset import Float32Array, RatingsDataset, RowArray, row_counts
from cofactor_trainer.data.features import item_features, user_features
from cofactor_trainer.scoring.trained_model import Architecture, TrainedModel

_ARCHITECTURES: dict[str, Architecture] = {
    "implicit-dot-product": "dot-product",
    "implicit-neural-network": "neural-network",
    "hybrid": "hybrid",
}


class ImplicitModel(RatingModel):
    """A dot product with biases, a network, or the sum of both (hybrid), over vectors with implicit sums."""

    def __init__(self, recipe: Recipe, train: RatingsDataset, rating_range: Range | None, global_bias: float) -> None:
        super().__init__(rating_range, global_bias)
        self._recipe = recipe
        self.has_dot = recipe.model != "implicit-neural-network"
        self.has_network = recipe.model != "implicit-dot-product"
        n_factors = recipe.n_factors or embedding_size(max(train.n_users, train.n_items) + 1)
        n_columns = n_factors * (self.has_dot + self.has_network)
        self.n_dot = n_factors * self.has_dot
        user_sums, item_sums = implicit_sums(train)
        user_side, item_side = features_of(recipe, train)
        std = recipe.initial_std
        self.users = Tower(user_sums, user_side, n_columns, std)
        self.items = Tower(item_sums, item_side, n_columns, std)
        if self.has_dot:
            self.user_bias = BiasTower(train.n_users, user_side)
            self.item_bias = BiasTower(train.n_items, item_side)
        if self.has_network:
            self.network = perceptron(2 * n_factors, recipe)

    def logits(self, user_rows: Tensor, item_rows: Tensor) -> Tensor:
        """user_rows (n,), item_rows (n,) -> logits (n,)."""
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
        """Vectors, vectors of features, biases, the network's weights, and the rest of the network."""
        recipe, towers = self._recipe, (self.users, self.items)
        bias_decay = recipe.weight_decay if recipe.bias_weight_decay is None else recipe.bias_weight_decay
        net_decay = recipe.weight_decay if recipe.network_weight_decay is None else recipe.network_weight_decay
        groups = [
            DecayGroup([p for tower in towers for p in (tower.own, tower.implicit)], recipe.weight_decay),
            DecayGroup([tower.feature_vectors for tower in towers], recipe.side_weight_decay),
        ]
        if self.has_dot:
            groups.append(DecayGroup([*self.user_bias.parameters(), *self.item_bias.parameters()], bias_decay))
        if self.has_network:
            groups.append(DecayGroup([p for p in self.network.parameters() if p.ndim == 2], net_decay))
            groups.append(DecayGroup([p for p in self.network.parameters() if p.ndim == 1], 0.0))
        return groups

    def fold(self, train: RatingsDataset) -> TrainedModel:
        """One plain vector for each row: own, implicit and features added up."""
        users, items = self.users(), self.items()
        rare = rare_items(train)
        zeros = torch.zeros(train.n_users), torch.zeros(train.n_items)
        user_bias, item_bias = (self.user_bias(), self.item_bias()) if self.has_dot else zeros
        return TrainedModel(
            architecture=_ARCHITECTURES[self._recipe.model],
            objective="rating",
            user_factors=with_unknown(users),
            user_bias=with_unknown(user_bias),
            item_factors=with_unknown(items, rare),
            item_bias=with_unknown(item_bias, rare),
            global_bias=self.global_bias,
            rating_range=self.rating_range,
            n_dot_factors=self.n_dot,
            layers=fold_perceptron(self.network) if self.has_network else (),
        )


class Tower(nn.Module):
    """The vectors of one side.

    Attributes:
        own: (n_rows, n_columns).
        implicit: (n_others, n_columns), one for each row of the other side.
        feature_vectors: (n_features, n_columns).
    """

    features: Tensor

    def __init__(self, sums: ImplicitSums, features: Float32Array, n_columns: int, std: float) -> None:
        super().__init__()
        self.sums = sums
        self.register_buffer("features", torch.from_numpy(features))
        self.own = table(sums.n_rows, n_columns, std)
        self.implicit = table(sums.n_others, n_columns, std)
        self.feature_vectors = table(features.shape[1], n_columns, std)

    def forward(self) -> Tensor:
        """The vector of every row, (n_rows, n_columns)."""
        vectors: Tensor = self.own + self.sums(self.implicit)
        return vectors + self.features @ self.feature_vectors if self.features.shape[1] else vectors

    def vectors(self, rows: Tensor, other_rows: Tensor) -> Tensor:
        """Vectors of rows (n,) paired with other_rows (n,): (n, n_columns), in training without what the pair adds."""
        vectors: Tensor = self()[rows]
        return vectors - self.sums.contribution(self.implicit, rows, other_rows) if self.training else vectors


class BiasTower(nn.Module):
    """The biases of one side: one for each row, and one for each feature."""

    features: Tensor

    def __init__(self, n_rows: int, features: Float32Array) -> None:
        super().__init__()
        self.register_buffer("features", torch.from_numpy(features))
        self.own = nn.Parameter(torch.zeros(n_rows))
        self.of_features = nn.Parameter(torch.zeros(features.shape[1]))

    def forward(self) -> Tensor:
        """The bias of every row, (n_rows,)."""
        return self.own + self.features @ self.of_features


class ImplicitSums(nn.Module):
    """For each row of one side the scaled sum of a vector of each row of the other side that it was rated with.

    Attributes:
        matrix: (n_rows, n_others), 1 for every rating.
        transposed: of the matrix.
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
        """Sums of implicit (n_others, n_columns): (n_rows, n_columns)."""
        return cast(Tensor, _SparseProduct.apply(implicit, self.matrix, self.transposed)) * self.weights[:, None]

    def contribution(self, implicit: Tensor, rows: Tensor, other_rows: Tensor) -> Tensor:
        """What other_rows (n,) add to the sums of rows (n,): (n, n_columns)."""
        return self.weights[rows][:, None] * implicit[other_rows]


def implicit_sums(train: RatingsDataset) -> tuple[ImplicitSums, ImplicitSums]:
    """Those of the users, over the items they rated, and those of the items; both hold the same two matrices."""
    by_user = _csr(train.user_rows, train.item_rows, train.n_users, train.n_items)
    by_item = _csr(train.item_rows, train.user_rows, train.n_items, train.n_users)
    return ImplicitSums(by_user, by_item), ImplicitSums(by_item, by_user)


class _SparseProduct(torch.autograd.Function):
    """matrix @ dense; torch's own backward of it would make the matrix dense."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed @ gradients[0].contiguous(), None, None


def features_of(recipe: Recipe, train: RatingsDataset) -> tuple[Float32Array, Float32Array]:
    """Features of users, (n_users, f), and of items, (n_items, g); none unless the recipe wants them."""
    if recipe.side_information:
        return user_features(train.profiles, train.n_users), item_features(train.catalogue)
    return np.zeros((train.n_users, 0), np.float32), np.zeros((train.n_items, 0), np.float32)


def _csr(rows: RowArray, columns: RowArray, n_rows: int, n_columns: int) -> Tensor:
    """A 1 for every pair, with 32-bit indices: 25 million ratings take 0.2 GB."""
    order = np.argsort(rows, kind="stable")
    starts = np.concatenate([[0], np.cumsum(row_counts(rows, n_rows))])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # torch calls its sparse tensors beta
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts.astype(np.int32)),
            torch.from_numpy(columns[order]),
            torch.ones(len(rows)),
            size=(n_rows, n_columns),
        )
