"""Calls inside a run: nesting, limits, a `ctx` that outlives its function, tracebacks."""

from __future__ import annotations

import asyncio
import logging
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from livedb.clock import ManualClock
from livedb.errors import (
    ArgumentValidationError,
    FunctionNotFoundError,
    FunctionTypeError,
    LimitError,
    ReadOnlyError,
)


def values(db):
    return [row["n"] for row in db["a"].with_index("by_creation_time").collect()]


# -- nesting ---------------------------------------------------------------------------------------


def test_a_nested_mutation_sees_and_adds_to_the_callers_writes(db):
    @db.mutation
    def inner(ctx):
        ctx.db.insert("a", {"n": ctx.db.count("a")})

    @db.mutation
    def outer(ctx):
        ctx.db.insert("a", {"n": 0})
        inner()
        ctx.run_mutation(inner)
        ctx.run_mutation("inner")
        return [row.n for row in ctx.db.query("a")]

    before = db.number
    assert outer() == [0, 1, 2, 3]
    assert values(db) == [0, 1, 2, 3]
    assert db.number == before + 1


def test_only_a_nested_mutations_own_writes_are_undone(db):
    kept = db["a"].insert({"n": 0})

    @db.mutation
    def inner(ctx):
        ctx.db.patch(kept, {"n": 100})
        ctx.db.insert("a", {"n": 101})
        ctx.db.insert("new", {"n": 102})
        raise ValueError("no")

    @db.mutation
    def outer(ctx):
        ctx.db.patch(kept, {"n": 1})
        ctx.db.insert("a", {"n": 2})
        list(ctx.db.query("a"))  # makes the order of own writes that the rollback must redo
        with pytest.raises(ValueError, match="no"):
            inner()
        seen = [row.n for row in ctx.db.query("a").with_index("by_id").collect()]
        ctx.db.insert("a", {"n": 3})
        return sorted(seen)

    assert outer() == [1, 2]
    assert values(db) == [1, 2, 3]
    assert "new" not in db


def test_when_the_caller_raises_nothing_of_the_nested_one_stays(db):
    @db.mutation
    def inner(ctx):
        ctx.db.insert("a", {"n": 1})

    @db.mutation
    def outer(ctx):
        inner()
        raise ValueError("all of it")

    with pytest.raises(ValueError, match="all of it"):
        outer()
    assert "a" not in db


def test_a_query_inside_a_mutation_sees_its_writes(memory):
    @memory.query
    def total(ctx):
        return sum(row.n for row in ctx.db.query("a"))

    @memory.mutation
    def add(ctx):
        ctx.db.insert("a", {"n": 5})
        return total(), ctx.run_query(total), ctx.run_query("total")

    assert add() == [5, 5, 5]


def test_a_mutation_inside_a_query_inside_a_mutation_is_refused(memory):
    @memory.mutation
    def write(ctx):
        ctx.db.insert("a", {"n": 1})

    @memory.query
    def sneaky(ctx):
        write()

    @memory.mutation
    def outer(ctx):
        sneaky()

    with pytest.raises(FunctionTypeError, match="queries only read"):
        outer()
    assert "a" not in memory


def test_functions_are_called_by_their_kind(memory):
    @memory.query
    def read(ctx):
        return 1

    @memory.mutation
    def write(ctx):
        return ctx.run_mutation(read)

    with pytest.raises(FunctionTypeError, match="'read' is a query"):
        write()

    @memory.mutation
    def other(ctx):
        return ctx.run_query("nowhere")

    with pytest.raises(FunctionNotFoundError, match="'nowhere'"):
        other()


def test_the_call_depth_is_bounded(memory):
    @memory.mutation
    def down(ctx, left: int) -> int:
        return 0 if left == 0 else 1 + down(left=left - 1)

    assert down(left=7) == 7
    with pytest.raises(LimitError) as caught:
        down(left=8)
    assert caught.value.code == "MaximumCallDepthExceeded"


def test_a_mutation_of_another_workspace_is_refused_inside_a_function(limited):
    db, other = limited(), limited()

    @other.mutation
    def write(ctx):
        ctx.db.insert("a", {})

    @db.mutation
    def outer(ctx):
        write()

    with pytest.raises(FunctionTypeError, match="another workspace"):
        outer()


# -- limits --------------------------------------------------------------------------------------


def test_a_result_that_is_kept_is_bounded(limited, caplog):
    db = limited(result_bytes_max=1000)

    @db.query
    def text_of(ctx, length: int) -> str:
        return "x" * length

    assert len(text_of(length=5000)) == 5000  # handed over, not kept
    handle = text_of.live(length=5000)
    assert isinstance(handle.error, LimitError)
    assert handle.error.code == "ResultTooLarge"
    assert "Limits.result_bytes_max" in str(handle.error)
    with caplog.at_level(logging.WARNING, logger="livedb"):
        assert len(text_of.live(length=900).value) == 900
    assert "text_of used 902 of at most 1000 bytes of result" in caplog.messages


def test_from_80_percent_of_the_time_limit_a_warning_says_so(limited, caplog, monkeypatch):
    db = limited(function_s_max=60.0)
    clock = ManualClock()
    monkeypatch.setattr(db.backend.workspace.calling, "_clock", clock)

    @db.query
    def slow(ctx):
        clock.advance(48.0)

    with caplog.at_level(logging.WARNING, logger="livedb"):
        slow()
    assert caplog.messages == ["slow used 48 of at most 60 seconds"]


