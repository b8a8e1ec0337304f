"""Which fields of a table SQL shows nowhere: those that have no column, or values without one.

A fold is total (`store.columns`), so a document may hold what no column can: names that SQL would
confuse, fields beyond `COLUMNS_MAX`, values whose `<field>__json` is the name of another field.
Who makes a frame or a file of the table is told of them.
"""

# ruff: noqa: S608 - names in SQL are quoted.

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from livedb.store.columns import Column, Columns, columns_from_json
from livedb.store.connection import quote
from livedb.store.fold_file import json_of


def hidden_fields(
    query: Callable[[str], pa.Table], table_number: int, name: str
) -> tuple[str, ...]:
    """The fields of table `name` that SQL does not show, or not with every value; sorted.

    Cost: one look into the catalog for a table in which every field has its column, else a scan
        of its documents, 0.5 us each.
    """
    found = query(f"select columns, has_hidden from meta.tables where number = {table_number:d}")
    [layout] = found.to_pylist()
    columns = columns_from_json(layout["columns"])
    fields = set(_without_room(query, name, columns))
    if layout["has_hidden"]:
        fields |= _names_used(query, name) - {column.field for column in columns}
    return tuple(sorted(fields))


def _names_used(query: Callable[[str], pa.Table], name: str) -> set[str]:
    keys = "json_keys(try_cast(substr(decode(_doc), 2) as json))"
    used = query(f"select distinct unnest({keys}) as name from data.{quote(name)}")
    return {row["name"] for row in used.to_pylist()}


def _without_room(query: Callable[[str], pa.Table], name: str, columns: Columns) -> Iterator[str]:
    """The fields some value of which fits neither their column nor, for lack of it, a spill."""
    for column in _without_spill(columns):
        value = f"{quote(column.name)} is null and {json_of(column.field)} is not null"
        if query(f"select 1 from data.{quote(name)} where {value} limit 1").num_rows:
            yield column.field


def _without_spill(columns: Columns) -> Iterator[Column]:
    """The columns that can have no spill beside them, because another field has its name."""
    own = {column.name.casefold() for column in columns if not column.is_spill}
    spilled = {column.field for column in columns if column.is_spill}
    for column in columns:
        may_spill = not column.is_spill and column.field not in spilled
        if may_spill and f"{column.field}__json".casefold() in own:
            yield column
