"""The pools that gRPC runs calls in."""

from __future__ import annotations

import threading

from cofactor_server.transport.thread_pools import BoundedPool
from tests.support.waiting import until


def test_a_pool_is_full_when_as_many_run_and_wait_as_may():
    pool = BoundedPool("test", threads=2, max_waiting=3)
    gate, seen = threading.Event(), []
    for number in range(5):
        assert not pool.is_full
        pool.submit(lambda number: (gate.wait(10), seen.append(number)), number)
    assert pool.is_full
    until(lambda: pool.n_waiting == 3)
    gate.set()
    until(lambda: len(seen) == 5)
    until(lambda: not pool.is_full)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    pool.shutdown()


def test_a_pool_starts_no_more_threads_than_calls_and_ends_them_all():
    pool = BoundedPool("few", threads=50)
    threads = lambda: [t for t in threading.enumerate() if t.name.startswith("few-")]  # noqa: E731
    done = threading.Semaphore(0)
    for _ in range(100):
        pool.submit(done.release)
        assert done.acquire(timeout=10)
        until(lambda: pool._held == 0)
    assert len(threads()) == 1
    pool.shutdown()
    assert threads() == []


def test_calls_submitted_before_the_end_are_run_and_one_that_fails_ends_no_thread(caplog):
    pool, seen = BoundedPool("test", threads=1, max_waiting=100), []
    pool.submit(lambda: 1 / 0)
    for number in range(50):
        pool.submit(seen.append, number)
    pool.shutdown()
    assert seen == list(range(50))
    assert not pool.is_full
    assert "ZeroDivisionError" in caplog.text
