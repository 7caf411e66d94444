"""Derive a version with an overlay from a loaded version. It shares all tables and graphs with that version."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from cofactor.v1.overlay_pb2 import Overlay
from cofactor_server.arrays import NO_ROWS
from cofactor_server.ranking.catalogue import Catalogue
from cofactor_server.ranking.explanation import items_of
from cofactor_server.ranking.filters import ItemFilters
from cofactor_server.ranking.item_scorer import ItemScorer
from cofactor_server.ranking.overlay.added_items import AddedItems
from cofactor_server.ranking.overlay.catalogue import OverlaidCatalogue, OverlaidFilters, OverlaidTitleSearch
from cofactor_server.ranking.overlay.ranker import OverlaidRanker
from cofactor_server.ranking.overlay.rows import JoinedSequence, RemovedRows
from cofactor_server.ranking.overlay.scorer import JoinedScorer
from cofactor_server.ranking.overlay.similarity import JoinedGraphs, OverlaidSimilarItems
from cofactor_server.ranking.overlay.top_k import OverlaidTopK
from cofactor_server.ranking.prediction_parts import ExplainedItem
from cofactor_server.ranking.rules.compiled_rules import CompiledRules
from cofactor_server.ranking.rules.ruled_ranker import RuledRanker
from cofactor_server.ranking.title_search import TitleSearch
from cofactor_server.repository.id_index import IdIndex
from cofactor_server.repository.overlays.checks import check_overlay
from cofactor_server.repository.version_directory import VersionDirectory
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.response_cache import ResponseCache
from cofactor_server.serving.response_encoder import ResponseEncoder
from cofactor_server.serving.response_sizes import ResponseSizes


class OverlaidIds(IdIndex):
    """Maps ids to rows and back, for the items of a version, without the removed ones, and the added items."""

    def __init__(self, version: IdIndex, added: IdIndex, removed: frozenset[int]) -> None:
        self.ids = JoinedSequence(version.ids, added.ids)
        n_items = len(version)

        def added_row(item_id: str) -> int | None:
            row = added.row(item_id)
            return None if row is None else n_items + row

        def served_row(item_id: str) -> int | None:
            own = version.row(item_id)
            return own if own is not None and own not in removed else added_row(item_id)

        def evidence_row(item_id: str) -> int | None:
            own = version.row(item_id)
            return added_row(item_id) if own is None else own

        self.row = served_row
        self.evidence_row = evidence_row


@dataclass(frozen=True)
class _Parts:
    """Group a version and the items that its overlay adds and removes.

    Attributes:
        base: the version.
        added: the tables of the added items.
        added_ids: their ids.
        removed: the removed items, None if there are none.
    """

    base: LoadedVersion
    added: VersionDirectory
    added_ids: IdIndex
    removed: RemovedRows | None

    @property
    def n_items(self) -> int:
        """Return the number of items of the version, the removed ones included."""
        return len(self.base.item_ids)

    @property
    def n_added(self) -> int:
        """Return the number of added items."""
        return len(self.added_ids)


def overlay_version(base: LoadedVersion, overlay: Overlay) -> LoadedVersion:
    """Return a version that serves the items of `base`, which has no overlay, with those of the overlay.

    Raises OverlayError if the overlay does not fit the version.
    """
    check_overlay(overlay, base.manifest, base.item_ids.row)
    # Rows are in the order of the ids, which expressions compare by.
    tables = base.added_tables.make(sorted(overlay.added_items, key=lambda added: added.item.item_id))
    added_ids = IdIndex(tables.strings("item_ids"))
    parts = _Parts(base, tables, added_ids, _removed_rows(base, added_ids, overlay))
    version = copy(base)
    version.overlay_sequence = overlay.sequence
    version.page_key = f"{base.key}+{overlay.sequence}"
    version.n_foldable_items = parts.n_items
    removed = frozenset() if parts.removed is None else frozenset(parts.removed.rows.tolist())
    version.item_ids = OverlaidIds(base.item_ids, added_ids, removed)
    _set_catalogue(version, parts)
    _set_ranking(version, parts)
    _set_responses(version, parts)
    return version


def _removed_rows(base: LoadedVersion, added_ids: IdIndex, overlay: Overlay) -> RemovedRows | None:
    if not overlay.removed_item_ids:
        return None
    rows = {row: item_id for item_id in overlay.removed_item_ids if (row := base.item_ids.row(item_id)) is not None}
    n_items = len(base.item_ids)
    replacements = {
        row: n_items + added for row, item_id in rows.items() if (added := added_ids.row(item_id)) is not None
    }
    return RemovedRows(np.array(sorted(rows), dtype=np.int64), n_items, replacements)


def _set_catalogue(version: LoadedVersion, parts: _Parts) -> None:
    """Replace what filters, searches and lists items."""
    base, added, n_items = parts.base, Catalogue(parts.added), parts.n_items
    catalogue = OverlaidCatalogue(base.catalogue, added, parts.removed)
    version.catalogue = catalogue
    if parts.n_added:
        version.filters = OverlaidFilters(base.filters, ItemFilters(added), n_items, parts.n_added)
    if base.item_map is not None and parts.removed is not None:
        version.item_map = base.item_map.without(parts.removed.rows)
    version.title_search = OverlaidTitleSearch(base.title_search, TitleSearch(added), catalogue, parts.removed, n_items)


def _set_ranking(version: LoadedVersion, parts: _Parts) -> None:
    """Replace what predicts, ranks, compares and explains."""
    base, n_items, removed = parts.base, parts.n_items, parts.removed
    added = AddedItems(parts.added)
    scorer = JoinedScorer(base.scorer, ItemScorer(added, parts.added.tables, base.manifest.ranking_factor_count))
    graphs = JoinedGraphs(base.engine, added, scorer, n_items, removed)
    version.scorer = scorer
    version.predictor = graphs
    version.top_k = OverlaidTopK(base.top_k, added if parts.n_added else None, removed, n_items)
    version.ranker = OverlaidRanker(version.top_k, scorer, removed, n_items)
    version.ruled_ranker = RuledRanker(version.ranker, scorer, NO_ROWS if removed is None else removed.rows)
    version.compiled_rules = CompiledRules(scorer.n_items)
    version.similar_items = OverlaidSimilarItems(graphs, scorer.n_items, removed)
    of_version, of_added = items_of(base.directory), items_of(parts.added)

    def item_of(row: int) -> ExplainedItem:
        if row < n_items:
            return of_version(row)
        item = of_added(row - n_items)
        return ExplainedItem(row, item.factors, item.bias, item.effect)

    version.explainer = base.explainer.over(graphs, scorer, item_of)


def _set_responses(version: LoadedVersion, parts: _Parts) -> None:
    """Replace what encodes and caches responses, and the descriptions of the version."""
    base, config = parts.base, parts.base.config
    version.served_model = type(base.served_model)()
    version.served_model.CopyFrom(base.served_model)
    version.served_model.overlay_sequence = version.overlay_sequence
    version.description = type(base.description)()
    version.description.CopyFrom(base.description)
    version.description.overlay_sequence = version.overlay_sequence
    n_removed = 0 if parts.removed is None else len(parts.removed)
    version.description.item_count = parts.n_items + parts.n_added - n_removed
    version.response_encoder = ResponseEncoder(
        version.item_ids.ids, version.catalogue, version.served_model, with_ratings=version.predicts_ratings
    )
    sizes = ResponseSizes(
        parts.added.strings("item_ids"), Catalogue(parts.added), config.max_page_size, config.max_response_mib * 2**20
    )
    version.response_sizes = base.response_sizes.with_items_of(sizes)
    version.response_cache = ResponseCache(config.cache_mib * 2**20)
