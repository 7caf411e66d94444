"""Test the thread pools that gRPC runs calls in."""

from __future__ import annotations

import threading

from cofactor_server.transport.thread_pools import BoundedPool
from tests.support.waiting import until


def test_a_pool_is_full_when_running_and_waiting_calls_reach_its_limit():
    pool = BoundedPool("test", max_threads=2, max_waiting=3)
    gate, seen = threading.Event(), []
    for number in range(5):
        assert not pool.is_full
        pool.enqueue(lambda number: (gate.wait(10), seen.append(number)), (number,))
    assert pool.is_full
    until(lambda: pool.n_waiting == 3)
    gate.set()
    until(lambda: len(seen) == 5)
    until(lambda: not pool.is_full)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    pool.shutdown()


def test_a_pool_starts_no_more_threads_than_it_has_calls_and_ends_all_of_them():
    pool = BoundedPool("few", max_threads=50)
    threads = lambda: [t for t in threading.enumerate() if t.name.startswith("few-")]  # noqa: E731
    done = threading.Semaphore(0)
    for _ in range(100):
        pool.enqueue(done.release, ())
        assert done.acquire(timeout=10)
        until(lambda: pool.n_calls == 0)
    assert len(threads()) == 1
    pool.shutdown()
    assert threads() == []


def test_calls_queued_before_shutdown_run_and_a_failing_call_ends_no_thread(caplog):
    pool, seen = BoundedPool("test", max_threads=1, max_waiting=100), []
    pool.enqueue(lambda: 1 / 0, ())
    for number in range(50):
        pool.enqueue(seen.append, (number,))
    pool.shutdown()
    assert seen == list(range(50))
    assert not pool.is_full
    assert "ZeroDivisionError" in caplog.text
