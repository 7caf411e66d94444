"""Make models and ratings from random numbers: nothing is trained, and every result can be computed with numpy."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.data.item_attributes import AttributeColumn, ItemAttributes
from cofactor_trainer.scoring.ranking_part import join_ranking_part
from cofactor_trainer.scoring.trained_model import Architecture, Layer, Objective, Order, TrainedModel

N_USERS = 40
N_ITEMS = 120
GENRES = ("Action", "Comedy", "Drama", "Sci-Fi")


def make_model(
    architecture: Architecture = "dot-product",
    *,
    n_users: int = N_USERS,
    n_items: int = N_ITEMS,
    n_factors: int = 8,
    rating_range: tuple[float, float] | None = (0.5, 5.5),
    objective: Objective = "rating",
    seed: int = 7,
) -> TrainedModel:
    """Make a model with random rows; the rows of the unknown user and the unknown item are the means."""
    random = np.random.default_rng(seed)

    def table(n_rows: int, width: int, scale: float) -> np.ndarray:
        rows = random.normal(0, scale, (n_rows + 1, width)).astype(np.float32)
        rows[-1] = rows[:-1].mean(0)
        return rows

    n_dot = 0 if architecture == "neural-network" else n_factors
    n_net = 0 if architecture == "dot-product" else n_factors
    n_net_item = n_net + 2 if n_net else 0
    layers: tuple[Layer, ...] = ()
    if n_net:
        sizes = (n_net + n_net_item, 12, 6, 1)
        layers = tuple(
            Layer(
                random.normal(0, 1.5 / np.sqrt(n_in), (n_out, n_in)).astype(np.float32),
                random.normal(0, 0.1, n_out).astype(np.float32),
            )
            for n_in, n_out in itertools.pairwise(sizes)
        )
    return TrainedModel(
        architecture=architecture,
        objective=objective,
        user_factors=table(n_users, n_dot + n_net, 0.6),
        user_bias=table(n_users, 1, 0.3)[:, 0],
        item_factors=table(n_items, n_dot + n_net_item, 0.6),
        item_bias=table(n_items, 1, 0.4)[:, 0],
        global_bias=0.3,
        rating_range=rating_range,
        n_dot_factors=n_dot,
        layers=layers,
    )


def make_two_part_model(
    architecture: Architecture = "dot-product", *, n_users: int = N_USERS, n_items: int = N_ITEMS, seed: int = 7
) -> TrainedModel:
    """Make a model that predicts ratings and has a ranking part of 6 factors and the bias."""
    rating = make_model(architecture, n_users=n_users, n_items=n_items, seed=seed)
    ranking = make_model(
        n_users=n_users, n_items=n_items, n_factors=6, rating_range=None, objective="ranking", seed=seed + 1
    )
    weight = 0.0 if rating.layers else 0.25
    return join_ranking_part(rating, ranking, Order(weight, 1.0), Order(2 * weight, 1.0, -0.1))


def make_dataset(n_users: int = N_USERS, n_items: int = N_ITEMS, *, ratings_per_user: int = 12) -> RatingsDataset:
    """Make half-star ratings of items i000... by users u000...; every item has a title and one or two genres.

    All users but the last have rated, and all of them have rated the first item. One item in ten has no release year.
    """
    random = np.random.default_rng(3)
    raters = n_users - 1
    item_rows = np.stack(
        [
            np.append(0, 1 + random.choice(n_items - 1, min(ratings_per_user, n_items) - 1, replace=False))
            for _ in range(raters)
        ]
    )
    width = len(str(max(n_users, n_items) - 1))
    catalogue = Catalogue(
        item_ids=[f"i{row:0{width}}" for row in range(n_items)],
        titles=[f"The Film of {row}" for row in range(n_items)],
        genres=[tuple(sorted({GENRES[row % 4], GENRES[row // 4 % 4]})) for row in range(n_items)],
        release_years=np.array([1960 + row % 60 if row % 10 else 0 for row in range(n_items)], dtype=np.int64),
    )
    return RatingsDataset(
        name="synthetic",
        user_ids=[f"u{row:0{width}}" for row in range(n_users)],
        catalogue=catalogue,
        user_rows=np.repeat(np.arange(raters), item_rows.shape[1]).astype(np.int32),
        item_rows=item_rows.ravel().astype(np.int32),
        ratings=(random.integers(1, 11, item_rows.size) / 2).astype(np.float32),
        timestamps=None,
        rating_min=0.5,
        rating_max=5.0,
    )


def attribute_values(row: int) -> dict[str, object]:
    """Return what `with_attributes` makes of an item row; None where it is not known."""
    tags = tuple(tag for tag, every in (("new", 4), ("sale", 3)) if row % every == 0)
    return {
        "brand": None if row % 7 == 0 else ("Acme", "Bolt", "Cog")[row % 3],
        "price": None if row % 10 == 0 else row / 4,
        "in_stock": None if row % 11 == 0 else row % 2 == 0,
        "tags": tags or None,
        "added": None if row % 9 == 0 else datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=row, microseconds=row),
    }


def with_attributes(dataset: RatingsDataset) -> RatingsDataset:
    """Return the dataset with an attribute of every type, which follow from the item's row (`attribute_values`)."""
    rows = [attribute_values(row) for row in range(dataset.n_items)]
    types = {"brand": "text", "price": "number", "in_stock": "boolean", "tags": "texts", "added": "time"}
    columns = [AttributeColumn.of_values(name, kind, [row[name] for row in rows]) for name, kind in types.items()]
    return replace(dataset, catalogue=replace(dataset.catalogue, attributes=ItemAttributes(tuple(columns))))


def with_profiles(dataset: RatingsDataset, generosity: np.ndarray | None = None) -> RatingsDataset:
    """Return the dataset with sign-up answers that follow a user's generosity: "mood", and "age" (older is stricter).

    generosity (n_users,) is the user's mean rating unless it is given. The last user, who has no ratings, has no
    answers either.
    """
    totals = np.bincount(dataset.user_rows, dataset.ratings, minlength=dataset.n_users)
    means = totals / np.maximum(1, np.bincount(dataset.user_rows, minlength=dataset.n_users))
    if generosity is not None:
        means = generosity
    typical = np.median(means[:-1])
    answers = {
        "age": [*(np.round(40 + 30 * (typical - mean)) for mean in means[:-1]), np.nan],
        "mood": [*("generous" if mean > typical else "strict" for mean in means[:-1]), None],
    }
    return replace(dataset, profiles=pd.DataFrame(answers, index=list(dataset.user_ids)))
