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
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from livedb.changes.bulk_loads import BulkLoads, TableLoad
from livedb.changes.exclusive import ExclusiveTurns
from livedb.changes.pushed_functions import PushedFunctions
from livedb.changes.schema_changes import SchemaChanges
from livedb.clock import Clock, SystemClock
from livedb.commitlog.contract import CommitLog
from livedb.commitlog.head import read_mark
from livedb.commitlog.lock import DOOR_NAME, LOCK_NAME, WorkspaceLock
from livedb.commitlog.memory import MemoryCommitLog
from livedb.commitlog.payload import (
    ClearPart,
    DocumentsPart,
    FillPart,
    LoadPart,
    SchemaPart,
    WholeTablePart,
    catalog_of,
    decode_payload,
)
from livedb.commitlog.sqlite import SqliteCommitLog
from livedb.commitlog.sqlite_file import NOT_A_LOG
from livedb.errors import (
    ClosedError,
    DamagedError,
    ForkedError,
    FormatError,
    LivedbError,
    WorkspaceError,
)
from livedb.functions.definition import FunctionDefinition, Registry
from livedb.functions.runner import Runner, is_running
from livedb.ids import IdFactory
from livedb.limits import Limits
from livedb.live.folded_sql import FoldedSql
from livedb.live.live_queries import LiveQueries
from livedb.schema.catalog import Catalog
from livedb.schema.tables import IndexDefinition, TableDefinition
from livedb.store.backlog import Backlog
from livedb.store.connection import NOT_A_DATABASE, CtrlC, first_line
from livedb.store.contract import StoredDocument, Write
from livedb.store.loaded import LoadedTable
from livedb.store.rows import RowStore
from livedb.store.tables import TableStore
from livedb.transactions.committer import CommitRequest, Committer
from livedb.transactions.folder import Folder
from livedb.transactions.reads import function_key
from livedb.transactions.turn import Turn
from livedb.upkeep import Upkeep

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.functions.loader import LoadedFunctions
    from livedb.interchange.sources import Source

logger = logging.getLogger("livedb")

FORMAT_NUMBER = 1
"""Of the folder; one with a higher number is refused."""

_VOLATILE_RETRY_WINDOW_S = 600.0
"""A workspace in memory remembers mutation ids no longer than this: its log is memory too."""

