"""Calls on whole columns: split arrays and DataFrames into requests, and collect the responses.

Arrays need numpy; DataFrames need pandas as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from cofactor.v1 import recommender_pb2
from cofactor_client import _request_messages
from cofactor_client._request_types import ModelLike
from cofactor_client._response_types import EntryError, Recommendations
from cofactor_client.errors import entry_exception

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    IdColumn: TypeAlias = "pd.Series[Any] | npt.NDArray[Any] | list[str] | tuple[str, ...]"


@dataclass(frozen=True)
class PairChunks:
    """Pairs of ids, split into Predict requests of at most `size` pairs.

    Attributes:
        user_ids: (n_pairs,) user ids.
        item_ids: (n_pairs,) item ids.
        size: number of pairs in a request.
        model: the model to call.
        allow_partial_success: True if an unknown id gives NaN instead of an error.
    """

    user_ids: IdColumn
    item_ids: IdColumn
    size: int
    model: ModelLike
    allow_partial_success: bool

    def __post_init__(self) -> None:
        """Check the columns before anything is sent. Raises ValueError or TypeError."""
        for name, column in (("user ids", self.user_ids), ("item ids", self.item_ids)):
            _check_ids(name, column)
        n_users, n_items = len(self.user_ids), len(self.item_ids)
        if n_users != n_items:
            raise ValueError(f"user ids and item ids: {n_users} against {n_items}; give one of each per pair")

    def __iter__(self) -> Iterator[tuple[int, recommender_pb2.PredictRequest]]:
        """Yield the position of each request's first pair, and the request. Converts ids to strings chunk by chunk."""
        for start in range(0, len(self.user_ids), self.size):
            end = start + self.size
            yield (
                start,
                _request_messages.predict_pairs(
                    self.model,
                    _strings(self.user_ids[start:end]),
                    _strings(self.item_ids[start:end]),
                    allow_partial_success=self.allow_partial_success,
                ),
            )

    def empty_ratings(self) -> npt.NDArray[np.float32]:
        """Allocate the result, (n_pairs,)."""
        import numpy as np

        return np.empty(len(self.user_ids), np.float32)


def frame_column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return a column, indexed by position. Raises KeyError that lists the columns if it is missing."""
    if name not in frame.columns:
        raise KeyError(f"no column {name!r}; the frame has {', '.join(map(repr, frame.columns))}")
    return frame[name].reset_index(drop=True)


def recommendation_frame(
    user_ids: list[str], entries: Iterable[tuple[int, Recommendations | EntryError]]
) -> pd.DataFrame:
    """Build a frame with one row per user and result, users in the order given. Raises the first failed entry."""
    import pandas as pd

    pages: list[Recommendations | None] = [None] * len(user_ids)
    for index, entry in entries:
        if isinstance(entry, EntryError):
            raise entry_exception(entry.reason, entry.message)
        pages[index] = entry
    rows = [
        (user_id, rank, scored.item_id, scored.title, scored.score, scored.predicted_rating)
        for user_id, page in zip(user_ids, pages, strict=True)
        if page is not None
        for rank, scored in enumerate(page.results, start=1)
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "rank", "item_id", "title", "score", "predicted_rating"])
    return frame.astype({"rank": "int32", "score": "float32", "predicted_rating": "float32"})


def id_list(name: str, column: IdColumn) -> list[str]:
    """Check a column and convert it to a list of strings."""
    _check_ids(name, column)
    return _strings(column)


@contextmanager
def progress_bar(description: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances the bar by a number of entries. Draws on standard error if `shown`."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.advance(task, done)


def _check_ids(name: str, column: IdColumn) -> None:
    if isinstance(column, str):
        raise TypeError(f"{name}: must be a column of ids, not one string")
    if (kind := getattr(getattr(column, "dtype", None), "kind", "O")) in "fc":
        raise TypeError(f"{name}: must not be floating-point numbers; convert the column to integers or strings first")
    if kind == "O" and hasattr(column, "isna") and (missing := column.isna()).any():
        raise ValueError(f"{name}: row {int(missing.to_numpy().argmax())} is missing; drop or fill such rows first")


def _strings(column: IdColumn) -> list[str]:
    values: list[Any] = column.tolist() if hasattr(column, "tolist") else list(column)
    return values if not values or isinstance(values[0], str) else [str(value) for value in values]
