"""Compute the rows of items that a version was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.errors import NewItemsUnsupported

# Rows and their ratings or weights, (n,) each.
RowsAndNumbers = tuple[IndexArray, FloatArray]


class EmbedItemGraph(Protocol):
    """The engine's embed_item graph."""

    @property
    def embeds_items(self) -> bool:
        """Return True if the version has the graph."""

    def embed_item(
        self,
        user_rows: IndexArray,
        ratings: FloatArray,
        attributes: FloatArray,
        events: tuple[IndexArray, FloatArray] | None = None,
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Embed new items: (B, N), (B, N), (B, P), events -> factors (B, q), bias (B,), fitted ratings (B, N)."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemEvidence:
    """Hold the evidence about a new item.

    Attributes:
        ratings: rows (n,) of the users who rated it and their ratings; weights of events if the version learnt from
            events only.
        attributes: (1, P) encoded attributes.
        events: rows and weights of users in a version that learnt from ratings and events; None in others.
    """

    ratings: RowsAndNumbers
    attributes: FloatArray
    events: RowsAndNumbers | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FoldedItem:
    """The row of a new item.

    Attributes:
        factors: (q,), a row of the table item_factors.
        bias: an element of the table item_bias.
        fit_rmse: error with which the row predicts the item's ratings; 0 without ratings, or if it predicts none.
    """

    factors: FloatArray
    bias: float
    fit_rmse: float


class NewItems:
    """Embeds items that a version was not trained on.

    Args:
        graph: the version's graph.
        n_users: number of users, which is also the user row that stands for padding.
    """

    def __init__(self, graph: EmbedItemGraph, n_users: int) -> None:
        self._graph = graph
        self._n_users = n_users

    def check_supported(self) -> None:
        """Raise NewItemsUnsupported if the version cannot embed items."""
        if not self._graph.embeds_items:
            raise NewItemsUnsupported

    def fold_in(self, evidence: ItemEvidence) -> FoldedItem:
        """Return the row of a new item; raises NewItemsUnsupported if the version cannot embed items."""
        self.check_supported()
        events = None if evidence.events is None else self._padded(evidence.events)
        factors, bias, fitted = self._graph.embed_item(*self._padded(evidence.ratings), evidence.attributes, events)
        ratings = evidence.ratings[1]
        rmse = 0.0
        if fitted is not None and len(ratings):
            rmse = float(np.sqrt(np.mean(np.square(fitted[0, : len(ratings)] - ratings))))
        return FoldedItem(factors[0], float(bias[0]), rmse)

    def _padded(self, listed: RowsAndNumbers) -> tuple[IndexArray, FloatArray]:
        """Return a list of at least one user, which is padding if there is none: (n,), (n,) -> (1, N), (1, N)."""
        rows, numbers = listed
        if len(rows):
            return rows[None], numbers[None]
        return np.full((1, 1), self._n_users, np.int64), np.zeros((1, 1), np.float32)
