"""New users are ranked by what they rated and how, as an exact solver ranks them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cofactor_trainer.graphs import ranking_fold_in
from cofactor_trainer.graphs.ranking_fold_in import HIGHEST_WEIGHT, LOWEST_WEIGHT, build_fold_in
from cofactor_trainer.graphs.ranking_prior import estimate_priors
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.user_prior import UserPrior
from tests.support.synthetic import make_dataset, make_model, make_two_part_model, with_profiles

SCALE = (0.5, 5.0)


def fold_in_of(model, dataset=None):
    priors = estimate_priors(model, make_dataset() if dataset is None else dataset)
    return build_fold_in(model, Scorer(model), priors, SCALE), priors


def ranking_model(**options):
    return make_model(objective="ranking", rating_range=None, **options)


def history(n_items, count, seed=0):
    random = np.random.default_rng(seed)
    rows = random.choice(n_items, count, replace=False)
    return torch.from_numpy(rows)[None], torch.from_numpy(random.uniform(0.5, 5, (1, count)).astype(np.float32))


@pytest.mark.parametrize("model", [ranking_model(), make_two_part_model(), make_two_part_model("hybrid")])
def test_a_batch_with_padding_equals_each_user_alone(model):
    fold_in, _ = fold_in_of(model)
    rows, ratings = torch.full((3, 10), 120), torch.full((3, 10), 3.0)
    for user, count in enumerate((0, 4, 10)):
        rows[user, :count], ratings[user, :count] = (part[0] for part in history(120, count, user))
    batched = fold_in(rows, ratings)
    for user, count in enumerate((0, 4, 10)):
        alone = fold_in(rows[user : user + 1, : max(1, count)], ratings[user : user + 1, : max(1, count)])
        assert torch.allclose(batched[0][user], alone[0][0], atol=1e-5)
        assert torch.allclose(batched[1][user], alone[1][0], atol=1e-5)


def test_without_ratings_the_user_is_the_mean_of_the_prior():
    model = make_two_part_model()
    fold_in, priors = fold_in_of(model)
    factors, bias, _ = fold_in(torch.full((1, 1), 120), torch.zeros(1, 1))
    expected = np.concatenate([priors.main.mean[:-1], priors.ranking.mean, [1]])
    assert np.allclose(factors[0].numpy(), expected, atol=1e-5)
    assert np.allclose(bias.numpy(), priors.main.mean[-1], atol=1e-5)


def newton_steps_in_float64(model, prior, rows, ratings, n_steps):
    """Solve every Newton step in the coordinates of the factors, without a basis that makes it diagonal."""
    factors, bias = model.item_factors[:-1].astype(np.float64), model.item_bias[:-1].astype(np.float64)
    shares = (ratings - SCALE[0]) / (SCALE[1] - SCALE[0])
    weights = LOWEST_WEIGHT + (HIGHEST_WEIGHT - LOWEST_WEIGHT) * shares

    def softmax(user):
        logits = factors @ user + bias
        exponentials = np.exp(logits - logits.max())
        return exponentials / exponentials.sum()

    average = softmax(prior.mean)
    centred = factors - average @ factors
    precision = np.linalg.inv(prior.covariance)
    normal = weights.sum() * centred.T @ (average[:, None] * centred) + precision
    user = prior.mean.copy()
    for step in range(n_steps):
        gradient = weights @ factors[rows] - weights.sum() * softmax(user) @ factors - precision @ (user - prior.mean)
        user += (1.0 if step == 0 else 0.7) * np.linalg.solve(normal, gradient)
    return user


@pytest.mark.parametrize("n_rated", [1, 20, 220, 500])
def test_the_row_is_exact_for_many_factors_and_every_number_of_ratings(n_rated):
    """The curvatures differ by a factor of 10,000, where an iterative solver is off by a percent."""
    n_items, n_factors = 600, 200
    model = ranking_model(n_users=300, n_items=n_items, n_factors=n_factors)
    spread = np.geomspace(1, 1e-2, n_factors, dtype=np.float32)
    model = replace(model, user_factors=model.user_factors * spread, item_factors=model.item_factors * spread)
    fold_in, priors = fold_in_of(model, make_dataset(300, n_items))
    item_rows, ratings = history(n_items, n_rated)
    found = fold_in(item_rows, ratings)[0][0].numpy()
    expected = newton_steps_in_float64(
        model, priors.ranking, item_rows[0].numpy(), ratings[0].numpy().astype(np.float64), 3
    )
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()
    spreads = model.item_factors[:-1] @ np.stack([found - expected, expected], 1)
    assert np.ptp(spreads[:, 0]) < 2e-5 * np.ptp(spreads[:, 1])


def test_more_steps_come_nearer_to_the_mode_than_one():
    model = ranking_model(n_items=400)
    _, priors = fold_in_of(model, make_dataset(40, 400))
    rows = np.argsort(-(model.item_factors[:-1] @ model.item_factors[5]))[:15]
    one, three, mode = (
        newton_steps_in_float64(model, priors.ranking, rows, np.full(15, 5.0), steps) for steps in (1, 3, 60)
    )
    assert np.linalg.norm(three - mode) < 0.5 * np.linalg.norm(one - mode)


def test_only_the_average_users_best_items_are_in_the_softmax_of_a_large_catalogue(monkeypatch):
    model = ranking_model(n_items=600)
    item_rows, ratings = history(600, 10)
    exact = fold_in_of(model, make_dataset(40, 600))[0](item_rows, ratings)[0]
    monkeypatch.setattr(ranking_fold_in, "SOFTMAX_ITEMS", 500)
    fold_in, _ = fold_in_of(model, make_dataset(40, 600))
    assert fold_in.fold_in.softmax_items.shape == (500, 8)
    assert torch.allclose(fold_in(item_rows, ratings)[0], exact, atol=0.15 * float(exact.abs().max()))


def test_a_low_rating_draws_less_than_a_high_one():
    """Two users rated the same two kinds of items the other way round; each is ranked towards what they liked."""
    model = ranking_model(n_items=400)
    fold_in, _ = fold_in_of(model, make_dataset(40, 400))
    first, second = (np.argsort(-(model.item_factors[:-1] @ model.item_factors[row]))[:6].copy() for row in (5, 17))
    rows = torch.from_numpy(np.concatenate([first, second]))[None].expand(2, -1)
    ratings = torch.tensor([[5.0] * 6 + [1.0] * 6, [1.0] * 6 + [5.0] * 6])
    users = fold_in(rows, ratings)[0].numpy()
    scores = users @ model.item_factors[:-1].T
    assert scores[0, first].mean() - scores[0, second].mean() > 0.5 * np.ptp(scores[0]) / 4
    assert scores[1, second].mean() - scores[1, first].mean() > 0.5 * np.ptp(scores[1]) / 4


def test_sign_up_answers_move_both_parts():
    dataset = with_profiles(make_dataset())
    model = make_two_part_model()
    # Users of one mood have one taste.
    moods = (dataset.profiles["mood"] == "generous").to_numpy()
    model.user_factors[:-1, -7:-1] += np.where(moods, 2, -2)[:, None].astype(np.float32)
    fold_in, priors = fold_in_of(model, dataset)
    assert priors.main.profile.features == priors.ranking.profile.features
    answers = torch.zeros(2, len(priors.main.profile.weight))
    categories = list(priors.main.profile.features[1].categorical.categories)
    for user, mood in enumerate(("generous", "strict")):
        answers[user, 2 + categories.index(mood)] = 1
    nothing = torch.full((2, 1), 120)
    factors, bias, _ = fold_in(nothing, torch.zeros(2, 1), answers)
    assert bias[0] > bias[1]
    assert (factors[0, -7:-1] > factors[1, -7:-1] + 1).all()
    # Ratings count on top of the answers.
    rated = fold_in(torch.tensor([[3], [3]]), torch.full((2, 1), 5.0), answers)[0]
    assert not torch.allclose(rated[:, -7:-1], factors[:, -7:-1], atol=1e-3)


def test_the_estimated_prior_is_wider_than_the_trained_rows_that_training_shrank():
    """Users draw items from the softmax of their rows; the trained rows are half as long."""
    random = np.random.default_rng(2)
    n_users, n_items = 300, 150
    model = ranking_model(n_users=n_users, n_items=n_items, n_factors=3)
    true = random.normal(0, 1.5, (n_users, 3)).astype(np.float32)
    logits = true @ model.item_factors[:-1].T + model.item_bias[:-1]
    chosen = np.argsort(-(logits + random.gumbel(size=logits.shape)), axis=1)[:, :20]
    model.user_factors[:-1] = true / 2
    dataset = make_dataset(n_users, n_items)
    dataset = replace(
        dataset,
        user_rows=np.repeat(np.arange(n_users), 20),
        item_rows=chosen.ravel(),
        ratings=np.full(20 * n_users, 5.0, np.float32),
    )
    prior = estimate_priors(model, dataset).ranking
    assert isinstance(prior, UserPrior)
    before, after, wanted = np.trace(np.cov(true.T / 2)), np.trace(prior.covariance), np.trace(np.cov(true.T))
    assert before < after < 1.5 * wanted
