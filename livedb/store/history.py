"""Superseded versions of documents: what a document was, from one commit until another.

A fold writes them, one row per version that was replaced or deleted; the version in force is in the
table itself and never here, so a document that never changed costs nothing.
"""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import duckdb
import pyarrow as pa

from livedb.store.connection import quote, quote_text
from livedb.store.contract import StoredDocument
from livedb.store.fold import Superseded
from livedb.values import Value

CREATE = """
    create table meta.history (
        table_number ubigint, _id varchar, valid_from ubigint, valid_to ubigint,
        creation_time double, doc blob
    )
"""


class Version(NamedTuple):
    """One version of a document.

    `valid_from` is the commit that wrote it, `valid_to` the one that replaced or deleted it; None
    while it is the newest.
    """

    valid_from: int
    valid_to: int | None
    document: StoredDocument


def move_out(
    connection: duckdb.DuckDBPyConnection, table: int, name: str, touched: pa.Table
) -> None:
    """Delete from table `name` the documents that `touched` names, and keep each here.

    `touched` has `_id`, `_seq` and `_to`, the commit that replaced or deleted it. `_seq` prunes
    row groups and `_id` decides: a `_seq` alone is not unique. An id that is not there is no error.
    """
    connection.register("livedb_touched", touched)
    try:
        connection.execute(f"""
            with gone as (
                delete from data.{quote(name)} where {_condition(touched)}
                returning _id, _number, _creationTime, _doc
            )
            insert into meta.history
            select {table}, gone._id, _number, _to, _creationTime, _doc
            from gone join livedb_touched using (_id)
        """)
    finally:
        connection.unregister("livedb_touched")


def _condition(touched: pa.Table) -> str:
    if touched.num_rows == 1:
        # A constant is compared with the zone maps before anything is read: half the time.
        [row] = touched.to_pylist()
        return f"_seq = {row['_seq']} and _id = {quote_text(row['_id'])}"
    return "_seq in (select _seq from livedb_touched) and _id in (select _id from livedb_touched)"


def append(
    connection: duckdb.DuckDBPyConnection, table: int, superseded: Sequence[Superseded]
) -> None:
    """Keep versions that were replaced before any fold saw them."""
    rows = pa.table(
        {
            "_id": pa.array([version.id for version in superseded], pa.string()),
            "valid_from": pa.array([version.valid_from for version in superseded], pa.uint64()),
            "valid_to": pa.array([version.valid_to for version in superseded], pa.uint64()),
            "creation_time": pa.array(
                [version.document.creation_time for version in superseded], pa.float64()
            ),
            "doc": pa.array([version.document.text for version in superseded], pa.large_binary()),
        }
    )
    connection.register("livedb_superseded", rows)
    try:
        connection.execute(f"insert into meta.history select {table}, * from livedb_superseded")
    finally:
        connection.unregister("livedb_superseded")


def drop(connection: duckdb.DuckDBPyConnection, table: int) -> None:
    """Forget the history of a dropped table."""
    connection.execute(f"delete from meta.history where table_number = {table}")


def read_versions(
    query: Callable[[str, dict[str, Value]], pa.Table], table: int, name: str, document_id: str
) -> list[Version]:
    """Every kept version of one document, oldest first; empty if it never existed.

    Cost: one scan of the history's ids, one pruned look-up in the table.
    """
    found = query(
        f"""
        select valid_from, valid_to, creation_time, doc from meta.history
        where table_number = {table} and _id = $id
        union all
        select _number, null, _creationTime, _doc from data.{quote(name)} where _id = $id
        order by valid_from
        """,
        {"id": document_id},
    )
    return [
        Version(
            row["valid_from"], row["valid_to"], StoredDocument(row["creation_time"], row["doc"])
        )
        for row in found.to_pylist()
    ]
