"""The backend of a workspace on a service: what a kernel has that connects to one.

One thread of its own (`livedb-remote`) runs the connection: it reconnects by itself and asks again
for what was not answered. Callers wait on futures; followers are told on a second thread
(`livedb-live`), so that an observer may call anything.

Reading a handle asks the service how far it is and waits until that is here, one round trip, so
that a reader sees every commit acknowledged before it asked. While the service is away, handles
give their last state and `status` says so.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Raw

from livedb.canonical import canonical
from livedb.client.backend import ChangeNotice, OnChange, Origin, Params, Subscription
from livedb.clock import Clock, SystemClock
from livedb.errors import (
    AuthenticationError,
    ClosedError,
    DisconnectedError,
    FunctionTypeError,
    LivedbError,
)
from livedb.functions.definition import FunctionDefinition, Registry, as_documents
from livedb.functions.runner import is_running
from livedb.functions.table_functions import verb_of
from livedb.live.live_query import LiveState
from livedb.live.result import DocumentsResult, Result, TableResult, ValueResult
from livedb.protocol.client import (
    Answered,
    AuthFailed,
    ClientEvent,
    ClientSession,
    Lost,
    Moved,
    Refused,
)
from livedb.protocol.codecs import PACK
from livedb.protocol.errors import error_from
from livedb.protocol.messages import ClientMessage, ProtocolError, QueryFailed, QueryUpdated
from livedb.protocol.results import WireResult, read_result
from livedb.schema.annotations import FunctionSignature
from livedb.schema.catalog import Catalog
from livedb.schema.tables import TableDefinition
from livedb.text import encode_value
from livedb.travel.capture import capture

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.interchange.sources import Source

logger = logging.getLogger("livedb.client")

LIVEDB = "livedb"
"""The component whose paths are the workspace's own verbs."""

CONNECT_S_MAX = 10.0
"""Seconds a call waits for the service to be there."""

BACKOFF_S = (0.1, 5.0)
"""Seconds until the first and, at most, until a later try to connect again."""

UPLOAD_PART_BYTES = 4 << 20
"""Bytes of rows sent by one message."""

FRAME_BYTES_MAX = 1 << 30
"""Bytes of one message of the service's: a result of SQL may be large."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a connection stands.

    Attributes:
        state: "connecting", "connected", "reconnecting" or "closed".
        detail: why it is not connected; empty otherwise.
    """

    state: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.detail}" if self.detail else self.state


class RemoteSubscription:
    """One follower of a query on the service."""

    def __init__(
        self,
        backend: RemoteBackend,
        title: str,
        definition: FunctionDefinition | None,
        on_change: OnChange,
    ) -> None:
        self._backend = backend
        self._definition = definition
        self.title = title
        self.on_change = on_change
        self.query_id: int | None = None
        self.result: WireResult | None = None
        self.current: LiveState | None = None
        self.is_there = threading.Event()
        self.updates = 0

    def pull(self) -> int:
        return self._backend.pull()

    def state(self) -> LiveState:
        if self.query_id is None or self.current is None:
            raise ClosedError(f"The live handle {self.title} is closed")
        return self.current

    def definition(self) -> FunctionDefinition | None:
        known = self._definition
        if known is None or verb_of(known) is not None:
            return known
        return self._backend.known(known.name) or known

    @property
    def runs(self) -> int:
        return self.updates

    def invalidate(self) -> None:
        self._backend.invalidate(self)

    def close(self) -> None:
        # Takes no lock and waits for nothing: the garbage collector calls this, on any thread.
        query_id, self.query_id = self.query_id, None
        if query_id is not None:
            self._backend.unfollow(query_id)

    def take(self, change: QueryUpdated | QueryFailed) -> tuple[LiveState | None, LiveState]:
        """The state before, and the one that a change from the service makes."""
        old = self.current
        self.updates += 1
        if isinstance(change, QueryFailed):
            value = None if change.error_data is UNSET else PACK.read(change.error_data)
            number = value.get("commit", 0) if isinstance(value, dict) else 0
            error = error_from(value)
            result = old.result if old is not None else None
            # The service sends rows whole after an error.
            self.result = None
        else:
            self.result = read_result(change.value, self.result)
            number, error, result = self.result.number, None, _result_of(self.result)
        self.current = LiveState(
            result=result, error=error, number=number, log_lines=tuple(change.log_lines)
        )
        return old, self.current


