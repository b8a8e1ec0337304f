"""Redefining a table that has documents: filled, refused whole, or free."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import livedb
from livedb import Missing, SchemaChangeError
from livedb.values import UNSET

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def define_first(db) -> None:
    @db.table("tasks")
    class Task:
        title: str


def define_with_status(db) -> None:
    @db.table("tasks", indexes={"by_status": ["status"]})
    class Task:
        title: str
        status: str = "todo"
        due: datetime | None = None
        weight: float = 3


def filled(title: str) -> dict[str, object]:
    return {"title": title, "status": "todo", "due": None, "weight": 3.0}


def fields_of(document) -> dict[str, object]:
    return {name: value for name, value in document.items() if not name.startswith("_")}


def test_a_new_field_with_a_default_is_filled_into_every_document_in_one_commit(db):
    define_first(db)
    db["tasks"].insert([{"title": "a"}, {"title": "b"}])
    before = db.number
    define_with_status(db)
    assert db.number == before + 1
    assert [fields_of(each) for each in db["tasks"].collect()] == [filled("a"), filled("b")]
    rows = db.sql("select title, status, due, weight from tasks order by title").to_arrow()
    assert rows.to_pylist() == [filled("a"), filled("b")]
    assert len(db["tasks"].with_index("by_status", status="todo").collect()) == 2


def test_live_handles_follow_a_fill(memory):
    define_first(memory)
    memory["tasks"].insert({"title": "a"})

    @memory.query
    def titles(ctx) -> list:
        return [each.get("status") for each in ctx.db.query("tasks").collect()]

    by_function, by_sql = titles.live(), memory["tasks"].live()
    assert by_function.value == [None]
    define_with_status(memory)
    assert by_function.value == ["todo"]
    assert by_sql.to_arrow()["status"].to_pylist() == ["todo"]


def test_opening_again_keeps_a_fill_folded_or_not(tmp_path):
    limits = livedb.Limits(fold_idle_s=1e9)
    with livedb.open(tmp_path / "w", limits=limits) as db:
        define_first(db)
        db["tasks"].insert({"title": "a"})
        define_with_status(db)
        db["tasks"].insert({"title": "b", "status": "done"})
        # As a kill would leave it: the log has the fill, the tables have not.
        db.backend.workspace.folder.fold = lambda: 0
        assert db.backend.workspace.tables.folded_number < db.number
    with livedb.open(tmp_path / "w", limits=limits) as db:
        found = [fields_of(each) for each in db["tasks"].collect()]
        assert found == [filled("a"), {**filled("b"), "status": "done"}]


def test_what_a_document_was_before_a_fill_is_history(memory):
    define_first(memory)
    document_id = memory["tasks"].insert({"title": "a"})
    define_with_status(memory)
    workspace = memory.backend.workspace
    number = workspace.committer.catalog.number_of("tasks")
    with workspace.folder.snapshot() as snapshot:
        versions = snapshot.history(number, document_id)
    assert [each.valid_to for each in versions] == [memory.number, None]
    assert versions[0].document.text == b'\x00{"title":"a"}'


def test_a_refusal_fills_nothing(db):
    define_first(db)
    db["tasks"].insert({"title": "a"})
    before = db.number
    with pytest.raises(SchemaChangeError, match="missing the required field `owner`"):

        @db.table("tasks")
        class Task:
            title: str
            status: str = "todo"
            owner: str

    assert db.number == before
    assert fields_of(db["tasks"].first()) == {"title": "a"}


def test_a_unique_index_is_judged_by_the_filled_documents(memory):
    define_first(memory)
    memory["tasks"].insert([{"title": "a"}, {"title": "b"}])
    with pytest.raises(SchemaChangeError, match="has the same code as"):

        @memory.table("tasks", unique={"by_code": ["code"]})
        class Task:
            title: str
            code: str = "x"

    assert fields_of(memory["tasks"].first()) == {"title": "a"}


def test_only_what_is_required_and_absent_is_filled(memory):
    memory["tasks"].insert([{"title": "a", "status": None}, {"title": "b", "note": "n"}])

    @memory.table("tasks")
    class Task:
        title: str
        status: str | None = "todo"
        note: str | Missing = "none"
        tag: str | Missing = UNSET

    assert [fields_of(each) for each in memory["tasks"].collect()] == [
        {"title": "a", "status": None},
        {"title": "b", "note": "n", "status": "todo"},
    ]


def test_a_default_inside_of_an_object_is_filled(memory):
    class Address:
        city: str

    @memory.table("people")
    class Person:
        address: Address

    memory["people"].insert([{"address": {"city": "Delft"}}])

    class WithCountry:
        city: str
        country: str = "NL"

    @memory.table("people")
    class PersonWithCountry:
        address: WithCountry

    assert memory["people"].first()["address"] == {"city": "Delft", "country": "NL"}
    found = memory.sql("select address->>'country' as country from people").to_arrow()
    assert found["country"].to_pylist() == ["NL"]


def test_a_fill_that_makes_documents_too_large_is_refused_whole(db):
    define_first(db)
    limit = (1 << 20) - 70
    small, large = db["tasks"].insert([{"title": "a"}, {"title": "x" * (limit - 10)}])
    number = db.number
    with pytest.raises(SchemaChangeError, match=f'(?s)1 of its documents .*"{large}": .* bytes'):

        @db.table("tasks")
        class Task:
            title: str
            note: str = "y" * 60

    assert db.number == number
    assert fields_of(db["tasks"].get(small)) == {"title": "a"}
    db["tasks"].delete(large)

    @db.table("tasks")
    class Again:
        title: str
        note: str = "y" * 60

    assert fields_of(db["tasks"].get(small)) == {"title": "a", "note": "y" * 60}


def test_a_fill_inside_of_many_objects_is_refused_where_it_makes_a_document_too_large(memory):
    class Line:
        n: int

    @memory.table("orders")
    class Order:
        lines: list[Line]

    large = memory["orders"].insert({"lines": [{"n": n} for n in range(8_000)]})
    memory["orders"].insert({"lines": [{"n": 1}]})

    class LineWithUnit:
        n: int
        unit: str = "u" * 200

    with pytest.raises(SchemaChangeError, match="1 of its documents") as caught:

        @memory.table("orders")
        class OrderWithUnits:
            lines: list[LineWithUnit]

    assert caught.value.ids == (large,)


def test_a_changed_default_leaves_documents_alone(memory):
    define_with_status(memory)
    memory["tasks"].insert({"title": "a"})

    @memory.table("tasks", indexes={"by_status": ["status"]})
    class Task:
        title: str
        status: str = "open"
        due: datetime | None = None
        weight: float = 3

    assert fields_of(memory["tasks"].first()) == filled("a")


def test_a_fill_of_many_documents_makes_no_object_of_each(memory, monkeypatch):
    define_first(memory)
    memory.load("tasks", [{"title": str(n)} for n in range(20_000)], progress=False)
    monkeypatch.setattr("livedb.store.filled.decode_fields", None)
    monkeypatch.setattr("livedb.store.check_rows.decode_fields", None)
    define_with_status(memory)
    counted = memory.sql("select status, weight, count(*) as n from tasks group by all").to_arrow()
    assert counted.to_pylist() == [{"status": "todo", "weight": 3.0, "n": 20_000}]


def test_defining_an_unchanged_table_commits_folds_and_reads_nothing(db, monkeypatch):
    define_with_status(db)
    db["tasks"].insert({"title": "a"})
    workspace = db.backend.workspace
    before = workspace.statistics()

    def fail(*_: object) -> None:
        raise AssertionError("an unchanged table was looked at")

    for name in ("fold", "snapshot", "snapshot_at"):
        monkeypatch.setattr(workspace.folder, name, fail)
    monkeypatch.setattr(workspace.schema_changes, "_apply_in_turn", fail)
    define_with_status(db)
    assert workspace.statistics() == before
    monkeypatch.undo()


def test_a_field_is_dropped_by_following_what_the_refusal_says(db):
    define_with_status(db)
    document = db["tasks"].insert({"title": "a"})
    with pytest.raises(SchemaChangeError, match=r"To drop a field \('status', 'due', 'weight'\)"):
        define_first(db)
    with pytest.raises(SchemaChangeError, match=r"let it be absent \(`\| Missing = UNSET`\)"):
        define_first(db)

    @db.table("tasks")
    class Task:
        title: str
        status: str | Missing = UNSET
        due: datetime | Missing | None = UNSET
        weight: float | Missing = UNSET

    with pytest.raises(SchemaChangeError, match=r"\), patch it to UNSET .*'status': UNSET") as said:
        define_first(db)
    assert "Missing" not in str(said.value)
    db["tasks"].patch(document, {"status": UNSET, "due": UNSET, "weight": UNSET})
    define_first(db)
    assert [fields_of(each) for each in db["tasks"].collect()] == [{"title": "a"}]


def test_a_table_without_a_schema_gets_one_once_what_is_left_over_is_patched_away(db):
    document = db["tasks"].insert({"title": "a", "odd": 1})
    with pytest.raises(SchemaChangeError, match=r"Patching a field to livedb\.UNSET removes it"):
        define_first(db)
    db["tasks"].patch(document, {"odd": UNSET})
    define_first(db)
