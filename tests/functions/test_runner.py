"""Runs: nesting, own writes, conflicts and reruns, arguments and results."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from livedb.clock import ManualClock
from livedb.errors import (
    ArgumentValidationError,
    ConflictError,
    FunctionNotFoundError,
    FunctionTypeError,
    LimitError,
    ReadOnlyError,
    ReturnsValidationError,
    SnapshotTooOldError,
)


def values(db, table="a", field="n"):
    return [row[field] for row in db[table].with_index("by_creation_time").collect()]


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


@pytest.mark.gap(IndexError, "a list of the notebook travels as a copy")
def test_a_context_used_after_its_function_is_refused(memory):
    @memory.query
    def one(ctx):
        return 1

    kept = []

    @memory.mutation
    def keep(ctx):
        kept.append(ctx)

    keep()
    with pytest.raises(FunctionTypeError, match="after its function has returned"):
        kept[0].run_query(one)


# -- own writes ------------------------------------------------------------------------------------


def test_every_read_sees_own_writes(db):
    @db.table("t", indexes={"by_k": ["k"]})
    class T:
        k: int
        name: str

    old = db["t"].insert([{"k": k, "name": f"old{k}"} for k in (1, 2, 3)])

    @db.mutation
    def work(ctx):
        new = ctx.db.insert("t", {"k": 2, "name": "new"})
        ctx.db.patch(old[0], {"k": 9})
        ctx.db.delete(old[2])
        query = ctx.db.query("t").with_index("by_k")
        return {
            "get": [ctx.db.get(each) and ctx.db.get(each).name for each in (*old, new)],
            "collect": [t.name for t in query.collect()],
            "iterate": [t.name for t in query.order("desc")],
            "range": [t.name for t in ctx.db.query("t").with_index("by_k", k=2)],
            "first": query.first().name,
            "take": [t.name for t in query.order("desc").take(2)],
            "unique": ctx.db.query("t").with_index("by_k", k=9).unique().name,
            "page": [t.name for t in query.paginate(num_items=2)["page"]],
            "by_id": len(ctx.db.query("t").with_index("by_id").collect()),
            "filter": [t.name for t in ctx.db.query("t").filter(lambda q: q.eq(q.field("k"), 9))],
            "count": ctx.db.count("t"),
        }

    assert work() == {
        "get": ["old1", "old2", None, "new"],
        "collect": ["old2", "new", "old1"],
        "iterate": ["old1", "new", "old2"],
        "range": ["old2", "new"],
        "first": "old2",
        "take": ["old1", "new"],
        "unique": "old1",
        "page": ["old2", "new"],
        "by_id": 3,
        "filter": ["old1"],
        "count": 3,
    }


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_writing_while_iterating(db, order):
    db["a"].insert([{"n": n} for n in range(6)])

    @db.mutation
    def thin(ctx):
        rows = {row.n: row._id for row in ctx.db.query("a")}
        seen = []
        for row in ctx.db.query("a").order(order):
            seen.append(row.n)
            if row.n == 2:
                ctx.db.delete(rows[3])
                ctx.db.patch(rows[4], {"n": 40})
                ctx.db.patch(row._id, {"n": 20})
        return seen

    # A cursor over an index: what is deleted ahead is gone, what is changed ahead is seen changed.
    assert thin() == ([0, 1, 2, 40, 5] if order == "asc" else [5, 4, 3, 2, 1, 0])
    assert values(db) == [0, 1, 20, 40, 5]


def test_a_document_inserted_while_iterating_is_met_when_it_lies_ahead(memory):
    memory["a"].insert([{"n": n} for n in range(3)])

    @memory.mutation
    def grow(ctx):
        seen = []
        for row in ctx.db.query("a"):
            seen.append(row.n)
            if row.n < 3:
                ctx.db.insert("a", {"n": row.n + 10})
        return seen

    assert grow() == [0, 1, 2, 10, 11, 12]


# -- conflicts -------------------------------------------------------------------------------------


def overtaking(db, *, reads, writes):
    """A mutation that, at its first run, is overtaken by another thread's `writes`."""
    runs = []

    @db.mutation
    def slow(ctx):
        runs.append(1)
        seen = reads(ctx)
        if len(runs) == 1:
            thread = threading.Thread(target=writes)
            thread.start()
            thread.join()
        ctx.db.insert("log", {"seen": seen})
        return seen

    return slow, runs


