"""Build graph embed_item: compute the row of a new item from its attributes and ratings.

The modules are those of graph embed_user on tables whose users and items are exchanged; only the inputs and outputs
have other names.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.profile_regression import COLUMN_RANGE
from cofactor_trainer.graphs.fold_in import EmbedRatingUser
from cofactor_trainer.graphs.graph_spec import GraphSpec
from cofactor_trainer.graphs.new_items.exchange import exchange_model
from cofactor_trainer.graphs.new_items.priors import BiasRegression, ItemPriors, ItemRankingPrior
from cofactor_trainer.graphs.ranking_fold_in import EventFoldIn, RankingFoldIn
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.scoring.trained_model import TrainedModel

# Tables of the version that the buffers of the exchanged modules hold.
EXCHANGED_TABLES = {"item_factors": "user_factors", "item_bias": "user_bias"}
INPUT_NAMES = {"item_rows": "user_rows", "profile": "attributes"}


class RankingBias(nn.Module):
    """Computes the ranking bias of new items from their other numbers."""

    row_weight: Tensor
    attribute_weight: Tensor
    offset: Tensor

    def __init__(self, regression: BiasRegression) -> None:
        super().__init__()
        self.register_buffer("row_weight", torch.from_numpy(regression.row_weight[None]).float())
        self.register_buffer("offset", torch.tensor([regression.offset]).float())
        self.has_attributes = len(regression.attribute_weight) > 0
        if self.has_attributes:
            self.register_buffer("attribute_weight", torch.from_numpy(regression.attribute_weight[None]).float())

    def forward(self, row: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return the biases: row (B, k), attributes (B, P) -> (B, 1)."""
        bias = functional.linear(row, self.row_weight, self.offset)
        if attributes is None:
            return bias
        return bias + functional.linear(attributes.clamp(*COLUMN_RANGE), self.attribute_weight)


class EmbedRankingItem(nn.Module):
    """Graph embed_item of a model that only ranks."""

    def __init__(self, ranking: RankingFoldIn, bias: RankingBias) -> None:
        super().__init__()
        self.ranking, self.bias = ranking, bias
        self.n_profile_columns = ranking.n_profile_columns

    def forward(self, user_rows: Tensor, ratings: Tensor, attributes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute graph embed_item; docs/model-format.md has the shapes."""
        factors = self.ranking(user_rows, ratings, attributes)
        return factors, self.bias(factors, attributes)[:, 0]


class EmbedItemInBothParts(nn.Module):
    """Graph embed_item of a model of ratings with a ranking part."""

    def __init__(self, rating: EmbedRatingUser, ranking: RankingFoldIn, bias: RankingBias) -> None:
        super().__init__()
        self.rating, self.ranking, self.bias = rating, ranking, bias
        self.n_profile_columns = rating.n_profile_columns

    def forward(
        self, user_rows: Tensor, ratings: Tensor, attributes: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph embed_item; docs/model-format.md has the shapes."""
        return self.join(
            self.rating(user_rows, ratings, attributes), self.ranking(user_rows, ratings, attributes), attributes
        )

    def join(
        self, rating: tuple[Tensor, Tensor, Tensor], ranking: Tensor, attributes: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the whole row, its bias and the fitted ratings, from the rating part and the ranking factors."""
        factors, bias, fitted = rating
        ranking_bias = self.bias(torch.cat([ranking, factors, bias[:, None]], 1), attributes)
        return torch.cat([factors, ranking, ranking_bias], 1), bias, fitted


class EmbedItemOfRatingsAndEvents(EmbedItemInBothParts):
    """Graph embed_item of a model that learnt ratings, and an order from events: each part has its own input."""

    def forward(  # type: ignore[override]  # it has two inputs more
        self,
        user_rows: Tensor,
        ratings: Tensor,
        event_rows: Tensor,
        event_weights: Tensor,
        attributes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph embed_item; docs/model-format.md has the shapes."""
        return self.join(
            self.rating(user_rows, ratings, attributes), self.ranking(event_rows, event_weights, attributes), attributes
        )


ItemFoldIn = EmbedRatingUser | EmbedRankingItem | EmbedItemInBothParts


def build_item_fold_in(
    model: TrainedModel,
    priors: ItemPriors,
    rating_scale: tuple[float, float],
    events: EventFeedback | None = None,
) -> ItemFoldIn:
    """Build graph embed_item of a model; ``events`` says what it learnt from, None for ratings."""
    scorer = Scorer(exchange_model(model))
    rating = None if priors.rating is None else EmbedRatingUser(scorer, priors.rating)
    if priors.ranking is None:
        assert rating is not None
        return rating
    fold_in, bias = _ranking_fold_in(model, scorer, priors.ranking, rating_scale, events)
    if rating is None:
        return EmbedRankingItem(fold_in, bias)
    both = EmbedItemInBothParts if events is None else EmbedItemOfRatingsAndEvents
    return both(rating, fold_in, bias)


def _ranking_fold_in(
    model: TrainedModel,
    scorer: Scorer,
    ranking: ItemRankingPrior,
    rating_scale: tuple[float, float],
    events: EventFeedback | None,
) -> tuple[RankingFoldIn, RankingBias]:
    first = model.n_user_columns if model.n_ranking_factors else 0
    columns = slice(first, first + len(ranking.prior.mean))
    bias = RankingBias(ranking.bias)
    if events is None:
        return RankingFoldIn(scorer.item_factors, columns, ranking.space, ranking.prior, rating_scale), bias
    return EventFoldIn(scorer.item_factors, columns, ranking.space, ranking.prior, events.fold_in_scale), bias


def embed_item_spec(fold_in: ItemFoldIn) -> GraphSpec:
    """Specify graph embed_item."""
    inputs = {"user_rows": torch.zeros(2, 3, dtype=torch.int64), "ratings": torch.zeros(2, 3)}
    dynamic_axes = {"user_rows": {0: "B", 1: "N"}, "ratings": {0: "B", 1: "N"}}
    if isinstance(fold_in, EmbedItemOfRatingsAndEvents):
        inputs |= {"event_rows": torch.zeros(2, 4, dtype=torch.int64), "event_weights": torch.zeros(2, 4)}
        dynamic_axes |= {"event_rows": {0: "B", 1: "E"}, "event_weights": {0: "B", 1: "E"}}
    if fold_in.n_profile_columns:
        inputs["attributes"] = torch.zeros(2, fold_in.n_profile_columns)
        dynamic_axes["attributes"] = {0: "B"}
    outputs = ["item_factors", "item_bias", "fitted"]
    if isinstance(fold_in, EmbedRankingItem):
        outputs.pop()
    return GraphSpec(fold_in, inputs, dynamic_axes, outputs, table_names=EXCHANGED_TABLES)


def unrated_rows(fold_in: ItemFoldIn, attributes: np.ndarray, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the rows of items without ratings: attributes (n, P) -> item factors (n, q), item biases (n,)."""
    n_items = len(attributes)
    nobody, nothing = torch.full((n_items, 1), n_users), torch.zeros(n_items, 1)
    inputs = [nobody, nothing]
    if isinstance(fold_in, EmbedItemOfRatingsAndEvents):
        inputs += [nobody, nothing]
    if fold_in.n_profile_columns:
        inputs.append(torch.from_numpy(attributes).float())
    with torch.inference_mode():
        factors, bias = fold_in(*inputs)[:2]
    return factors.numpy(), bias.numpy()
