"""Compute the row of a new item with numpy, from the priors: without ONNX, unrolled solvers or coordinates."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from cofactor_trainer.data.dataset import Catalogue
from cofactor_trainer.graphs.ranking_fold_in import HIGHEST_WEIGHT, LOWEST_WEIGHT, STEP_LENGTHS
from cofactor_trainer.scoring.ranking_part import rating_part
from tests.support.synthetic import make_dataset

GAUSS_NEWTON_STEPS = 30
# Items without ratings, of which one comes before and one between the items of the synthetic data set.
UNRATED = Catalogue(
    ["a-drama", "i050-action", "z-nothing"],
    ["Unseen A", "Unseen B", "Unseen C"],
    [("Drama",), ("Action",), ()],
    np.array([2030, 2031, 2032]),
)


def make_taste_model(make):
    """Return a model whose item rows follow from the genres, and ratings that it predicts."""
    model, dataset = make(), make_dataset(ratings_per_user=40)
    random = np.random.default_rng(1)
    effect = {genre: random.normal(0, 0.8, model.item_factors.shape[1]) for genre in ("Action", "Drama")}
    factors = model.item_factors.copy()
    for row, genres in enumerate(dataset.catalogue.genres):
        factors[row] = 0.3 * factors[row] + sum(effect.get(genre, 0) for genre in genres)
    factors[-1] = factors[:-1].mean(0)
    model = replace(model, item_factors=factors)
    rated = rating_part(model)
    scores = (rated.user_factors[dataset.user_rows] * rated.item_factors[dataset.item_rows]).sum(1)
    scores += rated.user_bias[dataset.user_rows] + rated.item_bias[dataset.item_rows] + rated.global_bias
    ratings = (0.5 + 5 / (1 + np.exp(-scores))).clip(0.5, 5).astype(np.float32)
    return SimpleNamespace(model=model, dataset=replace(dataset, ratings=ratings))


def rating_row(model, prior, user_rows, ratings, columns):
    """Return the factors followed by the bias of a rating part that maximise the posterior, by Gauss-Newton steps."""
    mean = prior.mean if prior.profile is None else prior.mean + columns @ prior.profile.weight
    precision = np.linalg.inv(prior.covariance)
    users = np.column_stack([model.user_factors[user_rows, : model.n_dot_factors], np.ones(len(user_rows))])
    low, high = model.rating_range
    row = mean.copy()
    for _ in range(GAUSS_NEWTON_STEPS):
        share = 1 / (1 + np.exp(-(users @ row + model.user_bias[user_rows] + model.global_bias)))
        slopes = users * ((high - low) * share * (1 - share))[:, None]
        errors = ratings - (low + (high - low) * share)
        row = row + np.linalg.solve(slopes.T @ slopes + precision, slopes.T @ errors - precision @ (row - mean))
    return row


def ranking_row(model, priors, user_rows, draws, columns, rating=None):
    """Return the ranking factors and the ranking bias after the three Newton steps, solved as they stand.

    draws (n,) is how many draws from the softmax over the users every rating, or event, counts as.
    """
    ranking = priors.ranking
    prior, space = ranking.prior, ranking.space
    first = model.n_user_columns if model.n_ranking_factors else 0
    users = model.user_factors[:, first : first + len(prior.mean)].astype(np.float64)
    offsets = space.logits - users[space.rows] @ prior.mean
    precision = np.linalg.inv(prior.covariance)
    mean = prior.mean if prior.profile is None else prior.mean + columns @ prior.profile.weight

    def shares(row):
        logits = users[space.rows] @ row + offsets
        chances = np.exp(logits - logits.max())
        return chances / chances.sum()

    average = shares(prior.mean)
    centred = users[space.rows] - average @ users[space.rows]
    curvature = (centred * average[:, None]).T @ centred
    row = mean.copy()
    for length in STEP_LENGTHS:
        gradient = draws @ users[user_rows] - draws.sum() * shares(row) @ users[space.rows] - precision @ (row - mean)
        row = row + length * np.linalg.solve(draws.sum() * curvature + precision, gradient)
    known = row if rating is None else np.concatenate([row, rating])
    bias = ranking.bias.offset + known @ ranking.bias.row_weight + columns @ ranking.bias.attribute_weight
    return np.append(row, bias)


def draws_of_ratings(ratings, low, high):
    """Return how many draws every rating of a new item counts as."""
    return LOWEST_WEIGHT + (HIGHEST_WEIGHT - LOWEST_WEIGHT) * (np.asarray(ratings) - low) / (high - low)
