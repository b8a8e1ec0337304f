"""A workspace as it was at one commit, for functions and SQL.

It is a small read-only workspace of its own: the catalog of then, documents in memory for functions
and a DuckDB database for SQL. A table is copied into either, set-wise, when something first reads
it there, and everything above reads it as it reads the newest commit. So what comes later cannot
change it, and no transaction of the workspace stays open for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from livedb.live.folded_sql import FoldedSql
from livedb.schema.tables import SYSTEM_TABLES, IndexDefinition
from livedb.store import past
from livedb.store.backlog import Backlog
from livedb.store.connection import CtrlC
from livedb.store.loaded import LoadedTable
from livedb.store.rows import RowStore
from livedb.store.tables import TableStore

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from livedb.clock import Clock
    from livedb.limits import Limits
    from livedb.live.folded_sql import WholeTable
    from livedb.schema.catalog import Catalog
    from livedb.store.snapshot import SqlSnapshot
    from livedb.transactions.folder import Folder

MEMORY_SHARE = 4
"""A past may use a fourth of the memory that the workspace may, for documents and for SQL each."""


class Past:
    """A workspace at one commit. `close()` it.

    Attributes:
        number: the commit.
        catalog: the tables of then.
        rows: the documents of then, for functions.
        sql: the tables of then, for SQL.

    Args:
        source: the workspace's folder, which has the commit.
        path: where a database may be made; None keeps it in memory.

    Raises:
        PastTooOldError: the commit is no longer kept.
    """

    def __init__(
        self,
        number: int,
        *,
        source: Folder,
        limits: Limits,
        clock: Clock,
        path: Path | None,
        loads_folder: Path,
    ) -> None:
        self.number = number
        self._source = source
        self._path = path
        self._made: TableStore | None = None
        """For SQL, made when there is some."""
        self._make = partial(TableStore, path, clock=clock, loads_folder=loads_folder)
        self._filled: set[int] = set()
        self._lock = RLock()
        """Guards `_made` and `_filled`, held while a table is copied; before the fold lock."""
        self._limits = replace(
            limits,
            row_memory_bytes_max=max(limits.row_memory_bytes_max // MEMORY_SHARE, 1),
            sql_memory_bytes_max=max(limits.sql_memory_bytes_max // MEMORY_SHARE, 64 << 20),
        )
        with CtrlC(), source.snapshot() as snapshot:
            past.require_kept(snapshot, number)
            self.catalog: Catalog = past.catalog_at(snapshot, number)
        self.rows = RowStore(
            load=self._load,
            indexes_of=self._indexes_of,
            estimate_bytes=self._estimate_bytes,
            backlog=Backlog(number),
            limits=self._limits,
            name_of=lambda table: self.catalog.name_of(table) or str(table),
        )
        self.sql = PastSql(self)

    # -- as `FoldedSql` asks for it --------------------------------------------------------------

    def snapshot(self) -> SqlSnapshot:
        """The tables that were copied so far."""
        return self._tables.snapshot()

    def snapshot_at(self, number: int) -> SqlSnapshot:
        """The same; there is no other commit here."""
        assert number == self.number, "a past is one commit"
        return self._tables.snapshot()

    def catalog_at(self, number: int) -> Catalog:
        """The tables of then."""
        del number
        return self.catalog

    @property
    def _tables(self) -> TableStore:
        with self._lock:
            if self._made is None:
                made = self._make(limits=self._limits)
                try:
                    made.fold(self.catalog, [], until=self.number, chain=b"")
                except BaseException:
                    made.close()
                    raise
                self._made = made
            return self._made

    # -- tables ----------------------------------------------------------------------------------

    def fill(self, names: Iterable[str]) -> None:
        """Copy tables that nothing has read yet; a name that no table has is passed over.

        Raises:
            PastTooOldError: the commit is no longer kept.
        Cost: set-wise. What has not changed since, in a table of the same columns, 1 us per
            document; all else 4 us.
        """
        for name in names:
            table = self.catalog.get(name)
            if table is not None and table.number not in self._filled:
                self._fill(table.number)

    def fill_for(self, text: str) -> None:
        """Copy the tables that a SQL text reads.

        Raises: as `fill`; SqlError if the gate refuses it.
        """
        readable = (self.catalog.number_of(name) for name in self.catalog.names())
        if not self._filled.issuperset(readable):
            self.fill(self._tables.tables_read(text, self.catalog))

    def _fill(self, table: int) -> None:
        with self._lock, CtrlC(), self._source.snapshot() as snapshot:
            if table in self._filled:
                return
            past.require_kept(snapshot, self.number)
            columns = self._tables.columns_of(table)
            self._tables.copy(table, partial(past.copy_at, snapshot, table, self.number, columns))
            self._filled.add(table)

    def counts(self) -> dict[str, int]:
        """The number of documents of every table but livedb's own; nothing is copied for it."""
        with CtrlC(), self._source.snapshot() as snapshot:
            past.require_kept(snapshot, self.number)
            return {
                table.definition.name: past.count_at(snapshot, table.number, self.number)
                for table in self.catalog
                if table.definition.name not in SYSTEM_TABLES
            }

    def _load(self, table: int) -> LoadedTable:
        with CtrlC(), self._source.snapshot() as snapshot:
            past.require_kept(snapshot, self.number)
            return past.load_at(snapshot, table, self.number)

    def _indexes_of(self, table: int) -> Sequence[IndexDefinition]:
        found = self.catalog.by_number(table)
        return () if found is None else found.definition.indexes

    def _estimate_bytes(self, table: int) -> int:
        with CtrlC(), self._source.snapshot() as snapshot:
            count, size = past.size_at(snapshot, table, self.number)
        return size + count * (50 + 50 * len(self._indexes_of(table)))

    def close(self) -> None:
        """End every read, and delete the copy."""
        if self._made is not None:
            self._made.close()
        self.sql.close()
        if self._path is not None:
            for name in (self._path.name, f"{self._path.name}.wal"):
                self._path.with_name(name).unlink(missing_ok=True)


class PastSql(FoldedSql):
    """Reads of a past's tables in DuckDB, each copied before it is first read."""

    def __init__(self, of: Past) -> None:
        super().__init__(folder=of, committer=of)
        self._past = of

    def read(
        self, text: str, params: Mapping[str, Any] | Iterable[Any] | None = None
    ) -> tuple[pa.Table, int]:
        self._past.fill_for(text)
        return super().read(text, params)

    def sql_at(self, number: int, text: str, *args: Any, **options: Any) -> Any:
        self._past.fill_for(text)
        return super().sql_at(number, text, *args, **options)

    def documents(self, name: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        self._past.fill([name])
        return super().documents(name, limit=limit)

    def counts(self) -> dict[str, int]:
        return self._past.counts()

    def page(self, name: str, *, limit: int, is_descending: bool) -> list[dict[str, Any]] | None:
        self._past.fill([name])
        return super().page(name, limit=limit, is_descending=is_descending)

    def whole_tables(self, names: Sequence[str], use: Callable[[WholeTable], None]) -> None:
        self._past.fill(names)
        super().whole_tables(names, use)

    def hidden_fields(self, name: str) -> tuple[str, ...]:
        self._past.fill([name])
        return super().hidden_fields(name)
