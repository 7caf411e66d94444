"""Users and items of a softmax move to where the gradient of the new likelihood is smaller."""

import numpy as np
import pytest

from cofactor_trainer.graphs.ranking_fold_in import RankingSpace
from cofactor_trainer.graphs.user_prior import UserPrior
from cofactor_trainer.refresh.pair_table import PairTable
from cofactor_trainer.refresh.ranking_rows import RankingItems, move_ranking_users

N_USERS, N_ITEMS, R = 50, 30, 3


@pytest.fixture
def ranking():
    """Users (N_USERS + 1, R) and items (N_ITEMS + 1, R + 1)."""
    random = np.random.default_rng(2)
    return random.normal(0, 0.7, (N_USERS + 1, R)), random.normal(0, 0.7, (N_ITEMS + 1, R + 1))


def log_likelihood(user, items, counts):
    """Return the multinomial log-likelihood of counts (n_items,), with a standard Gaussian prior."""
    scores = items[:-1, :-1] @ user + items[:-1, -1]
    return counts @ scores - counts.sum() * np.log(np.exp(scores).sum()) - user @ user / 2


def test_a_user_moves_towards_the_mode_with_the_new_items_and_others_stay(ranking):
    users, items = ranking
    space = RankingSpace.of(
        items[:-1, :-1].astype(np.float32), items[:-1, -1].astype(np.float32), UserPrior(np.zeros(R), np.eye(R))
    )
    counts = np.zeros((N_USERS + 1, N_ITEMS))
    counts[:, :6] = 1
    # Start at the mode of user 7, found by small steps.
    for _ in range(400):
        scores = items[:-1, :-1] @ users[7] + items[:-1, -1]
        shares = np.exp(scores) / np.exp(scores).sum()
        users[7] += 0.1 * ((counts[7] - 6 * shares) @ items[:-1, :-1] - users[7])
    counts[7, 20] += 1
    before = users.copy()
    changes = PairTable(np.array([7]), np.array([20]), np.array([1.0]), N_USERS + 1)
    move_ranking_users(users, changes.rows(), items[:, :-1], space, changes, counts.sum(1))
    assert log_likelihood(users[7], items, counts[7]) > log_likelihood(before[7], items, counts[7])
    assert (items[20, :-1] @ users[7]) > (items[20, :-1] @ before[7])
    others = np.arange(N_USERS + 1) != 7
    assert np.array_equal(users[others], before[others])


def log_posterior(softmax, row, weights, totals):
    """Return the log posterior of a new item, against the others in the softmax of every user."""
    scores = softmax.users @ row
    likelihood = weights @ scores - totals @ np.log(np.exp(softmax.normalisers) + np.exp(scores))
    distance = row - softmax.mean
    return likelihood - distance @ softmax.precision @ distance / 2


def test_a_new_item_is_fitted_to_its_raters(ranking):
    users, items = ranking
    totals = np.full(N_USERS, 4.0)
    mean, precision = np.append(np.zeros(R), -1.0), np.eye(R + 1)
    softmax = RankingItems.of(users[:-1], items[:-1], totals, mean, precision)
    raters = np.flatnonzero(users[:-1, 0] > 0.5)
    weights = np.zeros(N_USERS)
    weights[raters] = 1.0
    by_item = PairTable(np.full(len(raters), N_ITEMS), raters, np.ones(len(raters)), N_ITEMS + 1)
    softmax.fit(items, np.array([N_ITEMS]), by_item)
    fitted = log_posterior(softmax, items[N_ITEMS], weights, totals)
    for step in (1e-3 * np.vstack([np.eye(R + 1), -np.eye(R + 1)])).tolist():
        assert log_posterior(softmax, items[N_ITEMS] + step, weights, totals) < fitted
    assert items[N_ITEMS, 0] > 0.3  # its raters have this in common


def test_a_known_item_that_gains_a_user_moves_towards_the_user(ranking):
    users, items = ranking
    softmax = RankingItems.of(users[:-1], items[:-1], np.full(N_USERS, 4.0), items[-1], np.eye(R + 1))
    before = items.copy()
    changes = PairTable(np.array([3]), np.array([9]), np.array([1.3]), N_ITEMS + 1)
    softmax.move(items, changes.rows(), changes)
    assert users[9] @ (items[3, :-1] - before[3, :-1]) + items[3, -1] - before[3, -1] > 0
    assert np.array_equal(np.delete(items, 3, 0), np.delete(before, 3, 0))
