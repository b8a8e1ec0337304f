"""The tables of a workspace in DuckDB: what SQL, DataFrames and Parquet read; the store of record.

Commits arrive in batches, by `fold`, each batch in one DuckDB transaction together with the number
and chain it reaches. So at every instant the file holds exactly the state at one commit, and the
commit log holds what comes after. A fold is total: no stored document can make it fail; only the
machine can (a full disk), and then nothing is lost and the same fold may be made again.

One connection writes, under a lock; every reader has a cursor of its own and a snapshot of its own.
"""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import duckdb
import pyarrow as pa

from livedb.clock import Clock
from livedb.durable import sync_file, sync_folder
from livedb.errors import ClosedError, DamagedError, FoldError, LivedbError
from livedb.limits import Limits
from livedb.store import history, layout, sql
from livedb.store.columns import Columns, Projection, project
from livedb.store.connection import copy_database, first_line, fold_error, open_connection, quote
from livedb.store.contract import Write
from livedb.store.filled import fill_fields, iter_filled
from livedb.store.fold import TableDelta, compact
from livedb.store.fold_file import LoadFile, insert_file
from livedb.store.layout import Layout
from livedb.store.snapshot import SqlSnapshot
from livedb.text import decode_fields
from livedb.values import Value

if TYPE_CHECKING:
    from livedb.schema.catalog import Catalog

logger = logging.getLogger("livedb")

TakePieces = Callable[[Iterable[pa.Table]], None]
"""Takes documents, in pieces."""

Catalogs = Sequence[tuple[int, "Catalog"]]
"""The tables there are from each commit on, in order."""


