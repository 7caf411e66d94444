"""Enumerate the graphs that have templates, at any sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.profile_regression import ProfileModel
from cofactor_trainer.graphs.graph_spec import GraphSpec
from cofactor_trainer.graphs.graph_specs import (
    embed_user_spec,
    predict_spec,
    recommend_spec,
    similar_items_spec,
    similarity_spec,
)
from cofactor_trainer.graphs.new_items.exchange import exchange_model
from cofactor_trainer.graphs.new_items.fold_in import build_item_fold_in, embed_item_spec
from cofactor_trainer.graphs.new_items.priors import BiasRegression, ItemPriors, ItemRankingPrior
from cofactor_trainer.graphs.ranking_fold_in import RankingSpace, build_fold_in
from cofactor_trainer.graphs.recommend import Recommend
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.templates.parameters import graph_parameters
from cofactor_trainer.graphs.user_prior import UserPrior, UserPriors
from cofactor_trainer.scoring.ranking_part import join_ranking_part, ranking_factors
from cofactor_trainer.scoring.trained_model import Architecture, Layer, Objective, Order, TrainedModel


@dataclass(frozen=True)
class Range:
    """Sizes that a template is for: items, columns of sign-up answers or attributes, and every other size.

    The other sizes are those of factors and hidden units. There may be as many columns as factors.
    """

    fewest_items: int
    most_items: int
    fewest: int
    most: int
    fewest_columns: int = 1


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        architecture: architecture of the rating part.
        n_layers: layers of the network.
        has_range: True if a sigmoid limits the ratings.
        objective: what the model was trained for.
        has_ranking: True if the model has a ranking part.
        has_events: True if the model learnt from events.
    """

    architecture: Architecture
    n_layers: int = 0
    has_range: bool = True
    objective: Objective = "rating"
    has_ranking: bool = False
    has_events: bool = False

    @property
    def label(self) -> str:
        """A name for files."""
        parts = [self.architecture, f"{self.n_layers} layers" if self.n_layers else ""]
        parts += ["" if self.has_range else "no range", self.objective if self.objective == "ranking" else ""]
        return " ".join(
            [part for part in parts if part] + ["ranking part"] * self.has_ranking + ["events"] * self.has_events
        )


# Widest hidden layers. The exporter transposes weights of up to 8192 numbers, and leaves larger ones to the graph.
WIDEST_FIRST, WIDEST = 128, 63

KINDS = (
    Kind("dot-product"),
    Kind("dot-product", has_ranking=True),
    Kind("dot-product", has_range=False, objective="ranking"),
    Kind("dot-product", has_ranking=True, has_events=True),
    Kind("dot-product", has_range=False, objective="ranking", has_events=True),
)


class SizeSampler:
    """Draws the sizes and the numbers of a model: all at one end of the range, or anywhere in it."""

    def __init__(self, sizes: Range, place: str, seed: int) -> None:
        self._sizes, self._place = sizes, place
        self.random = np.random.default_rng(seed)

    def items(self) -> int:
        """Draw a number of items."""
        place = {"most items": "most", "most factors": "anywhere"}.get(self._place, self._place)
        return self._draw(place, self._sizes.fewest_items, self._sizes.most_items)

    def size(self) -> int:
        """Draw another size."""
        place = {"most items": "anywhere", "most factors": "most"}.get(self._place, self._place)
        return self._draw(place, self._sizes.fewest, self._sizes.most)

    def columns(self) -> int:
        """Draw a number of columns of sign-up answers or attributes."""
        place = {"most items": "anywhere", "most factors": "most"}.get(self._place, self._place)
        return self._draw(place, self._sizes.fewest_columns, self._sizes.most)

    def width(self, most: int) -> int:
        """Draw the width of a hidden layer."""
        place = {"most items": "anywhere", "most factors": "most"}.get(self._place, self._place)
        return self._draw(place, self._sizes.fewest, most)

    def _draw(self, place: str, fewest: int, most: int) -> int:
        if place in ("fewest", "most"):
            return fewest if place == "fewest" else most
        # Most models are small, and tables of the largest sizes would not fit into memory.
        share = self.random.random() ** 3
        return fewest + int((most - fewest) * share)

    def numbers(self, *shape: int) -> Float32Array:
        """Draw numbers, all different."""
        return self.random.normal(0, 0.5, shape).astype(np.float32)


def make_model(kind: Kind, sampler: SizeSampler) -> TrainedModel:
    """Make a model of random numbers."""
    n_users, n_items = 3, sampler.items()
    n_dot = 0 if kind.architecture == "neural-network" else sampler.size()
    n_user_net, n_item_net, layers = 0, 0, []
    if kind.n_layers:
        n_user_net, n_item_net = sampler.size(), sampler.size()
        hidden = [sampler.width(WIDEST_FIRST if not number else WIDEST) for number in range(kind.n_layers - 1)]
        widths = [n_user_net + n_item_net, *hidden, 1]
        layers = [Layer(sampler.numbers(out, n), sampler.numbers(out)) for n, out in itertools.pairwise(widths)]
    low, width, bias = sampler.random.random(3).tolist()
    model = TrainedModel(
        architecture=kind.architecture,
        objective=kind.objective,
        user_factors=sampler.numbers(n_users + 1, n_dot + n_user_net),
        user_bias=sampler.numbers(n_users + 1),
        item_factors=sampler.numbers(n_items + 1, n_dot + n_item_net),
        item_bias=sampler.numbers(n_items + 1),
        global_bias=bias,
        rating_range=(low, low + 1 + width) if kind.has_range else None,
        n_dot_factors=n_dot,
        layers=tuple(layers),
    )
    if not kind.has_ranking:
        return model
    n_ranking = sampler.size()
    ranking = replace(
        model,
        user_factors=sampler.numbers(n_users + 1, n_ranking),
        item_factors=sampler.numbers(n_items + 1, n_ranking),
        item_bias=sampler.numbers(n_items + 1),
        n_dot_factors=n_ranking,
        layers=(),
    )
    return join_ranking_part(model, ranking, Order(), Order())


