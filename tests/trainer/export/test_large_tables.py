"""Check that computing in parts, or without sorting, gives the same for millions of rows as computing at once."""

from dataclasses import replace

import numpy as np
import pytest

from cofactor_trainer.evaluation.evaluate import top_k_rows
from cofactor_trainer.export.version_arrays import rated_arrays
from cofactor_trainer.graphs import user_prior
from tests.support.synthetic import make_dataset


def test_the_moments_of_rows_in_parts_are_those_of_all_rows(monkeypatch):
    rows = np.random.default_rng(0).normal(3, 2, (1000, 5)).astype(np.float32)
    mean, covariance = user_prior.moments(rows)
    monkeypatch.setattr(user_prior, "_ROWS_AT_ONCE", 64)
    in_parts = user_prior.moments(rows)
    np.testing.assert_allclose(in_parts[0], mean, rtol=1e-12)
    np.testing.assert_allclose(in_parts[1], covariance, rtol=1e-10)
    np.testing.assert_allclose(covariance, np.cov(rows.T.astype(np.float64), bias=True), rtol=1e-10)


def test_sorted_ratings_are_exported_as_unsorted_ones_are():
    dataset = make_dataset(40, 30)
    numbers = dataset.user_rows.astype(np.int64) * 31 + dataset.item_rows
    order = np.unique(numbers, return_index=True)[1]
    shuffled = np.random.default_rng(0).permutation(order)
    found = [rated_arrays(_select(dataset, rows)) for rows in (order, shuffled)]
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], name)
    unknown = replace(_select(dataset, order), item_rows=np.where(order == order[-1], 30, dataset.item_rows[order]))
    assert len(rated_arrays(unknown)["rated.item_rows"]) == len(order) - 1


@pytest.mark.parametrize("k", [1, 3, 7])
def test_the_best_rows_are_those_of_a_full_sort_also_among_equals(k):
    random = np.random.default_rng(k)
    scores = random.integers(0, 5, (20, 30)).astype(np.float32)
    scores[random.random(scores.shape) < 0.3] = -np.inf
    distinct = random.normal(size=(20, 30)).astype(np.float32)
    for table in (scores, distinct):
        order = np.argsort(-table, axis=1, kind="stable")[:, :k]
        expected = np.where(np.take_along_axis(table, order, 1) == -np.inf, -1, order)
        np.testing.assert_array_equal(top_k_rows(table, k), expected)


def _select(dataset, rows):
    columns = ("user_rows", "item_rows", "ratings")
    return replace(dataset, timestamps=None, **{name: getattr(dataset, name)[rows] for name in columns})
