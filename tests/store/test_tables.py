"""The tables in DuckDB hold every document of one commit, whatever the documents are."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livedb.errors import ClosedError, DamagedError, FoldError, FormatError, SqlError
from livedb.ids import sequence_of
from livedb.limits import COLUMNS_MAX, Limits
from livedb.schema.catalog import Catalog
from livedb.schema.namespace import v
from livedb.store.columns import Column, plan_columns, project
from livedb.store.contract import StoredDocument
from livedb.store.tables import TableStore
from livedb.testing.strategies import hostile_documents, identifiers, values
from livedb.text import decode_fields, decode_value, encode_fields, encode_value
from livedb.values import Int64, Value
from tests.store.table_fixtures import TASKS, Folder, catalog_of, new_ids, open_store, stored, write
from tests.thorough import examples

A_YEAR = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TableStore]:
    store = open_store(tmp_path, in_memory=request.param == "memory")
    yield store
    store.close()


@pytest.fixture
def tasks(store: TableStore) -> Folder:
    return Folder(store, catalog_of(tasks=None))


def state(store: TableStore, table: int = TASKS) -> dict[str, tuple[float, bytes]]:
    with store.snapshot() as snapshot:
        loaded = snapshot.load_table(table)
    columns = (loaded.ids, loaded.creation_times, loaded.texts)
    ids, times, texts = (column.to_pylist() for column in columns)
    return {each: (time, text) for each, time, text in zip(ids, times, texts, strict=True)}


# A fold.


def test_a_folded_document_is_read_by_sql(tasks: Folder) -> None:
    [one] = new_ids(1)
    tasks.fold([write(one, {"title": "a", "n": 1})])
    assert tasks.rows("select _id, title, n from tasks") == [{"_id": one, "title": "a", "n": 1}]


def test_a_view_shows_id_creation_time_and_the_fields_in_the_order_seen(tasks: Folder) -> None:
    [one] = new_ids(1)
    tasks.fold([write(one, {"zeta": 1, "alpha": 2}, creation_time=12.5)])
    assert tasks.rows("from tasks") == [
        {"_id": one, "_creationTime": 12.5, "zeta": 1, "alpha": 2},
    ]


def test_the_last_write_of_a_document_wins_and_a_deletion_removes_it(tasks: Folder) -> None:
    one, two, three = new_ids(3)
    tasks.fold([write(one, {"n": 1}), write(two, {"n": 2}), write(three, {"n": 3})])
    tasks.fold([write(one, {"n": 4}), write(two, None)], [write(one, {"n": 5})])
    assert tasks.rows("select _id, n from tasks order by n") == [
        {"_id": three, "n": 3},
        {"_id": one, "n": 5},
    ]


def test_commits_already_folded_are_passed_over(tasks: Folder) -> None:
    [one] = new_ids(1)
    tasks.fold([write(one, {"n": 1})])
    entries = [(1, [write(one, {"n": 1})]), (2, [write(one, {"n": 2})])]
    tasks.store.fold(tasks.catalog, entries, until=2, chain=b"two")
    assert tasks.rows("select n from tasks") == [{"n": 2}]
    assert (tasks.store.folded_number, tasks.store.folded_chain) == (2, b"two")


def test_an_imported_id_with_the_sequence_of_another_deletes_only_itself(tasks: Folder) -> None:
    one, two = new_ids(2)
    [foreign] = new_ids(1, table=TASKS + 1)
    assert sequence_of(foreign) == sequence_of(one)
    tasks.fold([write(one, {"n": 1}), write(foreign, {"n": 2}), write(two, {"n": 3})])
    tasks.fold([write(foreign, None)])
    tasks.fold([write(two, None), write(foreign, {"n": 5})])
    assert sorted(state(tasks.store)) == sorted([one, foreign])


def test_a_store_opened_again_is_where_it_was(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    one, two = new_ids(2)
    catalog = catalog_of(tasks=None)
    Folder(store, catalog).fold([write(one, {"n": 1, "x": None})])
    store.close()
    store = open_store(tmp_path)
    assert (store.folded_number, store.folded_chain) == (1, b"1")
    again = Folder(store, catalog)
    again.fold([write(one, {"n": 2.5, "x": "late"}), write(two, {"n": 3})])
    assert again.rows("select n, x from tasks order by n") == [
        {"n": 2.5, "x": "late"},
        {"n": 3.0, "x": None},
    ]
    store.close()


def test_reads_of_a_snapshot_stay_at_its_number_through_folds_and_alters(tasks: Folder) -> None:
    one, two = new_ids(2)
    tasks.fold([write(one, {"n": 1})])
    with tasks.store.snapshot() as snapshot:
        tasks.fold([write(one, {"n": 2.5, "new": "x"}), write(two, {"n": 3})])
        assert snapshot.number == 1
        assert snapshot.load_table(TASKS).number == 1
        table, _ = snapshot.run_sql("from tasks", catalog=tasks.catalog)
        assert table.to_pylist() == [{"_id": one, "_creationTime": 1.0, "n": 1}]
    assert len(tasks.rows("from tasks")) == 2


# Columns.


def test_an_integer_column_widens_when_a_float_comes_and_the_document_stays_exact(
    tasks: Folder,
) -> None:
    one, two = new_ids(2)
    tasks.fold([write(one, {"n": 2**53})])
    assert tasks.rows("select typeof(n) t from tasks") == [{"t": "BIGINT"}]
    tasks.fold([write(two, {"n": 0.5})])
    assert tasks.rows("select n, typeof(n) t from tasks order by n") == [
        {"n": 0.5, "t": "DOUBLE"},
        {"n": float(2**53), "t": "DOUBLE"},
    ]
    assert decode_fields(state(tasks.store)[one][1]) == {"n": 2**53}


def test_a_widened_column_shows_no_number_that_a_double_would_round(tasks: Folder) -> None:
    one, two, three = new_ids(3)
    wide = '{"$int64":"9223372036854775807"}'
    tasks.fold([write(one, {"n": Int64(2**63 - 1)}), write(two, {"n": Int64(5)})])
    tasks.fold([write(three, {"n": math.inf})])
    assert tasks.rows("select n, n__json from tasks order by _id") == [
        {"n": None, "n__json": wide},
        {"n": 5.0, "n__json": None},
        {"n": math.inf, "n__json": None},
    ]
    tasks.fold([write(two, {"n": Int64(2**63 - 1)})])
    assert tasks.rows("select n, n__json from tasks where _id = ?", [two]) == [
        {"n": None, "n__json": wide}
    ]


def test_slices_of_one_fold_widen_a_column_as_folds_of_their_own(
    tasks: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livedb.store.fold.SLICE_ROWS", 1)
    one, two = new_ids(2)
    tasks.fold([write(one, {"n": Int64(2**53 + 1)}), write(two, {"n": 0.5})])
    assert tasks.rows("select n, n__json from tasks order by _id") == [
        {"n": None, "n__json": '{"$int64":"9007199254740993"}'},
        {"n": 0.5, "n__json": None},
    ]


def test_a_value_of_another_type_is_null_and_appears_as_json_beside(tasks: Folder) -> None:
    one, two, three = new_ids(3)
    tasks.fold([write(one, {"a": "text"})])
    tasks.fold([write(two, {"a": {"b": [1]}}), write(three, {"a": "more"})])
    assert tasks.rows("select a, a__json from tasks order by _id") == [
        {"a": "text", "a__json": None},
        {"a": None, "a__json": '{"b":[1]}'},
        {"a": "more", "a__json": None},
    ]
    tasks.fold([write(two, {"a": "text now"})])
    assert tasks.rows("select a, a__json from tasks where _id = ?", [two]) == [
        {"a": "text now", "a__json": None}
    ]


def test_a_field_only_null_so_far_has_a_column_that_takes_the_first_type(tasks: Folder) -> None:
    one, two = new_ids(2)
    tasks.fold([write(one, {"due": None})])
    assert tasks.rows("select due from tasks") == [{"due": None}]
    tasks.fold([write(two, {"due": A_YEAR})])
    assert tasks.rows("select due from tasks order by _id") == [{"due": None}, {"due": A_YEAR}]


def test_every_type_has_its_column(tasks: Folder) -> None:
    [one] = new_ids(1)
    fields: dict[str, Value] = {
        "b": True,
        "i": 3,
        "l": Int64(2**62),
        "f": math.nan,
        "s": "x\x00y",
        "y": b"\x00\xff",
        "d": A_YEAR,
        "a": [1, "x"],
        "o": {"k": Int64(5)},
    }
    tasks.fold([write(one, fields)])
    [types] = tasks.rows(f"select {', '.join(f'typeof({name}) as {name}' for name in fields)} "
                         "from tasks")  # fmt: skip
    assert list(types.values()) == [
        "BOOLEAN", "BIGINT", "BIGINT", "DOUBLE", "VARCHAR", "BLOB", "TIMESTAMP WITH TIME ZONE",
        "JSON", "JSON",
    ]  # fmt: skip
    [row] = tasks.rows("select * exclude (_id, _creationTime, f), isnan(f) as f from tasks")
    assert row == fields | {"f": True, "a": '[1,"x"]', "o": '{"k":{"$int64":"5"}}'}


def test_fields_beyond_the_limit_and_names_that_collide_live_only_in_the_document(
    tasks: Folder,
) -> None:
    [one] = new_ids(1)
    fields: dict[str, Value] = {f"f{at}": at for at in range(COLUMNS_MAX)}
    fields |= {"F0": "collides", "": 1, "last": 2}
    tasks.fold([write(one, fields)])
    [row] = tasks.rows("from tasks")
    assert set(row) == {"_id", "_creationTime", *(f"f{at}" for at in range(COLUMNS_MAX))}
    assert decode_fields(state(tasks.store)[one][1]) == fields


def fold_steps(
    documents: st.SearchStrategy[dict[str, Value]],
) -> st.SearchStrategy[list[list[tuple[int, dict[str, Value] | None]]]]:
    step = st.tuples(st.integers(0, 4), st.none() | documents)
    return st.lists(st.lists(step, max_size=4), max_size=5)


@given(
    fold_steps(hostile_documents()),
    st.dictionaries(identifiers(), values(max_leaves=3), max_size=2),
    st.booleans(),
)
@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow])
def test_a_fold_takes_every_document_and_gives_each_back_to_the_last_bit(
    steps: list[list[tuple[int, dict[str, Value] | None]]],
    shared: dict[str, Value],
    knows_old: bool,  # noqa: FBT001
) -> None:
    check_folds(steps, shared, knows_old=knows_old)


# A few that meet often, for a column is given its type by the first ones.
meeting = st.sampled_from([1, 0.5, math.nan, Int64(5), Int64(2**53 + 1), Int64(2**63 - 1)])
some_number = st.builds(lambda number: {"a": number}, meeting)
numeric_step = st.lists(st.tuples(st.integers(0, 4), some_number), min_size=1, max_size=4)


@given(st.lists(numeric_step, min_size=2, max_size=5))
@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow])
def test_numbers_of_every_kind_that_meet_in_one_column_are_shown_exactly_or_as_json(
    steps: list[list[tuple[int, dict[str, Value] | None]]],
) -> None:
    check_folds(steps, {}, knows_old=True)


def check_folds(
    steps: list[list[tuple[int, dict[str, Value] | None]]],
    shared: dict[str, Value],
    *,
    knows_old: bool,
) -> None:
    ids = [*new_ids(4), *new_ids(1, table=TASKS + 1)]  # The last has the sequence of the first.
    expected: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder), in_memory=True)
        tasks = Folder(store, catalog_of(tasks=None))
        tasks.knows_old = knows_old
        for step in steps:
            for at, fields in step:
                if fields is None:
                    expected.pop(ids[at], None)
                else:
                    expected[ids[at]] = encode_fields(fields | shared)
            tasks.fold(
                [write(ids[at], None if fields is None else fields | shared) for at, fields in step]
            )
            found = {each: text for each, (_, text) in state(store).items()}
            assert found == expected
            rows = tasks.rows("from tasks")
            assert {row["_id"] for row in rows} == set(expected)
            for row in rows:
                check_row(row, decode_fields(expected[row["_id"]]))
        store.close()


def check_row(row: dict[str, Value], fields: dict[str, Value]) -> None:
    """A column shows the field's value, or NULL: then the JSON column shows it, if there is one."""
    for name, value in fields.items():
        if name not in row or value is None:
            continue
        shown, spilled = row[name], row.get(f"{name}__json")
        if shown is None and isinstance(spilled, str):
            if not has_same_json(spilled, value):
                raise AssertionError((name, value, row))
            continue
        if isinstance(value, (dict, list)) or (isinstance(shown, str) and shown != value):
            continue
        if shown is None:
            assert f"{name}__json" not in row, (name, value, row)
        elif isinstance(value, float) and math.isnan(value):
            assert math.isnan(shown)
        else:
            assert shown == value, (name, value, row)  # as Python compares numbers: exactly


