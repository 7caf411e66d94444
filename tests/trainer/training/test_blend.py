"""The Bayesian sampler draws from the right distributions, and a blend becomes one dot product."""

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.architectures import bayesian_mf as gibbs
from cofactor_trainer.architectures import ordered_probit
from cofactor_trainer.architectures.bayesian_mf import GibbsSampler
from cofactor_trainer.architectures.ordered_probit import OrdinalSampler
from cofactor_trainer.architectures.recipes import RECIPES
from cofactor_trainer.errors import RecipeError
from cofactor_trainer.scoring.numpy_scorer import logits_to_ratings, predict_all_logits
from cofactor_trainer.training import blend as blending
from cofactor_trainer.training.blend import factorize_predictions
from cofactor_trainer.training.lr_finder import find_learning_rate
from cofactor_trainer.training.observer import Observer
from cofactor_trainer.training.train import train
from tests.support.synthetic import make_dataset, with_profiles

BEST = replace(RECIPES["best"], n_factors=8, epochs=blending.BURN_IN + 3)


class Noiseless:
    """Random generator whose normal draws are all 0, so that a draw is the mean of its distribution."""

    def standard_normal(self, shape, dtype=np.float64):
        return np.zeros(shape, dtype)

    def chisquare(self, freedom):
        return freedom

    def permutation(self, n):
        return np.arange(n)


@pytest.fixture
def sampler():
    dataset = make_dataset(25, 18, ratings_per_user=7)
    drawn = GibbsSampler(dataset, np.zeros((25, 0), np.float32), np.zeros((18, 0), np.float32), 3, seed=0)
    for side in (drawn.users, drawn.items):
        random = np.random.default_rng(1)
        side.own = random.normal(0, 0.6, side.own.shape).astype(np.float32)
        side.implicit = random.normal(0, 0.6, side.implicit.shape).astype(np.float32)
        side.noise = random.uniform(0.5, 2, side.n_rows).astype(np.float32)
    return drawn


def squared_error(sampler):
    """Half the weighted squared error: the negative log-likelihood that a Gibbs step works with."""
    users, items = sampler.users, sampler.items
    precision = gibbs.NOISE_PRECISION * users.noise[users.rows] * items.noise[items.rows]
    return float((precision * np.square(sampler._errors().astype(np.float64))).sum()) / 2


def gradient(vectors, loss, row, step=0.05):
    """Central differences in the elements of one row; they are exact for a quadratic."""
    slopes = []
    for column in range(vectors.shape[1]):
        before, ends = vectors[row, column], []
        for sign in (1, -1):
            vectors[row, column] = before + sign * step
            ends.append(loss())
        vectors[row, column] = before
        slopes.append((ends[0] - ends[1]) / (2 * step))
    return np.array(slopes)


@pytest.mark.parametrize("side", ["users", "items"])
@pytest.mark.parametrize("kind", ["own", "implicit"])
def test_draws_have_the_mean_of_the_posterior(sampler, monkeypatch, side, kind):
    """At the mean the slopes of likelihood and prior cancel.

    Implicit vectors are drawn one after the other, so their slopes cancel only in the one that is drawn last.
    """
    sampler._random = Noiseless()
    priors = {}
    draw_prior = sampler._draw_prior

    def remember(vectors, features, scale):
        priors[scale] = draw_prior(vectors, features, scale)
        return priors[scale]

    monkeypatch.setattr(sampler, "_draw_prior", remember)
    one, other = (getattr(sampler, name) for name in (side, "items" if side == "users" else "users"))
    if kind == "own":
        monkeypatch.setattr(sampler, "_draw_implicit", lambda *_: None)
    precision = np.float32(gibbs.NOISE_PRECISION) * sampler.users.noise[sampler.users.rows]
    sampler._draw_side(one, other, precision * sampler.items.noise[sampler.items.rows])
    drawn, scale = (one.own, gibbs.OWN_SCALE) if kind == "own" else (other.implicit, gibbs.IMPLICIT_SCALE)
    mean, prior_precision = priors[scale]
    for row in range(len(drawn)) if kind == "own" else [len(drawn) - 1]:
        slope = gradient(drawn, lambda: squared_error(sampler), row)
        np.testing.assert_allclose(slope, prior_precision @ (mean[row] - drawn[row]), atol=0.02, rtol=0.02)


def test_draws_have_the_covariance_of_the_posterior(sampler):
    precision = np.array([[[4.0, 1.0], [1.0, 2.0]]], np.float32)
    covariance, _ = sampler._posterior(precision)
    draws = np.concatenate([sampler._posterior(np.repeat(precision, 500, axis=0))[1] for _ in range(20)])
    np.testing.assert_allclose(covariance[0], np.linalg.inv(precision[0]), atol=1e-6)
    np.testing.assert_allclose(np.cov(draws.T), covariance[0], atol=0.02)


