"""A model version that is ready to serve."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import time

from cofactor.v1 import model_pb2
from cofactor_server.arrays import FloatArray
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.ann_index import from_candidates
from cofactor_server.inference.catalogue_top_k import DirectTopK
from cofactor_server.inference.dynamic_batching import BatchedTopK, batching_pays
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU, ProviderList
from cofactor_server.inference.golden_check import check_golden_answers
from cofactor_server.inference.memory_budget import floats_per_user, users_per_run
from cofactor_server.ranking.catalogue import Catalogue
from cofactor_server.ranking.explanation import Explainer, LogitModel
from cofactor_server.ranking.filters import ItemFilters
from cofactor_server.ranking.profile_encoder import ProfileEncoder
from cofactor_server.ranking.ranker import Ranker
from cofactor_server.ranking.similar_items import SimilarItems
from cofactor_server.ranking.title_search import TitleSearch
from cofactor_server.ranking.user_vectors import Users
from cofactor_server.repository.id_index import IdIndex
from cofactor_server.repository.version_directory import VersionDirectory
from cofactor_server.serving.response_cache import ResponseCache
from cofactor_server.serving.response_encoder import ResponseEncoder

_LOGGER = logging.getLogger(__name__)


class LoadedVersion:
    """Everything that answers for one version; its parts share the bundle's mapped tables.

    Raises ModelRefused when the version contradicts itself or does not give its golden answers.
    """

    def __init__(self, bundle: VersionDirectory, providers: ProviderList, config: ServerConfig) -> None:
        manifest = self.manifest = bundle.manifest
        tables = bundle.tables
        self.key = f"{manifest.name}/{manifest.version}"
        self.engine = Engine(bundle, providers, must_use_first=config.provider == "cuda")
        n_golden = check_golden_answers(bundle, self.engine)
        try:
            self.user_ids = IdIndex(bundle.strings("user_ids"))
            self.item_ids = IdIndex(bundle.strings("item_ids"))
            self.catalogue = Catalogue(bundle)
        except ValueError as error:
            raise ModelRefused(f"model {bundle.label} refused: {error}") from None
        self.filters = ItemFilters(self.catalogue)
        self.search = TitleSearch(self.catalogue)
        self.profiles = ProfileEncoder(manifest.profile_features)
        self.n_items = int(manifest.item_count)
        self.users = Users(tables, self.engine, self.n_items)
        item_factors: FloatArray = tables["item_factors"]  # type: ignore[assignment]
        direct = self._direct_top_k(bundle, config)
        batches = config.batching == "on"
        if config.batching == "auto":
            batches = batching_pays(direct, manifest.user_factor_count, min(10, self.n_items))
        self.coalesces_calls = config.batching == "auto" and not batches and not config.approximate
        exact = self._batched(direct) if batches else direct
        self.recommender = Ranker(
            from_candidates(bundle, exact, self.engine, on_cpu=self._is_on_cpu) if config.approximate else exact,
            self.engine,
            item_factors,
            tables["item_inverse_norms"],  # type: ignore[arg-type]
            tables["item_log_popularity"],  # type: ignore[arg-type]
        )
        self.similar_items = SimilarItems(self.engine, self.n_items)
        self.explainer = Explainer(
            self.users,
            self.engine,
            tables["item_bias"],  # type: ignore[arg-type]
            manifest.global_bias,
            self.n_items,
            nearness=self.engine.similarity,
            dot_product=_logit_model(bundle),
        )
        self.predicts_ratings = manifest.objective == "rating"
        self.served = model_pb2.ServedModel(
            name=manifest.name, version=manifest.version, execution_provider=self.engine.providers[0]
        )
        self.encoder = ResponseEncoder(
            self.item_ids.ids, self.catalogue, self.served, with_ratings=self.predicts_ratings
        )
        self.answers = ResponseCache(config.cache_mib * 2**20)
        self.description = self._describe()
        release_free_memory()
        _LOGGER.info("%s ready on %s, %d golden answers hold", self.key, self.engine.providers[0], n_golden)

    @property
    def _is_on_cpu(self) -> bool:
        return self.engine.providers[0] == CPU

    def _direct_top_k(self, bundle: VersionDirectory, config: ServerConfig) -> DirectTopK:
        largest_batch = min(config.max_batch_size, users_per_run(floats_per_user(bundle)))
        largest_batch = self.engine.prepare(largest_batch, self.manifest.user_factor_count)
        return DirectTopK(self.engine, self.n_items, largest_batch)

    def _batched(self, direct: DirectTopK) -> BatchedTopK:
        _LOGGER.info("%s: calls that wait for the engine are joined", self.key)
        n_slots = len(os.sched_getaffinity(0)) if self._is_on_cpu else 1
        return BatchedTopK(direct, direct.max_batch_size, n_slots)

    def _describe(self) -> model_pb2.Model:
        manifest = self.manifest
        model = model_pb2.Model(
            name=manifest.name,
            version=manifest.version,
            state=model_pb2.Model.STATE_READY,
            architecture=manifest.architecture,
            objective=manifest.objective,
            user_count=manifest.user_count,
            item_count=manifest.item_count,
            factor_count=manifest.user_factor_count,
            rating_min=manifest.rating_min,
            rating_max=manifest.rating_max,
            execution_providers=self.engine.providers,
            embedding_space=manifest.embedding_space,
            profile_keys=self.profiles.keys,
            metrics=manifest.metrics,
            train_time=manifest.train_time,
            supports_new_users=self.engine.embeds_users,
            dataset=manifest.dataset,
        )
        model.load_time.FromSeconds(int(time.time()))
        return model


def _logit_model(bundle: VersionDirectory) -> LogitModel | None:
    """What explains a dot product; None for other architectures, and for versions without the prior's tables."""
    manifest, tables = bundle.manifest, bundle.tables
    if manifest.architecture != "dot-product" or "user_prior_mean" not in tables:
        return None
    rating_range = None
    if manifest.HasField("rating_range"):
        rating_range = (manifest.rating_range.low, manifest.rating_range.high)
    return LogitModel(
        item_factors=tables["item_factors"],  # type: ignore[arg-type]
        item_bias=tables["item_bias"],  # type: ignore[arg-type]
        global_bias=manifest.global_bias,
        rating_range=rating_range,
        prior_mean=tables["user_prior_mean"],  # type: ignore[arg-type]
        precision=tables["user_prior_precision"],  # type: ignore[arg-type]
    )


def release_free_memory() -> None:
    """Gives back what loading and the golden answers needed; the allocator of glibc keeps it otherwise."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL("libc.so.6").malloc_trim(0)
