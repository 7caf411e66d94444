"""Draw a map of the items: near each other if the same people like them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import Int64Array
from cofactor_trainer.data.profile_regression import Float64Array
from cofactor_trainer.scoring.ranking_part import ranking_factors
from cofactor_trainer.scoring.trained_model import TrainedModel

MOST_ITEMS = 2000
_NEIGHBOURS = 10
# On MovieLens 100k, 39 % of the 10 nearest neighbours are still among the 10 nearest on the map, in 0.4 s; with 120
# epochs and 4 repelled items 40 %, in 0.8 s; on two principal components alone 11 %.
_EPOCHS = 60
_REPELLED = 3
# The curve 1 / (1 + a d^2b) of UMAP for min_dist 0.1 and spread 1.
_A, _B = 1.577, 0.8951
_LARGEST_STEP = 4.0
_REGIONS = 16
# A label stands for at least this many items of its region, and this share of them.
_FEWEST_LABELLED, _LOWEST_SHARE = 5, 0.25


@dataclass(frozen=True)
class ItemMap:
    """A map of the most rated items.

    Attributes:
        rows: (m,) rows of the items, most rated first.
        places: (m, 2) from -1 to 1.
        labels: (x, y, genre) of the regions that have a typical genre.
    """

    rows: Int64Array
    places: Float64Array
    labels: list[tuple[float, float, str]]


def draw_item_map(model: TrainedModel, rating_counts: Int64Array, genres: Sequence[Sequence[str]]) -> ItemMap:
    """Lay out the MOST_ITEMS most rated items, and name regions by their most typical genre.

    The layout is that of UMAP (L. McInnes, J. Healy and J. Melville, 2018), without its fuzzy weights: items are pulled
    to their nearest neighbours by cosine, and pushed off random others, starting from two principal components.
    rating_counts (n_items,); genres of every item.
    """
    rows = np.argsort(-rating_counts, kind="stable")[:MOST_ITEMS].astype(np.int64)
    vectors = _unit_vectors(model, rows)
    places = _principal_components(vectors)
    if len(rows) > 2 * _NEIGHBOURS:
        places = _attract_neighbours(places, _nearest(vectors))
    places -= (places.max(0) + places.min(0)) / 2
    places /= max(float(np.abs(places).max(initial=0)), 1e-12)
    return ItemMap(rows, places, _name_regions(places, [genres[row] for row in rows]))


def _unit_vectors(model: TrainedModel, rows: Int64Array) -> Float64Array:
    """Return the directions of the items' factors from their mean; those of the ranking part if the model has one."""
    factors = ranking_factors(model)[0][rows].astype(np.float64)
    factors -= factors.mean(0)
    norms = np.linalg.norm(factors, axis=1, keepdims=True)
    unit: Float64Array = factors / np.maximum(norms, 1e-12)
    return unit


def _principal_components(vectors: Float64Array) -> Float64Array:
    """Return the first two principal components, (n, 2)."""
    centred = vectors - vectors.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes.sum(0) + 1e-12)  # the sign of an axis is arbitrary; choose one, to repeat the map
    found = np.zeros((len(vectors), 2))
    found[:, : axes.shape[1]] = centred @ axes
    return found


