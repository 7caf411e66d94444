"""Estimate the prior over user rows from the ratings (empirical Bayes).

The covariance of the trained rows is too small a prior for a new user: weight decay has shrunk the rows, and each of
them is uncertain. One step of expectation maximisation with fixed items corrects both, and also estimates the noise
of a rating (A. Dempster, N. Laird and D. Rubin, 1977; for matrix factorisation R. Salakhutdinov and A. Mnih, Bayesian
probabilistic matrix factorization using Markov chain Monte Carlo, 2008).

benchmarks/fold_in.py measures the effect. More steps fit the training ratings of the items and are worse for new users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import Int64Array, RatingsDataset
from cofactor_trainer.data.profile_regression import Float64Array, fit_profile_model
from cofactor_trainer.errors import TrainerError
from cofactor_trainer.graphs.fold_in import EmbedRatingUser
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.user_prior import UserPrior, prior_of_trained_rows, regularise
from cofactor_trainer.scoring.trained_model import TrainedModel

# More users, or more ratings per user, do not visibly change the tens of thousands of parameters of the prior.
MAX_USERS = 5_000
MAX_RATINGS_PER_USER = 400
BATCH_SIZE = 32
# Initial variance of a rating's error, as a share of the squared rating scale.
INITIAL_NOISE = 0.05
# Largest element of matrix · inverse less the identity. In float64 an ill-conditioned posterior stays below 1e-9.
MAX_RESIDUAL = 1e-6


@dataclass
class _Moments:
    """Sums over users that the maximisation step needs.

    Attributes:
        users: row numbers of the users.
        rows: posterior means of their rows.
        covariance: sum of the posterior covariances of their rows.
        squared_error: sum of the expected squared errors of their ratings.
        n_ratings: number of their ratings.
    """

    users: list[Int64Array]
    rows: list[Float64Array]
    covariance: Float64Array
    squared_error: float = 0.0
    n_ratings: int = 0


def estimate_rating_prior(
    model: TrainedModel, dataset: RatingsDataset, features: tuple[manifest_pb2.ProfileFeature, ...] | None = None
) -> UserPrior:
    """Estimate the prior of a rating model by one step of expectation maximisation.

    features is the encoding of the sign-up answers; None to choose it.

    The step starts from the mean and covariance of the trained rows. These are returned unchanged if the data has no
    rating of a known user for a known item.
    """
    noise = INITIAL_NOISE * (dataset.rating_max - dataset.rating_min) ** 2
    start = prior_of_trained_rows(model, noise)
    fold_in = EmbedRatingUser(Scorer(model), start)
    moments = _Moments([], [], np.zeros_like(start.covariance))
    with torch.inference_mode():
        for users, item_rows, ratings in _padded_histories(dataset):
            moments.users.append(users)
            _add_posteriors(moments, fold_in, item_rows, ratings, noise)
    if moments.n_ratings == 0:
        return start
    rows = np.concatenate(moments.rows)
    covariance = regularise(np.atleast_2d(np.cov(rows, rowvar=False, bias=True) + moments.covariance / len(rows)))
    profile = None
    if dataset.profiles is not None:
        users = np.concatenate(moments.users)
        profile = fit_profile_model(dataset.profiles.iloc[users], rows, covariance, features)
    return UserPrior(rows.mean(0), covariance * moments.n_ratings / moments.squared_error, profile)


def _add_posteriors(
    moments: _Moments, fold_in: EmbedRatingUser, item_rows: Tensor, ratings: Tensor, noise: float
) -> None:
    """Add the posteriors of a batch of users, each a Gaussian around its maximum (Laplace's approximation)."""
    given = (item_rows != fold_in.scorer.n_items).float()
    factors, bias, _ = fold_in(item_rows, ratings)
    user = torch.cat([factors, bias[:, None]], 1)
    fitted, basis = fold_in.linearise(user, item_rows, given)
    covariance = _invert((basis.transpose(1, 2) @ basis).double() + torch.eye(basis.shape[2])).sum(0)
    # The trace of basis · covariance · basisᵀ, summed over the users: covariance⁻¹ is basisᵀ · basis + identity.
    uncertainty = basis.shape[0] * basis.shape[2] - float(covariance.trace())
    root = fold_in.prior_root.double()
    moments.rows.append(user.double().numpy())
    moments.covariance += noise * (root @ covariance @ root.t()).numpy()
    moments.squared_error += float(((ratings - fitted) * given).square().sum()) + noise * uncertainty
    moments.n_ratings += int(given.sum())


def _invert(precisions: Tensor) -> Tensor:
    """Invert positive definite matrices, float64 (B, D, D) -> (B, D, D).

    torch.linalg.inv must not be used on a batch: on several threads it hangs, crashes or returns wrong inverses
    (https://github.com/pytorch/pytorch/issues/142815 and 141358). Cholesky factors need no pivots and are not affected.

    Raises:
        TrainerError: a matrix cannot be inverted, or its inverse is wrong.
    """
    roots, failures = torch.linalg.cholesky_ex(precisions)
    inverses = torch.cholesky_inverse(roots)
    residual = float((precisions @ inverses - torch.eye(precisions.shape[1])).abs().max())
    if failures.any() or not residual <= MAX_RESIDUAL:
        raise TrainerError(
            f"the uncertainty of the users' factors cannot be computed (residual {residual:.2g}, at most "
            f"{MAX_RESIDUAL:g}): the factors are too large or not finite, so lower --learning-rate or raise "
            "--weight-decay; if they are not, export again with OMP_NUM_THREADS=1"
        )
    return inverses


def _padded_histories(dataset: RatingsDataset) -> Iterator[tuple[Int64Array, Tensor, Tensor]]:
    """Yield batches of users with similar numbers of ratings.

    A batch is user rows (B,), item_rows (B, N) padded with n_items, and ratings (B, N).
    """
    random = np.random.default_rng(0)
    known = (dataset.user_rows < dataset.n_users) & (dataset.item_rows < dataset.n_items)
    order = random.permutation(np.flatnonzero(known))
    order = order[np.argsort(dataset.user_rows[order], kind="stable")]
    counts = np.bincount(dataset.user_rows[order], minlength=dataset.n_users)
    starts = np.concatenate([[0], np.cumsum(counts)])
    users = random.permutation(np.flatnonzero(counts))[:MAX_USERS]
    users = users[np.argsort(counts[users], kind="stable")]
    for batch in np.split(users, range(BATCH_SIZE, len(users), BATCH_SIZE)):
        histories = [order[starts[user] : starts[user + 1]][:MAX_RATINGS_PER_USER] for user in batch]
        yield batch, *_pad(dataset, histories)


def _pad(dataset: RatingsDataset, histories: list[Int64Array]) -> tuple[Tensor, Tensor]:
    """Return item_rows (B, N), padded with n_items, and ratings (B, N); a history has positions in the dataset."""
    width = max(map(len, histories), default=0)
    item_rows = np.full((len(histories), width), dataset.n_items)
    ratings = np.zeros((len(histories), width), dtype=np.float32)
    for row, history in enumerate(histories):
        item_rows[row, : len(history)] = dataset.item_rows[history]
        ratings[row, : len(history)] = dataset.ratings[history]
    return torch.from_numpy(item_rows), torch.from_numpy(ratings)
