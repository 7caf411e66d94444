"""Train every model that python -m benchmarks.events compares."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import implicit
import numpy as np
import scipy.sparse
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender

from benchmarks.ranking_rows import as_model
from cofactor_trainer.data.splits import Split
from cofactor_trainer.evaluation.baselines import fit_popularity
from cofactor_trainer.scoring.trained_model import TrainedModel

# EASE inverts a matrix of items by items: rarer items are left out of it.
FEWEST_LISTENERS = 3
Fit = Callable[[Split], TrainedModel]


@dataclass(frozen=True)
class PeerSettings:
    """Settings of the other models, tuned on split 7 of a data set.

    Attributes:
        als_factors: factors of ALS.
        als_regularization: regularization of ALS.
        bpr_learning_rate: learning rate of BPR with 64 factors.
        bpr_iterations: its iterations.
        neighbours: neighbours of every item.
        ease_penalty: penalty of EASE.
    """

    als_factors: int
    als_regularization: float
    bpr_learning_rate: float
    bpr_iterations: int
    neighbours: int
    ease_penalty: float


def interactions(split: Split, *, weighted: bool = True) -> scipy.sparse.csr_matrix:
    """Return the train part as a matrix (n_users, n_items): the weights of the pairs, or 1 for every pair."""
    pairs = split.train
    weights = pairs.ratings if weighted else np.ones(pairs.n_ratings, np.float32)
    return scipy.sparse.csr_matrix((weights, (pairs.user_rows, pairs.item_rows)), (pairs.n_users, pairs.n_items))


def of_scores(scores: np.ndarray) -> TrainedModel:
    """Return a model with these scores, (n_users, n_items): its users are unit vectors."""
    return as_model(np.eye(len(scores), dtype=np.float32), np.ascontiguousarray(scores.T, np.float32))


def als(split: Split, settings: PeerSettings) -> TrainedModel:
    """Train implicit's ALS on the weights (Y. Hu, Y. Koren and C. Volinsky, ICDM 2008)."""
    model = AlternatingLeastSquares(
        factors=settings.als_factors, regularization=settings.als_regularization, num_threads=1, random_state=0
    )
    model.fit(interactions(split), show_progress=False)
    return as_model(np.asarray(model.user_factors), np.asarray(model.item_factors))


def bpr(split: Split, settings: PeerSettings) -> TrainedModel:
    """Train implicit's BPR, which knows no weights (S. Rendle et al., UAI 2009)."""
    model = BayesianPersonalizedRanking(
        factors=64,
        learning_rate=settings.bpr_learning_rate,
        regularization=0.05,
        iterations=settings.bpr_iterations,
        num_threads=1,
        random_state=0,
    )
    model.fit(interactions(split, weighted=False), show_progress=False)
    return as_model(np.asarray(model.user_factors), np.asarray(model.item_factors))


def nearest_neighbours(split: Split, settings: PeerSettings) -> TrainedModel:
    """Score items by their BM25 similarity to those of the user."""
    weights = interactions(split)
    model = BM25Recommender(K=settings.neighbours, num_threads=1)
    model.fit(weights, show_progress=False)
    return of_scores((weights @ model.similarity).toarray())


def ease(split: Split, settings: PeerSettings) -> TrainedModel:
    """Train EASE on the weights (H. Steck, WWW 2019); items with too few users are never recommended."""
    kept = np.flatnonzero(split.train.item_rating_counts() >= FEWEST_LISTENERS)
    weights = interactions(split)[:, kept].toarray().astype(np.float64)
    inverse = np.linalg.inv(weights.T @ weights + settings.ease_penalty * np.eye(len(kept)))
    similarities = -inverse / np.diag(inverse)
    np.fill_diagonal(similarities, 0)
    scores = np.full((split.train.n_users, split.train.n_items), np.float32(-1e9))
    scores[:, kept] = weights @ similarities
    return of_scores(scores)


def peers(settings: PeerSettings) -> dict[str, Fit]:
    """Return the functions that train the other models, by the title of the row."""
    name = f"implicit {implicit.__version__}"
    return {
        "popularity": lambda split: fit_popularity(split.train),
        f"{name} ALS, {settings.als_factors} factors": functools.partial(als, settings=settings),
        f"{name} BPR, 64 factors": functools.partial(bpr, settings=settings),
        f"{name} BM25, {settings.neighbours} neighbours": functools.partial(nearest_neighbours, settings=settings),
        f"EASE, penalty {settings.ease_penalty:g}": functools.partial(ease, settings=settings),
    }