# -- a ctx that outlives its function --------------------------------------------------------------

WRITES = ("insert", "insert_new", "patch", "replace", "delete")

USES_OF_A_KEPT_CTX = {
    "insert": lambda ctx, made: ctx.db.insert("a", {"n": 2}),
    "insert_new": lambda ctx, made: ctx.db.insert("new", {"n": 2}),
    "patch": lambda ctx, made: ctx.db.patch(made, {"n": 2}),
    "replace": lambda ctx, made: ctx.db.replace(made, {"n": 2}),
    "delete": lambda ctx, made: ctx.db.delete(made),
    "get": lambda ctx, made: ctx.db.get(made),
    "collect": lambda ctx, made: ctx.db.query("a").collect(),
    "iterate": lambda ctx, made: list(ctx.db.query("a")),
    "missing": lambda ctx, made: ctx.db.query("missing").first(),
    "count": lambda ctx, made: ctx.db.count("a"),
    "sql": lambda ctx, made: ctx.db.sql("select 1 as n"),
}


@pytest.mark.parametrize("use", USES_OF_A_KEPT_CTX)
@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_a_ctx_kept_after_its_function_is_refused(memory, kind, use):
    made = memory["a"].insert({"n": 1})
    kept, used = [], USES_OF_A_KEPT_CTX[use]

    def keep(ctx):
        if kept:
            used(kept[0], made)
        kept.append(ctx)
        if kind == "mutation":
            ctx.db.insert("b", {})

    function = getattr(memory, kind)(keep)
    function()
    refusals = (FunctionTypeError, ReadOnlyError)  # a query never writes, SQL is none of a mutation
    with pytest.raises(refusals) as caught:
        function()
    if (kind, use) != ("mutation", "sql") and not (kind == "query" and use in WRITES):
        assert "after its function" in str(caught.value)
    assert values(memory) == [1]


@pytest.mark.local("a ctx outside of every run is in this process alone")
def test_a_ctx_kept_after_its_function_calls_nothing(memory):
    kept = []

    @memory.query
    def keep(ctx) -> None:
        kept.append(ctx)

    keep()
    with pytest.raises(FunctionTypeError, match="after its function"):
        kept[0].run_query("keep")


def test_a_ctx_kept_by_a_function_that_raised_is_refused(memory):
    kept = []  # beside the function, wherever that runs

    @memory.mutation
    def fail(ctx):
        if kept:
            kept[0].db.insert("a", {"n": 1})
        kept.append(ctx)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    with pytest.raises(FunctionTypeError, match="after its function"):
        fail()


@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_an_iteration_begun_in_a_function_does_not_go_on_after_it(memory, kind):
    memory["a"].insert([{"n": 1}, {"n": 2}])
    kept = []

    def begin(ctx):
        if not kept:
            kept.append(iter(ctx.db.query("a")))
        return next(kept[0])["n"]

    function = getattr(memory, kind)(begin)
    assert function() == 1
    with pytest.raises(FunctionTypeError, match="after its function"):
        function()


# -- tracebacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["query", "mutation"])
@pytest.mark.gap(AssertionError, "the frames of a function on a service stay there")
def test_the_traceback_of_a_users_error_is_of_their_own_code(memory, kind):
    def divide():
        return 1 / 0

    def inner(ctx):
        return divide()

    inner_function = getattr(memory, kind)(inner)

    def outer(ctx):
        return inner_function()

    with pytest.raises(ZeroDivisionError) as caught:
        getattr(memory, kind)(outer)()
    names = [each.name for each in traceback.extract_tb(caught.value.__traceback__)]
    assert names[1:] == ["outer", "inner", "divide"]


@pytest.mark.gap(AssertionError, "the frames of a function on a service stay there")
def test_an_awaited_call_trims_its_traceback_as_a_direct_one_does(memory):
    def divide():
        return 1 / 0

    @memory.query
    def outer(ctx):
        return divide()

    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(outer.aio())
    names = [each.name for each in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["outer", "divide"]
    assert not {"aio", "run_async", "_run_alone", "_invoke"}.intersection(names)


def test_an_error_of_livedb_itself_keeps_its_frames(memory):
    @memory.query
    def echo(ctx, n: int):
        return n

    with pytest.raises(ArgumentValidationError) as caught:
        echo("x")
    names = [each.name for each in traceback.extract_tb(caught.value.__traceback__)]
    assert "check_arguments" in names


def test_a_function_cannot_leave_the_process(memory):
    @memory.mutation
    def leave(ctx):
        ctx.db.insert("items", {"a": 1})
        raise SystemExit(1)

    @memory.query
    def left(ctx):
        raise SystemExit(1)

    with pytest.raises(FunctionTypeError, match="raised SystemExit"):
        leave()
    with pytest.raises(FunctionTypeError, match="raised SystemExit"):
        left()
    assert isinstance(left.live().error, FunctionTypeError)


@pytest.mark.local("a service runs no function on its main thread")
@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_a_keyboard_interrupt_that_no_signal_made_is_an_error_of_its_function(memory, kind):
    @getattr(memory, kind)
    def leave(ctx):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as elsewhere:
        error = elsewhere.submit(leave).exception()
    assert isinstance(error, FunctionTypeError)
    assert "raised KeyboardInterrupt" in str(error)
    with pytest.raises(KeyboardInterrupt):  # here it cannot be told from Ctrl-C
        leave()
