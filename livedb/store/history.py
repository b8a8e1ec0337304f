"""Superseded versions of documents: what a document was, from one commit until another.

A fold writes them, one row per version that was replaced or deleted; the version in force is in the
table itself and never here, so a document that never changed costs nothing. Beside them lie the
catalogs that held from one commit on, and the oldest commit of which all of this is kept: together
they say what the workspace was at each commit since (`store.past`).
"""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from livedb.store.connection import quote, quote_text, registered
from livedb.store.contract import StoredDocument
from livedb.store.fold import Superseded
from livedb.values import Value

if TYPE_CHECKING:
    from livedb.schema.catalog import Catalog

CREATE = """
    create table meta.history (
        table_number ubigint, _id varchar, valid_from ubigint, valid_to ubigint,
        creation_time double, doc blob
    )
"""

CREATE_PAST = (
    "create table meta.catalogs (number ubigint, json varchar)",
    "create table meta.past (oldest ubigint)",
)

_SPANS = 64
"""Spans of commits into which a measured history is divided; it is forgotten span by span."""


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

    An id that is not there is no error.

    Args:
        connection: the writer, in its transaction.
        table: the table's number.
        name: the table's name.
        touched: one row per document: `_id`, `_seq`, `_to` (the commit that replaced or deleted
            it), and what it was, `_creationTime` and `_doc`, or NULL when that is not known.
    """
    if touched.num_rows > 1:
        is_known = pc.is_valid(touched.column("_doc"))
        known = touched.filter(is_known)
        if known.num_rows and _move_known(connection, table, name, known):
            touched = touched.filter(pc.invert(is_known))
    if touched.num_rows:
        _move_found(connection, table, name, touched)


def _move_known(
    connection: duckdb.DuckDBPyConnection, table: int, name: str, known: pa.Table
) -> bool:
    """Move documents whose text is known; False, and nothing done, when that cannot be exact.

    Reading a scattered thousand of DuckDB's compressed texts costs as much as reading all of
    them, numbers do not. So the rows are found by `_seq` alone, which is not unique. But each
    of these documents is in the table: as many rows as documents, no two of them with the same
    `_seq`, can only be theirs.
    """
    if pc.count_distinct(known.column("_seq")).as_py() != known.num_rows:
        return False
    with registered(connection, "livedb_touched", known):
        found = connection.sql(
            f"select rowid as position, _seq, _number from data.{quote(name)} "
            "where _seq in (select _seq from livedb_touched)"
        ).to_arrow_table()
        if found.num_rows != known.num_rows:
            return False
        with registered(connection, "livedb_found", found):
            connection.execute(
                f"delete from data.{quote(name)} where rowid in (select position from livedb_found)"
            )
            connection.execute(f"""
                insert into meta.history
                select {table}, _id, _number, _to, _creationTime, _doc
                from livedb_touched join livedb_found using (_seq)
            """)
    return True


def _move_found(
    connection: duckdb.DuckDBPyConnection, table: int, name: str, touched: pa.Table
) -> None:
    """Move documents as the table has them: `_seq` prunes row groups and `_id` decides."""
    with registered(connection, "livedb_touched", touched):
        connection.execute(f"""
            with gone as (
                delete from data.{quote(name)} where {_condition(touched)}
                returning _id, _number, _creationTime, _doc
            )
            insert into meta.history
            select {table}, gone._id, gone._number, _to, gone._creationTime, gone._doc
            from gone join livedb_touched using (_id)
        """)


def _condition(touched: pa.Table) -> str:
    if touched.num_rows == 1:
        # A constant is compared with the zone maps before anything is read: half the time.
        [row] = touched.select(["_seq", "_id"]).to_pylist()
        return f"_seq = {row['_seq']} and _id = {quote_text(row['_id'])}"
    return "_seq in (select _seq from livedb_touched) and _id in (select _id from livedb_touched)"


def move_out_all(connection: duckdb.DuckDBPyConnection, table: int, name: str, number: int) -> None:
    """Delete every document of table `name`, as commit `number` did, and keep each here."""
    connection.execute(f"""
        with gone as (
            delete from data.{quote(name)} returning _id, _number, _creationTime, _doc
        )
        insert into meta.history
        select {table}, _id, _number, {number}, _creationTime, _doc from gone
    """)


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
    with registered(connection, "livedb_superseded", rows):
        connection.execute(f"insert into meta.history select {table}, * from livedb_superseded")


def begin(connection: duckdb.DuckDBPyConnection, no_tables: str) -> None:
    """Give tables of an older livedb a past: from now on, as its catalogs were not kept."""
    for statement in CREATE_PAST:
        connection.execute(statement)
    connection.execute(
        "insert into meta.catalogs "
        f"select folded_number, coalesce((select json from meta.catalog), {no_tables}) "
        "from meta.state"
    )
    connection.execute("insert into meta.past select folded_number from meta.state")


def keep_catalogs(
    connection: duckdb.DuckDBPyConnection, catalogs: Iterable[tuple[int, Catalog]]
) -> None:
    """Keep which tables there were from each of these commits on."""
    for number, catalog in catalogs:
        text = msgspec.json.encode(catalog.to_json()).decode()
        connection.execute("insert into meta.catalogs values (?, ?)", [number, text])


def measure(query: Callable[[str], pa.Table], *, after: int, until: int) -> list[tuple[int, int]]:
    """The bytes of the versions replaced by commits between: (last commit of a span, bytes).

    Cost: reads the sizes of those versions.
    """
    measured = query(f"""
        with new as (
            select valid_to, octet_length(doc) + octet_length(encode(_id)) as size
            from meta.history where valid_to > {after} and valid_to <= {until}
        ), width as (select greatest((max(valid_to) - {after}) // {_SPANS}, 1) as w from new)
        select max(valid_to) as until, sum(size)::ubigint as size
        from new, width group by (valid_to - {after}) // w order by until
    """)
    return [(row["until"], row["size"]) for row in measured.to_pylist()]


def forget(connection: duckdb.DuckDBPyConnection, oldest: int) -> None:
    """Forget what was before commit `oldest`: what it was at `oldest` stays readable."""
    connection.execute(f"delete from meta.history where valid_to <= {oldest}")
    connection.execute(f"""
        delete from meta.catalogs where number <
            (select max(number) from meta.catalogs where number <= {oldest})
    """)
    connection.execute(f"update meta.past set oldest = {oldest}")


def oldest_kept(connection: duckdb.DuckDBPyConnection) -> int:
    """The oldest commit of which everything is kept."""
    oldest: int = connection.sql("from meta.past").to_arrow_table().column(0)[0].as_py()
    return oldest


def read_versions(
    query: Callable[[str, dict[str, Value]], pa.Table],
    table: int,
    name: str | None,
    document_id: str,
) -> list[Version]:
    """Every kept version of one document, oldest first; empty if it never existed.

    Args:
        name: of the table that now has the number; None when it was dropped.
    Cost: one scan of the history's ids, one pruned look-up in the table.
    """
    newest = (
        ""
        if name is None
        else f"""
        union all
        select _number, null, _creationTime, _doc from data.{quote(name)} where _id = $id
    """
    )
    found = query(
        f"""
        select valid_from, valid_to, creation_time, doc from meta.history
        where table_number = {table} and _id = $id {newest} order by valid_from
        """,
        {"id": document_id},
    )
    return [
        Version(
            row["valid_from"], row["valid_to"], StoredDocument(row["creation_time"], row["doc"])
        )
        for row in found.to_pylist()
    ]
