"""Documents against their table: defaults, conversion, the texts of refusals."""

from __future__ import annotations

import pytest

from livedb.errors import SchemaEnforcementError
from livedb.schema.check import check_document, check_patch
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition

ADDRESS = v.object({"street": v.string(), "country": v.string()})
USERS = TableDefinition(
    "users",
    v.object(
        {
            "name": v.string(),
            "age": v.optional(v.integer()),
            "tags": v.array(v.string()),
            "home": v.nullable(ADDRESS),
            "others": v.record(v.string(), v.array(ADDRESS)),
        }
    ),
    (),
    {"tags": [], "home": None, "others": {}, "home.country": "NL", "others[][].country": "BE"},
)


def test_a_schemaless_table_takes_anything():
    assert check_document(TableDefinition("t"), {"a": 1}) == {"a": 1}


def test_defaults_are_filled_in_last_and_converted_values_kept():
    fields = {"name": "x", "age": 3.0}
    checked = check_document(USERS, fields)
    assert checked == {"name": "x", "age": 3, "tags": [], "home": None, "others": {}}
    assert list(checked) == ["name", "age", "tags", "home", "others"]
    assert type(checked["age"]) is int
    assert fields == {"name": "x", "age": 3.0}


def test_defaults_of_nested_objects_are_filled_in_where_the_object_is():
    checked = check_document(
        USERS,
        {
            "name": "x",
            "home": {"street": "s"},
            "others": {"a": [{"street": "t"}, {"street": "u", "country": "DE"}]},
        },
    )
    assert checked["home"] == {"street": "s", "country": "NL"}
    assert [one["country"] for one in checked["others"]["a"]] == ["BE", "DE"]


def test_a_default_is_no_one_elses_list():
    first = check_document(USERS, {"name": "x"})
    first["tags"].append("changed")
    assert check_document(USERS, {"name": "y"})["tags"] == []


def patched(changes, removed=(), definition=USERS):
    fields = {"name": "x", "tags": [], "home": None, "others": {}, **changes}
    for name in removed:
        del fields[name]
    check_patch(definition, fields, changes, removed, tables=None, document_id="abc")
    return fields


def test_a_patched_document_gets_no_defaults():
    with pytest.raises(SchemaEnforcementError) as caught:
        patched({}, removed=["tags"])
    assert caught.value.kind == "MissingRequiredField"


def test_a_patch_converts_what_it_changes_and_looks_at_nothing_else():
    assert type(patched({"age": 3.0})["age"]) is int
    assert patched({"name": "y"}, removed=[])["name"] == "y"
    with pytest.raises(SchemaEnforcementError) as caught:
        patched({"unknown": 1})
    assert caught.value.kind == "ExtraField"


def test_a_patch_of_a_union_is_checked_as_a_whole():
    kinds = TableDefinition(
        "t",
        v.union(
            v.object({"kind": v.literal("a"), "x": v.integer()}),
            v.object({"kind": v.literal("b"), "x": v.string()}),
        ),
    )
    fields = {"kind": "a", "x": "text"}
    with pytest.raises(SchemaEnforcementError):
        check_patch(kinds, fields, {"x": "text"}, [], tables=None, document_id="abc")


def test_a_refusal_names_table_path_and_document():
    with pytest.raises(SchemaEnforcementError) as caught:
        check_document(USERS, {"name": 3})
    assert caught.value.message.startswith(
        'Failed to insert or update a document in table "users" because it does not match the '
        "schema: "
    )
    assert (caught.value.path, caught.value.kind) == (".name", "NoMatch")
    assert caught.value.code == "SchemaEnforcementError"
    with pytest.raises(SchemaEnforcementError) as caught:
        patched({"name": 3})
    assert caught.value.message.startswith('Document with ID "abc" in table "users" does not match')
