"""Generate millions of events whose structure is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

N_EVENTS, N_USERS, N_ITEMS = 20_000_000, 1_000_000, 500_000
# Users of one group share the items of their group: that is what can be learnt.
N_GROUPS, GROUP_SHARE = 200, 0.7
ACTIVITY, POPULARITY = 2.0, 3.0
NEWEST, SPAN = 1_767_225_600, 365 * 86_400
_ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Size:
    """Number of events, users and items."""

    events: int
    users: int
    items: int

    @classmethod
    def of_share(cls, share: float) -> Size:
        """Return a share of the full size."""
        return cls(*(max(200, round(share * number)) for number in (N_EVENTS, N_USERS, N_ITEMS)))


def write_events(path: Path, size: Size, seed: int = 0) -> None:
    """Write events as text, in chunks. Every user and every item has at least one."""
    random = np.random.default_rng(seed)
    groups = min(N_GROUPS, size.items // 20)
    user_names, item_names = random.permutation(size.users), random.permutation(size.items)
    schema = pa.schema([("user_id", pa.int64()), ("item_id", pa.int64()), ("time", pa.int64())])
    with pyarrow.csv.CSVWriter(path, schema) as writer:
        for start in range(0, size.events, _ROWS_AT_ONCE):
            n = min(_ROWS_AT_ONCE, size.events - start)
            users = (size.users * random.random(n) ** ACTIVITY).astype(np.int64)
            ranks = random.random(n) ** POPULARITY
            # Item i is of group i modulo the number of groups. The rank within a group follows the same law.
            own = (size.items // groups * ranks).astype(np.int64) * groups + users % groups
            items = np.where(random.random(n) < GROUP_SHARE, own, (size.items * ranks).astype(np.int64))
            first = np.arange(start, start + n)
            users[first < size.users] = first[first < size.users]
            items[first < size.items] = first[first < size.items]
            times = NEWEST - random.integers(0, SPAN, n)
            writer.write(pa.table([user_names[users], item_names[items], times], schema=schema))
