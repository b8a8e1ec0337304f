"""Calls handed to the event loop come in order, and cost one wake-up when they gather."""

from __future__ import annotations

import asyncio
import threading

from livedb.service.loop_calls import LoopCalls


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts how often other threads woke it."""

    wake_ups = 0

    def call_soon_threadsafe(self, *args, **kwargs):
        self.wake_ups += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def run(work):
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        return runner.run(work())


def put_from_a_thread(calls, *each):
    thread = threading.Thread(target=lambda: [calls.put(call) for call in each])
    thread.start()
    thread.join()


def test_calls_that_gather_wake_the_loop_once_and_keep_their_order():
    async def work():
        loop = asyncio.get_running_loop()
        calls, made = LoopCalls(loop), []
        before = loop.wake_ups
        put_from_a_thread(calls, *(lambda n=n: made.append(n) for n in range(100)))
        assert made == []
        await asyncio.sleep(0)
        return made, loop.wake_ups - before

    made, wake_ups = run(work)
    assert made == list(range(100))
    assert wake_ups == 1


def test_a_batch_of_calls_wakes_the_loop_once():
    async def work():
        loop = asyncio.get_running_loop()
        calls, made, done = LoopCalls(loop), [], asyncio.Event()
        before = loop.wake_ups
        batch = [lambda n=n: made.append(n) for n in range(100)]
        thread = threading.Thread(target=calls.put, args=(*batch, done.set))
        thread.start()
        await done.wait()
        thread.join()
        return made, loop.wake_ups - before

    made, wake_ups = run(work)
    assert made == list(range(100))
    assert wake_ups == 1


def test_a_call_that_raises_leaves_the_others_due():
    async def work():
        loop = asyncio.get_running_loop()
        reported, made = [], []
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        calls = LoopCalls(loop)
        done = asyncio.Event()
        put_from_a_thread(calls, lambda: 1 / 0, lambda: made.append("second"), done.set)
        await done.wait()
        return reported, made

    reported, made = run(work)
    assert [type(error) for error in reported] == [ZeroDivisionError]
    assert made == ["second"]


def test_a_call_put_by_a_call_is_made():
    async def work():
        calls, done = LoopCalls(asyncio.get_running_loop()), asyncio.Event()
        put_from_a_thread(calls, lambda: calls.put(done.set))
        await done.wait()
        return True

    assert run(work)


def test_what_comes_when_the_loop_has_ended_is_dropped():
    async def work():
        return LoopCalls(asyncio.get_running_loop())

    run(work).put(lambda: None)
