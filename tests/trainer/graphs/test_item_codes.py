"""8-bit item codes keep the order of scores, and those of an item sum to zero."""

import numpy as np
import pytest

from cofactor_trainer.graphs.item_codes import MAX_CODE, principal_score_directions, quantize_items


def tables(n_directions, *, n_factors=24, n_users=500, n_items=20_000):
    """Factors that vary along some directions only, rotated so that no column is one of the directions."""
    random = np.random.default_rng(5)
    rotation = np.linalg.qr(random.standard_normal((n_factors, n_factors)))[0].astype(np.float32)
    scales = np.where(np.arange(n_factors) < n_directions, 1.0, 1e-4).astype(np.float32)
    users = (random.standard_normal((n_users, n_factors), dtype=np.float32) * scales) @ rotation
    items = (random.standard_normal((n_items, n_factors), dtype=np.float32) * scales + 0.5) @ rotation
    bias = random.standard_normal(n_items, dtype=np.float32)
    popularity = np.log1p(random.integers(0, 500, n_items)).astype(np.float32)
    return users, items, bias, popularity


def rough_scores(codes, users, weight):
    """Compute rough scores as the graph does, in float64."""
    basis, (popularity_step, mean_step, bias_step) = codes["item_code_basis"], codes["item_code_steps"]
    signed = np.column_stack([users @ basis, np.full(len(users), weight * popularity_step)])
    mean = signed.sum(1) * mean_step
    n = signed.shape[1]
    rows = codes["item_codes"].astype(np.float64)
    return (
        signed @ rows[:n]
        + np.maximum(mean, 0)[:, None] * rows[n]
        + np.maximum(-mean, 0)[:, None] * rows[n + 1]
        + bias_step * rows[n + 2]
    )


@pytest.mark.parametrize("n_directions", [6, 24])
def test_the_codes_keep_the_order_of_scores(n_directions):
    users, items, bias, popularity = tables(n_directions)
    codes = quantize_items(users, items, bias, popularity)
    for weight in (0.0, 1.0, -0.5):
        exact = users @ items.T + bias + weight * popularity
        error = (rough_scores(codes, users, weight)[:, : len(items)] - exact).astype(np.float64)
        # An error that is the same for every item of a user does not change the order.
        error -= error.mean(1, keepdims=True)
        assert error.std() < 0.05 * exact.std()


def test_only_directions_along_which_scores_vary_have_codes():
    users, items, *_ = tables(6)
    assert principal_score_directions(users, items)[0].shape == (24, 8)  # a multiple of 4
    users, items, *_ = tables(24)
    user_basis, item_basis = principal_score_directions(users, items)
    assert np.allclose((users @ user_basis) @ (items @ item_basis).T, users @ items.T, atol=1e-3)


def test_the_signed_codes_of_every_item_sum_to_zero():
    """Otherwise the zero point of the user's codes would add 64 times their sum to the score."""
    users, items, bias, popularity = tables(24)
    items[7] *= 30  # far from all other items
    codes = quantize_items(users, items, bias, popularity)["item_codes"]
    assert codes.shape == (28, 20_096)
    assert not codes[:25].sum(0, dtype=np.int64).any()
    assert np.abs(codes.astype(int)).max() <= MAX_CODE
    assert np.array_equal(codes[25], -codes[26])
    assert not codes[:, 20_000:].any()


def test_constant_factors_can_be_quantized():
    users, items = np.zeros((3, 4), np.float32), np.ones((5, 4), np.float32)
    codes = quantize_items(users, items, np.zeros(5, np.float32), np.ones(5, np.float32))
    assert not codes["item_codes"].any()
    assert all(np.isfinite(table).all() for table in codes.values())
