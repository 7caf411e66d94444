"""docs/capacity.md: what a machine serves, from formulas whose constants a run of the benchmark measured.

The constants come from some rows; the formulas are then held against rows that they were not made from.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.serving import catalogue, tools
from benchmarks.serving.catalogue import Catalogue
from benchmarks.serving.scenarios import Results
from benchmarks.serving.tables import Tables

PAGE = tools.ROOT / "docs/capacity.md"
NEEDED = ("unary/Recommend", "100k/direct, 16 in flight", "100k/batched, 16 in flight", "1m/direct, 16 in flight")
PRICE = 0.04
"""Dollars for an hour of one core of a general-purpose cloud machine; an example to put one's own in place of."""
TWO_LAYOUTS_FROM = 50_000
"""Items from which a version has its factors by item and by factor (docs/decisions/0004)."""
UTILISATION = 0.6
"""Of saturation: queueing then at most doubles the time of a call."""


@dataclass(frozen=True)
class Constants:
    """Of one core of the machine measured.

    Attributes:
        call_us: CPU of a call whatever the catalogue, microseconds.
        item_ns: CPU of an item scored for one user in a call of its own, nanoseconds.
        joined_item_ns: the same where calls are joined.
    """

    call_us: float
    item_ns: float
    joined_item_ns: float

    def cpu_us(self, n_items: int, *, joined: bool = False) -> float:
        """CPU of one Recommend."""
        return self.call_us + n_items * (self.joined_item_ns if joined else self.item_ns) / 1000


def constants(results: Results) -> Constants:
    """From calls that are joined, on a small and a large catalogue, and from calls by themselves on a larger one."""
    small, joined = _cpu(results, "unary/Recommend"), _cpu(results, "100k/batched, 16 in flight")
    n_small, n_joined = catalogue.ML100K.n_items, catalogue.HUNDRED_THOUSAND.n_items
    joined_item_ns = (joined - small) / (n_joined - n_small) * 1000
    call_us = small - n_small * joined_item_ns / 1000
    item_ns = (_cpu(results, "1m/direct, 16 in flight") - call_us) / catalogue.MILLION.n_items * 1000
    return Constants(call_us, item_ns, joined_item_ns)


def table_bytes(size: Catalogue, n_ratings: int, string_bytes: int) -> int:
    """What tables.bin holds (docs/model-format.md), for a dot-product model without its padding to pages."""
    users, items, factors = size.n_users + 1, size.n_items + 1, size.n_factors
    learnt = 4 * (users * (factors + 1) + items * (factors + 3) + (factors + 1) * (factors + 2))
    if size.n_items >= TWO_LAYOUTS_FROM:
        learnt += 4 * items * (factors + 3)
    rated = 8 * users + 8 * n_ratings
    described = 8 * (users + 2 * items) + 8 * items + 4 * size.n_items + 8 * size.n_items + 4 * size.n_items
    return learnt + rated + described + string_bytes


def write(results: Results, servers: Mapping[str, Mapping[str, float]], machine: str, date: str) -> None:
    """Write the page, where the rows it is made from were measured."""
    if any(row not in results for row in NEEDED):
        return
    found = constants(results)
    PAGE.write_text(
        TEXT.format(
            machine=machine,
            date=date,
            call_us=found.call_us,
            item_ns=found.item_ns,
            joined_item_ns=found.joined_item_ns,
            utilisation=UTILISATION,
            price=PRICE,
            rates=_rates(found),
            checks=_checks(found, results),
            memory=_memory(servers),
            example_rate=1e6 / found.cpu_us(10_000, joined=True),
            example_replicas=math.ceil(5_000 * found.cpu_us(10_000, joined=True) / 1e6 / (2 * UTILISATION)) + 1,
            example_cost=found.cpu_us(10_000, joined=True) / 3600 * PRICE / UTILISATION,
        )
    )


def _cpu(results: Results, row: str) -> float:
    return statistics.median(each.cpu_us for each in results[row])


def _rates(found: Constants) -> str:
    lines = []
    for n_items in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        direct, joined = found.cpu_us(n_items), found.cpu_us(n_items, joined=True)
        cost = joined / 3600 * PRICE / UTILISATION
        lines.append(f"| {n_items:,} | {1e6 / direct:,.0f} | {1e6 / joined:,.0f} | {cost:.3f} |")
    return "\n".join(lines)


