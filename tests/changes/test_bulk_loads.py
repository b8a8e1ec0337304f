"""Loads of several tables: added to, replaced, with numbers of their own; one commit or none."""

from __future__ import annotations

import pytest

import livedb
from livedb import define_schema, define_table, v
from livedb.changes.bulk_loads import TableLoad, plan_of
from livedb.clock import SystemClock
from livedb.commitlog.payload import ClearPart, LoadPart, decode_payload
from livedb.errors import LoadError, SchemaEnforcementError, UniqueError
from livedb.ids import IdFactory
from livedb.interchange.sources import open_source

IDS = IdFactory(SystemClock())


def rows_of(*rows):
    return open_source(list(rows))


def own(number, **fields):
    """A row with an id of the table `number`."""
    return {"_id": IDS.new(number), "_creationTime": 1.5, **fields}


def replace(table, *rows, number=None):
    keep = bool(rows) and "_id" in rows[0]
    source = rows_of(*rows) if rows else None
    return TableLoad(table=table, source=source, keep_ids=keep, number=number, is_replaced=True)


def load(db, *loads):
    return db.backend.workspace.load_tables(loads)


def number_of(db, table):
    return db.backend.catalog().number_of(table)


def values(db, table, field="n"):
    """As functions, as SQL, see it; they must agree."""
    from_functions = sorted(row[field] for row in db[table].collect())
    from_sql = db.sql(f"select {field} from {table} order by 1").to_arrow()[field].to_pylist()
    assert from_functions == from_sql
    return from_sql


def test_several_tables_are_replaced_and_added_to_in_one_commit(db):
    db["a"].insert([{"n": 1}, {"n": 2}])
    db["b"].insert({"n": 3})
    live = db["a"].live()
    before = db.number
    added = TableLoad(table="b", source=rows_of({"n": 4}))
    rows, number = load(db, replace("a", {"n": 7}), added, replace("new", {"n": 8}))
    assert (rows, number) == ({"a": 1, "b": 1, "new": 1}, before + 1)
    assert [values(db, table) for table in ("a", "b", "new")] == [[7], [3, 4], [8]]
    assert live.value["n"].to_pylist() == [7]
    parts = next(iter(db.backend.workspace.log.read(after=before))).payload
    kinds = [type(part) for part in decode_payload(parts)]
    assert kinds.count(ClearPart) == 1
    assert kinds.count(LoadPart) == 3


def test_a_table_is_only_emptied_when_there_are_no_rows_to_load(db):
    db["a"].insert([{"n": 1}, {"n": 2}])
    assert load(db, replace("a"))[0] == {"a": 0}
    assert values(db, "a") == []
    db["a"].insert({"n": 5})
    assert values(db, "a") == [5]


def test_replaced_documents_are_history(db):
    one = db["a"].insert({"n": 1})
    load(db, replace("a", {"n": 7}))
    with db.backend.workspace.folder.snapshot() as snapshot:
        (version,) = snapshot.history(number_of(db, "a"), one)
    assert version.valid_to == db.number


def test_tables_take_the_numbers_of_the_ids_that_come(db):
    db["a"].insert({"n": 1})
    db["b"].insert({"n": 2})
    a, b = number_of(db, "a"), number_of(db, "b")
    load(db, replace("a", own(b, n=3), number=b), replace("b", own(a, n=4), number=a))
    assert (number_of(db, "a"), number_of(db, "b")) == (b, a)
    assert (values(db, "a"), values(db, "b")) == ([3], [4])
    load(db, replace("a", own(b + 50, n=5), number=b + 50))
    assert (number_of(db, "a"), values(db, "a"), values(db, "b")) == (b + 50, [5], [4])
    db["c"].insert({"n": 6})
    assert number_of(db, "c") == b + 51


def test_a_number_that_another_table_has_is_refused(db):
    db["a"].insert({"n": 1})
    a = number_of(db, "a")
    with pytest.raises(LoadError, match="which is here that of 'a'"):
        load(db, replace("b", own(a, n=3), number=a))
    added = TableLoad(table="a", source=rows_of(own(a + 7, n=2)), keep_ids=True, number=a + 7)
    with pytest.raises(LoadError, match=f"here it has {a}"):
        load(db, added)
    assert values(db, "a") == [1]
    assert db.tables == ["a"]


