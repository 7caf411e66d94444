"""Named recipes: an architecture and how to train it.

p1 to p12 are the published ones (docs/benchmarks/published.md has the figures); the others are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

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
    "blend",
]


@dataclass(frozen=True)
class Recipe:
    """How a model is built and trained.

    Attributes:
        name: of the recipe.
        model: "dot-product", "dot-product-bias" or "neural-network"; the same with implicit feedback on both sides
            ("implicit-dot-product", "implicit-neural-network"), or the sum of those two ("hybrid"); a
            dot product that orders items and predicts no ratings ("ranking"); or the mean of several
            put back into one dot product ("blend").
        n_factors: columns of both tables, or None for the rule of thumb min(600, round(1.6 n^0.56)).
        rating_range: ends of the sigmoid; "auto" for an eighth of the scale beyond both ends of it (a sigmoid
            reaches its ends only at infinity); None for no sigmoid at all.
        centred: begin at the mean rating, not at the middle of the range.
        hidden_layers: widths of the network's hidden layers.
        batch_norm: normalise after each hidden layer.
        embedding_dropout: of the network's input.
        hidden_dropout: after each hidden layer.
        initial_std: of the factors and biases; normal, cut at two standard deviations.
        epochs: passes over the ratings; sweeps of the sampler for a blend.
        batch_size: ratings a step; users a step where the model is "ranking".
        steps_per_epoch: larger batches where there would be more steps than this; None for no limit. Implicit sums cost
            a pass over all ratings in every step, so their number must not grow with the ratings.
        learning_rate: the highest of the schedule.
        schedule: "one-cycle" or "constant".
        weight_decay: of the factors, decoupled from the gradient.
        bias_weight_decay: of the user and item biases; that of the factors where None.
        network_weight_decay: of the network's weights; that of the factors where None.
        side_information: learn from genres, release years and profiles; models with implicit feedback only.
        side_weight_decay: of the vectors of those features.
    """

    name: str
    model: ModelKind
    n_factors: int | None = 50
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
    learning_rate: float = 5e-3
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    weight_decay: float = 0.1
    bias_weight_decay: float | None = None
    network_weight_decay: float | None = None
    side_information: bool = False
    side_weight_decay: float = 5.0

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
        """What the model is trained for."""
        return "ranking" if self.model == "ranking" else "rating"

    @property
    def has_network(self) -> bool:
        """Whether the model is not, or not only, a dot product."""
        return self.model in ("neural-network", "implicit-neural-network", "hybrid")

    def batch_size_for(self, n_ratings: int) -> int:
        """Ratings a step when there are so many in all."""
        return (
            self.batch_size
            if self.steps_per_epoch is None
            else max(self.batch_size, -(-n_ratings // self.steps_per_epoch))
        )

    def hyperparameters(self) -> dict[str, str]:
        """Every setting as text, for the manifest."""
        return {field.name: _as_text(getattr(self, field.name)) for field in fields(self)}


def resolve_range(recipe: Recipe, dataset: RatingsDataset, *, allow_misfit: bool = False) -> Range | None:
    """The ends of the sigmoid for these ratings.

    Raises:
        RecipeError: a rating lies outside, so that the model could never predict it; unless ``allow_misfit``.
    """
    if recipe.rating_range is None:
        return None
    if recipe.rating_range == "auto":
        margin = (dataset.rating_max - dataset.rating_min) / 8
        return dataset.rating_min - margin, dataset.rating_max + margin
    low, high = recipe.rating_range
    if not low < high:
        raise RecipeError(f"the rating range {low:g} to {high:g} is empty")
    # In single precision, as the ratings are: in double precision 0.7 is more than the rating 0.7.
    lowest, highest = np.float32(low), np.float32(high)
    if not allow_misfit and not lowest <= dataset.rating_min <= dataset.rating_max <= highest:
        raise RecipeError(
            f"the rating range {low:g} to {high:g} of recipe {recipe.name} does not hold the ratings, which go from "
            f"{dataset.rating_min:g} to {dataset.rating_max:g}: the model could never predict them. Give another "
            "--rating-range (auto fits the ratings), or --allow-misfit-range to train regardless"
        )
    return low, high


def embedding_size(n_categories: int) -> int:
    """Rule of thumb for the factors of a table of n categories, the unknown one counted (fastai's emb_sz_rule)."""
    size: float = 1.6 * n_categories**0.56
    return min(600, round(size))


_PUBLISHED_NET = Recipe("p9", "neural-network", n_factors=None, hidden_layers=(100, 50))

# docs/decisions/0003-recipes.md says what was tried.
_DOT_BIAS = Recipe(
    "dot-bias",
    "implicit-dot-product",
    rating_range="auto",
    centred=True,
    epochs=10,
    batch_size=1024,
    steps_per_epoch=100,
    learning_rate=1e-2,
    weight_decay=2.25,
    bias_weight_decay=0.05,
    side_information=True,
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
_BEST = Recipe("best", "blend", n_factors=128, rating_range="auto", epochs=150)
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
            learning_rate=1e-2,
            weight_decay=0.8,
            bias_weight_decay=0.05,
        ),
        _DOT_BIAS,
        _RANKING,
        _NEURAL_NET,
        _HYBRID,
        _BEST,
    )
}
DEFAULT_RECIPE = "dot-bias"


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        RecipeError: there is none.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise RecipeError(f"there is no recipe {name!r}: choose from {', '.join(RECIPES)}") from None


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{part:g}" for part in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
