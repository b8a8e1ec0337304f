"""The backend of a workspace in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from livedb.client.backend import (
    SNAPSHOT_TRIES_MAX,
    ChangeNotice,
    OnChange,
    Origin,
    Params,
    Status,
    Subscription,
    open_states,
)
from livedb.client.files import LocalFiles
from livedb.client.past_backend import LocalPast
from livedb.client.waking import waking
from livedb.errors import ClosedError, FunctionTypeError, SnapshotTooOldError
from livedb.functions.actions import nested_call
from livedb.functions.call import Call, Cancellation
from livedb.functions.calling import is_running
from livedb.functions.definition import FunctionDefinition, FunctionKind, require_kind
from livedb.live.live_query import NO_WORK, LiveQuery, LiveSource, LiveState, Work
from livedb.live.sources import FunctionSource, InlineSource, SqlSource
from livedb.live.steps import Step
from livedb.schema.catalog import Catalog
from livedb.schema.tables import TableDefinition
from livedb.workspace import Statistics, Workspace

if TYPE_CHECKING:
    from datetime import datetime
    from os import PathLike

    import pyarrow as pa

    from livedb.activity import ActivityReport, CommitChanges
    from livedb.client.optimistic import OptimisticUpdate
    from livedb.interchange.exports import ExportResult, Format
    from livedb.interchange.sources import Source
    from livedb.live.folded_sql import FoldedSql
    from livedb.store.position import Position
    from livedb.store.snapshot import SqlSnapshot

ASYNC_CALLS_MAX = 64
"""Calls made with `.aio()` that run at once, of actions and of all others; more wait."""


class LocalSubscription:
    """One follower of a live query of this process's workspace."""

    turn = 0

    def __init__(self, backend: LocalBackend, source: LiveSource, on_change: OnChange) -> None:
        self._backend = backend
        self._source = source
        self.title = source.title
        self.on_change = on_change
        self._query: LiveQuery | None = backend.workspace.live.follow(source)
        backend.add(self._query, self)

    def pull(self) -> int:
        self._backend.require_open()
        return self._backend.workspace.live.refresh()

    def state(self) -> LiveState:
        query = self._query
        if query is None or query.state is None:
            raise ClosedError(f"The live handle {self.title} is closed")
        return query.state

    def definition(self) -> FunctionDefinition | None:
        return getattr(self._source, "definition", None)

    @property
    def runs(self) -> int:
        return 0 if self._query is None else self._query.runs

    def work(self) -> Work:
        query = self._query
        return NO_WORK if query is None else self._backend.workspace.live.work_of([query.key])

    def invalidate(self) -> None:
        self._backend.require_open()
        key = self._source.key
        self._backend.workspace.live.invalidate(lambda source: source.key == key)

    def close(self) -> None:
        # Takes no lock: the garbage collector calls this, on any thread and under any lock.
        query, self._query = self._query, None
        if query is not None:
            self._backend.left.put((query, self))
            if not self._backend.workspace.is_closed:
                self._backend.workspace.live.unfollow(query)


class LocalSnapshotReads:
    """A commit of this process's workspace that stays readable."""

    def __init__(
        self, reader: FoldedSql, sql: SqlSnapshot, states: Mapping[Subscription, LiveState]
    ) -> None:
        self.number = sql.number
        self.states = states
        self._reader = reader
        self._sql = sql

    def here(self) -> AbstractContextManager[None]:
        return self._reader.holding(self._sql)


