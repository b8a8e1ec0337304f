"""The client's end of a sync session, without I/O.

A session outlives its connections: what was asked and not answered is asked again on the next one,
mutations under the ids they had, so that each happens once. Feed it what arrives and what is
wanted; it answers with messages to send and events to tell.

What it promises: mutations are sent in the order they were made; a mutation that succeeded is told
only with the transition that shows its effect, so whoever made it reads its own write; transitions
join end to start, and anything else ends the connection instead of showing a wrong state.

Source: spec sync-protocol.md 5-11.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from msgspec import UNSET, Raw

from livedb.errors import InvalidValueError, LimitError
from livedb.protocol.codecs import Codec
from livedb.protocol.messages import (
    CLIENT_MESSAGE_BYTES_MAX,
    PATH_CHARACTERS_MAX,
    Action,
    ActionResponse,
    Add,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    FatalError,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    ProtocolError,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    Remove,
    ServerMessage,
    Transition,
    TransitionChunk,
    Version,
)
from livedb.protocol.timestamps import decode_ts, encode_ts

# -- events ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """A call has ended. `error_data` is UNSET or what came of an error that carries data."""

    request_id: int
    response: MutationResponse | ActionResponse


@dataclass(frozen=True, slots=True)
class Lost:
    """An action that was sent will not be answered; it may or may not have happened."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Moved:
    """Everything followed is at one commit now; `changes` are what differs there."""

    ts: int
    number: int | None
    changes: tuple[QueryUpdated | QueryFailed, ...]


@dataclass(frozen=True, slots=True)
class AuthFailed:
    """The service does not, or no longer, accept the token."""

    error: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The service says that this client breaks the protocol; trying again is no use."""

    error: str


ClientEvent = Answered | Lost | Moved | AuthFailed | Refused

UNANSWERED_MAX = 500
"""Calls that are sent and not answered; more wait here. Half of what a service takes."""

UNANSWERED_BYTES_MAX = 32 << 20
"""Bytes of their arguments, but for one call alone. Half of what a service takes."""


ROOM_BYTES = CLIENT_MESSAGE_BYTES_MAX - 4 * PATH_CHARACTERS_MAX
"""Bytes of one call's arguments for which a message has room beside its other fields."""

FOLLOWED_BYTES_MAX = ROOM_BYTES // 2
"""Bytes of all that is followed, its arguments and paths: it is asked for again in one message."""

FIELDS_BYTES = 200
"""Bytes, at most, of what else a message says of one query or call."""


@dataclass(slots=True)
class _Call:
    request: Mutation | Action
    is_sent: bool = False
    is_repeatable: bool = True
    response: MutationResponse | None = None
    """Of a mutation that succeeded and is not shown yet: it is by what is at `shown_ts`."""
    shown_ts: int = 0


@dataclass(slots=True)
class _Followed:
    add: Add
    journal: str | None = None


@dataclass(slots=True)
class _Link:
    """What starts anew with each connection."""

    query_set: int = 0
    identity: int = 0
    version: Version = field(default_factory=Version)
    is_held: bool = False
    unanswered: dict[int, int] = field(default_factory=dict)
    """Bytes of the arguments of each call that was sent."""
    unanswered_bytes: int = 0


