"""Decorators: what they define, and what they refuse with advice."""

from __future__ import annotations

import functools

import pandas as pd
import pytest

import livedb
from livedb.errors import SchemaChangeError, TravelError
from tests.conftest import connected

PRICES = pd.DataFrame({"n": [1]})


def test_query_and_mutation_decorate_functions(memory):
    with pytest.raises(TypeError, match=r"use db\['tasks'\]"):
        memory.query("tasks")

    class Task:
        pass

    with pytest.raises(TypeError, match=r"use db\['Task'\]"):
        memory.query(Task)
    with pytest.raises(TypeError, match=r"db\.table\(\"tasks\"\)"):
        memory.table(Task)


def test_defining_a_table_again_as_it_is_costs_no_commit(db):
    def define():
        @db.table("tasks", indexes={"by_rank": ["rank"]})
        class Task:
            rank: int = 0

    define()
    number = db.number
    define()
    assert db.number == number


def test_a_change_that_documents_do_not_fit_changes_nothing(db):
    @db.table("tasks")
    class Task:
        rank: str

    made = db["tasks"].insert({"rank": "high"})
    before = db["tasks"].schema
    with pytest.raises(SchemaChangeError) as caught:

        @db.table("tasks")
        class Task:
            rank: int

    assert caught.value.ids == (made,)
    assert caught.value.count == 1
    assert db["tasks"].schema == before
    db["tasks"].insert({"rank": "low"})


def test_pushing_a_schema(memory):
    schema = livedb.define_schema({"a": livedb.define_table({"n": livedb.v.number()})})
    assert memory.push(schema) == []
    assert memory.tables == ["a"]


def test_a_schema_without_validation_checks_no_document_and_no_change(memory):
    number = livedb.define_table({"n": livedb.v.number()}).index("by_n", ["n"])
    free = livedb.define_schema({"a": number}, schema_validation=False)
    memory.push(free)
    memory["a"].insert([{"n": "text"}, {"m": 1}])
    memory.push(free)
    assert [row["n"] for row in memory["a"].with_index("by_n", n="text")] == ["text"]
    assert memory.sql("select n from a where n is not null").to_arrow().to_pylist() == [
        {"n": "text"}
    ]
    assert str(free.doc("a")).count("number") == 2
    with pytest.raises(livedb.SchemaChangeError):
        memory.push(livedb.define_schema({"a": number}))


def permitted_only(function):
    """A guard as users write one."""

    @functools.wraps(function)
    def guarded(ctx, *args, **kwargs):
        if kwargs.get("n") == -1:
            raise livedb.ApplicationError("not permitted")
        return function(ctx, *args, **kwargs)

    return guarded


def test_a_decorator_below_ours_is_part_of_the_function(db):
    @db.query
    @permitted_only
    def shown(ctx, n: int = 0) -> list[int]:
        return [n]

    @db.mutation
    @permitted_only
    def kept(ctx, n: int) -> str:
        return ctx.db.insert("kept", {"n": n})

    @db.action
    @permitted_only
    async def sent(ctx, n: int) -> int:
        return n + 1

    assert (shown(n=2), shown.live(n=3).value, sent(n=1)) == ([2], [3], 2)
    kept(n=1)
    for call in (shown, kept, sent, lambda n: shown.live(n=n).value):
        with pytest.raises(livedb.ApplicationError, match="not permitted"):
            call(n=-1)
    assert [each["n"] for each in db["kept"]] == [1]
    with pytest.raises(livedb.ArgumentValidationError):
        shown(n="two")


def test_what_cannot_travel_is_refused_without_a_warning_of_the_same():
    def priced(ctx) -> int:
        return len(PRICES)

    with livedb.open() as served, connected(served) as db:
        with pytest.raises(TravelError, match="PRICES"):
            db.query(priced)
        assert list(served.functions) == []
