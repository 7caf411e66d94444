"""Measure versions on the lists that they served, from an exported feedback log (docs/feedback.md)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from cofactor_trainer.data.table_files import table_parts
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.sequential_test import Successes

_SERVED = ("recommendation_id", "time", "version", "user_id", "is_routed", "item_id", "propensity")
_EVENTS = ("recommendation_id", "item_id", "event")
_LIST_AND_ITEM = ["recommendation_id", "item_id"]


@dataclass(frozen=True)
class ExploredItems:
    """Successes of the items that had their place by chance.

    Attributes:
        n: number of such items in all lists.
        rate_as_drawn: share of them that succeeded; items with high scores are drawn more often.
        rate_of_all: estimated share over all items that could have been drawn, each counted alike.
        standard_error: of `rate_of_all`.
    """

    n: int
    rate_as_drawn: float
    rate_of_all: float
    standard_error: float


class ServedLists:
    """The lists of an exported feedback log, and which of their items succeeded.

    An item of a list succeeds if an event names both.

    Args:
        folder: what export-feedback wrote.
        event_types: types of events that are a success; None for all.

    Raises:
        InputError: the folder was not written by export-feedback, or has no event of these types.
    """

    def __init__(self, folder: Path, event_types: Collection[str] | None = None) -> None:
        served, events = _read(folder / "served", _SERVED), _read(folder / "events", _EVENTS)
        if event_types is not None:
            known = sorted(events["event"].unique())
            unknown = sorted(set(event_types) - set(known))
            if unknown:
                raise InputError(f"--success: the log has no events of {', '.join(unknown)}, but of {', '.join(known)}")
            events = events[events["event"].isin(event_types)]
        succeeded = events.loc[events["recommendation_id"] != "", _LIST_AND_ITEM].drop_duplicates()
        self._items = served.merge(succeeded, on=_LIST_AND_ITEM, how="left", indicator="found")
        self._items["success"] = self._items.pop("found") == "both"

    def versions(self) -> list[str]:
        """Return the versions to which users were routed, that of the most users first."""
        return [str(version) for version in self._first_lists()["version"].value_counts().index]

    def first_lists_of(self, version: str) -> Successes:
        """Return how many of the users whose first list came from a version chose something of that list.

        One list for each user: the lists of one user are not independent, and the comparison needs that. Only lists
        whose version the server chose count, because whoever asks for a version differs from those who do not.
        """
        lists = self._first_lists()
        success = lists.loc[lists["version"] == version, "success"]
        return Successes(len(success), int(success.sum()))

    def explored_items_of(self, version: str) -> ExploredItems | None:
        """Return the successes of drawn items, with inverse propensity; None if there are none."""
        drawn = self._items[(self._items["version"] == version) & self._items["propensity"].notna()]
        if drawn.empty:
            return None
        success = drawn["success"].to_numpy(dtype=np.float64)
        weights = 1 / drawn["propensity"].to_numpy(dtype=np.float64)
        rate = float(weights @ success / weights.sum())
        # Linearised ratio; the items of one list are one cluster.
        by_list = pd.Series(weights * (success - rate)).groupby(drawn["recommendation_id"].to_numpy()).sum()
        error = float(np.sqrt((by_list.to_numpy() ** 2).sum()) / weights.sum())
        return ExploredItems(len(drawn), float(success.mean()), rate, error)

    def _first_lists(self) -> pd.DataFrame:
        """Return one row for each user: the version of the first list, and if anything of it succeeded."""
        routed = self._items[self._items["is_routed"] & (self._items["user_id"] != "")]
        lists = routed.groupby("recommendation_id", sort=False).agg(
            time=("time", "first"),
            version=("version", "first"),
            user_id=("user_id", "first"),
            success=("success", "any"),
        )
        return lists.sort_values("time", kind="stable").drop_duplicates("user_id")


def _read(folder: Path, columns: Collection[str]) -> pd.DataFrame:
    parts = table_parts(folder)
    if parts == [folder]:
        raise InputError("there are no Parquet files here: name a folder that cofactor export-feedback wrote", folder)
    try:
        tables = [pyarrow.parquet.read_table(part, columns=list(columns)) for part in parts]
        frame: pd.DataFrame = pa.concat_tables(tables).select(list(columns)).to_pandas()
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InputError(f"this was not written by cofactor export-feedback ({error})", folder) from None
    return frame