def test_the_mean_of_the_samples_recovers_the_true_ratings():
    """The ratings are a matrix of rank 2 with noise. The mean has a smaller error than any single sample."""
    random = np.random.default_rng(0)
    dataset = make_dataset(90, 50, ratings_per_user=25)
    truth = random.normal(0, 0.8, (90, 2)) @ random.normal(0, 0.8, (50, 2)).T
    noisy = truth[dataset.user_rows, dataset.item_rows] + random.normal(0, 0.4, dataset.n_ratings) + 3
    sampler = GibbsSampler(
        replace(dataset, ratings=noisy.astype(np.float32)),
        np.zeros((90, 0), np.float32),
        np.zeros((50, 0), np.float32),
        4,
        0,
    )
    samples = []
    for sweep in range(50):
        sampler.sweep()
        if sweep >= 15:
            samples.append(sampler.predictions()[:-1] - 3)
    errors = [np.square(sample - truth[:-1]).mean() for sample in [np.mean(samples, 0), *samples]]
    assert errors[0] < 0.3 * np.square(truth).mean()
    assert errors[0] < min(errors[1:])


@pytest.mark.parametrize("factor", [0.25, 20])
def test_ratings_on_another_scale_are_learnt_as_well(factor):
    """The draws are the same, so only rounding differs."""
    dataset = make_dataset(30, 20)
    no_features = [np.zeros((n, 0), np.float32) for n in (30, 20)]
    one = GibbsSampler(dataset, *no_features, 3, 0)
    other = GibbsSampler(replace(dataset, ratings=dataset.ratings * np.float32(factor)), *no_features, 3, 0)
    for sampler in (one, other):
        for _ in range(3):
            sampler.sweep()
    np.testing.assert_allclose(other.predictions() / factor, one.predictions(), atol=0.01)
    assert other.train_error == pytest.approx(one.train_error * factor**2, rel=0.01)


def test_ratings_that_are_all_the_same_are_predicted():
    dataset = make_dataset(30, 20)
    sampler = GibbsSampler(
        replace(dataset, ratings=np.full_like(dataset.ratings, 3)),
        *(np.zeros((n, 0), np.float32) for n in (30, 20)),
        3,
        0,
    )
    sampler.sweep()
    np.testing.assert_allclose(sampler.predictions().mean(), 3, atol=0.1)


def test_factorizing_reproduces_a_matrix_of_low_rank():
    random = np.random.default_rng(0)
    dataset = make_dataset(40, 30)
    logits = random.normal(0, 0.5, (40, 3)) @ random.normal(0, 0.5, (3, 30)) + random.normal(0, 0.5, (40, 1)) + 0.4
    ratings = (5 / (1 + np.exp(-logits)) + 0.25).astype(np.float32)
    model = factorize_predictions(ratings, dataset, (0.25, 5.25), 6, seed=0)
    factorized = logits_to_ratings(model, predict_all_logits(model, np.arange(40)))
    np.testing.assert_allclose(factorized, ratings, atol=1e-3)
    assert model.user_factors.shape == (41, 6)
    np.testing.assert_allclose(model.user_factors[-1], model.user_factors[:-1].mean(0), atol=1e-6)


def test_the_blend_is_reproducible_and_better_than_the_mean_rating():
    dataset = with_profiles(make_dataset(40, 30))
    first, second = (train(dataset, dataset, BEST, seed=2) for _ in range(2))
    assert np.array_equal(first.model.user_factors, second.model.user_factors)
    assert first.history[-1].epoch == BEST.epochs
    assert first.history[-1].validation_loss < np.var(dataset.ratings)


class Progress(Observer):
    """Counts reports of progress, and remembers the last one."""

    def __init__(self):
        self.n_reports, self.last = 0, 0.0

    def on_progress(self, n_done, n_total):
        self.n_reports, self.last = self.n_reports + 1, n_done / n_total


def test_the_progress_counts_the_sweeps_of_both_samplers():
    progress = Progress()
    train(make_dataset(40, 30), None, BEST, observer=progress)
    assert (progress.n_reports, progress.last) == (2 * BEST.epochs, 1.0)


@pytest.mark.parametrize(("noise", "second_kind"), [(0.0, OrdinalSampler), (0.1, GibbsSampler)])
def test_the_second_sampler_takes_levels_for_ordered_outcomes(noise, second_kind, monkeypatch):
    monkeypatch.setattr(ordered_probit, "MIN_RATINGS", 100)
    dataset = make_dataset(40, 30)
    ratings = dataset.ratings + noise * np.random.default_rng(0).random(dataset.n_ratings, np.float32)
    first, second = blending._make_samplers(replace(dataset, ratings=ratings), 0)
    assert (type(first), type(second)) == (GibbsSampler, second_kind)
    first.sweep()
    second.sweep()
    assert not np.array_equal(first.predictions(), second.predictions())


def test_a_blend_that_cannot_be_trained_is_refused(monkeypatch, tmp_path):
    dataset = make_dataset(20, 15)
    with pytest.raises(RecipeError, match="needs more than 20, its burn-in"):
        train(dataset, None, replace(BEST, epochs=20))
    with pytest.raises(RecipeError, match="leave out the patience and the checkpoint"):
        train(dataset, None, BEST, checkpoint=tmp_path / "state")
    with pytest.raises(RecipeError, match="a blend of several models"):
        find_learning_rate(dataset, BEST)
    monkeypatch.setattr(blending, "MAX_CELLS", 299)
    with pytest.raises(RecipeError, match="300 cells of at most 299: use dot-bias or hybrid"):
        train(dataset, None, BEST)
