"""Bound the size of a response before it is computed, so that no caller waits for one that is too large to receive."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy

import numpy as np

from cofactor_server.arrays import IndexArray
from cofactor_server.errors import InvalidField
from cofactor_server.ranking.catalogue import Catalogue
from cofactor_server.repository.string_table import StringTable
from cofactor_server.serving.attribute_sizes import attribute_sizes
from cofactor_server.serving.field_sizes import field_sizes, varint_sizes

# Bytes of a response beside its results: ids, page token, model.
RESPONSE_OVERHEAD = 512
# Score and predicted rating of a result, and tag and length of the result.
_RESULT_OVERHEAD = 5 + 5 + 5
# Release year, bias, and tag and length of the item.
_ITEM_OVERHEAD = 11 + 5 + 5
# Applied rules of a result: 16 boosts, 8 guarantees and a cap at most, with names of 64 bytes.
_EXPLANATION_BYTES = 25 * 80 + 5
# Tags and values of ScoredItem.is_exploration and propensity, which only versions with an overlay set.
_EXPLORATION_MARK = 2 + 5
# Tag and value of ScoredItem.probability.
_PROBABILITY_BYTES = 5
_ROWS_AT_A_TIME = 1 << 18


class ResponseSizes:
    """Upper bounds of the responses of one version, from the largest items of its catalogue.

    Attributes:
        safe_page_size: pages of up to this size are never too large.
    """

    def __init__(self, item_ids: StringTable, catalogue: Catalogue, max_page_size: int, limit: int) -> None:
        """`limit` is the largest response in bytes."""
        self._limit, self._max_page_size = limit, max_page_size
        self._use(*_largest_items(item_ids, catalogue, max_page_size))

    def with_items_of(self, added: ResponseSizes) -> ResponseSizes:
        """Return the upper bounds for the items of both catalogues together."""
        joined = copy(self)
        pairs = ((self._plain, added._plain), (self._with_item, added._with_item))
        sizes = (np.concatenate([np.diff(totals) for totals in pair]) + _EXPLORATION_MARK for pair in pairs)
        joined._use(*(_largest(both, self._max_page_size) for both in sizes))
        return joined

    def _use(self, plain: IndexArray, with_item: IndexArray) -> None:
        """Take the sizes of the largest items, largest first, in the results without and with items."""
        limit, max_page_size = self._limit, self._max_page_size
        self._plain, self._with_item = _running_total(plain), _running_total(with_item)
        fits = np.flatnonzero(self._with_item <= limit)
        is_never_exceeded = len(fits) == len(self._with_item)
        self.safe_page_size = max_page_size if is_never_exceeded else int(fits[-1]) if len(fits) else 0

    def bound(self, page_size: int, *, with_items: bool) -> int:
        """Return the largest size in bytes of a response with this many results."""
        pages = self._with_item if with_items else self._plain
        return int(pages[min(page_size, len(pages) - 1)])

    def check(self, page_size: int, *, with_items: bool) -> None:
        """Raise InvalidField if a page of results may be too large."""
        if page_size > self.safe_page_size:
            self._check_size(self.bound(page_size, with_items=with_items), "page_size", "ask for fewer results")

    def check_explained(self, page_size: int, *, with_items: bool) -> None:
        """Raise InvalidField if a page may be too large whose results say which rules had a say in their places."""
        size = self.bound(page_size, with_items=with_items) + page_size * _EXPLANATION_BYTES
        self._check_size(size, "page_size", "ask for fewer results, or leave out explain_rules")

    def check_probabilities(self, page_size: int, *, with_items: bool) -> None:
        """Raise InvalidField if a page may be too large whose results have probabilities."""
        size = self.bound(page_size, with_items=with_items) + page_size * _PROBABILITY_BYTES
        self._check_size(size, "page_size", "ask for fewer results, or leave out return_probabilities")

    def always_fit(self, n_pages: int, page_size: int) -> bool:
        """Return True if this many pages of this size fit into a response, whatever their items are."""
        page = self.bound(page_size, with_items=True) + page_size * _PROBABILITY_BYTES
        return n_pages * page <= self._limit

    def check_all(self, pages: Iterable[tuple[int, bool, bool]], field: str) -> None:
        """Raise InvalidField if many pages may be too large together.

        A page has its size, True for items and True for probabilities.
        """
        size = sum(
            self.bound(page_size, with_items=with_items) + page_size * _PROBABILITY_BYTES * has_probabilities
            for page_size, with_items, has_probabilities in pages
        )
        self._check_size(size, field, "send fewer requests in a call, or ask for fewer results")

    def _check_size(self, size: int, field: str, remedy: str) -> None:
        if size > self._limit:
            raise InvalidField(
                field,
                f"asks for a response of up to {size / 2**20:.1f} MiB, and this server answers at most "
                f"{self._limit / 2**20:g}; {remedy}, or leave out return_items",
            )


def _largest_items(item_ids: StringTable, catalogue: Catalogue, max_page_size: int) -> tuple[IndexArray, IndexArray]:
    """Return the sizes of the largest results, largest first, without and with items, each (m,)."""
    plain, with_item = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for start in range(0, catalogue.n_items, _ROWS_AT_A_TIME):
        rows = slice(start, min(start + _ROWS_AT_A_TIME, catalogue.n_items))
        ids = field_sizes(item_ids.byte_lengths(rows))
        items = ids + field_sizes(catalogue.titles.byte_lengths(rows)) + catalogue.sum_over_genres(field_sizes, rows)
        items += 1 + varint_sizes(catalogue.rating_counts[rows]) + _ITEM_OVERHEAD
        items += attribute_sizes(catalogue.attributes, rows)
        plain = _largest(np.concatenate([plain, ids + _RESULT_OVERHEAD]), max_page_size)
        with_item = _largest(np.concatenate([with_item, ids + items + _RESULT_OVERHEAD]), max_page_size)
    return plain, with_item


def _largest(sizes: IndexArray, count: int) -> IndexArray:
    return np.sort(sizes)[::-1][:count]


def _running_total(sizes: IndexArray) -> IndexArray:
    return RESPONSE_OVERHEAD + np.concatenate([[0], np.cumsum(sizes)])
