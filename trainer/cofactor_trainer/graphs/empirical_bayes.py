"""The prior over user rows that the ratings themselves suggest.

The covariance of the trained rows is too small a prior for a new user: weight decay has shrunk them, and it says
nothing of how unsure each is. One step of expectation maximisation (Dempster, Laird and Rubin 1977; as for
probabilistic matrix factorisation in Salakhutdinov and Mnih 2008), with the items as they are, mends both, and
estimates the noise of a rating along the way. Measured in benchmarks/fold_in.py; more steps fit the items' own
training ratings and are worse for a new user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cofactor_trainer.data.dataset import Int64Array, RatingsDataset
from cofactor_trainer.data.profile_regression import Float64Array, fit_profile_model
from cofactor_trainer.graphs.fold_in import EmbedUser
from cofactor_trainer.graphs.modules import Scorer
from cofactor_trainer.graphs.user_prior import UserPrior, regular, rows_prior
from cofactor_trainer.scoring.trained_model import TrainedModel

# More users or ratings per user do not change the prior's tens of thousands of parameters visibly.
MAX_USERS = 5_000
MAX_RATINGS_PER_USER = 400
BATCH_SIZE = 32
# Variance of a rating's error to start from, as a share of the squared rating scale.
FIRST_NOISE = 0.05


@dataclass
class _Moments:
    """Sums over users: their posterior rows and covariances, and the expected squared errors of their ratings."""

    users: list[Int64Array]
    rows: list[Float64Array]
    covariance: Float64Array
    squared_error: float = 0.0
    n_ratings: int = 0


def empirical_prior(model: TrainedModel, dataset: RatingsDataset) -> UserPrior:
    """One step of expectation maximisation from the trained rows' own mean and covariance.

    The trained rows' prior where the data has no rating of a known user and a known item.
    """
    noise = FIRST_NOISE * (dataset.rating_max - dataset.rating_min) ** 2
    start = rows_prior(model, noise)
    fold_in = EmbedUser(Scorer(model), start)
    moments = _Moments([], [], np.zeros_like(start.covariance))
    with torch.inference_mode():
        for users, item_rows, ratings in _histories(dataset):
            moments.users.append(users)
            _add(moments, fold_in, item_rows, ratings, noise)
    if moments.n_ratings == 0:
        return start
    rows = np.concatenate(moments.rows)
    covariance = regular(np.atleast_2d(np.cov(rows, rowvar=False, bias=True) + moments.covariance / len(rows)))
    profile = None
    if dataset.profiles is not None:
        users = np.concatenate(moments.users)
        profile = fit_profile_model(dataset.profiles.iloc[users], rows, covariance)
    return UserPrior(rows.mean(0), covariance * moments.n_ratings / moments.squared_error, profile)


def ranking_prior(model: TrainedModel, dataset: RatingsDataset) -> UserPrior:
    """The trained rows' own mean and covariance: a ranking model has no rating errors to learn from."""
    prior = rows_prior(model)
    if dataset.profiles is None:
        return prior
    rows = np.column_stack([model.user_factors, model.user_bias])[:-1].astype(np.float64)
    return replace(prior, profile=fit_profile_model(dataset.profiles, rows, prior.covariance))


def _add(moments: _Moments, fold_in: EmbedUser, item_rows: Tensor, ratings: Tensor, noise: float) -> None:
    """The posterior of a batch of users, normal around its maximum (Laplace's approximation)."""
    given = (item_rows != fold_in.scorer.n_items).float()
    factors, bias, _ = fold_in(item_rows, ratings)
    user = torch.cat([factors, bias[:, None]], 1)
    fitted, basis = fold_in.linearise(user, item_rows, given)
    inverse = torch.linalg.inv(basis.transpose(1, 2) @ basis + torch.eye(basis.shape[2]))
    error = ((ratings - fitted) * given).square().sum() + noise * ((basis @ inverse) * basis).sum()
    root = fold_in.prior_root
    moments.rows.append(user.double().numpy())
    moments.covariance += noise * (root @ inverse.sum(0) @ root.t()).double().numpy()
    moments.squared_error += float(error)
    moments.n_ratings += int(given.sum())


def _histories(dataset: RatingsDataset) -> Iterator[tuple[Int64Array, Tensor, Tensor]]:
    """Batches of users with about as many ratings: user rows (B,), item_rows (B, N) padded with n_items, ratings."""
    random = np.random.default_rng(0)
    known = (dataset.user_rows < dataset.n_users) & (dataset.item_rows < dataset.n_items)
    order = random.permutation(np.flatnonzero(known))
    order = order[np.argsort(dataset.user_rows[order], kind="stable")]
    counts = np.bincount(dataset.user_rows[order], minlength=dataset.n_users)
    starts = np.concatenate([[0], np.cumsum(counts)])
    users = random.permutation(np.flatnonzero(counts))[:MAX_USERS]
    users = users[np.argsort(counts[users], kind="stable")]
    for batch in np.split(users, range(BATCH_SIZE, len(users), BATCH_SIZE)):
        chosen = [order[starts[user] : starts[user + 1]][:MAX_RATINGS_PER_USER] for user in batch]
        yield batch, *_pad(dataset, chosen)


def _pad(dataset: RatingsDataset, histories: list[Int64Array]) -> tuple[Tensor, Tensor]:
    width = max(map(len, histories), default=0)
    item_rows = np.full((len(histories), width), dataset.n_items)
    ratings = np.zeros((len(histories), width), dtype=np.float32)
    for row, history in enumerate(histories):
        item_rows[row, : len(history)] = dataset.item_rows[history]
        ratings[row, : len(history)] = dataset.ratings[history]
    return torch.from_numpy(item_rows), torch.from_numpy(ratings)
