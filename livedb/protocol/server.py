"""The server's end of one sync connection, without I/O.

Feed it what arrived and what became of its orders; it answers with effects: what to send, run,
compute, close. It never reads a socket, a clock or a database, so a test is a list of inputs, and
any server can host it.

    received: Connect, ModifyQuerySet, Authenticate, Mutation, Action ──┐
    finished: verified, computed, mutation_done, action_done ───────────┤ connection ──> effects
    happened: touched, sent, tick ──────────────────────────────────────┘

What it promises: transitions join end to start and never go back; a response goes out before the
transition that shows its effect; after every response, changed identity and changed query set there
is a transition, which shows what the response is of, and none that shows nothing is sent otherwise;
mutations run one at a time, in order; at most one update is being computed, and at most
`UNSENT_TRANSITIONS_MAX` wait for a slow reader, who then gets fewer and larger steps.

Source: spec sync-protocol.md 5-11.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from livedb.errors import InvalidValueError
from livedb.protocol.codecs import Codec
from livedb.protocol.effects import (
    Close,
    Compute,
    Effect,
    Failure,
    Followed,
    QueryState,
    Run,
    Send,
    Success,
    Verify,
)
from livedb.protocol.messages import (
    NO_ARGS,
    Action,
    ActionResponse,
    Add,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    Event,
    FatalError,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    ProtocolError,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    ServerMessage,
    StateModification,
    Transition,
    Version,
)
from livedb.protocol.timestamps import decode_ts, encode_ts

SILENCE_S_MAX = 15.0
"""Seconds without a message after which the server sends a Ping."""

UNSENT_TRANSITIONS_MAX = 2
"""Transitions that may wait to be sent before no further one is computed."""

QUEUED_MUTATIONS_MAX = 1000
"""Mutations of one connection that wait for their turn (Convex)."""

RUNNING_ACTIONS_MAX = 1000
"""Actions of one connection that run at once (Convex)."""

UNANSWERED_BYTES_MAX = 64 << 20
"""Bytes of the arguments of one connection's mutations and actions that wait or run."""

QUERIES_MAX = 10_000
"""Queries that one connection may follow."""

CLOSE_INTERNAL, CLOSE_OVERLOADED, CLOSE_POLICY = 1011, 1013, 1008
"""WebSocket close codes."""

CLOSE_CODES = {"UnsupportedFrame": 1003, "MalformedMessage": 1007}
"""Of violations of the protocol by their code; of all others CLOSE_POLICY."""


class _Phase(Enum):
    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(slots=True)
class _Waiting:
    """A mutation or action that was received and not started.

    Attributes:
        identity_version: of the identity as which it was sent, which may not be verified yet.
    """

    run: Run
    identity_version: int


class _Update(Struct, frozen=True):
    """An update in progress: the versions it leads to, and the queries it drops.

    Attributes:
        is_owed: the client waits for a transition, though nothing may be in it.
    """

    query_set: int
    identity: int
    removed: tuple[int, ...]
    is_owed: bool


