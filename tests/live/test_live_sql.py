"""Live SQL and followed tables: shared, run again when touched, recovering."""

from __future__ import annotations

from livedb.errors import SqlError


def test_live_sql_is_run_again_only_when_a_table_it_reads_is_touched(db):
    db["a"].insert({"n": 1})
    db["b"].insert({"n": 1})
    handle = db.sql("select sum(n)::bigint as total from a").live()
    assert handle.to_arrow().to_pylist() == [{"total": 1}]
    runs = handle.runs
    db["b"].insert({"n": 5})
    assert handle.to_arrow().to_pylist() == [{"total": 1}]
    assert handle.runs == runs
    db["a"].insert({"n": 5})
    assert handle.to_arrow().to_pylist() == [{"total": 6}]
    assert handle.runs == runs + 1


def test_equal_sql_with_equal_parameters_is_shared(db):
    db["a"].insert([{"n": n} for n in range(4)])
    text = "select count(*) as n from a where n >= $low"
    one, two, other = (
        db.live_sql(text, {"low": 1}),
        db.live_sql(text, {"low": 1}),
        db.live_sql(text, {"low": 2}),
    )
    assert [h.value.to_pylist()[0]["n"] for h in (one, two, other)] == [3, 3, 2]
    assert db.statistics().live["live_queries"] == 2


def test_live_sql_that_fails_recovers_when_its_table_comes(memory):
    handle = memory.live_sql("select count(*) as n from later")
    assert isinstance(handle.error, SqlError)
    memory["later"].insert({})
    assert handle.error is None
    assert handle.value.to_pylist() == [{"n": 1}]


def test_a_whole_table_can_be_followed(db):
    db["a"].insert([{"n": n} for n in range(3)])
    handle = db["a"].live()
    assert handle.df["n"].tolist() == [0, 1, 2]
    db["a"].insert({"n": 3})
    assert handle.df["n"].tolist() == [0, 1, 2, 3]
    assert handle.title == "a"


def test_a_query_that_reads_sql_follows_its_tables(db):
    db["a"].insert({"n": 1})

    @db.query
    def total(ctx):
        return ctx.db.sql("select sum(n)::bigint as total from a")[0]["total"]

    handle, by_rows = total.live(), db["a"].order("asc").live()
    for n in range(2, 5):
        db["a"].insert({"n": n})
        assert handle.value == sum(row["n"] for row in by_rows.value)
    runs = handle.runs
    db["b"].insert({})
    assert handle.value == 10
    assert handle.runs == runs
