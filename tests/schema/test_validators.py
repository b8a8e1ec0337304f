"""Every validator: what it takes, what it makes of it, what it says when it refuses."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest

from livedb.clock import ManualClock
from livedb.errors import SchemaDefinitionError, ValidationError
from livedb.ids import IdFactory
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import Validator
from livedb.values import Document, Int64, same_value

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NAN = float("nan")
IDS = IdFactory(ManualClock())
CATALOG = (
    Catalog()
    .with_table(1, CatalogTable(10_001, TableDefinition("users")))
    .with_table(2, CatalogTable(10_002, TableDefinition("tasks")))
)
USER, TASK, STRANGER = IDS.new(10_001), IDS.new(10_002), IDS.new(10_077)

ACCEPTED = [
    (v.any(), {"a": [1, None]}, {"a": [1, None]}),
    (v.null(), None, None),
    (v.number(), 3, 3.0),
    (v.number(), 3.5, 3.5),
    (v.number(), NAN, NAN),
    (v.number(), 2**53, 2.0**53),
    (v.number(), 1e300, 1e300),
    (v.number(), -0.0, -0.0),
    (v.integer(), 3, 3),
    (v.integer(), 3.0, 3),
    (v.integer(), -(2**53), -(2**53)),
    (v.int64(), Int64(3), Int64(3)),
    (v.bigint(), Int64(2**62), Int64(2**62)),
    (v.boolean(), True, True),
    (v.string(), "", ""),
    (v.bytes(), b"\0", b"\0"),
    (v.datetime(), NOW, NOW),
    (v.id("users"), USER, USER),
    (v.literal("a"), "a", "a"),
    (v.literal(1), 1.0, 1),
    (v.literal(1.0), 1, 1.0),
    (v.literal(True), True, True),
    (v.literal(Int64(1)), Int64(1), Int64(1)),
    (v.literal(NAN), NAN, NAN),
    (v.array(v.number()), [1, 2.5], [1.0, 2.5]),
    (v.array(v.any()), [1, "a"], [1, "a"]),
    (v.object({}), {}, {}),
    (v.object({"a": v.integer()}), {"a": 1.0}, {"a": 1}),
    (v.object({"a": v.optional(v.integer())}), {}, {}),
    (v.object({"a": v.integer()}), Document(a=1), {"a": 1}),
    (v.record(v.string(), v.integer()), {"x": 1.0, "y": 2}, {"x": 1, "y": 2}),
    (v.union(v.string(), v.null()), None, None),
    (v.nullable(v.array(v.integer())), [1.0], [1]),
    (v.union(v.number(), v.integer()), 3, 3),
    (v.union(v.integer(), v.number()), 3.0, 3.0),
    (v.union(v.union(v.number()), v.integer()), 3, 3),
    (v.union(v.literal(1), v.string()), 1.0, 1),
    (v.union(v.object({"a": v.null()}), v.object({"b": v.null()})), {"b": None}, {"b": None}),
    (v.union(v.object({"a": v.null()}), v.string()), Document(a=None), {"a": None}),
]


@pytest.mark.parametrize("validator,value,expected", ACCEPTED, ids=str)
def test_an_accepted_value_comes_back_as_the_validators_type(validator, value, expected):
    checked = validator.check(value, tables=CATALOG)
    assert same_value(checked, expected)
    assert type(checked) is type(expected)


REFUSED = [
    (v.null(), 0),
    (v.number(), True),
    (v.number(), "3"),
    (v.number(), Int64(3)),
    (v.number(), 2**53 + 1),
    (v.integer(), 3.5),
    (v.integer(), NAN),
    (v.integer(), float("inf")),
    (v.integer(), 2.0**60),
    (v.integer(), False),
    (v.integer(), Int64(3)),
    (v.int64(), 3),
    (v.boolean(), 1),
    (v.boolean(), None),
    (v.string(), b""),
    (v.bytes(), ""),
    (v.datetime(), 1.0),
    (v.datetime(), "2026-01-01"),
    (v.datetime(), datetime(2026, 1, 1)),
    (v.id("users"), 3),
    (v.literal("a"), "b"),
    (v.literal(1), True),
    (v.literal(True), 1),
    (v.literal(1), Int64(1)),
    (v.literal(0), -0.0),
    (v.array(v.any()), {}),
    (v.array(v.integer()), [1, None]),
    (v.object({}), []),
    (v.object({}), {"a": 1}),
    (v.object({"a": v.any()}), {}),
    (v.object({"a": v.optional(v.any())}), {"b": 1}),
    (v.record(v.id("users"), v.any()), {"x": 1}),
    (v.record(v.string(), v.integer()), {"x": "y"}),
    (v.union(), None),
    (v.union(v.string(), v.null()), 3),
    (v.union(v.literal("a"), v.literal("b")), "c"),
]


@pytest.mark.parametrize("validator,value", REFUSED, ids=str)
def test_a_value_of_another_type_is_refused(validator, value):
    with pytest.raises(ValidationError) as caught:
        validator.check(value, ".x", tables=CATALOG)
    assert caught.value.path.startswith(".x")
    assert f"Path: {caught.value.path}" in caught.value.message


MESSAGES = [
    (v.object({"a": v.object({"b": v.array(v.integer())})}), {"a": {"b": [1, 2, "x"]}},
     ".a.b[2]", "NoMatch", "expected an int and found the str 'x'"),
    (v.object({"title": v.string()}), {"titel": "x"},
     "", "MissingRequiredField", "It has `titel`; did you mean `title`?"),
    (v.object({"title": v.string()}), {},
     "", "MissingRequiredField", "missing the required field `title`"),
    (v.object({"title": v.optional(v.string())}), {"titel": "x"},
     "", "ExtraField", "extra field `titel` that is not in the validator. Did you mean `title`?"),
    (v.object({"a": v.string()}), {"zz": 1, "a": 5}, ".a", "NoMatch", "expected a str"),
    (v.integer(), 1.5, "", "NotIntegral", "whole number and found the float 1.5"),
    (v.integer(), 2**53 + 1, "", "OutOfRange", "within +-2**53"),
    (v.int64(), 5, "", "NoMatch", "write livedb.Int64(5)"),
    (v.datetime(), 5, "", "NoMatch", "Expected a datetime"),
    (v.literal("a"), "b", "", "LiteralValuesDoNotMatch", "Expected 'a' and found the str 'b'"),
    (v.union(v.literal("todo"), v.literal("done")), "don",
     "", "LiteralValuesDoNotMatch", "one of 'todo', 'done' and found the str 'don'. Did you mean"),
    (v.id("users"), TASK, "", "TableNamesDoNotMatch", "from table `tasks`"),
    (v.id("users"), STRANGER, "", "TableNamesDoNotMatch", "no table here (number 10077)"),
    (v.id("users"), "bob", "", "NoMatch", "text that is no id"),
    (v.record(v.id("users"), v.any()), {"bob": 1}, ".keys()", "NoMatch", "no id"),
    (v.record(v.string(), v.integer()), {"a b": "x"}, "['a b']", "NoMatch", "an int"),
    (v.nullable(v.object({"a": v.integer()})), {"a": "x"}, ".a", "NoMatch", "an int"),
    (v.union(v.object({"a": v.integer()})), {"a": "x"}, ".a", "NoMatch", "an int"),
    (v.union(
        v.object({"kind": v.literal("circle"), "r": v.number()}),
        v.object({"kind": v.literal("square"), "side": v.number()}),
     ), {"kind": "square", "side": "x"}, ".side", "NoMatch", "a float"),
    (v.union(v.string(), v.integer()), None,
     "", "NoMatch", "expected a str or an int and found None."),
    (v.union(v.null(), v.union(v.string(), v.literal(1)), v.string()), 2,
     "", "NoMatch", "expected a str, 1 or None and found the int 2."),
    (v.union(), 2, "", "NoMatch", "expected nothing and found the int 2."),
]  # fmt: skip


@pytest.mark.parametrize("validator,value,path,kind,text", MESSAGES, ids=str)
def test_a_refusal_names_path_kind_found_and_expected(validator, value, path, kind, text):
    with pytest.raises(ValidationError) as caught:
        validator.check(value, tables=CATALOG)
    assert (caught.value.path, caught.value.kind) == (path, kind)
    assert text in caught.value.message
    assert "Validator: v." in caught.value.message


def test_a_message_does_not_grow_with_the_value():
    with pytest.raises(ValidationError) as caught:
        v.integer().check({"key": ["x" * 10**6] * 100})
    with pytest.raises(ValidationError) as caught_text:
        v.integer().check("x" * 10**6)
    assert len(caught.value.message) < 1000
    assert len(caught_text.value.message) < 1000


def test_a_deep_refusal_costs_no_more_than_its_depth_squared():
    validator: Validator = v.integer()
    value: object = "x"
    for _ in range(60):
        validator, value = v.nullable(v.object({"a": validator})), {"a": value}
    with pytest.raises(ValidationError) as caught:
        validator.check(value)
    assert caught.value.path == ".a" * 60


def test_without_a_catalog_an_id_is_only_well_formed():
    assert v.id("users").check(TASK) == TASK


def test_on_the_wire_a_datetime_is_its_milliseconds():
    milliseconds = NOW.timestamp() * 1000
    assert v.datetime().check(milliseconds, from_wire=True) == NOW
    assert v.object({"at": v.datetime()}).check({"at": 0.0}, from_wire=True) == {
        "at": datetime(1970, 1, 1, tzinfo=UTC)
    }
    assert v.nullable(v.datetime()).check(0.0, from_wire=True).year == 1970
    assert v.union(v.datetime(), v.number()).check(5.0, from_wire=True) == 5.0
    for impossible in (NAN, 1e300, float("inf")):
        with pytest.raises(ValidationError):
            v.datetime().check(impossible, from_wire=True)


def test_a_conversion_rebuilds_what_is_around_it_in_the_order_written():
    value = {"b": 1.0, "a": {"c": []}}
    validator = v.object({"a": v.object({"c": v.array(v.any())}), "b": v.integer()})
    checked = validator.check(value)
    assert list(checked) == ["b", "a"]
    assert checked is not value
    assert type(checked["b"]) is int
    assert type(value["b"]) is float
    assert checked["a"] is value["a"]


def test_what_needs_no_conversion_is_returned_itself():
    value = {"a": [{"b": "x" * 3}], "c": {"k": 1}, "d": "todo", "e": 1}
    validator = v.object(
        {
            "a": v.array(v.object({"b": v.literal("xxx")})),
            "c": v.record(v.string(), v.integer()),
            "d": v.union(v.literal("todo"), v.null()),
            "e": v.literal(1),
        }
    )
    assert validator.check(value) is value
    assert type(v.object({"a": v.any()}).check(Document(a=1))) is dict
    assert type(v.record(v.string(), v.any()).check(Document(a=1))) is dict


EVERY_KIND = v.object(
    {
        "id": v.id("users"),
        "null": v.null(),
        "number": v.optional(v.number()),
        "integer": v.integer(),
        "int64": v.int64(),
        "boolean": v.boolean(),
        "string": v.string(),
        "bytes": v.bytes(),
        "datetime": v.datetime(),
        "literals": v.union(*map(v.literal, ("a", 1, 1.5, True, Int64(7), -0.0, NAN))),
        "array": v.array(v.array(v.any())),
        "record": v.record(v.union(v.id("users"), v.string()), v.nullable(v.string())),
    }
)


def test_validators_are_values():
    for validator in [EVERY_KIND, *EVERY_KIND.fields.values()]:
        again = Validator.from_json(validator.to_json())
        again = again.optional() if validator.is_optional else again
        assert again == validator
        assert hash(again) == hash(validator)
        assert str(again) == str(validator)
        assert pickle.loads(pickle.dumps(validator)) == validator
        assert copy.deepcopy(validator) == validator
    validator = v.array(v.string())
    validator.check([])
    assert pickle.loads(pickle.dumps(validator)).check(["x"]) == ["x"]


def test_the_notation_is_the_validator():
    text = str(EVERY_KIND).replace("v.literal(nan)", "v.literal(float('nan'))")
    assert eval(text, {"v": v, "Int64": Int64}) == EVERY_KIND


def test_the_json_is_convexs():
    assert EVERY_KIND.fields["literals"].to_json()["value"][4] == {
        "type": "literal",
        "value": {"$integer": "BwAAAAAAAAA="},
    }
    assert v.object({"a": v.optional(v.id("t"))}).to_json() == {
        "type": "object",
        "value": {"a": {"fieldType": {"type": "id", "tableName": "t"}, "optional": True}},
    }
    assert v.record(v.string(), v.int64()).to_json() == {
        "type": "record",
        "keys": {"type": "string"},
        "values": {"fieldType": {"type": "bigint"}, "optional": False},
    }
    assert v.array(v.number()).to_json() == {"type": "array", "value": {"type": "number"}}


@pytest.mark.parametrize(
    "data", [None, {}, {"type": "huh"}, {"type": "array"}, {"type": "literal", "value": None}, 3]
)
def test_json_of_no_validator_is_refused(data):
    with pytest.raises(SchemaDefinitionError):
        Validator.from_json(data)


def test_true_one_and_int64_one_are_different_literals():
    literals = [v.literal(True), v.literal(1), v.literal(Int64(1)), v.literal("1")]
    assert len(set(literals)) == 4
    assert v.literal(True) != v.literal(1)


def test_the_order_of_fields_is_no_part_of_an_objects_type():
    one = v.object({"a": v.string(), "b": v.null()})
    other = v.object({"b": v.null(), "a": v.string()})
    assert one == other
    assert hash(one) == hash(other)
    assert one != one.optional()


def test_objects_are_picked_omitted_made_partial_and_extended():
    validator = v.object({"a": v.string(), "b": v.null()})
    assert validator.pick("a") == v.object({"a": v.string()})
    assert validator.omit("a") == v.object({"b": v.null()})
    assert validator.partial().check({}) == {}
    assert validator.extend({"b": v.string(), "c": v.any()}).check({"a": "", "b": "", "c": 1})
    with pytest.raises(SchemaDefinitionError, match="There is no field 'z'"):
        validator.pick("z")
    with pytest.raises(SchemaDefinitionError):
        validator.omit("z")


@pytest.mark.parametrize(
    "make",
    [
        lambda: v.array(v.optional(v.string())),
        lambda: v.union(v.optional(v.string()), v.null()),
        lambda: v.record(v.string(), v.optional(v.string())),
        lambda: v.record(v.literal("a"), v.string()),
        lambda: v.record(v.number(), v.string()),
        lambda: v.record(v.any(), v.string()),
        lambda: v.array(str),
        lambda: v.object({"a": str}),
        lambda: v.object({1: v.string()}),
        lambda: v.object({"$a": v.string()}),
        lambda: v.object({"ä": v.string()}),
        lambda: v.object({"a\n": v.string()}),
        lambda: v.object({f"f{n}": v.any() for n in range(1025)}),
        lambda: v.literal(None),
        lambda: v.literal(2**53 + 1),
        lambda: v.id(3),
        lambda: v.optional("x"),
    ],
)
def test_a_validator_that_contradicts_itself_is_refused(make):
    with pytest.raises(SchemaDefinitionError):
        make()


@pytest.mark.parametrize(
    "validator,column_type",
    [
        (v.boolean(), "boolean"),
        (v.integer(), "bigint"),
        (v.int64(), "bigint"),
        (v.number(), "double"),
        (v.string(), "varchar"),
        (v.id("t"), "varchar"),
        (v.bytes(), "blob"),
        (v.datetime(), "timestamptz"),
        (v.array(v.any()), "json"),
        (v.any(), "json"),
        (v.null(), "json"),
        (v.literal("a"), "varchar"),
        (v.literal(True), "boolean"),
        (v.nullable(v.integer()), "bigint"),
        (v.union(v.literal("a"), v.string()), "varchar"),
        (v.union(v.integer(), v.number()), "double"),
        (v.union(v.integer(), v.string()), "json"),
        (v.nullable(v.union(v.literal(1), v.literal(2.5))), "double"),
    ],
    ids=str,
)
def test_the_column_type_holds_every_value(validator, column_type):
    assert validator.column_type == column_type
    assert validator.optional().column_type == column_type
