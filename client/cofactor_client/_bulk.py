"""Columns in, columns out: whole DataFrames and arrays, cut into requests. Needs numpy, for frames pandas as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from cofactor.v1 import recommender_pb2
from cofactor_client import _request_messages
from cofactor_client._request_messages import ModelLike
from cofactor_client._response_types import EntryError, Recommendations
from cofactor_client.errors import entry_exception

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    IdColumn: TypeAlias = "pd.Series[Any] | npt.NDArray[Any] | list[str] | tuple[str, ...]"

IN_FLIGHT = 4
"""Predict calls under way at once: enough to keep client and server both busy, few enough for any server's queue."""

BUSY_ATTEMPTS = 5
"""Tries of one of those calls while the server answers that it is at its limit."""

STREAM_WINDOW = 256
"""Entries of a stream that are sent and not yet answered."""


@dataclass(frozen=True)
class PairChunks:
    """Pairs of ids as a series of Predict requests of at most `size` pairs.

    Attributes:
        users: (n_pairs,) user ids.
        items: (n_pairs,) item ids.
        size: pairs in a request.
        model: which model answers.
        allow_partial_success: unknown ids become NaN.
    """

    users: IdColumn
    items: IdColumn
    size: int
    model: ModelLike
    allow_partial_success: bool

    def __post_init__(self) -> None:
        """Refuses columns that cannot be ids, before anything is sent."""
        if len(self.users) != len(self.items):
            raise ValueError(f"user ids and item ids: {len(self.users)} against {len(self.items)}; give one per pair")
        for name, column in (("user ids", self.users), ("item ids", self.items)):
            _check_ids(name, column)

    def __iter__(self) -> Iterator[tuple[int, recommender_pb2.PredictRequest]]:
        """The position of each request's first pair, and the request. Ids become strings only here, chunk by chunk."""
        for start in range(0, len(self.users), self.size):
            end = start + self.size
            yield (
                start,
                _request_messages.predict_pairs(
                    self.model,
                    _strings(self.users[start:end]),
                    _strings(self.items[start:end]),
                    allow_partial_success=self.allow_partial_success,
                ),
            )

    def empty(self) -> npt.NDArray[np.float32]:
        """Where the answers go, (n_pairs,)."""
        import numpy as np

        return np.empty(len(self.users), np.float32)


def frame_column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """The column, by position rather than by index label; KeyError naming it and what there is."""
    if name not in frame.columns:
        raise KeyError(f"no column {name!r}; the frame has {', '.join(map(repr, frame.columns))}")
    return frame[name].reset_index(drop=True)


def recommendation_frame(users: list[str], answers: Iterable[tuple[int, Recommendations | EntryError]]) -> pd.DataFrame:
    """One row per user and result, users in the order given; the first failed entry is raised."""
    import pandas as pd

    by_user: list[Recommendations | None] = [None] * len(users)
    for index, answer in answers:
        if isinstance(answer, EntryError):
            raise entry_exception(answer.reason, answer.message)
        by_user[index] = answer
    rows = [
        (user_id, rank, scored.item_id, scored.title, scored.score, scored.predicted_rating)
        for user_id, page in zip(users, by_user, strict=True)
        if page is not None
        for rank, scored in enumerate(page.results, start=1)
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "rank", "item_id", "title", "score", "predicted_rating"])
    return frame.astype({"rank": "int32", "score": "float32", "predicted_rating": "float32"})


def id_list(name: str, column: IdColumn) -> list[str]:
    """A whole column as strings."""
    _check_ids(name, column)
    return _strings(column)


@contextmanager
def progress_bar(description: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number of entries just done; draws on standard error where `shown`."""
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
        raise TypeError(f"{name}: a column of ids, not one string")
    if (kind := getattr(getattr(column, "dtype", None), "kind", "O")) in "fc":
        raise TypeError(f"{name}: a column of floating-point numbers; convert it to integers or strings first")
    if kind == "O" and hasattr(column, "isna") and (missing := column.isna()).any():
        raise ValueError(f"{name}: row {int(missing.to_numpy().argmax())} is missing; drop or fill such rows first")


def _strings(column: IdColumn) -> list[str]:
    values: list[Any] = column.tolist() if hasattr(column, "tolist") else list(column)
    return values if not values or isinstance(values[0], str) else [str(value) for value in values]
