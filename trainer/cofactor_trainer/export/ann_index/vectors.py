"""Lay out items and users as the vectors of the candidate index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array
from cofactor_trainer.scoring.trained_model import Order

Arrays = Mapping[str, npt.NDArray[Any]]

# faiss is five times slower at products of 8-bit vectors whose length is not a multiple of this.
WIDTH_MULTIPLE = 16


def vector_width(n_factors: int) -> int:
    """Return the length of a vector: factors, bias, log popularity, and zeros up to a multiple of WIDTH_MULTIPLE."""
    return -(-(n_factors + 2) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def item_vectors(arrays: Arrays, rows: slice | Int64Array) -> Float32Array:
    """Return the vectors of items, (n, width)."""
    factors = arrays["item_factors"][rows]
    vectors = np.zeros((len(factors), vector_width(factors.shape[1])), dtype=np.float32)
    vectors[:, : factors.shape[1]] = factors
    vectors[:, factors.shape[1]] = arrays["item_bias"][rows]
    vectors[:, factors.shape[1] + 1] = arrays["item_log_popularity"][rows]
    return vectors


def query_factors(user_factors: Float32Array, n_ranking: int, order: Order) -> Float32Array:
    """Weigh the parts of users' factors as an order does: user_factors (B, d) -> (B, d).

    n_ranking is the number of columns of the ranking part.
    """
    weights = np.full(user_factors.shape[1], order.rating_weight, dtype=np.float32)
    weights[len(weights) - n_ranking :] = order.ranking_weight
    return user_factors * weights


def query_vectors(factors: Float32Array, order: Order) -> Float32Array:
    """Return the query vectors of users from their weighted factors: (B, d) -> (B, width)."""
    n_users, n_factors = factors.shape
    vectors = np.zeros((n_users, vector_width(n_factors)), dtype=np.float32)
    vectors[:, :n_factors] = factors
    vectors[:, n_factors] = order.rating_weight
    vectors[:, n_factors + 1] = order.popularity_weight
    return vectors
