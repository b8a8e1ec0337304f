"""Defaults filled by DuckDB are, to the byte, those that Python would have filled."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from livedb.schema.check import compile_filler
from livedb.store.tables import TableStore
from livedb.testing.strategies import hostile_documents, values
from livedb.text import decode_fields, encode_fields
from livedb.values import Int64
from tests.store.table_fixtures import TASKS, Folder, catalog_of, new_ids, open_store, write
from tests.thorough import examples

NAMES = ("a", "A", "b", "a b")


@settings(max_examples=examples(20), deadline=None)
@given(
    st.lists(hostile_documents(), max_size=10),
    st.dictionaries(st.sampled_from(NAMES), values(max_leaves=3), min_size=1, max_size=3),
)
@example([{}], {"a": 1, "b": None})
@example([{"x": "\U0001f600é\x00"}, {"a": None}], {"a": Int64(1)})
@example([{"A": 1}], {"a": "x"})
@example([{"A": "x"}], {"a": 1, "A": {"k": 1}})
def test_texts_columns_and_history_are_those_of_a_mutation(documents, defaults) -> None:
    store = open_store(Path(), in_memory=True)
    other = open_store(Path(), in_memory=True)
    try:
        ids = new_ids(len(documents))
        writes = [write(each, dict(fields)) for each, fields in zip(ids, documents, strict=True)]
        fill = compile_filler(defaults.items())
        filled = [
            write(each, fill(dict(fields)))
            for each, fields in zip(ids, documents, strict=True)
            if encode_fields(fill(dict(fields))) != encode_fields(fields)
        ]
        for each in (store, other):
            Folder(each, catalog_of(tasks=None)).fold(writes)
        store.fold_fill(catalog_of(tasks=None), 2, [(TASKS, defaults)], b"2")
        other.fold(catalog_of(tasks=None), [(2, filled)], until=2, chain=b"2")
        assert repr(rows_of(store)) == repr(rows_of(other))  # NaN is not equal to itself
        assert history_of(store) == history_of(other)
    finally:
        store.close()
        other.close()


def test_defaults_inside_of_objects_are_filled_where_there_is_an_object() -> None:
    store = open_store(Path(), in_memory=True)
    ids = new_ids(3)
    documents = [{"lines": [{"n": 1}, {"n": 2, "unit": "m"}]}, {"lines": []}, {"lines": 3}]
    Folder(store, catalog_of(tasks=None)).fold(
        [write(each, fields) for each, fields in zip(ids, documents, strict=True)]
    )
    store.fold_fill(catalog_of(tasks=None), 2, [(TASKS, {"lines[].unit": "kg"})], b"2")
    assert [(row["_number"], decode_fields(row["_doc"])) for row in rows_of(store)] == [
        (2, {"lines": [{"n": 1, "unit": "kg"}, {"n": 2, "unit": "m"}]}),
        (1, {"lines": []}),
        (1, {"lines": 3}),
    ]
    assert [each["valid_to"] for each in history_of(store)] == [2]
    store.close()


def rows_of(store: TableStore) -> list[dict[str, object]]:
    with store.snapshot() as snapshot:
        rows = snapshot.query("select * from data.tasks order by _id").to_pylist()
    return [dict(sorted(row.items())) for row in rows]


def history_of(store: TableStore) -> list[dict[str, object]]:
    with store.snapshot() as snapshot:
        return snapshot.query("from meta.history order by _id, valid_from").to_pylist()