class ClientSession:
    """One session's state. Not thread-safe: the shell calls it from one thread."""

    def __init__(self, codec: Codec, *, session_id: str) -> None:
        self._codec = codec
        self._session_id = session_id
        self._connection_count = 0
        self._close_reason = "InitialConnect"
        self._observed_ts: int | None = None
        self._requests = 0
        self._query_ids = 0
        self._calls: dict[int, _Call] = {}
        self._unsent: deque[int] = deque()
        """Calls to send on this connection, in order; some may have ended meanwhile."""
        self._queries: dict[int, _Followed] = {}
        self._followed_bytes = 0
        self._auth: Authenticate | None = None
        self._link: _Link | None = None
        """None while there is no connection."""

    @property
    def observed_ts(self) -> int:
        """The newest timestamp that the service has told, 0 before the first."""
        return self._observed_ts or 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None

    # -- connections ---------------------------------------------------------------------------

    def connected(self, *, is_held: bool = False) -> list[ClientMessage]:
        """A connection is there: what to send first, everything unfinished included.

        Args:
            is_held: only calls that are `is_ahead` are sent until `resume`. Whoever holds asks
                with one whether the service has what was seen, so Connect says nothing of it: it
                would be answered by closing, without a reason that a user can be told.
        """
        self._link = link = _Link(is_held=is_held)
        self._unsent = deque(self._calls)
        for call in self._calls.values():
            call.response = None
        messages: list[ClientMessage] = [
            Connect(
                session_id=self._session_id,
                connection_count=self._connection_count,
                last_close_reason=self._close_reason,
                max_observed_timestamp=(
                    None if is_held or self._observed_ts is None else encode_ts(self._observed_ts)
                ),
            )
        ]
        self._connection_count += 1
        if self._auth is not None:
            messages.append(self._authenticate(link, self._auth))
        return messages if is_held else [*messages, *self.resume()]

    def resume(self) -> list[ClientMessage]:
        """What was held back: all that is followed, and every call without an answer."""
        link = self._link
        assert link is not None, "there is a connection"
        link.is_held = False
        adds = [self._add_again(each) for each in self._queries.values()]
        link.query_set = 1
        return [
            ModifyQuerySet(base_version=0, new_version=1, modifications=list(adds)),
            *self.flow(),
        ]

    def flow(self) -> list[ClientMessage]:
        """Calls that are to be sent now; ask again after each `receive`."""
        link = self._link
        messages: list[ClientMessage] = []
        if link is None or link.is_held:
            return []
        while self._unsent:
            call = self._calls.get(self._unsent[0])
            if call is not None:
                if not _has_room(link, call):
                    break
                messages.append(_send(link, call))
            self._unsent.popleft()
        return messages

    def _add_again(self, followed: _Followed) -> Add:
        add = followed.add
        return Add(
            query_id=add.query_id,
            udf_path=add.udf_path,
            args=add.args,
            journal=followed.journal,
            component_path=add.component_path,
        )

    def disconnected(self, reason: str) -> list[ClientEvent]:
        """The connection is gone; the next one takes up what is unfinished."""
        if self._link is None:
            return []
        self._link = None
        self._close_reason = reason[:200]
        lost = [
            request_id
            for request_id, call in self._calls.items()
            if call.is_sent and not call.is_repeatable
        ]
        for request_id in lost:
            del self._calls[request_id]
        return [Lost(request_id) for request_id in lost]

    # -- what is wanted ------------------------------------------------------------------------

    def authenticate(self, token_type: str, value: str | None = None) -> list[ClientMessage]:
        """Act as somebody else from here on."""
        auth = Authenticate(base_version=0, token_type=token_type, value=value)
        self._auth = auth if value is not None else None
        return [] if self._link is None else [self._authenticate(self._link, auth)]

    def _authenticate(self, link: _Link, auth: Authenticate) -> Authenticate:
        message = Authenticate(
            base_version=link.identity, token_type=auth.token_type, value=auth.value
        )
        link.identity += 1
        return message

    def follow(
        self, path: str, args: Raw, *, component: str | None = None
    ) -> tuple[int, list[ClientMessage]]:
        """Follow a query; returns its id.

        Raises:
            LimitError: with the others it is more than can be asked for again at once.
        """
        query_id = self._query_ids
        add = Add(query_id=query_id, udf_path=path, args=[args], component_path=component)
        size = self._followed_bytes + _followed_size(add)
        if size > FOLLOWED_BYTES_MAX:
            raise LimitError(
                f"The arguments of what is followed here would take {size:,} bytes, and a client "
                f"of a service has {FOLLOWED_BYTES_MAX:,} for them. Follow less, or pass an id and "
                "read the rest.",
                code="ArgsTooLarge",
            )
        self._query_ids += 1
        self._followed_bytes = size
        self._queries[query_id] = _Followed(add)
        return query_id, self._modify(add)

    def unfollow(self, query_id: int) -> list[ClientMessage]:
        """Follow it no longer; twice is harmless."""
        followed = self._queries.pop(query_id, None)
        if followed is None:
            return []
        self._followed_bytes -= _followed_size(followed.add)
        return self._modify(Remove(query_id=query_id))

    def _modify(self, modification: Add | Remove) -> list[ClientMessage]:
        link = self._link
        if link is None or link.is_held:
            return []
        base = link.query_set
        link.query_set += 1
        return [
            ModifyQuerySet(base_version=base, new_version=base + 1, modifications=[modification])
        ]

    def mutate(
        self, path: str, args: Raw, *, component: str | None = None
    ) -> tuple[int, list[ClientMessage]]:
        """Run a mutation, once; returns its request id.

        Raises:
            LimitError: its arguments are more than a message may hold.
        """
        request_id = self._requests
        request = Mutation(
            request_id=request_id, udf_path=path, args=[args], component_path=component
        )
        return request_id, self._send(_Call(request))

    def act(
        self,
        path: str,
        args: Raw,
        *,
        component: str | None = None,
        is_repeatable: bool = False,
        is_ahead: bool = False,
    ) -> tuple[int, list[ClientMessage]]:
        """Run an action; returns its request id.

        Args:
            is_repeatable: it does no harm twice, so it is sent again when a connection is lost.
            is_ahead: it is sent at once although others are held back; there is a connection.

        Raises:
            LimitError: its arguments are more than a message may hold.
        """
        request_id = self._requests
        request = Action(
            request_id=request_id, udf_path=path, args=[args], component_path=component
        )
        call = _Call(request, is_repeatable=is_repeatable)
        if not is_ahead:
            return request_id, self._send(call)
        assert self._link is not None, "there is a connection"
        _require_room(call)
        self._calls[request_id] = call
        self._requests += 1
        return request_id, [_send(self._link, call)]

    def _send(self, call: _Call) -> list[ClientMessage]:
        _require_room(call)
        self._calls[self._requests] = call
        self._unsent.append(self._requests)
        self._requests += 1
        return self.flow()

    def forget(self, request_id: int) -> bool:
        """Nobody waits for this call any more, so it is not sent again; returns whether it was."""
        call = self._calls.pop(request_id, None)
        return call is not None and call.is_sent

    # -- what arrives --------------------------------------------------------------------------

    def receive(self, message: ServerMessage) -> list[ClientEvent]:
        """Take a message.

        Raises:
            ProtocolError: it does not continue what came before; drop the connection.
        """
        match message:
            case Transition():
                return self._move(message)
            case MutationResponse():
                self._make_room(message.request_id)
                return self._answer_mutation(message)
            case ActionResponse():
                self._make_room(message.request_id)
                return self._answer(message)
            case AuthError():
                return [AuthFailed(message.error)]
            case FatalError():
                return [Refused(message.error)]
            case Ping():
                return []
            case TransitionChunk():
                raise ProtocolError("A part of a transition came; this client takes them whole")

    def _make_room(self, request_id: int) -> None:
        """The service is done with a call."""
        link = self._link
        if link is not None:
            link.unanswered_bytes -= link.unanswered.pop(request_id, 0)

    def _answer_mutation(self, message: MutationResponse) -> list[ClientEvent]:
        call = self._calls.get(message.request_id)
        if call is None:
            return []  # an answer that nobody waits for any more
        if message.success and message.ts is not None:
            call.shown_ts = self._observe(message.ts)
            call.response = message
            return []
        return self._answer(message)

    def _answer(self, message: MutationResponse | ActionResponse) -> list[ClientEvent]:
        if self._calls.pop(message.request_id, None) is None:
            return []
        return [Answered(message.request_id, message)]

    def _move(self, message: Transition) -> list[ClientEvent]:
        link = self._link
        if link is None or message.start_version != link.version:
            raise ProtocolError(
                "A transition came that does not continue the last one", code="OutOfOrder"
            )
        ts = self._observe(message.end_version.ts)
        link.version = message.end_version
        if link.version.query_set == 0:
            # It confirms an identity, say, and came before the queries were asked for again: what
            # is held of them is of the connection before.
            return []
        changes = []
        for each in message.modifications:
            if isinstance(each, QueryRemoved) or each.query_id not in self._queries:
                continue
            self._queries[each.query_id].journal = each.journal
            changes.append(each)
        number = None if message.number is UNSET else message.number
        events: list[ClientEvent] = [Moved(ts, number, tuple(changes))]
        shown = [
            call.response
            for call in self._calls.values()
            if call.response is not None and call.shown_ts <= ts
        ]
        for response in shown:
            events += self._answer(response)
        return events

    def _observe(self, text: str) -> int:
        try:
            ts = decode_ts(text)
        except InvalidValueError as error:
            raise ProtocolError(error.message) from None
        if self._observed_ts is None or ts > self._observed_ts:
            self._observed_ts = ts
        return ts


def _has_room(link: _Link, call: _Call) -> bool:
    """Whether the service is to have one more call that it has not answered."""
    if not link.unanswered:
        return True
    size = link.unanswered_bytes + _size(call)
    return len(link.unanswered) < UNANSWERED_MAX and size <= UNANSWERED_BYTES_MAX


def _send(link: _Link, call: _Call) -> Mutation | Action:
    call.is_sent = True
    link.unanswered[call.request.request_id] = _size(call)
    link.unanswered_bytes += _size(call)
    return call.request


def _size(call: _Call) -> int:
    return sum(memoryview(each).nbytes for each in call.request.args)


def _require_room(call: _Call) -> None:
    """Refuse here what the service would end the connection for.

    Raises:
        LimitError.
    """
    size = _size(call)
    if size > ROOM_BYTES:
        raise LimitError(
            f"What {call.request.udf_path} is given takes {size:,} bytes, and a service takes "
            f"{ROOM_BYTES:,} at once; nothing was sent. Pass an id and read the rest, or use "
            "db.load for bulk data.",
            code="ArgsTooLarge",
        )


def _followed_size(add: Add) -> int:
    return sum(memoryview(each).nbytes for each in add.args) + 4 * len(add.udf_path) + FIELDS_BYTES