@pytest.mark.parametrize("number", [1, 10_000, 2**31])
def test_a_number_that_no_table_can_have_is_refused(memory, number):
    with pytest.raises(LoadError, match="which no table of documents has"):
        load(memory, replace("b", own(number, n=3), number=number))
    assert memory.tables == []


def test_a_replaced_table_keeps_its_schema_and_its_unique_keys(db):
    table = define_table({"n": v.integer()}).index("by_n", ["n"], unique=True)
    db.push(define_schema({"a": table}))
    db["a"].insert({"n": 1})
    number = number_of(db, "a") + 9
    load(db, replace("a", own(number, n=1), own(number, n=2), number=number))
    assert values(db, "a") == [1, 2]
    with pytest.raises(UniqueError):
        load(db, replace("a", {"n": 5}, {"n": 5}))
    with pytest.raises(SchemaEnforcementError):
        load(db, replace("b", {"n": 5}), replace("a", {"n": "text"}))
    assert values(db, "a") == [1, 2]
    assert db.tables == ["a"]


def test_a_refused_load_leaves_no_file(db):
    before = sorted(db.backend.workspace.files.loads.iterdir())
    with pytest.raises(LoadError):
        load(db, replace("b", {"n": 5}), replace("a", own(10_999, n=1), number=10_998))
    assert sorted(db.backend.workspace.files.loads.iterdir()) == before


def test_ids_that_a_schema_names_are_judged_by_the_numbers_afterwards(db):
    db.push(define_schema({"a": define_table({"b": v.id("b")}), "b": define_table({})}))
    child = own(20_002)
    parent = own(20_001, b=child["_id"])
    load(db, replace("a", parent, number=20_001), replace("b", child, number=20_002))
    assert values(db, "a", "b") == [child["_id"]]


def test_what_was_replaced_is_read_again_after_a_reopen(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        db["a"].insert([{"n": 1}, {"n": 2}])
        number = number_of(db, "a") + 5
        load(db, replace("a", own(number, n=3), number=number), replace("b", {"n": 4}))
    with livedb.open(tmp_path / "work") as db:
        assert (values(db, "a"), values(db, "b")) == ([3], [4])


def test_a_commit_that_was_not_folded_is_replayed(tmp_path, monkeypatch):
    with livedb.open(tmp_path / "work") as db:
        db["a"].insert([{"n": 1}, {"n": 2}])
        db["b"].insert({"n": 9})
        a, b = number_of(db, "a"), number_of(db, "b")
        load(db, replace("a", own(b, n=3), number=b), replace("b", own(a, n=4), number=a))
        db["a"].insert({"n": 5})
        monkeypatch.setattr(db.backend.workspace.folder, "fold", lambda: 0)
    with livedb.open(tmp_path / "work") as db:
        assert (values(db, "a"), values(db, "b")) == ([3, 5], [4])


def test_a_plan_says_what_is_cleared_and_what_is_dropped(memory):
    memory["a"].insert({})
    memory["b"].insert({})
    catalog = memory.backend.catalog()
    a, b = catalog.number_of("a"), catalog.number_of("b")
    plan = plan_of(catalog, [replace("a", number=b), replace("b", number=b + 9)])
    assert (plan.cleared, plan.dropped) == ({b}, {a})
    assert plan.catalog.names() == ["a", "b"]


def test_an_emptied_table_gives_way_to_the_ids_of_another(db):
    db["a"].insert({"n": 1})
    a = number_of(db, "a")
    load(db, TableLoad(table="a", source=None, is_replaced=True), replace("b", own(a), number=a))
    assert (number_of(db, "a"), number_of(db, "b")) == (a + 1, a)
    assert (db["a"].count(), db["b"].count()) == (0, 1)


# -- files -----------------------------------------------------------------------------------------


def load_files(db):
    return list(db.backend.workspace.files.loads.iterdir())


def test_the_file_of_a_load_is_deleted_once_the_tables_have_its_rows(db):
    for n in range(3):
        db.load("t", [{"n": n}])
        assert len(load_files(db)) == 1  # the check of the next load folds the one before
    assert db.sql("select sum(n) s from t").to_arrow().to_pylist() == [{"s": 3}]
    assert load_files(db) == []


def test_a_load_whose_file_has_the_name_of_one_that_is_folded_meanwhile_keeps_it(db):
    row = own(10_001, n=1)
    for _ in range(3):
        load(db, replace("t", row))
    assert len(load_files(db)) == 1
    assert db.sql("select n from t").to_arrow().to_pylist() == [{"n": 1}]
    assert load_files(db) == []
