"""Metrics equal a second, slow computation, and values known by construction."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.data.splits import k_folds, per_user_last_split, per_user_split, random_split, time_split
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.baselines import fit_biases, fit_popularity
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, evaluate_ratings, relevance_threshold, top_k_rows
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits, predict_logits
from cofactor_trainer.scoring.trained_model import TrainedModel
from tests.support.synthetic import make_dataset, make_model


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(ratings_per_user=30)


@pytest.fixture(scope="module")
def split(dataset):
    return random_split(dataset, 0.4, seed=1)


def model_for(split, architecture):
    return make_model(architecture, n_users=split.train.n_users, n_items=split.train.n_items)


@pytest.mark.parametrize("architecture", ["dot-product", "neural-network", "hybrid"])
def test_predict_all_logits_equals_predict_logits_of_every_pair(architecture, split):
    model = model_for(split, architecture)
    users = np.array([0, 5, split.train.n_users])
    pairs = np.meshgrid(users, np.arange(split.train.n_items), indexing="ij")
    expected = predict_logits(model, pairs[0].ravel(), pairs[1].ravel()).reshape(3, -1)
    np.testing.assert_allclose(predict_all_logits(model, users), expected, atol=1e-5)


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("weight", [0.0, 1.5])
def test_ranking_metrics_equal_a_slow_computation(split, k, weight):
    model = model_for(split, "dot-product")
    found = evaluate_ranking(model, split, k, popularity_weight=weight)
    train, held_out, threshold = split.train, split.validation, relevance_threshold(split)
    counts = train.item_rating_counts()
    recalls, gains, reciprocals, recommended = [], [], [], []
    for user in range(train.n_users):
        relevant = {
            int(item)
            for item, rating in zip(
                held_out.item_rows[held_out.user_rows == user],
                held_out.ratings[held_out.user_rows == user],
                strict=True,
            )
            if rating >= threshold and item < train.n_items
        }
        if not relevant:
            continue
        rated = set(train.item_rows[train.user_rows == user].tolist())
        scores = predict_logits(model, np.full(train.n_items, user), np.arange(train.n_items)) + weight * np.log1p(
            counts
        )
        best = sorted((i for i in range(train.n_items) if i not in rated), key=lambda i: (-scores[i], i))[:k]
        hits = [item in relevant for item in best]
        recalls.append(sum(hits) / len(relevant))
        ideal = sum(1 / np.log2(place + 2) for place in range(min(k, len(relevant))))
        gains.append(sum(hit / np.log2(place + 2) for place, hit in enumerate(hits)) / ideal)
        reciprocals.append(1 / (hits.index(True) + 1) if any(hits) else 0)
        recommended += best
    assert found.n_users == len(recalls)
    assert found.recall == pytest.approx(np.mean(recalls))
    assert found.ndcg == pytest.approx(np.mean(gains))
    assert found.mrr == pytest.approx(np.mean(reciprocals))
    assert found.hit_rate == pytest.approx(np.mean(np.array(reciprocals) > 0))
    assert found.coverage == pytest.approx(len(set(recommended)) / train.n_items)
    mean_rated = np.mean(counts[train.item_rows])
    assert found.popularity_lift == pytest.approx(np.mean(counts[recommended]) / mean_rated)


def test_a_model_that_knows_the_held_out_ratings_is_perfect(split):
    train, held_out = split.train, split.validation
    table = np.full((train.n_users + 1, train.n_items + 1), 0.0, np.float32)
    table[held_out.user_rows, held_out.item_rows] = held_out.ratings
    oracle = TrainedModel(
        architecture="dot-product",
        objective="rating",
        user_factors=table,
        user_bias=np.zeros(train.n_users + 1, np.float32),
        item_factors=np.eye(train.n_items + 1, dtype=np.float32),
        item_bias=np.zeros(train.n_items + 1, np.float32),
        global_bias=0.0,
        rating_range=None,
        n_dot_factors=train.n_items + 1,
    )
    known = (held_out.user_rows < train.n_users) & (held_out.item_rows < train.n_items)
    assert known.any()
    assert evaluate_ratings(oracle, split).mse == pytest.approx(0)
    ranking = evaluate_ranking(oracle, split, 10)
    assert (ranking.ndcg, ranking.mrr, ranking.hit_rate) == pytest.approx((1, 1, 1))


def test_top_k_rows_puts_the_lower_row_first_among_equals_and_leaves_out_excluded_rows():
    scores = np.array([[1, 3, 3, 2, 3], [-np.inf, 1, -np.inf, -np.inf, -np.inf]], dtype=np.float32)
    assert top_k_rows(scores, 2).tolist() == [[1, 2], [1, -1]]
    assert top_k_rows(scores, 4).tolist() == [[1, 2, 4, 3], [1, -1, -1, -1]]


def test_ranking_without_relevant_held_out_ratings_is_an_error(split):
    with pytest.raises(InputError, match="nothing is relevant"):
        evaluate_ranking(model_for(split, "dot-product"), split, threshold=9.0)


def test_popularity_recommends_the_most_rated_items(split):
    counts = split.train.item_rating_counts()
    ranked = top_k_rows(predict_all_logits(fit_popularity(split.train), np.array([0])), split.train.n_items)[0]
    assert (np.diff(counts[ranked]) <= 0).all()


def test_biases_are_the_ridge_solution(split):
    train = split.train
    model = fit_biases(train)
    n_users, n_items, n = train.n_users, train.n_items, train.n_ratings
    design = np.zeros((n, n_users + n_items))
    design[np.arange(n), train.user_rows] = 1
    design[np.arange(n), n_users + train.item_rows] = 1
    penalty = np.diag([5.0] * n_users + [3.0] * n_items)
    target = train.ratings - train.ratings.mean(dtype=np.float64)
    exact = np.linalg.solve(design.T @ design + penalty, design.T @ target)
    np.testing.assert_allclose(model.user_bias[:-1], exact[:n_users], atol=1e-3)
    np.testing.assert_allclose(model.item_bias[:-1], exact[n_users:], atol=1e-3)
    assert model.user_bias[-1] == model.item_bias[-1] == 0


@pytest.fixture(scope="module")
def timed(dataset):
    return replace(dataset, timestamps=np.random.default_rng(2).permutation(dataset.n_ratings).astype(np.int64))


def test_per_user_splits_hold_out_a_fifth_of_every_user(timed):
    for split in (per_user_split(timed, 0.2), per_user_last_split(timed, 0.2)):
        held_out = np.bincount(split.validation.user_rows, minlength=timed.n_users)
        rated = np.bincount(timed.user_rows, minlength=timed.n_users)
        assert split.train.n_users == np.count_nonzero(rated)
        np.testing.assert_array_equal(held_out[: timed.n_users], (rated * 0.2).astype(int))


def test_the_per_user_last_split_holds_out_the_latest_ratings(timed):
    split = per_user_last_split(timed, 0.2)
    for user in range(split.train.n_users):
        latest_trained = split.train.timestamps[split.train.user_rows == user].max()
        assert (split.validation.timestamps[split.validation.user_rows == user] > latest_trained).all()


def test_the_time_split_trains_on_the_past(timed):
    split = time_split(timed, 0.25)
    assert split.train.timestamps.max() < split.validation.timestamps.min()
    assert split.validation.n_ratings == int(timed.n_ratings * 0.25)


def test_splits_by_time_need_timestamps(dataset):
    for split_by in (time_split, per_user_last_split):
        with pytest.raises(InputError, match="has no timestamps"):
            split_by(dataset)


def test_every_rating_is_held_out_in_exactly_one_fold(timed):
    folds = list(k_folds(timed, 4))
    assert len(folds) == 4
    held_out = np.concatenate([fold.validation.timestamps for fold in folds])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(timed.n_ratings))
    with pytest.raises(InputError, match="--folds is 1"):
        k_folds(timed, 1)


def test_evaluate_compares_the_recipe_with_the_baselines(capsys):
    assert main(["evaluate", "--recipe", "dot-bias", "--epochs", "3", "--json", "--device", "cpu"]) == 0
    measures = json.loads(capsys.readouterr().out)["measures"]
    by_rating, corrected = "dot-bias, by rating", "dot-bias, popularity-corrected"
    assert list(measures) == ["popularity", "biases only", "dot-bias", by_rating, corrected]
    assert measures["dot-bias"]["mse"] < measures["biases only"]["mse"] < 0.80
    assert measures["dot-bias"]["ndcg"] > measures[corrected]["ndcg"] > measures[by_rating]["ndcg"]
    ranking = {"recall", "ndcg", "mrr", "hit_rate", "coverage", "popularity_lift", "first_item_share"}
    assert set(measures["popularity"]) == ranking


def test_evaluate_prints_a_table_that_fits_80_columns(capsys):
    assert main(["evaluate", "--recipe", "dot-bias", "--epochs", "1", "--folds", "2", "--top", "5"]) == 0
    output = capsys.readouterr().out
    assert "2 folds" in output
    assert "NDCG@5" in output
    assert "…" not in output