def has_same_json(text: str, value: Value) -> bool:
    return encode_value(decode_value(text.encode())) == encode_value(value)


def test_a_document_of_a_mebibyte_and_one_nested_to_the_limit_are_folded(tasks: Folder) -> None:
    one, two = new_ids(2)
    deep: Value = "leaf"
    for level in range(15):
        deep = [deep] if level % 2 else {"k": deep}
    tasks.fold([write(one, {"s": "\x00é" * (1 << 18)}), write(two, {"s": deep})])
    assert tasks.rows("select length(s) n from tasks order by _id") == [
        {"n": 1 << 19},
        {"n": None},
    ]


@pytest.mark.parametrize("name", ["select", 'a"b', "a'b", "a b", "a.b", "rowid", "_ID", "%s", "?"])
def test_any_name_may_be_a_field(tasks: Folder, name: str) -> None:
    one, two = new_ids(2)
    tasks.fold([write(one, {name: 1})])
    tasks.fold([write(two, {name: "x"}), write(one, {name: 2.5})])
    quoted = '"' + name.replace('"', '""') + '"'
    if name != "_ID":
        assert tasks.rows(f"select {quoted} as n from tasks order by _id") == [
            {"n": 2.5},
            {"n": None},
        ]


@pytest.mark.parametrize("name", ["select", "order", "data", "meta", "main", "duckdb_tables", "T"])
def test_any_table_name_is_a_table(store: TableStore, name: str) -> None:
    folder = Folder(store, catalog_of(**{name: None}))
    [one] = new_ids(1)
    folder.fold([write(one, {"n": 1})])
    folder.fold([write(one, {"n": 2})])
    assert folder.rows(f'select n from "{name}"') == [{"n": 2}]
    folder.catalog = Catalog()
    folder.fold([])
    folder.catalog = catalog_of(**{name: None})
    folder.fold([write(one, {"n": 1})])
    assert folder.rows(f'select n from "{name}"') == [{"n": 1}]


