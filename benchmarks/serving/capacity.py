"""Write docs/capacity.md: formulas for what a machine serves, with constants from a run of the benchmark.

The constants come from some rows of the run. The page compares the formulas with other rows.
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
"""Example price of a core-hour on a general-purpose cloud machine, dollars."""
TWO_LAYOUTS_FROM = 50_000
"""Fewest items of a version that stores its factors by item and by factor (docs/decisions/0004)."""
UTILISATION = 0.6
"""Share of saturation to plan for; queueing then at most doubles the time of a call."""


@dataclass(frozen=True)
class Constants:
    """Costs on one core of the measured machine.

    Attributes:
        call_us: CPU of a call regardless of the catalogue, microseconds.
        item_ns: CPU to score an item for one user in a run of its own, nanoseconds.
        batched_item_ns: the same if calls share a run.
    """

    call_us: float
    item_ns: float
    batched_item_ns: float

    def cpu_us(self, n_items: int, *, batched: bool = False) -> float:
        """Return the CPU time of one Recommend, microseconds."""
        return self.call_us + n_items * (self.batched_item_ns if batched else self.item_ns) / 1000


def constants(results: Results) -> Constants:
    """Compute the constants from batched calls on two catalogues and from unbatched calls on a larger one."""
    small, batched = _cpu(results, "unary/Recommend"), _cpu(results, "100k/batched, 16 in flight")
    n_small, n_batched = catalogue.ML100K.n_items, catalogue.HUNDRED_THOUSAND.n_items
    batched_item_ns = (batched - small) / (n_batched - n_small) * 1000
    call_us = small - n_small * batched_item_ns / 1000
    item_ns = (_cpu(results, "1m/direct, 16 in flight") - call_us) / catalogue.MILLION.n_items * 1000
    return Constants(call_us, item_ns, batched_item_ns)


def table_bytes(size: Catalogue, n_ratings: int, string_bytes: int) -> int:
    """Return the size of tables.bin (docs/model-format.md) for a dot-product model, without the padding to pages."""
    users, items, factors = size.n_users + 1, size.n_items + 1, size.n_factors
    learnt = 4 * (users * (factors + 1) + items * (factors + 3) + (factors + 1) * (factors + 2))
    if size.n_items >= TWO_LAYOUTS_FROM:
        learnt += 4 * items * (factors + 3)
    rated = 8 * users + 8 * n_ratings
    described = 8 * (users + 2 * items) + 8 * items + 4 * size.n_items + 8 * size.n_items + 4 * size.n_items
    return learnt + rated + described + string_bytes


def write(results: Results, servers: Mapping[str, Mapping[str, float]], machine: str, date: str) -> None:
    """Write the page if the run measured the rows that it needs."""
    if any(row not in results for row in NEEDED):
        return
    found = constants(results)
    PAGE.write_text(
        TEXT.format(
            machine=machine,
            date=date,
            call_us=found.call_us,
            item_ns=found.item_ns,
            batched_item_ns=found.batched_item_ns,
            utilisation=UTILISATION,
            price=PRICE,
            rates=_rates(found),
            checks=_checks(found, results),
            memory=_memory(servers),
            example_rate=1e6 / found.cpu_us(10_000, batched=True),
            example_replicas=math.ceil(5_000 * found.cpu_us(10_000, batched=True) / 1e6 / (2 * UTILISATION)) + 1,
            example_cost=found.cpu_us(10_000, batched=True) / 3600 * PRICE / UTILISATION,
        )
    )


def _cpu(results: Results, row: str) -> float:
    return statistics.median(measurement.cpu_us for measurement in results[row])


def _rates(found: Constants) -> str:
    lines = []
    for n_items in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        direct, batched = found.cpu_us(n_items), found.cpu_us(n_items, batched=True)
        cost = batched / 3600 * PRICE / UTILISATION
        lines.append(f"| {n_items:,} | {1e6 / direct:,.0f} | {1e6 / batched:,.0f} | {cost:.3f} |")
    return "\n".join(lines)


def _checks(found: Constants, results: Results) -> str:
    size = catalogue.HUNDRED_THOUSAND.n_items
    rows = [
        ("100,000 items, direct, 16 in flight", found.cpu_us(size), "100k/direct, 16 in flight"),
        ("100,000 items, direct, 1 in flight", found.cpu_us(size), "100k/direct, 1 in flight"),
        ("1,000,000 items, batched, 16 in flight", found.cpu_us(10 * size, batched=True), "1m/batched, 16 in flight"),
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
The cost of a Recommend has a part for the call and a part for every item of the catalogue:

    CPU µs per request = {call_us:.0f} + items x {item_ns:.2f} / 1000     direct: one call per run of the engine
    CPU µs per request = {call_us:.0f} + items x {batched_item_ns:.2f} / 1000     batched: 16 calls in flight or more
    requests/s         = cores x 1,000,000 / CPU µs per request

| items | requests/s per core, direct | batched | dollars per million requests, batched |
|---|---|---|---|
{rates}

The constants come from batched calls on catalogues of 1,682 and 100,000 items (50 and 64 factors) and from direct calls
on 1,000,000 items. Compared with rows that they do not come from:

| | formula µs | measured µs | difference |
|---|---|---|---|
{checks}

The part for an item is the product of a row of the item table and the user's factors. It grows with the number of
factors. It also depends on how much of the table stays in the processor's caches, and other programs on the machine
take cache away. This page was measured without a GPU: the formula is the same there, its constants are not known.

## Memory of a version

    bytes = 4 x [users x (factors + 1) + items x (factors + 3)]      learned tables
          + 4 x items x (factors + 3)                                from 50,000 items on: item factors again, by factor
          + 8 x ratings + 8 x users                                  the ratings of each user
          + 40 x items + 8 x users + bytes of all ids and titles     names, genres, years, counts

| items x factors | formula MiB | tables.bin MiB | server with it loaded, MiB |
|---|---|---|---|
{memory}

tables.bin is memory-mapped: all graphs and all worker processes share one copy in the page cache. The rest of a
server's memory is Python, ONNX Runtime, the dictionaries of ids and, for every worker, working memory for its runs.

## Replicas for a load

    cores    = requests/s x CPU µs per request / 1,000,000 / {utilisation}
    replicas = cores / cores per replica, rounded up, + 1 so that one can fail or restart
    dollars per million requests = CPU µs per request / 3600 x price of a core-hour / {utilisation}

Planning for {utilisation} of saturation leaves room for bursts: in the open loop of the benchmark, the 99th percentile
at half of saturation is a few milliseconds. The price in the table is {price} dollars per core-hour.

Example: 5,000 requests/s on 10,000 items need {example_replicas} replicas of two cores ({example_rate:,.0f} requests/s
per core at saturation) and cost {example_cost:.3f} dollars per million requests.
"""
