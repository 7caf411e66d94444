"""Define the recipes: named combinations of an architecture and its training settings.

p1 to p12 are published models (docs/benchmarks/published.md has their figures); the others are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.scoring.trained_model import Objective

Range = tuple[float, float]
ModelKind = Literal[
    "dot-product",
    "dot-product-bias",
    "neural-network",
    "implicit-dot-product",
    "implicit-neural-network",
    "hybrid",
    "ranking",
    "sparse-ranking",
    "blend",
]


_SMALLEST_BATCH = 16
# Measured on whole users of ML-100k: docs/decisions/0003-recipes.md.
_ENOUGH_RATINGS, _FEW_RATINGS = 50_000, 2_000
_DECAY_EXPONENT = 0.65


@dataclass(frozen=True)
class Recipe:
    """Settings to build and train a model.

    Attributes:
        name: name of the recipe.
        model: "dot-product", "dot-product-bias" or "neural-network"; the same with implicit feedback on both sides
            ("implicit-dot-product", "implicit-neural-network") or the sum of those two ("hybrid"); a dot product that
            ranks items and predicts no ratings ("ranking"); or the mean of several models, approximated by one dot
            product ("blend").
        n_factors: columns of both factor tables; None for the rule of thumb min(600, round(1.6 n^0.56)).
        n_exported_factors: columns that a ranking is reduced to after training, because a wide model learns better and
            a narrow one is faster; None for all.
        rating_range: ends of the sigmoid. "auto" extends the rating scale by an eighth at both ends, because a sigmoid
            reaches its ends only at infinity. None for no sigmoid.
        centred: True to start at the mean rating, False to start at the middle of the range.
        hidden_layers: widths of the network's hidden layers.
        batch_norm: True to normalise after each hidden layer.
        embedding_dropout: dropout of the network's input.
        hidden_dropout: dropout after each hidden layer.
        initial_std: standard deviation of the initial factors and biases.
        epochs: passes over the ratings; for a blend, sweeps of each sampler.
        batch_size: ratings per step; for the model "ranking", users per step.
        steps_per_epoch: most steps in an epoch, reached with larger batches; None for no limit. Each step of a model
            with implicit feedback passes over all ratings, so its steps must not grow with the ratings.
        min_steps_per_epoch: fewest steps in an epoch, reached with smaller batches of at least 16 ratings, or users to
            rank; None for no limit. A table of 2,000 ratings would otherwise be learnt in two steps an epoch.
        learning_rate: highest learning rate of the schedule.
        schedule: "one-cycle" or "constant".
        weight_decay: weight decay of the factors, decoupled from the gradient.
        adapts_weight_decay: True to raise weight_decay for tables of fewer than 50,000 ratings (`adapted_to`).
        bias_weight_decay: weight decay of the user and item biases; None for that of the factors.
        network_weight_decay: weight decay of the network's weights; None for that of the factors.
        own_weight_decay: weight decay of the users' own vectors in a ranking; None for that of the factors.
        side_information: True to learn from genres, release years and profiles, in models with implicit feedback.
        side_weight_decay: weight decay of the vectors of those features.
        history_weights: weights of the lowest and of the highest rating in the history that a ranking sums up.
        history_power: a sum over n rated items is divided by n to this power, in a ranking.
        ranking: recipes of the ranking part, which orders the recommendations; the mean of their models is used.
        rating_weight: weight of the logit of the rating in the order; that of the ranking logit is 1.
        new_user_rating_weight: the same for new users.
    """

    name: str
    model: ModelKind
    n_factors: int | None = 50
    n_exported_factors: int | None = None
    rating_range: Range | Literal["auto"] | None = (0.0, 5.5)
    centred: bool = False
    hidden_layers: tuple[int, ...] = ()
    batch_norm: bool = True
    embedding_dropout: float = 0.0
    hidden_dropout: float = 0.0
    initial_std: float = 0.01
    epochs: int = 5
    batch_size: int = 64
    steps_per_epoch: int | None = None
    min_steps_per_epoch: int | None = None
    learning_rate: float = 5e-3
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    weight_decay: float = 0.1
    adapts_weight_decay: bool = False
    bias_weight_decay: float | None = None
    network_weight_decay: float | None = None
    own_weight_decay: float | None = None
    side_information: bool = False
    side_weight_decay: float = 5.0
    history_weights: Range = (0.1, 1.3)
    history_power: float = 0.5
    ranking: tuple[Recipe, ...] = ()
    rating_weight: float = 0.25
    new_user_rating_weight: float = 0.5

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.n_factors is not None and not 1 <= self.n_factors <= 4096:
            raise RecipeError(f"n_factors is {self.n_factors}: it must be 1 to 4096")
        if not 0 < self.learning_rate < float("inf"):
            raise RecipeError(f"learning_rate is {self.learning_rate}: it must be above 0")
        if not 0 <= self.weight_decay < float("inf"):
            raise RecipeError(f"weight_decay is {self.weight_decay}: it must be 0 or more")

    @property
    def objective(self) -> Objective:
        """The objective of the training: predicted ratings or a ranking."""
        return "ranking" if self.model in ("ranking", "sparse-ranking") else "rating"

    @property
    def has_network(self) -> bool:
        """True if the model has a neural network, alone or with a dot product."""
        return self.model in ("neural-network", "implicit-neural-network", "hybrid")

    def batch_size_for(self, n_ratings: int) -> int:
        """Return the batch size for n_ratings ratings, which the limits of the steps per epoch may change."""
        size = self.batch_size
        if self.min_steps_per_epoch is not None:
            size = min(size, max(_SMALLEST_BATCH, math.ceil(n_ratings / self.min_steps_per_epoch)))
        if self.steps_per_epoch is not None:
            size = max(size, math.ceil(n_ratings / self.steps_per_epoch))
        return size

    def adapted_to(self, n_ratings: int) -> Recipe:
        """Return the recipe for n_ratings ratings: the fewer there are, the more the factors decay.

        The weight decay grows as a power of the number of ratings, to 4.5 times at 5,000 ratings and to 8.1 times at
        2,000 and fewer. From 50,000 ratings on the recipe stays the same.
        """
        if not self.adapts_weight_decay or n_ratings >= _ENOUGH_RATINGS:
            return self
        factor = (_ENOUGH_RATINGS / max(n_ratings, _FEW_RATINGS)) ** _DECAY_EXPONENT
        return replace(self, weight_decay=self.weight_decay * factor, adapts_weight_decay=False)

    def with_settings(self, **settings: Any) -> Recipe:
        """Return the recipe with other settings. A batch size or weight decay that is given is used as it is."""
        if "batch_size" in settings:
            settings["min_steps_per_epoch"] = None
        if "weight_decay" in settings:
            settings["adapts_weight_decay"] = False
        return replace(self, **settings)

    def hyperparameters(self) -> dict[str, str]:
        """Return all settings as text, for the manifest; those of the ranking part begin with a name."""
        settings = {
            field.name: _as_text(getattr(self, field.name)) for field in fields(self) if field.name != "ranking"
        }
        for member in self.ranking:
            settings |= {f"{member.name}.{name}": text for name, text in member.hyperparameters().items()}
        return settings


def resolve_range(recipe: Recipe, dataset: RatingsDataset, *, allow_misfit: bool = False) -> Range | None:
    """Return the ends of the sigmoid for these ratings, or None for no sigmoid.

    Raises:
        RecipeError: the range is empty, or the rating scale exceeds it and ``allow_misfit`` is False.
    """
    if recipe.rating_range is None:
        return None
    if recipe.rating_range == "auto":
        margin = (dataset.rating_max - dataset.rating_min) / 8
        return dataset.rating_min - margin, dataset.rating_max + margin
    low, high = recipe.rating_range
    if not low < high:
        raise RecipeError(f"the rating range {low:g} to {high:g} is empty: swap the ends of --rating-range")
    # Compare in single precision, as the ratings are: 0.7 in double precision is above a rating of 0.7.
    lowest, highest = np.float32(low), np.float32(high)
    if not allow_misfit and not lowest <= dataset.rating_min <= dataset.rating_max <= highest:
        raise RecipeError(
            f"the rating range {low:g} to {high:g} of recipe {recipe.name} does not contain all ratings, which go from "
            f"{dataset.rating_min:g} to {dataset.rating_max:g}, so the model cannot predict some of them: use "
            "--rating-range auto, or --allow-misfit-range to train regardless"
        )
    return low, high


def embedding_size(n_categories: int) -> int:
    """Return the rule of thumb for the factors of n categories, the unknown one included (fastai's emb_sz_rule)."""
    size: float = 1.6 * n_categories**0.56
    return min(600, round(size))


_PUBLISHED_NET = Recipe("p9", "neural-network", n_factors=None, hidden_layers=(100, 50))

_RANKING = Recipe(
    "ranking",
    "ranking",
    n_factors=200,
    rating_range=None,
    epochs=30,
    batch_size=128,
    learning_rate=5e-3,
    weight_decay=3.0,
)
# For millions of users: softmax over a sample of the items, and little memory beside the data.
_RANKING_LARGE = Recipe(
    "ranking-large",
    "sparse-ranking",
    n_factors=32,
    rating_range=None,
    epochs=10,
    batch_size=128,
    learning_rate=0.3,
    weight_decay=0.2,
)
# The ranking part of the recipes that predict ratings: narrower than a version that only ranks.
_RANKING_PART = replace(
    _RANKING,
    name="ranking-part",
    n_exported_factors=50,
    epochs=15,
    min_steps_per_epoch=8,
    learning_rate=2e-2,
    weight_decay=4.5,
    own_weight_decay=1.0,
)

# Models that err in different ways: their mean orders better than any of them.
_RANKING_BLEND = (
    replace(_RANKING_PART, name="ranking-1", n_exported_factors=64, history_power=0.6),
    replace(_RANKING_PART, name="ranking-2", n_factors=100, epochs=30, weight_decay=4.0, side_information=True),
    replace(_RANKING_PART, name="ranking-3", side_information=True, history_weights=(0.7, 1.3)),
    replace(_RANKING_PART, name="ranking-4", history_weights=(0.7, 1.3)),
)

# docs/decisions/0003-recipes.md records what was tried.
_DOT_BIAS = Recipe(
    "dot-bias",
    "implicit-dot-product",
    rating_range="auto",
    centred=True,
    epochs=10,
    batch_size=1024,
    steps_per_epoch=100,
    min_steps_per_epoch=50,
    learning_rate=1e-2,
    weight_decay=2.25,
    adapts_weight_decay=True,
    bias_weight_decay=0.05,
    side_information=True,
    ranking=(_RANKING_PART,),
)

_NEURAL_NET = replace(
    _DOT_BIAS,
    name="neural-net",
    model="implicit-neural-network",
    weight_decay=1.5,
    hidden_layers=(100, 50),
    embedding_dropout=0.4,
    network_weight_decay=0.1,
)
_HYBRID = replace(
    _NEURAL_NET, name="hybrid", model="hybrid", weight_decay=2.25, embedding_dropout=0.5, network_weight_decay=0.5
)
_BEST = Recipe("best", "blend", n_factors=128, rating_range="auto", epochs=90, ranking=_RANKING_BLEND)
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("p1", "dot-product", rating_range=None, weight_decay=0.0),
        Recipe("p2", "dot-product", n_factors=5, rating_range=None, weight_decay=0.0),
        Recipe("p3", "dot-product", weight_decay=0.0),
        Recipe("p4", "dot-product-bias", weight_decay=0.0),
        Recipe("p5", "dot-product-bias", weight_decay=0.1),
        Recipe("p6", "dot-product-bias", weight_decay=0.2),
        Recipe("p7", "dot-product-bias", weight_decay=0.2),
        Recipe("p8", "dot-product-bias", weight_decay=0.1),
        _PUBLISHED_NET,
        replace(_PUBLISHED_NET, name="p10"),
        replace(_PUBLISHED_NET, name="p11", hidden_layers=(100,), rating_range=(0.0, 0.5)),
        Recipe(
            "p12",
            "neural-network",
            hidden_layers=(10,),
            batch_norm=False,
            embedding_dropout=0.5,
            hidden_dropout=0.5,
            epochs=15,
            learning_rate=1e-3,
            schedule="constant",
            weight_decay=2e-5,
        ),
        Recipe(
            "fast",
            "dot-product-bias",
            rating_range="auto",
            centred=True,
            epochs=8,
            batch_size=512,
            min_steps_per_epoch=50,
            learning_rate=1e-2,
            weight_decay=0.8,
            adapts_weight_decay=True,
            bias_weight_decay=0.05,
        ),
        _DOT_BIAS,
        _RANKING,
        _RANKING_LARGE,
        _NEURAL_NET,
        _HYBRID,
        _BEST,
    )
}
DEFAULT_RECIPE = "dot-bias"
EVENT_RECIPE = "ranking"
LARGE_RECIPE = "ranking-large"


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name.

    Raises:
        RecipeError: there is no recipe of that name.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise RecipeError(f"there is no recipe {name!r}: choose from {', '.join(RECIPES)}") from None


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{part:g}" for part in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