def _checks(found: Constants, results: Results) -> str:
    size = catalogue.HUNDRED_THOUSAND.n_items
    rows = [
        ("100,000 items, direct, 16 in flight", found.cpu_us(size), "100k/direct, 16 in flight"),
        ("100,000 items, direct, 1 in flight", found.cpu_us(size), "100k/direct, 1 in flight"),
        ("1,000,000 items, joined, 16 in flight", found.cpu_us(10 * size, joined=True), "1m/batched, 16 in flight"),
    ]
    lines = []
    for name, expected, row in rows:
        if row in results:
            measured = _cpu(results, row)
            lines.append(f"| {name} | {expected:,.0f} | {measured:,.0f} | {expected / measured - 1:+.0%} |")
    return "\n".join(lines)


def _memory(servers: Mapping[str, Mapping[str, float]]) -> str:
    lines = []
    named = {catalogue.ML100K: "cofactor", catalogue.HUNDRED_THOUSAND: None, catalogue.MILLION: None}
    for size, server in named.items():
        tables = Tables(catalogue.write(size, tools.CACHE))
        strings = sum(len(tables.array(f"{name}.bytes")) for name in ("user_ids", "item_ids", "item_titles"))
        expected = table_bytes(size, len(tables.array("rated.item_rows")), strings) / 2**20
        actual = tables.size_bytes / 2**20
        facts = servers.get(server or f"cofactor-{size.name}-direct", {})
        used = facts.get("proportional")
        lines.append(
            f"| {size.n_items:,} x {size.n_factors} | {expected:,.1f} | {actual:,.1f} | "
            + (f"{used:,.0f} |" if used else "|")
        )
    return "\n".join(lines)


TEXT = """# Capacity

Written by `python -m benchmarks.serving.run` on {date} from [the benchmark](benchmarks/serving.md); do not edit.
Machine: {machine}.

## Requests per second of one core
A Recommend costs a part for the call and a part for every item of the catalogue:

    CPU µs per request = {call_us:.0f} + items x {item_ns:.2f} / 1000     each by itself
    CPU µs per request = {call_us:.0f} + items x {joined_item_ns:.2f} / 1000     joined: 16 in flight or more
    requests/s         = cores x 1,000,000 / CPU µs per request

| items | requests/s and core, direct | joined | dollars per million requests, joined |
|---|---|---|---|
{rates}

The constants come from joined calls on catalogues of 1,682 and 100,000 items (50 and 64 factors) and from calls by
themselves on 1,000,000.
Held against rows that they were not made from:

| | formula µs | measured µs | difference |
|---|---|---|---|
{checks}

The part for an item is a row of the item table times the user: it grows with the number of factors, and depends on how
much of the table stays in the processor's caches, which other work on the machine empties.
No GPU was at hand for this page: the formula is the same, its constants are to be measured there.

## Memory of a version

    bytes = 4 x [users x (factors + 1) + items x (factors + 3)]      learnt tables
          + 4 x items x (factors + 3)                                from 50,000 items on: the same by factor
          + 8 x ratings + 8 x users                                  what each user rated
          + 40 x items + 8 x users + bytes of all ids and titles     names, genres, years, counts

| items x factors | formula MiB | tables.bin MiB | server with it loaded, MiB |
|---|---|---|---|
{memory}

tables.bin is memory-mapped: all graphs and all worker processes share one copy in the page cache. What a server takes
beyond it is Python, ONNX Runtime, the dictionaries of ids and, per worker, scratch for its runs.

## Replicas for a load

    cores    = requests/s x CPU µs per request / 1,000,000 / {utilisation}
    replicas = cores / cores per replica, rounded up, + 1 so that one may fail or restart
    dollars per million requests = CPU µs per request / 3600 x price of a core-hour / {utilisation}

{utilisation} of saturation leaves room for bursts: in the open loop of the benchmark the 99th percentile at half of
saturation is a few milliseconds. The price in the table is {price} dollars per core and hour.

Example: 5,000 requests/s on 10,000 items need {example_replicas} replicas of two cores ({example_rate:,.0f} requests/s
per core at saturation) and cost {example_cost:.3f} dollars per million requests.
"""
