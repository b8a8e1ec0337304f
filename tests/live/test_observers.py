"""Observers of live handles, and waiting for the next change."""

from __future__ import annotations

import asyncio
import threading

import pytest

from livedb.errors import ClosedError
from tests.waiting import until


def test_an_observer_may_mutate(memory):
    @memory.query
    def inbox(ctx):
        return ctx.db.query("inbox").collect()

    @memory.query
    def done(ctx):
        return ctx.db.count("done")

    @memory.mutation
    def work(ctx):
        for row in ctx.db.query("inbox").collect():
            ctx.db.delete(row._id)
            ctx.db.insert("done", {})

    handle, finished = inbox.live(), done.live()
    handle.observe(lambda h: work() if h.value else None)
    for _ in range(10):
        memory["inbox"].insert({})
    until(lambda: finished.value == 10 and handle.value == [])


def test_an_observer_runs_with_no_lock_held(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle = count.live()
    results = []

    def observer(h):
        other = threading.Thread(
            target=lambda: results.append((memory["a"].insert({"by": "other"}), h.value))
        )
        h.unobserve(observer)
        other.start()
        other.join(10)
        results.append(other.is_alive())

    handle.observe(observer)
    memory["a"].insert({})
    until(lambda: len(results) == 2)
    assert results[1] is False
    assert results[0][1] == 2


def test_unobserve_stops(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle, first, second = count.live(), [], []
    handle.observe(first.append)
    handle.observe(second.append)
    handle.unobserve(first.append)
    memory["a"].insert({})
    until(lambda: second)
    assert first == []


def test_wait_returns_with_the_next_change(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle = count.live()
    assert handle.wait(timeout=0.01) is False
    version = handle.version
    timer = threading.Timer(0.05, lambda: memory["a"].insert({}))
    timer.start()
    assert handle.wait(timeout=10) is True
    assert handle.value == 1
    assert handle.wait(timeout=10, after=version) is True
    timer.join()


def test_closing_ends_a_wait(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle = count.live()
    threading.Timer(0.05, handle.close).start()
    with pytest.raises(ClosedError):
        handle.wait(timeout=10)


def test_async_iteration_gives_the_newest_value_and_ends_when_closed(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle = count.live()

    async def follow():
        seen = []
        async for value in handle.aio():
            seen.append(value)
            if value == 3:
                threading.Timer(0.02, handle.close).start()
            else:
                await asyncio.to_thread(memory["a"].insert, {})
        return seen

    seen = asyncio.run(asyncio.wait_for(follow(), 20))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 3)


@pytest.mark.parametrize("by", ["wait", "aio"])
def test_closing_the_workspace_ends_waits(by):
    import livedb

    db = livedb.open()

    @db.query
    def count(ctx):
        return ctx.db.count("a")

    handle = count.live()
    threading.Timer(0.05, db.close).start()

    async def follow():
        return [value async for value in handle.aio()]

    if by == "wait":
        with pytest.raises(ClosedError):
            handle.wait(timeout=10)
    else:
        assert asyncio.run(asyncio.wait_for(follow(), 10)) == [0]


def test_traits_can_be_observed_by_name(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle, changes = count.live(), []
    handle.observe(lambda change: changes.append((change["old"], change["new"])), names="value")
    memory["a"].insert({})
    assert handle.value == 1
    until(lambda: changes)
    assert changes == [(0, 1)]


def test_observers_never_see_the_number_go_back(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle, seen = count.live(), []
    handle.observe(lambda change: seen.append(change["new"]), names="value")

    def write():
        for _ in range(50):
            memory["a"].insert({})
            _ = handle.value

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handle.value == 200
    shown = list(seen)
    assert len(shown) == len(set(shown))
