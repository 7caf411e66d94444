"""Probabilities of interaction on candidates whose true probabilities are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.data.splits import Split
from cofactor_trainer.evaluation.calibration import (
    FEWEST_HITS,
    CandidatePairs,
    cross_fitted_error,
    find_candidates,
    fit_curve,
    measure_reliability,
)
from cofactor_trainer.scoring.calibration import Curve, log_shares
from cofactor_trainer.scoring.trained_model import Order
from tests.support import synthetic

TRUE = Curve(1.2, 0.8, 0.6)


@pytest.fixture(scope="module")
def pairs():
    """Return candidates of 600 users whose hits follow TRUE; the last candidate of every third user is missing."""
    random = np.random.default_rng(3)
    shares = np.sort(random.uniform(-9, -2, (600, 40)), 1)[:, ::-1].copy()
    shares[::3, -1] = -math.inf
    n_items = random.integers(1, 200, 600)
    is_hit = random.random(shares.shape) < TRUE.probabilities(shares, n_items[:, None])
    return CandidatePairs(shares, is_hit, n_items)


def test_the_curve_is_that_of_the_hits(pairs):
    fitted = fit_curve(pairs)
    assert fitted is not None
    assert fitted.intercept == pytest.approx(TRUE.intercept, abs=0.3)
    assert fitted.share_weight == pytest.approx(TRUE.share_weight, abs=0.05)
    assert fitted.activity_weight == pytest.approx(TRUE.activity_weight, abs=0.08)


def test_a_missing_candidate_has_the_probability_zero_and_is_not_judged(pairs):
    assert TRUE.probabilities(np.array([-math.inf]), np.array([5])) == 0
    assert len(pairs.judge(TRUE)[0]) == pairs.log_shares.size - 200


def test_the_error_is_small_for_the_true_curve_and_large_for_another(pairs):
    assert measure_reliability(*pairs.judge(TRUE)).error < 0.01
    assert measure_reliability(*pairs.judge(replace(TRUE, intercept=2.5))).error > 0.05
    cross_fitted = cross_fitted_error(pairs)
    assert cross_fitted is not None
    assert cross_fitted < 0.03


def test_too_few_hits_give_no_curve(pairs):
    hits = np.flatnonzero(pairs.is_hit)[: FEWEST_HITS - 1]
    is_hit = np.zeros_like(pairs.is_hit)
    is_hit.flat[hits] = True
    few = replace(pairs, is_hit=is_hit)
    assert fit_curve(few) is None
    assert cross_fitted_error(few) is None


def test_scores_that_fall_with_the_hits_give_no_curve(pairs):
    assert fit_curve(replace(pairs, is_hit=pairs.is_hit[:, ::-1])) is None


def test_shares_add_up_to_one_without_what_is_left_out():
    left_out = np.array([[False, True, False], [True, True, True]])
    shares = log_shares(np.array([[900.0, 2000.0, 899.0], [1.0, 2.0, 3.0]]), left_out)
    np.testing.assert_allclose(np.exp(shares[0]), [1 / (1 + math.exp(-1)), 0, 1 / (1 + math.e)])
    assert np.all(shares[1] == -math.inf)


def test_candidates_are_the_best_items_that_the_user_does_not_have():
    dataset, model = synthetic.make_dataset(), synthetic.make_model()
    chosen = np.arange(dataset.n_ratings) % 5 == 0
    split = Split(dataset.select_ratings(~chosen), dataset.select_ratings(chosen))
    users = np.arange(dataset.n_users)
    order = Order(1.0, 0.0, 0.5)
    found = find_candidates(model, split, users, order, k=7)
    counts = split.train.item_rating_counts()
    for user in users[:5]:
        own = set(split.train.item_rows[split.train.user_rows == user].tolist())
        held_out = set(split.validation.item_rows[split.validation.user_rows == user].tolist()) - own
        scores = {
            item: float(
                model.user_factors[user] @ model.item_factors[item]
                + model.item_bias[item]
                + 0.5 * math.log1p(counts[item])
            )
            for item in range(dataset.n_items)
            if item not in own
        }
        total = math.log(sum(math.exp(score) for score in scores.values()))
        best = sorted(scores, key=lambda item: -scores[item])[:7]
        np.testing.assert_allclose(found.log_shares[user], [scores[item] - total for item in best], atol=1e-4)
        assert found.is_hit[user].tolist() == [item in held_out for item in best]
        assert found.n_items[user] == len(own)
