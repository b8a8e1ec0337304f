"""Table and schema definitions: the rules and their codes."""

from __future__ import annotations

import pickle

import pytest

from livedb.errors import SchemaDefinitionError
from livedb.schema.namespace import v
from livedb.schema.tables import (
    IndexDefinition,
    SchemaDefinition,
    TableDefinition,
    define_schema,
    define_table,
    tables_referenced,
)


def table(*indexes, **options):
    builder = define_table(
        {"a": v.object({"b": v.string()}), "c": v.optional(v.any()), "d": v.nullable(v.string())}
    )
    for name, fields in indexes:
        builder.index(name, fields, **options)
    return builder.build("t")


def test_indexes_may_be_nested_and_unique():
    made = table(("by_b", ["a.b", "c.x.y", "d"]), unique=True)
    assert made.indexes == (IndexDefinition("by_b", ("a.b", "c.x.y", "d"), is_unique=True),)
    assert made.index("by_b") is made.indexes[0]
    assert made.index("by_z") is None


CODES = [
    ([("by_x", ["_id"])], "IndexFieldsContainId"),
    ([("by_x", ["a", "_creationTime"])], "IndexFieldsContainCreationTime"),
    ([("by_x", ["c._x"])], "IndexFieldNameReserved"),
    ([("by_x", ["a", "a"])], "FieldsNotUniqueWithinIndex"),
    ([("by_x", ["a"]), ("by_y", ["a"])], "IndexNotUnique"),
    ([("by_x", ["a"]), ("by_x", ["c"])], "IndexNamesNotUnique"),
    ([("by_x", [])], "EmptyIndex"),
    ([("by_x", [f"c.f{n}" for n in range(17)])], "IndexTooManyFields"),
    ([("by_id", ["a"])], "IndexNameReserved"),
    ([("by_creation_time", ["a"])], "IndexNameReserved"),
    ([("_x", ["a"])], "IndexNameReserved"),
    ([("by x", ["a"])], "InvalidIndexName"),
    ([("1x", ["a"])], "InvalidIndexName"),
    ([("x" * 65, ["a"])], "InvalidIndexName"),
    ([(3, ["a"])], "InvalidIndexName"),
    ([("by_x", ["z"])], "InvalidIndexField"),
    ([("by_x", ["a.z"])], "InvalidIndexField"),
    ([("by_x", ["d.z"])], "InvalidIndexField"),
    ([("by_x", ["a..b"])], "InvalidIndexField"),
    ([("by_x", [""])], "InvalidIndexField"),
    ([("by_x", "a")], "InvalidIndexField"),
    ([("by_x", [3])], "InvalidIndexField"),
    ([(f"by_{n}", [f"c.f{n}"]) for n in range(65)], "TooManyIndexes"),
]


@pytest.mark.parametrize("indexes,code", CODES, ids=lambda value: str(value)[:40])
def test_an_unsound_index_is_refused_with_its_code(indexes, code):
    with pytest.raises(SchemaDefinitionError) as caught:
        table(*indexes)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["", "_t", "1t", "a b", "ä", "x" * 65, "t;", "t\n"])
def test_a_table_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(SchemaDefinitionError) as caught:
        TableDefinition(name)
    assert caught.value.code == "InvalidTableName"


@pytest.mark.parametrize(
    "document",
    [
        v.string(),
        v.array(v.object({})),
        v.union(),
        v.union(v.object({}), v.null()),
        v.record(v.string(), v.any()),
        v.object({"_x": v.any()}),
        v.object({"_id": v.string()}),
        v.object({"_id": v.id("other")}),
        v.object({}).optional(),
    ],
    ids=str,
)
def test_a_document_type_that_is_no_object_is_refused(document):
    with pytest.raises(SchemaDefinitionError):
        define_table(document).build("t")


def test_system_fields_may_be_declared_and_are_not_stored():
    made = define_table({"_id": v.id("t"), "_creationTime": v.number(), "a": v.any()}).build("t")
    assert made.document == v.object({"a": v.any()})
    assert made.whole_document() == v.object(
        {"_id": v.id("t"), "_creationTime": v.number(), "a": v.any()}
    )


def test_the_fields_of_a_union_of_objects_are_merged():
    made = define_table(
        v.union(
            v.object({"kind": v.literal("a"), "x": v.string()}),
            v.object({"kind": v.literal("b"), "y": v.string()}),
        )
    ).build("t")
    assert made.fields == {
        "kind": v.union(v.literal("a"), v.literal("b")),
        "x": v.optional(v.string()),
        "y": v.optional(v.string()),
    }
    assert define_table().build("t").fields == {}
    assert define_table(v.any()).build("t").whole_document() == v.any()


def test_a_definition_is_a_value():
    made = TableDefinition(
        "t",
        v.object({"a": v.nullable(v.boolean()), "b": v.number()}),
        (IndexDefinition("by_a", ("a",), is_unique=True),),
        {"a": True, "b": float("nan")},
    )
    again = TableDefinition.from_json(made.to_json())
    assert again == made
    assert hash(again) == hash(made)
    assert pickle.loads(pickle.dumps(made)) == made
    assert made != TableDefinition(made.name, made.document, made.indexes, {"a": 1, "b": 0.0})
    assert made.to_json()["indexes"] == [
        {"indexDescriptor": "by_a", "fields": ["a"], "unique": True}
    ]
    with pytest.raises(TypeError):
        made.defaults["a"] = 1


def test_a_schema_is_a_value_with_document_types():
    schema = define_schema({"users": define_table({"name": v.string()}), "notes": define_table()})
    assert SchemaDefinition.from_json(schema.to_json()) == schema
    assert schema.id("users") == v.id("users")
    assert schema.doc("users").fields["_id"] == v.id("users")
    assert [one.name for one in schema] == ["users", "notes"]
    with pytest.raises(SchemaDefinitionError, match="no table 'user'"):
        schema.doc("user")


def test_table_names_that_differ_only_in_case_are_refused():
    with pytest.raises(SchemaDefinitionError) as caught:
        define_schema({"tasks": define_table(), "Tasks": define_table()})
    assert caught.value.code == "TableNamesNotUnique"


def test_what_is_no_table_is_refused():
    with pytest.raises(SchemaDefinitionError, match="expected define_table"):
        define_schema({"tasks": v.object({})})
    with pytest.raises(SchemaDefinitionError, match="takes the fields"):
        define_table([v.string()])


def test_referenced_tables_are_found_at_any_depth():
    made = define_table({"a": v.array(v.nullable(v.record(v.id("x"), v.id("y"))))}).build("t")
    assert tables_referenced(made) == {"x", "y"}
    assert tables_referenced(TableDefinition("t")) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "define_table()",
        "define_table({})",
        "define_table(v.any())",
        'define_table(v.union(v.object({"a": v.null()}), v.object({"b": v.null()})))',
        (
            'define_table({\n    "a": v.id("t"),\n    "b c": v.optional(v.array(v.integer())),\n})'
            '.index("by_a", ["a"]).index("by_both", ["a", "b c"], unique=True)'
        ),
    ],
)
def test_a_table_is_shown_as_it_is_written(text):
    assert repr(eval(text).build("t")) == text


def test_a_table_shows_its_defaults_beside_what_can_be_written():
    made = TableDefinition("t", v.object({"a": v.string()}), (), {"a": "x"})
    assert repr(made) == "define_table({\n    \"a\": v.string(),\n})  # defaults: a = 'x'"
