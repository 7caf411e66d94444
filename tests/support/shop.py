"""Events of a shop with two kinds of customers, of which each buys only one half of the items."""

from __future__ import annotations

from pathlib import Path

import numpy as np

N_CUSTOMERS, N_ITEMS = 60, 40
START, DAY = 1_700_000_000, 86_400
# Flags of `cofactor-train train` for the file of write_events().
EVENT_FLAGS = ("--events", "purchase=3,view=1", "--negative-events", "return", "--half-life", "90d")
TEA = [f"tea{n:02}" for n in range(N_ITEMS // 2)]
TOOLS = [f"tool{n:02}" for n in range(N_ITEMS // 2)]


def write_events(path: Path) -> Path:
    """Write a year of views, purchases and returns.

    Customers with an even number view and buy tea, the others tools; all of them view little and return one item.
    """
    random = np.random.default_rng(5)
    lines = ["user_id,item_id,event,count,timestamp"]
    for customer in range(N_CUSTOMERS):
        items = TOOLS if customer % 2 else TEA
        chosen = random.choice(len(items), 9, replace=False)
        for place, item in enumerate(chosen):
            time = START + int(random.integers(365 * DAY))
            lines.append(f"c{customer:02},{items[item]},view,{random.integers(1, 4)},{time}")
            if place < 6:
                lines.append(f"c{customer:02},{items[item]},purchase,1,{time + 60}")
            if place == 0:
                lines.append(f"c{customer:02},{items[item]},return,1,{time + DAY}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