# Schema changes.


def test_declared_fields_come_first_in_schema_order_with_their_types(store: TableStore) -> None:
    document = v.object({"z": v.number(), "a": v.integer(), "when": v.datetime(), "any": v.any()})
    tasks = Folder(store, catalog_of(tasks=document))
    [one] = new_ids(1)
    tasks.fold([write(one, {"a": 3, "when": A_YEAR, "any": "x", "z": 3.0})])
    [row] = tasks.rows("from tasks")
    assert list(row) == ["_id", "_creationTime", "z", "a", "when", "any"]
    assert row | {"_id": 0} == {
        "_id": 0, "_creationTime": 1.0, "z": 3.0, "a": 3, "when": A_YEAR, "any": '"x"',
    }  # fmt: skip


def test_an_empty_table_has_its_declared_columns(store: TableStore) -> None:
    tasks = Folder(store, catalog_of(tasks=v.object({"n": v.integer(), "s": v.string()})))
    tasks.fold([])
    table, _ = store.run_sql("from tasks", catalog=tasks.catalog)
    assert table.num_rows == 0
    assert table.schema.field("n").type == pa.int64()


def test_a_schema_change_fills_columns_from_the_documents(store: TableStore) -> None:
    tasks = Folder(store, catalog_of(tasks=None))
    ids = new_ids(5)
    seen: list[Value] = ["x", 1, 2.5, None, [1]]
    tasks.fold([write(each, {"n": value, "b": 1}) for each, value in zip(ids, seen, strict=True)])
    assert tasks.rows("select n from tasks order by _id")[:2] == [{"n": "x"}, {"n": None}]
    tasks.catalog = catalog_of(tasks=v.object({"n": v.number(), "c": v.string()}))
    tasks.fold([])
    rows = tasks.rows("from tasks order by _id")
    assert [row["n"] for row in rows] == [None, 1.0, 2.5, None, None]
    assert [row["n__json"] for row in rows] == ['"x"', None, None, None, "[1]"]
    assert [row["b"] for row in rows] == [1] * 5
    assert [row["c"] for row in rows] == [None] * 5
    assert list(rows[0])[:4] == ["_id", "_creationTime", "n", "c"]


