"""The workspace: builds the parts, joins them, and takes them apart again.

A workspace is a folder:

    lock, lock.door who holds it
    workspace.json  the format's number
    log, log-wal, log.head    the commit log
    tables.duckdb   the tables as of the last fold
    loads/          files of bulk loads, part of the log until they are folded
    staging/        scratch space of exports and backups

or memory, with the same parts but no files.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from livedb.clock import Clock, SystemClock
from livedb.commitlog.contract import CommitLog
from livedb.commitlog.head import read_mark
from livedb.commitlog.lock import DOOR_NAME, LOCK_NAME, WorkspaceLock
from livedb.commitlog.memory import MemoryCommitLog
from livedb.commitlog.payload import DocumentsPart, LoadPart, SchemaPart, catalog_of, decode_payload
from livedb.commitlog.sqlite import SqliteCommitLog
from livedb.errors import (
    ClosedError,
    DamagedError,
    ForkedError,
    FormatError,
    LivedbError,
    SchemaChangeError,
    SchemaDefinitionError,
)
from livedb.functions.definition import FunctionDefinition, Registry
from livedb.functions.runner import Runner, is_running
from livedb.ids import IdFactory
from livedb.limits import Limits
from livedb.live.live_queries import LiveQueries
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.tables import IndexDefinition, TableDefinition
from livedb.store.backlog import Backlog
from livedb.store.connection import NOT_A_DATABASE, CtrlC, first_line
from livedb.store.contract import StoredDocument, Write
from livedb.store.loaded import LoadedTable
from livedb.store.rows import RowStore
from livedb.store.tables import TableStore
from livedb.text import decode_fields
from livedb.transactions.committer import CommitDetails, CommitRequest, Committer, Published
from livedb.transactions.folder import Folder
from livedb.transactions.reads import ReadSet, WriteSet, function_key
from livedb.transactions.transaction import Snapshot
from livedb.transactions.turn import Turn, TurnHolder

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.interchange.sources import Source

logger = logging.getLogger("livedb")

FORMAT_NUMBER = 1
"""Of the folder; one with a higher number is refused."""

MARK_NAME = "workspace.json"
MARK_TEXT = json.dumps({"application": "livedb", "format": FORMAT_NUMBER})
_BEFORE_THE_MARK = frozenset({LOCK_NAME, DOOR_NAME, f"{MARK_NAME}.new"})
"""What a workspace killed while it was made may have left; all else is somebody's."""
_SWITCH_INTERVAL_S = 0.0005
"""With a busy Python cell a commit took 15 ms at Python's default of 5 ms, 1.6 ms at this."""
_GC_THRESHOLD = (10_000, 20, 20)
"""Superseded versions live for seconds and outgrow Python's default of 700 objects at once: its
collector then took a third of a mutation's time (112 us against 76 us of CPU)."""
_MAINTENANCE_S = 0.25
_TRUNCATE_S = 60.0
_VOLATILE_RETRY_WINDOW_S = 600.0
"""A workspace in memory remembers mutation ids no longer than this: its log is memory too."""
_KEPT_COMMITS_MAX = 50_000
"""Superseded commits kept readable at most, however young: memory has a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A workspace at one moment, for debugging; see the fields' names."""

    applied: int
    durable: int
    published: int
    folded: int
    live: Mapping[str, int]
    runs: Mapping[str, int]
    row_memory_bytes: int