class TableStore:
    """Every table of one workspace, as columns.

    Args:
        path: the DuckDB file, created if absent; None keeps everything in memory.
        loads_folder: where the staged files of bulk loads lie.
        staging_folder: where a backup is written before it moves to its place; default
            `staging` beside `loads_folder`.

    Raises:
        FormatError, WorkspaceLockedError: as `open_connection`.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        limits: Limits,
        clock: Clock,
        loads_folder: Path,
        staging_folder: Path | None = None,
    ) -> None:
        self._path = path
        self._limits = limits
        self._clock = clock
        self._loads = loads_folder.absolute()
        self._staging = (staging_folder or loads_folder.parent / "staging").absolute()
        self._lock = RLock()  # guards the writer, the layouts and the folded number; taken first
        self._readers_lock = Lock()  # guards `_connection` as a source of cursors, and `_readers`
        # Weak: one whose reader was interrupted before its close ends with its last reference.
        self._readers: WeakSet[SqlSnapshot] = WeakSet()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_closed = False
        # What the tables were last made to follow; the staged ones replace them at COMMIT.
        self._layouts: dict[int, Layout] = {}
        self._staged_layouts: dict[int, Layout] = {}
        self._catalog: Catalog | None = None
        self._staged_catalog: Catalog | None = None
        self._sequence_max: dict[int, int] = {}  # the highest `_seq` of each table written so far
        self._oldest_kept = 0
        self._settings_due: deque[tuple[int, Mapping[str, Any]]] = deque()  # oldest first
        self._open()

    @property
    def folded_number(self) -> int:
        """The last commit that the tables hold."""
        return self._folded_number

    @property
    def folded_chain(self) -> bytes:
        """The commit log's chain at `folded_number`; empty before the first fold."""
        return self._folded_chain

    @property
    def oldest_kept(self) -> int:
        """The oldest commit of which the tables hold everything: see `store.past`."""
        return self._oldest_kept

    def stored_catalog(self) -> Catalog | None:
        """The tables of the workspace at `folded_number`; None before the first fold.

        Raises:
            DamagedError: they cannot be read.
        """
        with self._lock:
            try:
                return layout.read_catalog(self._require_open())
            except duckdb.Error as error:
                raise sql.query_error(error) from error

    def stored_settings(self) -> dict[str, Any]:
        """The settings of the workspace at `folded_number`, JSON values by name.

        Raises:
            DamagedError: they cannot be read.
        """
        with self._lock:
            try:
                return layout.read_settings(self._require_open())
            except duckdb.Error as error:
                raise sql.query_error(error) from error

    def expect_settings(self, number: int, changed: Mapping[str, Any]) -> None:
        """Commit `number` changed these settings: the fold that reaches it keeps them.

        Commits come in order. Takes no lock.
        """
        self._settings_due.append((number, changed))

    def fold(
        self,
        catalog: Catalog,
        entries: Sequence[tuple[int, Sequence[Write]]],
        *,
        until: int,
        chain: bytes,
        catalogs: Catalogs = (),
    ) -> None:
        """Bring the tables to commit `until`, in one transaction.

        Args:
            catalog: the tables at `until`; new ones are made, gone ones dropped, columns follow.
            entries: commits by number, in order; those folded already are passed over.
            until: the number reached, that of the last entry or higher.
            chain: the commit log's chain at `until`.
            catalogs: those that held from commits between on, for the past; a commit that drops a
                table is the last of a fold.

        Raises:
            FoldError: the machine failed; nothing is lost, and the same fold may be made again.
        Cost: about 6 ms, and 4 us per document; a first column of a type, 10 ms.
        """
        with self._lock:
            deltas = compact(entries, after=self._folded_number, until=until)
            with self._writing(until, chain, catalogs) as connection:
                layouts = self._synchronized(connection, catalog, until)
                for number, delta in deltas.items():
                    if number in layouts:
                        layouts[number] = self._fold_table(connection, layouts[number], delta)
                self._staged_layouts = layouts
                self._staged_catalog = catalog

    def fold_loads(
        self,
        catalog: Catalog,
        number: int,
        loads: Sequence[LoadFile],
        chain: bytes,
        *,
        cleared: Collection[int] = (),
        catalogs: Catalogs = (),
    ) -> None:
        """Bring the tables to commit `number`, which added the documents of staged files.

        A file has the columns `_id, _creationTime, _seq, _doc` and one per field.

        Args:
            cleared: the numbers of tables whose documents the commit deleted before.

        Raises:
            FoldError: as `fold`.
            DamagedError: a file is not there or cannot be read.
        Cost: set-wise, about what DuckDB needs to copy the files.
        """
        with self._lock:
            if number <= self._folded_number:
                return
            for part in loads:
                if not (self._loads / part.file).is_file():
                    raise DamagedError(
                        f"the file {part.file!r} of the bulk load at commit {number} is missing "
                        f"from {str(self._loads)!r}; restore it from a backup"
                    )
            with self._writing(number, chain, catalogs) as connection:
                layouts = self._synchronized(connection, catalog, number)
                for table in cleared:
                    if table in layouts:
                        history.move_out_all(connection, table, layouts[table].name, number)
                        self._sequence_max.pop(table, None)
                for part in loads:
                    if part.table in layouts:
                        before, path = layouts[part.table], self._loads / part.file
                        layouts[part.table] = insert_file(connection, before, path, number)
                        self._sequence_max.pop(part.table, None)
                self._staged_layouts = layouts
                self._staged_catalog = catalog

    def fold_fill(
        self,
        catalog: Catalog,
        number: int,
        fills: Sequence[tuple[int, Mapping[str, Value]]],
        chain: bytes,
        *,
        catalogs: Catalogs = (),
    ) -> None:
        """Bring the tables to commit `number`, which filled defaults into documents without them.

        Args:
            fills: table number and defaults by path, as `schema.filling.Filling.defaults`.

        Raises:
            FoldError: as `fold`.
        Cost: set-wise for fields of documents; 4 us per document for those inside of objects.
        """
        with self._lock:
            if number <= self._folded_number:
                return
            with self._writing(number, chain, catalogs) as connection:
                layouts = self._synchronized(connection, catalog, number)
                for table, defaults in fills:
                    if table in layouts:
                        layouts[table] = self._fill(connection, layouts[table], defaults, number)
                self._staged_layouts = layouts
                self._staged_catalog = catalog

    def _fill(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Layout,
        defaults: Mapping[str, Value],
        number: int,
    ) -> Layout:
        if all("." not in path for path in defaults):
            return fill_fields(connection, table, defaults, number)
        for writes in iter_filled(connection, table, defaults):
            for delta in compact([(number, writes)], after=number - 1, until=number).values():
                table = self._fold_table(connection, table, delta)
        return table

    def copy(self, table: int, read: Callable[[TakePieces], None]) -> None:
        """Add documents that another store has, at the commit that this one is at.

        Args:
            table: its number.
            read: gives them to its argument, in pieces, as often as it likes: `SYSTEM_COLUMNS`, and
                the typed columns or none, which are made here then.

        Raises:
            FoldError: as `fold`; whatever `read` raises. Nothing was added.
        Cost: 4 us per document whose columns are made here.
        """
        with self._lock, self._writing(self._folded_number, self._folded_chain) as connection:
            after = self._layouts[table]

            def add(pieces: Iterable[pa.Table]) -> None:
                nonlocal after
                for rows in pieces:
                    if rows.num_columns > len(layout.SYSTEM_COLUMNS):
                        layout.insert(connection, after, rows)
                        continue
                    texts: list[Any] = rows.column("_doc").to_pylist()
                    documents = list(map(decode_fields, texts))
                    after = self._insert_projected(connection, after, documents, rows)

            read(add)
            self._staged_layouts = {**self._layouts, table: after}

    def columns_of(self, table: int) -> Columns:
        """The columns that a table has beside the system's."""
        return self._layouts[table].columns

    def measure_history(self, *, after: int, until: int) -> list[tuple[int, int]]:
        """The bytes of what commits between replaced: see `history.measure`. Folds go on."""
        with self.snapshot() as reader:
            return history.measure(reader.query, after=after, until=until)

    def forget_history(self, oldest: int) -> None:
        """Make `oldest`, which is folded, the oldest commit that can be read.

        Raises:
            FoldError: as `fold`.
        """
        with self._lock:
            assert oldest <= self._folded_number, "the past is what was folded"
            if oldest <= self._oldest_kept:
                return
            with self._writing(self._folded_number, self._folded_chain) as connection:
                history.forget(connection, oldest)
            self._oldest_kept = oldest

    def snapshot(self) -> SqlSnapshot:
        """The tables at `folded_number`, for several reads; close it soon.

        Raises:
            ClosedError: the store is closed.
        Cost: about 1 ms.
        """
        with self._readers_lock:
            cursor = self._require_open().cursor()
        try:
            reader = SqlSnapshot(
                cursor,
                on_close=self._forget_reader,
                on_failure=self._after_failure,
                limit_s=self._limits.sql_s_max,
            )
        except duckdb.Error as error:
            cursor.close()
            self._after_failure(error)
            raise FoldError(f"DuckDB could not begin a read: {error}") from error
        with self._readers_lock:
            self._readers.add(reader)
        return reader

    def run_sql(
        self, text: str, params: sql.Parameters = None, *, catalog: Catalog
    ) -> tuple[pa.Table, set[str]]:
        """The rows of a user's SQL at `folded_number`, and the tables it reads.

        Raises: as `SqlSnapshot.run_sql`.
        """
        with self.snapshot() as reader:
            return reader.run_sql(text, params, catalog=catalog)

    def tables_read(self, text: str, catalog: Catalog) -> set[str]:
        """The names of the tables a user's SQL reads; nothing is run.

        Raises:
            SqlError: the gate refused it.
        """
        with self.snapshot() as reader:
            return reader.tables_read(text, catalog=catalog)

    def interrupt(self) -> None:
        """End every read that is running; folds go on."""
        with self._readers_lock:
            readers = list(self._readers)
        for reader in readers:
            reader.interrupt()

    def backup(self, path: Path) -> None:
        """Write a copy of the database, which opens by itself, to `path`; folds wait meanwhile.

        The copy is made by this process's own connection: any other reader of the file would
        drop its lock.

        Raises:
            FoldError: it could not be written; `path` is as it was.
        """
        self._staging.mkdir(parents=True, exist_ok=True)
        staged = self._staging / f"backup-{self._clock.random_bytes(8).hex()}.duckdb"
        try:
            with self._lock:
                copy_database(self._require_open(), staged)
            sync_file(staged)
            shutil.move(staged, path)
            sync_folder(path.absolute().parent)
        except (duckdb.Error, OSError) as error:
            self._after_failure(error)
            raise fold_error(error) from error
        finally:
            staged.unlink(missing_ok=True)

    def check(self) -> None:
        """Read every row once.

        Raises:
            DamagedError: some of it cannot be read.
        Cost: a scan of every column.
        """
        with self._lock:
            connection = self._require_open()
            names = [f"data.{quote(each.name)}" for each in self._layouts.values()]
            try:
                for name in (*names, "meta.history", "meta.catalog", "meta.catalogs"):
                    connection.sql(f"select bit_xor(hash(each)) from {name} each").to_arrow_table()
            except duckdb.Error as error:
                raise DamagedError(
                    f"the tables in {str(self._path)!r} cannot be read ({first_line(str(error))})"
                ) from error

    def close(self) -> None:
        """End every read, write what is in memory, and release the file; twice is harmless."""
        with self._lock:
            self._is_closed = True
            self._disconnect()

    # Opening, and opening again after DuckDB gave up an instance.

    def _open(self) -> None:
        folders = (self._loads, self._staging)
        is_new = self._path is None or not self._path.exists()
        connection = open_connection(self._path, limits=self._limits, folders=folders)
        try:
            layout.prepare(connection, is_new=is_new)
            self._read_state(connection)
        except (duckdb.Error, pa.ArrowException, LookupError, ValueError, TypeError) as error:
            connection.close()
            raise DamagedError(
                f"the tables in {str(self._path)!r} cannot be read ({first_line(str(error))}); "
                "livedb.repair(path) says what is left"
            ) from error
        except BaseException:  # a Ctrl-C too: nobody else could close it
            connection.close()
            raise
        with self._readers_lock:
            self._connection = connection

    def _read_state(self, connection: duckdb.DuckDBPyConnection) -> None:
        state = connection.sql("from meta.state").to_arrow_table()
        self._folded_number: int = state.column(0)[0].as_py()
        self._folded_chain: bytes = state.column(1)[0].as_py()
        self._oldest_kept = history.oldest_kept(connection)
        self._layouts = layout.read_layouts(connection)
        self._staged_layouts = self._layouts
        self._catalog = self._staged_catalog = None
        self._sequence_max = {}

    def _disconnect(self) -> None:
        with self._readers_lock:
            readers, self._readers = list(self._readers), WeakSet()
            connection, self._connection = self._connection, None
        left = [reader for reader in readers if not reader.end()]
        if left:
            # DuckDB refuses to close what a call is in: the file is closed when that comes back.
            logger.warning(
                "%d SQL statements are in a call that DuckDB does not interrupt; until they come "
                "back, the tables' file stays open",
                len(left),
            )
        elif connection is not None:
            connection.close()

    def _after_failure(self, error: BaseException) -> None:
        """Open the database again when DuckDB declared the instance invalid.

        A checkpoint on a full disk does that. What was committed is in DuckDB's own log.
        """
        is_fatal = _is_fatal(error) or _is_fatal(error.__cause__)
        if not is_fatal or self._path is None or self._is_closed:
            return
        with self._lock:
            self._disconnect()
            self._reopen()

    def _reopen(self) -> None:
        try:
            self._open()
        except (duckdb.Error, LivedbError, OSError):
            # Still no space: the next use tries again.
            self._disconnect()

    def _require_open(self) -> duckdb.DuckDBPyConnection:
        if self._is_closed:
            raise ClosedError("the workspace's tables have been closed")
        if self._connection is None:
            raise FoldError("DuckDB gave up this database, and it could not be opened again yet")
        return self._connection

    def _forget_reader(self, reader: SqlSnapshot) -> None:
        with self._readers_lock:
            self._readers.discard(reader)

    # Writing.

    @contextmanager
    def _writing(
        self, until: int, chain: bytes, catalogs: Catalogs = ()
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction that takes the tables to `until`, wholly or not at all."""
        assert until >= self._folded_number, "folds go forward"
        if self._connection is None and not self._is_closed:
            self._reopen()
        connection = self._require_open()
        try:
            connection.begin()
            yield connection
            due = [changed for number, changed in list(self._settings_due) if number <= until]
            layout.write_settings(connection, due)
            history.keep_catalogs(connection, catalogs)
            connection.execute(
                "update meta.state set folded_number = ?, folded_chain = ?", [until, chain]
            )
            connection.commit()
        except BaseException as error:  # a Ctrl-C too must roll back
            self._roll_back(connection, error)
            if isinstance(error, (duckdb.Error, OSError)):
                raise fold_error(error) from error
            raise
        self._folded_number, self._folded_chain = until, chain
        for _ in due:
            self._settings_due.popleft()
        self._layouts, self._catalog = self._staged_layouts, self._staged_catalog

    def _roll_back(self, connection: duckdb.DuckDBPyConnection, error: BaseException) -> None:
        self._staged_layouts = self._layouts
        if _is_fatal(error):
            self._after_failure(error)
            return
        try:
            connection.rollback()
            # A failing COMMIT may have happened or not: the database itself knows.
            self._read_state(connection)
        except duckdb.Error as second:
            self._after_failure(second)

    def _synchronized(
        self, connection: duckdb.DuckDBPyConnection, catalog: Catalog, until: int
    ) -> dict[int, Layout]:
        """The layouts after the tables were made what `catalog` says, as commit `until` did."""
        if catalog is self._catalog:
            return dict(self._layouts)
        wanted = {table.number: table for table in catalog}
        layouts = dict(self._layouts)
        for number in [number for number in layouts if number not in wanted]:
            layout.drop_table(connection, layouts.pop(number), until)
            self._sequence_max.pop(number, None)
        names = {number: wanted[number].definition.name for number in layouts}
        layouts = layout.rename_tables(connection, layouts, names)
        for number, table in wanted.items():
            layouts[number] = layout.synchronize(connection, layouts.get(number), table)
        layout.write_catalog(connection, catalog)
        return layouts

    def _fold_table(
        self, connection: duckdb.DuckDBPyConnection, before: Layout, delta: TableDelta
    ) -> Layout:
        sequence_max = self._last_sequence(connection, before)
        touched = delta.touched(sequence_max=sequence_max)
        if touched.num_rows:
            history.move_out(connection, before.number, before.name, touched)
        if delta.superseded:
            history.append(connection, before.number, delta.superseded)
        after = before
        for positions in delta.slices():
            documents = [decode_fields(text) for text in delta.texts(positions)]
            rows = pa.table(delta.system_arrays(positions))
            after = self._insert_projected(connection, after, documents, rows)
        # Too high after a rollback is harmless: the next delete looks for more than it must.
        self._sequence_max[before.number] = max(sequence_max, *delta.sequences)
        return after

    @staticmethod
    def _insert_projected(
        connection: duckdb.DuckDBPyConnection,
        before: Layout,
        documents: Sequence[Mapping[str, Value]],
        rows: pa.Table,
    ) -> Layout:
        """Append documents: `rows` has their system columns, the others are made here."""
        projection = project(before.columns, documents)
        # Slice by slice: a later one may widen a column, and what is in it then must be judged.
        after = layout.change_table(connection, before, _grown(before, projection))
        filled: dict[str, Any] = {name: rows.column(name) for name in rows.column_names}
        layout.insert(connection, after, pa.table({**filled, **projection.arrays}))
        return after

    def _last_sequence(self, connection: duckdb.DuckDBPyConnection, table: Layout) -> int:
        """The highest `_seq` of a table, or -1: an id above it cannot be in the table."""
        known = self._sequence_max.get(table.number)
        if known is None:
            found = connection.sql(f"select max(_seq) from data.{quote(table.name)}")
            known = found.to_arrow_table().column(0)[0].as_py()
            known = self._sequence_max[table.number] = -1 if known is None else known
        return known


def _is_fatal(error: BaseException | None) -> bool:
    return isinstance(error, duckdb.FatalException)


def _grown(before: Layout, projection: Projection) -> Layout:
    return replace(
        before,
        columns=projection.columns,
        has_hidden=before.has_hidden or projection.has_hidden,
    )
