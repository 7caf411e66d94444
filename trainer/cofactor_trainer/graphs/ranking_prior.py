"""Estimate the priors of a model: that of the ratings, and that of the ranking.

The covariance of the trained ranking factors is too small a prior, as it is for ratings. One step of expectation
maximisation with fixed items corrects it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import BoolArray, Float32Array, Int64Array, RatingsDataset, RowArray
from cofactor_trainer.data.events.used_rows import UsedRows
from cofactor_trainer.data.profile_regression import Float64Array, ProfileModel, fit_profile_model
from cofactor_trainer.graphs.prior_estimation import MAX_USERS, estimate_rating_prior
from cofactor_trainer.graphs.ranking_fold_in import STEP_LENGTHS, RankingSpace
from cofactor_trainer.graphs.user_prior import UserPrior, UserPriors, moments, prior_of_trained_rows, regularise
from cofactor_trainer.scoring.ranking_part import ranking_factors, rating_part
from cofactor_trainer.scoring.trained_model import TrainedModel, select_rows

# Weights of the lowest and the highest rating, as in training.
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.1, 1.3
_USERS_AT_ONCE = 512


def estimate_priors(model: TrainedModel, dataset: RatingsDataset) -> UserPriors:
    """Estimate the prior of every part of a model."""
    if model.objective == "ranking":
        main = prior_of_trained_rows(model)
        if dataset.profiles is not None:
            rows = np.column_stack([model.user_factors, model.user_bias])[:-1].astype(np.float64)
            main = replace(main, profile=fit_profile_model(dataset.profiles, rows, main.covariance))
    else:
        main = _estimate_rating_prior(rating_part(model), dataset)
        if not model.n_ranking_factors:
            return UserPriors(main)
    features = None if main.profile is None else main.profile.features
    return UserPriors(main, _estimate_ranking_prior(model, dataset, features))


def _estimate_rating_prior(model: TrainedModel, dataset: RatingsDataset) -> UserPrior:
    """Estimate the prior of the rating part; users without ratings tell nothing about it."""
    if dataset.rated is None:
        return estimate_rating_prior(model, dataset)
    used = UsedRows.of(dataset.rated)
    model = select_rows(model, np.append(used.users, dataset.n_users), np.append(used.items, dataset.n_items))
    return estimate_rating_prior(model, used.select(dataset.rated))


def _estimate_ranking_prior(
    model: TrainedModel, dataset: RatingsDataset, features: tuple[manifest_pb2.ProfileFeature, ...] | None
) -> UserPrior:
    """Estimate the prior over the ranking factors; features is the encoding of the sign-up answers, None for none."""
    first = model.n_user_columns if model.n_ranking_factors else 0
    factors, bias = ranking_factors(model)
    rows = model.user_factors[:-1, first : first + factors.shape[1]]
    mean, spread = moments(rows)
    trained = UserPrior(mean, regularise(spread))
    space = RankingSpace.of(factors[:-1], bias[:-1], trained)
    posterior = covariance_of_users(space, dataset)
    covariance = regularise(space.root @ posterior @ space.root.T)
    if features is None or dataset.profiles is None:
        return UserPrior(trained.mean, covariance)
    profile = fit_profile_model(dataset.profiles, rows.astype(np.float64), covariance, features)
    return UserPrior(trained.mean, covariance, profile or no_effect(features, rows.shape[1]))


def no_effect(features: tuple[manifest_pb2.ProfileFeature, ...], n_factors: int) -> ProfileModel:
    """Return a model by which the answers tell nothing about the factors."""
    n_columns = sum(2 if f.HasField("numeric") else len(f.categorical.categories) for f in features)
    return ProfileModel(features, np.zeros((n_columns, n_factors)))


def covariance_of_users(space: RankingSpace, dataset: RatingsDataset) -> Float64Array:
    """Return the covariance of the users' coordinates, (r, r): that of their modes, and their mean uncertainty.

    It is the identity, the prior, if the data has no rating of a known user for a known item.
    """
    places = np.full(dataset.n_items + 1, -1)
    places[space.rows] = np.arange(len(space.rows))
    known = (dataset.user_rows < dataset.n_users) & (places[dataset.item_rows] >= 0)
    users = np.random.default_rng(0).permutation(_distinct_rows(dataset.user_rows[known], dataset.n_users))[:MAX_USERS]
    if not len(users):
        return np.eye(len(space.curvature))
    user_rows, places, weights = _weighted_ratings(dataset, users, known, places)
    items = torch.from_numpy(space.items)
    modes, variances = [], np.zeros(len(space.curvature))
    for start in range(0, len(users), _USERS_AT_ONCE):
        block = np.sort(users[start : start + _USERS_AT_ONCE])
        chosen = np.flatnonzero(np.isin(user_rows, block))
        indices = np.stack([np.searchsorted(block, user_rows[chosen]), places[chosen]])
        histories = torch.sparse_coo_tensor(
            torch.from_numpy(indices),
            torch.from_numpy(weights[chosen]),
            (len(block), len(items)),
            check_invariants=False,
        )
        pull, total = (histories @ items).numpy(), np.bincount(indices[0], weights[chosen])[:, None]
        precision = total * space.curvature + 1
        mode = np.zeros_like(pull)
        for length in (*STEP_LENGTHS, STEP_LENGTHS[-1]):
            shares = mode @ space.items.T + space.logits
            np.exp(shares - shares.max(1, keepdims=True), out=shares)
            shares /= shares.sum(1, keepdims=True)
            mode += length * (pull - total * (shares @ space.items) - mode) / precision
        modes.append(mode)
        variances += (1 / precision).sum(0)
    covariance: Float64Array = np.cov(np.concatenate(modes), rowvar=False, bias=True).reshape(len(variances), -1)
    return covariance + np.diag(variances / len(users))


def _weighted_ratings(
    dataset: RatingsDataset, users: Int64Array, known: BoolArray, places: Int64Array
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Return the ratings by some users of items of a space: user rows, places of the items, weights, (n,) each.

    known (n_ratings,) marks the ratings of items of the space, and places (n_items + 1,) says where these are in it.
    """
    is_chosen = np.zeros(dataset.n_users + 1, bool)
    is_chosen[users] = True
    chosen = np.flatnonzero(known & is_chosen[dataset.user_rows])
    return (
        dataset.user_rows[chosen].astype(np.int64),
        places[dataset.item_rows[chosen]],
        draws_of_ratings(dataset, dataset.ratings[chosen]),
    )


def _distinct_rows(rows: RowArray, n_rows: int) -> Int64Array:
    """Return the rows that occur, ascending."""
    occurs = np.zeros(n_rows, bool)
    occurs[rows] = True
    return np.flatnonzero(occurs)


def draws_of_ratings(dataset: RatingsDataset, ratings: Float32Array) -> Float64Array:
    """Return how many draws from the softmax each rating, or weight of events, counts as in training: (n,) -> (n,)."""
    if dataset.events is not None:
        return ratings.astype(np.float64) / dataset.events.mean_weight
    span = (dataset.rating_max - dataset.rating_min) or 1.0
    shares = (ratings.astype(np.float64) - dataset.rating_min) / span
    draws: Float64Array = LOWEST_WEIGHT + (HIGHEST_WEIGHT - LOWEST_WEIGHT) * shares
    return draws
