"""What DuckDB says of documents and a schema is what Python says, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livedb.errors import LivedbError
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import REFUSED, Validator
from livedb.store.check_rows import Misfits, misfits
from livedb.testing.strategies import (
    ODD_FLOATS,
    ODD_INTS,
    ODD_TEXTS,
    hostile_documents,
    primitives,
    values,
)
from livedb.values import Int64, Value
from tests.store.table_fixtures import Folder, catalog_of, new_ids, open_store, write
from tests.thorough import examples

OTHER = 10_002
NAMES = ("a", "A", "b", "a b")
TEXTS = (*ODD_TEXTS, *new_ids(2), *new_ids(2, table=OTHER))


def fold_documents(
    documents: Sequence[Mapping[str, Value]], document: Validator | None = None
) -> Folder:
    """A store in memory with these documents in its table."""
    store = open_store(Path(), in_memory=True)
    folder = Folder(store, catalog_of(tasks=document, users=None))
    ids = new_ids(len(documents))
    folder.fold([write(each, dict(fields)) for each, fields in zip(ids, documents, strict=True)])
    return folder


def judge(folder: Folder, document: Validator) -> Misfits:
    table = folder.catalog.get("tasks")
    assert table is not None
    definition = TableDefinition("tasks", document)
    with folder.store.snapshot() as snapshot:
        return misfits(snapshot, table, definition, catalog=folder.catalog)


def refused_by_python(
    folder: Folder, document: Validator, documents: Sequence[Mapping[str, Value]]
) -> list[str]:
    ids = new_ids(len(documents))
    return [
        each
        for each, fields in zip(ids, documents, strict=True)
        if document.compiled(dict(fields), folder.catalog) is REFUSED
    ]


def literals() -> st.SearchStrategy[Validator]:
    numbers = st.sampled_from((*ODD_INTS, *ODD_FLOATS, Int64(3)))
    return (st.sampled_from(TEXTS) | st.booleans() | numbers).map(v.literal)


def validators() -> st.SearchStrategy[Validator]:
    simple = st.sampled_from(
        [
            v.null(), v.string(), v.number(), v.integer(), v.int64(), v.boolean(), v.bytes(),
            v.datetime(), v.any(), v.id("tasks"), v.id("users"),
        ]
    )  # fmt: skip
    single = simple | literals()
    nested = single.map(v.array) | single.map(lambda one: v.record(v.string(), one))
    unions = st.lists(single, max_size=4).map(lambda many: v.union(*many))
    inner = st.one_of(single, unions, nested)
    return st.builds(
        lambda one, may_lack: v.optional(one) if may_lack else one, inner, st.booleans()
    )


def schemas() -> st.SearchStrategy[Validator]:
    objects = st.dictionaries(st.sampled_from(NAMES), validators(), max_size=4).map(v.object)
    unions = st.lists(objects, min_size=1, max_size=3).map(lambda many: v.union(*many))
    return objects | unions


def tables_of_documents() -> st.SearchStrategy[list[dict[str, Value]]]:
    value = primitives() | st.sampled_from(TEXTS) | values(max_leaves=3)
    near = st.dictionaries(st.sampled_from(NAMES), value, max_size=4)
    return st.lists(near | hostile_documents(), max_size=20)


@settings(max_examples=examples(20), deadline=None)
@given(tables_of_documents(), schemas())
@example([{"a": 0.0}, {"a": -0.0}, {"a": 0}], v.object({"a": v.literal(-0.0)}))
@example([{"a": Int64(3)}, {"a": 3}], v.object({"a": v.integer()}))
@example([{"a": 2.0**53}, {"a": 1e300}, {"a": float("nan")}], v.object({"a": v.integer()}))
@example([{"a": Int64(-(2**63))}], v.object({"a": v.number()}))
@example([{"a": None}, {}], v.object({}))
def test_duckdb_and_python_refuse_the_same_documents(documents, schema) -> None:
    folder = fold_documents(documents)
    try:
        found = judge(folder, schema)
        refused = refused_by_python(folder, schema, documents)
        assert (found.count, found.ids) == (len(refused), tuple(refused[:10]))
    finally:
        folder.store.close()


@settings(max_examples=examples(15), deadline=None)
@given(st.data(), schemas(), schemas())
def test_what_the_old_schema_proves_is_not_asked_and_still_right(data, old, new) -> None:
    drawn = data.draw(tables_of_documents())
    catalog = catalog_of(tasks=None, users=None)
    checked = [old.compiled(each, catalog) for each in drawn]
    documents = [each for each in checked if each is not REFUSED]
    try:
        folder = fold_documents(documents, old)
    except LivedbError:
        return  # the old schema is none a table may have
    try:
        found = judge(folder, new)
        assert found.ids == tuple(refused_by_python(folder, new, documents)[:10])
    finally:
        folder.store.close()


PRIMITIVES: Mapping[str, tuple[Validator, Sequence[Value]]] = {
    "string": (v.string(), ["x", ""]),
    "number": (v.number(), [1, 2.5, -0.0]),
    "integer": (v.integer(), [1, 2.0, -3]),
    "int64": (v.int64(), [Int64(1), Int64(-(2**63))]),
    "boolean": (v.boolean(), [True, False]),
    "bytes": (v.bytes(), [b"", b"x"]),
    "nullable": (v.union(v.string(), v.null()), ["x", None]),
    "optional": (v.optional(v.string()), ["x"]),
    "literals": (v.union(v.literal("x"), v.literal("y")), ["x", "y"]),
    "id": (v.id("users"), new_ids(3, table=OTHER)),
    "union": (v.union(v.string(), v.integer(), v.boolean()), ["x", 1, True]),
    "not a number": (v.number(), [1.0, float("nan"), float("inf")]),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_documents_of_primitive_fields_are_not_decoded(name: str) -> None:
    validator, chosen = PRIMITIVES[name]
    documents: list[dict[str, Value]] = [{"f": value, "n": 1} for value in chosen]
    if validator.is_optional:
        documents.append({"n": 1})
    folder = fold_documents(documents)
    found = judge(folder, v.object({"f": validator, "n": v.number()}))
    assert found == Misfits()
    wrong = judge(folder, v.object({"f": v.optional(v.literal("other")), "n": v.number()}))
    assert wrong.decoded == 0
    assert wrong.count == len(chosen)
    folder.store.close()


def test_documents_whose_arrays_must_be_looked_into_are_decoded_and_no_others() -> None:
    folder = fold_documents([{"f": ["x"]}, {"f": [1]}, {"f": "x"}, {"f": 1}])
    found = judge(folder, v.object({"f": v.union(v.string(), v.array(v.string()))}))
    assert (found.count, found.decoded) == (2, 2)
    folder.store.close()


def test_a_field_whose_type_only_widens_is_not_asked_again() -> None:
    old = v.object({"tags": v.array(v.string()), "n": v.integer()})
    folder = fold_documents([{"tags": ["x"], "n": 1}], old)
    found = judge(folder, v.object({"tags": v.array(v.string()), "n": v.literal(1)}))
    assert found == Misfits()
    folder.store.close()
