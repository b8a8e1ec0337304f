"""A proposed schema fits the documents it was proposed from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypedDict

import pytest

import livedb
from livedb import SchemaDefinitionError


def test_the_proposal_can_be_run_as_a_cell_and_fits() -> None:
    with livedb.open() as db:
        user = db["users"].insert({"name": "Ann"})
        db["tasks"].insert([{"title": "a", "user": user, "n": 1}, {"title": "b", "user": user}])
        proposal = db.infer_schema("tasks")
        assert "class Task" in repr(proposal)
        assert proposal._repr_markdown_() == f"```python\n{proposal}```"
        exec(proposal.source, {"db": db, "__name__": "cell"})
        assert db["tasks"].schema is not None
        assert set(db["tasks"].schema.fields) == {"title", "user", "n"}
        with pytest.raises(livedb.SchemaEnforcementError):
            db["tasks"].insert({"title": 1, "user": user})


def test_the_proposal_begins_with_its_first_line_and_imports_what_it_names() -> None:
    with livedb.open() as db:
        db["users"].insert({"name": "Ann"})
        assert db.infer_schema("users").source.startswith("@db.table(")
        rows = [{"kind": "ab"[n % 2], "at": datetime(2026, 1, 1, tzinfo=UTC)} for n in range(8)]
        db["events"].insert(rows)
        source = db.infer_schema("events").source
        assert source.startswith("from datetime import datetime\nfrom typing import Literal\n\n\n@")
        literal = source.replace("str  # perhaps ", "")
        exec(literal, {"db": db, "__name__": "cell"})
        assert 'v.literal("a")' in str(db["events"].schema)


def test_running_the_proposal_keeps_the_indexes_of_the_table() -> None:
    with livedb.open() as db:

        @db.table("users", indexes={"by_age": ["age", "name"]}, unique={"by_name": ["name"]})
        class User:
            name: str
            age: float

        db["users"].insert({"name": "Ann", "age": 3})
        proposal = db.infer_schema("users")
        exec(proposal.source, {"db": db, "__name__": "cell"})
        assert db["users"].with_index("by_age", age=3).collect()[0].name == "Ann"
        with pytest.raises(livedb.UniqueError):
            db["users"].insert({"name": "Ann", "age": 4})


def test_more_documents_than_a_function_may_read_are_looked_at() -> None:
    with livedb.open() as db:
        db.load("many", [{"n": n} for n in range(40_000)])
        db["many"].insert({"n": "text"})
        assert "str" in db.infer_schema("many").source
        assert "str" not in db.infer_schema("many", sample=100).source


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_table_without_documents_is_refused(name: str) -> None:
    with livedb.open() as db:
        document = db["empty"].insert({"a": 1})
        db["empty"].delete(document)
        with pytest.raises(SchemaDefinitionError, match=name):
            db.infer_schema(name)


def test_an_index_below_a_parent_that_no_document_has_is_left_out_and_named(
    db: livedb.Database,
) -> None:
    class Address(TypedDict):
        city: str

    class Person:
        name: str
        address: Address | None = None

    indexes = {"by_name": ["name"], "by_city": ["address.city"]}
    db.table("people", indexes=indexes)(Person)
    db["people"].insert({"name": "Ann"})
    proposal = db.infer_schema("people")
    assert [index.name for index in proposal.definition.indexes] == ["by_name"]
    assert "# The index by_city on address.city is left out" in proposal.source
    exec(proposal.source, {"db": db, "__name__": "cell"})
