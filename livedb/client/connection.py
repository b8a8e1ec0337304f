"""The connection to a service: one thread that keeps it, and calls that wait for their answers.

The thread (`livedb-remote`) runs an event loop. It connects again by itself when the connection is
lost, and sends again what was not answered: mutations under the ids they had, so that each happens
once. Everything of the session is touched on this thread alone; other threads post work to it and
wait on futures.

What a caller can count on: a call ends. It is answered; or, `CONNECT_S_MAX` seconds after the
service went away, it fails with a DisconnectedError that says whether it was sent; or it was sent
and does harm twice, and fails so as soon as the connection is lost; or this side is closed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from msgspec import UNSET, Raw

from livedb.client.address import Address, refusal_of
from livedb.client.backend import Status
from livedb.client.console import show
from livedb.errors import (
    SERVICE_STARTING,
    AuthenticationError,
    ClosedError,
    DisconnectedError,
    ForkedError,
    FunctionTypeError,
    LivedbError,
    WorkspaceGoneError,
)
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
from livedb.protocol.messages import ClientMessage, ProtocolError

if TYPE_CHECKING:
    from random import Random

logger = logging.getLogger("livedb.client")

CONNECT_S_MAX = 10.0
"""Seconds a call waits for a service that is away."""

STARTING_WAITS_MAX = 6
"""Times as long as that a first call waits for a service that is being started."""

BACKOFF_S = (0.1, 2.0)
"""Seconds until the first and, at most, until a later try to connect again: several of the longest
go into `CONNECT_S_MAX`, so a service that comes back within it is met. Each is cut by up to a half
at random, so that many clients do not come at once."""

HANDSHAKE_S_MAX = 5.0
"""Seconds one try to connect may take."""

GOODBYE_S_MAX = 0.5
"""Seconds the service may take to answer a goodbye."""

RESTORE_S_MAX = 60.0
"""Seconds that may pass on a new connection until what others wait for is sent."""

CLOSE_S_MAX = 5.0
"""Seconds `close` waits for the thread, which ends by itself if that is not enough."""

FRAME_BYTES_MAX = 1 << 30
"""Bytes of one message of the service's: a result of SQL may be large."""

_OF_A_LINK = (
    "A link works while something serves the workspace at that address: ask whoever sent it to "
    "serve it again, by db.serve() or `livedb serve PATH`."
)
"""What to do when nothing answers to who has a token."""

Ask = Callable[[ClientSession], tuple[int, list[ClientMessage]]]
"""Puts a call into the session; returns its request id and what to send."""


Restore = Callable[[], Coroutine[Any, Any, None]]
"""Does what comes first on a new connection; on its thread."""


class Place(NamedTuple):
    """Where a service is, and the token that opens it."""

    url: str
    token: str | None


class Waiting:
    """A call that waits for its answer."""

    __slots__ = ("fate", "future", "log_lines", "outage", "request_id")

    def __init__(self) -> None:
        self.future: Future[Raw] = Future()
        self.request_id: int | None = None
        self.outage = 0
        self.fate = "and may or may not happen there"
        """What becomes of it when it was sent and nobody waits for it any more."""
        self.log_lines: Sequence[str] = ()
        """What a function printed there; known when the future is done."""


