"""Look up the vectors of known users, and fold in new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cofactor_server.arrays import NO_ROWS, AnyArray, FloatArray, IndexArray, no_rows, typed_table
from cofactor_server.errors import NewUsersUnsupported
from cofactor_server.ranking.ranker import UserVector


class EmbedUserGraph(Protocol):
    """The engine's embed_user graph."""

    @property
    def embeds_users(self) -> bool:
        """Return True if the version has the graph."""

    def embed_user(
        self, item_rows: IndexArray, ratings: FloatArray, profile: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Embed new users: (B, N), (B, N), (B, P) -> factors (B, d), bias (B,), fitted ratings (B, N)."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A user's ratings or weights of events, and encoded profile.

    Attributes:
        item_rows: (n,), ascending and unique.
        ratings: (n,) ratings; weights of the items if the version learnt from events.
        profile: (1, P), zeros for answers that are not known. P is 0 if the model has no profile features.
        negative_rows: (m,) items of negative events, ascending and unique. They do not change the vector.
    """

    item_rows: IndexArray
    ratings: FloatArray
    profile: FloatArray
    negative_rows: IndexArray = field(default_factory=no_rows)


@dataclass(frozen=True, slots=True, eq=False)
class FoldedUser:
    """The vector of a new user, and the error with which it predicts the user's own ratings."""

    vector: UserVector
    fit_rmse: float


class UserVectors:
    """The users of one version.

    Args:
        tables: of the version: user_factors (n_users + 1, d) and user_bias (n_users + 1,), with the average user last,
            and the ratings of each user.
        graph: folds in new users.
        n_items: number of items, which is also the item row that stands for padding.
        n_profile_columns: number of columns of an encoded profile.
        has_events: True if the version learnt from events: the ratings of each user are then weights, and a weight of
            0 marks an item with negative events only.
    """

    def __init__(
        self,
        tables: Mapping[str, AnyArray],
        graph: EmbedUserGraph,
        n_items: int,
        n_profile_columns: int,
        *,
        has_events: bool = False,
    ) -> None:
        self._factors = typed_table(tables, "user_factors", np.float32)
        self._bias = typed_table(tables, "user_bias", np.float32)
        self._offsets: list[int] = tables["rated.offsets"].tolist()  # faster to index than an array
        self._rated_rows = typed_table(tables, "rated.item_rows", np.int32)
        self._rated_ratings = typed_table(tables, "rated.ratings", np.float32)
        self._graph = graph
        self._n_items = n_items
        self._has_events = has_events
        self._no_answers: FloatArray = np.zeros((1, n_profile_columns), dtype=np.float32)

    def known(self, row: int) -> UserVector:
        """Return the vector of a user of the training data."""
        return UserVector(self._factors[row : row + 1], self._bias[row : row + 1], self._rows_rated_by(row))

    def average(self) -> UserVector:
        """Return the average user, who stands for an unknown one."""
        return UserVector(self._factors[-1:], self._bias[-1:], NO_ROWS, is_fallback=True, is_new=True)

    def factors_and_biases(self, rows: IndexArray) -> tuple[FloatArray, FloatArray]:
        """Return factors (n, d) and biases (n,) of users of the training data, rows (n,)."""
        return self._factors[rows], self._bias[rows]

    def history(self, row: int) -> History:
        """Return the ratings of a user of the training data. A version does not store the user's sign-up answers."""
        start, end = self._offsets[row], self._offsets[row + 1]
        item_rows, ratings = self._rows_rated_by(row), self._rated_ratings[start:end]
        if not self._has_events:
            return History(item_rows, ratings, self._no_answers)
        is_positive = ratings > 0
        return History(item_rows[is_positive], ratings[is_positive], self._no_answers, item_rows[~is_positive])

    def _rows_rated_by(self, row: int) -> IndexArray:
        return self._rated_rows[self._offsets[row] : self._offsets[row + 1]].astype(np.int64)

    def fold_in(self, history: History) -> FoldedUser:
        """Return the vector of a new user. Raises NewUsersUnsupported if the model cannot embed users."""
        factors, bias, fitted = self.fold_in_many(history.item_rows[None], history.ratings[None], history.profile)
        error = fitted[0, : len(history.item_rows)] - history.ratings
        rmse = float(np.sqrt(np.mean(np.square(error)))) if len(error) else 0.0
        excluded_rows = history.item_rows
        if len(history.negative_rows):
            excluded_rows = np.union1d(excluded_rows, history.negative_rows)
        return FoldedUser(UserVector(factors, bias, excluded_rows, is_new=True), rmse)

    def fold_in_many(
        self, item_rows: IndexArray, ratings: FloatArray, profile: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Fold in B new users. Raises NewUsersUnsupported if the model cannot embed users.

        item_rows (B, N) padded with n_items, ratings (B, N), profile (B, P)
        -> factors (B, d), bias (B,), fitted ratings (B, N).
        """
        if not self._graph.embeds_users:
            raise NewUsersUnsupported
        if item_rows.shape[1] == 0:
            item_rows = np.full((len(item_rows), 1), self._n_items, dtype=np.int64)
            ratings = np.zeros((len(item_rows), 1), dtype=np.float32)
        return self._graph.embed_user(item_rows, ratings, profile)
