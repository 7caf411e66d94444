"""A shop of films whose ratings grow: a version that knows the first of them, and tables with more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.scoring.numpy_scorer import predict_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel
from tests.support.synthetic import make_dataset, make_two_part_model

Row = tuple[str, str, float]
# A new user whose id comes first, and a new item whose id comes first: all rows change their numbers.
NEWCOMERS: list[Row] = [
    ("a", "i000", 5.0),
    ("a", "i001", 4.5),
    ("a", "an", 5.0),
    ("u003", "an", 5.0),
    ("u004", "an", 4.5),
]


def exact_model_and_ratings() -> tuple[TrainedModel, RatingsDataset]:
    """Return a model with a ranking part, and ratings that it predicts without an error."""
    model, dataset = make_two_part_model(), make_dataset()
    return model, replace(dataset, ratings=predict_ratings(model, dataset).clip(0.5, 5.0))


def rows_of(dataset: RatingsDataset) -> list[Row]:
    """Return the ratings as (user id, item id, rating)."""
    items = dataset.catalogue.item_ids
    columns = dataset.user_rows.tolist(), dataset.item_rows.tolist(), dataset.ratings.tolist()
    return [(dataset.user_ids[user], items[item], rating) for user, item, rating in zip(*columns, strict=True)]


def unrated_rows(model: TrainedModel, dataset: RatingsDataset, *, per_user: int, shift: float) -> list[Row]:
    """Return ratings of further items, per_user of every user: what the model predicts plus a shift."""
    rated = {(user, item) for user, item, _ in rows_of(dataset)}
    random, rows = np.random.default_rng(4), []
    for user_row in range(dataset.n_users - 1):
        user = dataset.user_ids[user_row]
        free = [row for row, item in enumerate(dataset.catalogue.item_ids) if (user, item) not in rated]
        chosen = random.choice(free, per_user, replace=False)
        pairs = replace(
            dataset,
            user_rows=np.full(per_user, user_row, np.int32),
            item_rows=chosen.astype(np.int32),
            ratings=np.zeros(per_user, np.float32),
        )
        shifted = (predict_ratings(model, pairs) + shift).clip(0.5, 5.0).tolist()
        rows += [(user, dataset.catalogue.item_ids[row], rating) for row, rating in zip(chosen, shifted, strict=True)]
    return rows


def write_table(path: Path, *batches: Sequence[Row]) -> Path:
    """Write ratings as a table; those of every batch are later than those of the one before."""
    lines = ["user_id,item_id,rating,timestamp"]
    for number, batch in enumerate(batches):
        lines += [f"{user},{item},{rating!r},{1_700_000_000 + 86_400 * number}" for user, item, rating in batch]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
