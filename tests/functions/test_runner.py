"""Runs: own writes, conflicts and reruns, arguments and results."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from livedb.errors import (
    ArgumentValidationError,
    ConflictError,
    FunctionTypeError,
    ReturnsValidationError,
    SnapshotTooOldError,
)


def values(db, table="a", field="n"):
    return [row[field] for row in db[table].with_index("by_creation_time").collect()]


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


def test_errors_of_the_function_are_not_retried(memory):
    runs = []

    @memory.mutation
    def fails(ctx):
        runs.append(1)
        raise KeyError(len(runs))

    for count in ("1", "2"):
        with pytest.raises(KeyError, match=count):
            fails()


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
        workspace.committer.release(number, folded=number)
        return ctx.db.query("a").collect()

    with pytest.raises(SnapshotTooOldError, match=r"Limits\.snapshot_s_max"):
        slow()
    assert len(runs) == 1
