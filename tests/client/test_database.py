"""`db`: SQL, in and out, threads, asyncio, closing and opening again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import livedb
from livedb.errors import (
    ClosedError,
    FunctionTypeError,
    LoadError,
    ReadOnlyError,
    SchemaDefinitionError,
    SqlError,
)

# -- what is refused with advice -------------------------------------------------------------------


def test_an_open_workspace_is_not_opened_with_other_limits_silently(tmp_path):
    limits = livedb.Limits(documents_read_max=10)
    with livedb.open(tmp_path / "w", limits=limits) as db:
        with pytest.raises(livedb.WorkspaceError, match=r"documents_read_max=20 \(now 10\)\. Call"):
            livedb.open(tmp_path / "w", limits=livedb.Limits(documents_read_max=20))
        assert livedb.open(tmp_path / "w", limits=livedb.Limits(documents_read_max=10)) is db
        assert livedb.open(tmp_path / "w") is db
    with livedb.open(tmp_path / "w", limits=livedb.Limits(documents_read_max=20)):
        pass


# -- tables ----------------------------------------------------------------------------------------


def test_names_are_listed_and_completed(memory):
    for name in ("tasks", "users"):
        memory[name].insert({})
    assert memory.tables == ["tasks", "users"]
    assert memory._ipython_key_completions_() == ["tasks", "users"]
    assert list(memory) == ["tasks", "users"]
    assert "tasks" in memory
    assert "nope" not in memory


def test_a_dropped_table_is_gone_and_may_come_back(db):
    db["tasks"].insert({"n": 1})
    db.drop_table("tasks")
    assert "tasks" not in db
    assert db["tasks"].collect() == []
    with pytest.raises(SchemaDefinitionError, match="no table 'tasks' to drop"):
        db.drop_table("tasks")
    db["tasks"].insert({"n": 2})
    assert [row["n"] for row in db["tasks"].order("asc")] == [2]
    assert [row["n"] for row in db.sql("select n from tasks")] == [2]


# -- SQL -------------------------------------------------------------------------------------------


def test_sql_sees_every_commit_and_takes_parameters(db):
    db["a"].insert([{"n": n} for n in range(5)])
    assert [
        row["n"] for row in db.sql("select n from a where n > $low order by n", {"low": 2})
    ] == [
        3,
        4,
    ]
    result = db.sql("select n from a where n between ? and ? order by n", [1, 2])
    assert len(result) == 2
    assert result.number == db.number
    assert result.df["n"].tolist() == [1, 2]
    db["a"].insert({"n": 9})
    assert len(result) == 2
    assert len(db.sql("select * from a")) == 6
    with pytest.raises(SqlError):
        db.sql("select nonsense")
    with pytest.raises(SqlError):
        db.sql("delete from a")


# -- in and out ------------------------------------------------------------------------------------


def test_a_load_and_an_export_round_trip(db, tmp_path):
    result = db.load("a", [{"n": n, "text": f"t{n}"} for n in range(100)])
    assert (result.table, result.rows, result.number) == ("a", 100, db.number)
    assert "100 rows into 'a'" in repr(result)
    exported = db.export("a", tmp_path / "a.parquet")
    assert exported.rows == 100
    with livedb.open() as other:
        other.load("a", exported.path, ids="keep")
        assert other["a"].collect() == db["a"].collect()
    with pytest.raises(LoadError):
        db.export("a", tmp_path / "a.parquet")
    with pytest.raises(LoadError, match="ids is"):
        db.load("a", [], ids="other")


def test_a_load_touches_every_reader(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    @memory.query
    def first(ctx):
        return [row.n for row in ctx.db.query("a").take(1)]

    memory["a"].insert({"n": -1})
    handles = count.live(), first.live()
    memory["a"].load([{"n": n} for n in range(10)])
    assert [handle.value for handle in handles] == [11, [-1]]
    assert [handle.runs for handle in handles] == [2, 2]


# -- threads and asyncio ---------------------------------------------------------------------------


@pytest.fixture
def counter(db):
    row = db["counters"].insert({"n": 0})

    @db.mutation
    def add(ctx, by: int = 1) -> int:
        n = ctx.db.get(row).n + by
        ctx.db.patch(row, {"n": n})
        return n

    @db.query
    def current(ctx) -> int:
        return ctx.db.get(row).n

    return add, current


def test_calls_from_threads(counter):
    add, current = counter
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: add(), range(60)))
    assert sorted(results) == list(range(1, 61))
    assert current() == 60


def test_calls_from_asyncio(counter):
    add, current = counter

    async def main():
        results = await asyncio.gather(*(add.aio(by=2) for _ in range(20)))
        return sorted(results), await current.aio()

    results, last = asyncio.run(main())
    assert results == list(range(2, 41, 2))
    assert last == 40


def test_errors_reach_whoever_awaits(memory):
    @memory.mutation
    def fails(ctx):
        raise livedb.ApplicationError("mine")

    with pytest.raises(livedb.ApplicationError, match="mine"):
        asyncio.run(fails.aio())


def test_aio_inside_a_function_is_refused(memory):
    @memory.query
    def inner(ctx):
        return 1

    @memory.query
    def outer(ctx):
        coroutine = inner.aio()
        return asyncio.run(coroutine)

    with pytest.raises(FunctionTypeError, match="outside of queries"):
        outer()


@pytest.mark.local("its function waits for an event of this process")
def test_a_query_does_not_wait_for_a_mutation_in_progress(memory):
    memory["a"].insert({"n": 1})
    inside, leave = threading.Event(), threading.Event()

    @memory.mutation
    def slow(ctx):
        ctx.db.insert("a", {"n": 2})
        inside.set()
        assert leave.wait(10)

    thread = threading.Thread(target=slow)
    thread.start()
    assert inside.wait(10)
    assert memory["a"].count() == 1
    assert len(memory.sql("select * from a")) == 1
    leave.set()
    thread.join()
    assert memory["a"].count() == 2


# -- life ------------------------------------------------------------------------------------------


def test_a_closed_workspace_refuses_everything(db):
    @db.query
    def read(ctx):
        return 1

    @db.mutation
    def write(ctx):
        ctx.db.insert("a", {})

    db["a"].insert({"n": 1})
    db.close()
    db.close()
    for call in (
        read,
        write,
        read.live,
        lambda: db["a"].insert({}),
        db["a"].collect,
        db["a"].live,
        lambda: db.sql("select 1"),
        lambda: db.load("a", [{"n": 1}]),
        lambda: db.query(lambda ctx: 1),
        lambda: db.drop_table("a"),
        lambda: db.push(livedb.define_schema({"b": livedb.define_table({})})),
        lambda: asyncio.run(read.aio()),
        lambda: asyncio.run(write.aio()),
    ):
        with pytest.raises(ClosedError) as caught:
            call()
        assert caught.value.code == "Closed"
    assert repr(db).endswith(": closed>")


def test_opening_twice_gives_the_same_workspace(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db["a"].insert({"n": 1})
        assert livedb.open(tmp_path / "w") is db
        assert livedb.open(str(tmp_path / "." / "w")) is db
    assert livedb.open() is not livedb.open()


def test_what_was_written_is_there_after_opening_again(tmp_path):
    with livedb.open(tmp_path / "w") as db:

        @db.table("tasks", indexes={"by_rank": ["rank"]}, unique={"by_title": ["title"]})
        class Task:
            title: str
            rank: int = 0

        ids = db["tasks"].insert([{"title": f"t{n}", "rank": -n} for n in range(5)])
        db["tasks"].delete(ids[0])
        number = db.number
        schema = db["tasks"].schema
    with livedb.open(tmp_path / "w") as db:
        assert db.number == number
        assert db["tasks"].schema == schema
        assert [t.rank for t in db["tasks"].with_index("by_rank")] == [-4, -3, -2, -1]
        with pytest.raises(livedb.UniqueError):
            db["tasks"].insert({"title": "t1"})
        new = db["tasks"].insert({"title": "new"})
        assert new not in ids
        assert db["tasks"].get(new)["_creationTime"] > db["tasks"].get(ids[4])["_creationTime"]


def test_leaving_the_context_closes(tmp_path):
    with pytest.raises(ValueError, match="mine"), livedb.open(tmp_path / "w") as db:
        raise ValueError("mine")
    with pytest.raises(ClosedError):
        db["a"].insert({})


def test_a_backup_opens_at_its_commit(db, tmp_path):
    db["a"].insert([{"n": n} for n in range(3)])
    number = db.backup(tmp_path / "copy")
    assert number == db.number
    db["a"].insert({"n": 99})
    with livedb.open(tmp_path / "copy") as copy:
        assert copy.number == number
        assert [row["n"] for row in copy["a"].order("asc")] == [0, 1, 2]


def test_statistics_count_work(memory):
    @memory.query
    def read(ctx):
        return ctx.db.count("a")

    memory["a"].insert({})
    read()
    read()
    found = memory.statistics()
    assert found.runs["read"] == 2
    assert found.applied == found.durable == found.published == memory.number == 1


# -- SQL of the workspace inside a function --------------------------------------------------------


def sql_count(db):
    return db.sql("select count(*)::bigint as n from t").to_arrow().to_pylist()[0]["n"]


@pytest.mark.parametrize(
    "read",
    [
        sql_count,
        lambda db: len(db["t"].df),
        lambda db: db["t"].to_arrow().num_rows,
        lambda db: len(list(db.sql("select * from t where n >= $low", {"low": 0}))),
    ],
    ids=["sql", "df", "arrow", "params"],
)
def test_sql_of_the_workspace_in_a_query_is_followed(db, read):
    db["t"].insert({"n": 1})

    @db.query
    def total(ctx) -> int:
        return read(db)

    handle = total.live()
    assert handle.value == 1
    db["t"].insert({"n": 2})
    assert handle.value == 2


def test_sql_of_the_workspace_in_a_query_reads_at_the_querys_commit(db):
    db["t"].insert({"n": 1})

    @db.query
    def total(ctx):
        writer = threading.Thread(target=lambda: db["t"].insert({"n": 2}))
        writer.start()
        writer.join()
        return sql_count(db)

    assert (total(), sql_count(db)) == (1, 2)


@pytest.mark.parametrize("read", [sql_count, lambda db: db["t"].df], ids=["sql", "df"])
def test_sql_of_the_workspace_in_a_mutation_is_refused(memory, read):
    @memory.mutation
    def write(ctx):
        ctx.db.insert("t", {"n": 1})
        read(memory)

    with pytest.raises(ReadOnlyError, match=r"ctx\.db\.sql is for queries"):
        write()
    assert "t" not in memory


def test_a_schema_cannot_be_inferred_in_a_function(memory):
    memory["t"].insert({"n": 1})

    @memory.query
    def infer(ctx):
        memory.infer_schema("t")

    with pytest.raises(FunctionTypeError, match=r"ctx\.db\.query"):
        infer()


def test_a_workspace_in_memory_that_nobody_closed_goes_quietly_and_whole_at_exit():
    script = (
        "import livedb; db = livedb.open(); db['x'].insert({'a': 1})\n"
        "print(db.backend.workspace.files.loads)"
    )
    command = [sys.executable, "-W", "always", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert not Path(done.stdout.strip()).parent.exists()


def test_memory_may_be_asked_for_by_the_name_other_databases_have_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with livedb.open(":memory:") as db:
        db["a"].insert({"n": 1})
        assert db.backend.name == "in memory"
    assert list(tmp_path.iterdir()) == []


def test_a_stream_of_rows_that_somebody_keeps_does_not_keep_the_database(tmp_path):
    """As the frames of an error do: opening it again waited for ever, found in `make test`."""
    kept = []
    with livedb.open(tmp_path / "w") as db:
        db["t"].insert([{"n": n} for n in range(3)])
        db.backend.workspace.folded_sql.whole_tables(["t"], lambda table: kept.append(table.rows))
    with livedb.open(tmp_path / "w") as db:
        assert db.sql("select count(*) as n from t")[0]["n"] == 3
    assert len(kept) == 1
