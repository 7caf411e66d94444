"""Take the rating part and the ranking part of a model apart, to move their rows, and put them together again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cofactor_trainer.data.dataset import Float32Array, Float64Array
from cofactor_trainer.scoring.ranking_part import ranking_factors
from cofactor_trainer.scoring.trained_model import TrainedModel


@dataclass(frozen=True)
class TwoParts:
    """The rows of a model in double precision; moving rows changes the arrays in place.

    Attributes:
        model: the model that the rows are of.
        rating_users: (n_users + 1, d + 1) factors and bias; None for a model that only ranks.
        rating_items: (n_items + 1, d + 1), likewise.
        ranking_users: (n_users + 1, r); None for a model without a ranking.
        ranking_items: (n_items + 1, r + 1) factors and bias, likewise.
    """

    model: TrainedModel
    rating_users: Float64Array | None
    rating_items: Float64Array | None
    ranking_users: Float64Array | None
    ranking_items: Float64Array | None

    @classmethod
    def of(cls, model: TrainedModel) -> TwoParts:
        """Copy the rows of a model."""
        rating_users = rating_items = ranking_users = ranking_items = None
        if model.objective == "rating":
            rating_users = _rows(model.user_factors[:, : model.n_user_columns], model.user_bias)
            rating_items = _rows(model.item_factors[:, : model.n_item_columns], model.item_bias)
        if model.objective == "ranking" or model.n_ranking_factors:
            factors, bias = ranking_factors(model)
            ranking_items = _rows(factors, bias)
            ranking_users = model.user_factors[:, _ranking_columns(model)].astype(np.float64)
        return cls(model, rating_users, rating_items, ranking_users, ranking_items)

    def to_model(self) -> TrainedModel:
        """Return the model with the rows as they are now. A row that nobody moved is the same, bit for bit."""
        model = self.model
        tables = {
            name: getattr(model, name).copy() for name in ("user_factors", "user_bias", "item_factors", "item_bias")
        }
        if self.rating_users is not None and self.rating_items is not None:
            for side, rows in (("user", self.rating_users), ("item", self.rating_items)):
                tables[f"{side}_factors"][:, : rows.shape[1] - 1] = rows[:, :-1]
                tables[f"{side}_bias"][:] = rows[:, -1]
        if self.ranking_users is not None and self.ranking_items is not None:
            columns = _ranking_columns(model)
            tables["user_factors"][:, columns] = self.ranking_users
            tables["item_factors"][:, columns] = self.ranking_items[:, :-1]
            bias: Float32Array = tables["item_factors"][:, -1] if model.n_ranking_factors else tables["item_bias"]
            bias[:] = self.ranking_items[:, -1]
        return replace(model, **tables)


def _rows(factors: Float32Array, bias: Float32Array) -> Float64Array:
    return np.column_stack([factors, bias]).astype(np.float64)


def _ranking_columns(model: TrainedModel) -> slice:
    """Return the columns of the factors that rank, without the bias of a ranking part."""
    return slice(model.n_user_columns, -1) if model.n_ranking_factors else slice(None)
