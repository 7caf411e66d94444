"""Measure the feedback log: events a second of RecordEvents beside plain SQLite, and what it costs Recommend.

    python -m benchmarks.feedback [--events 200000] [--calls 20000] [--rounds 3] [--scratch DIR]
        [--output docs/benchmarks/feedback-log.md]

A round measures every way once, in turn. Processor time is counted, because other load on the machine changes it
little; the rate by the clock is beside it. Of a server only its own processor time counts, not that of the clients.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.bulk_predict import serving
from benchmarks.recommend_all import make_version
from cofactor.v1.feedback_pb2 import FeedbackEvent, RecordEventsRequest
from cofactor.v1.recommender_pb2 import RecommendRequest, User
from cofactor_client import Client
from cofactor_server.feedback.database import open_to_write
from cofactor_server.feedback.rows import INSERT_EVENT, EventRow, event_row

EVENTS_PER_CALL, CLIENTS = (500, 20), 8
TARGET = 15_000
PLAIN = "SQLite, executemany"
RPCS = tuple(f"RecordEvents, {size} events a call" for size in EVENTS_PER_CALL)
N_USERS, N_ITEMS = 100_000, 1682


@dataclass
class Measured:
    """Processor microseconds and rates by the clock, of every way by round; and the loads of the machine."""

    processor_us: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)

    def add(self, way: str, processor_s: float, wall_s: float, count: int) -> None:
        """Add a measurement of `count` events or calls."""
        self.processor_us.setdefault(way, []).append(processor_s / count * 1e6)
        self.rates.setdefault(way, []).append(count / wall_s)
        self.loads.append(os.getloadavg()[0])

    def per_core(self, way: str) -> float:
        """Return the median of events a second of one core."""
        return 1e6 / statistics.median(self.processor_us[way])

    def ratio(self, way: str, base: str) -> float:
        """Return the median over the rounds of a way's processor time, relative to that of `base` in the same round."""
        return statistics.median(a / b for a, b in zip(self.processor_us[way], self.processor_us[base], strict=True))


def make_events(number: int, seed: int) -> list[FeedbackEvent]:
    """Return events of random users and items, in the last hour."""
    random = np.random.default_rng(seed)
    users, items = random.integers(0, N_USERS, number).tolist(), random.integers(0, N_ITEMS, number).tolist()
    now_us = time.time_ns() // 1000
    events = []
    for user, item, age_us in zip(users, items, random.integers(0, 3_600_000_000, number).tolist(), strict=True):
        event = FeedbackEvent(user_id=f"customer-{user:06}", item_id=f"item-{item:05}", event_type="view")
        event.time.FromMicroseconds(now_us - age_us)
        event.recommendation_id = f"a3f09c17d2b4-{user:x}{item:x}"
        events.append(event)
    return events


def measure_plain(path: Path, rows: Sequence[EventRow]) -> tuple[float, float]:
    """Write rows as the log does, without the server; return processor and clock seconds."""
    with closing(open_to_write(path)) as connection:
        before, started = _own_seconds(), time.perf_counter()
        for start in range(0, len(rows), EVENTS_PER_CALL[0]):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT_EVENT, rows[start : start + EVENTS_PER_CALL[0]])
            connection.execute("COMMIT")
        return _own_seconds() - before, time.perf_counter() - started


def measure_rpc(server: psutil.Process, client: Client, events: list[FeedbackEvent], size: int) -> tuple[float, float]:
    """Record events by several clients; return the server's processor seconds and the clock's."""
    requests = [RecordEventsRequest(events=events[at : at + size]) for at in range(0, len(events), size)]
    stub = client._transport.feedback

    def send(request: RecordEventsRequest) -> None:
        assert stub.RecordEvents(request, timeout=60).recorded_count == len(request.events)

    return _of_server(server, lambda: _in_threads(send, requests))


def measure_recommend(server: psutil.Process, client: Client, n_calls: int, seed: int) -> tuple[float, float]:
    """Recommend to random users; return the server's processor seconds and the clock's."""
    users = np.random.default_rng(seed).integers(0, N_USERS, n_calls).tolist()
    requests = [RecommendRequest(user=User(user_id=f"user-{user:07}"), page_size=10) for user in users]
    stub = client._transport.recommender
    _in_threads(lambda request: stub.Recommend(request, timeout=60), requests[:500])
    return _of_server(server, lambda: _in_threads(lambda request: stub.Recommend(request, timeout=60), requests))