class LocalBackend:
    """A `Backend` on a `Workspace`."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._followers: dict[LiveQuery, dict[LocalSubscription, None]] = {}
        self._followers_lock = threading.Lock()
        """Guards `_followers`; taken alone."""
        self.left: SimpleQueue[tuple[LiveQuery, LocalSubscription]] = SimpleQueue()
        """Subscriptions closed and still among `_followers`."""
        self._stop_listening = workspace.live.listen(self._tell)
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def require_open(self) -> None:
        self.workspace.require_open()

    @property
    def name(self) -> str:
        return self.workspace.name

    @property
    def status(self) -> Status:
        return Status("closed" if self.workspace.is_closed else "open")

    def watch_status(self, hear: Callable[[], None]) -> None:
        """It is open until it is closed, of which followers hear."""

    @property
    def number(self) -> int:
        return self.workspace.committer.published

    def catalog(self) -> Catalog:
        run = self.workspace.calling.nested_run()
        if run is not None:
            return run.snapshot.catalog  # with the tables that the run has made
        held = self.workspace.folded_sql.held()
        number = self.number if held is None else held.number
        return self.workspace.committer.catalog_at(number)

    def known_catalog(self) -> Catalog:
        return self.catalog()

    # -- functions -----------------------------------------------------------------------------

    def define(
        self,
        definition: FunctionDefinition,
        origin: Origin | None = None,  # noqa: ARG002  # it stays in this process
    ) -> FunctionDefinition:
        return self.workspace.define(definition)

    def push(self, functions: Sequence[FunctionDefinition]) -> None:
        for function in functions:
            self.workspace.define(function)
        self.workspace.pushed_functions.log(functions)

    def definition(self, name: str) -> FunctionDefinition:
        return self.workspace.registry.get(name)

    def function_names(self) -> list[str]:
        return self.workspace.registry.names()

    def call(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        update: OptimisticUpdate | None = None,  # noqa: ARG002  # there is nothing to wait for
        *,
        kind: FunctionKind | None = None,
    ) -> Any:
        workspace = self.workspace
        workspace.require_open()
        function = workspace.registry.get(name)
        require_kind(function, kind)
        if is_running():
            return self.run(function, function.bind(args, kwargs, tables=self.catalog()))
        committer = workspace.committer
        tables = committer.catalog_at(committer.published)
        return workspace.runner.run_alone(function, function.bind(args, kwargs, tables=tables))

    def run(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        self.workspace.require_open()
        calling = self.workspace.calling
        joined = calling.nested_run()
        if joined is not None:
            return calling.join(joined, function, args)
        if function.kind != "query" and is_running():
            raise FunctionTypeError(
                f"The {function.kind} {function.name!r} of another workspace cannot run inside a "
                "query or mutation: it would not be undone with it"
            )
        return self.workspace.runner.run_alone(function, args)

    async def run_async(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: OptimisticUpdate | None = None,  # noqa: ARG002  # there is nothing to wait for
    ) -> Any:
        if is_running():
            raise FunctionTypeError(".aio() is for callers outside of queries and mutations")
        call, cancellation = None, Cancellation()
        pool = self._pool(name="livedb-aio")
        if function.kind == "action":
            pool = self._pool(name="livedb-act")  # where it may wait for long, and nobody for it
            call = nested_call(cancellation) or Call(cancellation=cancellation)
        run = partial(self._run_alone, function, args, call)
        # In a copy of this context: a snapshot held here is held there.
        running = asyncio.get_running_loop().run_in_executor(pool, copy_context().run, run)
        try:
            with waking():
                return await running
        except asyncio.CancelledError:
            cancellation.cancel()
            raise

    def _pool(self, *, name: str) -> ThreadPoolExecutor:
        pool = self._pools.get(name)
        if pool is None:  # two that make one at the same moment use the same
            made = ThreadPoolExecutor(ASYNC_CALLS_MAX, thread_name_prefix=name)
            pool = self._pools.setdefault(name, made)
        return pool

    def _run_alone(
        self, function: FunctionDefinition, args: Mapping[str, Any], call: Call | None
    ) -> Any:
        self.workspace.require_open()
        return self.workspace.runner.run_alone(function, args, call)

    # -- following -----------------------------------------------------------------------------

    def follow_function(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        on_change: OnChange,
    ) -> LocalSubscription:
        self._refuse_in_function()
        runner = self.workspace.runner
        source: LiveSource
        if self.workspace.registry.find(function.name) is not None:
            source = FunctionSource(runner, function.name, args)
        else:
            source = InlineSource(runner, function, args)
        return LocalSubscription(self, source, on_change)

    def follow_sql(self, text: str, params: Params, on_change: OnChange) -> LocalSubscription:
        self._refuse_in_function()
        return LocalSubscription(
            self, SqlSource(self.workspace.folded_sql, text, params), on_change
        )

    def follow_presence(self, on_change: OnChange) -> LocalSubscription:
        self._refuse_in_function()
        return LocalSubscription(self, self.workspace.presence.source, on_change)

    def _refuse_in_function(self) -> None:
        self.workspace.require_open()
        if is_running():
            raise FunctionTypeError(
                ".live() cannot be called inside a query or mutation; call the function itself"
            )

    def add(self, query: LiveQuery, subscription: LocalSubscription) -> None:
        with self._followers_lock:
            self._remove_left()
            self._followers.setdefault(query, {})[subscription] = None

    def _remove_left(self) -> None:
        while not self.left.empty():
            query, subscription = self.left.get()
            followers = self._followers.get(query)
            if followers is not None:
                followers.pop(subscription, None)
                if not followers:
                    del self._followers[query]

    def _followers_of(self, query: LiveQuery) -> list[LocalSubscription]:
        if not self.left.empty():
            with self._followers_lock:
                self._remove_left()
        return list(self._followers.get(query, ()))  # one step in C: nobody comes between

    def _tell(self, step: Step) -> None:
        for query, _, new in step.changes:
            followers = self._followers_of(query)
            if followers:
                notice = ChangeNotice(step.number, new)
                for subscription in followers:
                    subscription.on_change(notice)

    # -- data ----------------------------------------------------------------------------------

    def follow_code(self, is_changed: Callable[[FunctionDefinition], bool]) -> None:
        names = self.function_names()
        self.workspace.invalidate_functions(
            [name for name in names if is_changed(self.definition(name))]
        )

    def apply_tables(self, definitions: Sequence[TableDefinition]) -> int:
        return self.workspace.apply_tables(definitions)

    def drop_table(self, name: str) -> int:
        return self.workspace.drop_table(name)

    def states(
        self, subscriptions: Iterable[Subscription]
    ) -> tuple[int, dict[Subscription, LiveState]]:
        self.require_open()
        with self.workspace.live.held() as number:
            return number, open_states(subscriptions)

    @contextmanager
    def snapshot(self, subscriptions: Iterable[Subscription]) -> Iterator[LocalSnapshotReads]:
        self.require_open()
        workspace = self.workspace
        states, opened = self._states_and_sql(list(subscriptions))
        with opened as sql, workspace.runner.keeping(sql.number):
            yield LocalSnapshotReads(workspace.folded_sql, sql, states)

    def _states_and_sql(
        self, subscriptions: Sequence[Subscription]
    ) -> tuple[dict[Subscription, LiveState], SqlSnapshot]:
        """The states of subscriptions and the tables, at one commit."""
        for _ in range(SNAPSHOT_TRIES_MAX):
            with suppress(SnapshotTooOldError):  # a fold of what was committed meanwhile
                return self._try_states_and_sql(subscriptions, pauses_folds=False)
        return self._try_states_and_sql(subscriptions, pauses_folds=True)

    def _try_states_and_sql(
        self, subscriptions: Sequence[Subscription], *, pauses_folds: bool
    ) -> tuple[dict[Subscription, LiveState], SqlSnapshot]:
        with self.workspace.live.held(pauses_folds=pauses_folds) as number:
            return open_states(subscriptions), self.workspace.folder.snapshot_at(number)

    def sql(self, text: str, params: Params) -> tuple[pa.Table, int]:
        calling = self.workspace.calling
        run = calling.nested_run()
        if run is None:
            return self.workspace.sql(text, params)
        self.workspace.require_open()
        return calling.read_sql(run.snapshot, text, params), run.snapshot.number

    def past(self, when: int | datetime) -> LocalPast:
        self.require_open()
        return LocalPast(self, when)

    def commit_number(self, when: int | datetime) -> int:
        self.require_open()
        return self.workspace.pasts.number_of(when)

    def history(self, table: str, document_id: str) -> pa.Table:
        self._refuse_past()
        return self.workspace.changes.history(table, document_id)

    def change_page(
        self, position: Position, *, until: int, table: str | None
    ) -> tuple[pa.Table, Position]:
        self._refuse_past()
        return self.workspace.changes.page(position, until=until, table=table)

    def undo(self, number: int) -> int:
        self.require_open()
        if is_running():
            raise FunctionTypeError("A commit cannot be undone inside a query or mutation")
        return self.workspace.undoing.undo(number)

    def _refuse_past(self) -> None:
        self.require_open()
        if is_running():
            raise FunctionTypeError("The past cannot be read inside a query or mutation")

    def documents(self, table: str, *, limit: int | None) -> list[dict[str, Any]]:
        if self.workspace.calling.nested_run() is not None:
            raise FunctionTypeError(
                f"The documents of {table!r} as they were published cannot be read inside a query "
                "or mutation, which would not be run again when they change. Read with "
                "ctx.db.query or, in a query, with ctx.db.sql."
            )
        return self.workspace.documents(table, limit=limit)

    def counts(self) -> dict[str, int]:
        return self.workspace.folded_sql.counts()

    def page(self, table: str, *, limit: int, is_descending: bool) -> list[dict[str, Any]] | None:
        return self.workspace.folded_sql.page(table, limit=limit, is_descending=is_descending)

    def hidden_fields(self, table: str) -> tuple[str, ...]:
        return self.workspace.hidden_fields(table)

    def load(
        self,
        table: str,
        source: Source,
        *,
        keep_ids: bool,
        progress: Callable[[int], None] | None,
    ) -> tuple[int, int]:
        return self.workspace.load(table, source, keep_ids=keep_ids, progress=progress)

    def export(
        self,
        table: str,
        path: str | PathLike[str],
        *,
        format: Format | None,  # noqa: A002  # the word users know
        overwrite: bool,
    ) -> tuple[ExportResult, tuple[str, ...]]:
        from livedb.transfer import export_table

        if self.workspace.calling.nested_run() is not None:
            raise FunctionTypeError(
                f"Table {table!r} cannot be exported inside a query or mutation, which may run "
                "again; export it outside of functions"
            )
        target = Path(path).expanduser()
        return export_table(self.workspace, table, target, format=format, overwrite=overwrite)

    @property
    def files(self) -> LocalFiles:
        return LocalFiles(self.workspace.file_storage, self._refuse_files)

    def _refuse_files(self) -> None:
        self.require_open()
        if self.workspace.calling.nested_run() is not None:
            raise FunctionTypeError(
                "db.files cannot be used inside a query or mutation, which may run again; there "
                "it is ctx.storage"
            )

    def backup(self, target: Path) -> int:
        return self.workspace.backup(target)

    def statistics(self) -> Statistics:
        return self.workspace.statistics()

    def activity(self) -> ActivityReport:
        self.require_open()
        return self.workspace.activity.report()

    def commit_changes(self, number: int) -> CommitChanges:
        self.require_open()
        return self.workspace.activity.changes(number)

    def close(self) -> None:
        if self.workspace.is_forked:
            return
        self._stop_listening()
        for pool in self._pools.values():
            pool.shutdown(wait=True)
        self.workspace.close()
        with self._followers_lock:
            followers = [each for group in self._followers.values() for each in group]
        for subscription in followers:
            subscription.on_change(None)