def graphs_of(
    model: TrainedModel, sampler: SizeSampler, *, has_events: bool = False
) -> dict[str, Callable[[], GraphSpec]]:
    """Return functions that specify every graph of a model, by name."""
    scorer = Scorer(model)
    popularity, norms = (torch.from_numpy(sampler.numbers(scorer.n_items + 1)) for _ in range(2))
    ranked = None
    if scorer.network is not None and scorer.n_ranking:
        ranked = Recommend(scorer, popularity, reads_network=False)
    return {
        "predict": lambda: predict_spec(scorer),
        "recommend": lambda: recommend_spec(scorer, Recommend(scorer, popularity), None, ranked),
        "similar_items": lambda: similar_items_spec(scorer, norms),
        "similarity": lambda: similarity_spec(scorer, norms),
        "embed_user": lambda: _embed_user(model, scorer, sampler, 0, has_events),
        "embed_user with profile": lambda: _embed_user(model, scorer, sampler, sampler.columns(), has_events),
        "embed_item": lambda: _embed_item(model, sampler, 0, has_events),
        "embed_item with attributes": lambda: _embed_item(model, sampler, sampler.columns(), has_events),
    }


def _embed_user(
    model: TrainedModel, scorer: Scorer, sampler: SizeSampler, n_profile_columns: int, has_events: bool
) -> GraphSpec:
    priors = UserPriors(_prior(model.n_user_columns + 1, sampler, n_profile_columns))
    if model.n_ranking_factors or model.objective == "ranking":
        factors, _ = ranking_factors(model)
        priors = replace(priors, ranking=_prior(factors.shape[1], sampler, n_profile_columns))
    scale, events = _scale(sampler, has_events)
    return embed_user_spec(build_fold_in(model, scorer, priors, scale, events))


def _scale(sampler: SizeSampler, has_events: bool) -> tuple[tuple[float, float], EventFeedback | None]:
    low, width = sampler.random.random(2).tolist()
    return (low, low + 1 + width), EventFeedback(mean_weight=0.5 + width) if has_events else None


def _embed_item(model: TrainedModel, sampler: SizeSampler, n_attribute_columns: int, has_events: bool) -> GraphSpec:
    model = exchange_model(model)  # the table that the graph reads is that of the users, so it must have the drawn size
    rating = None
    if model.objective == "rating":
        rating = _prior(model.n_item_columns + 1, sampler, n_attribute_columns)
    ranking = None
    if model.n_ranking_factors or model.objective == "ranking":
        ranking = _item_ranking_prior(model, sampler, n_attribute_columns)
    scale, events = _scale(sampler, has_events)
    return embed_item_spec(build_item_fold_in(model, ItemPriors((), rating, ranking), scale, events))


def _item_ranking_prior(model: TrainedModel, sampler: SizeSampler, n_attribute_columns: int) -> ItemRankingPrior:
    n_factors = ranking_factors(model)[0].shape[1]
    first = model.n_user_columns if model.n_ranking_factors else 0
    users = model.user_factors[:-1, first : first + n_factors]
    prior = _prior(n_factors, sampler, n_attribute_columns)
    n_rating = model.n_item_columns + 1 if model.objective == "rating" else 0
    weights = sampler.numbers(n_factors + n_rating), sampler.numbers(n_attribute_columns)
    row_weight, attribute_weight = (weight.astype(np.float64) for weight in weights)
    offset = float(sampler.numbers(1)[0])
    bias = BiasRegression(row_weight, attribute_weight, offset, 0.0)
    return ItemRankingPrior(prior, RankingSpace.of(users, sampler.numbers(len(users)), prior), bias)


def _prior(width: int, sampler: SizeSampler, n_profile_columns: int) -> UserPrior:
    root = sampler.numbers(width, width).astype(np.float64)
    weight = sampler.numbers(n_profile_columns, width).astype(np.float64)
    profile = ProfileModel((), weight) if n_profile_columns else None
    return UserPrior(sampler.numbers(width).astype(np.float64), root @ root.T + np.eye(width), profile)


def distinct_graphs() -> list[tuple[Kind, str]]:
    """Return kinds of models with the names of their graphs, without graphs that other kinds have too."""
    found: dict[tuple[str, ...], tuple[Kind, str]] = {}
    smallest = Range(5, 5, 4, 4)
    for kind in KINDS:
        sampler = SizeSampler(smallest, "fewest", 0)
        for name, specify in graphs_of(make_model(kind, sampler), sampler, has_events=kind.has_events).items():
            parameters = graph_parameters(specify())
            # Code branches on numbers that are 0.
            zeros = (number for number, value in parameters.numbers.items() if value == 0)
            found.setdefault((parameters.digest, *zeros), (kind, name))
    return list(found.values())


def make_spec(kind: Kind, name: str, sizes: Range, place: str, seed: int) -> GraphSpec:
    """Specify a graph; place is "fewest", "most items", "most factors" or "anywhere" in the range of sizes."""
    sampler = SizeSampler(sizes, place, seed)
    return graphs_of(make_model(kind, sampler), sampler, has_events=kind.has_events)[name]()
