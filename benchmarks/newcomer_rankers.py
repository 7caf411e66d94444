"""Rank items for new users from few ratings: an exported version, and what it is compared with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from google.protobuf import json_format

from cofactor.v1 import manifest_pb2
from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.data.profile_regression import encode_profiles
from cofactor_trainer.evaluation.evaluate import top_k_rows
from cofactor_trainer.export.verification.parity import cpu_session
from cofactor_trainer.export.version_writer import MANIFEST_FILE, export_version
from cofactor_trainer.training.ranking_part import add_ranking_part
from cofactor_trainer.training.train import train

K = 10
# Weights of the lowest and the highest rating in the weighted EASE: those of the ranking recipe.
WEIGHTS = (0.1, 1.3)


@dataclass(frozen=True)
class Newcomers:
    """New users: item_rows (B, N) padded with n_items, ratings (B, N), and their sign-up answers, B rows, or None."""

    item_rows: np.ndarray
    ratings: np.ndarray
    profiles: pd.DataFrame | None = None

    @classmethod
    def of(cls, histories, n_items, profiles=None):
        """Pad histories, a list of (item rows, ratings), with at least one padding each."""
        width = 1 + max(len(rows) for rows, _ in histories)
        item_rows = np.full((len(histories), width), n_items, np.int64)
        ratings = np.zeros((len(histories), width), np.float32)
        for user, (rows, values) in enumerate(histories):
            item_rows[user, : len(rows)], ratings[user, : len(rows)] = rows, values
        return cls(item_rows, ratings, profiles)


# Returns the K best item rows of every new user that they have not rated, (B, K).
Ranker = Callable[[Newcomers], np.ndarray]


class ExportedVersion:
    """The graphs of a version directory in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        self.manifest = json_format.Parse((path / MANIFEST_FILE).read_bytes(), manifest_pb2.Manifest())
        self._embed, self._recommend = (cpu_session(path / f"{graph}.onnx") for graph in ("embed_user", "recommend"))

    def ranker(self, order=None, *, with_profile=False) -> Ranker:
        """Return a ranker of new users.

        order has the weights of rating logit, ranking logit and log popularity; None for the version's order of new
        users.
        """
        best = self.manifest.new_user_order
        weights = order or (best.rating_weight, best.ranking_weight, best.popularity_weight)
        return lambda newcomers: self._rank(newcomers, weights, with_profile)

    def _rank(self, newcomers: Newcomers, weights, with_profile: bool) -> np.ndarray:
        n_users = len(newcomers.item_rows)
        inputs = {"item_rows": newcomers.item_rows, "ratings": newcomers.ratings}
        if self.manifest.profile_features:
            features = tuple(self.manifest.profile_features)
            columns = encode_profiles(features, newcomers.profiles).astype(np.float32)
            inputs["profile"] = columns if with_profile else np.zeros_like(columns)
        factors, bias, _ = self._embed.run(None, inputs)
        order = {
            "popularity_weight": np.full(n_users, weights[2], np.float32),
            "order_weights": np.tile(np.array(weights[:2], np.float32), (n_users, 1)),
        }
        users = {"user_factors": factors, "user_bias": bias, "excluded_rows": newcomers.item_rows, "k": np.array([K])}
        rows: np.ndarray = self._recommend.run(["item_rows"], users | order)[0]
        return rows


@contextmanager
def exported(ratings, recipe: Recipe, seed: int):
    """Train a recipe with its ranking part, export it to a temporary folder and open it."""
    model = train(ratings, None, recipe, seed=seed).model
    model = add_ranking_part(model, ratings, recipe, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = export_version(model, ratings, Path(folder), "newcomers", "1", metrics={}, hyperparameters={})
        yield ExportedVersion(path)


def popularity(ratings) -> Ranker:
    """Rank by the number of ratings, the same for everyone."""
    return lambda newcomers: _best(np.zeros((len(newcomers.item_rows), ratings.n_items)), newcomers, ratings)


def item_knn(ratings, n_neighbours: int = 200) -> Ranker:
    """Sum the cosines of items with the rated ones, weighted by the rating; only the nearest of each item count.

    The cosine is that of the columns of who rated what: M. Deshpande and G. Karypis, Item-based top-N recommendation
    algorithms, 2004.
    """
    rated = interactions(ratings, (1.0, 1.0))
    norms = np.sqrt(np.maximum(rated.sum(0), 1))
    cosines = (rated / norms).T @ (rated / norms)
    np.fill_diagonal(cosines, 0)
    if n_neighbours < ratings.n_items:
        cosines[cosines < -np.partition(-cosines, n_neighbours - 1, 1)[:, n_neighbours - 1 : n_neighbours]] = 0
    return lambda newcomers: _best(_history(newcomers, ratings, WEIGHTS) @ cosines, newcomers, ratings)


def ease(ratings, penalty: float, weights=(1.0, 1.0), min_ratings: int = 1) -> Ranker:
    """Rank by EASE on the same few ratings (H. Steck, Embarrassingly shallow autoencoders for sparse data, 2019).

    weights are those of the lowest and the highest rating, in training and in the history. Items with fewer than
    min_ratings ratings take no part: the inverse of the full matrix of a large catalogue takes minutes.
    """
    kept = np.flatnonzero(ratings.item_rating_counts() >= min_ratings)
    rated = interactions(ratings, weights)[:, kept]
    inverse = np.linalg.inv(rated.T @ rated + penalty * np.eye(len(kept), dtype=np.float32))
    similarity = -inverse / np.diag(inverse)
    np.fill_diagonal(similarity, 0)

    def rank(newcomers: Newcomers) -> np.ndarray:
        scores = np.zeros((len(newcomers.item_rows), ratings.n_items))
        scores[:, kept] = _history(newcomers, ratings, weights)[:, kept] @ similarity
        return _best(scores, newcomers, ratings)

    return rank


def interactions(ratings, weights) -> np.ndarray:
    """Return the weights of all ratings as a matrix, float32 (n_users, n_items)."""
    matrix = np.zeros((ratings.n_users, ratings.n_items), np.float32)
    matrix[ratings.user_rows, ratings.item_rows] = _weights(ratings.ratings, ratings, weights)
    return matrix


def _history(newcomers: Newcomers, ratings, weights) -> np.ndarray:
    matrix = np.zeros((len(newcomers.item_rows), ratings.n_items + 1), np.float32)
    np.put_along_axis(matrix, newcomers.item_rows, _weights(newcomers.ratings, ratings, weights), 1)
    return matrix[:, :-1]


def _weights(values: np.ndarray, ratings, weights) -> np.ndarray:
    lowest, highest = weights
    share = (values - ratings.rating_min) / (ratings.rating_max - ratings.rating_min)
    return (lowest + (highest - lowest) * share).astype(np.float32)


def _best(scores: np.ndarray, newcomers: Newcomers, ratings) -> np.ndarray:
    """Return the K best rows that a user has not rated; popularity decides between equal scores."""
    popular = np.log1p(ratings.item_rating_counts())
    padded = np.pad(scores + 1e-6 * popular, ((0, 0), (0, 1)), constant_values=-np.inf)
    np.put_along_axis(padded, newcomers.item_rows, -np.inf, 1)
    return top_k_rows(padded, K)
