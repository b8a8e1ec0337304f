"""The past: `db.at`, `db.history`, `db.changes`, `db.undo`, over every kind of `db`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import livedb
from livedb.errors import (
    FunctionTypeError,
    HandleError,
    InvalidIdError,
    InvalidValueError,
    ReadOnlyError,
    SchemaDefinitionError,
    SqlError,
    TravelError,
    UndoError,
    UniqueError,
)

V = livedb.v


class Nowhere(tzinfo):
    """A time zone that does not say how far from UTC it is."""

    def utcoffset(self, _):
        return None


def _fields(documents):
    return sorted([d["n"] for d in documents])


# -- at --------------------------------------------------------------------------------------------


def test_the_past_has_the_documents_of_then_for_tables_functions_and_sql(db):
    @db.query
    def numbers(ctx, least: int) -> list[int]:
        return [row["n"] for row in ctx.db.query("t").collect() if row["n"] >= least]

    @db.query
    def total(ctx) -> int:
        return ctx.db.sql("select sum(n) as s from t")[0]["s"]

    first = db["t"].insert({"n": 1})
    second = db["t"].insert({"n": 2})
    then = db.number
    db["t"].patch(first, {"n": 10})
    db["t"].delete(second)
    db["t"].insert({"n": 30})
    past = db.at(then)
    assert _fields(past["t"].collect()) == [1, 2]
    assert past["t"].get(second)["n"] == 2
    assert past["t"].count() == 2
    assert sorted(past.function(numbers)(least=0)) == [1, 2]
    assert past.function("numbers")(2) == [2]
    assert past.function(total)() == 3
    assert past.sql("select sum(n) as s from t")[0]["s"] == 3
    assert _fields(past["t"].to_arrow().to_pylist()) == [1, 2]
    assert past.number == then
    assert past.sql("from t").number == then
    assert _fields(db["t"].collect()) == [10, 30]


def test_every_commit_is_readable_and_stays_as_it_was(db):
    states = [[]]
    ids = []
    for n in range(6):
        ids.append(db["t"].insert({"n": n}))
        states.append(_fields(db["t"].collect()))
    db["t"].delete(ids[0])
    states.append(_fields(db["t"].collect()))
    for _ in range(2):
        for number, state in enumerate(states):
            past = db.at(number)
            assert _fields(past["t"].collect()) == state
            if number:
                assert _fields(past.sql("from t")) == state
        db["t"].insert({"n": 100})


def test_before_the_first_commit_there_is_nothing(db):
    db["t"].insert({"n": 1})
    past = db.at(0)
    assert past.tables == []
    assert past["t"].collect() == []
    assert past.time is None
    with pytest.raises(SqlError, match="no table 't'"):
        past.sql("from t")


def test_a_time_means_the_last_commit_until_then(db):
    db["t"].insert({"n": 1})
    then = db.number
    time = db.at(then).time
    db["t"].insert({"n": 2})
    assert time.tzinfo is not None
    assert db.at(time).number == then
    assert db.at(time - timedelta(microseconds=1)).number == then - 1
    assert db.at(time - timedelta(days=10)).number == 0
    assert db.at(datetime.now(UTC)).number == db.number


@pytest.mark.parametrize(
    "when,why",
    [
        (-1, "0, before the first one, or more"),
        (1_000, "no commit 1000 yet"),
        (1.5, "number of a commit"),
        (True, "number of a commit"),
        ("yesterday", "number of a commit"),
        (datetime(2026, 1, 1), "no time zone"),
        (datetime(3000, 1, 1, tzinfo=UTC), "not come yet"),
        (1 << 53, "There is no commit"),
        (10**30, "There is no commit"),
        (-(10**30), "0, before the first one, or more"),
        (float("nan"), "number of a commit"),
        (Decimal(1), "number of a commit"),
        (None, "number of a commit, such as db.number, or a datetime with a time zone, not None"),
        (np.float64(1), "number of a commit"),
        (np.True_, "number of a commit"),
        (np.datetime64("2026-01-01"), "number of a commit"),
        (date(2026, 1, 1), "number of a commit"),
        (timedelta(days=1), "number of a commit"),
        (pd.NaT, "no moment"),
        (pd.NA, "number of a commit"),
        (pd.Timestamp("2026-01-01"), "no time zone"),
        (datetime(2026, 1, 1, tzinfo=Nowhere()), "no time zone"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), "not come yet"),
    ],
)
def test_what_is_no_past_is_refused(db, when, why):
    for ask in (db.at, db.changes):
        with pytest.raises(InvalidValueError, match=why):
            ask(when)


def test_a_time_is_a_moment_whatever_zone_it_is_told_in(db):
    db["t"].insert({"n": 1})
    time, then = db.at(db.number).time, db.number
    db["t"].insert({"n": 2})
    for zone in (timezone(timedelta(hours=14)), timezone(timedelta(hours=-12, minutes=-30))):
        assert db.at(time.astimezone(zone)).number == then
    assert db.at(pd.Timestamp(time).tz_convert("Asia/Tokyo")).number == then
    assert db.at(datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))).number == 0


def test_the_numbers_that_a_frame_tells_are_numbers_of_commits(db):
    document = db["t"].insert({"n": 1})
    db["t"].patch(document, {"n": 2})
    number = db.history("t", document).df["number"].iloc[-1]
    assert not isinstance(number, int)  # numpy's
    assert type(db.at(number).number) is int
    assert db.changes(number - 1).to_arrow().num_rows == 1
    db.undo(number)
    assert db["t"].get(document)["n"] == 1


@pytest.mark.parametrize("number", [None, "1", 1.0, float("nan"), True, datetime.now(UTC)])
def test_an_undo_takes_the_number_of_a_commit_and_nothing_else(db, number):
    db["t"].insert({"n": 1})
    with pytest.raises(InvalidValueError, match="undo\\(\\) takes the number of a commit"):
        db.undo(number)
    assert db["t"].count() == 1


@pytest.mark.parametrize("number", [-1, 99, 1 << 60])
def test_a_commit_that_is_none_is_not_undone(db, number):
    with pytest.raises(InvalidValueError, match=r"no commit|or more"):
        db.undo(number)


def test_a_dropped_table_is_there_in_the_past(db):
    kept = db["t"].insert({"n": 1})
    then = db.number
    db.drop_table("t")
    past = db.at(then)
    assert past.tables == ["t"]
    assert past["t"].get(kept)["n"] == 1
    assert past.sql("select n from t")[0]["n"] == 1
    assert db.at(db.number).tables == []
    db["t"].insert({"n": 5})
    assert _fields(db.at(then)["t"].collect()) == [1]


def test_a_dropped_table_is_loaded_again_from_the_past(db):
    kept = db["t"].insert({"n": 1, "s": "x"})
    then = db.number
    db.drop_table("t")
    db.load("t", db.at(then)["t"].to_arrow(), ids="new")
    [row] = db["t"].collect()
    assert (row["n"], row["s"]) == (1, "x")
    assert row["_id"] != kept


def test_the_past_is_read_with_the_schema_of_then(db):
    table = livedb.define_table(V.object({"n": V.integer()})).index("by_n", ["n"])
    db.push(livedb.define_schema({"t": table}))
    db["t"].insert([{"n": 3}, {"n": 1}])
    then = db.number
    renamed = livedb.define_table(V.object({"n": V.integer(), "m": V.optional(V.string())}))
    db.push(livedb.define_schema({"t": renamed}))
    db["t"].insert({"n": 2, "m": "x"})
    past = db.at(then)
    assert [row["n"] for row in past["t"].with_index("by_n").collect()] == [1, 3]
    assert past.sql("from t").to_arrow().column_names == ["_id", "_creationTime", "n"]
    assert list(past["t"].schema.fields) == ["n"]
    assert list(db["t"].schema.fields) == ["n", "m"]


def test_a_default_that_was_filled_in_is_not_in_the_past(db):
    table = livedb.define_table(V.object({"n": V.integer()}))
    db.push(livedb.define_schema({"t": table}))
    db["t"].insert({"n": 1})
    then = db.number

    @db.table("t")
    class T:
        n: int
        s: str = "todo"

    assert db["t"].first()["s"] == "todo"
    assert "s" not in db.at(then)["t"].first()
    assert db.at(db.number)["t"].first()["s"] == "todo"


def test_a_load_is_in_the_past_from_its_commit_on(db):
    db.load("t", [{"n": n} for n in range(50)])
    then = db.number
    db["t"].delete(db["t"].first()["_id"])
    assert db.at(then)["t"].count() == 50
    assert db.at(then - 1).tables == []
    assert db.at(then + 1).sql("select count(*) as c from t")[0]["c"] == 49


def test_what_has_no_column_is_the_same_in_the_past(db):
    db["t"].insert({"n": 1, "x": livedb.Int64(2**60), "y": b"\x00", "z": {"a": [1, 2.0]}})
    db["t"].insert({"n": 2, "x": "text"})
    then, rows = db.number, db["t"].to_arrow()
    documents = db["t"].collect()
    db["t"].patch(documents[0]["_id"], {"x": None})
    past = db.at(then)
    assert past["t"].collect() == documents
    assert past["t"].to_arrow().to_pylist() == rows.to_pylist()


def test_nothing_is_written_defined_or_followed_in_the_past(db):
    @db.mutation
    def add(ctx) -> None:
        ctx.db.insert("t", {"n": 1})

    @db.query
    def all_of_it(ctx) -> int:
        return ctx.db.count("t")

    add()
    past = db.at(db.number)
    for write in (
        lambda: past["t"].insert({"n": 2}),
        lambda: past["t"].delete("x"),
        past.function(add),
        lambda: past.load("t", [{"n": 1}]),
        lambda: past.drop_table("t"),
        lambda: past.undo(1),
        lambda: past.query(lambda ctx: 1, name="f"),
        lambda: past.files,
        lambda: past.push(livedb.define_schema({"t": livedb.define_table({})})),
    ):
        with pytest.raises(ReadOnlyError, match=rf"db.at\({past.number}\)"):
            write()
    for follow in (
        past.function(all_of_it).live,
        past["t"].live,
        past.sql("from t").live,
        past.who,
    ):
        with pytest.raises(HandleError, match="does not change"):
            follow()
    past.close()
    assert db["t"].count() == 1


def test_the_past_is_not_read_inside_a_function(db):
    db["t"].insert({"n": 1})
    past = db.at(1)

    def look(ctx) -> int:
        return past["t"].count()

    # Of a service it cannot even travel there.
    with pytest.raises((FunctionTypeError, TravelError)):
        db.query(look)()


def test_the_past_shows_what_it_is(db):
    db["t"].insert({"n": 1})
    past = db.at(db.number)
    assert f"as of commit {db.number} (" in repr(past)
    assert repr(past).endswith("UTC): t>")
    shown = past._repr_mimebundle_()
    assert "<td>t</td>" in shown["text/html"]
    assert "n" in repr(past.sql("from t"))
    assert "text/html" in past["t"]._repr_mimebundle_()


def test_a_table_of_the_past_is_exported(db, tmp_path):
    db["t"].insert({"n": 1})
    then = db.number
    db["t"].insert({"n": 2})
    result = db.at(then)["t"].to_parquet(tmp_path / "t.parquet")
    assert (result.rows, result.number) == (1, then)


# -- history ---------------------------------------------------------------------------------------


def test_a_history_has_every_version_and_deletion_with_who_made_it(db):
    document = db["t"].insert({"n": 1})
    db["other"].insert({"n": 0})
    db["t"].patch(document, {"n": 2})
    db["t"].delete(document)
    history = db.history("t", document)
    rows = history.to_arrow().to_pylist()
    assert [row["operation"] for row in rows] == ["insert", "update", "delete"]
    assert [row["document"] for row in rows] == ['{"n":1}', '{"n":2}', None]
    assert [row["function"] for row in rows] == ["t:insert", "t:patch", "t:delete"]
    assert [row["number"] for row in rows] == [1, 3, 4]
    assert rows[0]["time"] == db.at(1).time
    assert list(history.df["operation"]) == ["insert", "update", "delete"]
    assert len(db["t"].history(document)) == 3
    assert len(db.at(3)["t"].history(document)) == 2
    assert "update" in repr(history)


def test_the_history_of_a_dropped_tables_document_is_kept(db):
    document = db["t"].insert({"n": 1})
    db.drop_table("t")
    rows = db.history("t", document).to_arrow().to_pylist()
    assert [row["operation"] for row in rows] == ["insert", "delete"]


def test_a_history_is_of_a_document_of_the_table(db):
    document = db["t"].insert({"n": 1})
    db["u"].insert({"n": 1})
    with pytest.raises(InvalidIdError, match="no id of a document of 'u'"):
        db.history("u", document)
    for nonsense in ("nonsense", "", None, 3, document.upper(), {"_id": document}):
        with pytest.raises(InvalidIdError, match="is not a document id"):
            db.history("t", nonsense)
    with pytest.raises(SchemaDefinitionError, match=r"no table 'tt', .* Did you mean 't'\?"):
        db.history("tt", document)
    with pytest.raises(SchemaDefinitionError, match="livedb's own"):
        db.history("_storage", document)
    with pytest.raises(SchemaDefinitionError, match="no table 'v'"):
        db.history("v", document)


# -- changes ---------------------------------------------------------------------------------------


def test_changes_are_every_document_that_a_commit_wrote_or_deleted_in_order(db):
    first = db["t"].insert({"n": 1})
    db["t"].patch(first, {"n": 2})
    db["t"].delete(first)
    rows = db.changes(0).to_arrow().to_pylist()
    shown = [(row["number"], row["operation"], row["before"], row["after"]) for row in rows]
    assert shown == [
        (1, "insert", None, '{"n":1}'),
        (2, "update", '{"n":1}', '{"n":2}'),
        (3, "delete", '{"n":2}', None),
    ]
    assert {row["_id"] for row in rows} == {first}
    assert {row["table"] for row in rows} == {"t"}
    assert rows[2]["function"] == "t:delete"
    assert rows[0]["time"] == db.at(1).time


def test_changes_have_loads_fills_and_drops(db):
    db.load("t", [{"n": n} for n in range(3)])

    @db.table("t")
    class T:
        n: int
        s: str = "x"

    filled = db.number
    db.drop_table("t")
    rows = db.changes(0).to_arrow().to_pylist()
    assert [row["operation"] for row in rows] == ["insert"] * 3 + ["update"] * 3 + ["delete"] * 3
    assert {row["number"] for row in rows[3:6]} == {filled}
    assert all('"s":"x"' in row["after"] for row in rows[3:6])
    assert [row["before"] for row in rows[6:]] == [row["after"] for row in rows[3:6]]


def test_a_consumer_goes_on_by_number_without_gaps_and_doubles(db):
    seen, number = [], 0
    for n in range(4):
        db["t"].insert([{"n": n}, {"n": n}])
        db["u"].insert({"n": n})
        if n % 2:
            stream = db.changes(number)
            seen += stream.to_arrow().to_pylist()
            number = stream.number
    assert number == db.number
    assert db.changes(number).to_arrow().num_rows == 0
    assert seen == db.changes(0).to_arrow().to_pylist()
    assert len({(row["number"], row["_id"]) for row in seen}) == len(seen) == 12


def test_a_stream_covers_what_was_there_when_it_was_asked_for(db):
    db["t"].insert({"n": 1})
    stream = db.changes(0)
    db["t"].insert({"n": 2})
    assert pa.RecordBatchReader.from_stream(stream).read_all().num_rows == 1
    assert len(stream.df) == 1
    assert sum(batch.num_rows for batch in stream) == 1
    assert "commits 1 to 1" in repr(stream)


def test_changes_of_one_table_and_since_a_time(db):
    db["t"].insert({"n": 1})
    time = db.at(db.number).time
    db["u"].insert({"n": 2})
    db["t"].insert({"n": 3})
    assert [row["table"] for row in db.changes(time).to_arrow().to_pylist()] == ["u", "t"]
    assert db.changes(0, "t").to_arrow().column("after").to_pylist() == ['{"n":1}', '{"n":3}']
    # At once, also where there is nothing to read: a misspelt table has no changes for ever.
    for since in (0, db.number):
        with pytest.raises(SchemaDefinitionError, match="no table 'v'"):
            db.changes(since, "v")
        with pytest.raises(SchemaDefinitionError, match="livedb's own"):
            db.changes(since, "_storage")
    with pytest.raises(InvalidValueError, match="no commit 99 yet"):
        db.changes(99)


def test_what_livedb_keeps_itself_is_in_no_changes(db):
    @db.mutation
    def later(ctx) -> None:
        ctx.scheduler.run_after(3600, "later")
        ctx.db.insert("t", {"n": 1})

    later()
    assert [row["table"] for row in db.changes(0).to_arrow().to_pylist()] == ["t"]


# -- undo ------------------------------------------------------------------------------------------


def test_an_undo_takes_back_inserts_patches_and_deletions(db):
    kept = db["t"].insert({"n": 1})
    gone = db["t"].insert({"n": 2})
    before = db["t"].collect()

    @db.mutation
    def change(ctx) -> None:
        ctx.db.insert("t", {"n": 3})
        ctx.db.patch(kept, {"n": 10})
        ctx.db.delete(gone)

    change()
    done = db.number
    after = db["t"].collect()
    undone = db.undo(done)
    assert undone == done + 1
    assert db["t"].collect() == before
    assert db.undo(undone) == undone + 1
    assert db["t"].collect() == after
    assert _fields(db.sql("from t")) == [3, 10]
    assert db.history("t", gone)[-1]["function"] == f"undo:{undone}"


def test_a_live_handle_follows_an_undo(db):
    db["t"].insert({"n": 1})
    handle = db["t"].order("desc").live()
    db.undo(db.number)
    assert list(handle) == []


def test_a_load_is_undone(db):
    db["t"].insert({"n": 0})
    db.load("t", [{"n": n} for n in range(1, 30)])
    db.undo(db.number)
    assert _fields(db["t"].collect()) == [0]


def _refused(db, number, code):
    before, stands = db["t"].collect(), db.number
    with pytest.raises(UndoError) as refused:
        db.undo(number)
    assert refused.value.code == code
    assert (db["t"].collect(), db.number) == (before, stands)
    return refused.value


def test_what_later_commits_changed_is_not_undone(db):
    first = db["t"].insert({"n": 1})
    other = db["t"].insert({"n": 2})
    db["t"].patch(first, {"n": 5})
    error = _refused(db, 1, "ChangedSince")
    assert error.ids == (first,)
    assert first in error.message
    db["t"].patch(first, {"n": 1})  # as commit 1 left it: nothing of anybody's is lost
    db.undo(1)
    assert db["t"].get(first) is None
    db.undo(2)
    assert db["t"].get(other) is None


def test_changes_of_tables_are_not_undone(db):
    @db.table("t")
    class T:
        n: int

    db["t"].insert({"n": 1})

    @db.table("t")
    class T:  # noqa: F811
        n: int
        s: str = "x"

    _refused(db, db.number, "TablesChanged")


def test_a_dropped_table_comes_back_with_its_ids_definition_and_documents(db):
    table = livedb.define_table(V.object({"n": V.integer()})).index("by_n", ["n"], unique=True)
    db.push(livedb.define_schema({"t": table, "e": livedb.define_table({"n": V.integer()})}))
    ids = db["t"].insert([{"n": 2}, {"n": 1}])
    before, schema = db["t"].collect(), db["t"].schema
    for name in ("t", "e"):
        db.drop_table(name)
        assert name not in db.tables
        db.undo(db.number)
        assert name in db.tables
    assert db["t"].collect() == before
    assert db["t"].schema == schema
    assert [row["_id"] for row in db["t"].with_index("by_n").collect()] == ids[::-1]
    assert sorted(db.sql("from t").df["n"]) == [1, 2]
    with pytest.raises(UniqueError):
        db["t"].insert({"n": 2})
    assert db["t"].count() == 2


def test_a_dropped_table_does_not_come_back_beside_one_of_its_name(db):
    db["t"].insert({"n": 1})
    db.drop_table("t")
    dropped = db.number
    db["t"].insert({"n": 2})
    _refused(db, dropped, "TablesChanged")


def test_a_deletion_of_a_table_that_was_dropped_since_is_not_undone(db):
    document = db["t"].insert({"n": 1})
    db["t"].delete(document)
    deleted = db.number
    db.drop_table("t")
    db["t"].insert({"n": 2})
    _refused(db, deleted, "TablesChanged")


def test_a_commit_without_documents_is_not_undone(db):
    @db.table("t")
    class T:
        n: int

    _refused(db, db.number, "NothingToUndo")
    for number in (0, -1, 99):
        with pytest.raises(InvalidValueError):
            db.undo(number)


def test_a_commit_that_scheduled_something_is_not_undone(db):
    @db.mutation
    def later(ctx) -> None:
        ctx.db.insert("t", {"n": 1})
        ctx.scheduler.run_after(3600, "later")

    later()
    _refused(db, db.number, "SystemDocuments")


def test_documents_that_no_longer_fit_are_not_brought_back(db):
    gone = db["t"].insert({"n": 1})
    db["t"].delete(gone)
    deleted = db.number

    @db.table("t", indexes={})
    class T:
        n: str

    error = _refused(db, deleted, "DoesNotFit")
    assert "does not match the schema" in error.message


def test_an_undo_keeps_unique_indexes(db):
    table = livedb.define_table(V.object({"n": V.integer()})).index("by_n", ["n"], unique=True)
    db.push(livedb.define_schema({"t": table}))
    gone = db["t"].insert({"n": 1})
    db["t"].delete(gone)
    deleted = db.number
    db["t"].insert({"n": 1})
    _refused(db, deleted, "DoesNotFit")


def test_an_id_of_a_dropped_table_is_told_to_be_of_none(db):
    document = db["t"].insert({"n": 1})
    then = db.number
    db.drop_table("t")
    for table in (db["t"], db.at(db.number)["t"]):
        with pytest.raises(InvalidIdError, match='Id<"t">, and this is of no table that is there'):
            table.get(document)
    assert db.at(then)["t"].get(document)["n"] == 1
