"""The fold of a bulk load: a staged Parquet file becomes rows without passing through Python.

The table gets the columns that inserts of the same rows, one after the other, would have given it:
the rules of `store.columns`, set-wise. A typed column of the file goes into the table's column as
it is, or all of it, as JSON, into `<field>__json`. A column of JSON is what staging makes of values
that have no one Arrow type: there each value that the table's column can hold goes into it, and the
others go into `<field>__json`.
"""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, Protocol

import duckdb

from livedb.store import layout
from livedb.store.columns import SQL_TYPES, Column, Columns, ColumnType, Namer
from livedb.store.connection import has_rows, quote, quote_text
from livedb.store.layout import SYSTEM_COLUMNS, Layout
from livedb.store.marks import HIDDEN_MARK


class LoadFile(Protocol):
    """What a fold needs of a bulk load's log entry (`commitlog.payload.LoadPart`)."""

    @property
    def table(self) -> int:
        """The table's number."""

    @property
    def file(self) -> str:
        """The Parquet file's name inside the loads folder."""


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


_TAGS: Final[Mapping[str, ColumnType]] = MappingProxyType(
    {"$float": "double", "$bytes": "blob", "$datetime": "timestamptz"}
)

Kind = ColumnType | Literal["wide"]
"""A type of values; "wide" is a whole number that no DOUBLE holds: it makes a BIGINT."""


def _tagged(tag: str) -> str:
    return f"""json_extract_string({{0}}, '$."{tag}"')"""


_IS_WIDE: Final = f"not ({layout.is_exact_as_double(_tagged('$int64'))})"

_KIND: Final = (
    "case json_type({0}) when 'BOOLEAN' then 'boolean' when 'VARCHAR' then 'varchar' "
    "when 'UBIGINT' then 'bigint' when 'BIGINT' then 'bigint' when 'DOUBLE' then 'double' "
    "when 'OBJECT' then case json_keys({0})[1] "
    f"when '$int64' then if({_IS_WIDE}, 'wide', 'bigint') "
    + " ".join(f"when {quote_text(tag)} then {quote_text(kind)}" for tag, kind in _TAGS.items())
    + " else 'json' end else 'json' end"
)
"""The kind of a staged JSON value: the column that it would make, were it the first one."""

_WHOLE: Final = (
    f"coalesce(try_cast({_tagged('$int64')} as bigint), try_cast({{0}}::varchar as bigint))"
)

_READ: Final[Mapping[ColumnType, Mapping[Kind, str]]] = MappingProxyType(
    {
        "null": {},
        "boolean": {"boolean": "try_cast({0} as boolean)"},
        "bigint": {"bigint": _WHOLE, "wide": _WHOLE},
        "double": {
            "double": f"coalesce(try_cast({_tagged('$float')} as double), "
            "try_cast({0}::varchar as double))",
            "bigint": f"coalesce(try_cast({_tagged('$int64')} as double), "
            "try_cast({0}::varchar as double))",
        },
        "varchar": {"varchar": "json_extract_string({0}, '$')"},
        "blob": {"blob": f"try(from_base64({_tagged('$bytes')}))"},
        "timestamptz": {"timestamptz": f"try_cast({_tagged('$datetime')} as timestamptz)"},
        "json": {},
    }
)
"""By the type of a column, the kinds of staged JSON values that it can hold, and how to read them.

A column of JSON takes every value as it is.
"""


def insert_file(
    connection: duckdb.DuckDBPyConnection, before: Layout, path: Path, number: int
) -> Layout:
    """Add every row of a staged file to a table, as written by commit `number`."""
    source = f"read_parquet({quote_text(str(path))})"
    types = _file_types(connection, source)
    kinds = _kinds(connection, source, before, types)
    is_hiding = _has_hidden(connection, path)
    unseen = _unseen_fields(connection, source, before, types) if is_hiding else ()
    after, values = _plan(before, types, kinds, unseen)
    if is_hiding:
        after = replace(after, has_hidden=True)
    after = layout.change_table(connection, before, after)
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


def _kinds(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    before: Layout,
    types: Mapping[str, ColumnType],
) -> dict[str, tuple[Kind, ...]]:
    """The kinds of values that each field has in the file, in the order in which they come.

    Cost: JSON is looked through, unless the table's column is of JSON or becomes it.
    """
    columns = {column.field: column.type for column in before.columns if not column.is_spill}
    found: dict[str, tuple[Kind, ...]] = {}
    for field, file_type in types.items():
        if file_type == "null":
            found[field] = ()
        elif file_type == "json" and columns.get(field) != "json":
            is_new = columns.get(field, "null") == "null"
            found[field] = _kinds_of_json(connection, source, field, is_new=is_new)
        elif file_type == "bigint" and columns.get(field) == "double":
            found[field] = _kinds_of_whole(connection, source, field)
        else:
            found[field] = (file_type,)
    return found