def test_a_mutation_whose_reads_went_stale_runs_again(limited):
    db = limited(turn_ms_max=1)
    db["log"].insert({"seen": 0})
    row = db["a"].insert({"n": 1})
    slow, runs = overtaking(
        db, reads=lambda ctx: ctx.db.get(row).n, writes=lambda: db["a"].patch(row, {"n": 2})
    )
    assert slow() == 2
    assert len(runs) == 2
    assert values(db, "log", "seen") == [0, 2]


def test_an_empty_range_that_was_filled_is_stale(limited):
    db = limited(turn_ms_max=1)
    db["log"].insert({"seen": 0})
    db["a"].insert({"n": 1})
    slow, runs = overtaking(
        db,
        reads=lambda ctx: len(ctx.db.query("a").filter(lambda q: q.eq(q.field("n"), 9)).collect()),
        writes=lambda: db["a"].insert({"n": 9}),
    )
    assert slow() == 1
    assert len(runs) == 2


def test_blind_inserts_do_not_conflict(limited):
    db = limited(turn_ms_max=1)
    db["log"].insert({"seen": 0})
    slow, runs = overtaking(db, reads=lambda ctx: 0, writes=lambda: db["log"].insert({"seen": 1}))
    slow()
    assert len(runs) == 1
    assert sorted(values(db, "log", "seen")) == [0, 0, 1]


def test_what_lies_beyond_the_last_document_taken_does_not_conflict(limited):
    db = limited(turn_ms_max=1)
    db["log"].insert({"seen": 0})
    db["a"].insert([{"n": n} for n in range(3)])
    slow, runs = overtaking(
        db,
        reads=lambda ctx: [row.n for row in ctx.db.query("a").take(2)],
        writes=lambda: db["a"].insert({"n": 9}),
    )
    assert slow() == [0, 1]
    assert len(runs) == 1


def test_two_first_inserts_into_a_new_table_conflict(limited):
    db = limited(turn_ms_max=1)
    slow, runs = overtaking(db, reads=lambda ctx: 0, writes=lambda: db["log"].insert({"seen": 1}))
    slow()
    assert len(runs) == 2
    assert sorted(values(db, "log", "seen")) == [0, 1]


def test_a_mutation_overtaken_every_time_gives_up(limited):
    db = limited(turn_ms_max=1, conflict_retries_max=2)
    row = db["a"].insert({"n": 0})
    runs = []

    @db.mutation
    def unlucky(ctx):
        runs.append(ctx.db.get(row).n)
        thread = threading.Thread(target=lambda: db["a"].patch(row, {"n": len(runs)}))
        thread.start()
        thread.join()
        ctx.db.patch(row, {"n": -1})

    with pytest.raises(ConflictError) as caught:
        unlucky()
    assert runs == [0, 1, 2]
    assert db["a"].get(row).n == 3
    assert caught.value.code == "OptimisticConcurrencyControlFailure"
    assert caught.value.table == "a"
    assert caught.value.is_transient
    assert "'a' table changed" in str(caught.value)
    assert "on every subsequent retry" in str(caught.value)


@pytest.mark.gap(AssertionError, "a list of the notebook travels as a copy")
def test_errors_of_the_function_are_not_retried(memory):
    runs = []

    @memory.mutation
    def fails(ctx):
        runs.append(1)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        fails()
    assert len(runs) == 1


def test_increments_from_many_threads_all_count(db):
    row = db["a"].insert({"n": 0})

    @db.mutation
    def increment(ctx):
        ctx.db.patch(row, {"n": ctx.db.get(row).n + 1})

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(increment) for _ in range(80)]:
            done.result()
    assert db["a"].get(row).n == 80


# -- arguments and results -------------------------------------------------------------------------


def test_a_result_that_breaks_its_promise_undoes_the_mutation(memory):
    @memory.mutation
    def promise(ctx) -> int:
        ctx.db.insert("a", {"n": 1})
        return "text"

    with pytest.raises(ReturnsValidationError) as caught:
        promise()
    assert caught.value.code == "ReturnsValidationError"
    assert "a" not in memory


