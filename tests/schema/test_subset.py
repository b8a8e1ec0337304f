"""A subset that is claimed holds for every sampled value; the usual widenings are proven."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedb.clock import ManualClock
from livedb.ids import IdFactory
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import REFUSED
from livedb.testing.strategies import values
from livedb.values import Int64

CATALOG = (
    Catalog()
    .with_table(1, CatalogTable(10_001, TableDefinition("x")))
    .with_table(2, CatalogTable(10_002, TableDefinition("y")))
)
IDS = {"x": [IdFactory(ManualClock()).new(10_001)], "y": [IdFactory(ManualClock()).new(10_002)]}

PROVEN = [
    (v.integer(), v.number()),
    (v.literal(3), v.integer()),
    (v.literal(3), v.number()),
    (v.literal(3), v.literal(3.0)),
    (v.literal("a"), v.string()),
    (v.literal(True), v.boolean()),
    (v.literal(Int64(1)), v.int64()),
    (v.boolean(), v.union(v.literal(True), v.literal(False))),
    (v.id("x"), v.string()),
    (v.id("x"), v.id("x")),
    (v.string(), v.any()),
    (v.string(), v.nullable(v.string())),
    (v.union(v.literal("a"), v.literal("b")), v.union(v.string(), v.null())),
    (v.union(v.string(), v.null()), v.union(v.null(), v.string())),
    (v.array(v.literal("a")), v.array(v.string())),
    (v.object({"a": v.string()}), v.object({"a": v.string(), "b": v.optional(v.any())})),
    (v.object({"a": v.string()}), v.object({"a": v.optional(v.string())})),
    (v.object({"a": v.string()}), v.record(v.string(), v.string())),
    (v.record(v.id("x"), v.integer()), v.record(v.string(), v.number())),
    (v.union(), v.null()),
]
NOT_TRUE = [
    (v.number(), v.integer()),
    (v.any(), v.string()),
    (v.string(), v.id("x")),
    (v.id("x"), v.id("y")),
    (v.integer(), v.int64()),
    (v.literal(2.5), v.integer()),
    (v.literal(-0.0), v.literal(0)),
    (v.literal(1), v.literal(True)),
    (v.string(), v.literal("a")),
    (v.nullable(v.string()), v.string()),
    (v.object({"a": v.optional(v.string())}), v.object({"a": v.string()})),
    (v.object({"a": v.string(), "b": v.any()}), v.object({"a": v.string()})),
    (v.object({}), v.object({"a": v.string()})),
    (v.record(v.string(), v.string()), v.object({})),
    (v.object({"a": v.null()}), v.record(v.id("x"), v.null())),
    (v.optional(v.string()), v.string()),
]


@pytest.mark.parametrize("narrow,wide", PROVEN, ids=str)
def test_a_widening_is_proven(narrow, wide):
    assert narrow.accepts_subset_of(wide)


@pytest.mark.parametrize("narrow,wide", NOT_TRUE, ids=str)
def test_what_is_not_so_is_not_proven(narrow, wide):
    assert not narrow.accepts_subset_of(wide)


NUMBERS = st.sampled_from([0, -0.0, 1, 1.0, 2.5, 2**53, 1e300, float("nan")])
NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.one_of(
    st.sampled_from(
        [
            *(v.any(), v.null(), v.number(), v.integer(), v.int64(), v.boolean(), v.string()),
            *(v.bytes(), v.datetime(), v.id("x"), v.id("y"), v.literal(Int64(1))),
        ]
    ),
    st.builds(v.literal, st.one_of(NUMBERS, NAMES, st.booleans())),
)


def containers(inner):
    fields = st.dictionaries(NAMES, st.one_of(inner, inner.map(v.optional)), max_size=3)
    keys = st.sampled_from([v.string(), v.id("x"), v.union(v.id("x"), v.id("y"))])
    return st.one_of(
        st.builds(v.array, inner),
        st.builds(v.object, fields),
        st.builds(v.record, keys, inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda members: v.union(*members)),
    )


VALIDATORS = st.recursive(LEAVES, containers, max_leaves=6)


def values_of(validator):
    """Values that the validator accepts, the odd ones likely."""
    match validator.kind:
        case "any":
            return st.one_of(NUMBERS, NAMES, values())
        case "null":
            return st.none()
        case "number":
            return st.one_of(NUMBERS, st.floats(), st.integers(-(2**53), 2**53))
        case "integer":
            return st.one_of(st.integers(-(2**53), 2**53), st.sampled_from([0.0, -0.0, 2.0**53]))
        case "bigint":
            return st.sampled_from([Int64(0), Int64(1), Int64(2**63 - 1)])
        case "boolean":
            return st.booleans()
        case "string":
            return st.one_of(NAMES, st.sampled_from(IDS["x"] + IDS["y"]))
        case "bytes":
            return st.binary(max_size=2)
        case "datetime":
            return st.datetimes(timezones=st.timezones())
        case "id":
            return st.sampled_from(IDS[validator.table])
        case "literal" if type(validator.value) in (int, float):
            return st.sampled_from([validator.value, float(validator.value)])
        case "literal":
            return st.just(validator.value)
        case "array":
            return st.lists(values_of(validator.element), max_size=2)
        case "record":
            return st.dictionaries(
                values_of(validator.keys), values_of(validator.values), max_size=2
            )
        case "union":
            return st.one_of(*map(values_of, validator.members))
    return st.fixed_dictionaries(
        {name: values_of(one) for name, one in validator.items if not one.is_optional},
        optional={name: values_of(one) for name, one in validator.items if one.is_optional},
    )


def accepts(validator, value):
    return validator.compiled(value, CATALOG) is not REFUSED


@given(VALIDATORS, VALIDATORS, st.data())
def test_a_claimed_subset_is_one(narrow, wide, data):
    # Half of the pairs are made alike, or a claim would be rare.
    if data.draw(st.booleans()):
        wide = data.draw(
            st.sampled_from(
                [narrow, v.nullable(narrow), v.union(wide, narrow), v.any(), v.array(v.any())]
            )
        )
    if narrow.accepts_subset_of(wide):
        value = data.draw(values_of(narrow))
        assert accepts(narrow, value)
        assert accepts(wide, value)


@given(VALIDATORS, st.data())
def test_what_a_check_returns_the_check_accepts_unchanged(validator, data):
    from livedb.values import same_value

    checked = validator.check(data.draw(values_of(validator)), tables=CATALOG)
    assert same_value(validator.check(checked, tables=CATALOG), checked)


@given(VALIDATORS)
def test_every_validator_survives_its_json(validator):
    assert type(validator).from_json(validator.to_json()) == validator
    assert validator.accepts_subset_of(validator)
