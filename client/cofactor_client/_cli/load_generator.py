"""Load generator: measures throughput and latency of Recommend.

One Python process makes a few thousand calls per second. That is enough to check, for example, that a server handles
500 calls per second in 20 ms. To find the maximum of a server, use the faster load generators in benchmarks/serving.
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
    """Throughput, latency and failures of a load.

    Attributes:
        calls: number of calls that succeeded.
        seconds: time from the first call to the last response.
        calls_per_second: calls over seconds.
        latency_ms: latency of the successful calls by quantile ("p50", …), and the longest as "max". With a rate,
            latency is measured from the time at which a call was due.
        failures: number of failed calls by reason or status.
    """

    calls: int
    seconds: float
    calls_per_second: float
    latency_ms: dict[str, float]
    failures: dict[str, int]


@dataclass
class _Tally:
    """Results of the calls so far, from all threads."""

    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


def generate_load(
    client: Client, user_ids: Sequence[str], *, k: int, in_flight: int, rate: float | None, seconds: float
) -> LoadResult:
    """Call Recommend for the users in turn, for some seconds.

    Without a rate, a thread makes its next call when it has received a response (closed loop). With a rate, calls are
    due at fixed times and latency is measured from these times (open loop), so it includes the wait for a slow server.

    Args:
        client: client of the server to measure.
        user_ids: users to call for, in turn.
        k: number of results of each call.
        in_flight: number of threads, which is the highest number of concurrent calls.
        rate: calls per second, or None for as many as possible.
        seconds: how long to start new calls.
    """
    users = itertools.cycle(user_ids)
    turn = threading.Lock()
    tally = _Tally()
    began = time.perf_counter()
    calls = itertools.count()

    def next_call() -> tuple[str, float] | None:
        """Return the next user and the time at which the call is due, or None at the end."""
        with turn:
            due = time.perf_counter() if rate is None else began + next(calls) / rate
            return (next(users), due) if due < began + seconds else None

    threads = [
        threading.Thread(target=_make_calls, args=(client, next_call, k, tally), daemon=True) for _ in range(in_flight)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _summarise(tally, time.perf_counter() - began)


def _make_calls(client: Client, next_call: Callable[[], tuple[str, float] | None], k: int, tally: _Tally) -> None:
    while (call := next_call()) is not None:
        user_id, due = call
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            client.recommend(user_id, k, return_items=False)
        except RpcError as error:
            tally.failures[error.reason or error.status.name] += 1
        else:
            tally.latencies.append(time.perf_counter() - due)


def _summarise(tally: _Tally, seconds: float) -> LoadResult:
    latencies = sorted(tally.latencies)
    latency_of = {f"p{100 * quantile:g}": _quantile(latencies, quantile) for quantile in QUANTILES if latencies}
    if latencies:
        latency_of["max"] = latencies[-1]
    return LoadResult(
        calls=len(latencies),
        seconds=seconds,
        calls_per_second=len(latencies) / seconds,
        latency_ms={name: 1000 * latency for name, latency in latency_of.items()},
        failures=dict(tally.failures),
    )


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
