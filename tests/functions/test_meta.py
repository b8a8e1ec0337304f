"""`ctx.meta`: what a function learns of its own run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import livedb


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
        "filesWritten": 0,
        "fileWriteBytes": 0,
        "filesRead": 0,
        "fileReadBytes": 0,
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

    asked = act()
    assert set(asked) == {"ip", "userAgent", "requestId", "scheduledFunctionId"}
    assert (asked["requestId"], asked["scheduledFunctionId"]) == (None, None)


def test_a_query_does_not_ask_who_requested_it(db):
    """Its result is shared by all who follow it."""

    @db.query
    def curious(ctx):
        return hasattr(ctx.meta, "get_request_metadata")

    assert curious() is False


def test_a_function_knows_the_name_of_its_workspace_and_no_region_or_class(db):
    @db.query
    def asked(ctx):
        return ctx.meta.get_deployment_metadata()

    @db.mutation
    def change(ctx):
        return ctx.meta.get_deployment_metadata()

    @db.action
    def act(ctx):
        return ctx.meta.get_deployment_metadata()

    told = asked()
    assert isinstance(told["name"], str)
    assert told == {"name": told["name"], "region": None, "class": None}
    assert change() == act() == told


@pytest.mark.local("compares with the workspace's own name")
def test_the_name_is_that_of_the_folder(tmp_path):
    with livedb.open(tmp_path / "shop.livedb") as db:

        @db.query
        def name(ctx):
            return ctx.meta.get_deployment_metadata()["name"]

        assert name() == db.backend.workspace.name


def test_a_mutation_may_read_and_write_no_file_and_its_metrics_say_so(db):
    @db.mutation
    def work(ctx):
        return ctx.meta.get_transaction_metrics()

    metrics = work()
    for name in ("filesWritten", "fileWriteBytes", "filesRead", "fileReadBytes"):
        assert metrics[name] == {"used": 0, "remaining": 0}


def test_the_snapshot_timestamp_grows_with_each_commit_and_is_the_same_within_a_run(db):
    @db.query
    def moment(ctx):
        return [ctx.meta.get_snapshot_ts(), ctx.run_query("nested")]

    @db.query
    def nested(ctx):
        return ctx.meta.get_snapshot_ts()

    @db.mutation
    def write(ctx):
        ctx.db.insert("a", {})
        return ctx.meta.get_snapshot_ts()

    before = moment()
    assert before[0] == before[1] == moment()[0]
    assert type(before[0]) is livedb.Int64
    assert write() == before[0]
    assert moment()[0] > before[0]


@pytest.mark.local("compares with the log's own timestamps")
def test_the_snapshot_timestamp_is_the_commits_own_also_in_the_past(db):
    @db.query
    def moment(ctx):
        return [ctx.meta.get_snapshot_number(), ctx.meta.get_snapshot_ts()]

    @db.mutation
    def write(ctx, n: int):
        ctx.db.insert("a", {"n": n})
        return [ctx.meta.get_snapshot_number(), ctx.meta.get_snapshot_ts()]

    log = db.backend.workspace.log
    seen = [write(n=n) for n in range(3)] + [moment()]
    assert [ts for _, ts in seen] == [log.ts_of(number) for number, _ in seen]
    number, ts = seen[1]
    assert db.at(number).function(moment)() == [number, ts]


@pytest.mark.local("makes commits of many threads, whose timestamps the log has")
def test_mutations_on_commits_that_are_not_yet_durable_get_their_timestamps(tmp_path):
    with livedb.open(tmp_path / "w") as db:

        @db.mutation
        def note(ctx, n: int):
            ctx.db.insert("a", {"n": n})
            return [ctx.meta.get_snapshot_number(), ctx.meta.get_snapshot_ts()]

        with ThreadPoolExecutor(8) as pool:
            seen = list(pool.map(lambda n: note(n=n), range(200)))
        log = db.backend.workspace.log
        assert [ts for _, ts in seen] == [log.ts_of(number) for number, _ in seen]


def test_a_call_from_a_cell_came_from_nowhere_and_one_by_a_connection_from_its_client(memory):
    @memory.mutation
    def change(ctx):
        return ctx.meta.get_request_metadata()

    @memory.action
    def act(ctx):
        return ctx.meta.get_request_metadata()

    ip = "127.0.0.1" if hasattr(memory, "served") else None
    for asked in (change(), act()):
        assert asked["ip"] == ip
        assert (asked["userAgent"] is None) == (ip is None)