class Workspace:
    """One open workspace. `close()` it; it is a context manager.

    Args:
        path: its folder, made if absent; None keeps everything in memory.

    Raises:
        WorkspaceLockedError: another process has it open.
        DamagedError: its files do not agree; `livedb.repair(path)` says what is left.
        FormatError: `path` is something else, or a newer livedb made it.
    """

    def __init__(
        self, path: Path | None, *, limits: Limits | None = None, clock: Clock | None = None
    ) -> None:
        self.path = path
        self.limits = limits or Limits()
        self.clock = clock or SystemClock()
        self._pid = os.getpid()
        self.database: Any = None
        """The `db` of this process, so that opening twice gives one object."""
        self._is_closed = False
        self._close_lock = threading.Lock()
        self._tuning = _InterpreterTuning()
        self._lock: WorkspaceLock | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        undo: list[Callable[[], object]] = []
        try:
            self._build(undo)
        except BaseException:
            for step in reversed(undo):
                step()
            raise
        self._tuning.begin()
        self._stop = threading.Event()
        self._kept: list[tuple[float, int]] = []
        self._upkeep = threading.Thread(target=self._maintain, name="livedb-upkeep", daemon=True)
        self._upkeep.start()
        _alive.add(self)

    # -- building ------------------------------------------------------------------------------

    def _build(self, undo: list[Callable[[], object]]) -> None:
        folder = self._claim_folder(undo)
        self.loads_folder = folder / "loads"
        self.staging_folder = folder / "staging"
        for each in (self.loads_folder, self.staging_folder):
            each.mkdir(exist_ok=True)
        self.log = self._open_log(folder)
        undo.append(self.log.close)
        self.tables = self._open_tables(folder)
        undo.append(self.tables.close)
        self._check_tables_against_log()
        self.backlog = Backlog(self.tables.folded_number)
        self.rows = RowStore(
            load=self._load_table,
            indexes_of=self._indexes_of,
            estimate_bytes=self._estimate_bytes,
            backlog=self.backlog,
            limits=self.limits,
        )
        turn = Turn(self.clock, turn_ms_max=self.limits.turn_ms_max)
        self._turn = turn
        recovered = self._recover()
        self.committer = Committer(
            log=self.log,
            store=self.rows,
            backlog=self.backlog,
            catalog=recovered.catalog,
            turn=turn,
            clock=self.clock,
            publish=self._publish,
            is_volatile=self.path is None,
        )
        undo.append(self.committer.close)
        self.folder = Folder(
            tables=self.tables,
            backlog=self.backlog,
            committer=self.committer,
            chain_at=self.log.chain_at,
        )
        undo.append(self.folder.close)
        self._fold_recovered(recovered)
        self.registry = Registry()
        self.ids = IdFactory(self.clock)
        self.runner = Runner(
            committer=self.committer,
            store=self.rows,
            registry=self.registry,
            turn=turn,
            ids=self.ids,
            clock=self.clock,
            limits=self.limits,
            sql=self,
            find_commit=self.log.find,
        )
        self.live = LiveQueries(
            self.committer,
            cache_entries_max=self.limits.cache_entries_max,
            fold_pause=self.folder.paused,
        )
        self._delete_unnamed_loads()

    def _claim_folder(self, undo: list[Callable[[], object]]) -> Path:
        if self.path is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="livedb-")
            undo.append(self._scratch.cleanup)
            return Path(self._scratch.name)
        folder = self.path
        _check_is_workspace(folder)
        self._lock = WorkspaceLock(folder)
        self._lock.acquire()
        undo.append(self._lock.release)
        mark = folder / MARK_NAME
        if not mark.exists():
            temporary = folder / f"{MARK_NAME}.new"
            temporary.write_text(MARK_TEXT)
            temporary.replace(mark)
        return folder

    def _open_log(self, folder: Path) -> CommitLog:
        if self.path is None:
            return MemoryCommitLog()
        log, head = folder / "log", folder / "log.head"
        if (folder / "tables.duckdb").exists() and not (log.exists() or head.exists()):
            # The log is made first. An empty one made now would say that nothing was ever lost.
            raise DamagedError(
                f"The commit log of {str(self.path)!r} is gone, and its tables are there. Use "
                "livedb.repair(path) to see what is left."
            )
        return SqliteCommitLog(log, clock=self.clock)

    def _open_tables(self, folder: Path) -> TableStore:
        try:
            return TableStore(
                None if self.path is None else folder / "tables.duckdb",
                limits=self.limits,
                clock=self.clock,
                loads_folder=self.loads_folder,
                staging_folder=self.staging_folder,
            )
        except FormatError as error:
            if error.code != NOT_A_DATABASE:
                raise
            what = first_line(str(error.__cause__))
            raise DamagedError(
                f"The tables of {str(self.path)!r} are damaged ({what}). "
                "Use livedb.repair(path) to see what is left.",
                reason=error.message,
            ) from error

    def _check_tables_against_log(self) -> None:
        folded = self.tables.folded_number
        chain = self.log.chain_at(folded) if folded <= self.log.head.number else None
        if chain is None or (folded > 0 and chain != self.tables.folded_chain):
            raise DamagedError(
                f"The tables of {str(self.path)!r} end at commit {folded}, where the commit log, "
                f"which ends at {self.log.head.number}, does not continue them. Use "
                "livedb.repair(path) to see what is left."
            )

    # -- recovery ------------------------------------------------------------------------------

    def _recover(self) -> _Recovered:
        """Read what the log has beyond the tables."""
        catalog = self.tables.stored_catalog() or Catalog()
        recovered = _Recovered(catalog)
        folded = self.tables.folded_number
        for commit in self.log.read(after=folded):
            recovered.take(commit.number, decode_payload(commit.payload))
        return recovered

    def _fold_recovered(self, recovered: _Recovered) -> None:
        """Bring the tables to the log's end, so that a workspace starts from one state."""
        for number, catalog, writes, load in recovered.commits:
            self.backlog.append(number, writes)
            if load is not None:
                self.folder.expect_load(number, load)
            self.committer.remember_catalog(number, catalog)
        if recovered.commits:
            self.folder.fold()

    def _delete_unnamed_loads(self) -> None:
        """A staged file that no commit names was never loaded; one that is folded is done with."""
        for file in self.loads_folder.iterdir():
            file.unlink(missing_ok=True)

    # -- what the parts ask of each other ------------------------------------------------------

    def _publish(self, batch: Sequence[Published]) -> None:
        self.live.publish(batch)

    def _load_table(self, table: int) -> LoadedTable:
        with CtrlC(), self.folder.snapshot() as snapshot:
            return snapshot.load_table(table)

    def _indexes_of(self, table: int) -> Sequence[IndexDefinition]:
        entry = self.committer.catalog.by_number(table)
        return () if entry is None else entry.definition.indexes

    def _estimate_bytes(self, table: int) -> int:
        entry = self.committer.catalog.by_number(table)
        if entry is None:
            return 0
        with CtrlC(), self.folder.snapshot() as snapshot:
            name = entry.definition.name.replace('"', '""')
            found = snapshot.query(
                "select count(*) as n, coalesce(sum(octet_length(_doc::blob)), 0)::bigint as b "  # noqa: S608  # quoted
                f'from data."{name}"'
            ).to_pylist()[0]
        per_document = 80 + 50 * len(entry.definition.indexes)
        return int(found["b"]) + int(found["n"]) * per_document

    # -- SQL -----------------------------------------------------------------------------------

    def sql(
        self, text: str, params: Mapping[str, Any] | Iterable[Any] | None = None
    ) -> tuple[pa.Table, int]:
        """The rows of one SQL statement over everything acknowledged before, and their commit.

        Raises:
            SqlError: the statement is wrong or not allowed.
        """
        self.require_open()
        with CtrlC(), self.folder.snapshot() as snapshot:
            catalog = self.committer.catalog_at(snapshot.number)
            table, _ = snapshot.run_sql(text, _parameters(params), catalog=catalog)
            return table, snapshot.number

    def sql_at(
        self, number: int, text: str, params: Mapping[str, Any] | Iterable[Any] | None
    ) -> tuple[pa.Table, ReadSet]:
        """The rows at exactly commit `number`, and what they depend on."""
        with CtrlC(), self.folder.snapshot_at(number) as snapshot:
            catalog = self.committer.catalog_at(number)
            table, names = snapshot.run_sql(text, _parameters(params), catalog=catalog)
        reads = ReadSet()
        _read_tables(reads, catalog, names)
        return table, reads

    def read_sql_at(
        self,
        snapshot: Snapshot,
        text: str,
        params: Mapping[str, Any] | Iterable[Any] | None,
    ) -> pa.Table:
        """`ctx.db.sql` of a query: see `functions.runner.SqlReader`."""
        try:
            table, reads = self.sql_at(snapshot.number, text, params)
        except LivedbError:
            snapshot.reads.merge(self.sql_reads(snapshot.number, text))
            raise
        snapshot.reads.merge(reads)
        return table

    def sql_reads(self, number: int, text: str) -> ReadSet:
        """What a statement that failed may depend on: every table it names, existing or not."""
        catalog = self.committer.catalog_at(number)
        words = set(re.findall(r"\w+", text))
        folded = {word.casefold() for word in words}
        reads = ReadSet()
        known = {name for name in catalog.names() if name.casefold() in folded}
        _read_tables(reads, catalog, words | folded | known)
        return reads

    def documents(self, name: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """The fields of a table's documents as published, oldest first."""
        self.require_open()
        with CtrlC(), self.folder.snapshot() as snapshot:
            table = self.committer.catalog_at(snapshot.number).get(name)
            if table is None:
                return []
            texts = snapshot.load_table(table.number).texts
        return [decode_fields(text.as_py()) for text in texts[:limit]]

    # -- schema --------------------------------------------------------------------------------

    def apply_tables(
        self, definitions: Sequence[TableDefinition], *, author: str | None = None
    ) -> int:
        """Define or redefine tables, all or none; returns the commit number they hold from.

        Costs nothing when every table is already defined so. Existing documents are checked
        set-wise first.

        Raises:
            SchemaChangeError: existing documents do not fit; nothing was changed.
            SchemaDefinitionError: a definition contradicts itself or another table.
        """
        self.require_open()
        self._refuse_in_function("define a table")
        catalog = self.committer.catalog_at(self.committer.published)
        if all(_is_defined_so(catalog, definition) for definition in definitions):
            return self.committer.published
        holder = TurnHolder(is_exclusive=True)
        with holder.running, self._exclusive_turn(holder):
            return self._apply_tables_in_turn(definitions, holder, author)

    def _apply_tables_in_turn(
        self, definitions: Sequence[TableDefinition], holder: TurnHolder, author: str | None
    ) -> int:
        begin, epoch, before = self.committer.begin()
        catalog = before
        changed: list[tuple[CatalogTable, CatalogTable]] = []
        for definition in definitions:
            known = catalog.get(definition.name)
            if known is not None and known.definition == definition:
                continue
            number = catalog.next_table_number() if known is None else known.number
            table = CatalogTable(number, definition)
            catalog = catalog.with_table(begin + 1, table)
            if known is not None:
                changed.append((known, table))
        if catalog is before:
            return begin
        self._refuse_misfits(changed, catalog)
        resets = [
            new.number for old, new in changed if old.definition.indexes != new.definition.indexes
        ]

        def before_visible(number: int) -> None:
            for table in resets:
                self.rows.reset(table, number, load_from=0)
            for old, new in changed:
                if old.definition.document not in (None, new.definition.document):
                    self.registry.follow_table(
                        old.definition.whole_document(), new.definition.whole_document()
                    )

        request = CommitRequest(
            begin=begin,
            epoch=epoch,
            reads=ReadSet(),
            change=WriteSet((), catalog.changed_names(before), frozenset()),
            catalog=catalog,
            details=CommitDetails(author=author),
            holder=holder,
            on_publish=before_visible,
        )
        return self.runner.commit(request)

    def _refuse_misfits(
        self, changed: Sequence[tuple[CatalogTable, CatalogTable]], catalog: Catalog
    ) -> None:
        from livedb.store.check_rows import misfits, unique_clashes

        for old, new in changed:
            if new.definition.document is not None and not _accepts_subset(old, new):
                with CtrlC(), self.folder.snapshot() as snapshot:
                    found = misfits(snapshot, old, new.definition, catalog=catalog)
                if found.count:
                    raise SchemaChangeError(
                        f"The new schema of table {new.definition.name!r} does not fit "
                        f"{found.count:,} of its documents, so nothing was changed. The first: "
                        f"{found.message}. Patch or delete them, or widen the schema. "
                        f"Ids: {', '.join(found.ids)}",
                        table=new.definition.name,
                        ids=found.ids,
                        count=found.count,
                    )
            known = set(old.definition.indexes)
            added = [i for i in new.definition.indexes if i.is_unique and i not in known]
            for index in added:
                with CtrlC(), self.folder.snapshot() as snapshot:
                    clash = unique_clashes(snapshot, old, index)
                if clash.count:
                    raise SchemaChangeError(
                        f"Unique index {index.name!r} of table {new.definition.name!r} cannot be "
                        f"made: {clash.message}. Nothing was changed. "
                        f"Ids: {', '.join(clash.ids)}",
                        table=new.definition.name,
                        ids=clash.ids,
                        count=clash.count,
                    )

    def drop_table(self, name: str) -> int:
        """Drop a table with all its documents; returns the commit number."""
        self.require_open()
        self._refuse_in_function("drop a table")
        holder = TurnHolder(is_exclusive=True)
        with holder.running, self._exclusive_turn(holder):
            begin, epoch, before = self.committer.begin()
            table = before.get(name)
            if table is None:
                raise SchemaDefinitionError(f"There is no table {name!r} to drop")
            request = CommitRequest(
                begin=begin,
                epoch=epoch,
                reads=ReadSet(),
                change=WriteSet((), frozenset({name}), frozenset({table.number})),
                catalog=before.without(begin + 1, name),
                holder=holder,
            )
            return self.runner.commit(request)

    # -- bulk load -----------------------------------------------------------------------------

    def load(
        self,
        table_name: str,
        source: Source,
        *,
        keep_ids: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[int, int]:
        """Add all rows of a source to a table, or none; returns (rows, commit number).

        Raises:
            LoadError, ValidationError: something in the source does not fit; nothing was changed.
        Cost: set-wise; no Python object per row for columnar sources.
        """
        from livedb.store.loads import stage_load

        self.require_open()
        self._refuse_in_function("load data")
        table = self._table_to_load(table_name)
        with CtrlC():
            staged = stage_load(
                source.reader(),
                table.definition,
                table.number,
                catalog=self.committer.catalog,
                clock=self.clock,
                ids=self.ids,
                folder=self.loads_folder,
                start_ms=max(self.committer.last_ts + 1, self.clock.now_ns()) / 1e6,
                keep_ids=keep_ids,
                progress=progress,
            )
        holder = TurnHolder(is_exclusive=True)
        try:
            with holder.running, self._exclusive_turn(holder):
                if not keep_ids:
                    self.committer.raise_ts(int(staged.last_creation_time * 1e6) + 1)
                number = self._commit_load(table, staged, holder)
        except LivedbError as error:
            # Refused, so no commit names the file. After an interrupt, or when it is unknown what
            # the log kept, one may: the next open sees.
            if error.code != "LogUnknown" and not self.folder.names_load(staged.file):
                (self.loads_folder / staged.file).unlink(missing_ok=True)
            raise
        return staged.rows, number

    def _table_to_load(self, name: str) -> CatalogTable:
        table = self.committer.catalog.get(name)
        if table is None:
            self.apply_tables([TableDefinition(name=name)])
            table = self.committer.catalog.get(name)
            assert table is not None
        return table

    def _commit_load(self, table: CatalogTable, staged: Any, holder: TurnHolder) -> int:
        from livedb.store.check_rows import load_clashes

        begin, epoch, catalog = self.committer.begin()
        now = catalog.by_number(table.number)
        if now is None or now.definition != table.definition:
            raise SchemaChangeError(
                f"Table {table.definition.name!r} was redefined while the load was prepared; "
                "load again",
                table=table.definition.name,
                ids=(),
                count=0,
            )
        with CtrlC(), self.folder.snapshot() as snapshot:
            load_clashes(snapshot, table, self.loads_folder / staged.file, staged)
        part = LoadPart(table.number, staged.file, staged.rows, staged.sha256)

        def before_visible(number: int) -> None:
            # Not before it is published: were it refused, another commit would have its number.
            self.folder.expect_load(number, part)
            self.rows.reset(table.number, number)

        request = CommitRequest(
            begin=begin,
            epoch=epoch,
            reads=ReadSet(),
            change=WriteSet((), frozenset(), frozenset({table.number})),
            catalog=None,
            extra_parts=(part,),
            holder=holder,
            on_publish=before_visible,
        )
        return self.runner.commit(request)

    # -- turns ---------------------------------------------------------------------------------

    def _exclusive_turn(self, holder: TurnHolder) -> _ExclusiveTurn:
        return _ExclusiveTurn(self, holder)

    def drain(self) -> None:
        """Wait until everything applied is published."""
        begin, epoch, _ = self.committer.begin()
        if begin > self.committer.published:
            self.runner.commit(CommitRequest.empty(begin=begin, epoch=epoch))

    # -- functions -----------------------------------------------------------------------------

    def define(self, definition: FunctionDefinition) -> FunctionDefinition:
        """Define or redefine a function; live queries of that name follow."""
        self.require_open()
        self._refuse_in_function("define a function")
        defined = self.registry.define(definition)
        self.invalidate_function(defined.name)
        return defined

    def invalidate_function(self, name: str) -> None:
        """Run the live queries of a function again: it, or something it names, is another now."""
        self.live.invalidate(lambda source: getattr(source, "name", None) == name)
        self.live.invalidate_name(function_key(name))

    def _refuse_in_function(self, verb: str) -> None:
        if is_running():
            raise LivedbError(f"A query or mutation cannot {verb}; do it outside of functions")

    # -- life ----------------------------------------------------------------------------------

    def require_open(self) -> None:
        """Raise when the workspace cannot be used here.

        Raises:
            ClosedError, ForkedError.
        """
        if self._is_closed:
            raise ClosedError(f"The workspace {self.name} is closed; open it again")
        if os.getpid() != self._pid:
            raise ForkedError(
                f"The workspace {self.name} was opened before this process was forked. Its threads "
                "and files belong to the parent: pass data to the child, not the workspace."
            )

    @property
    def name(self) -> str:
        return "in memory" if self.path is None else str(self.path)

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def statistics(self) -> Statistics:
        """Where the numbers stand, how much is held, and how much was run."""
        committer = self.committer
        return Statistics(
            applied=committer.applied,
            durable=committer.durable,
            published=committer.published,
            folded=self.tables.folded_number,
            live=self.live.statistics(),
            runs=dict(self.runner.runs),
            row_memory_bytes=self.rows.statistics().size_bytes,
        )

    def backup(self, target: Path) -> int:
        """Write a copy of the whole workspace to the new folder `target`; returns its commit.

        Commits go on meanwhile; the copy opens at a commit between call and return.
        """
        self.require_open()
        if target.exists() and any(target.iterdir()):
            raise FormatError(f"{str(target)!r} is not empty; give a new folder for the backup")
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        (target / "loads").mkdir(exist_ok=True)
        with self.folder.paused():
            folded = self.folder.fold()
            self.tables.backup(target / "tables.duckdb")
            self.log.backup(str(target / "log"))
            mark = read_mark(target / "log.head")
            number = folded if mark is None else mark.number
            self._copy_loads(target / "loads", after=folded, until=number)
        (target / MARK_NAME).write_text(MARK_TEXT)
        return number

    def _copy_loads(self, target: Path, *, after: int, until: int) -> None:
        """Copy the files of bulk loads that the log of a backup names beyond its tables."""
        for commit in self.log.read(after=after, until=until):
            for part in decode_payload(commit.payload):
                if isinstance(part, LoadPart):
                    shutil.copy2(self.loads_folder / part.file, target / part.file)

    def close(self) -> None:
        """Finish what was begun, fold, and let go of every file and thread; twice is harmless."""
        if os.getpid() != self._pid:
            return
        with self._close_lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._stop.set()
        self._upkeep.join()
        self.live.close()
        self.committer.close()
        try:
            if self.path is not None:
                self.folder.fold()
        except LivedbError as error:
            # Nothing is lost: the log has it, and the next open folds it.
            logger.warning("the last fold of %s failed: %s", self.name, error)
        self.folder.close()
        self.runner.close()
        self.tables.close()
        self.log.close()
        if self._lock is not None:
            self._lock.release()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._tuning.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("A workspace cannot be pickled: it is threads and files of this process")

    # -- upkeep --------------------------------------------------------------------------------

    def _maintain(self) -> None:
        idle_since = self.clock.monotonic_s()
        seen = self.committer.published
        truncated = idle_since - _TRUNCATE_S
        while not self._stop.wait(_MAINTENANCE_S):
            try:
                now = self.clock.monotonic_s()
                self._release(now)
                if self.committer.published != seen:
                    seen, idle_since = self.committer.published, now
                pending = self.folder.pending
                is_idle = now - idle_since >= self.limits.fold_idle_s
                if pending and (is_idle or pending >= self.limits.fold_backlog_max):
                    self.folder.fold()
                if now - truncated >= _TRUNCATE_S:
                    truncated = now
                    self._truncate_log()
                for table in self.rows.repack_wanted():
                    self.rows.repack(table)
            except LivedbError as error:
                logger.warning("upkeep of %s failed and will be tried again: %s", self.name, error)
            except Exception:  # the job worker: log it and go on
                logger.exception("upkeep of %s failed", self.name)

    def _release(self, now: float) -> None:
        """Forget versions that no run reads and that are older than `snapshot_keep_s`."""
        published = self.committer.published
        if not self._kept or self._kept[-1][1] != published:
            self._kept.append((now, published))
        horizon = now - self.limits.snapshot_keep_s
        while len(self._kept) > 1 and self._kept[1][0] <= horizon:
            self._kept.pop(0)
        oldest = max(self._kept[0][1], published - _KEPT_COMMITS_MAX)
        active = self.runner.oldest_active()
        if active is not None:
            oldest = min(oldest, active)
        # Live results pin nothing: they are kept as text, and run again at the newest commit.
        self.committer.release(min(oldest, published))

    def _truncate_log(self) -> None:
        """Drop commits that the tables hold and that no retry can ask for any more."""
        keep_s = self.limits.retry_window_s
        if self.path is None:
            keep_s = min(keep_s, _VOLATILE_RETRY_WINDOW_S)
        before_ts = self.clock.now_ns() - int(keep_s * 1e9)
        self.log.truncate(until=self.tables.folded_number, before_ts=before_ts)


class _InterpreterTuning:
    """Settings of the whole interpreter while any workspace is open; counted, so they nest."""

    _open = 0
    _before: tuple[float, tuple[int, int, int]] = (0.0, (0, 0, 0))
    _lock = threading.Lock()

    def begin(self) -> None:
        cls = type(self)
        with cls._lock:
            cls._open += 1
            if cls._open > 1:
                return
            cls._before = (sys.getswitchinterval(), gc.get_threshold())
            sys.setswitchinterval(min(_SWITCH_INTERVAL_S, cls._before[0]))
            if 0 < cls._before[1][0] < _GC_THRESHOLD[0]:
                gc.set_threshold(*_GC_THRESHOLD)

    def end(self) -> None:
        cls = type(self)
        with cls._lock:
            cls._open -= 1
            if cls._open == 0:
                sys.setswitchinterval(cls._before[0])
                gc.set_threshold(*cls._before[1])


class _ExclusiveTurn:
    """The turn, not overtaken, with everything before it published."""

    def __init__(self, workspace: Workspace, holder: TurnHolder) -> None:
        self._workspace = workspace
        self._holder = holder

    def __enter__(self) -> TurnHolder:
        self._workspace._turn.take(self._holder)  # noqa: SLF001 - one mechanism in two classes
        try:
            self._workspace.drain()
        except BaseException:
            self._workspace._turn.give(self._holder)  # noqa: SLF001
            raise
        return self._holder

    def __exit__(self, *_: object) -> None:
        self._workspace._turn.give(self._holder)  # noqa: SLF001


class _Recovered:
    """What the log holds beyond the tables, in order."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.commits: list[tuple[int, Catalog, list[Write], LoadPart | None]] = []

    def take(self, number: int, parts: Sequence[Any]) -> None:
        writes: list[Write] = []
        load: LoadPart | None = None
        for part in parts:
            match part:
                case SchemaPart():
                    self.catalog = Catalog.from_json(catalog_of(part))
                case DocumentsPart():
                    writes += [_recovered_write(write) for write in part.writes]
                case LoadPart():
                    load = part
                case _:
                    pass  # functions and settings: read by their own floor
        self.commits.append((number, self.catalog, writes, load))


def _recovered_write(write: Any) -> Write:
    """A logged write. What it replaced is in the tables, which is where the fold looks for it."""
    table, document_id, creation_time, text = write
    if text is None:
        return Write(table, document_id, None, None, ())
    return Write(table, document_id, None, StoredDocument(creation_time, text), ())


def _check_is_workspace(folder: Path) -> None:
    """Refuse a path that is something else, without touching it."""
    if not folder.exists() and not folder.is_symlink():
        if not folder.parent.is_dir():
            raise FormatError(f"The folder {str(folder.parent)!r} does not exist; make it first")
        return
    if not folder.is_dir():
        raise FormatError(
            f"{str(folder)!r} is a file, and a workspace is a folder. Give another path, or load "
            "the file into a workspace with db.load."
        )
    # Before the mark, which another process may be making now: it comes before everything else.
    others = {entry.name for entry in folder.iterdir()} - _BEFORE_THE_MARK
    mark = folder / MARK_NAME
    if mark.is_file():
        try:
            found = int(json.loads(mark.read_bytes())["format"])
        except (ValueError, TypeError, KeyError):
            raise FormatError(f"{str(mark)!r} is not livedb's; is this another folder?") from None
        if found > FORMAT_NUMBER:
            raise FormatError(
                f"{str(folder)!r} was made by a newer livedb (format {found}, this one "
                f"reads up to {FORMAT_NUMBER}); update livedb"
            )
        return
    if others:
        raise FormatError(
            f"The folder {str(folder)!r} is not a livedb workspace and not empty; give a new path"
        )


def _is_defined_so(catalog: Catalog, definition: TableDefinition) -> bool:
    known = catalog.get(definition.name)
    return known is not None and known.definition == definition


def _accepts_subset(old: CatalogTable, new: CatalogTable) -> bool:
    """Whether the old schema proves that every document fits the new one."""
    before, after = old.definition.document, new.definition.document
    return before is not None and after is not None and before.accepts_subset_of(after)


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


_open: weakref.WeakValueDictionary[str, Workspace] = weakref.WeakValueDictionary()
_alive: weakref.WeakSet[Workspace] = weakref.WeakSet()
_open_lock = threading.Lock()


def open_workspace(
    path: str | os.PathLike[str] | None, *, limits: Limits | None, clock: Clock | None = None
) -> Workspace:
    """The workspace at `path`: the one this process has open already, or newly opened."""
    if path is None:
        return Workspace(None, limits=limits, clock=clock)
    if isinstance(path, str) and "\x00" in path:
        raise FormatError("A path cannot hold a NUL character")
    folder = Path(path).expanduser()
    real = os.path.realpath(folder)
    with _open_lock:
        found = _open.get(real)
        if found is not None and not found.is_closed:
            found.require_open()
            return found
        opened = Workspace(Path(real), limits=limits, clock=clock)
        _open[real] = opened
        return opened


def _close_all() -> None:
    for workspace in list(_alive):
        workspace.close()


atexit.register(_close_all)
