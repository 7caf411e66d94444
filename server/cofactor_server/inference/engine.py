"""The ONNX sessions of one model version."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime

from cofactor_server.arrays import AnyArray, FloatArray, IndexArray
from cofactor_server.errors import ModelRefused, ProviderUnavailable
from cofactor_server.inference.device_tables import DeviceTables
from cofactor_server.inference.execution_providers import CPU, CUDA, ProviderList
from cofactor_server.inference.io_binding import BoundSession
from cofactor_server.inference.memory_budget import floats_per_user
from cofactor_server.inference.shape_buckets import BATCH_SIZES, ShapeBuckets
from cofactor_server.observability.call_timing import TimedSession
from cofactor_server.repository.version_directory import VersionDirectory

_LOGGER = logging.getLogger(__name__)

# A gather of more rows than this would copy a large part of the table at once.
ROWS_PER_RUN = 65_536
# Most float32 numbers in a run whose memory is kept for the next: 16 MiB, some times over.
FLOATS_KEPT = 2**22
# A large catalogue's search looks at 16 items for each result; of each it holds the row and the score, some times over.
FLOATS_PER_RESULT = 64
_GIVES_BACK = onnxruntime.RunOptions()
_GIVES_BACK.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
# What ONNX Runtime calls CUDA's memory.
DEVICE = "cuda"
RECOMMEND_OUTPUTS = ("item_rows", "scores", "ratings")


class Engine:
    """Runs a version's graphs; every array in and out is numpy's, float32 and int64, C-contiguous.

    Shapes: B users, d user factors, N and M and C item rows, E excluded rows (padded with n_items), k results.
    Rows are not checked here: a row outside the table is undefined on CUDA.

    Raises ModelRefused when a graph does not load, ProviderUnavailable when CUDA was demanded and does not run.
    """

    def __init__(self, bundle: VersionDirectory, providers: ProviderList, *, must_use_first: bool) -> None:
        self._device_tables = DeviceTables(bundle, DEVICE) if _preferred(providers) == CUDA else None
        self._floats_per_user = floats_per_user(bundle)
        self._fixed_shapes: ShapeBuckets | None = None
        self.providers: list[str] = []
        self._output_names: dict[str, list[str]] = {}

        def session(name: str) -> TimedSession:
            made = _session(bundle, name, providers, self._device_tables, must_use_first=must_use_first)
            self._output_names[name] = [output.name for output in made.get_outputs()]
            if name == "recommend":
                self.providers = made.get_providers()
            if name == "recommend" and self.providers[0] == CUDA:
                # On the CPU a bound run takes as long as any other, and every filled-up user takes as long as a user.
                bound = BoundSession(made, RECOMMEND_OUTPUTS, DEVICE)
                made = self._fixed_shapes = ShapeBuckets(bound, int(bundle.manifest.item_count))
            return TimedSession(made)

        self._predict = session("predict")
        self._recommend = session("recommend")
        self._similar_items = session("similar_items")
        self._similarity = session("similarity")
        self._embed_user = session("embed_user") if bundle.graph_path("embed_user") is not None else None

    @property
    def embeds_users(self) -> bool:
        """Whether the version has the graph that embeds new users."""
        return self._embed_user is not None

    def prepare(self, largest_batch: int, n_factors: int) -> int:
        """Get ready for runs of up to so many users -> the most that one run is to have, no more than that."""
        if self._fixed_shapes is None:
            return largest_batch
        size = max(size for size in BATCH_SIZES if size <= largest_batch)
        self._fixed_shapes.warm_up(RECOMMEND_OUTPUTS, n_factors, size)
        return size

    def run(self, graph: str, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """One graph by its name, with all its outputs by theirs: for the golden answers."""
        session = getattr(self, f"_{graph}")
        names = self._output_names[graph]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def predict(
        self, user_factors: FloatArray, user_bias: FloatArray, item_rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        """user_factors (B, d), user_bias (B,), item_rows (N,), B is N or 1 -> logits (N,), ratings (N,)."""
        if len(item_rows) <= ROWS_PER_RUN:
            return self._predict_once(user_factors, user_bias, item_rows)
        pairs = len(user_bias) > 1
        parts = []
        for start in range(0, len(item_rows), ROWS_PER_RUN):
            chunk = slice(start, start + ROWS_PER_RUN)
            users = chunk if pairs else slice(None)
            parts.append(self._predict_once(user_factors[users], user_bias[users], item_rows[chunk]))
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _predict_once(
        self, user_factors: FloatArray, user_bias: FloatArray, item_rows: IndexArray
    ) -> tuple[FloatArray, FloatArray]:
        inputs = {"user_factors": user_factors, "user_bias": user_bias, "item_rows": item_rows}
        logits, ratings = self._predict.run(("logits", "ratings"), inputs)
        return logits, ratings

    def recommend(
        self,
        user_factors: FloatArray,
        user_bias: FloatArray,
        popularity_weight: FloatArray,
        excluded_rows: IndexArray,
        k: int,
    ) -> tuple[IndexArray, FloatArray, FloatArray]:
        """Best k items of each user: (B, d), (B,), (B,), (B, E) -> item_rows, scores, ratings, each (B, k)."""
        inputs = {
            "user_factors": user_factors,
            "user_bias": user_bias,
            "popularity_weight": popularity_weight,
            "excluded_rows": excluded_rows,
            "k": _count(k),
        }
        floats = len(user_bias) * (self._floats_per_user + FLOATS_PER_RESULT * k)
        keeps_memory = self._fixed_shapes is not None or floats <= FLOATS_KEPT
        options = () if keeps_memory else (_GIVES_BACK,)
        item_rows, scores, ratings = self._recommend.run(RECOMMEND_OUTPUTS, inputs, *options)
        return item_rows, scores, ratings

    def similar_items(self, item_rows: IndexArray, excluded_rows: IndexArray, k: int) -> tuple[IndexArray, FloatArray]:
        """Nearest k items to the mean of (M,) items without (E,) -> rows (k,), cosines (k,)."""
        inputs = {"item_rows": item_rows, "excluded_rows": excluded_rows, "k": _count(k)}
        rows, scores = self._similar_items.run(("similar_rows", "scores"), inputs)
        return rows, scores

    def similarity(self, item_rows: IndexArray, candidate_rows: IndexArray) -> FloatArray:
        """Cosine of the mean of (M,) items with each of (C,) candidates -> (C,)."""
        scores: FloatArray = self._similarity.run(
            ("scores",), {"item_rows": item_rows, "candidate_rows": candidate_rows}
        )[0]
        return scores

    def embed_user(
        self, item_rows: IndexArray, ratings: FloatArray, profile: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(B, N) rows padded with n_items, (B, N), (B, P) -> user factors (B, d), bias (B,), fitted ratings (B, N)."""
        assert self._embed_user is not None
        inputs: dict[str, AnyArray] = {"item_rows": item_rows, "ratings": ratings}
        if profile is not None:
            inputs["profile"] = profile
        factors, bias, fitted = self._embed_user.run(("user_factors", "user_bias", "fitted"), inputs)
        return factors, bias, fitted


