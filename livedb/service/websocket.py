"""One sync connection: moves messages between a WebSocket and the protocol's state machine.

Everything here runs on the event loop but for what blocks (functions, live queries, tokens), which
the hub's threads do. Reading never waits for computing, and a slow reader delays nobody: what it
has not taken is bounded by the state machine (transitions) and by `UNSENT_BYTES_MAX` (answers).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from livedb.errors import AuthenticationError, ClosedError, LivedbError
from livedb.functions.call import Call
from livedb.functions.definition import FunctionKind
from livedb.protocol.frames import ClientKind, frames_of
from livedb.protocol.messages import Action, ProtocolError, ServerMessage
from livedb.protocol.server import (
    CLOSE_INTERNAL,
    CLOSE_OVERLOADED,
    Close,
    Compute,
    Effect,
    Failure,
    Run,
    Send,
    ServerConnection,
    Success,
    Verify,
)
from livedb.service.query_set import QuerySet

if TYPE_CHECKING:
    from livedb.service.hub import Hub

logger = logging.getLogger("livedb.service")

UNSENT_BYTES_MAX = 64 << 20
"""Bytes that wait for a client who does not read; beyond, it is dropped and may resume."""

TICK_S = 5.0
"""Between two looks at whether a Ping is due."""


class SyncConnection:
    """One client's connection, from accept to close."""

    def __init__(self, hub: Hub, websocket: WebSocket, client: ClientKind) -> None:
        self._hub = hub
        self._websocket = websocket
        self._client = client
        self._dialect = hub.dialect_of(client)
        self._core = ServerConnection(
            self._dialect.codec,
            newest_ts=hub.newest_ts(),
            now_s=hub.clock.monotonic_s(),
            identity=hub.anonymous(),
        )
        self._outgoing: asyncio.Queue[ServerMessage | Close] = asyncio.Queue()
        self._unsent_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: Call | None = None
        """The call of the mutation that runs now."""
        self.query_set = QuerySet(hub.workspace, self._dialect)

    async def run(self) -> None:
        """Serve the connection until it ends."""
        await self._websocket.accept()
        self._hub.connections.add(self)
        writer = asyncio.create_task(self._write())
        ticker = asyncio.create_task(self._tick())
        try:
            await self._read()
        finally:
            self._core.close()
            self._hub.connections.discard(self)
            for task in (writer, ticker, *self._tasks):
                task.cancel()
            await asyncio.gather(writer, ticker, *self._tasks, return_exceptions=True)
            await self._hub.in_thread(self._hub.forget, self)

    # -- in ------------------------------------------------------------------------------------

    async def _read(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                self._take(message.get("bytes", b"") if text is None else text)

    def _take(self, frame: str | bytes) -> None:
        try:
            message = self._dialect.codec.decode_client(frame)
        except ProtocolError as error:
            self._perform(self._core.violated(error))
            return
        self._perform(self._core.receive(message))

    # -- effects -------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(message):
                    self._outgoing.put_nowait(message)
                case Close():
                    self._outgoing.put_nowait(effect)
                case Compute():
                    self._spawn(self._compute(effect))
                case Run():
                    self._spawn(self._run(effect))
                case Verify():
                    self._spawn(self._verify(effect))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compute(self, order: Compute) -> None:
        try:
            update = await self._hub.in_thread(self._hub.update, self, order)
        except ClosedError:
            self.drop(1001, "the service is going away")
            return
        except Exception:
            logger.exception("computing an update failed")
            self.drop(CLOSE_INTERNAL, "InternalServerError")
            return
        near = self._running is not None and self._running.is_committing
        number = update.number if self._client is ClientKind.LIVEDB else UNSET
        self._perform(
            self._core.computed(update.ts, update.states, number=number, is_own_commit_near=near)
        )

    async def _run(self, order: Run) -> None:
        request = order.request
        kind: FunctionKind = "action" if isinstance(request, Action) else "mutation"
        call = Call(
            mutation_id=order.mutation_id, identity=getattr(order.identity, "identity", None)
        )
        if kind == "mutation":
            self._running = call
        outcome: Success | Failure
        try:
            outcome = await self._hub.run_path(
                self._dialect, request, order.args, kind=kind, call=call, caller=order.identity
            )
        except ClosedError:
            self.drop(1001, "the service is going away")
            return
        except LivedbError as error:
            if error.is_transient:  # the same request may succeed when the client sends it again
                self.drop(CLOSE_INTERNAL, f"InternalServerError: {error.code}")
                return
            outcome = self._dialect.failure(error, tuple(call.log_lines))
        if kind == "mutation":
            self._running = None
            self._perform(self._core.mutation_done(request.request_id, outcome))
        else:
            self._perform(self._core.action_done(request.request_id, outcome))

    async def _verify(self, order: Verify) -> None:
        try:
            caller = await self._hub.in_thread(self._hub.access.authenticate, order.request)
        except AuthenticationError as error:
            self._perform(self._core.refused(error.message))
            return
        self._perform(self._core.verified(caller))

    def touched(self, number: int) -> None:
        """A transition of live queries to commit `number` changed one of this connection's."""
        if number > self.query_set.number:
            self._perform(self._core.touched())

    def expire(self, error: str) -> None:
        """The identity's time is over."""
        self._perform(self._core.expired(error))

    # -- out -----------------------------------------------------------------------------------

    def drop(self, code: int, reason: str) -> None:
        """Close the connection for a reason of ours."""
        self._core.close()
        self._outgoing.put_nowait(Close(code, reason))

    async def _write(self) -> None:
        while True:
            item = await self._outgoing.get()
            try:
                if isinstance(item, Close):
                    await self._close(item)
                    return
                for frame in frames_of(item, self._client):
                    if isinstance(frame, bytes):
                        await self._websocket.send_bytes(frame)
                    else:
                        await self._websocket.send_text(frame)
            except (WebSocketDisconnect, RuntimeError, OSError):
                return  # the reader learns of it, and ends the connection
            self._perform(self._core.sent(item, now_s=self._hub.clock.monotonic_s()))

    async def _close(self, close: Close) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            await self._websocket.close(close.code, close.reason[:120])

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._hub.clock.monotonic_s()
            self._perform(self._core.tick(now_s=now_s))
            if self._outgoing.qsize() > 4096:
                self.drop(CLOSE_OVERLOADED, "TooManyConcurrentRequests: the client does not read")
