"""What the tables were at an earlier commit, and what commits changed, out of tables and history.

A document's version holds from the commit that wrote it until the one that replaced or deleted it.
The versions in force are in the tables, under `_number`; the others in the history. So the past is
a set-wise read of both, whatever wrote them: mutations, bulk loads, fills of defaults, drops.
"""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa

from livedb.errors import PastTooOldError
from livedb.schema.catalog import Catalog
from livedb.store.columns import Columns, columns_from_json
from livedb.store.connection import quote, quote_text
from livedb.store.position import NO_TABLE, Position
from livedb.store.snapshot import loaded_table

if TYPE_CHECKING:
    from livedb.store.loaded import LoadedTable
    from livedb.store.snapshot import SqlSnapshot

_BEHIND_ALL = 1 << 63


class Page(NamedTuple):
    """Changes in order, and how far they go.

    Attributes:
        rows: `number`, `table_number`, `_id`, and the document `before` and `after` the commit:
            its creation time and its text (`livedb.text`), NULL where there was none.
        end: from where to go on.
    """

    rows: pa.Table
    end: Position


def require_kept(snapshot: SqlSnapshot, number: int) -> None:
    """Refuse a commit that is no longer readable.

    Raises:
        PastTooOldError: it names the oldest one that is.
    """
    oldest: int = snapshot.query("from meta.past").column(0)[0].as_py()
    if number < oldest:
        raise too_old(f"Commit {number}", oldest)


def too_old(what: str, oldest: int) -> PastTooOldError:
    """The refusal of a past that is not there any more."""
    return PastTooOldError(
        f"{what} is no longer kept: the past can be read back to commit {oldest}. "
        "Limits.history_keep_s and Limits.history_bytes_max say how much of it is kept.",
        number=oldest,
    )


def catalog_at(snapshot: SqlSnapshot, number: int) -> Catalog:
    """The tables at commit `number`, which is kept."""
    found = snapshot.query(
        f"select json from meta.catalogs where number <= {number} order by number desc limit 1"
    )
    return Catalog.from_json(msgspec.json.decode(found.column(0)[0].as_py())).at(number)


def catalogs(snapshot: SqlSnapshot, known: dict[int, Catalog]) -> Iterator[tuple[int, Catalog]]:
    """Every catalog that is kept, oldest first, and the commit from which it held.

    Args:
        known: those that were read before; grows.
    """
    numbers: list[Any] = snapshot.query("select number from meta.catalogs").column(0).to_pylist()
    if lacking := [number for number in numbers if number not in known]:
        query = f"from meta.catalogs where number in ({_listed(lacking)})"
        for row in snapshot.query(query).to_pylist():
            known[row["number"]] = Catalog.from_json(msgspec.json.decode(row["json"]))
    for number in sorted(numbers):
        yield number, known[number]


def count_at(snapshot: SqlSnapshot, table: int, number: int) -> int:
    """How many documents a table had. Cost: reads two columns."""
    name = _name_of(snapshot, table)
    now = "" if name is None else f"union all from data.{quote(name)} select _id where _number <= "
    counted = snapshot.query(
        f"select count(*) from (select _id from meta.history where {_held(table, number)} "
        f"{now}{'' if name is None else number})"
    )
    count: int = counted.column(0)[0].as_py()
    return count


def load_at(snapshot: SqlSnapshot, table: int, number: int) -> LoadedTable:
    """Every document that a table had, for memory. Cost: about 0.5 us per document."""
    return loaded_table(number, snapshot.query(_documents_at(snapshot, table, number)))


def size_at(snapshot: SqlSnapshot, table: int, number: int) -> tuple[int, int]:
    """How many documents a table had, and the bytes of their texts."""
    source = _documents_at(snapshot, table, number)
    found = snapshot.query(
        f"select count(*), coalesce(sum(octet_length(_doc)), 0)::bigint from ({source})"
    )
    return found.column(0)[0].as_py(), found.column(1)[0].as_py()


def copy_at(
    snapshot: SqlSnapshot,
    table: int,
    number: int,
    columns: Columns,
    copy: Callable[[Iterator[pa.Table]], None],
) -> None:
    """Have `copy` take the documents that a table had, in pieces as for `TableStore.copy`.

    Args:
        columns: those that the copy has: where the table still has the very same, what has not
            changed since is taken with its columns, which then need not be made anew.
    """
    found = snapshot.query(f"from meta.tables where number = {table}").to_pylist()
    typed = ""
    if found and not found[0]["has_hidden"] and columns_from_json(found[0]["columns"]) == columns:
        typed = "".join(f", {quote(column.name)}" for column in columns)
    superseded = (
        "select _id, creation_time as _creationTime, 0::ubigint as _seq, valid_from as _number, "
        f"doc as _doc from meta.history where {_held(table, number)}"
    )
    sources = [superseded]
    if found:
        sources.append(
            f"select _id, _creationTime, _seq, _number, _doc{typed} "
            f"from data.{quote(found[0]['name'])} where _number <= {number}"
        )
    for source in sources:
        snapshot.stream(source, lambda rows: copy(map(_table_of, rows.batches)))


