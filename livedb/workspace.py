"""The workspace: builds the parts, joins them, and takes them apart again.

A workspace is a folder (`workspace_files`) or memory, with the same parts but no files. Which ones
this process has open, `workspaces` knows.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from livedb.activity import Activity, Person
from livedb.backup import write_backup
from livedb.changes.bulk_loads import BulkLoads, TableLoad
from livedb.changes.parts import Parts
from livedb.changes.pushed_functions import PushedFunctions
from livedb.changes.schema_changes import Documents, SchemaChanges
from livedb.changes.settings import WorkspaceSettings
from livedb.clock import Clock, SystemClock
from livedb.commitlog.contract import CommitLog
from livedb.errors import ClosedError, ForkedError, LivedbError
from livedb.files.choice import content_place
from livedb.files.contents import Contents
from livedb.files.storage import FileStorage
from livedb.functions import crons
from livedb.functions.calling import Calling, is_running
from livedb.functions.cron_jobs import CronSpec, put_folder_crons
from livedb.functions.definition import FunctionDefinition, FunctionKind, Registry
from livedb.functions.environment import PLACES_KEY
from livedb.functions.runner import Runner
from livedb.functions.scheduling import UNBOUNDED
from livedb.functions.sessions import Sessions
from livedb.functions.storage import CLOUD_URL_VARIABLE
from livedb.functions.system_functions import (
    SITE_URL_VARIABLE,
    define_system_functions,
    define_urls,
)
from livedb.ids import IdFactory
from livedb.interpreter import InterpreterTuning
from livedb.invitations import Invitations
from livedb.limits import Limits
from livedb.live.folded_sql import FoldedSql
from livedb.live.live_queries import LiveQueries
from livedb.past.changes import Changes
from livedb.past.pasts import Pasts
from livedb.past.retention import Retention
from livedb.past.undo import Undoing
from livedb.presence import Presence
from livedb.recovery import RecoveredCommit, recover
from livedb.scheduler.worker import Scheduler
from livedb.schema.catalog import Catalog
from livedb.schema.tables import IndexDefinition, TableDefinition, check_table_name
from livedb.store.backlog import Backlog
from livedb.store.connection import CtrlC
from livedb.store.loaded import LoadedTable
from livedb.store.rows import RowStore
from livedb.transactions.commit_request import CommitRequest
from livedb.transactions.committer import Committer
from livedb.transactions.folder import Folder
from livedb.transactions.load_files import LoadFiles
from livedb.transactions.reads import function_key
from livedb.transactions.transaction import Transaction
from livedb.transactions.turn import Turn
from livedb.upkeep import Upkeep
from livedb.workspace_files import WorkspaceFiles
from livedb.workspace_stores import check_tables_against_log, open_log, open_tables

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.functions.loader import LoadedFunctions
    from livedb.interchange.sources import Source

logger = logging.getLogger("livedb")

WrapLog = Callable[[CommitLog], CommitLog]
"""Gives what commits go through on their way to the log they are kept in."""

_VOLATILE_KEPT_S = 600.0
"""A workspace in memory keeps mutation ids and its past no longer than this: its log is memory."""


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
        wrap_log: gives what commits go through on their way to the log, for tests and extenders.
        files_url: of the object store that files lie in; None for where they lie already.

    Raises:
        WorkspaceLockedError: another process has it open.
        DamagedError: its files do not agree; `livedb.repair(path)` says what is left.
        FormatError: `path` is something else, or a newer livedb made it.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        wrap_log: WrapLog | None = None,
        files_url: str | None = None,
    ) -> None:
        self.path = path
        self.limits = limits or Limits()
        self.clock = clock or SystemClock()
        self._wrap_log = wrap_log
        self._files_url = files_url
        self._pid = os.getpid()
        self.database: Any = None
        """The `db` of this process, so that opening twice gives one object."""
        self.served_at: str | None = None
        """Where a service of this process answers for it."""
        self.closing: list[Callable[[], None]] = []
        """What to end before the workspace is closed, newest first: a service, say."""
        self._is_closed = False
        self._close_lock = threading.Lock()
        self._tuning = InterpreterTuning()
        undo: list[Callable[[], object]] = []
        try:
            self._build(undo)
        except BaseException:  # a Ctrl-C here must not keep the lock
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
            retry_window_s=self._kept_s(self.limits.retry_window_s),
            retention=self.retention,
            files=self.file_storage,
        )

    # -- building ------------------------------------------------------------------------------

    def _build(self, undo: list[Callable[[], object]]) -> None:
        self.files = WorkspaceFiles(self.path)
        undo.append(self.files.release)
        self.files.claim()
        self.log = open_log(self.path, self.files, self.clock)
        undo.append(self.log.close)
        self.tables = open_tables(self.path, self.files, limits=self.limits, clock=self.clock)
        undo.append(self.tables.close)
        check_tables_against_log(self.path, self.tables, self.log)
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
        stored = self.tables.stored_catalog() or Catalog()
        recovered = recover(self.log, after=self.tables.folded_number, catalog=stored)
        self.committer = Committer(
            log=self.log if self._wrap_log is None else self._wrap_log(self.log),
            store=self.rows,
            backlog=self.backlog,
            catalogs=_catalogs_of(self.tables.folded_number, stored, recovered),
            turn=turn,
            clock=self.clock,
            log_deadline_s=self.limits.log_deadline_s,
            publish=self._publish,
            is_volatile=self.path is None,
        )
        undo.append(self.committer.close)
        self._load_files = LoadFiles(self.files.loads)
        self.folder = Folder(
            tables=self.tables,
            backlog=self.backlog,
            committer=self.committer,
            files=self._load_files,
            chain_at=self.log.chain_at,
        )
        undo.append(self.folder.close)
        self._fold_recovered(recovered)
        self.registry = Registry(self.clock)
        define_system_functions(self.registry)
        self.ids = IdFactory(self.clock)
        self.folded_sql = FoldedSql(folder=self.folder, committer=self.committer)
        undo.append(self.folded_sql.close)
        self.file_storage = FileStorage(
            Contents(
                content_place(
                    self.files.files,
                    self.files.objects,
                    self._files_url,
                    self.clock,
                    is_temporary=self.path is None,
                ),
                self.clock,
                bytes_max=self.limits.file_bytes_max,
            ),
            self._run_own,
        )
        self.calling = Calling(
            workspace=self.name,
            registry=self.registry,
            committer=self.committer,
            clock=self.clock,
            limits=self.limits,
            sql=self.folded_sql,
            contents=self.file_storage,
        )
        undo.append(self.calling.close)
        self.runner = Runner(
            calling=self.calling,
            committer=self.committer,
            store=self.rows,
            turn=turn,
            ids=self.ids,
            clock=self.clock,
            limits=self.limits,
            held=self.folded_sql.held,
            find_commit=self.log.find,
        )
        self.sessions = Sessions(self.log.newest_request)
        self.live = LiveQueries(
            self.committer,
            clock=self.clock,
            cache_entries_max=self.limits.cache_entries_max,
            fold_pause=self.folder.paused,
            keeping=self._keeping,
        )
        self.scheduler = Scheduler(
            name=self.name,
            runner=self.runner,
            registry=self.registry,
            committer=self.committer,
            store=self.rows,
            clock=self.clock,
            limits=self.limits,
        )
        undo.append(self.scheduler.close)
        self.presence = Presence(self.live, self.clock)
        self.activity = Activity(
            log=self.log,
            committer=self.committer,
            folder=self.folder,
            runs=self.calling.runs,
            counts=self.folded_sql.counts,
            people=self._people,
            clock=self.clock,
        )
        self.pasts = Pasts(
            folder=self.folder,
            committer=self.committer,
            log=self.log,
            limits=self.limits,
            clock=self.clock,
            staging=None if self.path is None else self.files.staging,
            loads_folder=self.files.loads,
        )
        undo.append(self.pasts.close)
        self.retention = Retention(
            tables=self.tables,
            log=self.log,
            clock=self.clock,
            keep_s=self._kept_s(self.limits.history_keep_s),
            bytes_max=self.limits.history_bytes_max,
        )
        self.changes = Changes(folder=self.folder, log=self.log, pasts=self.pasts)
        self._build_changes(turn)
        self._delete_unnamed_loads()

    @contextmanager
    def _keeping(self, number: int, reads_sql: bool) -> Iterator[None]:  # noqa: FBT001  # a `Keeping`
        """Within it a published commit stays readable for this thread."""
        with ExitStack() as stack:
            stack.enter_context(self.runner.keeping(number))
            if reads_sql:
                sql = stack.enter_context(self.folder.snapshot_at(number))
                stack.enter_context(self.folded_sql.holding(sql))
            yield

    def _build_changes(self, turn: Turn) -> None:
        parts = Parts(
            turn=turn,
            committer=self.committer,
            folder=self.folder,
            rows=self.rows,
        )
        self.schema_changes = SchemaChanges(parts, registry=self.registry, begin=self._begin)
        self.bulk_loads = BulkLoads(parts, clock=self.clock, ids=self.ids, files=self._load_files)
        self.pushed_functions = PushedFunctions(
            parts, registry=self.registry, schema_changes=self.schema_changes
        )
        self.settings = WorkspaceSettings(
            parts, self.tables.stored_settings(), self.tables.expect_settings
        )
        self.undoing = Undoing(parts, pasts=self.pasts, begin=self._begin)
        self.invitations = Invitations(self.settings, self.clock)

    def _begin(self, number: int, catalog: Catalog) -> Transaction:
        """A transaction of livedb's own, as part of a change of tables."""
        start_ms = max(self.committer.last_ts + 1, self.clock.now_ns()) / 1e6
        return Transaction(self.rows, catalog, number, UNBOUNDED, ids=self.ids, start_ms=start_ms)

    # -- recovery ------------------------------------------------------------------------------

    def _fold_recovered(self, recovered: Sequence[RecoveredCommit]) -> None:
        """Bring the tables to the log's end, so that a workspace starts from one state."""
        for commit in recovered:
            self.backlog.append(commit.number, commit.writes)
            if commit.whole:
                self.folder.expect(commit.number, commit.whole)
            if commit.settings:
                self.tables.expect_settings(commit.number, commit.settings)
        if recovered:
            self.folder.fold()

    def _delete_unnamed_loads(self) -> None:
        """A staged file that no commit names was never loaded; one that is folded is done with."""
        for file in self.files.loads.iterdir():
            file.unlink(missing_ok=True)

    # -- what the parts ask of each other ------------------------------------------------------

    def _publish(self, batch: Sequence[CommitRequest]) -> None:
        self.live.publish(batch)
        self.scheduler.notice(batch)

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
        per_document = 50 + 50 * len(entry.definition.indexes)
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
        for definition in definitions:
            check_table_name(definition.name)
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

    def define(
        self, definition: FunctionDefinition, *, version: int | None = None
    ) -> FunctionDefinition:
        """Define or redefine a function; live queries of that name follow.

        Args:
            version: the one it had before the workspace was opened anew; see `Registry.define`.
        """
        self.require_open()
        self._refuse_in_function("define a function")
        before = self.registry.find(definition.name)
        defined = self.registry.define(definition, version=version)
        if defined is not before:
            self.invalidate_functions([defined.name])
            self.scheduler.functions_changed(self._now_ms())
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
        now_ms = self._now_ms()
        changed = self.pushed_functions.replace(
            loaded.functions,
            gone=frozenset(before) - loaded.names(),
            tables=list(loaded.schema or ()),
            documents=self._folder_crons(loaded.crons, now_ms),
        )
        self.invalidate_functions(changed)
        self.scheduler.functions_changed(now_ms, has_folder=True)

    def _folder_crons(self, specs: Sequence[CronSpec], now_ms: float) -> Documents | None:
        """Makes these the crons of a folder; None when there are none, and were none."""
        known = self._run_own("query", crons.LIST, {})
        if not specs and all(cron["source"] != "folder" for cron in known):
            return None
        return lambda transaction: put_folder_crons(transaction, specs, now_ms=now_ms)

    def _now_ms(self) -> float:
        return self.clock.now_ns() / 1e6

    def invalidate_functions(self, names: Collection[str]) -> None:
        """Run the live queries of functions again: they, or what they name, are others now."""
        self.live.invalidate(
            lambda source: getattr(source, "name", None) in names,
            names=[function_key(name) for name in names],
        )

    def tell_places(self, cloud_url: str, site_url: str) -> None:
        """Say where the workspace is served, and where its HTTP actions are: `ctx.env` follows."""
        define_urls(self.registry, cloud_url, site_url)
        places = {CLOUD_URL_VARIABLE: cloud_url, SITE_URL_VARIABLE: site_url}
        self._place({name: url for name, url in places.items() if url})

    def _people(self) -> list[Person]:
        return [
            Person(each.name, each.role, each.client, each.since_ns / 1e9)
            for each in self.presence.visitors()
        ]

    def forget_places(self, cloud_url: str) -> None:
        """It is served there no more; where it is served elsewhere since stays said."""
        if self.calling.places.get(CLOUD_URL_VARIABLE) == cloud_url:
            self._place({})

    def _place(self, places: Mapping[str, str]) -> None:
        self.calling.places = places
        self.live.invalidate(names=[PLACES_KEY])

    def _run_own(self, kind: FunctionKind, name: str, args: Mapping[str, Any]) -> Any:
        """The result of one of livedb's own functions, run on its own."""
        return self.runner.call_alone(kind, name, args)

    def _refuse_in_function(self, verb: str) -> None:
        if is_running():
            raise LivedbError(f"A query or mutation cannot {verb}; do it outside of functions")

    def _kept_s(self, wanted_s: float) -> float:
        return wanted_s if self.path is not None else min(wanted_s, _VOLATILE_KEPT_S)

    # -- life ----------------------------------------------------------------------------------

    def require_open(self) -> None:
        """Raise when the workspace cannot be used here.

        Raises:
            ClosedError, ForkedError.
        """
        if self._is_closed:
            raise ClosedError(f"The workspace {self.name} is closed; open it again")
        if self.is_forked:
            raise ForkedError(
                f"The workspace {self.name} was opened before this process was forked. Its threads "
                "and files belong to the parent: pass data to the child, not the workspace."
            )

    @property
    def name(self) -> str:
        """What errors call it: its path, or that it is in memory."""
        return "in memory" if self.path is None else str(self.path)

    @property
    def is_forked(self) -> bool:
        """Whether this process is a child of the one that opened it, which alone may use it."""
        return os.getpid() != self._pid

    @property
    def is_closed(self) -> bool:
        """Whether it can no longer be used."""
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
            runs={name: record.runs for name, record in list(self.calling.runs.items())},
            row_memory_bytes=self.rows.statistics().size_bytes,
        )

    def backup(self, target: Path) -> int:
        """Write a copy of the whole workspace to the new folder `target`; returns its commit.

        Commits go on meanwhile; the copy opens at a commit between call and return.
        """
        self.require_open()
        return write_backup(
            target,
            log=self.log,
            tables=self.tables,
            folder=self.folder,
            loads=self.files.loads,
            files=self.file_storage,
        )

    def close(self) -> None:
        """Finish what was begun, fold, and let go of every file and thread; twice is harmless."""
        if self.is_forked:
            return
        with self._close_lock:
            if self._is_closed:
                return
            closing, self.closing = self.closing, []
            for end in reversed(closing):
                end()
            self.scheduler.close()
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
        self.pasts.close()
        self.calling.close()
        self.tables.close()  # ends every statement that is running
        self.folded_sql.close()
        self.log.close()
        self.files.release()
        self._tuning.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("A workspace cannot be pickled: it is threads and files of this process")


def _catalogs_of(
    folded: int, stored: Catalog, recovered: Sequence[RecoveredCommit]
) -> list[tuple[int, Catalog]]:
    """The tables at the last fold, and from each later commit on that changed them."""
    catalogs = [(folded, stored)]
    for commit in recovered:
        if commit.catalog is not catalogs[-1][1]:
            catalogs.append((commit.number, commit.catalog))
    return catalogs
