"""A proposed schema holds every document it was made from, and so does the class it renders."""

from __future__ import annotations

import keyword
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import livedb
from livedb.clock import ManualClock
from livedb.ids import IdFactory
from livedb.schema.annotations import table_from_class
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.check import check_document
from livedb.schema.infer import (
    Shape,
    as_source,
    class_name_of,
    document_validator,
    infer_shape,
    infer_validator,
)
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition
from livedb.testing.strategies import documents, field_names, values
from livedb.values import Int64, same_value

CATALOG = Catalog().with_table(1, CatalogTable(10_001, TableDefinition("users")))
IDS = IdFactory(ManualClock())


def executed(source):
    """The table that a rendered cell declares."""
    made = []

    class Db:
        @staticmethod
        def table(name):
            def decorate(cls):
                made.append(table_from_class(cls, name=name, namespace=namespace))
                return cls

            return decorate

    namespace = {"db": Db, "__name__": "cell"}
    exec(compile(source, "cell", "exec", dont_inherit=True), namespace)
    [table] = made
    return table


def test_the_proposal_is_the_narrowest():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    user = IDS.new(10_001)
    proposal = infer_validator(
        [
            {"_id": "x", "_creationTime": 1.0, "a": 1, "b": 1, "c": None, "d": "x", "e": user},
            {"a": 2, "b": 1.5, "c": True, "d": Int64(1), "e": user, "f": [1, None], "g": {}},
            {"a": 3, "b": 2, "c": None, "d": b"", "e": user, "f": [], "g": {"h": now}},
        ],
        tables=CATALOG,
    )
    assert proposal == v.object(
        {
            "a": v.integer(),
            "b": v.number(),
            "c": v.nullable(v.boolean()),
            "d": v.union(v.string(), v.int64(), v.bytes()),
            "e": v.id("users"),
            "f": v.optional(v.array(v.nullable(v.integer()))),
            "g": v.optional(v.object({"h": v.optional(v.datetime())})),
        }
    )


def test_many_keys_that_hardly_come_back_are_a_record():
    proposal = infer_validator([{"scores": {f"k{n}{m}": n for m in range(3)}} for n in range(40)])
    assert proposal == v.object({"scores": v.record(v.string(), v.integer())})
    wide = infer_validator([{"row": {f"c{n}": n for n in range(100)}}] * 3)
    assert wide.fields["row"].kind == "object"


def test_ids_of_two_tables_or_of_none_are_strings():
    assert infer_validator([{"a": IDS.new(10_001)}]).fields["a"] == v.string()
    mixed = infer_validator([{"a": IDS.new(10_001)}, {"a": "x"}], tables=CATALOG)
    assert mixed.fields["a"] == v.string()


def test_the_source_is_a_readable_cell():
    shape = infer_shape(
        {
            "title": f"t{n}",
            "status": ("todo", "done")[n % 2],
            "due": None if n else datetime(2026, 1, 1, tzinfo=UTC),
            "user": IDS.new(10_001),
            "lines": [{"product": "x", "amount": n}],
            **({"note": "x"} if n else {}),
        }
        for n in range(8)
    )
    shape.fields["user"] = Shape(CATALOG)
    for _ in range(8):
        shape.fields["user"].add(IDS.new(10_001))
    assert (
        as_source(shape, table="line_items")
        == """\
from datetime import datetime
from livedb import Id, Missing, UNSET
from typing import Literal


class Lines:
    product: str
    amount: int


@db.table("line_items")
class LineItem:
    title: str
    status: str  # perhaps Literal['done', 'todo']
    due: datetime | None
    user: Id["users"]
    lines: list[Lines]
    note: str | Missing = UNSET
"""
    )


def test_names_that_no_class_can_have_make_a_typed_dict():
    sample = {"Unit price": 1.5, "class": 1, "str": "x", "inner": {"": 1, "Id": "y"}}
    source = as_source(infer_shape([sample]), table="t")
    assert "TypedDict(" in source
    assert check_document(executed(source), sample) == sample


def test_an_empty_table_renders_too():
    assert executed(as_source(infer_shape([]), table="t")).fields == {}
    assert executed(as_source(infer_shape([{"a": {}}]), table="t")).fields


@pytest.mark.parametrize(
    "table,name",
    [
        ("tasks", "Task"),
        ("line_items", "LineItem"),
        ("categories", "Category"),
        ("boxes", "Box"),
        ("status", "Status"),
        ("orderLines", "OrderLine"),
        ("s", "S"),
    ],
)
def test_a_class_is_named_after_its_table(table, name):
    assert class_name_of(table) == name


ROWS = st.lists(
    st.one_of(
        documents(),
        st.dictionaries(field_names(), values(max_leaves=6), max_size=5),
        st.dictionaries(st.sampled_from([*keyword.kwlist[:4], "str", "a", "A"]), values()),
    ),
    max_size=6,
)


@given(ROWS)
def test_every_document_fits_the_proposal_and_is_kept(rows):
    proposal = infer_validator(rows)
    for row in rows:
        checked = proposal.check(row)
        assert proposal.check(checked) is not None
        assert checked.keys() == row.keys()


@given(ROWS, st.integers(0, 6))
def test_batches_give_what_one_run_gives(rows, at):
    whole, parts, rest = infer_shape(rows), infer_shape(rows[:at]), infer_shape(rows[at:])
    parts.merge(rest)
    for row in rows:
        document_validator(parts).check(row)
    assert document_validator(parts) == document_validator(whole)


@given(ROWS)
def test_every_document_fits_the_rendered_class(rows):
    shape = infer_shape(rows)
    table = executed(as_source(shape, table="rows"))
    for row in rows:
        assert check_document(table, row).keys() == row.keys()
    if not any(map(is_odd, rows)):
        rendered = unordered(table.document.to_json())
        assert same_value(rendered, unordered(document_validator(shape).to_json()))


def unordered(described):
    """A validator's JSON with the members of unions sorted: `typing` gives `float | bool` back for
    `bool | float` if a test before this one has written it so."""
    if isinstance(described, list):
        return [unordered(each) for each in described]
    if not isinstance(described, dict):
        return described
    plain = {name: unordered(each) for name, each in described.items()}
    if plain.get("type") == "union":
        plain["value"] = sorted(plain["value"], key=repr)
    return plain


def is_odd(row):
    """Whether the class differs from the proposal: `{}` is rendered as a dict."""
    return "{}" in repr(row)


def test_the_names_a_rendered_class_imports_exist():
    for name in ("Id", "Int64", "Missing", "UNSET"):
        assert hasattr(livedb, name)