def test_a_field_dropped_from_the_schema_keeps_its_column_only_while_it_has_values(
    store: TableStore,
) -> None:
    both = v.object({"a": v.integer(), "b": v.optional(v.integer())})
    tasks = Folder(store, catalog_of(tasks=both))
    [one] = new_ids(1)
    tasks.fold([write(one, {"a": 1, "b": 2})])
    tasks.catalog = catalog_of(tasks=v.object({"a": v.integer()}))
    tasks.fold([])
    assert list(tasks.rows("from tasks")[0]) == ["_id", "_creationTime", "a", "b"]
    tasks.catalog = catalog_of(tasks=both)
    tasks.fold([write(one, {"a": 1})])
    tasks.catalog = catalog_of(tasks=v.object({"a": v.integer()}))
    tasks.fold([])
    assert list(tasks.rows("from tasks")[0]) == ["_id", "_creationTime", "a"]


@given(
    st.lists(hostile_documents(), max_size=6),
    st.lists(
        st.sampled_from(["string", "number", "integer", "any", "boolean", "datetime", "int64"]),
        max_size=3,
    ),
)
@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.too_slow])
def test_after_any_schema_change_the_columns_are_those_of_a_fresh_projection(
    documents: list[dict[str, Value]], kinds: list[str]
) -> None:
    ids = new_ids(len(documents))
    names = ["a", "b", "select"]
    declared = v.object({name: getattr(v, kind)() for name, kind in zip(names, kinds)})  # noqa: B905
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder), in_memory=True)
        tasks = Folder(store, catalog_of(tasks=None))
        tasks.fold([write(*each) for each in zip(ids, documents, strict=True)])
        tasks.catalog = catalog_of(tasks=declared)
        tasks.fold([])
        fresh = Folder(open_store(Path(folder), in_memory=True), tasks.catalog)
        fresh.fold([write(*each) for each in zip(ids, documents, strict=True)])
        for name in names[: len(kinds)]:
            text = f'select "{name}" from tasks order by _id'
            assert repr(tasks.rows(text)) == repr(fresh.rows(text))
        assert state(store) == state(fresh.store)
        store.close()
        fresh.store.close()


