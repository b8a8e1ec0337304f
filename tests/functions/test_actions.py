"""Actions: no transaction, each step its own; plain and async; from cells, loops and each other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from queue import SimpleQueue

import pytest

import livedb
from livedb.clock import ManualClock
from livedb.errors import (
    FunctionCancelledError,
    FunctionTimeoutError,
    FunctionTypeError,
    LimitError,
    SchemaDefinitionError,
)
from livedb.functions.call import LOG_LINES_MAX, Call
from livedb.functions.calling import current_call
from livedb.identity import Identity
from tests.waiting import until

ADA = Identity(token_identifier="test|ada", subject="ada", issuer="test")


@pytest.fixture
def counted(memory):
    """A workspace with a query and a mutation for actions to run."""

    @memory.mutation
    def add(ctx, n: int):
        current = current_call()
        if current is not None:
            current.print(f"adding {n}\n")
        ctx.db.insert("a", {"n": n})
        if n < 0:
            raise livedb.ApplicationError("negative")
        return n

    @memory.query
    def total(ctx):
        return sum(row.n for row in ctx.db.query("a"))

    @memory.query
    def who(ctx):
        identity = ctx.auth.get_user_identity()
        return None if identity is None else identity.subject

    return memory


def test_each_mutation_of_an_action_is_a_commit_that_stays_when_the_action_fails(counted):
    @counted.action
    def work(ctx):
        ctx.run_mutation("add", n=1)
        seen = ctx.run_query("total")
        ctx.run_mutation("add", {"n": 2})
        raise RuntimeError(seen)

    before = counted.number
    with pytest.raises(RuntimeError, match="1"):
        work()
    assert counted.number == before + 2
    assert counted.function("total")() == 3


def test_an_async_action_awaits_what_it_runs_and_a_cell_calls_it_like_any_function(counted):
    @counted.action
    async def work(ctx: livedb.AsyncActionContext, upto: int) -> float:
        await asyncio.gather(*(ctx.run_mutation("add", n=n) for n in range(upto)))
        return await ctx.run_query("total")

    assert work(upto=4) == 6

    async def cell():
        return work(upto=4), await work.aio(upto=4)

    assert asyncio.run(cell()) == (12, 18)


def test_an_action_has_no_db_and_its_time_goes_on():
    clock = ManualClock()
    with livedb.open() as db:
        db.backend.workspace.runner._clock = clock

        @db.action
        def work(ctx):
            first = ctx.now
            clock.advance(5)
            return [(ctx.now - first).total_seconds(), hasattr(ctx, "db"), ctx.random.random() < 1]

        assert work() == [5, False, True]


def test_a_query_or_mutation_cannot_run_an_action(counted):
    @counted.action
    def work(ctx):
        return 1

    @counted.mutation
    def outer(ctx):
        return work()

    with pytest.raises(FunctionTypeError, match="cannot run the action 'work'"):
        outer()
    with pytest.raises(FunctionTypeError, match="'work' is an action: call it with"):
        counted.mutation(name="by_kind")(lambda ctx: ctx.run_mutation("work"))()


def test_actions_run_each_other_to_a_depth(counted):
    @counted.action
    def down(ctx, n: int):
        return n if n == 0 else ctx.run_action("down", n=n - 1)

    assert down(7) == 0
    with pytest.raises(LimitError, match="8 levels deep"):
        down(8)


@pytest.mark.local("calls as somebody")
def test_the_identity_of_a_caller_is_a_dict_that_can_be_returned(memory):
    @memory.query
    def who(ctx):
        identity = ctx.auth.get_user_identity()
        return [identity, identity["tokenIdentifier"], identity.tokenIdentifier]

    found = memory.backend.workspace.runner.run_alone(who.definition, {}, Call(identity=ADA))
    assert found == [ADA.to_document(), ADA.token_identifier, ADA.token_identifier]


@pytest.mark.local("the functions of an outer test cannot travel")
def test_what_an_action_runs_is_for_the_same_caller_and_its_lines_are_the_actions(counted):
    @counted.action
    def work(ctx):
        current_call().print("begin")
        ctx.run_mutation("add", n=1)
        return [ctx.auth.get_user_identity().subject, ctx.run_query("who"), db_who()]

    db_who = counted.function("who")
    call = Call(identity=ADA)
    workspace = counted.backend.workspace
    assert workspace.runner.run_alone(work.definition, {}, call) == ["ada", "ada", "ada"]
    assert call.log_lines == ["[LOG] adding 1", "[LOG] begin"]
    assert db_who() is None


def test_a_run_made_again_does_not_say_its_lines_twice_and_their_number_is_bounded(counted):
    call = Call()
    call.print("x\n" * 1000)
    assert len(call.log_lines) == LOG_LINES_MAX + 1
    call.begin_run()
    call.print("a\nb")
    call.end_run()
    assert call.log_lines == ["[LOG] a", "[LOG] b"]


def test_lines_of_what_an_action_runs_count_with_its_own():
    call = Call()
    for _ in range(4):
        nested = call.nested(None)
        nested.print("x\n" * 100)
        nested.end_run()
    assert len(call.log_lines) == LOG_LINES_MAX + 1
    assert call.log_lines[-1] == "[WARN] More than 256 lines; the rest is left out"


def test_a_line_is_cut_at_32768_characters():
    call = Call()
    call.print("x" * 32_769 + "\n")
    call.log("WARN", "é" * 40_000)
    call.print("x" * 40_000)
    call.end_run()
    printed = "[LOG] " + "x" * 32_768
    assert call.log_lines == [printed, "[WARN] " + "é" * 32_768, printed]


def test_an_action_over_its_time_is_refused_at_its_next_step_or_cancelled_where_it_waits():
    with livedb.open(limits=livedb.Limits(action_s_max=0.05)) as db:
        clock = ManualClock()
        db.backend.workspace.runner._clock = clock

        @db.mutation
        def add(ctx):
            ctx.db.insert("a", {})

        @db.action
        def slow(ctx):
            ctx.run_mutation(add)
            clock.advance(1)
            ctx.run_mutation(add)

        @db.action
        async def stuck(ctx):
            await asyncio.Event().wait()

        @db.action
        async def own(ctx):
            raise TimeoutError("of its own")

        with pytest.raises(FunctionTimeoutError, match="slow took longer"):
            slow()
        with pytest.raises(FunctionTimeoutError, match="stuck took longer"):
            stuck()
        with pytest.raises(TimeoutError, match="of its own"):
            own()
        assert db["a"].count() == 1


@pytest.mark.local("calls as somebody; the functions of an outer test cannot travel")
def test_threads_of_an_action_run_for_its_caller_and_within_its_depth(counted):
    @counted.mutation
    def sign(ctx, n: int):
        ctx.db.insert("signed", {"n": n, "by": ctx.auth.get_user_identity().subject})
        return n

    @counted.action
    def plain(ctx):
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda n: ctx.run_mutation(sign, n=n), range(4)))
            job = pool.submit(ctx.scheduler.run_after, 3600, sign, n=9).result()
            pool.submit(ctx.scheduler.cancel, job).result()
            return [*made, pool.submit(ctx.run_query, "who").result()]

    @counted.action
    async def awaited(ctx):
        def in_a_loop_of_its_own():
            return asyncio.run(ctx.run_query("who"))

        return await asyncio.get_running_loop().run_in_executor(None, in_a_loop_of_its_own)

    @counted.action
    def down(ctx, n: int):
        with ThreadPoolExecutor(1) as pool:
            return n and pool.submit(ctx.run_action, "down", n=n - 1).result()

    run = counted.backend.workspace.runner.run_alone
    assert run(plain.definition, {}, Call(identity=ADA)) == [0, 1, 2, 3, "ada"]
    assert run(awaited.definition, {}, Call(identity=ADA)) == "ada"
    assert {row.by for row in counted["signed"].collect()} == {"ada"}
    assert down(7) == 0
    with pytest.raises(LimitError, match="8 levels deep"):
        down(8)


def test_a_thread_of_an_action_commits_nothing_after_its_time_or_its_end():
    with livedb.open(limits=livedb.Limits(action_s_max=60)) as db, ThreadPoolExecutor(1) as pool:
        clock = ManualClock()
        db.backend.workspace.runner._clock = clock
        ended, left = threading.Event(), []

        @db.mutation
        def add(ctx):
            ctx.db.insert("a", {})

        @db.action
        def late(ctx):
            clock.advance(61)
            pool.submit(ctx.run_mutation, add).result()

        @db.action
        def leaves(ctx):
            def work():
                assert ended.wait(20)
                ctx.run_mutation(add)

            left.append(pool.submit(work))
            left.append(pool.submit(copy_context().run, lambda: ended.wait(20) and add()))

        with pytest.raises(FunctionTimeoutError, match="late took longer"):
            late()
        leaves()
        ended.set()
        for each in left:
            with pytest.raises(FunctionTypeError, match="'leaves' has ended"):
                each.result()
        assert db["a"].count() == 0
        add()
        assert db["a"].count() == 1


@pytest.mark.local("holds a snapshot of this process")
def test_threads_of_an_action_called_in_a_snapshot_read_that_commit(counted):
    @counted.action
    def work(ctx):
        with ThreadPoolExecutor(1) as pool:
            return [ctx.run_query("total"), pool.submit(ctx.run_query, "total").result()]

    add = counted.function("add")
    add(n=1)
    with counted.snapshot():
        add(n=2)
        assert work() == [1, 1]
    assert work() == [3, 3]


@pytest.fixture
def watched(counted):
    """Actions of this process, which say when they begin (an event) and how they end (a queue)."""
    home = getattr(counted, "served", counted)  # with a connected one, the process of the service
    begun, ends = threading.Event(), SimpleQueue()

    @home.action
    async def waits(ctx):
        begun.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            await ctx.run_mutation("add", n=1)  # what it does about it
            ends.put(type(error))
            raise

    @home.action
    def works(ctx):
        begun.set()
        try:
            while True:
                ctx.run_query("total")
        except BaseException as error:
            ends.put(type(error))
            raise

    @home.action
    def asks(ctx):
        begun.set()
        while not ctx.is_cancelled():
            pass
        ends.put("asked")

    @home.action
    def around(ctx, inner: str):
        ctx.run_action(inner)

    @home.action
    async def awaits(ctx, inner: str):
        await ctx.run_action(inner)

    return begun, ends


@pytest.fixture
def cancelled(counted, watched):
    """How an action ends when the task that awaits it is cancelled."""
    begun, ends = watched

    def end_of(name, **args):
        async def call():
            task = asyncio.create_task(counted.function(name).aio(**args))
            await asyncio.to_thread(begun.wait, 20)
            begun.clear()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(call())
        return ends.get(timeout=20)

    return end_of


def test_an_async_action_is_cancelled_where_it_waits_when_who_awaits_it_is(counted, cancelled):
    assert cancelled("waits") is asyncio.CancelledError
    assert cancelled("around", inner="waits") is asyncio.CancelledError
    assert cancelled("awaits", inner="waits") is asyncio.CancelledError
    assert counted.function("total")() == 3


def test_a_plain_action_is_refused_its_next_step_when_who_awaits_it_is_cancelled(cancelled):
    assert cancelled("works") is FunctionCancelledError
    assert cancelled("around", inner="works") is FunctionCancelledError
    assert cancelled("awaits", inner="works") is FunctionCancelledError


def test_a_plain_action_may_ask_whether_it_is_cancelled_and_stop_by_itself(cancelled):
    assert cancelled("asks") == "asked"
    assert cancelled("around", inner="asks") == "asked"
    assert cancelled("awaits", inner="asks") == "asked"


def test_an_action_that_a_user_scheduled_may_ask_whether_it_was_cancelled(counted, watched):
    begun, ends = watched

    @counted.mutation
    def start(ctx):
        return ctx.scheduler.run_after(0, "asks")

    @counted.mutation
    def stop(ctx, job: str):
        ctx.scheduler.cancel(job)

    job = start()
    assert begun.wait(20)
    assert ends.empty()
    stop(job=job)
    assert ends.get(timeout=20) == "asked"


def test_an_action_that_is_wanted_is_not_cancelled_and_what_it_leaves_behind_is(counted):
    home = getattr(counted, "served", counted)
    contexts = []

    @home.action
    def act(ctx):
        contexts.append(ctx)
        return ctx.is_cancelled()

    @home.action
    async def awaiting(ctx):
        return await ctx.is_cancelled()

    assert [counted.function("act")(), counted.function("awaiting")()] == [False, False]
    assert contexts[0].is_cancelled()


@pytest.fixture
def interrupted(counted, watched):
    """How an action ends when Ctrl-C comes while the main thread waits for it."""
    begun, ends = watched

    def strike(is_at_work):
        assert begun.wait(20)
        begun.clear()
        until(lambda: is_at_work or main_thread_waits())
        os.kill(os.getpid(), signal.SIGINT)

    def end_of(name, call=None, *, is_at_work=False, **args):
        striking = threading.Thread(target=strike, args=[is_at_work])
        striking.start()
        with pytest.raises(KeyboardInterrupt) as raised:
            (call or counted.function(name))(**args)
        striking.join()
        assert "may or may not" not in str(raised.value)
        return ends.get(timeout=20)

    return end_of


def main_thread_waits():
    """Whether it waits for a future or in an event loop, and sleeps: so that a signal wakes it."""
    main = threading.main_thread()
    frame, names = sys._current_frames()[main.ident], set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    state = Path(f"/proc/self/task/{main.native_id}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "S" and ("select" in names or {"wait", "result"} <= names)


def test_ctrl_c_cancels_an_async_action_where_it_waits(counted, interrupted):
    assert interrupted("waits") is asyncio.CancelledError
    assert interrupted("around", inner="waits") is asyncio.CancelledError
    assert interrupted("awaits", inner="waits") is asyncio.CancelledError
    assert counted.function("total")() == 3


def test_ctrl_c_in_a_cell_whose_loop_stands_still_cancels_an_async_action(counted, interrupted):
    def in_a_cell(name):
        async def cell(**args):
            counted.function(name)(**args)

        def run(**args):
            with closing(asyncio.new_event_loop()) as loop:  # `asyncio.run` keeps Ctrl-C for itself
                loop.run_until_complete(cell(**args))

        return run

    for name, args in (("waits", {}), ("around", {"inner": "waits"})):
        assert interrupted(name, in_a_cell(name), **args) is asyncio.CancelledError
    assert counted.function("total")() == 2


def test_ctrl_c_in_a_cell_that_awaits_an_action_cancels_it(counted, watched):
    begun, ends = watched

    def strike():
        assert begun.wait(20)
        until(main_thread_waits)
        os.kill(os.getpid(), signal.SIGINT)

    async def cell(loop):
        task = asyncio.current_task()
        # As a kernel does it, which wakes no loop.
        signal.signal(signal.SIGINT, lambda *_: loop.call_soon(task.cancel))
        await counted.function("waits").aio()

    before = signal.getsignal(signal.SIGINT)
    striking = threading.Thread(target=strike)
    striking.start()
    try:
        with closing(asyncio.new_event_loop()) as loop, pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(cell(loop))
    finally:
        signal.signal(signal.SIGINT, before)
        striking.join()
    assert ends.get(timeout=20) is asyncio.CancelledError


def test_ctrl_c_ends_a_plain_action_here_and_refuses_its_next_step_on_a_service(
    counted, interrupted
):
    is_remote = hasattr(counted, "served")
    expected = FunctionCancelledError if is_remote else KeyboardInterrupt
    is_at_work = not is_remote  # in the main thread itself
    assert interrupted("works", is_at_work=is_at_work) is expected
    assert interrupted("around", is_at_work=is_at_work, inner="works") is expected


def test_actions_that_wait_keep_no_query_waiting_that_is_awaited(counted):
    home = getattr(counted, "served", counted)
    gate, begun = threading.Event(), threading.Semaphore(0)

    @home.action
    def waits(ctx):
        begun.release()
        assert gate.wait(60)

    async def call():
        acting = [asyncio.create_task(counted.function("waits").aio()) for _ in range(65)]
        for _ in range(64):
            assert await asyncio.to_thread(begun.acquire, timeout=20)
        try:
            async with asyncio.timeout(20):
                return await counted.function("total").aio()
        finally:
            gate.set()
            await asyncio.gather(*acting)

    assert asyncio.run(call()) == 0


def test_only_an_action_may_be_async(memory):
    with pytest.raises(SchemaDefinitionError, match="a mutation is a plain `def`"):

        @memory.mutation
        async def work(ctx): ...

    with pytest.raises(SchemaDefinitionError, match=r"an action is .* without `yield`"):

        @memory.action
        def pieces(ctx):
            yield 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_result_that_nobody_awaited_is_told_as_that(memory, is_async):
    async def later():
        return 1

    async def waits(ctx):
        return later()

    def does_not(ctx):
        return later()

    act = memory.action(waits if is_async else does_not)
    with pytest.raises(livedb.InvalidValueError, match=r"later\(\.\.\)` that nobody awaited"):
        act()
