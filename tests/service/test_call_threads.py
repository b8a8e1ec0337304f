"""Calls run in order on one thread; who holds it up gets company."""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue

import pytest

from livedb.clock import SystemClock
from livedb.service import call_threads
from livedb.service.call_threads import CallThreads

WAIT_S = 20
THREADS_MAX = 64


@pytest.fixture
def threads():
    """Of a loop that runs on a thread of its own; called there."""
    loop = asyncio.new_event_loop()
    runner = threading.Thread(target=loop.run_forever)
    runner.start()
    made = CallThreads(loop, SystemClock(), name="test", threads_max=THREADS_MAX)

    class OnLoop:
        pool = made

        @staticmethod
        def put(*calls):
            loop.call_soon_threadsafe(lambda: [made.put(call) for call in calls])

    yield OnLoop
    loop.call_soon_threadsafe(made.close)
    loop.call_soon_threadsafe(loop.stop)
    runner.join()
    loop.close()


def test_calls_that_come_together_run_in_order_on_one_thread(threads, monkeypatch):
    monkeypatch.setattr(call_threads, "HELD_UP_S", 1e6)
    ran = SimpleQueue()
    threads.put(*(lambda n=n: ran.put((n, threading.current_thread())) for n in range(100)))
    found = [ran.get(timeout=WAIT_S) for _ in range(100)]
    assert [n for n, _ in found] == list(range(100))
    assert len({thread for _, thread in found}) == 1


def test_calls_one_after_the_other_share_a_thread(threads):
    ran = SimpleQueue()
    for _ in range(20):
        threads.put(lambda: ran.put(threading.current_thread()))
        ran.get(timeout=WAIT_S)
    assert len(threads.pool._threads) <= 2  # the first may not be idle yet when the second comes


def test_calls_that_wait_for_each_other_all_run(threads):
    together = threading.Barrier(THREADS_MAX)
    ran = SimpleQueue()
    threads.put(*(lambda: ran.put(together.wait(timeout=WAIT_S)) for _ in range(THREADS_MAX)))
    assert len({ran.get(timeout=WAIT_S) for _ in range(THREADS_MAX)}) == THREADS_MAX
    assert len(threads.pool._threads) == THREADS_MAX


def test_a_call_that_hangs_does_not_hold_up_what_comes_later(threads):
    gate, ran = threading.Event(), SimpleQueue()
    threads.put(lambda: gate.wait(timeout=WAIT_S))
    for n in range(20):
        threads.put(lambda n=n: ran.put(n))
        assert ran.get(timeout=WAIT_S) == n
    gate.set()


def test_a_call_that_raises_is_logged_and_the_next_one_runs(threads, caplog):
    ran = SimpleQueue()
    threads.put(lambda: 1 / 0, lambda: ran.put(1))
    assert ran.get(timeout=WAIT_S) == 1
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_after_close_nothing_runs_and_the_threads_end(threads):
    ran, closed = SimpleQueue(), threading.Event()
    threads.put(lambda: ran.put(1))
    ran.get(timeout=WAIT_S)

    def late():
        threads.pool.close()
        threads.pool.put(lambda: ran.put(2))
        closed.set()

    threads.pool._loop.call_soon_threadsafe(late)
    assert closed.wait(WAIT_S)
    for thread in threads.pool._threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert ran.empty()