@lru_cache(maxsize=64)
def _count(k: int) -> IndexArray:
    """`k` as the graphs take it; most calls ask for the same."""
    return np.array([k], dtype=np.int64)


def _preferred(providers: ProviderList) -> str:
    return providers[0] if isinstance(providers[0], str) else providers[0][0]


def session_options(graph: str, *, is_prepacked: bool = False) -> onnxruntime.SessionOptions:
    """How the server runs a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # The arena keeps a run's memory for the next. Without it the system clears new pages for every run, 4 % of a search
    # of a million items, and many threads use different memory: 8 of 87 microseconds of a call on 1,682 items.
    options.enable_cpu_mem_arena = graph in ("recommend", "similar_items")
    # Without prepacking every session reads the one mapped tables.bin instead of its own copy of the table.
    options.add_session_config_entry("session.disable_prepacking", "0" if is_prepacked else "1")
    return options


def _session(
    bundle: VersionDirectory,
    name: str,
    providers: ProviderList,
    device_tables: DeviceTables | None,
    *,
    must_use_first: bool,
) -> Any:
    path = bundle.graph_path(name)
    assert path is not None
    options = session_options(name, is_prepacked=bundle.is_prepacked(name))
    preferred = _preferred(providers)
    try:
        if device_tables is not None:
            device_tables.share(name, options)
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        # ONNX Runtime has no common base for its errors; its texts hold paths, so they go to the log alone.
        _LOGGER.debug("cannot load %s", path, exc_info=True)
        if preferred == CUDA:
            return _without_cuda(bundle, name, must_use_first)
        raise ModelRefused(
            f"model {bundle.label} refused: graph {name} does not load ({type(error).__name__})"
        ) from None
    session.disable_fallback()
    if session.get_providers()[0] != preferred:
        return _without_cuda(bundle, name, must_use_first, session)
    return session


def _without_cuda(bundle: VersionDirectory, name: str, must_use_first: bool, session: Any = None) -> Any:
    if must_use_first:
        raise ProviderUnavailable(
            "--provider cuda: ONNX Runtime cannot use CUDA here (libraries missing or of another version: install the "
            "extra cofactor[cuda]); use --provider cpu, or auto to take what works"
        )
    _LOGGER.warning("CUDA does not run graph %s of %s; it runs on the CPU", name, bundle.label)
    return session or _session(bundle, name, [CPU], None, must_use_first=True)
