"""Look up the vectors of known users, and fold in new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cofactor_server.arrays import NO_ROWS, AnyArray, BoolArray, FloatArray, IndexArray, no_rows, typed_table
from cofactor_server.errors import NewUsersUnsupported
from cofactor_server.ranking.event_weights import WeightedItems
from cofactor_server.ranking.ranker import UserVector

# Items of the events of B users (B, E) padded with n_items, and their weights (B, E).
BatchedEvents = tuple[IndexArray, FloatArray]


class EmbedUserGraph(Protocol):
    """The engine's embed_user graph."""

    @property
    def embeds_users(self) -> bool:
        """Return True if the version has the graph."""

    def embed_user(
        self, item_rows: IndexArray, ratings: FloatArray, profile: FloatArray, events: BatchedEvents | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Embed new users: (B, N), (B, N), (B, P), events -> factors (B, d), bias (B,), fitted ratings (B, N)."""


@dataclass(frozen=True, slots=True, eq=False)
class RatingsAndEvents:
    """Say which items of a history have a rating and what they weigh, if the version learnt from ratings and events.

    Attributes:
        has_rating: (n,) True for an item with a rating.
        weights: (n,) weights of the items; 0 without a wanted event.
    """

    has_rating: BoolArray
    weights: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A user's ratings or weights of events, and encoded profile.

    Attributes:
        item_rows: (n,), ascending and unique.
        ratings: (n,) ratings; weights of the items if the version learnt from events only.
        profile: (1, P), zeros for answers that are not known. P is 0 if the model has no profile features.
        negative_rows: (m,) items of negative events, ascending and unique. They do not change the vector.
        both: which items have ratings, and which have weights, in a version that learnt from ratings and events; None
            in others.
    """

    item_rows: IndexArray
    ratings: FloatArray
    profile: FloatArray
    negative_rows: IndexArray = field(default_factory=no_rows)
    both: RatingsAndEvents | None = None

    @property
    def rated(self) -> History:
        """Return the ratings alone; all of the history in a version that did not learn from ratings and events."""
        if self.both is None:
            return self
        has_rating = self.both.has_rating
        return History(self.item_rows[has_rating], self.ratings[has_rating], self.profile)

    def set_aside(self, first_row: int) -> History:
        """Return the history with the items from a row on only left out, like those of negative events."""
        is_used = self.item_rows < first_row
        if is_used.all():
            return self
        return History(
            self.item_rows[is_used],
            self.ratings[is_used],
            self.profile,
            np.union1d(self.negative_rows, self.item_rows[~is_used]),
            None if self.both is None else RatingsAndEvents(self.both.has_rating[is_used], self.both.weights[is_used]),
        )

    @property
    def weights(self) -> FloatArray:
        """Return what the order of items is folded in from, (n,): weights of events, or ratings."""
        return self.ratings if self.both is None else self.both.weights


def join_ratings_and_events(
    rated_rows: IndexArray, ratings: FloatArray, events: WeightedItems, weight_of_rating: float, profile: FloatArray
) -> History:
    """Return the history of a new user with ratings and events, for a version that learnt from both.

    rated_rows (n,) ascending and unique, ratings (n,). A rated item without events has the weight of a rating.
    """
    item_rows = np.union1d(rated_rows, events.item_rows)
    all_ratings, weights = np.zeros(len(item_rows), np.float32), np.zeros(len(item_rows), np.float32)
    rated, weighted = np.searchsorted(item_rows, rated_rows), np.searchsorted(item_rows, events.item_rows)
    all_ratings[rated] = ratings
    weights[rated] = np.where(np.isin(rated_rows, events.negative_rows), 0, weight_of_rating)
    weights[weighted] = events.weights
    has_rating = np.zeros(len(item_rows), dtype=bool)
    has_rating[rated] = True
    negative_rows = np.setdiff1d(events.negative_rows, item_rows)
    return History(item_rows, all_ratings, profile, negative_rows, RatingsAndEvents(has_rating, weights))


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
            0 marks an item with negative events only. If the tables say which items have ratings, the version learnt
            from both.
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
        self._both: RatingsAndEvents | None = None
        if "rated.has_rating" in tables:
            has_rating = typed_table(tables, "rated.has_rating", np.uint8)
            self._both = RatingsAndEvents(has_rating.view(np.bool_), typed_table(tables, "rated.weights", np.float32))
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
        if self._both is not None:
            return self._history_of_both(item_rows, ratings, slice(start, end), self._both)
        is_positive = ratings > 0
        return History(item_rows[is_positive], ratings[is_positive], self._no_answers, item_rows[~is_positive])

    def _history_of_both(
        self, item_rows: IndexArray, ratings: FloatArray, columns: slice, both: RatingsAndEvents
    ) -> History:
        has_rating, weights = both.has_rating[columns], both.weights[columns]
        is_used = has_rating | (weights > 0)
        return History(
            item_rows[is_used],
            ratings[is_used],
            self._no_answers,
            item_rows[~is_used],
            RatingsAndEvents(has_rating[is_used], weights[is_used]),
        )

    def _rows_rated_by(self, row: int) -> IndexArray:
        return self._rated_rows[self._offsets[row] : self._offsets[row + 1]].astype(np.int64)

    def fold_in(self, history: History) -> FoldedUser:
        """Return the vector of a new user. Raises NewUsersUnsupported if the model cannot embed users."""
        rated, events = history.rated, None
        if history.both is not None:
            is_wanted = history.both.weights > 0
            events = history.item_rows[is_wanted][None], history.both.weights[is_wanted][None]
        factors, bias, fitted = self.fold_in_many(rated.item_rows[None], rated.ratings[None], rated.profile, events)
        error = fitted[0, : len(rated.item_rows)] - rated.ratings
        rmse = float(np.sqrt(np.mean(np.square(error)))) if len(error) else 0.0
        excluded_rows = history.item_rows
        if len(history.negative_rows):
            excluded_rows = np.union1d(excluded_rows, history.negative_rows)
        return FoldedUser(UserVector(factors, bias, excluded_rows, is_new=True), rmse)

    def fold_in_many(
        self, item_rows: IndexArray, ratings: FloatArray, profile: FloatArray, events: BatchedEvents | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Fold in B new users. Raises NewUsersUnsupported if the model cannot embed users.

        item_rows (B, N) padded with n_items, ratings (B, N), profile (B, P), and in a version that learnt from ratings
        and events the events, none by default -> factors (B, d), bias (B,), fitted ratings (B, N).
        """
        if not self._graph.embeds_users:
            raise NewUsersUnsupported
        item_rows, ratings = self._padded(item_rows, ratings)
        if self._both is None:
            return self._graph.embed_user(item_rows, ratings, profile)
        no_events = np.zeros((len(item_rows), 0), np.int64), np.zeros((len(item_rows), 0), np.float32)
        return self._graph.embed_user(item_rows, ratings, profile, self._padded(*(events or no_events)))

    def _padded(self, item_rows: IndexArray, numbers: FloatArray) -> BatchedEvents:
        """Return lists of at least one item, which is padding if there is none: (B, N), (B, N) -> the same."""
        if item_rows.shape[1]:
            return item_rows, numbers
        return np.full((len(item_rows), 1), self._n_items, np.int64), np.zeros((len(item_rows), 1), np.float32)