def _of_server(server: psutil.Process, work: Callable[[], None]) -> tuple[float, float]:
    before, started = sum(server.cpu_times()[:2]), time.perf_counter()
    work()
    wall = time.perf_counter() - started
    time.sleep(0.5)  # the last served lists are written a moment later
    return sum(server.cpu_times()[:2]) - before, wall


def _in_threads(send: Callable[[object], object], requests: Sequence[object]) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in pool.map(send, requests):
            pass


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def run_round(scratch: Path, number: int, arguments: argparse.Namespace, found: Measured) -> None:
    """Measure every way once."""
    rows = [
        event_row("m", event, event.time.ToMicroseconds(), 0) for event in make_events(arguments.events, 100 * number)
    ]
    found.add(PLAIN, *measure_plain(scratch / f"plain{number}.sqlite", rows), len(rows))
    for way, size in zip(RPCS, EVENTS_PER_CALL, strict=True):
        n_events = min(arguments.events, 2000 * size)
        log = scratch / f"log{number}-{size}.sqlite"
        with serving(scratch / "models", "--feedback-log", log) as (server, client):
            events = make_events(n_events, 100 * number + size)
            found.add(way, *measure_rpc(server, client, events, size), n_events)
    for way, flags in (
        ("Recommend, no log", ()),
        (
            "Recommend, 10 % of the lists",
            ("--feedback-log", scratch / f"tenth{number}.sqlite", "--feedback-list-share", "0.1"),
        ),
        ("Recommend, all lists", ("--feedback-log", scratch / f"all{number}.sqlite")),
    ):
        with serving(scratch / "models", *flags) as (server, client):
            found.add(way, *measure_recommend(server, client, arguments.calls, number), arguments.calls)


def page(found: Measured, arguments: argparse.Namespace) -> str:
    """Return the page with the figures."""
    recommends = [way for way in found.processor_us if way.startswith("Recommend")]
    lines = [
        "# The feedback log",
        "",
        "How many events does RecordEvents write, and what do the served lists cost Recommend? "
        f"{arguments.events:,} events of {N_USERS:,} users in each round, {arguments.rounds} rounds, medians. "
        f"`{PLAIN}` writes the same rows with {EVENTS_PER_CALL[0]} in a commit and the same settings, without a "
        f"server. RecordEvents is a server process that {CLIENTS} clients call at once; only the server's processor "
        "time counts. "
        "Every commit is synchronous (`synchronous = FULL`).",
        "",
        f"`python -m benchmarks.feedback` on {platform.machine()}, {os.cpu_count()} cores, at a load of "
        f"{min(found.loads):.0f} to {max(found.loads):.0f}: the rates by the clock are those of a busy machine.",
        "",
        "| way | processor, µs an event | events/s of one core | processor : SQLite alone | events/s by the clock |",
        "|---|---|---|---|---|",
    ]
    for way in (PLAIN, *RPCS):
        times = found.processor_us[way]
        lines.append(
            f"| {way} | {statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) "
            f"| {found.per_core(way):,.0f} | {found.ratio(way, PLAIN):.2f} "
            f"| {statistics.median(found.rates[way]):,.0f} |"
        )
    lines += [
        "",
        f"The target is {TARGET:,} events/s of one core.",
        "",
        "## What it costs Recommend",
        f"{arguments.calls:,} calls of 10 items, {CLIENTS} at a time, {N_ITEMS:,} items, {N_USERS:,} users.",
        "",
        "| server | processor, µs a call | : no log |",
        "|---|---|---|",
    ]
    for way in recommends:
        times = found.processor_us[way]
        lines.append(
            f"| {way.removeprefix('Recommend, ')} | {statistics.median(times):.0f} "
            f"({min(times):.0f} to {max(times):.0f}) | {found.ratio(way, recommends[0]):.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the rounds, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder on the disk to measure (default: a temporary one)")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    found = Measured()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = Path(folder)
        make_version(scratch / "models", N_USERS, N_ITEMS)
        for number in range(arguments.rounds):
            run_round(scratch, number, arguments, found)
    text = page(found, arguments)
    if arguments.output is not None:
        arguments.output.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
