"""`ctx`: what functions read and write, and the errors that say what went wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import livedb
from livedb import UNSET, Id, Int64, v
from livedb.errors import (
    FunctionTypeError,
    InvalidIdError,
    InvalidValueError,
    NonexistentDocumentError,
    ReadOnlyError,
    SchemaDefinitionError,
    SchemaEnforcementError,
    SqlError,
    UniqueError,
)


def run(db, body, kind="mutation"):
    """The result of one anonymous query or mutation."""
    return getattr(db, kind)(name="anonymous")(body)()


def ids_in(db, table):
    return [row["_id"] for row in db[table].with_index("by_creation_time").collect()]


# -- get and ids -----------------------------------------------------------------------------------


def test_get_gives_the_document_or_none(db):
    kept = db["a"].insert({"n": 1})
    gone = db["a"].insert({"n": 2})
    db["a"].delete(gone)

    def read(ctx):
        return [ctx.db.get(kept), ctx.db.get("a", kept), ctx.db.get(gone)]

    by_id, by_table, missing = run(db, read, "query")
    assert by_id == by_table == {"_id": kept, "_creationTime": by_id._creationTime, "n": 1}
    assert by_id.n == 1
    assert missing is None


def test_get_of_an_id_of_no_table_is_none(memory):
    other = "z43zp6c3e75gkmz1kfwj6mbbx5sw281h"
    assert run(memory, lambda ctx: ctx.db.get(other), "query") is None


@pytest.mark.parametrize("text", ["", "nonsense", "z43zp6c3e75gkmz1kfwj6mbbx5sw281i", "a" * 200])
def test_get_of_text_that_is_no_id_is_refused(memory, text):
    with pytest.raises(InvalidIdError) as caught:
        run(memory, lambda ctx: ctx.db.get(text), "query")
    assert caught.value.code == "InvalidIdError"


def test_get_of_no_text_is_refused(memory):
    with pytest.raises(InvalidIdError, match="an id, which is a str, and got int"):
        run(memory, lambda ctx: ctx.db.get(3), "query")
    with pytest.raises(TypeError, match="got 3 arguments"):
        run(memory, lambda ctx: ctx.db.get("a", "b", "c"), "query")


def test_get_with_the_wrong_table_names_both(memory):
    thing = memory["objects"].insert({})
    memory["table"].insert({})
    expected = r'expected to be an Id<"table">, got Id<"objects"> instead'
    with pytest.raises(InvalidIdError, match=expected):
        run(memory, lambda ctx: ctx.db.get("table", thing), "query")
    for verb in ("patch", "replace"):
        with pytest.raises(InvalidIdError, match=expected):
            run(memory, lambda ctx, verb=verb: getattr(ctx.db, verb)("table", thing, {}))
    with pytest.raises(InvalidIdError, match=expected):
        run(memory, lambda ctx: ctx.db.delete("table", thing))


def test_a_class_names_its_table(memory):
    @memory.table("tasks")
    class Task:
        title: str

    made = run(memory, lambda ctx: ctx.db.insert(Task, {"title": "x"}))
    assert run(memory, lambda ctx: ctx.db.get(Task, made), "query").title == "x"
    assert run(memory, lambda ctx: ctx.db.count(Task), "query") == 1
    assert [t.title for t in run(memory, lambda ctx: ctx.db.query(Task).collect(), "query")] == [
        "x"
    ]
    with pytest.raises(InvalidValueError, match="is not a table"):
        run(memory, lambda ctx: ctx.db.query(int), "query")


def test_each_read_is_a_private_copy(memory):
    made = memory["a"].insert({"tags": ["x"]})

    def read(ctx):
        first = ctx.db.get(made)
        first["tags"].append("y")
        first["more"] = 1
        return ctx.db.get(made), ctx.db.query("a").first()

    for document in run(memory, read, "query"):
        assert document["tags"] == ["x"]
        assert "more" not in document


def test_normalize_id(memory):
    thing = memory["objects"].insert({})
    memory["table"].insert({})

    def read(ctx):
        check = ctx.db.normalize_id
        return [
            check("objects", thing),
            check("table", thing),
            check("nowhere", thing),
            check("objects", "nonsense"),
            check("objects", thing.upper()),
            check("objects", thing[:-1] + ("0" if thing[-1] != "0" else "1")),
        ]

    assert run(memory, read, "query") == [thing, None, None, None, None, None]


def test_count_does_not_read_the_documents(db):
    assert db["a"].count() == 0
    db["a"].insert([{"n": n} for n in range(5)])

    def counted(ctx):
        return ctx.db.count("a"), ctx.db.count("nowhere")

    assert run(db, counted, "query") == [5, 0]


# -- insert ----------------------------------------------------------------------------------------


def test_insert_returns_the_id_and_creates_the_table(db):
    made = run(db, lambda ctx: ctx.db.insert("new", {"n": 1}))
    assert db["new"].get(made) == {
        "_id": made,
        "_creationTime": db["new"].get(made)["_creationTime"],
        "n": 1,
    }
    assert "new" in db


def test_creation_times_increase_within_a_mutation(memory):
    def insert(ctx):
        return [ctx.db.insert("a", {"n": n}) for n in range(100)]

    made = run(memory, insert)
    times = [memory["a"].get(each)["_creationTime"] for each in made]
    assert times == sorted(set(times))
    assert ids_in(memory, "a") == made


@pytest.mark.parametrize("document", [None, 3, "text", ["a"], [("a", 1)]])
def test_insert_of_no_object_is_refused(memory, document):
    with pytest.raises(InvalidValueError, match=r"for `db\.insert`: Value must be an Object"):
        run(memory, lambda ctx: ctx.db.insert("a", document))


def test_insert_with_system_fields_is_refused(memory):
    made = memory["a"].insert({})
    with pytest.raises(InvalidValueError) as caught:
        run(memory, lambda ctx: ctx.db.insert("a", {"_id": made}))
    assert caught.value.code == "InvalidIdError"
    with pytest.raises(InvalidValueError) as caught:
        run(memory, lambda ctx: ctx.db.insert("a", {"_creationTime": 1.0}))
    assert caught.value.code == "InvalidCreationTimeError"
    with pytest.raises(InvalidValueError):
        run(memory, lambda ctx: ctx.db.insert("a", {"_other": 1}))


def test_insert_drops_unset_fields(memory):
    made = memory["a"].insert({"a": 1, "b": UNSET})
    assert set(memory["a"].get(made)) == {"_id", "_creationTime", "a"}


@pytest.mark.parametrize("name", ["_private", "", "a b", "1a", "x" * 65, "_storage"])
def test_insert_into_a_table_of_no_legal_name_is_refused(memory, name):
    with pytest.raises(SchemaDefinitionError):
        run(memory, lambda ctx: ctx.db.insert(name, {}))


def test_an_insert_that_is_refused_creates_no_table(memory):
    def insert(ctx):
        with pytest.raises(InvalidValueError):
            ctx.db.insert("never", {"x": object()})
        with pytest.raises(InvalidValueError):
            ctx.db.insert("never", 3)

    run(memory, insert)
    assert "never" not in memory


def test_a_document_larger_than_a_mebibyte_is_refused(memory):
    with pytest.raises(InvalidValueError, match="document is too large"):
        memory["a"].insert({"text": "x" * (1 << 20)})
    assert memory["a"].count() == 0


def test_the_schema_is_enforced_on_the_final_document(memory):
    @memory.table("tasks")
    class Task:
        title: str
        done: bool = False

    made = memory["tasks"].insert({"title": "x"})
    assert memory["tasks"].get(made)["done"] is False
    for write in (
        lambda ctx: ctx.db.insert("tasks", {"title": 3}),
        lambda ctx: ctx.db.insert("tasks", {}),
        lambda ctx: ctx.db.insert("tasks", {"title": "x", "more": 1}),
        lambda ctx: ctx.db.patch(made, {"title": None}),
        lambda ctx: ctx.db.patch(made, {"title": UNSET}),
        lambda ctx: ctx.db.patch(made, {"done": UNSET}),
        lambda ctx: ctx.db.replace(made, {"done": True}),
    ):
        with pytest.raises(SchemaEnforcementError) as caught:
            run(memory, write)
        assert caught.value.code == "SchemaEnforcementError"
    assert memory["tasks"].get(made)["title"] == "x"


def test_the_id_of_another_table_does_not_fit_an_id_field(memory):
    memory.push(
        livedb.define_schema(
            {
                "users": livedb.define_table({"name": v.string()}),
                "tasks": livedb.define_table({"user": v.id("users")}),
            }
        )
    )
    user = memory["users"].insert({"name": "Ann"})
    task = memory["tasks"].insert({"user": user})
    with pytest.raises(SchemaEnforcementError) as caught:
        memory["tasks"].insert({"user": task})
    assert caught.value.kind == "TableNamesDoNotMatch"


# -- patch, replace, delete ------------------------------------------------------------------------


def test_patch_merges_one_level(db):
    made = db["a"].insert({"keep": 1, "inner": {"x": 1, "y": 2}, "gone": 3})
    before = db["a"].get(made)
    run(db, lambda ctx: ctx.db.patch(made, {"inner": {"z": 3}, "gone": UNSET, "new": None}))
    after = db["a"].get(made)
    assert after == {
        "_id": made,
        "_creationTime": before._creationTime,
        "keep": 1,
        "inner": {"z": 3},
        "new": None,
    }


def test_patch_takes_the_table_too(memory):
    made = memory["a"].insert({"n": 1})
    run(memory, lambda ctx: ctx.db.patch("a", made, {"n": 2}))
    run(memory, lambda ctx: ctx.db.replace("a", made, {"m": ctx.db.get(made).n + 1}))
    assert memory["a"].get(made)["m"] == 3
    assert "n" not in memory["a"].get(made)


def test_replace_keeps_only_the_system_fields(db):
    made = db["a"].insert({"a": 1, "b": 2})
    before = db["a"].get(made)
    run(db, lambda ctx: ctx.db.replace(made, {"c": 3}))
    assert db["a"].get(made) == {"_id": made, "_creationTime": before._creationTime, "c": 3}


def test_the_documents_own_system_fields_may_be_given_back(memory):
    made = memory["a"].insert({"n": 1})

    def bump(ctx):
        document = ctx.db.get(made)
        ctx.db.replace(made, {**document, "n": 2})
        ctx.db.patch(made, {"_id": made, "_creationTime": document._creationTime, "m": 3})

    run(memory, bump)
    document = memory["a"].get(made)
    assert (document["n"], document["m"]) == (2, 3)


@pytest.mark.parametrize("verb", ["patch", "replace"])
def test_other_system_fields_are_refused(memory, verb):
    made, other = memory["a"].insert([{"n": 1}, {"n": 2}])
    with pytest.raises(InvalidIdError, match=f"Provided document ID {other} doesn't match"):
        run(memory, lambda ctx: getattr(ctx.db, verb)(made, {"_id": other}))
    with pytest.raises(InvalidValueError, match=r"Provided creation time 5\.0 doesn't match") as e:
        run(memory, lambda ctx: getattr(ctx.db, verb)(made, {"_creationTime": 5.0}))
    assert e.value.code == "InvalidCreationTimeError"
    with pytest.raises(InvalidValueError):
        run(memory, lambda ctx: getattr(ctx.db, verb)(made, {"_other": 5.0}))


@pytest.mark.parametrize("verb", ["patch", "replace"])
def test_changes_that_are_no_object_are_refused(memory, verb):
    made = memory["a"].insert({})
    for changes in (None, 3, ["n"]):
        with pytest.raises(
            InvalidValueError,
            match=f"Invalid argument `value` for `db.{verb}`: Value must be an Object",
        ):
            run(memory, lambda ctx, changes=changes: getattr(ctx.db, verb)(made, changes))


@pytest.mark.parametrize(
    "verb, word", [("patch", "Update"), ("replace", "Replace"), ("delete", "Delete")]
)
def test_a_write_to_a_document_that_is_gone_says_so(db, verb, word):
    made = db["a"].insert({})
    db["a"].delete(made)
    arguments = () if verb == "delete" else ({},)
    with pytest.raises(
        NonexistentDocumentError, match=f"{word} on nonexistent document ID {made}"
    ) as caught:
        run(db, lambda ctx: getattr(ctx.db, verb)(made, *arguments))
    assert caught.value.code == "NonexistentDocument"


def test_deleting_twice_in_one_mutation_is_an_error(memory):
    made = memory["a"].insert({})

    def twice(ctx):
        ctx.db.delete(made)
        ctx.db.delete(made)

    with pytest.raises(NonexistentDocumentError, match="Delete on nonexistent"):
        run(memory, twice)
    assert memory["a"].count() == 1


def test_a_document_inserted_and_deleted_in_one_mutation_was_never_there(memory):
    before = memory.number

    def both(ctx):
        made = ctx.db.insert("a", {})
        ctx.db.delete(made)
        return made, ctx.db.get(made), ctx.db.count("a")

    made, found, count = run(memory, both)
    assert (found, count) == (None, 0)
    assert memory["a"].get(made) is None
    assert memory.number == before + 1  # the table is new


# -- unique indexes --------------------------------------------------------------------------------


def test_a_unique_index_holds_one_document_per_key(db):
    @db.table("users", unique={"by_mail": ["mail"]})
    class User:
        mail: str
        name: str = ""

    ann = db["users"].insert({"mail": "ann@x"})
    with pytest.raises(UniqueError) as caught:
        db["users"].insert({"mail": "ann@x"})
    assert caught.value.existing_id == ann
    assert caught.value.index == "by_mail"
    bob = db["users"].insert({"mail": "bob@x"})
    with pytest.raises(UniqueError):
        db["users"].patch(bob, {"mail": "ann@x"})
    db["users"].patch(ann, {"name": "Ann"})  # itself is not in its way

    def swap(ctx):
        ctx.db.patch(ann, {"mail": "tmp"})
        ctx.db.patch(bob, {"mail": "ann@x"})
        ctx.db.patch(ann, {"mail": "bob@x"})

    run(db, swap)
    assert [db["users"].get(each)["mail"] for each in (ann, bob)] == ["bob@x", "ann@x"]


def test_a_unique_index_minds_the_mutations_own_writes(memory):
    @memory.table("users", unique={"by_mail": ["mail"]})
    class User:
        mail: str

    def two(ctx):
        ctx.db.insert("users", {"mail": "x"})
        ctx.db.insert("users", {"mail": "x"})

    with pytest.raises(UniqueError):
        run(memory, two)
    assert memory["users"].count() == 0


# -- system tables ---------------------------------------------------------------------------------


def test_system_tables_are_read_through_system_only(memory):
    thing = memory["a"].insert({})
    with pytest.raises(ReadOnlyError, match=r"System tables can only be accessed with db.system"):
        run(memory, lambda ctx: ctx.db.query("_storage"), "query")
    with pytest.raises(ReadOnlyError, match=r"User tables cannot be accessed with db\.system"):
        run(memory, lambda ctx: ctx.db.system.query("a"), "query")
    with pytest.raises(ReadOnlyError, match=r"User tables cannot be accessed with db\.system"):
        run(memory, lambda ctx: ctx.db.system.get(thing), "query")
    with pytest.raises(ReadOnlyError, match="There is no system table '_other'"):
        run(memory, lambda ctx: ctx.db.system.query("_other"), "query")
    for table in ("_storage", "_scheduled_functions"):
        read = run(memory, lambda ctx, t=table: ctx.db.system.query(t).collect(), "query")
        assert read == []
    assert (
        run(memory, lambda ctx: ctx.db.system.get("z43zp6c3e75gkmz1kfwj6mbbx5sw281h"), "query")
        is None
    )


# -- queries only read -----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["insert", "patch", "replace", "delete"])
def test_a_query_cannot_write(memory, verb):
    with pytest.raises(ReadOnlyError, match=f"A query cannot {verb} documents"):
        run(memory, lambda ctx: getattr(ctx.db, verb)("a", {}), "query")


def test_a_query_cannot_run_a_mutation(memory):
    @memory.mutation
    def write(ctx):
        ctx.db.insert("a", {})

    with pytest.raises(AttributeError, match="Make the function a mutation"):
        run(memory, lambda ctx: ctx.run_mutation(write), "query")
    with pytest.raises(FunctionTypeError, match="queries only read"):
        run(memory, lambda ctx: write(), "query")
    assert "a" not in memory


# -- sql -------------------------------------------------------------------------------------------


def test_sql_in_a_query_sees_the_querys_commit(db):
    db["a"].insert([{"n": n} for n in range(4)])

    def total(ctx, low: int):
        rows = ctx.db.sql("select sum(n)::bigint as total from a where n >= $low", {"low": low})
        return rows[0].total

    assert db.query(total)(low=2) == 5
    db["a"].insert({"n": 10})
    assert db.query(total)(low=2) == 15


def test_sql_in_a_mutation_is_refused(memory):
    memory["a"].insert({"n": 1})
    with pytest.raises(ReadOnlyError, match=r"ctx\.db\.sql is for queries"):
        run(memory, lambda ctx: ctx.db.sql("select * from a"))


def test_wrong_sql_is_an_error_of_the_query(memory):
    with pytest.raises(SqlError):
        run(memory, lambda ctx: ctx.db.sql("select nonsense from nowhere"), "query")


# -- time and randomness ---------------------------------------------------------------------------


def test_now_is_frozen_for_a_run_and_aware(memory):
    def times(ctx):
        return ctx.now, ctx.now

    first, second = run(memory, times, "query")
    assert first == second
    assert first.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=1)


def test_random_differs_between_runs_and_is_one_sequence_in_a_run(memory):
    def draw(ctx):
        return [ctx.random.random(), ctx.random.random()]

    first, second = run(memory, draw, "query"), run(memory, draw, "query")
    assert first[0] != first[1]
    assert first != second


def test_nested_functions_share_time_and_randomness(memory):
    @memory.query
    def inner(ctx):
        return ctx.now, ctx.random.random()

    def outer(ctx):
        return ctx.now, inner()[0], ctx.run_query(inner)[0]

    assert len(set(run(memory, outer, "query"))) == 1


# -- values round trip -----------------------------------------------------------------------------


def test_every_type_comes_back_as_it_was_written(db):
    document = {
        "null": None,
        "bool": True,
        "int": 2**53,
        "whole": 3.0,
        "minus_zero": -0.0,
        "infinity": float("inf"),
        "int64": Int64(2**62),
        "text": "a\x00\U0001f600",
        "bytes": b"\x00\xff",
        "when": datetime(2020, 2, 29, 1, 2, 3, 456789, tzinfo=UTC),
        "nested": {"list": [1, [2.5, {"": None}]]},
    }
    made = db["a"].insert(document)

    def read(ctx):
        return ctx.db.get(made)

    for found in (db["a"].get(made), run(db, read, "query"), db["a"].first()):
        fields = {name: value for name, value in found.items() if name in document}
        assert livedb.values.same_value(fields, document)
        assert list(fields) == list(document)


def test_an_id_annotation_is_a_plain_str_at_run_time(memory):
    made: Id = memory["a"].insert({})
    assert type(made) is str
