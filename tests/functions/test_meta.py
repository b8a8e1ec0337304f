"""`ctx.meta`: what a function learns of its own run."""

from __future__ import annotations

import pytest


def test_a_function_knows_its_name_kind_and_visibility(db):
    @db.query(name="a/b:look", internal=True)
    def look(ctx):
        return ctx.meta.get_function_metadata()

    @db.mutation
    def change(ctx):
        nested = ctx.run_query("a/b:look")
        return [nested, ctx.meta.get_function_metadata()]

    @db.action
    def act(ctx):
        return ctx.meta.get_function_metadata()

    @db.action
    async def act_async(ctx):
        return ctx.meta.get_function_metadata()

    def told(name, kind, visibility="public"):
        return {"name": name, "componentPath": "", "type": kind, "visibility": visibility}

    assert look() == told("a/b:look", "query", "internal")
    assert change() == [told("a/b:look", "query", "internal"), told("change", "mutation")]
    assert act() == told("act", "action")
    assert act_async() == told("act_async", "action")


def test_transaction_metrics_say_what_is_used_and_what_remains(db):
    ids = db["a"].insert([{"n": n} for n in range(3)])

    @db.mutation
    def later(ctx, n: int):
        pass

    @db.mutation
    def work(ctx):
        before = ctx.meta.get_transaction_metrics()
        ctx.db.query("a").collect()
        ctx.db.get(ids[0])
        ctx.db.insert("a", {"n": 3})
        ctx.scheduler.run_after(3600, later, n=1)
        return [before, ctx.meta.get_transaction_metrics()]

    before, after = work()
    assert {each["used"] for each in before.values()} == {0}
    used = {name: each["used"] for name, each in after.items()}
    assert used["documentsRead"] == 4
    assert used["documentsWritten"] >= 1
    assert used["databaseQueries"] >= 2
    assert used["functionsScheduled"] == 1
    assert used["scheduledFunctionArgsBytes"] > 0
    assert used["bytesRead"] > 0
    assert used["bytesWritten"] > 0
    for name, each in after.items():
        assert each["used"] + each["remaining"] == before[name]["remaining"], name
    assert after["documentsRead"]["remaining"] == 32_000 - 4


def test_what_remains_is_at_first_what_a_transaction_may_use(db):
    @db.query
    def whole(ctx):
        return ctx.meta.get_transaction_metrics()

    assert {name: each["remaining"] for name, each in whole().items()} == {
        "bytesRead": 16 << 20,
        "bytesWritten": 16 << 20,
        "databaseQueries": 4_096,
        "documentsRead": 32_000,
        "documentsWritten": 16_000,
        "functionsScheduled": 1_000,
        "scheduledFunctionArgsBytes": 16 << 20,
    }


@pytest.mark.local("counts runs in this process")
def test_a_function_that_looks_at_its_own_run_has_read_nothing(memory):
    @memory.query
    def look(ctx):
        return [ctx.meta.get_function_metadata(), ctx.meta.get_transaction_metrics()]

    handle = look.live()
    runs, value = handle.runs, handle.value
    memory["a"].insert({})
    assert (handle.value, handle.runs) == (value, runs)


def test_the_snapshot_number_is_the_commit_that_is_read(db):
    @db.query
    def number(ctx):
        return ctx.meta.get_snapshot_number()

    before = number()
    db["a"].insert({})
    assert number() == before + 1  # which it would not be had the result been kept


@pytest.mark.local("reads what became of a scheduled function")
def test_a_scheduled_function_knows_the_document_that_it_is_a_run_of(memory):
    @memory.mutation
    def noted(ctx):
        ctx.db.insert("notes", ctx.meta.get_request_metadata())

    @memory.mutation
    def begin(ctx):
        return ctx.scheduler.run_after(0, noted)

    @memory.query
    def noted_jobs(ctx):
        return [note["scheduledFunctionId"] for note in ctx.db.query("notes").collect()]

    notes = noted_jobs.live()
    seen = notes.version
    job = begin()
    while not notes.value:
        assert notes.wait(20, after=seen)
        seen = notes.version
    noted()
    assert notes.value == [job, None]


def test_who_calls_from_a_cell_has_neither_request_nor_scheduled_function(db):
    @db.action
    def act(ctx):
        return ctx.meta.get_request_metadata()

    assert act() == {"requestId": None, "scheduledFunctionId": None}


def test_a_query_does_not_ask_who_requested_it(db):
    """Its result is shared by all who follow it."""

    @db.query
    def curious(ctx):
        return hasattr(ctx.meta, "get_request_metadata")

    assert curious() is False
