"""One sync connection: moves messages between a WebSocket and the protocol's state machine.

Everything here runs on the event loop but for what blocks (functions, live queries, tokens), which
the hub's threads do. Reading never waits for computing, and a slow reader delays nobody: what it
has not taken is bounded by the state machine (transitions) and by `UNSENT_BYTES_MAX` (answers).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from livedb.errors import AuthenticationError, ClosedError, LivedbError, PermissionDeniedError
from livedb.functions.call import Call
from livedb.functions.sessions import Session
from livedb.protocol.codecs import Frame
from livedb.protocol.effects import Close, Compute, Effect, Run, Send, Success, Verify
from livedb.protocol.frames import ClientKind, frames_of
from livedb.protocol.messages import Action, Connect, Mutation, ProtocolError, ServerMessage
from livedb.protocol.server import CLOSE_INTERNAL, CLOSE_OVERLOADED, ServerConnection
from livedb.service.path_calls import Ended, PathCall
from livedb.service.query_set import Point, QuerySet, Update
from livedb.service.transport import ABORT, RECEIVE, SEND_ALL, SEND_NOW
from livedb.service.vouching import origin_of

if TYPE_CHECKING:
    from livedb.auth.access import Caller
    from livedb.service.hub import Hub

logger = logging.getLogger("livedb.service")

UNSENT_BYTES_MAX = 64 << 20
"""Bytes that wait for a client who does not read; beyond, it is dropped and may resume."""

REASON_BYTES_MAX = 123
"""Bytes of the reason in a close frame (RFC 6455)."""

_FOR_SOMEBODY = (Run, Compute)
"""Effects that are somebody's, who may no longer be here."""

TICK_S = 5.0
"""Between two looks at whether a Ping is due."""


class _Outgoing(Struct, frozen=True):
    """A message on its way, as its frames."""

    message: ServerMessage
    frames: Sequence[Frame]
    size: int