MARK_NAME = "workspace.json"
MARK_TEXT = json.dumps({"application": "livedb", "format": FORMAT_NUMBER})
_BEFORE_THE_MARK = frozenset({LOCK_NAME, DOOR_NAME, f"{MARK_NAME}.new"})
"""What a workspace killed while it was made may have left; all else is somebody's."""
_SWITCH_INTERVAL_S = 0.0005
"""With a busy Python cell a commit took 15 ms at Python's default of 5 ms, 1.6 ms at this."""
_GC_THRESHOLD = (10_000, 20, 20)
"""Superseded versions live for seconds and outgrow Python's default of 700 objects at once: its
collector then took a third of a mutation's time (112 us against 76 us of CPU)."""


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
        self._scratch: str | None = None
        """The folder of a workspace in memory."""
        undo: list[Callable[[], object]] = []
        try:
            self._build(undo)
        except BaseException:
            for step in reversed(undo):
                step()
            raise
        self._tuning.begin()
        self._upkeep = Upkeep(
            name=self.name,
            committer=self.committer,
            folder=self.folder,
            rows=self.rows,
            log=self.log,
            oldest_active=self.runner.oldest_active,
            clock=self.clock,
            limits=self.limits,
            retry_window_s=self._retry_window_s(),
        )
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
            name_of=self._name_of,
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
        self.folded_sql = FoldedSql(folder=self.folder, committer=self.committer)
        undo.append(self.folded_sql.close)
        self.runner = Runner(
            committer=self.committer,
            store=self.rows,
            registry=self.registry,
            turn=turn,
            ids=self.ids,
            clock=self.clock,
            limits=self.limits,
            sql=self.folded_sql,
            find_commit=self.log.find,
        )
        self.live = LiveQueries(
            self.committer,
            cache_entries_max=self.limits.cache_entries_max,
            fold_pause=self.folder.paused,
        )
        self._build_changes(turn)
        self._delete_unnamed_loads()

    def _build_changes(self, turn: Turn) -> None:
        turns = ExclusiveTurns(turn=turn, committer=self.committer, runner=self.runner)
        self.schema_changes = SchemaChanges(
            turns=turns,
            committer=self.committer,
            runner=self.runner,
            folder=self.folder,
            rows=self.rows,
            registry=self.registry,
        )
        self.bulk_loads = BulkLoads(
            turns=turns,
            committer=self.committer,
            runner=self.runner,
            folder=self.folder,
            rows=self.rows,
            clock=self.clock,
            ids=self.ids,
            loads_folder=self.loads_folder,
        )
        self.pushed_functions = PushedFunctions(
            committer=self.committer,
            runner=self.runner,
            registry=self.registry,
            schema_changes=self.schema_changes,
        )

    def _claim_folder(self, undo: list[Callable[[], object]]) -> Path:
        if self.path is None:
            self._scratch = tempfile.mkdtemp(prefix="livedb-")
            removal = weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
            removal.atexit = False  # at exit `_close_all` closes the workspace first
            undo.append(removal)
            return Path(self._scratch)
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
        try:
            return SqliteCommitLog(log, clock=self.clock)
        except FormatError as error:
            if error.code != NOT_A_LOG:
                raise
            raise _damaged(self.path, "commit log is", error.message) from error

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
            raise _damaged(self.path, "tables are", what) from error

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
        for number, catalog, writes, whole in recovered.commits:
            self.backlog.append(number, writes)
            if whole:
                self.folder.expect(number, whole)
            self.committer.remember_catalog(number, catalog)
        if recovered.commits:
            self.folder.fold()

    def _delete_unnamed_loads(self) -> None:
        """A staged file that no commit names was never loaded; one that is folded is done with."""
        for file in self.loads_folder.iterdir():
            file.unlink(missing_ok=True)

    # -- what the parts ask of each other ------------------------------------------------------

    def _publish(self, batch: Sequence[CommitRequest]) -> None:
        self.live.publish(batch)

    def _load_table(self, table: int) -> LoadedTable:
        with CtrlC(), self.folder.snapshot() as snapshot:
            fields = {name for index in self._indexes_of(table) for name in index.fields}
            return snapshot.load_table(table, fields)

    def _indexes_of(self, table: int) -> Sequence[IndexDefinition]:
        entry = self.committer.catalog.by_number(table)
        return () if entry is None else entry.definition.indexes

    def _name_of(self, table: int) -> str:
        entry = self.committer.catalog.by_number(table)
        return str(table) if entry is None else entry.definition.name

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

    # -- SQL, schema, bulk load ------------------------------------------------------------------

    def sql(
        self, text: str, params: Mapping[str, Any] | Iterable[Any] | None = None
    ) -> tuple[pa.Table, int]:
        """The rows of one SQL statement over everything acknowledged before, and their commit."""
        self.require_open()
        return self.folded_sql.read(text, params)

    def documents(self, name: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """The fields of a table's documents as published, oldest first."""
        self.require_open()
        return self.folded_sql.documents(name, limit=limit)

    def hidden_fields(self, name: str) -> tuple[str, ...]:
        """The fields of a table that SQL does not show: see `store.hidden`."""
        self.require_open()
        return self.folded_sql.hidden_fields(name)

    def apply_tables(
        self, definitions: Sequence[TableDefinition], *, author: str | None = None
    ) -> int:
        """Define or redefine tables, all or none; returns the commit number they hold from."""
        self.require_open()
        self._refuse_in_function("define a table")
        return self.schema_changes.apply(definitions, author=author)

    def drop_table(self, name: str) -> int:
        """Drop a table with all its documents; returns the commit number."""
        self.require_open()
        self._refuse_in_function("drop a table")
        return self.schema_changes.drop(name)

    def load(
        self,
        table_name: str,
        source: Source,
        *,
        keep_ids: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[int, int]:
        """Add all rows of a source to a table, or none; returns (rows, commit number)."""
        self.require_open()
        self._refuse_in_function("load data")
        report = None if progress is None else lambda _, rows: progress(rows)
        load = TableLoad(table=table_name, source=source, keep_ids=keep_ids)
        rows, number = self.bulk_loads.load([load], progress=report)
        return rows[table_name], number

    def load_tables(
        self,
        loads: Sequence[TableLoad],
        *,
        progress: Callable[[str, int], None] | None = None,
    ) -> tuple[dict[str, int], int]:
        """Load and replace tables in one commit, or none; returns (rows by table, commit)."""
        self.require_open()
        self._refuse_in_function("load data")
        return self.bulk_loads.load(loads, progress=progress)

    # -- functions -----------------------------------------------------------------------------

    def define(self, definition: FunctionDefinition) -> FunctionDefinition:
        """Define or redefine a function; live queries of that name follow."""
        self.require_open()
        self._refuse_in_function("define a function")
        defined = self.registry.define(definition)
        self.invalidate_function(defined.name)
        return defined

    def push_functions(self, loaded: LoadedFunctions, *, before: Collection[str] = ()) -> None:
        """Make a folder's functions and schema those of the workspace, as a whole or not at all.

        Args:
            before: the names that the folder had when it was pushed last: those it has no more
                are removed.

        Raises:
            SchemaChangeError: existing documents do not fit the schema; nothing was changed.
        """
        self.require_open()
        self._refuse_in_function("define a function")
        changed = self.pushed_functions.replace(
            loaded.functions,
            gone=frozenset(before) - loaded.names(),
            tables=list(loaded.schema or ()),
        )
        for name in changed:
            self.invalidate_function(name)

    def invalidate_function(self, name: str) -> None:
        """Run the live queries of a function again: it, or something it names, is another now."""
        self.live.invalidate(lambda source: getattr(source, "name", None) == name)
        self.live.invalidate_name(function_key(name))

    def _refuse_in_function(self, verb: str) -> None:
        if is_running():
            raise LivedbError(f"A query or mutation cannot {verb}; do it outside of functions")

    def _retry_window_s(self) -> float:
        window_s = self.limits.retry_window_s
        return window_s if self.path is not None else min(window_s, _VOLATILE_RETRY_WINDOW_S)

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
        self._upkeep.close()
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
        self.tables.close()  # ends every statement that is running
        self.folded_sql.close()
        self.log.close()
        if self._lock is not None:
            self._lock.release()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._tuning.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("A workspace cannot be pickled: it is threads and files of this process")


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


class _Recovered:
    """What the log holds beyond the tables, in order."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.commits: list[tuple[int, Catalog, list[Write], list[WholeTablePart]]] = []

    def take(self, number: int, parts: Sequence[Any]) -> None:
        writes: list[Write] = []
        whole: list[WholeTablePart] = []
        for part in parts:
            match part:
                case SchemaPart():
                    self.catalog = Catalog.from_json(catalog_of(part))
                case DocumentsPart():
                    writes += [_recovered_write(write) for write in part.writes]
                case LoadPart() | FillPart() | ClearPart():
                    whole.append(part)
                case _:
                    pass  # functions and settings: read by their own floor
        self.commits.append((number, self.catalog, writes, whole))


def _recovered_write(write: Any) -> Write:
    """A logged write. What it replaced is in the tables, which is where the fold looks for it."""
    table, document_id, creation_time, text = write
    if text is None:
        return Write(table, document_id, None, None)
    return Write(table, document_id, None, StoredDocument(creation_time, text))


def _damaged(path: Path | None, part: str, what: str) -> DamagedError:
    return DamagedError(
        f"The workspace {str(path)!r} is damaged: its {part} not readable ({what}). "
        "Use livedb.repair(path) to see what is left.",
        reason=what,
    )


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
            _refuse_other_limits(found, limits)
            return found
        opened = Workspace(Path(real), limits=limits, clock=clock)
        _open[real] = opened
        return opened


def _refuse_other_limits(workspace: Workspace, limits: Limits | None) -> None:
    """An open workspace keeps its limits: whoever asks for others shall not think they hold."""
    if limits is None or limits == workspace.limits:
        return
    others = [
        f"{field.name}={wanted!r} (now {known!r})"
        for field in fields(limits)
        if (wanted := getattr(limits, field.name))
        != (known := getattr(workspace.limits, field.name))
    ]
    raise WorkspaceError(
        f"The workspace {workspace.name} is open in this process with other limits, which cannot "
        f"change meanwhile: asked for were {', '.join(others)}. Call close() on it and open it "
        "again, or open it without limits to get it as it is.",
        code="OtherLimits",
    )


def _close_all() -> None:
    for workspace in list(_alive):
        workspace.close()


atexit.register(_close_all)
