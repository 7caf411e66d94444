"""Sets of rows are combined as numpy's set functions combine them."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor_server.ranking.row_sets import union, without

SIZES = [0, 1, 5, 60, 100]


@pytest.mark.parametrize("n_rows", SIZES)
@pytest.mark.parametrize("n_others", SIZES)
def test_union_and_difference_are_those_of_numpy(n_rows, n_others):
    random = np.random.default_rng(n_rows * 1000 + n_others)
    for _ in range(5):
        rows, others = (np.sort(random.choice(100, n, replace=False)) for n in (n_rows, n_others))
        assert union(rows, others).tolist() == np.union1d(rows, others).tolist()
        assert without(rows, others).tolist() == np.setdiff1d(rows, others).tolist()
