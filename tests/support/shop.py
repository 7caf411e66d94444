"""Events of a shop with two kinds of customers, of which each buys only one half of the items; and one with ratings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

N_CUSTOMERS, N_ITEMS = 60, 40
START, DAY = 1_700_000_000, 86_400
# Flags of `cofactor-train train` for the file of write_events().
EVENT_FLAGS = ("--events", "purchase=3,view=1", "--negative-events", "return", "--half-life", "90d")
TEA = [f"tea{n:02}" for n in range(N_ITEMS // 2)]
TOOLS = [f"tool{n:02}" for n in range(N_ITEMS // 2)]
# The shop with ratings. Its last customers rate nothing, and all return one item.
N_MIXED_CUSTOMERS, N_RATERS, RETURNED = 80, 60, "tool19"
MIXED_FLAGS = ("--feedback", "both", "--events", "view=2,buy=4,review=0.5", "--negative-events", "return")
# Settings of the rating part, so that its training takes a second.
MIXED_SIZES = ("--factors", "8", "--epochs", "10", "--weight-decay", "0.5")


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


def write_mixed_table(path: Path) -> Path:
    """Write views, purchases, returns, and reviews with a rating.

    Customers with an even number view and buy tea, the others tools. All raters review items of both kinds, and all
    rate the first half of each kind 5 or 4 and the second half 1 or 2, whatever they buy: ratings do not tell taste,
    events do not tell quality.
    """
    random = np.random.default_rng(7)
    lines = ["user_id,item_id,event,rating,timestamp"]
    for customer in range(N_MIXED_CUSTOMERS):
        name = f"c{customer:02}"
        items = TOOLS if customer % 2 else TEA
        for place, item in enumerate(random.choice(len(items), 10, replace=False)):
            lines.append(f"{name},{items[item]},view,,{1_700_000_000 + place}")
            if place < 5:
                lines.append(f"{name},{items[item]},buy,,{1_700_000_100 + place}")
        if customer < N_RATERS:
            for item in random.choice(N_ITEMS, 16, replace=False):
                good = item % (N_ITEMS // 2) < N_ITEMS // 4
                rating = random.integers(4, 6) if good else random.integers(1, 3)
                lines.append(f"{name},{[*TEA, *TOOLS][item]},review,{rating},{1_700_001_000 + item}")
        lines.append(f"{name},{RETURNED},return,,1700002000")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
