"""The backend of a workspace on a service: what a kernel has that connects to one.

`Connection` keeps the session on a thread of its own; followers are told on a second thread
(`livedb-live`), so that an observer may call anything.

Reading a handle asks the service how far it is and waits until that is here, one round trip, so
that a reader sees every commit acknowledged before it asked. While the service is away, handles
give their last state and `status` says so.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from livedb.activity import ActivityReport, CommitChanges
from livedb.canonical import canonical
from livedb.client.backend import (
    ChangeNotice,
    OnChange,
    Origin,
    Params,
    Status,
    Subscription,
    open_states,
)
from livedb.client.connection import CONNECT_S_MAX, Connection, Place, Restore
from livedb.client.console import show
from livedb.client.definitions import Definitions
from livedb.client.files import RemoteFiles
from livedb.client.optimistic import OptimisticUpdates, Pending, QueryKey
from livedb.client.remote_calls import RemoteCalls
from livedb.client.remote_past import RemotePast
from livedb.client.remote_snapshots import RemoteSnapshotReads, RemoteSnapshots, known_states
from livedb.client.remote_subscription import Asked, RemoteSubscription, is_same, table_of, take_all
from livedb.client.remote_tables import RemoteTables, sql_arguments
from livedb.client.transfers import Transfers
from livedb.client.verbs import LIVEDB, Verbs
from livedb.clock import Clock, SystemClock
from livedb.errors import (
    ArgumentValidationError,
    DisconnectedError,
    FunctionNotFoundError,
    FunctionTypeError,
    LivedbError,
    WorkspaceGoneError,
)
from livedb.functions.calling import is_running
from livedb.functions.definition import FunctionDefinition, FunctionKind, require_kind
from livedb.functions.table_functions import travelling_arguments, verb_of
from livedb.live.live_query import LiveState, Work
from livedb.protocol.client import Moved
from livedb.protocol.codecs import PACK
from livedb.schema.catalog import Catalog
from livedb.schema.tables import TableDefinition
from livedb.store.position import Position
from livedb.values import Value
from livedb.workspace import Statistics

if TYPE_CHECKING:
    from datetime import datetime
    from os import PathLike

    import pyarrow as pa

    from livedb.client.optimistic import OptimisticUpdate
    from livedb.interchange.exports import ExportResult, Format
    from livedb.interchange.sources import Source

logger = logging.getLogger("livedb.client")


class RemoteBackend(RemoteTables):
    """A `Backend` on a service. `close()` it.

    Args:
        url: `http://host:port` of the service, or `unix:/path` of its socket.
        token: an access token or a user's; never shown.
        find: says where the service is by now, when it is where it was no more.

    Raises:
        DisconnectedError: nothing answers there within `CONNECT_S_MAX` seconds.
        AuthenticationError: the service does not accept the token.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        clock: Clock | None = None,
        find: Callable[[], Place | None] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        """Guards `_subscriptions`, their states, `_number` and `_shown_ts`; held for moments."""
        self._subscriptions: dict[int, RemoteSubscription] = {}
        self._number = 0
        self._known_number = 0
        """At which `known` of each subscription is; `_number` may be ahead of it."""
        self._shown_ts = 0
        self._shown_number = 0
        """The commit of what is shown; the service may have told of later ones."""
        self._seen_ts = 0
        """Of the newest commit that an answer was at."""
        self._moved = threading.Condition(self._lock)
        self._updates = OptimisticUpdates(self._bound)
        self._pending: dict[int, Pending] = {}
        """By request; like `_updates` of the connection's thread alone."""
        self._watchers: list[Callable[[], None]] = []
        self._notices: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._teller = threading.Thread(target=self._tell, name="livedb-live", daemon=True)
        self._connection = Connection(
            url,
            session_id=self._clock.random_bytes(16).hex(),
            token=token,
            on_moved=self._move,
            on_ended=self._forget_updates,
            on_status=self._hear_status,
            restoring=self._restoring,
            random=self._clock.random(),
            find=find,
        )
        self._verbs = Verbs(self._connection)
        self._calls = RemoteCalls(self._connection, self._verbs, self._begin_update)
        self._definitions = Definitions(self._verbs, self._heard)
        self._transfers = Transfers(self._verbs, self._clock)
        self._snapshots = RemoteSnapshots(self._verbs, self._clock, self._known_states)
        self._teller.start()
        self._connection.start()
        try:
            self._connection.wait_ready()
            self._definitions.describe()
        except BaseException:
            self.close()
            raise

    # -- the connection's thread ---------------------------------------------------------------

    def _restoring(self) -> Restore | None:
        """What comes first on a new connection: is it still the workspace that was seen there?"""
        restore = self._definitions.restoring()
        seen = max(self._seen_ts, self._connection.observed_ts)
        if not seen:
            return restore

        async def recognise() -> None:
            # As text: an int of 64 bits is no number.
            why = PACK.read(await self._verbs.act_ahead("recognise", {"ts": str(seen)}))
            if why is not None:
                raise WorkspaceGoneError(
                    f"The workspace at {self.name} is not the one that was seen there: {why}. "
                    "That data is gone, and nothing more was sent; connect again to use what is "
                    "there now."
                )
            if restore is not None:
                await restore()

        return recognise

    def _move(self, event: Moved) -> None:
        with self._moved:
            printed = take_all(event.changes, self._subscriptions)
            if event.number is not None:
                self._known_number = event.number
                self._number = max(self._number, event.number)
        for lines in printed:
            self._notices.put(partial(show, lines))
        self._show(event.ts)

    def _show(self, ts: int | None = None) -> None:
        """Show what the service and the optimistic updates say by now, and tell of changes."""
        with self._lock:
            subscriptions = list(self._subscriptions.values())
        made = self._updates.over(self._states(subscriptions)) if len(self._updates) else {}
        told = []
        with self._moved:
            number = self._shown_number = self._known_number
            for each in subscriptions:
                key = each.asked.key if made else None
                new = each.known if key is None else made.get(key, each.known)
                old = each.shown
                if new is not None and new is not old and not is_same(new, old):
                    each.shown = new
                    if old is not None:
                        told.append((each, new))
            self._shown_ts = self._shown_ts if ts is None else ts
            self._moved.notify_all()
        for subscription, new in told:
            self._notices.put(_notice(subscription, number, new))

    @staticmethod
    def _states(subscriptions: Iterable[RemoteSubscription]) -> dict[QueryKey, LiveState]:
        return {
            key: each.known
            for each in subscriptions
            if each.known is not None and (key := each.asked.key) is not None
        }

    def _begin_update(self, request_id: int, pending: Pending) -> None:
        with self._lock:
            subscriptions = list(self._subscriptions.values())
        self._updates.add(pending, self._states(subscriptions))
        self._pending[request_id] = pending
        self._show()

    def _forget_updates(self, request_ids: Sequence[int]) -> None:
        """These calls have ended: what they did is in the next state, which is shown next."""
        ended = [self._pending.pop(each) for each in request_ids if each in self._pending]
        for pending in ended:
            self._updates.remove(pending)
        if ended:
            # Behind the move that may come with it, else the old state would be shown in between.
            asyncio.get_running_loop().call_soon(self._show)

    def _bound(
        self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Mapping[str, Value]:
        return self._definitions.known(name).bind(args, kwargs)

    def _hear_status(self, _: Status) -> None:
        with self._moved:
            self._moved.notify_all()
        for hear in self._watchers:
            self._notices.put(hear)
        if self._connection.is_closed:
            self._let_go()

    # -- the followers' thread -----------------------------------------------------------------

    def _tell(self) -> None:
        while (tell := self._notices.get()) is not None:
            try:
                tell()
            except Exception:  # the job worker: log it and go on with the next one
                logger.exception("telling a follower failed")

    # -- Backend -------------------------------------------------------------------------------

    def require_open(self) -> None:
        self._connection.require_open()

    @property
    def name(self) -> str:
        return self._connection.url

    @property
    def status(self) -> Status:
        return self._connection.status

    def watch_status(self, hear: Callable[[], None]) -> None:
        self._watchers.append(hear)

    @property
    def number(self) -> int:
        return self._number if self._connection.is_closed else self.pull()

    def _heard(self, stands: Mapping[str, Any]) -> None:
        with self._lock:
            self._number = max(self._number, stands["number"])
            self._seen_ts = max(self._seen_ts, int(stands["ts"]))

    def catalog(self) -> Catalog:
        return self._definitions.catalog()

    def known_catalog(self) -> Catalog:
        return self._definitions.known_catalog()

    def define(
        self, definition: FunctionDefinition, origin: Origin | None = None
    ) -> FunctionDefinition:
        self._refuse_in_function("define a function")
        return self._definitions.define(definition, origin)

    def push(self, functions: Sequence[FunctionDefinition]) -> None:
        self._refuse_in_function("define a function")
        self._definitions.push(functions)

    def follow_code(self, is_changed: Callable[[FunctionDefinition], bool]) -> None:  # noqa: ARG002
        self._definitions.follow_code()

    def definition(self, name: str) -> FunctionDefinition:
        return self._definitions.get(name)

    def newest(self, definition: FunctionDefinition) -> FunctionDefinition:
        """The function of that name as it is by now, if the service can be asked."""
        return self._definitions.newest(definition)

    def function_names(self) -> list[str]:
        return self._definitions.names()

    def apply_tables(self, definitions: Sequence[TableDefinition]) -> int:
        self._refuse_in_function("define a table")
        parcels = [msgspec.json.encode(each.to_json()) for each in definitions]
        number: int = PACK.read(self._verbs.act("tables", {}, parcels))
        return number

    def drop_table(self, name: str) -> int:
        self._refuse_in_function("drop a table")
        answer = self._verbs.act("drop", {"table": name}, repeats=False)
        number: int = PACK.read(answer)
        return number

    def call(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        update: OptimisticUpdate | None = None,
        *,
        kind: FunctionKind | None = None,
    ) -> Any:
        function = self.definition(name)
        try:
            require_kind(function, kind)
            return self._run(function, function.bind(args, kwargs), update)
        except (ArgumentValidationError, FunctionNotFoundError, FunctionTypeError, TypeError):
            # It may be another function by now, that takes other arguments.
            renewed = None if is_running() else self._definitions.renewed(function)
            if renewed is None:
                raise
        require_kind(renewed, kind)
        return self._run(renewed, renewed.bind(args, kwargs), update)

    def run(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        return self._run(function, args, None)

    def _run(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: OptimisticUpdate | None,
    ) -> Any:
        self._refuse_in_function(function.name)
        return self._calls.run(function, args, update)

    async def run_async(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: OptimisticUpdate | None = None,
    ) -> Any:
        return await self._calls.run_async(function, args, update)

    def _refuse_in_function(self, what: str) -> None:
        if is_running():
            raise FunctionTypeError(
                f"{what} of a workspace on a service cannot be called inside a query or mutation: "
                "it would not be undone with it"
            )

    # -- following -----------------------------------------------------------------------------

    def follow_function(
        self, function: FunctionDefinition, args: Mapping[str, Any], on_change: OnChange
    ) -> RemoteSubscription:
        verb = verb_of(function)
        if verb is not None:
            sent = {"verb": verb, "name": function.name, "args": travelling_arguments(args)}
            asked = Asked("table", LIVEDB, sent)
            return self._follow(asked, function.name, function, on_change)
        given: Any = canonical(dict(args))
        shown = ", ".join(f"{name}={value!r}" for name, value in args.items())
        asked = Asked(function.name, None, given)
        return self._follow(asked, f"{function.name}({shown})", function, on_change)

    def follow_sql(self, text: str, params: Params, on_change: OnChange) -> RemoteSubscription:
        given: Any = canonical(sql_arguments(text, params))
        return self._follow(Asked("sql", LIVEDB, given), " ".join(text.split()), None, on_change)

    def follow_presence(self, on_change: OnChange) -> RemoteSubscription:
        return self._follow(Asked("who", LIVEDB, {}), "who", None, on_change)

    def _follow(
        self,
        asked: Asked,
        title: str,
        definition: FunctionDefinition | None,
        on_change: OnChange,
    ) -> RemoteSubscription:
        if is_running():
            raise FunctionTypeError(
                ".live() cannot be called inside a query or mutation; call the function itself"
            )
        subscription = RemoteSubscription(self, title, asked, definition, on_change)
        args = PACK.write(asked.args)
        begun: Future[None] = Future()

        def work() -> None:
            if subscription.is_dropped:  # by a Ctrl-C
                return
            try:
                query_id, messages = self._connection.follow(asked.path, args, asked.component)
            except LivedbError as error:
                begun.set_exception(error)
                return
            subscription.query_id = query_id
            with self._lock:
                self._subscriptions[query_id] = subscription
            self._connection.send(messages)
            begun.set_result(None)

        self._connection.post(work)
        # Answered behind the first result, so its wait is that of any call.
        try:
            begun.result(CONNECT_S_MAX)
            while subscription.shown is None:
                self._pull(repeats=True)
                self._wait_until(lambda: subscription.shown is not None)
        except BaseException:
            subscription.close()
            raise
        with self._lock:
            lines = subscription.first_lines_among(self._subscriptions.values())
        show(lines)
        return subscription

    def unfollow(self, query_id: int) -> None:
        """Stop following; takes no lock and waits for nothing."""

        def work() -> None:
            with self._lock:
                self._subscriptions.pop(query_id, None)
            self._connection.unfollow(query_id)

        self._connection.post_if_open(work)

    def invalidate(self, name: str) -> None:
        """Run a query again although no data it read has changed, as its code is by now."""
        self._definitions.follow_code()
        self._verbs.act("refresh", {"name": name})

    def work_of(self, asked: Asked) -> Work:
        """What a live query costs the service."""
        given = {"path": asked.path, "of": asked.component, "args": asked.args}
        found: Any = PACK.read(self._verbs.act("work", given))
        runs, run_s, reads = found
        return Work(runs, run_s, tuple(reads))

    def pull(self) -> int:
        """Bring every live result to where the service is now; returns the commit number.

        Cost: one round trip; nothing while the service is away.
        """
        self.require_open()
        if not self._connection.is_away:
            with suppress(DisconnectedError):  # just now: these are the last results
                self._pull(repeats=False)
        return self._number

    def _pull(self, *, repeats: bool) -> None:
        """Go to the newest commit; with `repeats`, a service that is away is waited for.

        Raises:
            DisconnectedError: it is away, or does not come back in time.
        """
        stands: Any = PACK.read(self._verbs.act("sync", {}, repeats=repeats))
        self._definitions.heard(stands)
        ts = int(stands["ts"])
        self._wait_until(lambda: self._shown_ts >= ts)

    def _wait_until(self, is_reached: Callable[[], bool]) -> None:
        """Wait for what the next moves bring; not longer than the service is there."""
        with self._moved:
            while not (is_reached() or self._connection.is_away):
                self._moved.wait(0.5)

    def states(
        self, subscriptions: Iterable[Subscription]
    ) -> tuple[int, dict[Subscription, LiveState]]:
        self.require_open()
        with self._moved:
            return self._shown_number, open_states(subscriptions)

    @contextmanager
    def snapshot(self, subscriptions: Iterable[Subscription]) -> Iterator[RemoteSnapshotReads]:
        """A commit that the service keeps readable, with the states of subscriptions at it.

        Raises:
            LimitError: this connection, or the service, has too many.
        """
        self._refuse_in_function("a snapshot")
        mine = [
            each
            for each in subscriptions
            if isinstance(each, RemoteSubscription) and each.query_id is not None
        ]
        with self._snapshots.taken(mine) as reads:
            yield reads

    def _known_states(
        self, followed: Sequence[RemoteSubscription]
    ) -> tuple[int, dict[Subscription, LiveState]]:
        """What is known of subscriptions, at the newest commit that is."""
        self._pull(repeats=True)
        with self._lock:
            return self._known_number, known_states(followed)

    # -- sharing -------------------------------------------------------------------------------

    def ask(self, verb: str, value: Value) -> Any:
        """What the service answers to a verb that takes and gives a value; asked once."""
        return PACK.read(self._verbs.act(verb, value, repeats=False))

    # -- data ----------------------------------------------------------------------------------

    def past(self, when: int | datetime) -> RemotePast:
        self._refuse_in_function("The past")
        return RemotePast(self, when, self._verbs, self._clock)

    def commit_number(self, when: int | datetime) -> int:
        return self.past(when).number

    def history(self, table: str, document_id: str) -> pa.Table:
        self._refuse_in_function("The past")
        answer = self._verbs.act("history", {"table": table, "id": document_id})
        return table_of(PACK.read_payload(answer).attachments[0])

    def change_page(
        self, position: Position, *, until: int, table: str | None
    ) -> tuple[pa.Table, Position]:
        self._refuse_in_function("The past")
        asked = {"position": list(position), "until": until, "table": table}
        answer = PACK.read_payload(self._verbs.act("changed", asked))
        return table_of(answer.attachments[0]), Position(*msgspec.json.decode(answer.text))

    def undo(self, number: int) -> int:
        self._refuse_in_function("Undoing a commit")
        undone: int = PACK.read(self._verbs.act("undo", {"number": number}, repeats=False))
        return undone

    def load(
        self,
        table: str,
        source: Source,
        *,
        keep_ids: bool,
        progress: Callable[[int], None] | None,
    ) -> tuple[int, int]:
        self._refuse_in_function("load data")
        return self._transfers.load(table, source, keep_ids=keep_ids, progress=progress)

    def export(
        self,
        table: str,
        path: str | PathLike[str],
        *,
        format: Format | None,  # noqa: A002  # the word users know
        overwrite: bool,
    ) -> tuple[ExportResult, tuple[str, ...]]:
        self._refuse_in_function("an export")
        return self._transfers.export(table, path, format=format, overwrite=overwrite)

    @property
    def files(self) -> RemoteFiles:
        self._refuse_in_function("db.files")
        return RemoteFiles(self._verbs, self._clock)

    def backup(self, target: Path) -> int:
        self._refuse_in_function("a backup")
        return self._transfers.backup(target)

    def statistics(self) -> Statistics:
        found: Any = PACK.read(self._verbs.act("statistics", {}))
        return Statistics(**found)

    def activity(self) -> ActivityReport:
        [told] = PACK.read_payload(self._verbs.act("activity", {})).attachments
        return msgspec.json.decode(told, type=ActivityReport)

    def commit_changes(self, number: int) -> CommitChanges:
        answer = self._verbs.act("changes", {"number": number})
        [told] = PACK.read_payload(answer).attachments
        return msgspec.json.decode(told, type=CommitChanges)

    def close(self) -> None:
        self._connection.close()
        self._let_go()
        if threading.current_thread() is not self._teller:
            self._teller.join(CONNECT_S_MAX)

    def _let_go(self) -> None:
        """Tell every follower, once, that nothing will follow."""
        with self._moved:
            left = list(self._subscriptions.values())
            self._subscriptions.clear()
            self._moved.notify_all()
        for subscription in left:
            subscription.on_change(None)
        self._notices.put(None)


def _notice(subscription: RemoteSubscription, number: int, new: LiveState) -> Callable[[], None]:
    return lambda: subscription.on_change(ChangeNotice(number, new))
