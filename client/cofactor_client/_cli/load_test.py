"""Measures how a server answers Recommend under load.

For the ceiling of a server use a driver that is not Python (benchmarks/serving): one process of this one makes a few
thousand calls a second. For the question "does it answer 500 a second in 20 ms" it is enough.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cofactor_client._client import Client
from cofactor_client.errors import RpcError

QUANTILES = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True)
class LoadResult:
    """What became of the calls.

    Attributes:
        calls: answered.
        seconds: from the first call to the last answer.
        calls_per_second: answered calls over seconds.
        latency_ms: of answered calls by quantile, and the longest as "max"; with a rate, from when a call was due.
        failures: calls that failed, by status or reason.
    """

    calls: int
    seconds: float
    calls_per_second: float
    latency_ms: dict[str, float]
    failures: dict[str, int]


@dataclass
class _Tally:
    """What the threads have seen so far."""

    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


def load(
    client: Client, user_ids: Sequence[str], *, k: int, in_flight: int, rate: float | None, seconds: float
) -> LoadResult:
    """Recommend for the users in turn, for some seconds.

    Without a rate every thread calls again as soon as it has an answer (closed loop). With one, calls are due at
    fixed times whatever the server does, and latency counts from then (open loop): waiting for a slow server is seen.

    Args:
        client: of the server.
        user_ids: asked for in turn.
        k: results of each call.
        in_flight: calls at once, at most.
        rate: calls a second, or None.
        seconds: during which calls begin.
    """
    users = itertools.cycle(user_ids)
    turn = threading.Lock()
    tally = _Tally()
    began = time.perf_counter()
    calls = itertools.count()

    def next_call() -> tuple[str, float] | None:
        """Whom to ask for, and when the call is due; None at the end."""
        with turn:
            due = time.perf_counter() if rate is None else began + next(calls) / rate
            return (next(users), due) if due < began + seconds else None

    threads = [
        threading.Thread(target=_call, args=(client, next_call, k, tally), daemon=True) for _ in range(in_flight)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _result(tally, time.perf_counter() - began)


def _call(client: Client, next_call: Callable[[], tuple[str, float] | None], k: int, tally: _Tally) -> None:
    while (call := next_call()) is not None:
        user_id, due = call
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            client.recommend(user_id, k, return_items=False)
        except RpcError as error:
            tally.failures[error.reason or error.status.name] += 1
        else:
            tally.latencies.append(time.perf_counter() - due)


def _result(tally: _Tally, seconds: float) -> LoadResult:
    latencies = sorted(tally.latencies)
    of = {f"p{100 * quantile:g}": _quantile(latencies, quantile) for quantile in QUANTILES} if latencies else {}
    if latencies:
        of["max"] = latencies[-1]
    return LoadResult(
        calls=len(latencies),
        seconds=seconds,
        calls_per_second=len(latencies) / seconds,
        latency_ms={name: 1000 * latency for name, latency in of.items()},
        failures=dict(tally.failures),
    )


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