def _nearest(vectors: Float64Array) -> Int64Array:
    """Return the nearest neighbours of every vector by cosine, (n, _NEIGHBOURS)."""
    cosines = (vectors @ vectors.T).astype(np.float32)
    np.fill_diagonal(cosines, -2)
    found: Int64Array = np.argpartition(-cosines, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    return found


def _attract_neighbours(places: Float64Array, neighbours: Int64Array) -> Float64Array:
    """Move neighbours together and others apart, in steps that become smaller."""
    random = np.random.default_rng(0)
    n = len(places)
    places = places / max(float(places.std()), 1e-12) * 5
    heads = np.repeat(np.arange(n), _NEIGHBOURS)
    tails = neighbours.ravel()
    pushed = np.repeat(np.arange(n), _NEIGHBOURS * _REPELLED)
    for epoch in range(_EPOCHS):
        rate = 1 - epoch / _EPOCHS
        pull = _pull(places[heads] - places[tails])
        others = random.integers(0, n, len(pushed))
        push = _push(places[pushed] - places[others])
        move = _sums(heads, pull, n) - _sums(tails, pull, n) + _sums(pushed, push, n)
        places = places + rate * np.clip(move / _NEIGHBOURS, -_LARGEST_STEP, _LARGEST_STEP)
    return places


def _pull(apart: Float64Array) -> Float64Array:
    squared = np.maximum(np.einsum("ij,ij->i", apart, apart), 1e-12)
    strength = -2 * _A * _B * squared ** (_B - 1) / (1 + _A * squared**_B)
    moved: Float64Array = np.clip(strength[:, None] * apart, -_LARGEST_STEP, _LARGEST_STEP)
    return moved


def _push(apart: Float64Array) -> Float64Array:
    squared = np.einsum("ij,ij->i", apart, apart)
    strength = 2 * _B / ((0.001 + squared) * (1 + _A * squared**_B))
    moved: Float64Array = np.clip(strength[:, None] * apart, -_LARGEST_STEP, _LARGEST_STEP)
    return moved


def _sums(rows: Int64Array, moves: Float64Array, n: int) -> Float64Array:
    """Return the sum of the moves of every row, (n, 2)."""
    return np.column_stack([np.bincount(rows, moves[:, axis], minlength=n) for axis in (0, 1)])


def _name_regions(places: Float64Array, genres: Sequence[Sequence[str]]) -> list[tuple[float, float, str]]:
    """Return (x, y, genre) of the regions with a typical genre; each genre once, where most of its items are."""
    overall = Counter(name for names in genres for name in names)
    regions = _split_into_regions(places)
    best: dict[str, tuple[int, tuple[float, float]]] = {}
    for region in range(int(regions.max(initial=-1)) + 1):
        members: list[int] = np.flatnonzero(regions == region).tolist()
        name, count = _typical_genre([genres[member] for member in members], overall, len(genres))
        if count and count > best.get(name, (0,))[0]:
            named = [member for member in members if name in genres[member]]
            x, y = places[named].mean(0)
            best[name] = count, (float(x), float(y))
    return [(x, y, name) for name, (_, (x, y)) in sorted(best.items())]


def _typical_genre(genres: Sequence[Sequence[str]], overall: Counter[str], n_items: int) -> tuple[str, int]:
    """Return the genre whose share among some items is furthest above its share on the map, and its items here.

    The number is 0 if no genre is frequent enough here.
    """
    here = Counter(name for names in genres for name in names)
    enough = max(_FEWEST_LABELLED, _LOWEST_SHARE * len(genres))
    lifts = {name: count / len(genres) / (overall[name] / n_items) for name, count in here.items() if count >= enough}
    if not lifts:
        return "", 0
    name = max(lifts, key=lambda name: (lifts[name], name))
    return (name, here[name]) if lifts[name] > 1 else ("", 0)


def _split_into_regions(places: Float64Array) -> Int64Array:
    """Split the map by k-means, with the centres of k-means++ at fixed random numbers, (n,)."""
    random = np.random.default_rng(0)
    n = len(places)
    if not n:
        return np.zeros(0, np.int64)
    centres = places[random.integers(0, n)][None]
    while len(centres) < min(_REGIONS, n):
        squared = _squared_distances(places, centres).min(1)
        total = squared.sum()
        if total <= 0:
            break  # fewer different places than regions
        centres = np.vstack([centres, places[random.choice(n, p=squared / total)]])
    for _ in range(20):
        nearest = _squared_distances(places, centres).argmin(1)
        counts = np.bincount(nearest, minlength=len(centres))[:, None]
        centres = np.where(counts > 0, _sums(nearest, places, len(centres)) / np.maximum(counts, 1), centres)
    found: Int64Array = _squared_distances(places, centres).argmin(1).astype(np.int64)
    return found


def _squared_distances(places: Float64Array, centres: Float64Array) -> Float64Array:
    apart = places[:, None] - centres[None]
    found: Float64Array = np.einsum("ijk,ijk->ij", apart, apart)
    return found
