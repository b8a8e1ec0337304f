"""The fold of a bulk load: a staged Parquet file becomes rows without passing through Python.

The file's typed columns are taken as they are where the table's column has their type. Where it has
not, the value is NULL and the field's JSON goes to `<field>__json`, taken from `_doc`: the same
rule as `store.columns`, set-wise. A column of JSON that holds nothing but numbers, as ints beside
floats and decimals are staged, becomes one of DOUBLE.
"""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import duckdb

from livedb.store import layout
from livedb.store.columns import SQL_TYPES, Column, Columns, ColumnType, Namer
from livedb.store.connection import quote, quote_text
from livedb.store.layout import SYSTEM_COLUMNS, Layout
from livedb.store.marks import HIDDEN_MARK

_FILE_TYPES: Final[Mapping[str, ColumnType]] = MappingProxyType(
    {
        "BOOLEAN": "boolean",
        "TINYINT": "bigint",
        "SMALLINT": "bigint",
        "INTEGER": "bigint",
        "BIGINT": "bigint",
        "UTINYINT": "bigint",
        "USMALLINT": "bigint",
        "UINTEGER": "bigint",
        "FLOAT": "double",
        "DOUBLE": "double",
        "VARCHAR": "varchar",
        "BLOB": "blob",
        "TIMESTAMP WITH TIME ZONE": "timestamptz",
        "JSON": "json",
        '"NULL"': "null",
    }
)


def insert_file(
    connection: duckdb.DuckDBPyConnection, before: Layout, path: Path, number: int
) -> Layout:
    """Add every row of a staged file to a table, as written by commit `number`."""
    source = f"read_parquet({quote_text(str(path))})"
    types = _file_types(connection, source)
    numbers = _fields_of_numbers(connection, source, before, types)
    is_hiding = _has_hidden(connection, path)
    unseen = _unseen_fields(connection, source, before, types) if is_hiding else ()
    after, values = _plan(before, types | dict.fromkeys(numbers, "double"), numbers, unseen)
    if is_hiding:
        after = replace(after, has_hidden=True)
    layout.change_table(connection, before, after)
    names = "".join(f", {quote(name)}" for name in values)
    expressions = "".join(f", {value}" for value in values.values())
    connection.execute(
        f"insert into data.{quote(after.name)} (_id, _creationTime, _seq, _number, _doc{names}) "
        f"select _id, _creationTime, _seq, {number}, _doc{expressions} from {source}"
    )
    return after


def _file_types(connection: duckdb.DuckDBPyConnection, source: str) -> dict[str, ColumnType]:
    described = connection.sql(f"describe select * from {source}").to_arrow_table()
    return {
        row["column_name"]: _FILE_TYPES.get(row["column_type"], "json")
        for row in described.select(["column_name", "column_type"]).to_pylist()
        if row["column_name"] not in SYSTEM_COLUMNS
    }


def _fields_of_numbers(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    before: Layout,
    types: Mapping[str, ColumnType],
) -> frozenset[str]:
    """The fields that no schema types and whose JSON is nothing but numbers.

    Staging knows a column's Arrow type, and JSON text is what keeps `3` and `3.0` apart in one; as
    inserts of the same values would, they become a column that SQL can add up.
    """
    declared = {column.field for column in before.columns if column.is_declared}
    asked = [name for name, kind in types.items() if kind == "json" and name not in declared]
    return frozenset(name for name in asked if _is_numbers(connection, source, name))


def _is_numbers(connection: duckdb.DuckDBPyConnection, source: str, field: str) -> bool:
    """Whether a column of JSON has values and all are numbers; ends at the first that is none."""

    def has(condition: str) -> bool:
        found = connection.execute(f"select 1 from {source} where {condition} limit 1")
        return found.fetchone() is not None

    is_value = f"{quote(field)} is not null"
    return not has(f"{is_value} and {_number_of(field)} is null") and has(is_value)


def _number_of(field: str) -> str:
    """A staged JSON value as DOUBLE; NULL when it is no number. Tags say what JSON has none for."""
    name = quote(field)
    return (
        f"case json_type({name}) when 'OBJECT' "
        f"""then try_cast(json_extract_string({name}, '$."$float"') as double) """
        f"when 'VARCHAR' then null else try_cast({name}::varchar as double) end"
    )


def _unseen_fields(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    before: Layout,
    types: Mapping[str, ColumnType],
) -> list[str]:
    """The fields with a column in the table and none in a file that could not show them all.

    A file shows the first of two fields that SQL cannot tell apart, and the table may show the
    other one.
    """
    asked = [each.field for each in before.columns if not each.is_spill and each.field not in types]
    found = []
    for field in asked:
        query = f"select 1 from {source} where {json_of(field)} is not null limit 1"
        if connection.execute(query).fetchone() is not None:
            found.append(field)
    return found


def _has_hidden(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    [(key, value)] = HIDDEN_MARK.items()
    marks = f"parquet_kv_metadata({quote_text(str(path))})"
    found = f"select 1 from {marks} where key = encode($key) and value = encode($value)"
    return connection.execute(found, {"key": key, "value": value}).fetchone() is not None


def _plan(
    before: Layout,
    types: Mapping[str, ColumnType],
    numbers: Collection[str],
    unseen: Collection[str],
) -> tuple[Layout, dict[str, str]]:
    """The table's shape with the file's fields in it, and each column's value in SQL.

    Args:
        unseen: fields that the file holds in `_doc` alone; they are shown as JSON.
    """
    columns = list(before.columns)
    at = {column.field: index for index, column in enumerate(columns) if not column.is_spill}
    spills = {column.field: column for column in columns if column.is_spill}
    namer = Namer(before.columns)
    values: dict[str, str] = {}
    has_hidden = before.has_hidden
    shown_as_json = list(unseen)
    for field, file_type in types.items():
        if field not in at:
            if not namer.take(field):
                has_hidden = True
                continue
            at[field] = len(columns)
            columns.append(Column(field, field, "null"))
        column = columns[at[field]] = _typed(columns[at[field]], file_type)
        if column.type == "json":
            values[column.name] = json_of(field)
        elif field in numbers and column.type == "double":
            values[column.name] = _number_of(field)
        elif file_type in (column.type, "null") or (file_type, column.type) == ("bigint", "double"):
            values[column.name] = f"try_cast({quote(field)} as {SQL_TYPES[column.type]})"
        else:
            shown_as_json.append(field)
    for field in shown_as_json:
        if field in spills or namer.take(f"{field}__json", is_spill=True):
            spill = spills.get(field) or Column(field, f"{field}__json", "json", is_spill=True)
            if field not in spills:
                columns.append(spill)
            values[spill.name] = json_of(field)
    grown: Columns = tuple(columns)
    return replace(before, columns=grown, has_hidden=has_hidden), values


def _typed(column: Column, file_type: ColumnType) -> Column:
    """As `store.columns`: the first type seen stays, and BIGINT widens."""
    if column.is_declared:
        return column
    if column.type == "null" or (column.type, file_type) == ("bigint", "double"):
        return replace(column, type=file_type)
    return column


def json_of(field: str) -> str:
    """The field's value in `_doc` as JSON; SQL NULL for null or absent."""
    pointer = "/" + field.replace("~", "~0").replace("/", "~1")
    value = f"json_extract(try_cast(substr(decode(_doc), 2) as json), {quote_text(pointer)})"
    return f"nullif({value}::varchar, 'null')::json"
