"""The catalog: immutable, by name and by number, names one in any case."""

from __future__ import annotations

import json

import pytest

from livedb.errors import SchemaDefinitionError
from livedb.ids import FIRST_TABLE_NUMBER
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.namespace import v
from livedb.schema.tables import TableDefinition, define_table


def with_tables(*names):
    catalog = Catalog()
    for position, name in enumerate(names):
        table = CatalogTable(catalog.next_table_number(), TableDefinition(name))
        catalog = catalog.with_table(position + 1, table)
    return catalog


def test_a_table_is_found_by_name_and_number():
    catalog = with_tables("b", "a")
    assert catalog.names() == ["a", "b"]
    assert catalog.number_of("b") == FIRST_TABLE_NUMBER
    assert catalog.name_of(FIRST_TABLE_NUMBER + 1) == "a"
    assert catalog.by_number(FIRST_TABLE_NUMBER) is catalog.get("b")
    assert catalog.get("z") is catalog.by_number(1) is catalog.name_of(1) is None
    assert catalog.number_of("z") is None
    assert catalog.number == 2
    assert "a" in catalog
    assert len(catalog) == 2


def test_a_change_makes_a_new_catalog():
    before = with_tables("a")
    table = CatalogTable(FIRST_TABLE_NUMBER, define_table({"x": v.any()}).build("a"))
    after = before.with_table(9, table)
    assert before.get("a").definition.document is None
    assert after.get("a") is table
    assert len(after) == 1


def test_a_renamed_table_leaves_its_old_name():
    after = with_tables("a").with_table(2, CatalogTable(10_001, TableDefinition("A")))
    assert after.names() == ["A"]
    assert after.name_of(10_001) == "A"


def test_a_number_is_never_given_again():
    catalog = with_tables("a", "b").without(3, "b")
    assert catalog.names() == ["a"]
    assert catalog.by_number(FIRST_TABLE_NUMBER + 1) is None
    assert catalog.next_table_number() == FIRST_TABLE_NUMBER + 2


def test_names_that_differ_only_in_case_are_one():
    catalog = with_tables("tasks")
    with pytest.raises(SchemaDefinitionError) as caught:
        catalog.with_table(2, CatalogTable(catalog.next_table_number(), TableDefinition("Tasks")))
    assert caught.value.code == "TableNamesNotUnique"


def test_a_catalog_survives_json():
    table = define_table({"x": v.integer()}).index("by_x", ["x"], unique=True).build("c")
    catalog = with_tables("a", "b").without(3, "a").with_table(4, CatalogTable(10_005, table))
    assert Catalog.from_json(json.loads(json.dumps(catalog.to_json()))) == catalog
    assert catalog.at(7).number == 7