def _table_of(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def changes_after(
    snapshot: SqlSnapshot,
    position: Position,
    *,
    until: int,
    limit: int,
    tables: Collection[int],
) -> Page:
    """The next changes behind `position` up to commit `until`, about `limit` of them.

    Args:
        tables: the numbers of those whose changes are wanted.

    Raises:
        PastTooOldError: they are no longer kept.
    Cost: set-wise; reads what the commits of the page wrote, found by DuckDB's zone maps.
    """
    is_whole = position.table == NO_TABLE
    after = position.number if is_whole else position.number - 1
    require_kept(snapshot, after)
    table = _BEHIND_ALL if is_whole else position.table
    now = _names(snapshot, tables)
    last = _last_of_page(snapshot, now, tables, after=after, until=until, limit=limit)
    chosen = f" and table_number in ({_listed(tables)})"
    span = f"> {after} and {{0}} <= {last}"
    begun = (
        "select valid_from as number, table_number, _id, creation_time, doc from meta.history "
        f"where valid_from {span.format('valid_from')}{chosen}"
    )
    written = [
        begun,
        *(
            f"select _number, {number}::ubigint, _id, _creationTime, _doc from data.{quote(name)} "
            f"where _number {span.format('_number')}"
            for number, name in now.items()
        ),
    ]
    rows = snapshot.query(f"""
        with written as ({" union all ".join(written)}),
        ended as (
            select valid_to as number, table_number, _id, creation_time, doc from meta.history
            where valid_to {span.format("valid_to")}{chosen}
        )
        select coalesce(written.number, ended.number) as number,
            coalesce(written.table_number, ended.table_number) as table_number,
            coalesce(written._id, ended._id) as _id,
            ended.creation_time as before_time, ended.doc as before,
            written.creation_time as after_time, written.doc as after
        from written full join ended
            on written.number = ended.number and written.table_number = ended.table_number
            and written._id = ended._id
        where (coalesce(written.number, ended.number),
               coalesce(written.table_number, ended.table_number),
               coalesce(written._id, ended._id))
            > ({position.number}::ubigint, {table}::ubigint, {quote_text(position.id)})
        order by 1, 2, 3 limit {limit}
    """)
    if rows.num_rows < limit:
        return Page(rows, Position(last))
    end = rows.slice(rows.num_rows - 1).select(["number", "table_number", "_id"]).to_pylist()[0]
    return Page(rows, Position(end["number"], end["table_number"], end["_id"]))


def changed_since(snapshot: SqlSnapshot, number: int, *, limit: int) -> list[str]:
    """The ids of documents that commit `number` changed and a later one too, at most `limit`.

    Cost: set-wise; reads what was written since.
    """
    tables = snapshot.query("select number, name from meta.tables").to_pylist()
    written = [
        f"select {each['number']}::ubigint as table_number, _id, _number as number "
        f"from data.{quote(each['name'])} where _number >= {number}"
        for each in tables
    ]
    versions = "select table_number, _id, {0} as number from meta.history where {0} >= {1}"
    written += [versions.format(each, number) for each in ("valid_from", "valid_to")]
    events = " union all ".join(written)
    found = snapshot.query(f"""
        select _id from ({events}) group by table_number, _id
        having bool_or(number = {number}) and bool_or(number > {number})
        order by _id limit {limit}
    """)
    ids: list[Any] = found.column(0).to_pylist()
    return ids


def _last_of_page(
    snapshot: SqlSnapshot,
    now: dict[int, str],
    tables: Collection[int],
    *,
    after: int,
    until: int,
    limit: int,
) -> int:
    """The commit with which a page of about `limit` changes is full, at least one; or `until`."""
    chosen = f" and table_number in ({_listed(tables)})"
    sources = [
        f"select valid_from as number from meta.history where valid_from > {after}{chosen}",
        f"select valid_to from meta.history where valid_to > {after}{chosen}",
        *(f"select _number from data.{quote(name)} where _number > {after}"
          for name in now.values()),
    ]  # fmt: skip
    found = snapshot.query(
        f"select number from ({' union all '.join(sources)}) where number <= {until} "
        f"order by number limit 1 offset {limit}"
    )
    return until if found.num_rows == 0 else found.column(0)[0].as_py()


def _names(snapshot: SqlSnapshot, tables: Collection[int]) -> dict[int, str]:
    rows = snapshot.query("select number, name from meta.tables").to_pylist()
    return {row["number"]: row["name"] for row in rows if row["number"] in tables}


def _listed(numbers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "null"


def _name_of(snapshot: SqlSnapshot, table: int) -> str | None:
    found = snapshot.query(f"select name from meta.tables where number = {table}")
    return found.column(0)[0].as_py() if found.num_rows else None


def _documents_at(snapshot: SqlSnapshot, table: int, number: int) -> str:
    name = _name_of(snapshot, table)
    held = (
        "select _id, creation_time as _creationTime, doc as _doc from meta.history "
        f"where {_held(table, number)}"
    )
    if name is None:
        return held
    now = f"select _id, _creationTime, _doc from data.{quote(name)} where _number <= {number}"
    return f"{held} union all {now}"


def _held(table: int, number: int) -> str:
    return f"table_number = {table} and valid_from <= {number} and valid_to > {number}"
