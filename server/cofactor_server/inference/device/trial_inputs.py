"""Make inputs of every graph, to try it with when a version is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from cofactor_server.arrays import AnyArray, FloatArray
from cofactor_server.inference.device.shape_buckets import BATCH_SIZES, LENGTHS, padded_length
from cofactor_server.repository.version_directory import VersionDirectory

Inputs = dict[str, AnyArray]
RECOMMEND = "recommend"
EMBED_ITEM = "embed_item"
N_RATINGS = 20
N_EXCLUDED = 100
K = 10

# The sizes that each graph is tried with: users, pairs, candidates or new users.
TRIAL_SIZES: Mapping[str, Sequence[int]] = {
    RECOMMEND: BATCH_SIZES,
    "predict": (1, 1024),
    "similar_items": (1,),
    "similarity": (1, 1024),
    "embed_user": (1, 8),
}
_SIZES: Mapping[str, Callable[[Mapping[str, AnyArray]], int]] = {
    RECOMMEND: lambda inputs: len(inputs["user_bias"]),
    "predict": lambda inputs: len(inputs["item_rows"]),
    "similar_items": lambda _: 1,
    "similarity": lambda inputs: len(inputs["candidate_rows"]),
    "embed_user": lambda inputs: len(inputs["item_rows"]),
}


def size_of(graph: str) -> Callable[[Mapping[str, AnyArray]], int]:
    """Return the function that finds the size of a graph's run in its inputs."""
    return _SIZES[graph]


class TrialInputs:
    """Random inputs of the graphs of a version: users, items and ratings that any caller may send.

    Args:
        directory: the version.
        n_profile_columns: number of columns of embed_user's profile, 0 if it has no such input.
    """

    def __init__(self, directory: VersionDirectory, n_profile_columns: int = 0) -> None:
        self._manifest = directory.manifest
        self._n_items = int(directory.manifest.item_count)
        self._n_profile_columns = n_profile_columns
        self._random = np.random.default_rng(0)

    def make(self, graph: str, size: int) -> Inputs:
        """Return inputs of a graph for one run of this size."""
        if graph == RECOMMEND:
            return self.recommend(size, N_EXCLUDED, min(K, self._n_items))
        if graph == "predict":
            return {**self._users(size), "item_rows": self._rows(size)}
        if graph == "similar_items":
            k = np.array([min(K, self._n_items)], dtype=np.int64)
            return {"item_rows": self._rows(size), "excluded_rows": self._rows(size), "k": k}
        if graph == "similarity":
            return {"item_rows": self._rows(1), "candidate_rows": self._rows(size)}
        return self._histories(size)

    def recommend(self, n_users: int, n_excluded: int, k: int, rating_weight: float = 1.0) -> Inputs:
        """Return inputs of graph recommend."""
        inputs: Inputs = {
            **self._users(n_users),
            "popularity_weight": self._numbers(n_users),
            "excluded_rows": self._rows(n_users, n_excluded),
            "k": np.array([k], dtype=np.int64),
        }
        if self._manifest.ranking_factor_count:
            inputs["order_weights"] = np.tile(np.array([[rating_weight, 1]], dtype=np.float32), (n_users, 1))
        return inputs

    def recommend_shapes(self, sizes: Sequence[int]) -> Iterator[Inputs]:
        """Yield inputs for every shape to which a device pads short lists of batches of these sizes."""
        # A network is run only if the rating logit has a weight.
        weights = (0.0, 1.0) if self._manifest.ranking_factor_count else (1.0,)
        for n_users in sizes:
            for n_excluded in LENGTHS:
                for k in sorted({min(k, self._n_items) for k in LENGTHS[:2]}):
                    for weight in weights:
                        yield self.recommend(padded_length(n_users, BATCH_SIZES), n_excluded, k, weight)

    def _users(self, n: int) -> Inputs:
        return {"user_factors": self._numbers(n, self._manifest.user_factor_count), "user_bias": self._numbers(n)}

    def _histories(self, n_users: int) -> Inputs:
        low, high = self._manifest.rating_min, self._manifest.rating_max
        inputs: Inputs = {
            "item_rows": self._rows(n_users, N_RATINGS),
            "ratings": self._random.uniform(low, high, (n_users, N_RATINGS)).astype(np.float32),
        }
        if self._n_profile_columns:
            inputs["profile"] = np.zeros((n_users, self._n_profile_columns), dtype=np.float32)
        return inputs

    def _numbers(self, *shape: int) -> FloatArray:
        return 0.1 * self._random.standard_normal(shape, dtype=np.float32)

    def _rows(self, *shape: int) -> AnyArray:
        return self._random.integers(0, self._n_items, shape)
