"""Parse the events of a new user or item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cofactor.v1.recommender_pb2 import Event, ItemEvent
from cofactor_server.errors import InvalidField, quoted
from cofactor_server.ranking.event_weights import EventColumns, EventType, EventWeights, WeightedItems
from cofactor_server.repository.id_index import IdIndex
from cofactor_server.services.parsing.ids import ITEM_ID, IdField, check_unknown

LARGEST_COUNT = 1e9
# Seconds of the years 1 to 9999, which google.protobuf.Timestamp can express.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
_NANOS = 1_000_000_000
_MOST_TYPES_SHOWN = 8


@dataclass(frozen=True, slots=True, eq=False)
class ParsedEvents:
    """The events of a new user, or those of a new item, in which users take the place of the items.

    Attributes:
        items: the weights of the items that the model knows.
        n_used: number of events of these items.
        missing_ids: items that the model does not know.
    """

    items: WeightedItems
    n_used: int
    missing_ids: Sequence[str]


def parse_events(
    rule: EventWeights,
    ids: IdIndex,
    events: Sequence[Event | ItemEvent],
    field: str,
    *,
    skip_unknown: bool,
    id_field: IdField = ITEM_ID,
) -> ParsedEvents:
    """Weigh the items of events, or what else `id_field` names; `field` is the path of the list, for errors.

    With `skip_unknown` events of unknown items are skipped. Raises InvalidField, or the error of `id_field`.
    """
    rows: list[int] = []
    amounts: list[float] = []
    is_negative: list[bool] = []
    times: list[float] = []
    missing_ids: dict[str, None] = {}
    for index, event in enumerate(events):
        one_id: str = getattr(event, id_field.name)
        row = ids.evidence_row(one_id)
        if row is None:
            check_unknown(one_id, id_field, f"{field}[{index}]", skip_unknown=skip_unknown)
            missing_ids[one_id] = None
        kind = _event_type(rule, event.event_type, field, index)
        rows.append(-1 if row is None else row)
        amounts.append(kind.weight * _count(event, field, index))
        is_negative.append(kind.is_negative)
        times.append(_time(event, field, index))
    item_rows = np.array(rows, dtype=np.int64)
    columns = EventColumns(item_rows, np.array(amounts), np.array(is_negative, dtype=bool), np.array(times))
    weighed = rule.weigh(columns, by_recency=id_field is ITEM_ID)
    return ParsedEvents(weighed, int(np.count_nonzero(item_rows >= 0)), list(missing_ids))


def _event_type(rule: EventWeights, name: str, field: str, index: int) -> EventType:
    kind = rule.types.get(name) or (None if name else rule.only_type)
    if kind is None:
        problem = f"{quoted(name)} is not one of" if name else "is empty; name one of"
        raise InvalidField(f"{field}[{index}].event_type", f"{problem} the types that this model knows: {_list(rule)}")
    return kind


def _list(rule: EventWeights) -> str:
    names = [quoted(name) for name in rule.types if name][:_MOST_TYPES_SHOWN]
    if not names:
        return "none, leave it empty"
    return ", ".join(names) + (", …" if len(rule.types) > len(names) else "")


def _count(event: Event | ItemEvent, field: str, index: int) -> float:
    count = event.count or 1.0
    if not 0 < count <= LARGEST_COUNT:  # also refuses NaN
        raise InvalidField(
            f"{field}[{index}].count", f"must be above 0 and at most {LARGEST_COUNT:g} (0 for once), not {count:g}"
        )
    return count


def _time(event: Event | ItemEvent, field: str, index: int) -> float:
    """Return the time of an event in seconds since 1970, NaN if it has none."""
    if not event.HasField("time"):
        return np.nan
    seconds, nanos = event.time.seconds, event.time.nanos
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < _NANOS):
        raise InvalidField(
            f"{field}[{index}].time",
            f"must be in the years 1 to 9999, as seconds since 1970 and 0 to {_NANOS - 1} nanos, "
            f"not {seconds} s and {nanos} ns",
        )
    return float(seconds + nanos / _NANOS)
