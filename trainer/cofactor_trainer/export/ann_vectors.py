"""Lay out items and users as the vectors of the candidate index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array

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


def query_vectors(user_factors: Float32Array, popularity_weight: float) -> Float32Array:
    """Return the query vectors of users: (B, d) -> (B, width)."""
    n_users, n_factors = user_factors.shape
    vectors = np.zeros((n_users, vector_width(n_factors)), dtype=np.float32)
    vectors[:, :n_factors] = user_factors
    vectors[:, n_factors] = 1
    vectors[:, n_factors + 1] = popularity_weight
    return vectors
