"""What the server runs, as torch modules that export to ONNX.

Buffers are named as the tables of docs/model-format.md: the export keeps one copy of each for all graphs.
No operand of a matrix product has rank 1: ONNX Runtime's MatmulTransposeFusion gives wrong numbers for one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.graphs.exact_top_k import exclude, top_rows
from cofactor_trainer.scoring.trained_model import TrainedModel


def take(table: Tensor, rows: Tensor) -> Tensor:
    """table[rows] along the first axis, for rows of any shape, as one ONNX Gather.

    Indexing would become a GatherND, and in places a transposed copy of the table.
    """
    if rows.ndim == 1:
        return table.index_select(0, rows)
    return table.index_select(0, rows.flatten()).reshape(*rows.shape, *table.shape[1:])


def item_hidden(model: TrainedModel) -> Tensor:
    """The item half of the network's first layer, its bias included, (n_items + 1, h)."""
    first = model.layers[0]
    factors = torch.from_numpy(model.item_factors[:, model.n_dot_factors :])
    weight = torch.from_numpy(first.weight[:, -factors.shape[1] :])
    return functional.linear(factors, weight, torch.from_numpy(first.bias))


class Network(nn.Module):
    """The multilayer perceptron, its first layer taken apart into a user half and a precomputed item half."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        n_user = model.user_factors.shape[1] - model.n_dot_factors
        self.register_buffer("user_weight", torch.from_numpy(model.layers[0].weight[:, :n_user].copy()))
        for number, layer in enumerate(model.layers[1:]):
            self.register_buffer(f"weight_{number}", torch.from_numpy(layer.weight))
            self.register_buffer(f"bias_{number}", torch.from_numpy(layer.bias))
        self.depth = len(model.layers) - 1

    def user_hidden(self, user_factors: Tensor) -> Tensor:
        """The user half of the first layer: (B, n_user) -> (B, h)."""
        return functional.linear(user_factors, self.get_buffer("user_weight"))

    def forward(self, hidden: Tensor) -> Tensor:
        """Both halves of the first layer, added, (..., h) -> logits (...)."""
        for number in range(self.depth):
            hidden = functional.linear(
                hidden.relu(), self.get_buffer(f"weight_{number}"), self.get_buffer(f"bias_{number}")
            )
        return hidden[..., 0]

    def linearise(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (...) and their derivatives with respect to hidden, (..., h) -> (..., h)."""
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
    """Logits and ratings of the model."""

    item_factors: Tensor
    item_bias: Tensor
    item_hidden: Tensor

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.n_dot = model.n_dot_factors
        self.n_items = len(model.item_bias) - 1
        self.n_user_factors = model.user_factors.shape[1]
        self.global_bias = model.global_bias
        self.rating_range = model.rating_range
        self.register_buffer("item_factors", torch.from_numpy(model.item_factors))
        self.register_buffer("item_bias", torch.from_numpy(model.item_bias))
        self.network = Network(model) if model.layers else None
        if model.layers:
            self.register_buffer("item_hidden", item_hidden(model))

    def pairs(self, user_factors: Tensor, user_bias: Tensor, item_rows: Tensor) -> Tensor:
        """Logits of user i and item i: (N, d), (N,), (N,) -> (N,); one user in the place of N is broadcast."""
        logits = take(self.item_bias, item_rows) + (user_bias + self.global_bias)
        if self.n_dot:
            factors = take(self.item_factors, item_rows)[:, : self.n_dot]
            logits = logits + (user_factors[:, : self.n_dot] * factors).sum(1)
        if self.network is not None:
            hidden = self.network.user_hidden(user_factors[:, self.n_dot :])
            logits = logits + self.network(hidden + take(self.item_hidden, item_rows))
        return logits

    def catalogue(self, user_factors: Tensor, offset: Tensor) -> Tensor:
        """Logits of every item without what is the same for all: (B, d), offset (B, n_items + 1) -> the like."""
        logits = offset
        if self.n_dot:
            # Zeros for the columns of the network leave the table whole: a slice of it would be a second copy.
            n_others = self.item_factors.shape[1] - self.n_dot
            dot = functional.pad(user_factors[:, : self.n_dot], (0, n_others)) if n_others else user_factors
            logits = functional.linear(dot, self.item_factors) + logits
        if self.network is not None:
            hidden = self.network.user_hidden(user_factors[:, self.n_dot :])
            logits = self.network(hidden[:, None] + self.item_hidden) + logits
        return logits

    def ratings(self, logits: Tensor) -> Tensor:
        """Ratings on the model's scale, of the shape of logits."""
        if self.rating_range is None:
            return logits
        low, high = self.rating_range
        return logits.sigmoid() * (high - low) + low


