"""Run the graphs of one model version."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import onnxruntime

from cofactor_server.arrays import AnyArray, FloatArray, IndexArray
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.device.graphs import DeviceGraphs
from cofactor_server.inference.device.placement import Placement
from cofactor_server.inference.device.shape_buckets import BATCH_SIZES
from cofactor_server.inference.execution_providers import CPU, Device, ProviderList, device_of
from cofactor_server.inference.memory_budget import floats_per_user
from cofactor_server.inference.rating_scale import RatingScale
from cofactor_server.inference.sessions import load_on_cpu
from cofactor_server.observability.call_timing import Session, TimedSession
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
        device_graphs: the graphs on a device, until warm_up all of them; None if there is no device.
        has_ranking_part: True if Recommend can order by a logit of its own, so that its graph takes order_weights.
    """

    def __init__(
        self,
        directory: VersionDirectory,
        providers: ProviderList,
        *,
        must_use_first: bool,
        pinned: frozenset[str] | None = None,
        device: Device | None = None,
        failure: DeviceFailure | None = None,
    ) -> None:
        """Load the graphs on the CPU, and also on the device that the providers prefer.

        `pinned` names graphs that run on the device whatever is faster; None lets warm_up decide for every graph.
        `device` is used in place of that of the providers. `failure` is told if a run on the device fails later.

        Raises ModelRefused if a graph does not load, and ProviderUnavailable if `must_use_first` asks for a device and
        the device does not load a graph that it must run.
        """
        self._cpu_sessions = {graph.name: load_on_cpu(directory, graph.name) for graph in directory.manifest.graphs}
        self.has_ranking_part = _has_ranking_part(directory, self._cpu_sessions["recommend"])
        device = device or device_of(providers)
        self.device_graphs = None
        if device is not None:
            self.device_graphs = DeviceGraphs(directory, device, must_use=must_use_first, pinned=pinned)
        self._failure = failure or DeviceFailure()
        self._device_provider = CPU if device is None else device.provider
        self._output_names = {
            name: [output.name for output in session.get_outputs()] for name, session in self._cpu_sessions.items()
        }
        self._scale = RatingScale(directory.manifest)
        self._floats_per_user = floats_per_user(directory)
        self._use(self._cpu_sessions)

    def _use(self, sessions: Mapping[str, Session]) -> None:
        """Run the graphs with these sessions from now on."""
        timed = {name: TimedSession(session) for name, session in sessions.items()}
        self._predict = timed["predict"]
        self._recommend = timed["recommend"]
        self._similar_items = timed["similar_items"]
        self._similarity = timed["similarity"]
        self._embed_user = timed.get("embed_user")
        self._embed_item = timed.get("embed_item")

    @property
    def placements(self) -> list[Placement]:
        """Return where each graph runs; empty if there is no device, or before warm_up."""
        return [] if self.device_graphs is None else self.device_graphs.placements

    @property
    def providers(self) -> list[str]:
        """Return the execution providers in use, that of the device first."""
        uses_device = any(placement.uses_device for placement in self.placements)
        return [self._device_provider, CPU] if uses_device else [CPU]

    @property
    def is_on_cpu(self) -> bool:
        """Return True if the CPU runs the recommend graph, whatever the number of users."""
        return not any(place.uses_device for place in self.placements if place.graph == "recommend")

    @property
    def embeds_users(self) -> bool:
        """Return True if the version has the graph that embeds new users."""
        return self._embed_user is not None

    @property
    def embeds_items(self) -> bool:
        """Return True if the version has the graph that embeds new items."""
        return self._embed_item is not None

    def warm_up(self, max_batch_size: int) -> int:
        """Prepare for runs of up to `max_batch_size` users -> the largest batch size to use, at most that.

        With a device, this decides where each graph runs, and runs Recommend there with every usual shape.
        """
        if self.device_graphs is None or self.device_graphs.placements:
            return max_batch_size
        self._use(self.device_graphs.place(self._cpu_sessions, max_batch_size, self._failure))
        if self.is_on_cpu:
            return max_batch_size
        size = max(size for size in BATCH_SIZES if size <= max_batch_size)
        self.device_graphs.warm_up(size)
        return size

    def run(self, graph: str, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """Run a graph on the CPU by its name -> all its outputs by name. For the golden tests."""
        names = self._output_names[graph]
        return dict(zip(names, self._cpu_sessions[graph].run(names, inputs), strict=True))

    def run_on_device(self, graph: str, inputs: dict[str, AnyArray]) -> dict[str, AnyArray] | None:
        """Do the same on the device; None if it does not run this graph, or not with these inputs."""
        if self.device_graphs is None:
            return None
        outputs = self.device_graphs.run(graph, self._output_names[graph], inputs)
        return None if outputs is None else dict(zip(self._output_names[graph], outputs, strict=True))

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
        options = () if floats <= MAX_ARENA_FLOATS else (_SHRINK_ARENA,)
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
        self,
        item_rows: IndexArray,
        ratings: FloatArray,
        profile: FloatArray,
        events: tuple[IndexArray, FloatArray] | None = None,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Embed new users from their ratings and profiles, and from events if the version learnt from both.

        item_rows (B, N) padded with n_items, ratings (B, N), profile (B, P), events (B, E) padded with n_items and
        their weights (B, E) -> user factors (B, d), bias (B,), fitted ratings (B, N).
        """
        assert self._embed_user is not None
        inputs: dict[str, AnyArray] = {"item_rows": item_rows, "ratings": ratings}
        if profile.shape[1]:  # otherwise the graph has no such input
            inputs["profile"] = profile
        if events is not None:
            inputs["event_rows"], inputs["event_weights"] = events
        factors, bias, fitted = self._embed_user.run(("user_factors", "user_bias", "fitted"), inputs)
        return factors, bias, self._scale.clip(fitted)

    def embed_item(
        self,
        user_rows: IndexArray,
        ratings: FloatArray,
        attributes: FloatArray,
        events: tuple[IndexArray, FloatArray] | None = None,
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Embed new items from their ratings and attributes, and from events if the version learnt from both.

        user_rows (B, N) padded with n_users, ratings (B, N), attributes (B, P), events (B, E) padded with n_users and
        their weights (B, E) -> item factors (B, q), bias (B,), and fitted ratings (B, N) if the version predicts any.
        """
        assert self._embed_item is not None
        inputs: dict[str, AnyArray] = {"user_rows": user_rows, "ratings": ratings}
        if attributes.shape[1]:  # otherwise the graph has no such input
            inputs["attributes"] = attributes
        if events is not None:
            inputs["event_rows"], inputs["event_weights"] = events
        factors, bias, *fitted = self._embed_item.run(self._output_names["embed_item"], inputs)
        return factors, bias, self._scale.clip(fitted[0]) if fitted else None


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
