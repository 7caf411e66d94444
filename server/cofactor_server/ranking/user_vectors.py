"""Who a request is for, as the graphs take a user: known, average, embedded before, or folded in now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cofactor_server.arrays import NO_ROWS, AnyArray, FloatArray, IndexArray
from cofactor_server.errors import NewUsersUnsupported
from cofactor_server.ranking.ranker import UserVector


class FoldIn(Protocol):
    """The engine's embed_user graph."""

    @property
    def embeds_users(self) -> bool:
        """Whether the version has the graph."""

    def embed_user(
        self, item_rows: IndexArray, ratings: FloatArray, profile: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(B, N), (B, N), (B, P) -> factors (B, d), bias (B,), fitted ratings (B, N)."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Ratings of a user, and sign-up answers as numbers.

    Attributes:
        item_rows: (n,), ascending, without repeats.
        ratings: (n,).
        profile: (1, P), or None where the model has no use for one.
    """

    item_rows: IndexArray
    ratings: FloatArray
    profile: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FoldedUser:
    """A new user's vector, and how well it fits what was given."""

    vector: UserVector
    fit_rmse: float


class Users:
    """The user tables of one version."""

    def __init__(self, tables: dict[str, AnyArray], fold_in: FoldIn, n_items: int) -> None:
        self._factors: FloatArray = tables["user_factors"]  # type: ignore[assignment]
        self._bias: FloatArray = tables["user_bias"]  # type: ignore[assignment]
        self._offsets: list[int] = tables["rated.offsets"].tolist()  # faster to index than an array
        self._rated_rows = tables["rated.item_rows"]
        self._rated_ratings: FloatArray = tables["rated.ratings"]  # type: ignore[assignment]
        self._fold_in = fold_in
        self._n_items = n_items

    def known(self, row: int) -> UserVector:
        """A user of the training data."""
        return UserVector(self._factors[row : row + 1], self._bias[row : row + 1], self._rows_rated_by(row))

    def average(self) -> UserVector:
        """The unknown user."""
        return UserVector(self._factors[-1:], self._bias[-1:], NO_ROWS, is_fallback=True)

    def pairs(self, rows: IndexArray) -> tuple[FloatArray, FloatArray]:
        """Factors (n, d) and biases (n,) of several users."""
        return self._factors[rows], self._bias[rows]

    def history(self, row: int) -> History:
        """What a user of the training data rated."""
        start, end = self._offsets[row], self._offsets[row + 1]
        return History(self._rows_rated_by(row), self._rated_ratings[start:end])

    def _rows_rated_by(self, row: int) -> IndexArray:
        return self._rated_rows[self._offsets[row] : self._offsets[row + 1]].astype(np.int64)

    def fold(self, history: History) -> FoldedUser:
        """A new user; raises NewUsersUnsupported where the model cannot embed any."""
        factors, bias, fitted = self.fold_many(history.item_rows[None], history.ratings[None], history.profile)
        error = fitted[0, : len(history.item_rows)] - history.ratings
        rmse = float(np.sqrt(np.mean(np.square(error)))) if len(error) else 0.0
        return FoldedUser(UserVector(factors, bias, history.item_rows), rmse)

    def fold_many(
        self, item_rows: IndexArray, ratings: FloatArray, profile: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """item_rows (B, N) padded with n_items, ratings (B, N) -> factors (B, d), bias (B,), fitted (B, N)."""
        if not self._fold_in.embeds_users:
            raise NewUsersUnsupported
        if item_rows.shape[1] == 0:
            item_rows = np.full((len(item_rows), 1), self._n_items, dtype=np.int64)
            ratings = np.zeros((len(item_rows), 1), dtype=np.float32)
        return self._fold_in.embed_user(item_rows, ratings, profile)