class Predict(nn.Module):
    """Predicted ratings of user and item pairs."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, user_factors: Tensor, user_bias: Tensor, item_rows: Tensor) -> tuple[Tensor, Tensor]:
        """See docs/model-format.md, graph predict."""
        logits = self.scorer.pairs(user_factors, user_bias, item_rows)
        return logits, self.scorer.ratings(logits)


class Recommend(nn.Module):
    """The best of the whole catalogue for each user."""

    item_log_popularity: Tensor

    def __init__(self, scorer: Scorer, item_log_popularity: Tensor) -> None:
        super().__init__()
        self.scorer = scorer
        self.register_buffer("item_log_popularity", item_log_popularity)

    def forward(
        self, user_factors: Tensor, user_bias: Tensor, popularity_weight: Tensor, excluded_rows: Tensor, k: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph recommend."""
        offset = popularity_weight[:, None] * self.item_log_popularity + self.scorer.item_bias
        scores = exclude(self.scorer.catalogue(user_factors, offset), excluded_rows, self.scorer.n_items)
        item_rows, best = top_rows(scores, k)
        return self._answer(user_bias, popularity_weight, item_rows, best)

    def scores(self, user_factors: Tensor, popularity_weight: Tensor, item_rows: Tensor) -> Tensor:
        """Scores by a dot product of item_rows (B, R) -> (B, R), without what is the same for all items of a user."""
        scorer = self.scorer
        scores = (take(scorer.item_factors, item_rows) @ user_factors[:, :, None])[:, :, 0]
        scores = scores + take(scorer.item_bias, item_rows)
        return scores + popularity_weight[:, None] * take(self.item_log_popularity, item_rows)

    def _answer(
        self, user_bias: Tensor, popularity_weight: Tensor, item_rows: Tensor, best: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is the same for every item of a user does not change the order, and is added to k scores only."""
        best = best + (user_bias + self.scorer.global_bias)[:, None]
        popularity = popularity_weight[:, None] * take(self.item_log_popularity, item_rows)
        return item_rows, best, self.scorer.ratings(best - popularity)


class Cosine(nn.Module):
    """Cosine of items with the mean of other items' unit vectors."""

    item_factors: Tensor
    item_inverse_norms: Tensor

    def __init__(self, scorer: Scorer, item_inverse_norms: Tensor) -> None:
        super().__init__()
        self.n_items = scorer.n_items
        self.register_buffer("item_factors", scorer.item_factors)
        self.register_buffer("item_inverse_norms", item_inverse_norms)

    def query(self, item_rows: Tensor) -> Tensor:
        """The mean of the items' unit vectors, itself of length 1, or 0 where they cancel out: (M,) -> (1, q)."""
        units = take(self.item_factors, item_rows) * take(self.item_inverse_norms, item_rows)[:, None]
        mean = units.mean(0, keepdim=True)
        norm = (mean * mean).sum(1, keepdim=True).sqrt()
        vanishes = norm < 1e-6
        return torch.where(vanishes, torch.zeros_like(mean), mean / torch.where(vanishes, torch.ones_like(norm), norm))


class SimilarItems(Cosine):
    """The items nearest to the items given."""

    def forward(self, item_rows: Tensor, excluded_rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """See docs/model-format.md, graph similar_items."""
        scores = functional.linear(self.query(item_rows), self.item_factors) * self.item_inverse_norms
        excluded = exclude(scores, torch.cat([excluded_rows, item_rows])[None], self.n_items)
        similar_rows, best = top_rows(excluded, k)
        return similar_rows[0], best[0]


class Similarity(Cosine):
    """How near candidates are to the items given."""

    def forward(self, item_rows: Tensor, candidate_rows: Tensor) -> Tensor:
        """See docs/model-format.md, graph similarity."""
        scores = functional.linear(take(self.item_factors, candidate_rows), self.query(item_rows))[:, 0]
        return scores * take(self.item_inverse_norms, candidate_rows)