class SyncConnection:
    """One client's connection, from accept to close."""

    def __init__(self, hub: Hub, websocket: WebSocket, client: ClientKind) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._websocket = websocket
        self._client = client
        self._dialect = hub.dialect_of(client)
        self._arrival = hub.access.arriving(websocket.scope)
        self._origin = origin_of(self._arrival, websocket.scope)
        self._core = ServerConnection(
            self._dialect.codec,
            newest_ts=hub.newest_ts(),
            now_s=hub.clock.monotonic_s(),
            identity=self._arrival.caller,
        )
        self._outgoing: list[_Outgoing] = []
        """What the transport has not got yet, and behind it `_closing`."""
        self._closing: Close | None = None
        self._unsent_bytes = 0
        self._is_flush_due = False
        self._is_writing = True
        """The writer sends, or will in this round of the loop: nobody else does."""
        self._is_unsent = asyncio.Event()
        extensions = websocket.scope.get("extensions", {})
        self._send_now: Callable[[Sequence[Frame]], bool] | None = None
        if SEND_NOW in extensions:
            self._send_now = extensions[SEND_NOW]["send_now"]
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: Compute | None = None
        """An update that waits for a commit or a round; see `resume`."""
        self._levels: list[tuple[int, Callable[[], object]]] = []
        """To be told when so many steps are shown; see `when_level`."""
        self._seen_ts = 0
        """Of the newest commit that an answered call of this connection can have seen."""
        self.visitor = 0
        """What presence names this client by."""
        self._expiry: asyncio.TimerHandle | None = None
        """When to look whether its token has expired."""
        self._running: Call | None = None
        """The call of the mutation that runs now."""
        self._session: Session | None = None
        self._is_over = False
        self.query_set = QuerySet(hub.workspace, hub.access, self._dialect)

    async def run(self) -> None:
        """Serve the connection until it ends."""
        extension = self._websocket.scope.get("extensions", {}).get(RECEIVE)
        if extension is not None:  # before anything can come, so that no message overtakes another
            extension["hand_to"](self._take)
        await self._websocket.accept()
        self._hub.connections.add(self)
        writer = asyncio.create_task(self._write())
        ticker = asyncio.create_task(self._tick())
        try:
            who = _name_and_role(self._core.identity)
            enter = self._hub.workspace.presence.enter
            self.visitor = await self._hub.in_thread(enter, *who, self._client.value)
            await self._read()
        finally:
            self._core.close()
            self._is_over = True
            if self._running is None:  # else when that ends, as it may yet commit
                self._leave_session()
            self._waiting = None
            self._tell_level(None)
            if self._expiry is not None:
                self._expiry.cancel()
            for task in (writer, ticker, *self._tasks):
                task.cancel()
            await asyncio.gather(writer, ticker, *self._tasks, return_exceptions=True)
            await self._hub.in_thread(self._hub.forget, self)
            self._hub.connections.discard(self)

    # -- in ------------------------------------------------------------------------------------

    async def _read(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                self._take(message.get("bytes") or b"" if text is None else text)

    def _take(self, frame: Frame) -> None:
        try:
            message = self._dialect.codec.decode_client(frame)
        except ProtocolError as error:
            self._perform(self._core.violated(error))
            return
        if self._hub.workspace.presence.is_seen_late(self.visitor):
            self._spawn(self._hub.in_thread(self._hub.workspace.presence.see, self.visitor))
        self._perform(self._core.receive(message))
        if isinstance(message, Connect) and not self._core.is_closed:
            self._spawn(self._look_up())

    # -- effects -------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, _FOR_SOMEBODY) and not self._hub.access.holds(effect.identity):
                self._perform(self._core.expired("The identity's time is over"))
                return
            match effect:
                case Send(message):
                    self._send(message)
                case Close():
                    self._close_with(effect)
                case Compute():
                    self._compute(effect)
                case Run():
                    self._call(effect)
                case Verify():
                    self._spawn(self._verify(effect))

    def _send(self, message: ServerMessage) -> None:
        if self._closing is not None:
            return
        frames = frames_of(message, self._client)
        size = sum(map(len, frames))
        # One message may be larger than the bound, if nothing else waits.
        if self._unsent_bytes and self._unsent_bytes + size > UNSENT_BYTES_MAX:
            self.drop(CLOSE_OVERLOADED, "TooManyConcurrentRequests: the client does not read")
            self._abort()
            return
        self._unsent_bytes += size
        self._outgoing.append(_Outgoing(message, frames, size))
        self._flush_soon()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _compute(self, order: Compute) -> None:
        """Bring the query set to a commit at which the client's own calls are seen."""
        if order.added or order.removed or order.is_identity_new:
            self._follow_soon(order)
        else:
            self._go_on(order)

    def resume(self) -> None:
        """The commit that `is_level` was asked for may have come, or the end of a round."""
        order, self._waiting = self._waiting, None
        if order is not None:
            self._go_on(order)

    def _go_on(self, order: Compute) -> None:
        """Go to where all queries are known, or wait until there is such a commit."""
        query_set, hub = self.query_set, self._hub
        if not (query_set.lagging or query_set.is_captured(self._seen_ts)) and not hub.is_level(
            self, self._seen_ts
        ):
            self._waiting = order
            return
        point = query_set.next_point(hub.at)
        if point is None:
            self._wait_for_round(order)
        elif asking := query_set.asking(point):
            self._follow_soon(Compute((), (), order.identity, is_identity_new=False), asking)
        elif query_set.is_prompt(point):
            self._computed(query_set.show(point))
        else:
            self._spawn(self._show(point))

    def _wait_for_round(self, order: Compute) -> None:
        if self._core.is_awaited:
            self._waiting = order
        else:  # so that the client can follow and drop queries meanwhile
            self._perform(self._core.computed(0, {}, is_own_commit_near=False))

    async def _show(self, point: Point) -> None:
        try:
            update = await self._hub.in_thread(self.query_set.show, point)
        except Exception:
            logger.exception("computing an update failed")
            self.drop(CLOSE_INTERNAL, "InternalServerError")
        else:
            self._computed(update)

    def _follow_soon(self, order: Compute, asking: Sequence[int] = ()) -> None:
        self.query_set.begin_following()
        self._spawn(self._follow(order, asking))

    async def _follow(self, order: Compute, asking: Sequence[int]) -> None:
        try:
            found = await self._hub.follow(self, order, asking)
        except ClosedError:
            self.drop(1001, "the service is going away")
        except Exception:
            logger.exception("computing an update failed")
            self.drop(CLOSE_INTERNAL, "InternalServerError")
        else:
            self.query_set.rebase(found)
            self._hub.rounds.want(self.query_set)
            self._hub.rounds.begin()
            self._go_on(order)

    def _computed(self, update: Update) -> None:
        near = self._running is not None and self._running.is_committing
        number = update.number if self._dialect.is_exact else UNSET
        self._perform(
            self._core.computed(update.ts, update.states, number=number, is_own_commit_near=near)
        )
        if self._levels:
            self._tell_level(update.steps)

    def when_level(self, tell: Callable[[], object]) -> None:
        """On any thread: have `tell` called when all that has been told is shown, or it ends."""
        self._hub.on_loop(partial(self._when_level, tell))

    def _when_level(self, tell: Callable[[], object]) -> None:
        if self._is_over or not self.query_set.lagging:
            tell()
        else:
            self._levels.append((self._hub.at.steps, tell))

    def _tell_level(self, steps: int | None) -> None:
        """So many steps are shown, or never will be."""
        levels, self._levels = self._levels, []
        for level, tell in levels:
            if steps is None or level <= steps:
                tell()
            else:
                self._levels.append((level, tell))

    def _call(self, order: Run) -> None:
        request = order.request
        is_mutation = isinstance(request, Mutation)
        session = self._entered() if is_mutation else None
        caller = order.identity
        call = Call(
            mutation_id=order.mutation_id,
            is_new=None if session is None else partial(session.is_new, request.request_id),
            identity=None if caller is None else caller.identity,
            author=None if caller is None else caller.name,
            origin=self._origin,
        )
        if is_mutation:
            self._running = call
        self._hub.calls.begin(
            PathCall(
                request.udf_path,
                order.args,
                "mutation" if is_mutation else "action",
                call,
                caller,
                self._dialect,
                partial(self._called, request),
                component=request.component_path,
                connection=self,
                request_id=request.request_id,
            )
        )

    def _entered(self) -> Session:
        """The session of this connection."""
        if self._session is None:
            self._session = self._hub.workspace.sessions.enter(self._core.session_id)
        return self._session

    async def _look_up(self) -> None:
        """Ask the log for the session on a thread of its own: it may wait for an append."""
        with suppress(LivedbError):  # the first mutation meets it as well
            await self._hub.in_thread(self._entered().look_up)

    def _leave_session(self) -> None:
        if self._session is not None:
            self._hub.workspace.sessions.leave(self._session)
            self._session = None

    def _called(self, request: Mutation | Action, ended: Ended) -> None:
        is_mutation = isinstance(request, Mutation)
        if is_mutation:
            self._running = None
            if self._is_over:
                self._leave_session()
        if isinstance(ended, BaseException):
            if isinstance(ended, ClosedError):
                self.drop(1001, "the service is going away")
                return
            if not isinstance(ended, AuthenticationError | PermissionDeniedError):
                # The same request may succeed when the client sends it again.
                code = ended.code if isinstance(ended, LivedbError) else type(ended).__name__
                self.drop(CLOSE_INTERNAL, f"InternalServerError: {code}")
                return
            ended = self._dialect.failure(ended)
        ts = ended.ts if isinstance(ended, Success) else None
        self._seen_ts = max(self._seen_ts, self._hub.newest_ts() if ts is None else ts)
        done = self._core.mutation_done if is_mutation else self._core.action_done
        self._perform(done(request.request_id, ended))

    async def _verify(self, order: Verify) -> None:
        try:
            authenticate = self._hub.access.authenticate
            caller = await self._hub.in_thread(authenticate, order.request, self._arrival)
        except (AuthenticationError, PermissionDeniedError) as error:
            self._perform(self._core.refused(error.message))
            return
        except LivedbError as error:  # who issued the token cannot be asked just now
            self.drop(CLOSE_INTERNAL, f"InternalServerError: {error.code}")
            return
        self._perform(self._core.verified(caller))
        self.check_identity()
        await self._hub.in_thread(
            self._hub.workspace.presence.rename, self.visitor, *_name_and_role(caller)
        )

    def check_identity(self) -> None:
        """End the connection if who it acts for may no longer be here, and look again in time."""
        caller = self._core.identity
        if self._expiry is not None:
            self._expiry.cancel()
        if not self._hub.access.holds(caller):
            self._perform(self._core.expired("The token or key has expired or was revoked"))
        elif caller is not None and caller.expires_s is not None:
            left_s = caller.expires_s - self._hub.clock.now_ns() / 1e9
            wait_s = max(left_s, 0.01)  # the clocks of the loop and of tokens are two
            self._expiry = self._loop.call_later(wait_s, self.check_identity)

    def touched(self) -> None:
        """A live query of this connection has changed."""
        if self._waiting is None:
            self._perform(self._core.touched())
        else:
            self.resume()

    # -- out -----------------------------------------------------------------------------------

    def drop(self, code: int, reason: str) -> None:
        """Close the connection for a reason of ours."""
        self._core.close()
        self._close_with(Close(code, reason))

    def _close_with(self, close: Close) -> None:
        """Close behind what was sent before; the first one counts."""
        if self._closing is None:
            self._closing = close
            self._flush_soon()

    def _abort(self) -> None:
        """End the connection without waiting for a peer who does not read."""
        extension = self._websocket.scope.get("extensions", {}).get(ABORT)
        if extension is not None:
            extension["abort"]()

    def _flush_soon(self) -> None:
        if not (self._is_flush_due or self._is_writing):
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what has gathered in this round of the loop, if nothing has to be waited for."""
        self._is_flush_due = False
        if self._send_now is not None and self._closing is None:
            items = self._outgoing
            if self._send_now([frame for each in items for frame in each.frames]):
                self._outgoing = []
                self._sent(items)
                return
        self._is_writing = True
        self._is_unsent.set()

    async def _write(self) -> None:
        """Send what has to be waited for, and all of it under a server without `SEND_NOW`."""
        while True:
            while self._outgoing or self._closing is not None:
                items, self._outgoing = self._outgoing, []
                try:
                    if items:
                        await self._send_all([frame for each in items for frame in each.frames])
                    elif self._closing is not None:
                        await self._close(self._closing)
                        return
                except (WebSocketDisconnect, RuntimeError, OSError):
                    return  # the reader learns of it, and ends the connection
                self._sent(items)
            self._is_writing = False
            self._is_unsent.clear()
            await self._is_unsent.wait()

    def _sent(self, items: Sequence[_Outgoing]) -> None:
        now_s = self._hub.clock.monotonic_s()
        for each in items:
            self._unsent_bytes -= each.size
            self._perform(self._core.sent(each.message, now_s=now_s))

    async def _send_all(self, frames: Sequence[Frame]) -> None:
        extension = self._websocket.scope.get("extensions", {}).get(SEND_ALL)
        if extension is not None:
            await extension["send_all"](frames)
            return
        for frame in frames:
            if isinstance(frame, bytes):
                await self._websocket.send_bytes(frame)
            else:
                await self._websocket.send_text(frame)

    async def _close(self, close: Close) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            reason = close.reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
            await self._websocket.close(close.code, reason)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._perform(self._core.tick(now_s=self._hub.clock.monotonic_s()))


def _name_and_role(caller: Caller | None) -> tuple[str, str]:
    """What presence tells of somebody."""
    return ("", "") if caller is None else (caller.name, caller.role.value)
