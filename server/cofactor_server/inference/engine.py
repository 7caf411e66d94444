"""Run the graphs of one model version."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnxruntime

from cofactor_server.arrays import AnyArray, FloatArray, IndexArray
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.execution_providers import CPU, CUDA, ProviderList
from cofactor_server.inference.io_binding import BoundSession
from cofactor_server.inference.memory_budget import floats_per_user
from cofactor_server.inference.rating_scale import RatingScale
from cofactor_server.inference.sessions import DEVICE, SessionLoader
from cofactor_server.inference.shape_buckets import BATCH_SIZES, ShapeBuckets
from cofactor_server.observability.call_timing import TimedSession
from cofactor_server.repository.version_directory import VersionDirectory

# A gather of more rows than this would copy a large part of the table at once.
ROWS_PER_RUN = 65_536
# A run of more float32 numbers than this (16 MiB, stored several times) returns its memory to the system.
MAX_ARENA_FLOATS = 2**22
# For every result, the search of a large catalogue looks at a block of 16 items and stores their rows and scores,
# several times.
FLOATS_PER_RESULT = 64
_SHRINK_ARENA = onnxruntime.RunOptions()
_SHRINK_ARENA.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
RECOMMEND_OUTPUTS = ("item_rows", "scores", "ratings")


class Engine:
    """Runs a version's graphs. All arrays are numpy arrays, float32 or int64, C-contiguous.

    Shapes: B users, d user factors, N, M and C item rows, E excluded rows (padded with n_items), k results.
    Ratings are clipped to the rating scale of the manifest, except those of `run`.
    The engine does not check rows: a row outside its table is undefined behaviour on CUDA.

    Attributes:
        providers: execution providers of the recommend graph, the one that runs it first.
        has_ranking_part: True if Recommend can order by a logit of its own, so that its graph takes order_weights.
    """

    def __init__(self, directory: VersionDirectory, providers: ProviderList, *, must_use_first: bool) -> None:
        """Load the graphs.

        Raises ModelRefused if a graph does not load, and ProviderUnavailable if `must_use_first` asks for CUDA and CUDA
        does not run a graph.
        """
        loader = SessionLoader(directory, providers, must_use_first=must_use_first)
        sessions = {graph.name: loader.load(graph.name) for graph in directory.manifest.graphs}
        self.providers: list[str] = sessions["recommend"].get_providers()
        self.has_ranking_part = _has_ranking_part(directory, sessions["recommend"])
        self._device_tables = loader.device_tables  # the sessions keep no reference to them
        self._output_names = {
            name: [output.name for output in session.get_outputs()] for name, session in sessions.items()
        }
        self._scale = RatingScale(directory.manifest)
        self._floats_per_user = floats_per_user(directory)
        self._shape_buckets: ShapeBuckets | None = None
        if self.providers[0] == CUDA:
            # Only on a device: the CPU gains nothing from bound memory, and computes padded users like any others.
            bound = BoundSession(sessions["recommend"], RECOMMEND_OUTPUTS, DEVICE)
            sessions["recommend"] = self._shape_buckets = ShapeBuckets(
                bound, int(directory.manifest.item_count), has_ranking_part=self.has_ranking_part
            )
        self._sessions = {name: TimedSession(session) for name, session in sessions.items()}
        self._predict = self._sessions["predict"]
        self._recommend = self._sessions["recommend"]
        self._similar_items = self._sessions["similar_items"]
        self._similarity = self._sessions["similarity"]
        self._embed_user = self._sessions.get("embed_user")

    @property
    def is_on_cpu(self) -> bool:
        """Return True if the CPU runs the recommend graph."""
        return self.providers[0] == CPU

    @property
    def embeds_users(self) -> bool:
        """Return True if the version has the graph that embeds new users."""
        return self._embed_user is not None

    def warm_up(self, max_batch_size: int, n_factors: int) -> int:
        """Prepare for runs of up to `max_batch_size` users -> the largest batch size to use, at most that."""
        if self._shape_buckets is None:
            return max_batch_size
        size = max(size for size in BATCH_SIZES if size <= max_batch_size)
        self._shape_buckets.warm_up(RECOMMEND_OUTPUTS, n_factors, size)
        return size

    def run(self, graph: str, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """Run a graph by its name -> all its outputs by name. For the golden tests."""
        names = self._output_names[graph]
        return dict(zip(names, self._sessions[graph].run(names, inputs), strict=True))

    def predict(
        self, user_factors: FloatArray, user_bias: FloatArray, item_rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        """Predict ratings: factors (B, d), bias (B,), item_rows (N,), B is N or 1 -> logits (N,), ratings (N,)."""
        if len(item_rows) <= ROWS_PER_RUN:
            return self._predict_once(user_factors, user_bias, item_rows)
        has_pairs = len(user_bias) > 1
        parts = []
        for start in range(0, len(item_rows), ROWS_PER_RUN):
            chunk = slice(start, start + ROWS_PER_RUN)
            users = chunk if has_pairs else slice(None)
            parts.append(self._predict_once(user_factors[users], user_bias[users], item_rows[chunk]))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _predict_once(
        self, user_factors: FloatArray, user_bias: FloatArray, item_rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        inputs = {"user_factors": user_factors, "user_bias": user_bias, "item_rows": item_rows}
        logits, ratings = self._predict.run(("logits", "ratings"), inputs)
        return logits, self._scale.clip(ratings)

    def recommend(
        self,
        user_factors: FloatArray,
        user_bias: FloatArray,
        popularity_weight: FloatArray,
        excluded_rows: IndexArray,
        k: int,
        order_weights: FloatArray | None = None,
    ) -> tuple[IndexArray, FloatArray, FloatArray]:
        """Find the best k items of each user.

        (B, d), (B,), (B,), (B, E), k, (B, 2) -> item_rows, scores, ratings, each (B, k).

        order_weights holds the weights of the rating logit and of the ranking logit. Versions without a ranking part do
        not read it.
        """
        inputs: dict[str, AnyArray] = {
            "user_factors": user_factors,
            "user_bias": user_bias,
            "popularity_weight": popularity_weight,
            "excluded_rows": excluded_rows,
            "k": _one_element(k),
        }
        if self.has_ranking_part:
            assert order_weights is not None
            inputs["order_weights"] = order_weights
        floats = len(user_bias) * (self._floats_per_user + FLOATS_PER_RESULT * k)
        keeps_memory = self._shape_buckets is not None or floats <= MAX_ARENA_FLOATS
        options = () if keeps_memory else (_SHRINK_ARENA,)
        item_rows, scores, ratings = self._recommend.run(RECOMMEND_OUTPUTS, inputs, *options)
        return item_rows, scores, self._scale.clip(ratings)

    def similar_items(self, item_rows: IndexArray, excluded_rows: IndexArray, k: int) -> tuple[IndexArray, FloatArray]:
        """Find the k items nearest to the mean of (M,) items, without (E,) -> rows (k,), cosines (k,)."""
        inputs = {"item_rows": item_rows, "excluded_rows": excluded_rows, "k": _one_element(k)}
        rows, scores = self._similar_items.run(("similar_rows", "scores"), inputs)
        return rows, scores

    def similarity(self, item_rows: IndexArray, candidate_rows: IndexArray) -> FloatArray:
        """Compare the mean of (M,) items with each of (C,) candidates -> cosines (C,)."""
        scores: FloatArray = self._similarity.run(
            ("scores",), {"item_rows": item_rows, "candidate_rows": candidate_rows}
        )[0]
        return scores

    def embed_user(
        self, item_rows: IndexArray, ratings: FloatArray, profile: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Embed new users from their ratings and profiles.

        item_rows (B, N) padded with n_items, ratings (B, N), profile (B, P) -> user factors (B, d), bias (B,), fitted
        ratings (B, N).
        """
        assert self._embed_user is not None
        inputs: dict[str, AnyArray] = {"item_rows": item_rows, "ratings": ratings}
        if profile.shape[1]:  # otherwise the graph has no such input
            inputs["profile"] = profile
        factors, bias, fitted = self._embed_user.run(("user_factors", "user_bias", "fitted"), inputs)
        return factors, bias, self._scale.clip(fitted)


def _has_ranking_part(directory: VersionDirectory, recommend: onnxruntime.InferenceSession) -> bool:
    """Return True if graph recommend takes the weights of an order; raises ModelRefused if the manifest disagrees."""
    takes_weights = any(value.name == "order_weights" for value in recommend.get_inputs())
    if takes_weights != (directory.manifest.ranking_factor_count > 0):
        raise ModelRefused(
            f"model {directory.label} refused: its graph recommend and its manifest disagree about a ranking part; "
            "export it again"
        )
    return takes_weights


@lru_cache(maxsize=64)
def _one_element(k: int) -> IndexArray:
    """Return `k` as an array (1,), which is how the graphs take it. Cached because most calls have the same k."""
    return np.array([k], dtype=np.int64)