class ServerConnection:
    """One connection's state. Not thread-safe: the shell calls it from one thread."""

    def __init__(self, codec: Codec, *, newest_ts: int, now_s: float, identity: Any = None) -> None:
        """Start a connection.

        Args:
            codec: how values stand in its messages.
            newest_ts: the newest committed timestamp when the connection came.
            now_s: the monotonic time.
            identity: who the client is before it authenticates.
        """
        self._phase = _Phase.NEW
        self._codec = codec
        self._newest_ts = newest_ts
        self._last_sent_s = now_s
        self.identity = identity
        self.session_id = ""
        # What was received, and what the last transition said of it.
        self._query_set = 0
        self._identity_version = 0
        self._sent = Version()
        self._sent_ts = 0
        # The query set: received modifications wait for the next update.
        self._ids: set[int] = set()
        self._added: dict[int, Followed] = {}
        self._removed: list[int] = []
        self._sent_keys: dict[int, Hashable] = {}
        """Of each query that an update was ordered for, the key of what was last sent."""
        self._is_identity_new = False
        # Updates.
        self._is_wanted = False
        self._is_owed = False
        """A changed query set or identity is still to be confirmed."""
        self._owed_ts: int | None = None
        """A response went out, which a transition of at least this ts must follow."""
        self._computing: _Update | None = None
        self._held: Transition | None = None
        """Computed while a mutation of this connection committed: its response goes first."""
        self._unsent = 0
        # Calls.
        self._verifying = 0
        self._verified: deque[Authenticate] = deque()
        self._mutations: deque[_Waiting] = deque()
        self._actions_waiting: list[_Waiting] = []
        self._running: int | None = None
        self._running_actions = 0
        self._unanswered: dict[int, list[int]] = {}
        """Bytes of the arguments of each call that waits or runs; a hostile client's may share an
        id."""
        self._unanswered_bytes = 0

    # -- what arrives --------------------------------------------------------------------------

    def receive(self, message: ClientMessage) -> list[Effect]:
        """Take a message; a violation of the protocol ends the connection with a FatalError."""
        if self._phase is _Phase.CLOSED:
            return []
        try:
            if self._phase is _Phase.NEW:
                return self._connect(message)
            match message:
                case ModifyQuerySet():
                    self._modify(message)
                    return self._update()
                case Mutation():
                    return self._queue_mutation(message)
                case Action():
                    return self._queue_action(message)
                case Authenticate():
                    return self._authenticate(message)
                case Event():
                    return []
                case Connect():
                    return self.violated(
                        ProtocolError("Connect came a second time", code="OutOfOrder")
                    )
        except ProtocolError as error:
            return self.violated(error)

    def violated(self, error: ProtocolError) -> list[Effect]:
        """End the connection for what the client sent."""
        if self._phase is _Phase.CLOSED:
            return []
        message = FatalError(error=f"{error.code}: {error.message}")
        return self._end(message, CLOSE_CODES.get(error.code, CLOSE_POLICY), "FatalError")

    def _connect(self, message: ClientMessage) -> list[Effect]:
        if not isinstance(message, Connect):
            raise ProtocolError(
                f"The first message must be Connect, not {type(message).__name__}",
                code="OutOfOrder",
            )
        if message.max_observed_timestamp is not None:
            try:
                observed = decode_ts(message.max_observed_timestamp)
            except InvalidValueError as error:
                raise ProtocolError(error.message) from None
            if observed > self._newest_ts:
                # It has seen commits that are not here: serving it would show time going back.
                self._phase = _Phase.CLOSED
                return [Close(CLOSE_INTERNAL, "InternalServerError: client saw a later commit")]
        self.session_id = message.session_id
        self._phase = _Phase.OPEN
        return []

    def _modify(self, message: ModifyQuerySet) -> None:
        if message.base_version != self._query_set:
            raise ProtocolError(
                f"The query set is at version {self._query_set}, and base version "
                f"{message.base_version} came",
                code="BaseVersionMismatch",
            )
        if message.new_version <= message.base_version:
            raise ProtocolError(
                f"The new version {message.new_version} does not come after {message.base_version}",
                code="BaseVersionMismatch",
            )
        for each in message.modifications:
            if isinstance(each, Add):
                self._add(each)
            else:
                self._remove(each.query_id)
        self._query_set = message.new_version
        self._owe()

    def _add(self, query: Add) -> None:
        query_id = query.query_id
        if query_id in self._ids:
            raise ProtocolError(f"Query {query_id} is there already", code="DuplicateQuery")
        if len(self._ids) >= QUERIES_MAX:
            raise ProtocolError(f"A connection follows at most {QUERIES_MAX:,} queries")
        self._ids.add(query_id)
        self._added[query_id] = Followed(
            query_id, query.udf_path, query.component_path, _only(query.args), query.journal
        )

    def _remove(self, query_id: int) -> None:
        if query_id not in self._ids:
            raise ProtocolError(f"There is no query {query_id}", code="UnknownQuery")
        self._ids.remove(query_id)
        # One that was added meanwhile comes to nothing.
        if self._added.pop(query_id, None) is None:
            self._removed.append(query_id)

    def _authenticate(self, message: Authenticate) -> list[Effect]:
        received = self._identity_version + self._verifying
        if message.base_version != received:
            raise ProtocolError(
                f"The identity is at version {received}, and base version "
                f"{message.base_version} came",
                code="BaseVersionMismatch",
            )
        self._verifying += 1
        if self._verifying > 1:
            self._verified.append(message)
            return []
        return [Verify(message)]

    def _queue_mutation(self, message: Mutation) -> list[Effect]:
        if len(self._mutations) >= QUEUED_MUTATIONS_MAX:
            return self._overload(f"{QUEUED_MUTATIONS_MAX} mutations wait already")
        if not self._hold(message):
            return self._overload_of_bytes()
        mutation_id = f"{self.session_id}:{message.request_id}"
        self._mutations.append(self._waiting(message, mutation_id))
        return self._start_mutation()

    def _queue_action(self, message: Action) -> list[Effect]:
        if self._running_actions + len(self._actions_waiting) >= RUNNING_ACTIONS_MAX:
            return self._overload(f"{RUNNING_ACTIONS_MAX} actions run already")
        if not self._hold(message):
            return self._overload_of_bytes()
        self._actions_waiting.append(self._waiting(message, None))
        return self._start_actions()

    def _waiting(self, message: Mutation | Action, mutation_id: str | None) -> _Waiting:
        run = Run(message, _only(message.args), mutation_id, self.identity)
        return _Waiting(run, self._identity_version + self._verifying)

    def _hold(self, message: Mutation | Action) -> bool:
        """Count the bytes of a call's arguments, unless they are too many; one alone is not."""
        size = sum(memoryview(each).nbytes for each in message.args)
        if self._unanswered and self._unanswered_bytes + size > UNANSWERED_BYTES_MAX:
            return False
        self._unanswered.setdefault(message.request_id, []).append(size)
        self._unanswered_bytes += size
        return True

    def _let_go(self, request_id: int) -> None:
        """A call has ended, and its arguments are held no more."""
        sizes = self._unanswered[request_id]
        self._unanswered_bytes -= sizes.pop()
        if not sizes:
            del self._unanswered[request_id]

    def _overload_of_bytes(self) -> list[Effect]:
        return self._overload(
            f"calls of more than {UNANSWERED_BYTES_MAX >> 20} MiB wait for an answer"
        )

    def _overload(self, why: str) -> list[Effect]:
        self._phase = _Phase.CLOSED
        return [Close(CLOSE_OVERLOADED, f"TooManyConcurrentRequests: {why}")]

    # -- identity ------------------------------------------------------------------------------

    def verified(self, identity: Any) -> list[Effect]:
        """The token that `Verify` named is good: act as `identity`."""
        if self._phase is not _Phase.OPEN:
            return []
        assert self._verifying > 0, "nothing was to be verified"
        self._verifying -= 1
        self.identity = identity
        self._identity_version += 1
        self._is_identity_new = True
        self._owe()
        for waiting in (*self._mutations, *self._actions_waiting):
            if waiting.identity_version == self._identity_version:
                waiting.run = replace(waiting.run, identity=identity)
        effects = [*self._start_mutation(), *self._start_actions()]
        if self._verified:
            return [*effects, Verify(self._verified.popleft())]
        return [*effects, *self._update()]

    def refused(self, error: str) -> list[Effect]:
        """The token that `Verify` named is not acceptable."""
        return self._end_with_auth_error(error, is_update=True)

    def expired(self, error: str) -> list[Effect]:
        """The identity is no longer valid; nothing may run as it."""
        return self._end_with_auth_error(error, is_update=False)

    def _end_with_auth_error(self, error: str, *, is_update: bool) -> list[Effect]:
        if self._phase is not _Phase.OPEN:
            return []
        message = AuthError(
            error=error, base_version=self._identity_version, auth_update_attempted=is_update
        )
        return self._end(message, CLOSE_POLICY, "AuthError")

    def _end(self, message: ServerMessage, code: int, reason: str) -> list[Effect]:
        self._phase = _Phase.CLOSED
        return [Send(message), Close(code, reason)]

    # -- mutations and actions -----------------------------------------------------------------

    def _start_mutation(self) -> list[Effect]:
        if self._running is not None or not self._mutations:
            return []
        if not self._is_identity_known(self._mutations[0]):
            return []
        run = self._mutations.popleft().run
        self._running = run.request.request_id
        return [run]

    def _start_actions(self) -> list[Effect]:
        waiting, self._actions_waiting = self._actions_waiting, []
        ready: list[Effect] = []
        for each in waiting:
            if self._is_identity_known(each):
                ready.append(each.run)
            else:
                self._actions_waiting.append(each)
        self._running_actions += len(ready)
        return ready

    def _is_identity_known(self, waiting: _Waiting) -> bool:
        return waiting.identity_version <= self._identity_version

    def mutation_done(self, request_id: int, outcome: Success | Failure) -> list[Effect]:
        """A mutation ended: answer it, then show what it did, then start the next one."""
        if self._phase is not _Phase.OPEN:
            return []
        assert self._running == request_id, f"mutation {request_id} is not running"
        self._running = None
        self._let_go(request_id)
        ts = 0
        if isinstance(outcome, Success):
            # One that committed nothing is shown by any transition.
            ts = self._sent_ts if outcome.ts is None else outcome.ts
            response = MutationResponse(
                request_id=request_id,
                success=True,
                result=outcome.value,
                ts=encode_ts(ts),
                log_lines=list(outcome.log_lines),
            )
        else:
            response = MutationResponse(
                request_id=request_id,
                success=False,
                result=self._codec.write(outcome.message),
                ts=None,
                log_lines=list(outcome.log_lines),
                error_data=outcome.data,
            )
        self._owe_after(ts)
        effects: list[Effect] = [Send(response)]
        if self._held is not None:
            effects += self._send_transition(self._held)
            self._held = None
        return [*effects, *self._start_mutation(), *self._update()]

    def action_done(self, request_id: int, outcome: Success | Failure) -> list[Effect]:
        """An action ended: answer it, then bring the client up to date."""
        if self._phase is not _Phase.OPEN:
            return []
        self._running_actions -= 1
        self._let_go(request_id)
        self._owe_after(outcome.ts or 0 if isinstance(outcome, Success) else 0)
        if isinstance(outcome, Success):
            result: Raw = outcome.value
            data: Raw | UnsetType = UNSET
        else:
            result, data = self._codec.write(outcome.message), outcome.data
        response = ActionResponse(
            request_id=request_id,
            success=isinstance(outcome, Success),
            result=result,
            log_lines=list(outcome.log_lines),
            error_data=data,
        )
        return [Send(response), *self._update()]

    # -- updates -------------------------------------------------------------------------------

    def touched(self) -> list[Effect]:
        """A commit touched a query of this connection."""
        self._is_wanted = True
        return self._update()

    def _owe(self) -> None:
        """The next update confirms what the client changed, even with an empty transition."""
        self._is_wanted = self._is_owed = True

    def _owe_after(self, ts: int) -> None:
        """A transition follows a response, and shows everything up to `ts`."""
        self._owed_ts = max(self._owed_ts or 0, ts)

    def _update(self) -> list[Effect]:
        """Order an update if one is wanted and nothing stands in its way."""
        if (
            not (self._is_wanted or self._owed_ts is not None)
            or self._phase is not _Phase.OPEN
            or self._computing is not None
            or self._held is not None
            or self._verifying
            or self._unsent >= UNSENT_TRANSITIONS_MAX
        ):
            return []
        self._is_wanted = False
        added, removed = self._added, tuple(self._removed)
        self._added, self._removed = {}, []
        for query_id in removed:
            del self._sent_keys[query_id]
        self._sent_keys.update(dict.fromkeys(added))
        # An id that was taken anew in the same step just gets its new value.
        gone = tuple(query_id for query_id in removed if query_id not in added)
        is_owed, self._is_owed = self._is_owed, False
        self._computing = _Update(self._query_set, self._identity_version, gone, is_owed)
        is_identity_new, self._is_identity_new = self._is_identity_new, False
        return [Compute(tuple(added.values()), removed, self.identity, is_identity_new)]

    def computed(
        self,
        ts: int,
        states: Mapping[int, QueryState],
        *,
        is_own_commit_near: bool,
        number: int | UnsetType = UNSET,
    ) -> list[Effect]:
        """The query set at timestamp `ts`.

        Args:
            states: of queries that may have changed; those of others may be left out.
            number: the commit, for a client that wants it.
            is_own_commit_near: the running mutation may have committed at or before `ts`: the
                transition waits for its response.
        """
        if self._phase is not _Phase.OPEN:
            return []
        assert self._computing is not None, "no update was ordered"
        update, self._computing = self._computing, None
        modifications: list[StateModification] = [
            QueryRemoved(query_id=query_id) for query_id in update.removed
        ]
        for query_id, state in states.items():
            # One that was removed while it ran is told of with the next update, whatever its id
            # stands for now.
            is_current = query_id in self._ids and query_id not in self._added
            if is_current and self._sent_keys[query_id] != state.key:
                self._sent_keys[query_id] = state.key
                modifications.append(_modification(query_id, state))
        follows = self._owed_ts is not None and ts >= self._owed_ts
        if not (modifications or update.is_owed or follows):
            return self._update()  # nobody waits for it, and nothing that is shown has changed
        self._sent_ts = max(self._sent_ts, ts)
        end = Version(
            query_set=update.query_set, identity=update.identity, ts=encode_ts(self._sent_ts)
        )
        transition = Transition(
            start_version=self._sent,
            end_version=end,
            modifications=modifications,
            number=number,
        )
        self._sent = end
        if is_own_commit_near and self._running is not None:
            self._held = transition
            return []
        return [*self._send_transition(transition), *self._update()]

    @property
    def is_awaited(self) -> bool:
        """Whether the client waits for the update that is being computed."""
        update = self._computing
        return update is not None and (update.is_owed or self._owed_ts is not None)

    def _send_transition(self, transition: Transition) -> list[Effect]:
        self._unsent += 1
        if self._owed_ts is not None and self._sent_ts >= self._owed_ts:
            self._owed_ts = None
        return [Send(transition)]

    def sent(self, message: ServerMessage, *, now_s: float) -> list[Effect]:
        """The transport has taken a message; call it for every one."""
        self._last_sent_s = now_s
        if not isinstance(message, Transition):
            return []
        self._unsent -= 1
        return self._update()

    def tick(self, *, now_s: float) -> list[Effect]:
        """Time has passed: a Ping after a silence, in which nothing waits to be sent."""
        is_due = now_s - self._last_sent_s >= SILENCE_S_MAX
        if self._phase is not _Phase.OPEN or not is_due or self._unsent:
            return []
        self._last_sent_s = now_s
        return [Send(Ping())]

    def close(self) -> None:
        """The transport is gone; whatever comes later has no effect."""
        self._phase = _Phase.CLOSED

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will be sent."""
        return self._phase is _Phase.CLOSED


def _modification(query_id: int, state: QueryState) -> QueryUpdated | QueryFailed:
    outcome = state.outcome
    if isinstance(outcome, Success):
        return QueryUpdated(
            query_id=query_id,
            value=outcome.value,
            log_lines=list(outcome.log_lines),
            journal=state.journal,
        )
    return QueryFailed(
        query_id=query_id,
        error_message=outcome.message,
        error_data=outcome.data,
        log_lines=list(outcome.log_lines),
        journal=state.journal,
    )


def _only(args: list[Raw]) -> Raw:
    """The one object of an array of arguments."""
    if not args:
        return NO_ARGS
    if len(args) > 1:
        raise ProtocolError(f"Arguments are an array of one object, not of {len(args)}")
    return args[0]
