"""A model version that is loaded and ready to serve."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import logging
import sys
import time
from collections.abc import Iterator

from cofactor.v1 import model_pb2
from cofactor.v1.manifest_pb2 import EventFeedback, Manifest
from cofactor_server.config import ServerConfig
from cofactor_server.errors import ModelRefused
from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.execution_providers import CPU, ProviderList
from cofactor_server.inference.golden_check import run_golden_tests
from cofactor_server.inference.top_k_choice import choose_top_k
from cofactor_server.ranking.catalogue import Catalogue
from cofactor_server.ranking.event_weights import EventWeights
from cofactor_server.ranking.explanation import build_explainer
from cofactor_server.ranking.filters import ItemFilters
from cofactor_server.ranking.item_scorer import ItemScorer, Predictor
from cofactor_server.ranking.new_items.attribute_encoder import ItemFeatureEncoder
from cofactor_server.ranking.new_items.fold_in import NewItems
from cofactor_server.ranking.orders import Orders
from cofactor_server.ranking.probabilities import Probabilities
from cofactor_server.ranking.profile_encoder import ProfileEncoder
from cofactor_server.ranking.ranker import Ranker, TopK
from cofactor_server.ranking.rules.compiled_rules import CompiledRules
from cofactor_server.ranking.rules.ruled_ranker import RuledRanker
from cofactor_server.ranking.rules.score_unit import ScoreUnits
from cofactor_server.ranking.similar_items import SimilarItems
from cofactor_server.ranking.title_search import TitleSearch
from cofactor_server.ranking.user_vectors import UserVectors
from cofactor_server.repository.id_index import IdIndex
from cofactor_server.repository.overlays.tables import AddedTables
from cofactor_server.repository.version_directory import VersionDirectory
from cofactor_server.serving.attribute_messages import attribute_message
from cofactor_server.serving.item_map import read_item_map
from cofactor_server.serving.profile_questions import profile_question
from cofactor_server.serving.response_cache import ResponseCache
from cofactor_server.serving.response_encoder import ResponseEncoder
from cofactor_server.serving.response_sizes import ResponseSizes

_LOGGER = logging.getLogger(__name__)


class LoadedVersion:
    """All that serves one version. The parts share the memory-mapped tables of the version directory.

    Attributes:
        key: "name/version".
        page_key: names in page tokens the version and the overlay that it is served with.
        overlay_sequence: number of that overlay, 0 for none.
        n_foldable_items: items that a new user may be folded in from: rows from this one on belong to added items.
        config: the settings of the server.
        directory: manifest and tables.
        added_tables: makes the tables of items that an overlay adds.
        tables: the arrays of the version directory, by name.
        manifest: the manifest of the version directory.
        predicts_ratings: True if the model was trained to predict ratings.
        event_weights: the weights of events; None if the model learnt from ratings. A version that predicts ratings
            and has them learnt from ratings and events.
        orders: the orders in which it can rank.
        coalesces_calls: True if calls should share runs before they have a thread; see TopKChoice.
        engine: runs the ONNX graphs.
        predictor: predicts the ratings of all items that are served.
        scorer: scores and compares single items.
        top_k: finds the best items of the catalogue.
        user_ids: maps user ids to rows and back.
        item_ids: maps item ids to rows and back.
        catalogue: titles, genres, years, counts and biases of the items.
        filters: selects items by their attributes.
        title_search: finds items by their titles.
        item_map: the places of the items on a map; None if the version has none.
        users: vectors of known users, and of new ones folded in.
        profile_encoder: encodes the profiles of new users.
        new_items: computes the rows of new items.
        item_feature_encoder: encodes the attributes of new items.
        ranker: ranks the items for a user.
        ruled_ranker: does it by rules.
        score_units: the units of calibrated scores.
        probabilities: computes probabilities of interaction; None if the version has no calibration.
        compiled_rules: caches the rule sets used last in the form that ruled_ranker takes.
        similar_items: ranks the items by similarity to given ones.
        explainer: explains predictions.
        response_encoder: encodes responses to Recommend.
        response_cache: caches these.
        served_model: names the version in every response.
        description: describes the version in the catalog service.
    """

    def __init__(
        self,
        directory: VersionDirectory,
        providers: ProviderList,
        config: ServerConfig,
        device_failure: DeviceFailure | None = None,
    ) -> None:
        """Load a version. `device_failure` is told if a run on a device fails later.

        Raises ModelRefused if the version contradicts itself or fails a golden test, and ProviderUnavailable if the
        configured provider does not work.
        """
        manifest = self.manifest = directory.manifest
        n_items = int(manifest.item_count)
        self.key = self.page_key = directory.label
        self.overlay_sequence = 0
        self.n_foldable_items = n_items
        self.config, self.directory = config, directory
        self.added_tables = AddedTables(directory)
        self.tables = directory.tables
        self.predicts_ratings = manifest.objective == "rating"
        self.event_weights = EventWeights(manifest.events) if manifest.HasField("events") else None
        self.orders = Orders(manifest)
        self.engine = Engine(
            directory,
            providers,
            must_use_first=config.provider == "cuda",
            pinned=config.pinned_gpu_graphs,
            failure=device_failure,
        )
        n_golden_tests = run_golden_tests(directory, self.engine)
        with _refuse_invalid_tables(directory):
            self.user_ids = IdIndex(directory.strings("user_ids"))
            self.item_ids = IdIndex(directory.strings("item_ids"))
            self.catalogue = Catalogue(directory)
        self.filters = ItemFilters(self.catalogue, has_network=manifest.architecture != "dot-product")
        self.title_search = TitleSearch(self.catalogue)
        self.item_map = read_item_map(directory.tables, manifest)
        self.profile_encoder = ProfileEncoder(manifest.profile_features)
        self.users = UserVectors(
            directory.tables,
            self.engine,
            n_items,
            self.profile_encoder.n_columns,
            has_events=self.event_weights is not None,
        )
        self.item_feature_encoder = ItemFeatureEncoder(manifest.item_features)
        self.new_items = NewItems(self.engine, int(manifest.user_count))

        self.predictor: Predictor = self.engine
        self.scorer = ItemScorer(self.engine, directory.tables, manifest.ranking_factor_count)
        choice = choose_top_k(directory, self.engine, self.scorer, self.orders.known[0], config)
        self.coalesces_calls = choice.coalesces_calls
        self.top_k: TopK = choice.top_k
        self.ranker = Ranker(self.top_k, self.scorer)
        self.ruled_ranker = RuledRanker(self.ranker, self.scorer)
        self.score_units = ScoreUnits(self.users, self.scorer, int(manifest.user_count))
        self.probabilities: Probabilities | None = None
        if manifest.HasField("calibration"):
            self.probabilities = Probabilities(manifest.calibration, self.orders, n_items)
        self.compiled_rules = CompiledRules(n_items)
        self.similar_items = SimilarItems(self.engine, n_items)
        self.explainer = build_explainer(directory, self.users, self.engine, self.scorer)

        self.served_model = model_pb2.ServedModel(
            name=manifest.name, version=manifest.version, execution_provider=self.engine.providers[0]
        )
        self.response_encoder = ResponseEncoder(
            self.item_ids.ids, self.catalogue, self.served_model, with_ratings=self.predicts_ratings
        )
        self.response_sizes = ResponseSizes(
            directory.strings("item_ids"), self.catalogue, config.max_page_size, config.max_response_mib * 2**20
        )
        self.response_cache = ResponseCache(config.cache_mib * 2**20)
        self.description = _describe(manifest, self.engine)
        self.description.attributes.extend(map(attribute_message, self.catalogue.attributes.summaries()))
        _release_free_memory()
        _LOGGER.info("%s ready on %s, %d golden tests passed", self.key, self.engine.providers[0], n_golden_tests)

    def without_cached_responses(self) -> LoadedVersion:
        """Return a copy that shares all parts with this version, but has an empty cache.

        Calls under way still fill the cache of this object, which no new call reads.
        """
        other = copy.copy(self)
        other.response_cache = self.response_cache.emptied()
        return other


@contextlib.contextmanager
def _refuse_invalid_tables(directory: VersionDirectory) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ModelRefused(f"model {directory.label} refused: {error}") from None


def _describe(manifest: Manifest, engine: Engine) -> model_pb2.Model:
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
        execution_providers=engine.providers,
        embedding_space=manifest.embedding_space,
        profile_keys=[feature.key for feature in manifest.profile_features],
        profile_questions=map(profile_question, manifest.profile_features),
        metrics=manifest.metrics,
        train_time=manifest.train_time,
        supports_new_users=engine.embeds_users,
        supports_new_items=engine.embeds_items,
        dataset=manifest.dataset,
        metrics_protocol=manifest.metrics_protocol,
        has_ranking_part=engine.has_ranking_part,
        supports_probabilities=manifest.HasField("calibration"),
        probability_meaning=manifest.calibration.meaning,
    )
    model.load_time.FromSeconds(int(time.time()))
    if manifest.HasField("events"):
        model.events.CopyFrom(_describe_events(manifest.events))
    if engine.device_graphs is not None:
        model.device_memory_bytes = max(0, engine.device_graphs.memory_bytes or 0)
        model.device_table_bytes = engine.device_graphs.tables.n_bytes
    for placement in engine.placements:
        entry = model.placements.add(graph=placement.graph, reason=placement.reason)
        for trial, is_on_device in zip(placement.trials, placement.on_device, strict=True):
            entry.trials.add(
                size=trial.size,
                execution_provider=engine.providers[0] if is_on_device else CPU,
                cpu_ms=1000 * (trial.cpu_s or 0),
                device_ms=1000 * (trial.device_s or 0),
            )
    return model


def _describe_events(feedback: EventFeedback) -> model_pb2.Model.Events:
    return model_pb2.Model.Events(
        types=[
            model_pb2.Model.EventType(
                name=kind.name, weight=kind.weight, negative=kind.negative, event_count=kind.event_count
            )
            for kind in feedback.types
        ],
        half_life_seconds=feedback.half_life_seconds,
        weight_cap=feedback.weight_cap,
        log_weights=feedback.log_weights,
        rating_weight=feedback.rating_weight,
        recency_boost=feedback.recency_boost,
        recency_decay=feedback.recency_decay,
        newest_event_time=feedback.newest_event_time if feedback.HasField("newest_event_time") else None,
    )


def _release_free_memory() -> None:
    """Return the memory that loading and the golden tests needed to the system; glibc's allocator would keep it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL("libc.so.6").malloc_trim(0)