def test_an_id_argument_must_be_of_its_table(memory):
    from livedb import Id

    user = memory["users"].insert({"name": "Ann"})
    task = memory["tasks"].insert({"title": "x"})

    @memory.query
    def of(ctx, user: Id["users"]):  # noqa: F821, UP037  # the name of a table
        return ctx.db.get(user).name

    assert of(user=user) == "Ann"
    with pytest.raises(ArgumentValidationError) as caught:
        of(user=task)
    assert caught.value.kind == "TableNamesDoNotMatch"
    with pytest.raises(ArgumentValidationError):
        of.live(user=task)


@pytest.mark.gap(FunctionTypeError, "a function on a service interrupts nobody here")
def test_interrupting_a_mutation_leaves_nothing(memory):
    @memory.mutation
    def interrupted(ctx):
        ctx.db.insert("a", {"n": 1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "a" not in memory
    memory["a"].insert({"n": 2})
    assert values(memory) == [2]


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


def test_a_run_that_keeps_its_snapshot_too_long_is_told_so_once(limited):
    db = limited(snapshot_s_max=0.1, snapshot_keep_s=0.0)
    db["a"].insert({"n": 1})
    runs = []

    @db.query
    def slow(ctx):
        runs.append(ctx.db.query("a").first())
        workspace = db.backend.workspace
        threading.Thread(target=db["a"].insert, args=({"n": 2},)).start()
        while workspace.runner.oldest_active() is not None or workspace.committer.published < 2:
            pass
        number = workspace.committer.published
        workspace.committer.release(number)
        return ctx.db.query("a").collect()

    with pytest.raises(SnapshotTooOldError, match=r"Limits\.snapshot_s_max"):
        slow()
    assert len(runs) == 1


def test_from_80_percent_of_the_time_limit_a_warning_says_so(limited, caplog, monkeypatch):
    db = limited(function_s_max=60.0)
    clock = ManualClock()
    monkeypatch.setattr(db.backend.workspace.runner, "_clock", clock)

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
    "run_query": lambda ctx, made: ctx.run_query("keep"),
    "sql": lambda ctx, made: ctx.db.sql("select 1 as n"),
}


@pytest.mark.parametrize("use", USES_OF_A_KEPT_CTX)
@pytest.mark.parametrize("kind", ["query", "mutation"])
@pytest.mark.gap(IndexError, "a list of the notebook travels as a copy")
def test_a_ctx_kept_after_its_function_is_refused(memory, kind, use):
    made = memory["a"].insert({"n": 1})
    kept = []

    def keep(ctx):
        kept.append(ctx)
        if kind == "mutation":
            ctx.db.insert("b", {})

    getattr(memory, kind)(keep)()
    refusals = (FunctionTypeError, ReadOnlyError)  # a query never writes, SQL is none of a mutation
    with pytest.raises(refusals) as caught:
        USES_OF_A_KEPT_CTX[use](kept[0], made)
    if (kind, use) != ("mutation", "sql") and not (kind == "query" and use in WRITES):
        assert "after its function" in str(caught.value)
    assert values(memory) == [1]


@pytest.mark.gap(IndexError, "a list of the notebook travels as a copy")
def test_a_ctx_kept_by_a_function_that_raised_is_refused(memory):
    kept = []

    @memory.mutation
    def fail(ctx):
        kept.append(ctx)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    with pytest.raises(FunctionTypeError, match="after its function"):
        kept[0].db.insert("a", {"n": 1})


@pytest.mark.parametrize("kind", ["query", "mutation"])
@pytest.mark.gap(IndexError, "a list of the notebook travels as a copy")
def test_an_iteration_begun_in_a_function_does_not_go_on_after_it(memory, kind):
    memory["a"].insert([{"n": 1}, {"n": 2}])
    kept = []

    def begin(ctx):
        kept.append(iter(ctx.db.query("a")))
        return next(kept[0])["n"]

    assert getattr(memory, kind)(begin)() == 1
    with pytest.raises(FunctionTypeError, match="after its function"):
        next(kept[0])


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