def test_a_dropped_table_is_gone_and_a_renamed_one_keeps_its_documents(store: TableStore) -> None:
    two = catalog_of(a=None, b=None)
    folder = Folder(store, two)
    [in_a], [in_b] = new_ids(1), new_ids(1, table=TASKS + 1)
    folder.fold([write(in_a, {"n": 1}), write(in_b, {"n": 2}, table=TASKS + 1)])
    folder.catalog = catalog_of(b=None, a=None)  # The numbers stay: the two swap their names.
    folder.fold([])
    assert folder.rows("select n from b") == [{"n": 1}]
    assert folder.rows("select n from a") == [{"n": 2}]
    folder.catalog = catalog_of(b=None)
    folder.fold([write(in_b, {"n": 3}, table=TASKS + 1)])
    with store.snapshot() as snapshot:
        assert snapshot.count(TASKS) == 1
        assert snapshot.count(TASKS + 1) == 0
        assert snapshot.load_table(TASKS + 1).ids.to_pylist() == []


# History.


@pytest.mark.parametrize("knows_old", [True, False])
def test_every_superseded_version_is_in_the_history_with_its_commits(
    tasks: Folder,
    knows_old: bool,  # noqa: FBT001
) -> None:
    tasks.knows_old = knows_old
    one, two = new_ids(2)
    tasks.fold([write(one, {"n": 1}), write(two, {"n": 9})])
    tasks.fold([write(one, {"n": 2})], [write(one, {"n": 3})], [])
    tasks.fold([write(one, None)])
    with tasks.store.snapshot() as snapshot:
        versions = snapshot.history(TASKS, one)
        assert [(each.valid_from, each.valid_to) for each in versions] == [(1, 2), (2, 3), (3, 5)]
        assert [each.document for each in versions] == [stored({"n": n}) for n in (1, 2, 3)]
        assert snapshot.history(TASKS, two) == [(1, None, stored({"n": 9}))]


