"""The row of a new user maximises the posterior, for every architecture."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cofactor_trainer.data.profile_regression import describe_feature, encode_profiles, fit_profile_model
from cofactor_trainer.graphs.fold_in import EmbedRatingUser, conjugate_gradients
from cofactor_trainer.graphs.prior_estimation import estimate_rating_prior
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.user_prior import UserPrior, prior_of_trained_rows
from tests.support.synthetic import make_dataset, make_model, with_profiles

ARCHITECTURES = ["dot-product", "neural-network", "hybrid"]


def history(n_items, n_rated, seed=0):
    random = np.random.default_rng(seed)
    rows = torch.from_numpy(random.choice(n_items, n_rated, replace=False))[None]
    return rows, torch.from_numpy(random.uniform(0.5, 5, (1, n_rated)).astype(np.float32))


def objective(fold_in, prior, item_rows, ratings):
    """Twice the negative log posterior of a whitened row, computed by its definition."""

    def value(whitened):
        user = torch.from_numpy(prior.mean) + torch.from_numpy(prior.root) @ whitened
        fitted = fold_in.scorer.ratings(fold_in.logits_and_jacobian(user[None], item_rows)[0])
        return ((ratings - fitted) ** 2).sum() + whitened @ whitened

    return value


def minimum(value, size):
    whitened = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([whitened], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = value(whitened)
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item()


@pytest.mark.parametrize("rating_range", [(0.5, 5.5), None])
@pytest.mark.parametrize(
    ("architecture", "tolerance"), [("dot-product", 1e-4), ("neural-network", 0.25), ("hybrid", 0.1)]
)
@pytest.mark.parametrize("n_rated", [1, 5, 60])
def test_the_row_maximises_the_posterior(architecture, tolerance, rating_range, n_rated):
    model = make_model(architecture, rating_range=rating_range)
    prior = prior_of_trained_rows(model, noise=0.8)
    fold_in = EmbedRatingUser(Scorer(model), prior).double()
    item_rows, ratings = history(120, n_rated)
    value = objective(fold_in, prior, item_rows, ratings)
    factors, bias, _ = fold_in(item_rows, ratings.double())
    deviation = torch.cat([factors, bias[:, None]], 1)[0] - torch.from_numpy(prior.mean)
    reached = value(torch.linalg.solve(torch.from_numpy(prior.root), deviation)).item()
    start, best = value(torch.zeros(len(prior.mean), dtype=torch.float64)).item(), minimum(value, len(prior.mean))
    assert reached - best < tolerance * (start - best)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_hand_written_jacobian_equals_that_of_autograd(architecture):
    model = make_model(architecture)
    fold_in = EmbedRatingUser(Scorer(model), prior_of_trained_rows(model)).double()
    item_rows, _ = history(120, 9)
    user = torch.randn(1, len(fold_in.prior_mean), dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(lambda u: fold_in.logits_and_jacobian(u, item_rows)[0][0], user)[:, 0]
    assert torch.allclose(fold_in.logits_and_jacobian(user, item_rows)[1][0], expected, atol=1e-12)


def test_four_steps_of_six_iterations_are_enough():
    model = make_model(n_factors=32)
    prior = prior_of_trained_rows(model, noise=0.8)
    for n_rated in (1, 5, 20, 100):
        item_rows, ratings = history(120, n_rated)
        short = EmbedRatingUser(Scorer(model), prior)(item_rows, ratings)[2]
        long = EmbedRatingUser(Scorer(model), prior, steps=(1.0,) * 30, iterations=60)(item_rows, ratings)[2]
        assert (short - long).abs().max() < 0.02


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_ratings_a_new_user_is_the_mean_user(architecture):
    model = make_model(architecture)
    prior = prior_of_trained_rows(model)
    padding = torch.full((2, 3), 120)
    factors, bias, _ = EmbedRatingUser(Scorer(model), prior)(padding, torch.full((2, 3), 5.0))
    assert np.allclose(factors.numpy(), prior.mean[:-1], atol=1e-6)
    assert np.allclose(bias.numpy(), prior.mean[-1], atol=1e-6)


def test_a_batch_with_padding_equals_each_user_alone():
    model = make_model("hybrid")
    fold_in = EmbedRatingUser(Scorer(model), prior_of_trained_rows(model))
    rows, ratings = torch.full((3, 10), 120), torch.full((3, 10), 3.0)
    for user, count in enumerate((0, 4, 10)):
        rows[user, :count], ratings[user, :count] = (part[0] for part in history(120, count, user))
    batched = fold_in(rows, ratings)
    for user, count in enumerate((0, 4, 10)):
        alone = fold_in(rows[user : user + 1, : max(1, count)], ratings[user : user + 1, : max(1, count)])
        assert torch.allclose(batched[0][user], alone[0][0], atol=1e-5)
        assert torch.allclose(batched[1][user], alone[1][0], atol=1e-5)


def test_conjugate_gradients_solve_and_return_zero_for_zero():
    random = np.random.default_rng(1)
    half = torch.from_numpy(random.normal(size=(2, 6, 6)))
    matrix = half @ half.transpose(1, 2) + torch.eye(6, dtype=torch.float64)
    target = torch.from_numpy(random.normal(size=(2, 6, 1)))
    assert torch.allclose(conjugate_gradients(matrix, target, 12), torch.linalg.solve(matrix, target))
    assert conjugate_gradients(matrix, torch.zeros_like(target), 5).abs().sum() == 0


def test_the_prior_is_recovered_from_ratings_drawn_from_it():
    """Users are drawn from a wide prior, and their trained rows are shrunk towards the mean as by weight decay."""
    random = np.random.default_rng(5)
    n_users, n_items = 400, 150
    model = make_model(n_users=n_users, n_items=n_items, n_factors=3)
    rows = random.multivariate_normal(np.array([0.2, -0.1, 0, 0.3]), np.diag([0.6, 0.3, 0.2, 0.4]), n_users)
    item = np.column_stack([model.item_factors[:-1], np.ones(n_items)])
    logits = rows @ item.T + model.item_bias[:-1] + model.global_bias
    ratings = 0.5 + 5 / (1 + np.exp(-logits)) + random.normal(0, 0.7, logits.shape)
    chosen = np.stack([random.choice(n_items, 90, replace=False) for _ in range(n_users)])
    shrunk = rows.mean(0) + (rows - rows.mean(0)) / 2
    model.user_factors[:-1], model.user_bias[:-1] = shrunk[:, :-1], shrunk[:, -1]
    dataset = replace(
        make_dataset(n_users, n_items),
        user_rows=np.repeat(np.arange(n_users), 90),
        item_rows=chosen.ravel(),
        ratings=np.take_along_axis(ratings, chosen, 1).ravel().astype(np.float32),
    )
    prior = estimate_rating_prior(model, dataset)
    variance = np.diag(prior.covariance) * 0.7**2
    before = np.diag(prior_of_trained_rows(model).covariance)
    true = rows.var(0)
    assert np.all(np.abs(np.log(variance / true)) < 0.7 * np.abs(np.log(before / true)))
    assert np.abs(prior.mean - rows.mean(0)).max() < 0.1


def test_sign_up_answers_move_the_mean_towards_users_with_the_same_answers():
    dataset = with_profiles(make_dataset())
    model = make_model()
    prior = estimate_rating_prior(model, dataset)
    assert [feature.key for feature in prior.profile.features] == ["age", "mood"]
    fold_in = EmbedRatingUser(Scorer(model), prior)
    nothing = torch.full((2, 1), 120)
    answers = torch.zeros(2, len(prior.profile.weight))
    categories = list(prior.profile.features[1].categorical.categories)
    for user, mood in enumerate(("generous", "strict")):
        answers[user, 2 + categories.index(mood)] = 1
    _, bias, _ = fold_in(nothing, torch.zeros(2, 1), answers)
    assert bias[0] > prior.mean[-1] > bias[1]


def test_no_answer_leaves_the_mean_and_an_absurd_answer_moves_it_little():
    dataset = with_profiles(make_dataset())
    model = make_model()
    fold_in = EmbedRatingUser(Scorer(model), estimate_rating_prior(model, dataset))
    nothing = torch.full((1, 1), 120)
    none = fold_in(nothing, torch.zeros(1, 1), torch.zeros(1, fold_in.n_profile_columns))
    assert torch.allclose(none[0][0], fold_in.prior_mean[:-1], atol=1e-6)
    absurd = torch.zeros(1, fold_in.n_profile_columns)
    absurd[0, :2] = torch.tensor([90.0, 8100.0])
    assert fold_in(nothing, torch.zeros(1, 1), absurd)[0].abs().max() < 10


def test_uninformative_answers_give_no_profile_model():
    dataset = with_profiles(make_dataset(n_users=200))
    random = np.random.default_rng(0)
    profiles = dataset.profiles.assign(
        age=random.normal(size=200), mood=random.choice(["a", "b"], 200), name=[f"n{i}" for i in range(200)]
    )
    assert fit_profile_model(profiles, random.normal(size=(200, 9)), np.eye(9)) is None


def test_rare_answers_and_missing_ones_have_no_column():
    dataset = with_profiles(make_dataset())
    profiles = dataset.profiles.assign(mood=["odd", *dataset.profiles["mood"][1:]])
    rows = np.column_stack([profiles["age"].fillna(40), np.ones(len(profiles))])
    model = fit_profile_model(profiles, rows, np.diag([rows.var(0)[0], 1]))
    assert list(model.features[1].categorical.categories) == ["generous", "strict"]
    columns = encode_profiles(model.features, profiles)
    assert not columns[0, 2:].any()
    assert not columns[-1].any()
    # A missing answer changes nothing for the others.
    given = profiles["mood"][1:-1]
    expected = np.column_stack([given == "generous", given == "strict"])
    assert np.array_equal(columns[1:-1, 2:], expected)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([1000.0, *range(20, 60), -1000.0, np.nan], (23.0, 56.0)),
        ([7.0] * 9 + [99.0], (7.0, 7.0)),
        ([float(n) for n in range(9)], None),
    ],
    ids=["outliers", "one-outlier", "few-answers"],
)
def test_the_range_of_a_number_leaves_out_the_answers_of_few(answers, expected):
    numeric = describe_feature("age", pd.Series(answers)).numeric
    assert numeric.HasField("lowest") == numeric.HasField("highest") == (expected is not None)
    if expected is not None:
        assert (numeric.lowest, numeric.highest) == expected


def test_fewer_users_than_factors_give_an_invertible_prior():
    model = make_model(n_users=3, n_factors=16)
    prior = prior_of_trained_rows(model)
    assert isinstance(prior, UserPrior)
    assert np.isfinite(prior.precision).all()
    assert np.allclose(prior.root @ prior.root.T, prior.covariance)