class Connection:
    """Keeps a session with a service, from `start()` on. `close()` it.

    Args:
        url: `http://host:port` of the service, or `unix:/path` of its socket; behind a Jupyter
            server with the server's token, as `Address.with_login` has it.
        token: an access token or a user's; never shown.
        on_moved: hears on this connection's thread that what is followed has moved on.
        on_ended: hears there that a call has ended, before the move that shows what it did.
        on_status: hears there that `status` is another.
        restoring: gives, there, what to do on a new connection before anything that waits is sent;
            None for nothing. It asks with `is_ahead`.
        random: spreads the tries to connect again.
        find: says, before each further try, where the service is by now; None: where it was.
    """

    def __init__(
        self,
        url: str,
        *,
        session_id: str,
        token: str | None,
        on_moved: Callable[[Moved], None],
        on_ended: Callable[[Sequence[int]], None],
        on_status: Callable[[Status], None],
        restoring: Callable[[], Restore | None],
        random: Random,
        find: Callable[[], Place | None] | None = None,
    ) -> None:
        address = Address.of(url)
        self.url = address.url
        self._login = address.headers
        self._refused = ""
        """Why the last try to connect was refused, if it was."""
        self._is_starting = False
        self._is_gone = False
        """The service has another workspace than the one that was seen there."""
        self.status = Status("connecting")
        self._session = ClientSession(PACK, session_id=session_id)
        self._has_token = token is not None
        if token is not None:
            self._session.authenticate("User", token)
        self._on_moved = on_moved
        self._on_ended = on_ended
        self._on_status = on_status
        self._restoring = restoring
        self._random = random
        self._find = find
        self._pid = os.getpid()
        self._waiting: set[Waiting] = set()
        """Calls from any thread; each single step on it is one of C's."""
        self._calls: dict[int, Waiting] = {}
        self._outage = 1
        """Odd while the service is away; every change counts it up."""
        self._outgoing: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._is_ready: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="livedb-remote", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    # -- what other threads use ----------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether it will not connect any more."""
        return self.status.state == "closed"

    @property
    def is_away(self) -> bool:
        """Whether the service cannot be asked now."""
        return not self._session.is_connected

    @property
    def observed_ts(self) -> int:
        """The newest timestamp that the service has told; on the thread."""
        return self._session.observed_ts

    def require_open(self) -> None:
        """Raise when it cannot be used here.

        Raises:
            ClosedError, ForkedError.
        """
        if os.getpid() != self._pid:
            raise ForkedError(
                f"The connection to {self.url} was made before this process was forked, and its "
                "thread belongs to the parent: connect in the child, or pass data to it."
            )
        if self.is_closed:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        if self._is_gone:
            return WorkspaceGoneError(self.status.detail)
        why = f": {self.status.detail}" if self.status.detail else ""
        return ClosedError(f"The connection to {self.url} is closed{why}")

    def wait_ready(self) -> None:
        """Wait for the first answer of the service.

        Raises:
            DisconnectedError: there is none within `CONNECT_S_MAX` seconds.
            AuthenticationError: it does not accept the token.
        """
        try:
            self._wait_ready()
        except FutureTimeoutError:
            if self._refused:
                raise DisconnectedError(
                    f"The workspace at {self.url} cannot be used now: {self._refused}"
                ) from None
            advice = (
                _OF_A_LINK if self._has_token else "Is it running? `livedb serve PATH` starts one."
            )
            raise DisconnectedError(
                f"No livedb service answers at {self.url}: {self.status.detail or 'silence'}. "
                f"{advice}"
            ) from None

    def _wait_ready(self) -> None:
        for _ in range(STARTING_WAITS_MAX):
            with suppress(FutureTimeoutError):
                return self._is_ready.result(CONNECT_S_MAX)
            if not self._is_starting:
                break
        raise FutureTimeoutError

    def post(self, work: Callable[[], None]) -> None:
        """Have the thread do something.

        Raises:
            ClosedError, ForkedError.
        """
        self.require_open()
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # the loop has ended meanwhile
            raise self._closed_error() from None

    def post_if_open(self, work: Callable[[], None]) -> None:
        """The same, but for who does not care; takes no lock and waits for nothing."""
        if os.getpid() == self._pid and not self.is_closed:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(work)

    def call(self, ask: Ask, *, then: Callable[[int], None] | None = None) -> Waiting:
        """Ask something of the service.

        Args:
            then: called on the thread with the request id, before anything is sent.
        """
        waiting = Waiting()

        def work() -> None:
            try:
                request_id, messages = ask(self._session)
                waiting.request_id = request_id
                if then is not None:
                    then(request_id)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is the caller's
                if waiting.request_id is not None:
                    self._session.forget(waiting.request_id)
                self._end(waiting, error)
                return
            self._calls[request_id] = waiting
            self.send(messages)
            self._limit(waiting)

        self._waiting.add(waiting)
        try:
            self.post(work)
        except BaseException:
            self._waiting.discard(waiting)
            raise
        return waiting

    def wait(self, waiting: Waiting) -> Raw:
        """The answer to a call; what its function printed is shown here.

        Raises: as `answer`; KeyboardInterrupt, which says whether the call was sent.
        """
        try:
            return self.answer(waiting)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self.give_up(waiting)) from None

    def answer(self, waiting: Waiting) -> Raw:
        """The same; who is interrupted has yet to `give_up`.

        Raises: what the service raised; DisconnectedError; ClosedError.
        """
        if threading.current_thread() is self._thread:
            raise FunctionTypeError(
                "An optimistic update runs between two messages of the service and cannot ask it "
                "for anything: use its view and its arguments only"
            )
        try:
            return waiting.future.result()
        finally:
            show(waiting.log_lines)

    def give_up(self, waiting: Waiting) -> str:
        """Forget a call that nobody waits for; says what may have become of it."""
        told: Future[bool] = Future()
        with suppress(ClosedError):
            self.post(lambda: told.set_result(self._forget(waiting)))
        try:
            is_sent = told.result(1.0)
        except FutureTimeoutError:
            is_sent = True
        if is_sent:
            return f"it was sent to the service, {waiting.fate}"
        return "it was not sent to the service: nothing happened"

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._stay_connected())
        try:
            with suppress(asyncio.CancelledError):  # by `close`
                self._loop.run_until_complete(self._main)
        except Exception:
            logger.exception("the connection to %s ends for a bug of livedb's", self.url)
        finally:
            self._set_status(Status("closed", self.status.detail if self.is_closed else ""))
            self._loop.close()
            # Nobody can add to it any more: `post` refuses.
            for waiting in list(self._waiting):
                self._end(waiting, self._closed_error())

    async def _stay_connected(self) -> None:
        backoff_s = BACKOFF_S[0]
        while not self.is_closed:
            reason = "closed"
            try:
                async with self._connect() as websocket:
                    backoff_s = BACKOFF_S[0]
                    self._refused = ""
                    reason = await self._converse(websocket)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next try may do
                reason = self._hear_refusal(error) or _reason_of(error)
            self._gone(reason)
            if not self.is_closed:
                await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, BACKOFF_S[1])
                self._look_where_it_is()

    def _look_where_it_is(self) -> None:
        place = None if self._find is None else self._find()
        if place is not None:
            self.url = place.url
            self._session.authenticate("User", place.token)

    def _hear_refusal(self, error: Exception) -> str:
        """Why a try to connect was refused, in words of who did; "" when nobody said."""
        from websockets.exceptions import InvalidStatus

        self._refused, self._is_starting = "", False
        if isinstance(error, InvalidStatus):
            with suppress(ValueError, KeyError, TypeError):
                said = json.loads(error.response.body)
                self._refused = str(said["message"])
                self._is_starting = said["code"] == SERVICE_STARTING
                final = refusal_of(error.response.status_code, str(said["code"]), self._refused)
                if final is not None:
                    self._give_up(final)
        return self._refused

    def _connect(self) -> Any:
        from websockets.asyncio.client import connect, unix_connect

        options: dict[str, Any] = {
            "max_size": FRAME_BYTES_MAX,
            "compression": None,
            "open_timeout": HANDSHAKE_S_MAX,
            "close_timeout": GOODBYE_S_MAX,
            "additional_headers": self._login,
        }
        if self.url.startswith("unix:"):
            path = self.url.removeprefix("unix:")
            return unix_connect(path, uri="ws://localhost/api/livedb/sync", **options)
        parts = urlsplit(self.url)
        scheme = "wss" if parts.scheme in ("https", "wss") else "ws"
        uri = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/api/livedb/sync"
        return connect(uri, **options)

    async def _converse(self, websocket: Any) -> str:
        """Speak until the connection ends; returns why it did."""
        outgoing: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._outgoing = outgoing
        restoring = self._restoring()
        self.send(self._session.connected(is_held=restoring is not None))
        self._outage += 1
        tasks = [asyncio.create_task(self._write(websocket, outgoing))]
        if restoring is not None:
            tasks.append(asyncio.create_task(self._restore(websocket, restoring)))
        try:
            async for frame in websocket:
                # The first frame says that the service is there, and no proxy alone.
                if self.status.state != "connected":
                    self._set_status(Status("connected"))
                self._handle(self._session.receive(PACK.decode_server(frame)))
                self.send(self._session.flow())
                if not self._is_ready.done():
                    self._is_ready.set_result(None)
        except ProtocolError as error:
            logger.warning("the connection to %s is dropped: %s", self.url, error)
            return error.message
        else:
            return websocket.close_reason or f"closed with code {websocket.close_code}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _restore(self, websocket: Any, restore: Restore) -> None:
        """Do what comes first, then send what waits for it."""
        try:
            async with asyncio.timeout(RESTORE_S_MAX):
                await restore()
        except WorkspaceGoneError as error:
            # Nothing is sent: it was meant for the data that is gone.
            self._is_gone = True
            self._give_up(error)
            await websocket.close()
            return
        except (LivedbError, TimeoutError) as error:
            logger.warning("the service at %s lacks what was defined: %s", self.url, error)
        self.send(self._session.resume())

    @staticmethod
    async def _write(websocket: Any, outgoing: asyncio.Queue[ClientMessage]) -> None:
        from websockets.exceptions import ConnectionClosed

        with suppress(ConnectionClosed):  # the reader says so
            while True:
                await websocket.send(PACK.encode(await outgoing.get()))

    def follow(
        self, path: str, args: Raw, component: str | None
    ) -> tuple[int, list[ClientMessage]]:
        """Put a query into the session; on the thread. Returns its id and what to send."""
        return self._session.follow(path, args, component=component)

    def unfollow(self, query_id: int) -> None:
        """Follow a query no longer; on the thread."""
        self.send(self._session.unfollow(query_id))

    def send(self, messages: Iterable[ClientMessage]) -> None:
        """Send what the session says; on the thread."""
        for message in messages:
            self._outgoing.put_nowait(message)

    def _gone(self, reason: str) -> None:
        if self._session.is_connected:
            self._outage += 1
        events = self._session.disconnected(reason)
        if not self.is_closed:
            self._set_status(Status("reconnecting", reason))
        self._handle(events)
        for waiting in list(self._calls.values()):
            self._limit(waiting)

    def _set_status(self, status: Status) -> None:
        if status != self.status:
            self.status = status
            self._on_status(status)

    # -- how calls end -------------------------------------------------------------------------

    def _handle(self, events: Sequence[ClientEvent]) -> None:
        ended = [each.request_id for each in events if isinstance(each, Answered | Lost)]
        if ended:
            self._on_ended(ended)
        for event in events:
            match event:
                case Moved():
                    self._on_moved(event)
                case Answered(request_id, response):
                    self._settle(request_id, response)
                case Lost(request_id):
                    self._fail(request_id, self._away(is_sent=True))
                case AuthFailed(error) | Refused(error):
                    self._give_up(AuthenticationError(error))

    def _settle(self, request_id: int, response: Any) -> None:
        waiting = self._calls.pop(request_id, None)
        if waiting is None:
            return
        waiting.log_lines = response.log_lines
        if response.success:
            self._end(waiting, response.result)
            return
        data = response.error_data
        try:
            error = error_from(PACK.read(response.result if data is UNSET else data))
        except LivedbError as refused:
            error = refused
        self._end(waiting, error)

    def _fail(self, request_id: int, error: Exception) -> None:
        waiting = self._calls.pop(request_id, None)
        if waiting is not None:
            self._end(waiting, error)

    def _end(self, waiting: Waiting, outcome: Raw | Exception) -> None:
        self._waiting.discard(waiting)
        future = waiting.future
        if future.done():
            return
        # Who awaits it may have cancelled it, on another thread.
        if not future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _limit(self, waiting: Waiting) -> None:
        """While the service is away, let a call wait for so long and no longer."""
        if self._session.is_connected or waiting.outage == self._outage:
            return
        waiting.outage = outage = self._outage

        def abandon() -> None:
            if self._outage == outage and not waiting.future.done():
                is_sent = self._forget(waiting)
                self._end(waiting, self._away(is_sent=is_sent))

        self._loop.call_later(CONNECT_S_MAX, abandon)

    def _forget(self, waiting: Waiting) -> bool:
        """Ask for an answer no longer; returns whether the call may have been sent."""
        if waiting.request_id is None:
            return False
        self._calls.pop(waiting.request_id, None)
        self._on_ended([waiting.request_id])
        return self._session.forget(waiting.request_id)

    def _away(self, *, is_sent: bool) -> DisconnectedError:
        became = (
            "This call was sent before, and may or may not have happened there"
            if is_sent
            else "This call was not sent: nothing happened"
        )
        return DisconnectedError(
            f"The service at {self.url} cannot be reached ({self.status.detail or 'no answer'}). "
            f"{became}."
        )

    def _give_up(self, error: LivedbError) -> None:
        """The service will have nothing of this client."""
        self._set_status(Status("closed", error.message))
        if not self._is_ready.done():
            self._is_ready.set_exception(error)
        for request_id in list(self._calls):
            self._fail(request_id, error)

    # -- closing -------------------------------------------------------------------------------

    def close(self) -> None:
        """Connect no more; every call that waits fails with a ClosedError. Twice is harmless."""
        if os.getpid() != self._pid:
            return
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S_MAX)

    def _stop(self) -> None:
        self._set_status(Status("closed"))
        for request_id in list(self._calls):
            self._fail(request_id, self._closed_error())
        assert self._main is not None, "it runs"
        self._main.cancel()


def _reason_of(error: Exception) -> str:
    """Why a connection could not be made or ended, for people."""
    # `FileNotFoundError` is of a socket that is a file.
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error.__cause__, EOFError):  # the library speaks of HTTP then
        return "it hung up without an answer"
    text = error.strerror if isinstance(error, OSError) else str(error)
    return text or str(error) or type(error).__name__
