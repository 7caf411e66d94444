"""The orders of a version: by name, for known and new users, and with a calibrated penalty."""

from __future__ import annotations

import pytest

from cofactor.v1.manifest_pb2 import Manifest, Order
from cofactor_server.ranking.orders import SMALLEST_SLOPE, Orders
from cofactor_server.repository.manifest_numbers import check_numbers

BEST, CORRECTED, BY_RATING = range(3)
TWO_PARTS = Manifest(
    ranking_factor_count=5,
    default_order=Order(rating_weight=0.25, ranking_weight=1),
    new_user_order=Order(rating_weight=0.5, ranking_weight=1, popularity_weight=-0.5),
    rating_popularity_slope=0.4,
    ranking_popularity_slope=1.5,
)


def weights(order):
    assert order.weights.tolist() == [[order.rating_weight, order.ranking_weight]]
    assert order.popularity.tolist() == pytest.approx([order.popularity_weight])
    return order.rating_weight, order.ranking_weight, order.popularity_weight


@pytest.mark.parametrize(
    ("default_weight", "expected"),
    [(1.0, [(1, 0, 1.0), (1, 0, 1.0), (1, 0, 0)]), (0.0, [(1, 0, 0), (1, 0, 1.0), (1, 0, 0)])],
)
def test_a_version_without_a_ranking_part_orders_as_before(default_weight, expected):
    orders = Orders(Manifest(default_popularity_weight=default_weight))
    for by_ranking in (orders.known, orders.new):
        assert [weights(by_ranking[ranking]) for ranking in (BEST, CORRECTED, BY_RATING)] == expected


def test_known_and_new_users_have_their_own_best_order():
    orders = Orders(TWO_PARTS)
    assert weights(orders.known[BEST]) == (0.25, 1, 0)
    assert weights(orders.new[BEST]) == (0.5, 1, -0.5)
    for by_ranking in (orders.known, orders.new):
        assert weights(by_ranking[CORRECTED]) == (1, 0, 1)
        assert weights(by_ranking[BY_RATING]) == (1, 0, 0)


@pytest.mark.parametrize("penalty", [0.5, 1, 3])
def test_a_penalty_takes_off_multiples_of_what_popularity_adds_for_the_average_user(penalty):
    orders = Orders(TWO_PARTS)
    for order, slope in ((orders.known[BEST], 0.25 * 0.4 + 1.5), (orders.new[BEST], 0.5 * 0.4 + 1.5 - 0.5)):
        penalised = orders.penalised(order, penalty)
        assert weights(penalised)[:2] == weights(order)[:2]
        assert penalised.popularity_weight == pytest.approx(order.popularity_weight - penalty * slope)


def test_a_penalty_works_where_scores_do_not_rise_with_popularity():
    manifest = Manifest()
    manifest.CopyFrom(TWO_PARTS)
    manifest.ranking_popularity_slope = -2
    orders = Orders(manifest)
    assert orders.penalised(orders.known[BEST], 2).popularity_weight == pytest.approx(-2 * SMALLEST_SLOPE)


def test_a_penalty_is_a_plain_multiple_in_versions_that_do_not_say_how_scores_grow():
    orders = Orders(Manifest(default_popularity_weight=1))
    assert orders.penalised(orders.known[BEST], 0.3).popularity_weight == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("ranking", "expected"), [(BEST, (False, False)), (CORRECTED, (False, False)), (BY_RATING, (True, True))]
)
def test_only_the_predicted_rating_orders_by_rating(ranking, expected):
    orders = Orders(TWO_PARTS)
    assert (orders.known[ranking].is_by_rating, orders.new[ranking].is_by_rating) == expected


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda m: m.ClearField("default_order"), "needs default_order"),
        (lambda m: m.ClearField("ranking_factor_count"), "needs default_order"),
        (lambda m: m.ClearField("new_user_order"), "needs new_user_order"),
        (lambda m: setattr(m, "ranking_factor_count", 1), "ranking_factor_count 1"),
        (lambda m: setattr(m, "ranking_factor_count", -3), "ranking_factor_count -3"),
        (lambda m: setattr(m.default_order, "rating_weight", -1), "negative weight of a logit in default_order"),
        (lambda m: setattr(m.new_user_order, "popularity_weight", float("nan")), "nan in new_user_order"),
        (lambda m: setattr(m, "rating_popularity_slope", float("inf")), "inf in rating_popularity_slope"),
    ],
)
def test_a_manifest_whose_orders_make_no_sense_is_refused(change, problem):
    manifest = Manifest()
    manifest.CopyFrom(TWO_PARTS)
    check_numbers(manifest)
    change(manifest)
    with pytest.raises(ValueError, match=problem):
        check_numbers(manifest)
