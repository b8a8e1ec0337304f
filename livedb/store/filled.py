"""Defaults filled into the documents of a table that lack them, within a fold.

A schema change says which (`commitlog.payload.FillPart`); the documents are found here, where all
of them are, so the log holds the rule and not a copy of the table. What a document was goes to
the history. The text made here is to the byte the one that `livedb.text` writes for the filled
document: a field is appended, as `schema.filling` does.
"""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import duckdb

from livedb.schema.check import compile_filler
from livedb.store import layout
from livedb.store.columns import SQL_TYPES, project
from livedb.store.connection import quote
from livedb.store.contract import StoredDocument, Write
from livedb.store.layout import Layout
from livedb.store.verdict import is_absent
from livedb.text import PLAIN, decode_fields, encode_fields, encode_value
from livedb.values import Value


def fill_fields(
    connection: duckdb.DuckDBPyConnection,
    before: Layout,
    defaults: Mapping[str, Value],
    number: int,
) -> Layout:
    """Give the documents of a table the top-level fields they lack, as written by commit `number`.

    Cost: set-wise; about 1 us per document that is filled.
    """
    lacks = {name: is_absent(before.columns, name) for name in defaults}
    table = f"data.{quote(before.name)}"
    connection.execute(
        f"insert into meta.history select {before.number}, _id, _number, {number}, _creationTime, "
        f"_doc from {table} where {' or '.join(f'({each})' for each in lacks.values())}"
    )
    # A field that none lacks leaves its column as it is, whatever the type of its default.
    asked = ", ".join(f"coalesce(bool_or({each}), false)" for each in lacks.values())
    row = connection.sql(f"select {asked} from {table}").to_arrow_table()
    after = before
    for at, (name, value) in enumerate(defaults.items()):
        if row.column(at)[0].as_py():
            after = _fill_field(connection, after, name, value, number=number, where=lacks[name])
    return after


def _fill_field(
    connection: duckdb.DuckDBPyConnection,
    before: Layout,
    name: str,
    value: Value,
    *,
    number: int,
    where: str,
) -> Layout:
    projection = project(before.columns, [{name: value}], only=frozenset({name}))
    after = replace(
        before,
        columns=projection.columns,
        has_hidden=before.has_hidden or projection.has_hidden,
    )
    after = layout.change_table(connection, before, after)
    types = {column.name: SQL_TYPES[column.type] for column in after.columns}
    cells = {column: array[0].as_py() for column, array in projection.arrays.items()}
    columns = "".join(f", {quote(column)} = cast(? as {types[column]})" for column in cells)
    flag = "left(decode(_doc), 1)" if encode_fields({name: value})[:1] == PLAIN else "chr(1)"
    added = f"{encode_value(name).decode()}:{encode_value(value).decode()}}}"
    connection.execute(
        f"update data.{quote(after.name)} set _number = {number}, _doc = encode({flag} || "
        "left(substr(decode(_doc), 2), -1) || "
        "if(octet_length(_doc) = 3, '', ',') || ?::varchar)"  # the flag and "{}"
        f"{columns} where {where}",
        [added, *cells.values()],
    )
    return after


def iter_filled(
    connection: duckdb.DuckDBPyConnection, table: Layout, defaults: Mapping[str, Value]
) -> Iterator[list[Write]]:
    """The documents that lack a default, filled, in blocks; for defaults inside of objects.

    Cost: about 4 us per document of the table.
    """
    fill = compile_filler(defaults.items())
    for chunk in layout.iter_chunks(connection, table, ("_id", "_creationTime", "_doc")):
        writes = []
        columns = (column.to_pylist() for column in chunk.columns)
        for document_id, creation_time, text in zip(*columns, strict=True):
            filled = encode_fields(fill(decode_fields(text)))
            if filled != text:
                old = StoredDocument(creation_time, text)
                new = StoredDocument(creation_time, filled)
                writes.append(Write(table.number, document_id, old, new, ()))
        if writes:
            yield writes
