"""SQL over the folded tables: at the newest commit, or at exactly one, with what it depends on.

It serves `db.sql`, live SQL (`live.sources.SqlAt`) and `ctx.db.sql`.
A snapshot can be held over several statements of one thread or task, as `with db.snapshot()` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from livedb.errors import LivedbError
from livedb.functions.calling import SqlReader
from livedb.live.statements import StatementThreads
from livedb.schema.catalog import Catalog
from livedb.schema.tables import SYSTEM_TABLES
from livedb.store.connection import CtrlC, quote
from livedb.text import decode_fields
from livedb.transactions.reads import ReadSet
from livedb.transactions.transaction import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.schema.tables import TableDefinition
    from livedb.store.snapshot import SqlSnapshot
    from livedb.store.sql import RowStream


_held: ContextVar[Mapping[FoldedSql, SqlSnapshot]] = ContextVar("livedb_held_sql")
"""The snapshots that this thread or task reads by, of each workspace at most one."""

_NOTHING_HELD: Mapping[FoldedSql, SqlSnapshot] = {}


@dataclass(frozen=True, slots=True)
class WholeTable:
    """A table at a commit, as SQL shows it.

    Attributes:
        rows: to be taken while it is lent.
        hidden: the fields that SQL does not show.
    """

    name: str
    definition: TableDefinition | None
    rows: RowStream
    number: int
    hidden: tuple[str, ...]


class Snapshots(Protocol):
    """Gives the tables at a commit."""

    def snapshot(self) -> SqlSnapshot:
        """The newest commit."""

    def snapshot_at(self, number: int) -> SqlSnapshot:
        """A certain one."""


class Catalogs(Protocol):
    """Knows which tables there were."""

    def catalog_at(self, number: int) -> Catalog:
        """The tables at a commit."""


class FoldedSql(SqlReader):
    """Reads of one workspace's tables in DuckDB."""

    def __init__(self, *, folder: Snapshots, committer: Catalogs) -> None:
        self._folder = folder
        self._committer = committer
        self._threads = StatementThreads()

    def close(self) -> None:
        """End the threads; nothing may be running but what was left."""
        self._threads.close()

    def held(self) -> SqlSnapshot | None:
        """The snapshot that this thread or task reads by, if it holds one."""
        return _held.get(_NOTHING_HELD).get(self)

    @contextmanager
    def holding(self, snapshot: SqlSnapshot) -> Iterator[None]:
        """Within it this thread or task reads by `snapshot`, which its caller opens and closes."""
        token = _held.set({**_held.get(_NOTHING_HELD), self: snapshot})
        try:
            yield
        finally:
            _held.reset(token)

    @contextmanager
    def _snapshot(self, number: int | None = None) -> Iterator[SqlSnapshot]:
        """A snapshot at `number`, or of what is held, or of everything published."""
        held = self.held()
        if held is not None and number in (None, held.number):
            yield held
            return
        folder = self._folder
        with folder.snapshot() if number is None else folder.snapshot_at(number) as snapshot:
            yield snapshot

    def read(
        self, text: str, params: Mapping[str, Any] | Iterable[Any] | None = None
    ) -> tuple[pa.Table, int]:
        """The rows of one SQL statement over everything acknowledged before, and their commit.

        Raises:
            SqlError: the statement is wrong or not allowed.
        """
        with CtrlC(), self._snapshot() as snapshot:
            catalog = self._committer.catalog_at(snapshot.number)
            table, _ = self._run(snapshot, text, params, catalog)
            return table, snapshot.number

    def sql_at(
        self,
        number: int,
        text: str,
        params: Mapping[str, Any] | Iterable[Any] | None,
        *,
        on_start: Callable[[Callable[[], None]], None] = lambda _: None,
    ) -> tuple[pa.Table, ReadSet]:
        """The rows at exactly commit `number`, and what they depend on."""
        with CtrlC(), self._snapshot(number) as snapshot:
            on_start(snapshot.interrupt)
            catalog = self._committer.catalog_at(number)
            table, names = self._run(snapshot, text, params, catalog)
        reads = ReadSet()
        _read_tables(reads, catalog, names)
        return table, reads

    def read_sql_at(
        self,
        snapshot: Snapshot,
        text: str,
        params: Mapping[str, Any] | Iterable[Any] | None,
        *,
        on_start: Callable[[Callable[[], None]], None],
    ) -> pa.Table:
        try:
            table, reads = self.sql_at(snapshot.number, text, params, on_start=on_start)
        except LivedbError:
            snapshot.reads.merge(self.sql_reads(snapshot.number, text))
            raise
        snapshot.reads.merge(reads)
        return table

    def sql_reads(self, number: int, text: str) -> ReadSet:
        """What a statement that failed may depend on: every table it names, existing or not."""
        catalog = self._committer.catalog_at(number)
        words = set(re.findall(r"\w+", text))
        folded = {word.casefold() for word in words}
        reads = ReadSet()
        known = {name for name in catalog.names() if name.casefold() in folded}
        _read_tables(reads, catalog, words | folded | known)
        return reads

    def _run(
        self,
        snapshot: SqlSnapshot,
        text: str,
        params: Mapping[str, Any] | Iterable[Any] | None,
        catalog: Catalog,
    ) -> tuple[pa.Table, set[str]]:
        found: list[tuple[pa.Table, set[str]]] = []
        parameters = _parameters(params)

        def run() -> None:
            found.append(snapshot.run_sql(text, parameters, catalog=catalog))

        self._threads.run(snapshot, run)
        return found[0]

    def documents(self, name: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """The fields of a table's documents as published, oldest first."""
        with CtrlC(), self._snapshot() as snapshot:
            table = self._committer.catalog_at(snapshot.number).get(name)
            if table is None:
                return []
            texts = snapshot.load_table(table.number).texts
        return [decode_fields(text.as_py()) for text in texts[:limit]]

    def counts(self) -> dict[str, int]:
        """The number of documents of every table but livedb's own, all at one commit."""
        with CtrlC(), self._snapshot() as snapshot:
            catalog = self._committer.catalog_at(snapshot.number)
            return {
                table.definition.name: snapshot.count(table.number)
                for table in catalog
                if table.definition.name not in SYSTEM_TABLES
            }

    def page(self, name: str, *, limit: int, is_descending: bool) -> list[dict[str, Any]] | None:
        """Up to `limit` whole documents of a table by creation time; None without such a table."""
        with CtrlC(), self._snapshot() as snapshot:
            table = self._committer.catalog_at(snapshot.number).get(name)
            if table is None:
                return None
            order = "desc" if is_descending else "asc"
            rows = snapshot.query(
                f"select _id, _creationTime, _doc from data.{quote(name)} "  # noqa: S608 - quoted
                f"order by _creationTime {order}, _id {order} limit {int(limit)}"
            )
        return [
            {**decode_fields(row["_doc"]), "_id": row["_id"], "_creationTime": row["_creationTime"]}
            for row in rows.to_pylist()
        ]

    def whole_tables(self, names: Sequence[str], use: Callable[[WholeTable], None]) -> None:
        """Have `use` take tables as SQL shows them, oldest rows first, all at one commit.

        Raises:
            SqlError: there is no such table.
            Whatever `use` raises.
        """
        with CtrlC(), self._snapshot() as snapshot:
            catalog = self._committer.catalog_at(snapshot.number)
            for name in names:
                self._threads.run(
                    snapshot, partial(_use_table, snapshot, catalog, name, use), may_leave=False
                )

    def hidden_fields(self, name: str) -> tuple[str, ...]:
        """The fields of a table that SQL does not show, as of now: see `store.hidden`."""
        with CtrlC(), self._snapshot() as snapshot:
            table = self._committer.catalog_at(snapshot.number).get(name)
            return () if table is None else snapshot.hidden_fields(table.number)


def _use_table(
    snapshot: SqlSnapshot, catalog: Catalog, name: str, use: Callable[[WholeTable], None]
) -> None:
    known = catalog.get(name)
    definition = None if known is None else known.definition
    hidden = () if known is None else snapshot.hidden_fields(known.number)
    snapshot.stream_sql(
        f'select * from {quote(name)} order by "_creationTime", "_id"',  # noqa: S608  # quoted
        lambda rows: use(WholeTable(name, definition, rows, snapshot.number, hidden)),
        catalog=catalog,
    )


def _read_tables(reads: ReadSet, catalog: Catalog, names: Iterable[str]) -> None:
    for name in names:
        reads.names.add(name)
        table = catalog.get(name)
        if table is not None:
            reads.whole_tables.add(table.number)


def _parameters(params: Mapping[str, Any] | Iterable[Any] | None) -> Any:
    if params is None or isinstance(params, Mapping):
        return params
    return list(params)