@pytest.mark.parametrize("knows_old", [True, False])
def test_many_superseded_at_once_are_each_kept_under_their_own_id(
    tasks: Folder,
    knows_old: bool,  # noqa: FBT001
) -> None:
    tasks.knows_old = knows_old
    ids = [*new_ids(20), *new_ids(3, table=TASKS + 1)]
    tasks.fold([write(each, {"n": at}) for at, each in enumerate(ids)])
    tasks.fold([write(each, {"n": -1}) for each in ids[5:]])
    tasks.fold([write(each, None) for each in ids[:10]])
    with tasks.store.snapshot() as snapshot:
        for at, each in enumerate(ids):
            expected = [(1, 2)] if at >= 5 else [(1, 3)]
            expected += [(2, 3 if at < 10 else None)] if at >= 5 else []
            versions = snapshot.history(TASKS, each)
            assert [(version.valid_from, version.valid_to) for version in versions] == expected
            assert versions[0].document == stored({"n": at})


def test_a_document_written_twice_in_one_commit_has_one_version(tasks: Folder) -> None:
    [one] = new_ids(1)
    tasks.fold([write(one, {"n": 1}), write(one, {"n": 2})])
    with tasks.store.snapshot() as snapshot:
        assert snapshot.history(TASKS, one) == [(1, None, stored({"n": 2}))]


# Loading.


def test_a_table_is_loaded_by_creation_time_and_then_id(tasks: Folder) -> None:
    ids = new_ids(4)
    times = [5.0, 1.0, 5.0, 3.0]
    tasks.fold(
        [write(each, {"t": at}, creation_time=at) for each, at in zip(ids, times, strict=True)]
    )
    with tasks.store.snapshot() as snapshot:
        loaded = snapshot.load_table(TASKS)
    assert loaded.ids.to_pylist() == [ids[1], ids[3], *sorted([ids[0], ids[2]])]
    assert loaded.creation_times.to_pylist() == sorted(times)
    assert loaded.texts.type == pa.large_binary()


def staged(folder: Path, documents: dict[str, dict[str, Value]], **columns: pa.Array) -> None:
    (folder / "loads").mkdir(exist_ok=True)
    table = pa.table(
        {
            "_id": pa.array(list(documents), pa.string()),
            "_creationTime": pa.array([1.0] * len(documents)),
            "_seq": pa.array([sequence_of(each) for each in documents], pa.uint64()),
            "_doc": pa.array([encode_fields(each) for each in documents.values()], pa.binary()),
            **columns,
        }
    )
    pq.write_table(table, folder / "loads" / "x.parquet")


class Part:
    table = TASKS
    file = "x.parquet"


def test_a_staged_file_is_folded_as_one_commit(tasks: Folder, tmp_path: Path) -> None:
    first, *ids = new_ids(3)
    tasks.fold([write(first, {"n": 1, "s": "x"})])
    documents: dict[str, dict[str, Value]] = {
        ids[0]: {"n": 0.5, "s": 7, "o": {"k": [1]}},
        ids[1]: {"n": 1.5, "s": 8, "o": None},
    }
    staged(tmp_path, documents, n=pa.array([0.5, 1.5]), s=pa.array([7, 8]),
           o=pa.array([{"k": [1]}, None]))  # fmt: skip
    tasks.store.fold_loads(tasks.catalog, 2, [Part()], b"two")
    assert (tasks.store.folded_number, tasks.store.folded_chain) == (2, b"two")
    assert tasks.rows("select n, s, o, s__json from tasks order by n") == [
        {"n": 0.5, "s": None, "o": '{"k":[1]}', "s__json": "7"},
        {"n": 1.0, "s": "x", "o": None, "s__json": None},
        {"n": 1.5, "s": None, "o": None, "s__json": "8"},
    ]
    tasks.store.fold_loads(tasks.catalog, 2, [Part()], b"two")
    assert len(tasks.rows("from tasks")) == 3
    tasks.number = 2
    tasks.fold([write(ids[0], {"n": 9})])
    assert len(tasks.rows("from tasks")) == 3


