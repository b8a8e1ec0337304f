"""`db["tasks"]`: reads and one-step writes without a function."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Literal, NotRequired, TypedDict

import pytest

import livedb
from livedb import UNSET, Int64, QueryContext, v
from livedb.errors import (
    IndexRangeError,
    InvalidIdError,
    InvalidValueError,
    NonexistentDocumentError,
    SchemaChangeError,
    SchemaDefinitionError,
    SqlError,
    UniqueError,
)


def test_the_verbs(db):
    table = db["tasks"]
    one = table.insert({"title": "a", "note": "x"})
    two, three = table.insert([{"title": "b"}, {"title": "c"}])
    assert table.get(one)["title"] == "a"
    table.patch(one, {"title": "A", "note": UNSET})
    assert set(table.get(one)) == {"_id", "_creationTime", "title"}
    table.replace(two, {"other": 1})
    assert table.get(two)["other"] == 1
    assert "title" not in table.get(two)
    table.delete(three)
    assert table.get(three) is None
    assert table.count() == 2
    assert [row["_id"] for row in table] == [one, two]


def test_several_inserts_are_one_transaction(db):
    @db.table("tasks", unique={"by_title": ["title"]})
    class Task:
        title: str

    before = db.number
    db["tasks"].insert([{"title": str(n)} for n in range(10)])
    assert db.number == before + 1
    with pytest.raises(UniqueError):
        db["tasks"].insert([{"title": "new"}, {"title": "3"}])
    assert db["tasks"].count() == 10


@pytest.mark.gap(AssertionError, "what comes with an id keeps its result, for who asks again")
def test_an_insert_of_nothing_is_no_commit(memory):
    memory["tasks"].insert({"title": "x"})
    before = memory.number
    assert memory["tasks"].insert([]) == []
    assert memory.number == before


def test_a_table_may_be_given_by_its_class(memory):
    @memory.table()
    class Task:
        title: str

    assert memory[Task].name == "tasks"
    made = memory[Task].insert({"title": "x"})
    assert memory["tasks"].get(made).title == "x"
    assert memory[Task].schema == Task.__livedb_definition__


@pytest.mark.local("reads the log")
def test_writes_are_named_after_table_and_verb(memory):
    made = memory["tasks"].insert({})
    memory["tasks"].patch(made, {"n": 1})
    log = memory.backend.workspace.log
    assert [commit.function for commit in log.read(after=0)] == ["tasks:insert", "tasks:patch"]


def test_ids_of_other_tables_are_refused(memory):
    other = memory["other"].insert({})
    memory["tasks"].insert({})
    for call in (
        lambda: memory["tasks"].get(other),
        lambda: memory["tasks"].patch(other, {}),
        lambda: memory["tasks"].delete(other),
    ):
        with pytest.raises(InvalidIdError, match='expected to be an Id<"tasks">'):
            call()
    gone = memory["tasks"].insert({})
    memory["tasks"].delete(gone)
    with pytest.raises(NonexistentDocumentError):
        memory["tasks"].patch(gone, {})


@pytest.mark.parametrize("wrong", [3, "text", None])
def test_what_is_no_document_is_refused(memory, wrong):
    with pytest.raises((InvalidValueError, TypeError)):
        memory["tasks"].insert(wrong)
    assert "tasks" not in memory


def test_names_are_checked_at_once(memory):
    for name in ("a b", "_private", ""):
        with pytest.raises(SchemaDefinitionError):
            memory[name]


def test_representations(memory):
    assert repr(memory["tasks"]) == ("db['tasks'] (no such table yet; the first insert creates it)")

    @memory.table("tasks", indexes={"by_title": ["title"]})
    class Task:
        title: str
        done: bool = False

    memory["tasks"].insert({"title": "x"})
    assert repr(memory["tasks"]) == "db['tasks']: 1 document of title, done"

    @memory.query
    def done(ctx: QueryContext, tasks: list[Task], how: Literal["a.b"] = "a.b") -> Task | None: ...

    shown = "(tasks: list[Task], how: Literal['a.b'] = 'a.b') -> Task | None"
    assert repr(done).replace('"', "'") == f"<query done{shown}>"
    narrowed = memory["tasks"].with_index("by_title", title="x").order("desc")
    assert repr(narrowed) == "db['tasks'].with_index('by_title', title='x').order('desc')"
    assert repr(memory) == f"<livedb {memory.backend.name} at commit 2: tasks>"


@pytest.mark.parametrize(
    "build, error",
    [
        (lambda q: q.order("up"), 'order is "asc" or "desc"'),
        (lambda q: q.order("asc").order("desc"), "called twice"),
        (
            lambda q: q.with_index("by_id").order("asc").with_index("by_id"),
            "called twice",
        ),
    ],
)
def test_a_description_that_cannot_be_read_is_refused_where_it_is_written(db, build, error):
    with pytest.raises(IndexRangeError, match=error):
        build(db["tasks"])


def test_the_table_as_a_frame(db):
    @db.table("tasks")
    class Task:
        title: str
        rank: int | None = None

    empty = db["tasks"].df
    assert list(empty.columns) == ["_id", "_creationTime", "title", "rank"]
    db["tasks"].insert([{"title": "a", "rank": 1}, {"title": "b"}])
    frame = db["tasks"].df
    assert frame["title"].tolist() == ["a", "b"]
    assert frame.dtypes.equals(empty.dtypes)
    assert db["tasks"].to_polars().height == 2


def test_reads_join_the_function_they_are_called_in(memory):
    memory["tasks"].insert({"n": 1})

    @memory.mutation
    def work(ctx):
        memory["tasks"].insert({"n": 2})
        seen = memory["tasks"].count(), [row["n"] for row in memory["tasks"]]
        raise livedb.ApplicationError(list(seen))

    with pytest.raises(livedb.ApplicationError) as caught:
        work()
    assert caught.value.data == [2, [1, 2]]
    assert memory["tasks"].count() == 1


def test_a_user_argument_may_have_any_name(memory):
    @memory.query
    def odd(ctx, self: int, name: int, function: int, args: int, database: int):
        return self + name + function + args + database

    given = {"self": 1, "name": 2, "function": 3, "args": 4, "database": 5}
    assert odd(**given) == 15
    assert odd.live(**given).value == 15

    @memory.query
    def outer(ctx):
        return ctx.run_query(odd, **given)

    assert outer() == 15


@pytest.mark.parametrize(
    "documents, hidden",
    [
        ([{"a": 1, "A": 2}], "field 'A'"),
        ([{f"f{at}": at for at in range(258)}], "fields 'f256', 'f257'"),
        ([{f"f{at}": at for at in range(300)}], "and 34 more"),
        ([{"a__json": 0, "a": 1}, {"a__json": 0, "a": "text"}], "field 'a'"),
    ],
)
def test_a_frame_warns_once_of_fields_that_it_lacks(db, tmp_path, documents, hidden):
    db["t"].insert(documents)
    for take in (
        lambda: db["t"].df,
        db["t"].to_arrow,
        db["t"].to_polars,
        lambda: db["t"].to_parquet(tmp_path / "t.parquet"),
    ):
        with pytest.warns(UserWarning, match=hidden) as caught:
            take()
        assert [each.filename for each in caught] == [__file__]


def test_a_frame_that_shows_every_value_warns_of_nothing(db):
    db["t"].insert([{"a": 1}, {"a": "text"}])
    shown = db["t"].to_arrow().drop_columns(["_id", "_creationTime"]).to_pylist()
    assert shown == [{"a": 1, "a__json": None}, {"a": None, "a__json": '"text"'}]
    odd = db["odd"].insert({"a": 1, "A": 2})
    db["odd"].delete(odd)
    assert db["odd"].df.empty


@pytest.mark.parametrize("wrong", [None, 1, "text", b"bytes"])
def test_insert_says_what_it_takes(memory, wrong):
    with pytest.raises(livedb.InvalidValueError, match=r"takes a document, such as .* not "):
        memory["t"].insert(wrong)


def test_an_error_of_one_of_many_documents_says_which(memory):
    @memory.table("t")
    class Task:
        name: str

    with pytest.raises(livedb.SchemaEnforcementError, match=r"^\[1\]: Failed to insert") as caught:
        memory["t"].insert([{"name": "a"}, {"name": 1}])
    assert caught.value.path == "[1].name"
    with pytest.raises(livedb.InvalidValueError, match=r"^\[2\]: ") as caught:
        memory["u"].insert([{}, {}, {"x": [object()]}])
    assert caught.value.path == "[2].x[0]"
    with pytest.raises(livedb.InvalidValueError, match=r"^\[0\]: "):
        memory["u"].insert([None])
    assert "u" not in memory


class Part(TypedDict):
    count: int
    weight: float
    big: Int64
    raw: bytes
    at: datetime
    note: NotRequired[str]


PART = {
    "count": 2**53 - 1,
    "weight": 1.0,
    "big": Int64(2**62 + 1),
    "raw": b"\x00",
    "at": datetime(2026, 1, 2, microsecond=3, tzinfo=UTC),
}


def test_lists_and_objects_have_the_schemas_type_however_a_table_is_read(db):
    @db.table("s")
    class Stored:
        tags: list[str]
        part: Part | None
        parts: list[Part]
        any: Any = None

    @db.query
    def everything(ctx: QueryContext) -> list[Stored]:
        return ctx.db.query(Stored).collect()

    empty = everything.live().to_arrow().schema
    assert db["s"].to_arrow().schema == db["s"].live().to_arrow().schema == empty
    db["s"].insert({"tags": ["a", "b"], "part": PART, "parts": [PART]})
    db["s"].insert({"tags": [], "part": None, "parts": [PART | {"note": "n"}], "any": [1]})
    rows = everything.live().to_arrow()
    assert rows.column("part")[0].as_py() == PART | {"note": None}
    for read in (db["s"], db["s"].live()):
        assert read.to_arrow().equals(rows, check_metadata=True)
        assert list(read.df.dtypes) == list(everything.live().df.dtypes)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_files_of_a_table_hold_lists_and_objects_exactly(memory, tmp_path, ending):
    @memory.table("s")
    class Stored:
        part: Part | None
        big: Int64

    memory["s"].insert([{"part": PART, "big": Int64(1)}, {"part": None, "big": Int64(2)}])
    for at, read in enumerate((memory["s"], memory["s"].live())):
        path = getattr(read, f"to_{ending}")(tmp_path / f"{at}.{ending}").path
        with livedb.open() as other:
            other.table("s")(Stored)
            other.load("s", path, ids="keep")
            assert other["s"].collect() == memory["s"].collect()


def test_a_frozen_handle_shows_rows_of_before_a_new_schema(memory):
    memory.push(livedb.define_schema({"s": livedb.define_table({"x": v.array(v.string())})}))
    memory["s"].insert({"x": ["a"]})
    handle = memory["s"].live()
    with memory.snapshot():
        memory["s"].drop()
        new = livedb.define_table({"x": v.object({"y": v.string()})})
        memory.push(livedb.define_schema({"s": new}))
        assert handle.df["x"].tolist() == [["a"]]  # as the schema of the snapshot has it
        with ThreadPoolExecutor() as others:  # which look at the newest schema
            assert others.submit(handle.to_arrow).result()["x"].to_pylist() == ['["a"]']


@pytest.mark.parametrize("verb", ["insert", "collect"])
@pytest.mark.local("names the frames of a workspace of this process")
def test_the_traceback_of_a_verb_leaves_out_how_livedb_ran_it(memory, verb):
    def no_range(q):
        raise ZeroDivisionError

    verbs = {
        "insert": lambda table: table.insert({"a": {1, 2}}),
        "collect": lambda table: table.with_index("by_creation_time", no_range).collect(),
    }
    memory["t"].insert({"a": 1})
    with pytest.raises((InvalidValueError, ZeroDivisionError)) as caught:
        verbs[verb](memory["t"])
    names = [each.name for each in traceback.extract_tb(caught.value.__traceback__)]
    assert not {"run", "_run_alone", "_call", "_invoke", "call"}.intersection(names)
    assert len(names) > 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda db: db.sql("select nope from t"),
        lambda db: db.sql("selec 1"),
        lambda db: db["t"].insert({"a": {1, 2}}),
        lambda db: db["t"].insert({"a": "x"}),
        lambda db: db.table("t")(type("Row", (), {"__annotations__": {"a": str}})),
        lambda db: db.table("t")(type("Row", (), {"__annotations__": {"a": set}})),
    ],
)
def test_the_traceback_of_a_typing_error_is_short(db, wrong):
    @db.table("t")
    class Row:
        a: int

    db["t"].insert({"a": 1})
    with pytest.raises(
        (SqlError, InvalidValueError, SchemaChangeError, SchemaDefinitionError)
    ) as caught:
        wrong(db)
    # Two of the test's, and what was called on livedb with what it calls at once.
    assert len(traceback.extract_tb(caught.value.__traceback__)) <= 5
    assert caught.value.__cause__ is None