def _kinds_of_whole(
    connection: duckdb.DuckDBPyConnection, source: str, field: str
) -> tuple[Kind, ...]:
    is_exact = layout.is_exact_as_double(quote(field))
    is_wide = has_rows(connection, f"select 1 from {source} where not ({is_exact}) limit 1")
    return ("bigint", "wide") if is_wide else ("bigint",)


def _kinds_of_json(
    connection: duckdb.DuckDBPyConnection, source: str, field: str, *, is_new: bool
) -> tuple[Kind, ...]:
    name = quote(field)
    kinds = f"select {_KIND.format(name)} as kind from {source} where {name} is not null"
    # In the order of the file, which DuckDB keeps.
    first = connection.sql(f"{kinds} limit 1").to_arrow_table().column(0).to_pylist()
    if not first or (is_new and first == ["json"]):
        return tuple(first)
    all_kinds = connection.sql(f"select distinct kind from ({kinds})").to_arrow_table()
    return (*first, *(set(all_kinds.column(0).to_pylist()) - set(first)))


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
        if has_rows(connection, query):
            found.append(field)
    return found


def _has_hidden(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    [(key, value)] = HIDDEN_MARK.items()
    marks = f"parquet_kv_metadata({quote_text(str(path))})"
    found = f"select 1 from {marks} where key = encode($key) and value = encode($value)"
    return has_rows(connection, found, {"key": key, "value": value})


def _plan(
    before: Layout,
    types: Mapping[str, ColumnType],
    kinds: Mapping[str, Sequence[Kind]],
    unseen: Collection[str],
) -> tuple[Layout, dict[str, str]]:
    """The table's shape with the file's fields in it, and each column's value in SQL.

    Args:
        kinds: as `_kinds` found them.
        unseen: fields that the file holds in `_doc` alone; they are shown as JSON.
    """
    columns = list(before.columns)
    at = {column.field: index for index, column in enumerate(columns) if not column.is_spill}
    spills = {column.field: column for column in columns if column.is_spill}
    namer = Namer(before.columns)
    values: dict[str, str] = {}
    has_hidden = before.has_hidden
    misfits = {field: json_of(field) for field in unseen}
    for field, file_type in types.items():
        if field not in at:
            if not namer.take(field):
                has_hidden = True
                continue
            at[field] = len(columns)
            columns.append(Column(field, field, "null"))
        column = columns[at[field]] = _typed(columns[at[field]], kinds[field])
        value, misfit = _value_and_misfit(column, file_type, kinds[field])
        if value is not None:
            values[column.name] = value
        if misfit is not None:
            misfits[field] = misfit
    for field, misfit in misfits.items():
        if field in spills or namer.take(f"{field}__json", is_spill=True):
            spill = spills.get(field) or Column(field, f"{field}__json", "json", is_spill=True)
            if field not in spills:
                columns.append(spill)
            values[spill.name] = misfit
    grown: Columns = tuple(columns)
    return replace(before, columns=grown, has_hidden=has_hidden), values


def _typed(column: Column, kinds: Sequence[Kind]) -> Column:
    """As `store.columns`: the first type seen stays, and BIGINT widens."""
    if column.is_declared or not kinds:
        return column
    first: ColumnType = "bigint" if kinds[0] == "wide" else kinds[0]
    column_type = first if column.type == "null" else column.type
    if column_type == "bigint" and "double" in kinds:
        column_type = "double"
    return replace(column, type=column_type)


def _value_and_misfit(
    column: Column, file_type: ColumnType, kinds: Sequence[Kind]
) -> tuple[str | None, str | None]:
    """The SQL of what goes into a field's column and into its `__json`; None for nothing."""
    field, name = column.field, quote(column.field)
    if column.type == "json":
        return json_of(field), None
    if not kinds:
        return None, None
    if file_type != "json":
        if file_type == column.type or (file_type, column.type) == ("bigint", "double"):
            value = f"try_cast({name} as {SQL_TYPES[column.type]})"
            if "wide" not in kinds:
                return value, None
            is_exact = layout.is_exact_as_double(name)
            misfit = f"case when not ({is_exact}) then {json_of(field)} end"
            return f"case when {is_exact} then {value} end", misfit
        return None, json_of(field)
    readings = _READ[column.type]
    kind = _KIND.format(name)
    cases = " ".join(
        f"when {quote_text(each)} then {reading.format(name)}" for each, reading in readings.items()
    )
    is_whole = set(kinds) <= readings.keys()
    fitting = ", ".join(map(quote_text, readings))
    return (
        f"case {kind} {cases} end",
        None if is_whole else f"case when {kind} not in ({fitting}) then {json_of(field)} end",
    )


def json_of(field: str) -> str:
    """The field's value in `_doc` as JSON; SQL NULL for null or absent."""
    pointer = "/" + field.replace("~", "~0").replace("/", "~1")
    value = f"json_extract(try_cast(substr(decode(_doc), 2) as json), {quote_text(pointer)})"
    return f"nullif({value}::varchar, 'null')::json"
