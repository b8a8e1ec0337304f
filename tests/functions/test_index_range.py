"""Index ranges: 35 documents with every mix of absent, null and values, against a plain model."""

from __future__ import annotations

from itertools import product

import pytest

from livedb import UNSET, Int64
from livedb.errors import IndexRangeError
from livedb.functions.index_range import IndexRangeBuilder, key_range
from livedb.keys.encoding import encode_key
from livedb.schema.tables import TableDefinition, define_table

VALUES = [UNSET, None, Int64(1), 1, 2.5, "x"]
ROWS = list(product(VALUES, VALUES))[1:]
BOUNDS = {
    "gt": lambda key, bound: key > bound,
    "gte": lambda key, bound: key >= bound,
    "lt": lambda key, bound: key < bound,
    "lte": lambda key, bound: key <= bound,
}


@pytest.fixture(scope="module")
def table():
    import livedb

    with livedb.open() as db:
        schema = livedb.define_schema({"t": define_table().index("by_a_b", ["a", "b"])})
        db.push(schema)
        documents = [
            {name: value for name, value in (("a", a), ("b", b)) if value is not UNSET}
            for a, b in ROWS
        ]
        db["t"].insert(documents)
        yield db["t"]


def in_order(rows):
    return sorted(rows, key=lambda row: (encode_key(row[0]), encode_key(row[1])))


def read(table, build, order="asc"):
    found = table.with_index("by_a_b", build).order(order).collect()
    return [(row.get("a", UNSET), row.get("b", UNSET)) for row in found]


def shown(rows):
    return [tuple(map(repr, row)) for row in rows]


def test_all_of_an_index_is_in_the_total_order(table):
    assert len(ROWS) == 35
    assert shown(read(table, None)) == shown(in_order(ROWS))
    assert shown(read(table, None, "desc")) == shown(reversed(in_order(ROWS)))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_one_equality(table, value):
    expected = [row for row in in_order(ROWS) if encode_key(row[0]) == encode_key(value)]
    assert shown(read(table, lambda q: q.eq("a", value))) == shown(expected)
    assert shown(read(table, lambda q: q.eq("a", value), "desc")) == shown(expected[::-1])


def test_two_equalities_in_any_order(table):
    for a, b in product(VALUES, VALUES):
        expected = shown([(a, b)]) if (a, b) in ROWS[0:] and (a, b) != (UNSET, UNSET) else []
        assert shown(read(table, lambda q, a=a, b=b: q.eq("a", a).eq("b", b))) == expected
        assert shown(read(table, lambda q, a=a, b=b: q.eq("b", b).eq("a", a))) == expected


@pytest.mark.parametrize("name", BOUNDS)
def test_one_bound_on_the_first_field(table, name):
    for value in VALUES:
        expected = [
            row for row in in_order(ROWS) if BOUNDS[name](encode_key(row[0]), encode_key(value))
        ]
        found = read(table, lambda q, value=value: getattr(q, name)("a", value))
        assert shown(found) == shown(expected)


@pytest.mark.parametrize("lower, upper", list(product(["gt", "gte"], ["lt", "lte"])))
def test_two_bounds_below_an_equality(table, lower, upper):
    for a, low, high in product([None, 1], VALUES, VALUES):

        def build(q, a=a, low=low, high=high):
            return getattr(getattr(q.eq("a", a), lower)("b", low), upper)("b", high)

        expected = [
            row
            for row in in_order(ROWS)
            if encode_key(row[0]) == encode_key(a)
            and BOUNDS[lower](encode_key(row[1]), encode_key(low))
            and BOUNDS[upper](encode_key(row[1]), encode_key(high))
        ]
        assert shown(read(table, build)) == shown(expected)
        assert shown(read(table, build, "desc")) == shown(expected[::-1])


def test_undefined_and_null_are_two_keys(table):
    has_field = read(table, lambda q: q.gt("a", UNSET))
    assert len(has_field) == 30
    assert all(a is not UNSET for a, _ in has_field)
    assert len(read(table, lambda q: q.eq("a", UNSET))) == 5
    assert len(read(table, lambda q: q.eq("a", None))) == 6


def test_int_and_float_are_one_key_and_int64_another(table):
    assert read(table, lambda q: q.eq("a", 1.0)) == read(table, lambda q: q.eq("a", 1))
    assert shown(read(table, lambda q: q.eq("a", Int64(1)))) != shown(
        read(table, lambda q: q.eq("a", 1))
    )


def test_an_upper_bound_on_a_prefix_takes_or_leaves_all_below_it(table):
    excluded = read(table, lambda q: q.lt("a", 1))
    included = read(table, lambda q: q.lte("a", 1))
    assert len(included) - len(excluded) == 6


def test_keywords_are_equalities(table):
    assert shown(
        [(r.get("a", UNSET), r.get("b", UNSET)) for r in table.with_index("by_a_b", a=None)]
    ) == shown(read(table, lambda q: q.eq("a", None)))
    both = table.with_index("by_a_b", lambda q: q.gt("b", None), a=1).collect()
    assert shown([(r["a"], r["b"]) for r in both]) == shown(
        read(table, lambda q: q.eq("a", 1).gt("b", None))
    )


