"""The sampler of ordered ratings, on ratings whose thresholds are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.architectures.ordered_probit import MAX_LEVELS, MIN_RATINGS, OrdinalSampler, has_levels
from tests.support.synthetic import make_dataset

N_USERS, N_ITEMS = 60, 40
THRESHOLDS = np.array([-1.5, -1.2, 0.0, 1.4])


def ordered_ratings(levels=(1, 2, 3, 4, 5)):
    """Draw ratings of most pairs from a latent value with the mean of the user plus that of the item."""
    random = np.random.default_rng(4)
    means = random.normal(0, 0.7, N_USERS)[:, None] + random.normal(0, 0.7, N_ITEMS)
    users, items = np.nonzero(random.random((N_USERS, N_ITEMS)) < 0.6)
    latent = means[users, items] + random.normal(size=len(users))
    ratings = np.asarray(levels, np.float32)[np.searchsorted(THRESHOLDS, latent)]
    template = make_dataset()
    catalogue = replace(
        template.catalogue,
        item_ids=[str(i) for i in range(N_ITEMS)],
        titles=[""] * N_ITEMS,
        genres=[()] * N_ITEMS,
        release_years=np.zeros(N_ITEMS, np.int64),
    )
    dataset = replace(
        template,
        user_ids=[str(u) for u in range(N_USERS)],
        catalogue=catalogue,
        user_rows=users.astype(np.int32),
        item_rows=items.astype(np.int32),
        ratings=ratings,
        timestamps=None,
        profiles=None,
    )
    return dataset, means


def sampler_of(dataset, seed=0):
    no_features = [np.zeros((n, 0), np.float32) for n in (dataset.n_users, dataset.n_items)]
    return OrdinalSampler(dataset, *no_features, 2, seed)


def posterior_mean(sampler, n_sweeps, burn_in):
    total, thresholds = 0.0, 0.0
    for number in range(n_sweeps):
        sampler.sweep()
        if number >= burn_in:
            total = total + sampler.predictions() / (n_sweeps - burn_in)
            thresholds = thresholds + sampler.thresholds / (n_sweeps - burn_in)
    return total, thresholds


@pytest.fixture(scope="module")
def posterior():
    return posterior_mean(sampler_of(ordered_ratings()[0]), 50, 20)


def test_the_thresholds_are_found_up_to_the_scale_of_the_latent_values(posterior):
    _, thresholds = posterior
    steps, true_steps = np.diff(thresholds), np.diff(THRESHOLDS)
    np.testing.assert_allclose(steps / steps.sum(), true_steps / true_steps.sum(), atol=0.06)


def test_the_expected_rating_is_nearer_to_the_truth_than_the_mean_of_the_ratings(posterior):
    dataset, means = ordered_ratings()
    normal = torch.distributions.Normal(0.0, 1.0)
    predicted, _ = posterior
    expected = 5 - sum(normal.cdf(torch.from_numpy(threshold - means)).numpy() for threshold in THRESHOLDS)
    error = np.mean((predicted - expected) ** 2)
    assert error < 0.15 * np.mean((dataset.ratings.mean() - expected) ** 2)
    assert 1 <= predicted.min() <= predicted.max() <= 5


def test_latent_values_lie_between_the_thresholds_of_their_ratings():
    dataset, _ = ordered_ratings(levels=(0.5, 1, 3, 3.5, 10))
    sampler = sampler_of(dataset)
    sampler.sweep()
    ends = np.concatenate([[-np.inf], sampler.thresholds, [np.inf]])
    level = np.searchsorted(sampler.levels, dataset.ratings)
    latent = sampler._ratings
    assert (latent >= ends[level] - 1e-5).all()
    assert (latent <= ends[level + 1] + 1e-5).all()


@pytest.mark.parametrize("rare", [1, 3])
def test_a_level_that_occurs_once_keeps_the_thresholds_in_order(rare):
    dataset, _ = ordered_ratings()
    ratings = np.where(dataset.ratings == rare, 2, dataset.ratings).astype(np.float32)
    ratings[7] = rare
    sampler = sampler_of(replace(dataset, ratings=ratings))
    for _ in range(10):
        sampler.sweep()
        assert (np.diff(sampler.thresholds) > 0).all()
        assert np.isfinite(sampler.predictions()).all()


def test_the_same_seed_draws_the_same_samples():
    dataset, _ = ordered_ratings()
    first, second, other = sampler_of(dataset), sampler_of(dataset), sampler_of(dataset, seed=1)
    for sampler in (first, second, other):
        sampler.sweep()
    np.testing.assert_array_equal(first.predictions(), second.predictions())
    assert (first.predictions() != other.predictions()).any()


def test_a_level_of_one_rating_in_a_hundred_thousand_does_not_stop_the_other_thresholds():
    """Its threshold is next to that of its neighbour; both still move."""
    dataset, _ = ordered_ratings()
    copies = 80
    ratings = np.tile(dataset.ratings, copies)
    ratings[7] = 5.5
    many = replace(
        dataset,
        user_rows=np.tile(dataset.user_rows, copies),
        item_rows=np.tile(dataset.item_rows, copies),
        ratings=ratings,
    )
    sampler = sampler_of(many)
    first = sampler.thresholds
    sampler.sweep()
    sampler.sweep()
    assert (np.diff(sampler.thresholds) > 0).all()
    assert (np.abs(sampler.thresholds - first) > 1e-4).all()


def test_a_rating_far_from_its_prediction_has_a_latent_value_between_its_thresholds():
    dataset, _ = ordered_ratings()
    sampler = sampler_of(dataset)
    for sign in (-1, 1):
        means = np.full(dataset.n_ratings, sign * 40.0)
        latent = sampler._draw_latent_values(means, np.ones_like(means))
        ends = np.concatenate([[-np.inf], sampler.thresholds, [np.inf]])
        level = np.searchsorted(sampler.levels, dataset.ratings)
        assert np.isfinite(latent).all()
        assert (latent >= ends[level] - 1e-5).all()
        assert (latent <= ends[level + 1] + 1e-5).all()


@pytest.mark.parametrize(
    ("n_levels", "n_ratings", "expected"),
    [
        (5, MIN_RATINGS, True),
        (5, MIN_RATINGS - 1, False),
        (MAX_LEVELS, MIN_RATINGS, True),
        (MAX_LEVELS + 1, MIN_RATINGS, False),
        (1, MIN_RATINGS, False),
    ],
)
def test_only_many_ratings_at_few_levels_are_ordered_outcomes(n_levels, n_ratings, expected):
    assert has_levels(np.arange(n_ratings, dtype=np.float32) % n_levels) == expected