def test_a_missing_staged_file_is_damage(tasks: Folder) -> None:
    with pytest.raises(DamagedError, match="missing"):
        tasks.store.fold_loads(tasks.catalog, 1, [Part()], b"")
    assert tasks.store.folded_number == 0


# The file.


def test_a_backup_opens_by_itself(tasks: Folder, tmp_path: Path) -> None:
    one, two = new_ids(2)
    tasks.fold([write(one, {"n": 1})])
    tasks.fold([write(one, {"n": 2})])
    (tmp_path / "copy").mkdir()
    tasks.store.backup(tmp_path / "copy" / "tables.duckdb")
    tasks.fold([write(two, {"n": 3})])
    copy = Folder(open_store(tmp_path / "copy"), tasks.catalog)
    assert copy.number == 2
    assert copy.rows("select n from tasks") == [{"n": 2}]
    with copy.store.snapshot() as snapshot:
        assert len(snapshot.history(TASKS, one)) == 2
    copy.fold([write(two, {"n": 5})])
    copy.store.close()
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_closed_store_says_so(store: TableStore) -> None:
    snapshot = store.snapshot()
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        snapshot.query("select 1")
    with pytest.raises(ClosedError):
        store.snapshot()
    with pytest.raises(ClosedError):
        store.fold(Catalog(), [], until=1, chain=b"")


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store._writing(1, b"") as connection:
        connection.execute("update meta.format set number = 99")
    store.close()
    with pytest.raises(FormatError, match="update livedb"):
        open_store(tmp_path)


def test_a_file_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store._writing(1, b"") as connection:
        connection.execute("drop macro main.repeat")
        connection.execute("drop table meta.catalogs")
        connection.execute("drop table meta.past")
        connection.execute("update meta.format set number = 1")
    store.close()
    store = open_store(tmp_path)
    with pytest.raises(SqlError, match="'repeat' is asked for"):
        store.run_sql("select repeat('x', 3000000)", catalog=Catalog())
    with store.snapshot() as snapshot:
        assert snapshot.query("from meta.format").to_pylist() == [{"number": 3}]
    store.close()


def test_a_failing_fold_changes_nothing_and_the_same_fold_succeeds_later(tasks: Folder) -> None:
    one, two = new_ids(2)
    tasks.fold([write(one, {"n": 1})])
    with pytest.raises(FoldError), tasks.store._writing(2, b"") as connection:
        connection.execute("delete from data.tasks; select error('the machine failed')")
    assert tasks.store.folded_number == 1
    assert len(tasks.rows("from tasks")) == 1
    tasks.fold([write(two, {"n": "new type", "more": 1})])
    assert len(tasks.rows("select n, more from tasks")) == 2


def test_the_projection_of_no_documents_keeps_the_columns() -> None:
    columns = project((), [{"a": 1}]).columns
    assert project(columns, []).columns == columns


def test_limits_reach_duckdb(tmp_path: Path) -> None:
    store = open_store(tmp_path, limits=Limits(sql_memory_bytes_max=256 << 20))
    with store.snapshot() as snapshot:
        found = snapshot.query("select current_setting('memory_limit') as m")
    assert found.to_pylist() == [{"m": "256.0 MiB"}]
    store.close()


def test_a_stored_document_is_the_tuple_the_contract_says() -> None:
    assert stored({"a": 1}) == StoredDocument(1.0, encode_fields({"a": 1}))


def test_a_declared_field_takes_its_values_back_from_a_spill():
    """Found by the oracle (seed 2011): the column was gone, the spill alone held the value."""
    spill = Column("num", "num__json", "json", is_spill=True)
    plan = plan_columns((spill,), [("num", "double")], has_hidden=False)
    assert plan.stale == {"num"}
    assert plan.columns == (Column("num", "num", "double", is_declared=True),)
