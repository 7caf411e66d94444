"""Train every model that benchmarks/ranking.py compares."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import implicit
import numpy as np
import scipy.sparse
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking

from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.data.splits import Split
from cofactor_trainer.evaluation.baselines import fit_popularity
from cofactor_trainer.scoring.trained_model import BY_RATING, Order, TrainedModel
from cofactor_trainer.training.ranking_part import add_ranking_part
from cofactor_trainer.training.train import train

ROOT = Path(__file__).parents[1]
# Of all models in benchmarks/surprise/factors.py, the one that orders best on split 7.
SURPRISE_MODEL = "SVD without biases"

Fit = Callable[[Split], TrainedModel]


@dataclass(frozen=True)
class Row:
    """A way to order items.

    Attributes:
        title: name in the table.
        fit: trains the model on the train part of a split; rows that share it share the trained models.
        order: order of the model; None for its own.
        popularity_weight: how much log(rating count + 1) adds to the scores.
    """

    title: str
    fit: Fit
    order: Order | None = None
    popularity_weight: float = 0.0


def as_model(users: np.ndarray, items: np.ndarray, item_bias: np.ndarray | None = None) -> TrainedModel:
    """Return a dot product as a model: users (n_users, d), items (n_items, d), item_bias (n_items,).

    Its unknown rows are 0.
    """
    bias = np.zeros(len(items)) if item_bias is None else item_bias
    return TrainedModel(
        architecture="dot-product",
        objective="ranking",
        user_factors=np.vstack([users, np.zeros_like(users[:1])]).astype(np.float32),
        user_bias=np.zeros(len(users) + 1, np.float32),
        item_factors=np.vstack([items, np.zeros_like(items[:1])]).astype(np.float32),
        item_bias=np.append(bias, 0).astype(np.float32),
        global_bias=0.0,
        rating_range=None,
        n_dot_factors=users.shape[1],
    )


def _interactions(split: Split) -> scipy.sparse.csr_matrix:
    """Return the train part as a matrix (n_users, n_items); every rating is an interaction of the same weight."""
    ratings = split.train
    shape = (ratings.n_users, ratings.n_items)
    matrix = scipy.sparse.csr_matrix((np.ones(ratings.n_ratings), (ratings.user_rows, ratings.item_rows)), shape)
    matrix.data[:] = 1  # a pair that occurs twice was summed
    return matrix


def als(split: Split) -> TrainedModel:
    """Train implicit's ALS with 32 factors; factors and regularization were tuned on split 7.

    Y. Hu, Y. Koren and C. Volinsky, Collaborative filtering for implicit feedback datasets, ICDM 2008.
    """
    return _als(_interactions(split))


def weighted_als(split: Split) -> TrainedModel:
    """Train the same on the weights of `weighted_ease`."""
    return _als(scipy.sparse.csr_matrix(_rating_weights(split)))


def _als(interactions: scipy.sparse.csr_matrix) -> TrainedModel:
    model = AlternatingLeastSquares(factors=32, regularization=10.0, num_threads=1, random_state=0)
    model.fit(interactions, show_progress=False)
    return as_model(np.asarray(model.user_factors), np.asarray(model.item_factors))


def bpr(split: Split) -> TrainedModel:
    """Train implicit's BPR; its settings were tuned on split 7.

    S. Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI 2009.
    """
    model = BayesianPersonalizedRanking(
        factors=64, learning_rate=0.01, regularization=0.05, iterations=150, num_threads=1, random_state=0
    )
    model.fit(_interactions(split), show_progress=False)
    return as_model(np.asarray(model.user_factors), np.asarray(model.item_factors))


def ease(split: Split) -> TrainedModel:
    """Train plain EASE with a penalty of 300; every rating is an interaction of the same weight.

    H. Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019.
    """
    return _ease(_interactions(split).toarray(), 300)


def weighted_ease(split: Split) -> TrainedModel:
    """Train EASE with a penalty of 200 on weights that grow with the rating, from .1 for the lowest to 1.3."""
    return _ease(_rating_weights(split), 200)


def _rating_weights(split: Split) -> np.ndarray:
    ratings = split.train
    share = (ratings.ratings - ratings.rating_min) / (ratings.rating_max - ratings.rating_min)
    weights = np.zeros((ratings.n_users, ratings.n_items))
    weights[ratings.user_rows, ratings.item_rows] = 0.1 + 1.2 * share
    return weights


def _ease(interactions: np.ndarray, penalty: float) -> TrainedModel:
    """Train EASE on weighted interactions (n_users, n_items)."""
    inverse = np.linalg.inv(interactions.T @ interactions + penalty * np.eye(interactions.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return as_model(interactions, weights.T)


def surprise(python: Path) -> Fit:
    """Return a function that trains Surprise's model with the Python of its own environment."""

    def fit(split: Split) -> TrainedModel:
        ratings = split.train
        with tempfile.TemporaryDirectory() as folder:
            train_path, factors_path = Path(folder, "train.npz"), Path(folder, "factors.npz")
            np.savez(train_path, user_rows=ratings.user_rows, item_rows=ratings.item_rows, ratings=ratings.ratings)
            words = [python, "-m", "benchmarks.surprise.factors", SURPRISE_MODEL, train_path, factors_path]
            subprocess.run([str(word) for word in words], check=True, cwd=ROOT, env={"OPENBLAS_NUM_THREADS": "1"})
            with np.load(factors_path) as arrays:
                return as_model(arrays["users"], arrays["items"], arrays["item_bias"])

    return fit


def popularity(split: Split) -> TrainedModel:
    """Order by the number of ratings."""
    return fit_popularity(split.train)


@functools.cache
def of_recipe(name: str, **changes: object) -> Fit:
    """Return a function that trains a recipe, its ranking part included, with some of its settings changed."""
    recipe = replace(RECIPES[name], **changes)  # type: ignore[arg-type]

    def fit(split: Split) -> TrainedModel:
        model = train(split.train, None, recipe, seed=1).model
        return add_ranking_part(model, split.train, recipe, seed=1)

    return fit


DEFAULT, BEST, WEIGHTED_EASE = "**dot-bias (default)**", "**best**", "EASE on rating weights, penalty 200"


def all_rows(surprise_python: Path | None) -> list[Row]:
    """Return the rows of the table; without Surprise's Python, its row is left out."""
    with_surprise = [] if surprise_python is None else [Row(f"Surprise {SURPRISE_MODEL}", surprise(surprise_python))]
    return [
        Row(DEFAULT, of_recipe("dot-bias")),
        Row(BEST, of_recipe("best")),
        Row("popularity", popularity),
        *with_surprise,
        Row(f"implicit {implicit.__version__} BPR, 64 factors", bpr),
        Row(f"implicit {implicit.__version__} ALS, 32 factors", als),
        Row("ALS on rating weights, 32 factors", weighted_als),
        Row("EASE, penalty 300", ease),
        Row(WEIGHTED_EASE, weighted_ease),
        Row("dot-bias, by predicted rating", of_recipe("dot-bias"), BY_RATING),
        Row("dot-bias, popularity-corrected", of_recipe("dot-bias"), BY_RATING, 1.0),
        Row("ranking with 50 factors", of_recipe("ranking", n_factors=50)),
        Row("ranking", of_recipe("ranking")),
    ]