@dataclass(slots=True, kw_only=True)
class RemoteSnapshotReads:
    """The states of a service's handles at one commit.

    The service does not read at a number yet: queries called and SQL are of the newest commit.
    """

    number: int
    states: Mapping[Subscription, LiveState]

    def here(self) -> AbstractContextManager[None]:
        return nullcontext()


class RemoteBackend:
    """A `Backend` on a service. `close()` it.

    Args:
        url: `http://host:port` of the service, or `unix:/path` of its socket.
        token: an access token or a user's; never shown.

    Raises:
        DisconnectedError: nothing answers there within `CONNECT_S_MAX` seconds.
        AuthenticationError: the service does not accept the token.
    """

    def __init__(self, url: str, *, token: str | None = None, clock: Clock | None = None) -> None:
        self._url = url
        self._clock = clock or SystemClock()
        session_id = self._clock.random_bytes(16).hex()
        self._session = ClientSession(PACK, session_id=session_id)
        self._token = token
        self._status = Status("connecting")
        self._is_closed = False
        self._lock = threading.Lock()
        """Guards `_subscriptions`, their states and `_number`; held for moments."""
        self._subscriptions: dict[int, RemoteSubscription] = {}
        self._number = 0
        self._shown_ts = 0
        self._moved = threading.Condition(self._lock)
        self._registry = Registry()
        self._calls: dict[int, Future[Any]] = {}
        self._outgoing: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._notices: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ready: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._runner = threading.Thread(target=self._run, name="livedb-remote", daemon=True)
        self._teller = threading.Thread(target=self._tell, name="livedb-live", daemon=True)
        self._runner.start()
        self._teller.start()
        try:
            self._ready.result(CONNECT_S_MAX)
            self._describe()
        except BaseException as error:
            self.close()
            if isinstance(error, FutureTimeoutError):
                raise DisconnectedError(
                    f"No livedb service answers at {url}: {self._status.detail}. Is it running? "
                    "`livedb serve PATH` starts one."
                ) from None
            raise

    # -- the connection's thread ---------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            with suppress(asyncio.CancelledError):  # by `close`
                self._loop.run_until_complete(self._stay_connected())
        finally:
            self._loop.close()

    async def _stay_connected(self) -> None:
        if self._token is not None:
            self._session.authenticate("User", self._token)
        backoff_s = BACKOFF_S[0]
        while not self._is_closed:
            reason = "closed"
            try:
                async with self._connect() as websocket:
                    backoff_s = BACKOFF_S[0]
                    reason = await self._converse(websocket)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next try may do
                reason = str(error) or type(error).__name__
            self._handle(self._session.disconnected(reason))
            if not self._is_closed:
                self._status = Status("reconnecting", reason)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_S[1])

    def _connect(self) -> Any:
        from websockets.asyncio.client import connect, unix_connect

        options: dict[str, Any] = {"max_size": FRAME_BYTES_MAX, "compression": None}
        if self._url.startswith("unix:"):
            path = self._url.removeprefix("unix:")
            return unix_connect(path, uri="ws://localhost/api/livedb/sync", **options)
        parts = urlsplit(self._url)
        scheme = "wss" if parts.scheme in ("https", "wss") else "ws"
        uri = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/api/livedb/sync"
        return connect(uri, **options)

    async def _converse(self, websocket: Any) -> str:
        """Speak until the connection ends; returns why it did."""
        for message in self._session.connected():
            await websocket.send(PACK.encode(message))
        outgoing: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._outgoing = outgoing
        writer = asyncio.create_task(self._write(websocket, outgoing))
        self._status = Status("connected")
        try:
            async for frame in websocket:
                self._handle(self._session.receive(PACK.decode_server(frame)))
                if not self._ready.done():
                    self._ready.set_result(None)
        except ProtocolError as error:
            logger.warning("the connection to %s is dropped: %s", self._url, error)
            return error.message
        else:
            return f"closed with code {websocket.close_code}"
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

    @staticmethod
    async def _write(websocket: Any, outgoing: asyncio.Queue[ClientMessage]) -> None:
        while True:
            await websocket.send(PACK.encode(await outgoing.get()))

    def _handle(self, events: Sequence[ClientEvent]) -> None:
        for event in events:
            match event:
                case Moved():
                    self._move(event)
                case Answered(request_id, response):
                    self._settle(request_id, response)
                case Lost(request_id):
                    self._fail(
                        request_id,
                        DisconnectedError(
                            "The connection was lost while the service worked on this; it may or "
                            "may not have happened there"
                        ),
                    )
                case AuthFailed(error) | Refused(error):
                    self._give_up(AuthenticationError(error))

    def _give_up(self, error: LivedbError) -> None:
        """The service will have nothing of this client."""
        self._is_closed = True
        self._status = Status("closed", error.message)
        if not self._ready.done():
            self._ready.set_exception(error)
        for request_id in list(self._calls):
            self._fail(request_id, error)

    def _fail(self, request_id: int, error: LivedbError) -> None:
        future = self._calls.pop(request_id, None)
        if future is not None and not future.done():
            future.set_exception(error)

    def _settle(self, request_id: int, response: Any) -> None:
        future = self._calls.pop(request_id, None)
        if future is None or future.done():
            return
        if response.success:
            future.set_result(response.result)
            return
        data = response.error_data
        try:
            error = error_from(PACK.read(response.result if data is UNSET else data))
        except LivedbError as refused:
            error = refused
        future.set_exception(error)

    def _move(self, event: Moved) -> None:
        told: list[tuple[RemoteSubscription, LiveState | None, LiveState]] = []
        with self._moved:
            for change in event.changes:
                subscription = self._subscriptions.get(change.query_id)
                if subscription is not None:
                    told.append((subscription, *subscription.take(change)))
            if event.number is not None:
                self._number = event.number
            self._shown_ts = event.ts
            number = self._number
            self._moved.notify_all()
        for subscription, old, new in told:
            subscription.is_there.set()
            if old is not None:
                before = old.result
                self._notices.put(_notice(subscription, number, new, before))

    # -- the followers' thread -----------------------------------------------------------------

    def _tell(self) -> None:
        while (tell := self._notices.get()) is not None:
            try:
                tell()
            except Exception:  # the job worker: log it and go on with the next one
                logger.exception("telling a follower failed")

    # -- asking --------------------------------------------------------------------------------

    def _post(self, work: Callable[[], None]) -> None:
        self.require_open()
        self._loop.call_soon_threadsafe(work)

    def _send(self, messages: Iterable[ClientMessage]) -> None:
        for message in messages:
            self._outgoing.put_nowait(message)

    def _mutate(self, path: str, args: Raw, component: str | None) -> Raw:
        future: Future[Raw] = Future()

        def work() -> None:
            request_id, messages = self._session.mutate(path, args, component=component)
            self._calls[request_id] = future
            self._send(messages)

        self._post(work)
        return self._wait(future)

    def _act(
        self, verb: str, value: Any, attachments: Sequence[bytes] = (), *, repeats: bool = True
    ) -> Raw:
        future: Future[Raw] = Future()
        args = PACK.write_payload(encode_value(canonical(value)), list(attachments))

        def work() -> None:
            request_id, messages = self._session.act(
                verb, args, component=LIVEDB, is_repeatable=repeats
            )
            self._calls[request_id] = future
            self._send(messages)

        self._post(work)
        return self._wait(future)

    def _wait(self, future: Future[Raw]) -> Raw:
        if threading.current_thread() is self._runner:
            raise DisconnectedError("The connection's own thread cannot wait for the service")
        return future.result()

    # -- Backend -------------------------------------------------------------------------------

    def require_open(self) -> None:
        if self._is_closed:
            why = f": {self._status.detail}" if self._status.detail else ""
            raise ClosedError(f"The connection to {self._url} is closed{why}")

    @property
    def name(self) -> str:
        return self._url

    @property
    def number(self) -> int:
        return self._number

    @property
    def status(self) -> Status:
        """How the connection stands."""
        return Status("closed", self._status.detail) if self._is_closed else self._status

    def _describe(self) -> dict[str, Any]:
        answer = PACK.read_payload(self._act("describe", {}))
        described: dict[str, Any] = msgspec.json.decode(answer.attachments[0])
        self._number = max(self._number, described["number"])
        for each in described["functions"]:
            known = self._registry.find(each["name"])
            if known is None or known.handler is _not_here or known.kind != each["kind"]:
                self._registry.define(_described(each))
        return described

    def catalog(self) -> Catalog:
        return Catalog.from_json(self._describe()["catalog"])

    def define(
        self, definition: FunctionDefinition, origin: Origin | None = None
    ) -> FunctionDefinition:
        self._act("define", {}, [self._parcel(definition, origin)])
        return self._registry.define(definition)

    def _parcel(self, definition: FunctionDefinition, origin: Origin | None) -> bytes:
        captured = capture(
            definition.handler,
            kind=definition.kind,
            name=definition.name,
            visibility=definition.visibility,
            args=None if origin is None else origin.args,
            returns=None if origin is None else origin.returns,
            alias=None if origin is None else origin.alias,
            namespace=None if origin is None else origin.namespace,
            **({} if origin is None else {"reference": origin.reference}),
        )
        return msgspec.msgpack.encode(captured)

    def push(self, functions: Sequence[FunctionDefinition]) -> None:
        parcels = [self._parcel(each, None) for each in functions]
        self._act("define", {"pushed": True}, parcels)
        for each in functions:
            self._registry.define(each)

    def known(self, name: str) -> FunctionDefinition | None:
        """The function of that name as this client last heard of it."""
        return self._registry.find(name)

    def definition(self, name: str) -> FunctionDefinition:
        if self._registry.find(name) is None:
            self._describe()
        return self._registry.get(name)

    def function_names(self) -> list[str]:
        return sorted(each["name"] for each in self._describe()["functions"])

    def apply_tables(self, definitions: Sequence[TableDefinition]) -> int:
        parcels = [msgspec.json.encode(each.to_json()) for each in definitions]
        number: int = PACK.read(self._act("tables", {}, parcels))
        return number

    def drop_table(self, name: str) -> int:
        number: int = PACK.read(self._act("drop", {"table": name}, repeats=False))
        return number

    def call(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        function = self.definition(name)
        return self.run(function, function.bind(args, kwargs))

    def run(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        self._refuse_in_function(function.name)
        verb = verb_of(function)
        given = canonical(dict(args))
        if verb is not None:
            sent = {"verb": verb, "name": function.name, "args": given}
            if function.kind == "mutation":
                return self._read(self._mutate("table", PACK.write(sent), LIVEDB))
            return self._read(self._act("table", sent))
        if function.kind == "mutation":
            return self._read(self._mutate(function.name, PACK.write(given), None))
        return self._read(self._act("call", {"name": function.name, "args": given}, repeats=True))

    @staticmethod
    def _read(raw: Raw) -> Any:
        return as_documents(PACK.read(raw))

    async def run_async(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self.run, function, args)

    @staticmethod
    def _refuse_in_function(what: str) -> None:
        if is_running():
            raise FunctionTypeError(
                f"{what} of another workspace cannot be called inside a query or mutation: it "
                "would not be undone with it"
            )

    # -- following -----------------------------------------------------------------------------

    def follow_function(
        self, function: FunctionDefinition, args: Mapping[str, Any], on_change: OnChange
    ) -> RemoteSubscription:
        given = canonical(dict(args))
        verb = verb_of(function)
        shown = ", ".join(f"{name}={value!r}" for name, value in args.items())
        if verb is not None:
            sent = {"verb": verb, "name": function.name, "args": given}
            return self._follow("table", sent, LIVEDB, function.name, function, on_change)
        title = f"{function.name}({shown})"
        return self._follow(function.name, given, None, title, function, on_change)

    def follow_sql(self, text: str, params: Params, on_change: OnChange) -> RemoteSubscription:
        title = " ".join(text.split())
        return self._follow("sql", _sql(text, params), LIVEDB, title, None, on_change)

    def _follow(
        self,
        path: str,
        value: Any,
        component: str | None,
        title: str,
        definition: FunctionDefinition | None,
        on_change: OnChange,
    ) -> RemoteSubscription:
        self.require_open()
        self._refuse_in_function(".live()")
        subscription = RemoteSubscription(self, title, definition, on_change)
        args = PACK.write(canonical(value))

        def work() -> None:
            query_id, messages = self._session.follow(path, args, component=component)
            subscription.query_id = query_id
            with self._lock:
                self._subscriptions[query_id] = subscription
            self._send(messages)

        self._post(work)
        if not subscription.is_there.wait(CONNECT_S_MAX):
            subscription.close()
            raise DisconnectedError(f"{title} got no first result: {self.status}")
        return subscription

    def unfollow(self, query_id: int) -> None:
        """Stop following; takes no lock and waits for nothing."""
        if self._is_closed:
            return

        def work() -> None:
            with self._lock:
                self._subscriptions.pop(query_id, None)
            self._send(self._session.unfollow(query_id))

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(work)

    def invalidate(self, subscription: RemoteSubscription) -> None:
        """Run a query again although no data it read has changed."""
        definition = subscription.definition()
        if definition is not None and verb_of(definition) is None:
            self._act("refresh", {"name": definition.name})
        self.pull()

    def pull(self) -> int:
        """Bring every live result to where the service is now; returns the commit number.

        Cost: one round trip; nothing while the service is away.
        """
        self.require_open()
        if self._is_away():
            return self._number
        ts = int(PACK.read(self._act("sync", {})))
        with self._moved:
            while self._shown_ts < ts and not self._is_away():
                self._moved.wait(0.5)
            return self._number

    def _is_away(self) -> bool:
        return self._is_closed or not self._session.is_connected

    @contextmanager
    def snapshot(self, subscriptions: Iterable[Subscription]) -> Iterator[RemoteSnapshotReads]:
        """The states of subscriptions at one commit; see `RemoteSnapshotReads`."""
        self.pull()
        states: dict[Subscription, LiveState] = {}
        with self._lock:
            for each in subscriptions:
                with suppress(ClosedError):  # closed by another thread just now
                    states[each] = each.state()
            reads = RemoteSnapshotReads(number=self._number, states=states)
        yield reads

    # -- data ----------------------------------------------------------------------------------

    def sql(self, text: str, params: Params) -> tuple[pa.Table, int]:
        self._refuse_in_function("db.sql")
        answer = PACK.read_payload(self._act("sql", _sql(text, params)))
        number: int = msgspec.json.decode(answer.text)
        return _table(answer.attachments[0]), number

    def documents(self, table: str, *, limit: int | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = PACK.read(
            self._act("documents", {"table": table, "limit": limit})
        )
        return found

    def counts(self) -> dict[str, int]:
        return dict(PACK.read(self._act("counts", {})))

    def page(self, table: str, *, limit: int, is_descending: bool) -> list[dict[str, Any]] | None:
        asked = {"table": table, "limit": limit, "is_descending": is_descending}
        found: list[dict[str, Any]] | None = PACK.read(self._act("page", asked))
        return found

    def hidden_fields(self, table: str) -> tuple[str, ...]:
        return tuple(PACK.read(self._act("hidden", {"table": table})))

    def load(
        self,
        table: str,
        source: Source,
        *,
        keep_ids: bool,
        progress: Callable[[int], None] | None,
    ) -> tuple[int, int]:
        upload = self._clock.random_bytes(16).hex()
        for part, rows in _parts(source):
            self._act("upload", {"upload": upload}, [part], repeats=False)
            if progress is not None:
                progress(rows)
        rows, number = PACK.read(
            self._act(
                "load", {"upload": upload, "table": table, "keep_ids": keep_ids}, repeats=False
            )
        )
        return rows, number

    def backup(self, target: Path) -> int:
        raise LivedbError(
            f"A backup to {str(target)!r} is written where the workspace is: use `livedb export`, "
            "or back up on the machine of the service"
        )

    def statistics(self) -> Any:
        return PACK.read(self._act("statistics", {}))

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._status = Status("closed")
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._end)
        if threading.current_thread() not in (self._runner, self._teller):
            self._runner.join(5.0)
        with self._lock:
            left = list(self._subscriptions.values())
            self._subscriptions.clear()
            self._moved.notify_all()
        for subscription in left:
            subscription.on_change(None)
        self._notices.put(None)
        if threading.current_thread() not in (self._runner, self._teller):
            self._teller.join(5.0)

    def _end(self) -> None:
        for request_id in list(self._calls):
            self._fail(request_id, ClosedError(f"The connection to {self._url} is closed"))
        for task in asyncio.all_tasks(self._loop):
            task.cancel()


def _notice(
    subscription: RemoteSubscription, number: int, new: LiveState, before: Result | None
) -> Callable[[], None]:
    return lambda: subscription.on_change(ChangeNotice(number, new, before))


def _result_of(wire: WireResult) -> Result:
    if wire.rows is not None:
        return DocumentsResult(wire.rows.ids, wire.rows.texts)
    if wire.stream is not None:
        return TableResult(_table(wire.stream))
    assert wire.text is not None, "a result is rows, a stream or a text"
    return ValueResult(wire.text)


def _table(stream: bytes) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_stream(pa.BufferReader(stream)).read_all()


def _sql(text: str, params: Params) -> dict[str, Any]:
    given: Any = params
    if params is not None and not isinstance(params, Mapping):
        given = list(params)
    return {"text": text, "params": given}


def _parts(source: Source) -> Iterable[tuple[bytes, int]]:
    """The source's rows as pieces of one Arrow stream, with how many rows each ends."""
    import pyarrow as pa

    sink = io.BytesIO()
    rows = 0
    with pa.ipc.new_stream(sink, source.schema) as writer:
        for batch in source.reader():
            writer.write_batch(batch)
            rows += batch.num_rows
            if sink.tell() >= UPLOAD_PART_BYTES:
                yield _taken(sink), rows
                rows = 0
    yield _taken(sink), rows


def _taken(sink: io.BytesIO) -> bytes:
    """What was written, which is forgotten."""
    written = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return written


def _not_here(*_: Any, **__: Any) -> Any:
    raise FunctionTypeError("This function runs on the service; its source is not here")


def _described(each: Mapping[str, Any]) -> FunctionDefinition:
    """A function of the service, for calling it: its source stays there."""
    return FunctionDefinition(
        name=each["name"],
        kind=each["kind"],
        visibility=each["visibility"],
        handler=_not_here,
        signature=FunctionSignature.from_json(each["signature"]),
    )
