"""Export versions of any size with random factors: their recommendations are nonsense, their cost is real."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Catalogue:
    """The size of a synthetic version.

    Attributes:
        n_ratings: mean number of ratings per user; the numbers are log-normal, like those of MovieLens.
        n_ranking_factors: factors of the ranking part; 0 for a version without one.
        has_attributes: True for items with an attribute of every type.
    """

    name: str
    n_users: int
    n_items: int
    n_factors: int
    n_ratings: int
    n_ranking_factors: int = 0
    has_attributes: bool = False

    def models(self, cache: Path) -> Path:
        """Return the folder of models that holds only this one: a server loads every model of its folder."""
        return cache / "models" / self.name


ML100K = Catalogue("items-1682", 943, 1_682, 50, 106)
"""The shape of MovieLens 100K."""
ML100K_TWO_PARTS = replace(ML100K, name="items-1682-two-parts", n_ranking_factors=50)
"""The same with a ranking part of the size that `cofactor-train` gives it."""
HUNDRED_THOUSAND = Catalogue("items-100k", 2_000, 100_000, 64, 100)
MILLION = Catalogue("items-1m", 2_000, 1_000_000, 64, 100)


def write(catalogue: Catalogue, cache: Path) -> Path:
    """Export the version into a cache folder unless it is there; return its directory."""
    models_dir = catalogue.models(cache)
    place = models_dir / catalogue.name / "1"
    if place.exists():
        return place
    from benchmarks.serving.attributes import make_attributes
    from cofactor_trainer.data.dataset import Catalogue as Items
    from cofactor_trainer.data.dataset import RatingsDataset
    from cofactor_trainer.export.version_writer import export_version
    from cofactor_trainer.scoring.ranking_part import join_ranking_part
    from cofactor_trainer.scoring.trained_model import Order, TrainedModel

    random = np.random.default_rng(7)
    n_users, n_items = catalogue.n_users, catalogue.n_items
    counts = np.clip(random.lognormal(np.log(catalogue.n_ratings) - 0.5, 1.0, n_users), 5, n_items // 2).astype(int)
    popularity = random.pareto(1.0, n_items) + 0.1
    item_rows = random.choice(n_items, counts.sum(), p=popularity / popularity.sum())
    dataset = RatingsDataset(
        name=f"synthetic, {n_items:,} items",
        user_ids=sorted(str(number) for number in range(1, n_users + 1)),
        catalogue=Items(
            item_ids=sorted(str(number) for number in range(1, n_items + 1)),
            titles=[f"Film {row}" for row in range(n_items)],
            genres=[("Drama", "War")[: row % 3] for row in range(n_items)],
            release_years=np.full(n_items, 1990, dtype=np.int64),
            **({"attributes": make_attributes(n_items)} if catalogue.has_attributes else {}),
        ),
        user_rows=np.repeat(np.arange(n_users, dtype=np.int32), counts),
        item_rows=item_rows.astype(np.int32),
        ratings=random.integers(1, 6, len(item_rows)).astype(np.float32),
        timestamps=None,
        rating_min=1.0,
        rating_max=5.0,
    )

    def factors(n_rows: int, n_columns: int) -> np.ndarray:
        return (random.standard_normal((n_rows, n_columns)) * 0.35).astype(np.float32)

    def dot_product(n_factors: int) -> TrainedModel:
        return TrainedModel(
            architecture="dot-product",
            objective="rating",
            user_factors=factors(n_users + 1, n_factors),
            user_bias=factors(n_users + 1, 1)[:, 0],
            item_factors=factors(n_items + 1, n_factors),
            item_bias=factors(n_items + 1, 1)[:, 0],
            global_bias=0.6,
            rating_range=(0.0, 5.5),
            n_dot_factors=n_factors,
        )

    model = dot_product(catalogue.n_factors)
    if catalogue.n_ranking_factors:
        order = Order(0.25, 1.0)
        model = join_ranking_part(model, dot_product(catalogue.n_ranking_factors), order, order)
    return export_version(model, dataset, models_dir, catalogue.name, "1", metrics={}, hyperparameters={})
