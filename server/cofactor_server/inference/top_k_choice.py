"""Choose how a version finds the top k, and where its calls share runs of the engine."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from cofactor_server.config import ServerConfig
from cofactor_server.inference.ann_index import approximate_or_exact
from cofactor_server.inference.catalogue_top_k import CatalogueTopK
from cofactor_server.inference.dynamic_batching import DynamicBatcher, batching_pays
from cofactor_server.inference.engine import Engine
from cofactor_server.inference.memory_budget import floats_per_user, users_per_run
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.ranker import TopK
from cofactor_server.repository.version_directory import VersionDirectory

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TopKChoice:
    """How a version finds the top k.

    Attributes:
        top_k: finds it.
        coalesces_calls: True if calls should share runs before they have a thread (transport/request_coalescing.py).
    """

    top_k: TopK
    coalesces_calls: bool


def choose_top_k(
    directory: VersionDirectory, engine: Engine, scorer: ItemScorer, usual_order: Order, config: ServerConfig
) -> TopKChoice:
    """Choose by --batching and --approximate; --batching auto measures if dynamic batching pays.

    Prepares the engine for the largest batch. `usual_order` is the order that most requests have.
    """
    n_items, n_factors = int(directory.manifest.item_count), int(directory.manifest.user_factor_count)
    max_batch_size = min(config.max_batch_size, users_per_run(floats_per_user(directory)))
    max_batch_size = engine.warm_up(max_batch_size)
    catalogue_top_k = CatalogueTopK(engine, n_items, max_batch_size)
    is_auto = config.batching == "auto"
    is_batched = config.batching == "on"
    if is_auto:
        is_batched = batching_pays(catalogue_top_k, n_factors, min(10, n_items), usual_order)
    exact: TopK = catalogue_top_k
    if is_batched:
        _LOGGER.info("%s: dynamic batching is on", directory.label)
        n_slots = len(os.sched_getaffinity(0)) if engine.is_on_cpu else 1
        exact = DynamicBatcher(catalogue_top_k, max_batch_size, n_slots)
    if config.approximate:
        approximate = approximate_or_exact(directory, exact, scorer, is_on_cpu=engine.is_on_cpu)
        return TopKChoice(approximate, coalesces_calls=False)
    return TopKChoice(exact, coalesces_calls=is_auto and not is_batched)