def test_the_implicit_fields_take_bounds(table):
    rows = table.with_index("by_a_b", a=1, b=2.5).collect()
    at = rows[0]["_creationTime"]

    def count(build):
        return len(table.with_index("by_a_b", build).collect())

    assert count(lambda q: q.eq("a", 1).eq("b", 2.5).eq("_creationTime", at)) == 1
    assert count(lambda q: q.eq("a", 1).eq("b", 2.5).gt("_creationTime", at)) == 0
    assert (
        count(
            lambda q: q.eq("a", 1).eq("b", 2.5).eq("_creationTime", at).gte("_id", rows[0]["_id"])
        )
        == 1
    )


def test_the_built_in_indexes(table):
    rows = table.with_index("by_creation_time").collect()
    assert [row["_id"] for row in table.with_index("by_id")] == sorted(row["_id"] for row in rows)
    middle = rows[17]
    assert table.with_index("by_id", _id=middle["_id"]).unique() == middle
    later = table.with_index(
        "by_creation_time", lambda q: q.gte("_creationTime", middle["_creationTime"])
    ).collect()
    assert later == rows[17:]


def test_an_impossible_range_is_empty(table):
    assert read(table, lambda q: q.gt("a", 5).lt("a", 1)) == []
    assert read(table, lambda q: q.gt("a", 1).lt("a", 1)) == []


# -- errors ----------------------------------------------------------------------------------------

DEFINITION = TableDefinition("t", None, define_table().index("i", ["a", "b"]).build("t").indexes)


def refusal(build, index="i", **equalities):
    with pytest.raises(IndexRangeError) as caught:
        key_range(DEFINITION, index, build, equalities)
    return caught.value


@pytest.mark.parametrize(
    "build, kind",
    [
        (lambda q: q.eq("a", 1).eq("a", 2), "equality"),
        (lambda q: q.gt("a", 1).gte("a", 2), "lower"),
        (lambda q: q.lt("a", 1).lte("a", 2), "upper"),
    ],
)
def test_a_bound_given_twice(build, kind):
    error = refusal(build)
    assert error.code == "AlreadyDefinedBound"
    assert error.message.startswith(f"Already defined {kind} bound in index range. Can't add ")


def test_a_keyword_counts_as_a_bound():
    assert refusal(lambda q: q.eq("a", 2), a=1).code == "AlreadyDefinedBound"


def test_bounds_on_two_fields():
    assert refusal(lambda q: q.gt("a", 1).lt("b", 2)).code == "BoundsOnMultipleFields"
    assert refusal(lambda q: q.lt("b", 1).gt("a", 2)).code == "BoundsOnMultipleFields"


@pytest.mark.parametrize(
    "build",
    [
        lambda q: q.eq("b", 1),
        lambda q: q.gt("b", 1),
        lambda q: q.eq("b", 1).gt("a", 1),
        lambda q: q.eq("a", 1).gt("_creationTime", 1),
        lambda q: q.eq("a", 1).gt("a", 2),
        lambda q: q.eq("a", 1).eq("_id", 2),
    ],
)
def test_fields_out_of_order(build):
    error = refusal(build)
    assert error.code == "InvalidIndexRange"
    assert "Tried to query index t.i but the query didn't use the index fields in order" in str(
        error
    )
    for part in ("Index fields: ['a', 'b', '_creationTime', '_id']", "Query fields: ", "First in"):
        assert part in str(error)


def test_the_first_incorrect_field_is_named():
    assert str(refusal(lambda q: q.eq("b", 1))).endswith("First incorrect field: 'b'")
    assert str(refusal(lambda q: q.eq("a", 1).gt("_id", 1))).endswith(
        "First incorrect field: '_id'"
    )
    assert str(refusal(lambda q: q.eq("_creationTime", 1).eq("a", 1))).endswith(
        "First incorrect field: '_creationTime'"
    )


def test_a_field_that_the_index_lacks():
    error = refusal(lambda q: q.eq("c", 1))
    assert error.code == "FieldNotInIndex"
    assert "The index t.i does not have the field 'c'" in str(error)
    assert refusal(None, c=1).code == "FieldNotInIndex"
    assert refusal(lambda q: q.eq("a", 1).lt("c", 1)).code == "FieldNotInIndex"


def test_an_index_that_is_not_there():
    error = refusal(None, index="nope")
    assert error.code == "IndexNotFoundError"
    assert str(error).startswith("Index t.nope not found.")
    assert "'i', 'by_id', 'by_creation_time'" in str(error)


def test_a_builder_that_is_not_returned():
    def forgets(q):
        q.eq("a", 1)

    assert "must return the range it builds" in str(refusal(forgets))
    assert "must return" in str(refusal(lambda q: IndexRangeBuilder()))


def test_a_mistake_is_told_even_without_documents(memory):
    with pytest.raises(IndexRangeError, match="Already defined"):
        memory["nowhere"].with_index("i", lambda q: q.eq("a", 1).eq("a", 2)).collect()
    assert memory["nowhere"].with_index("i", lambda q: q.eq("a", 1)).collect() == []
