"""The live queries of one connection, all shown at one commit at a time.

Where queries are followed and dropped, `follow` does that and captures where they stand: it blocks,
on a worker thread, and the event loop takes what it found by `rebase`. From there on the hub hands
over what is told of them, step by step (`note`, `note_lagging`, ..), and `next_point` says to where
all of them are known: what that changes is made into an `Update` by `show`. All but `follow` and
`show` happen on the event loop; what is told while `follow` is at work waits for it.

While one of the queries lags, the set is known up to the commit at which that began, and again at
the commit of a round that ran all that lagged when it began: at the states it gave, and what was
told before its beginning. So the set keeps what is told apart by such beginnings (`_Mark`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

from livedb.auth.access import Caller, Permission
from livedb.errors import (
    AuthenticationError,
    ClosedError,
    InvalidValueError,
    LivedbError,
    PermissionDeniedError,
)
from livedb.functions.table_functions import table_function
from livedb.live.live_query import LiveQuery, LiveSource, LiveState, Round
from livedb.live.sources import EVERYBODY, FunctionSource, IdentityWanted, InlineSource, SqlSource
from livedb.live.steps import Capture, Change, Outcome, States
from livedb.protocol.effects import Compute, Failure, Followed, QueryState
from livedb.service.access import Access
from livedb.service.functions import read_object, registered_name
from livedb.service.outcomes import Dialect
from livedb.workspace import Workspace

PROMPT_BYTES_MAX = 64 << 10
"""Bytes of results that are made into messages on the event loop; more are made on a thread."""

_OWN = {"who": Permission.SEE_VISITORS, "table": Permission.READ_TABLES}
"""What it takes to follow other things than SQL, by path."""

LIVEDB = "livedb"
"""The component whose paths are livedb's own: SQL, reads of tables, verbs of a workspace."""


@dataclass(slots=True)
class _Member:
    """One query of the set.

    Attributes:
        query: its live query, unless there can be none.
        failure: why there can be none.
        shown: what of it was handed out last.
    """

    followed: Followed
    query: LiveQuery | None = None
    failure: Failure | None = None
    shown: LiveState | Failure | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Where a query set stands: at a commit and its timestamp, with the states that changed.

    Attributes:
        steps: what was told until then is in it.
    """

    number: int
    ts: int
    steps: int
    states: dict[int, QueryState]


class Moment(NamedTuple):
    """A commit, its timestamp, and how many steps had been told of then."""

    number: int
    ts: int
    steps: int


class Point(NamedTuple):
    """To where a query set can go, and what leads there."""

    at: Moment
    states: States


class _Mark(NamedTuple):
    """The beginning of a round that runs queries of the set.

    Attributes:
        states: what had been told by then and is not shown.
        lagging: what the round must give, so that all is known there.
    """

    at: Moment
    states: States
    lagging: frozenset[LiveQuery]


class Found(NamedTuple):
    """What `follow` found: where the queries stand, and those that cannot be followed."""

    captured: Capture
    failures: dict[int, Failure]


class QuerySet:
    """What one connection follows."""

    def __init__(self, workspace: Workspace, access: Access, dialect: Dialect) -> None:
        self._workspace = workspace
        self._access = access
        self._dialect = dialect
        self._following = Lock()
        """Held while `_members` and `_ids` change; taken before the live refresh lock."""
        self.is_closed = False
        self._members: dict[int, _Member] = {}
        self._ids: dict[LiveQuery, list[int]] = {}
        """Under which ids each live query is followed."""
        self._waiting: list[Callable[[], object]] | None = None
        """What was told while `follow` is at work."""
        self._base = Moment(0, 0, 0)
        """Of the last capture."""
        self.lagging: set[LiveQuery] = set()
        """Those that are not known at what was told last."""
        self._reached: Point | None = None
        """To where a round has led."""
        self._marks: dict[Round, _Mark] = {}
        """Of rounds that go on, in order."""
        self._news: States = {}
        """Told since the last of these began."""
        self._failures: dict[int, Failure] = {}
        self._number = self._ts = 0
        """The commit that is shown."""
        self._caller: Caller | None = None
        """Who follows them, as of the last order."""
        self._rights: tuple[bool, str | None] = (False, None)
        """Whether internal functions are seen, and why no query may be run: as of the last time.
        """

    def queries(self) -> list[LiveQuery]:
        """The live queries now followed."""
        return list(self._ids)

    # -- what is told, on the event loop -------------------------------------------------------

    def note(self, steps: int, changes: Sequence[Change]) -> bool:
        """Keep what a transition changed; whether there is somewhere to go."""
        if self._waiting is not None:
            self._waiting.append(partial(self.note, steps, changes))
            return False
        if steps <= self._base.steps:
            return False  # captured already
        for change in changes:
            self._news[change.query] = change.new
        return not self.lagging

    def note_lagging(self, steps: int, lagging: Sequence[LiveQuery]) -> None:
        """A transition has left these to a round."""
        if self._waiting is not None:
            self._waiting.append(partial(self.note_lagging, steps, lagging))
        elif steps > self._base.steps:
            self.lagging.update(lagging)

    def note_begun(self, at: Moment, begun: Round) -> None:
        """A round has begun that runs some of these queries."""
        if self._waiting is not None:
            self._waiting.append(partial(self.note_begun, at, begun))
        elif at.steps > self._base.steps:
            self._mark(at, begun)

    def note_ended(self, steps: int, ended: Round | None, outcome: Outcome) -> bool:
        """A round has ended, or a transition has run what lagged; whether there is where to go."""
        if self._waiting is not None:
            self._waiting.append(partial(self.note_ended, steps, ended, outcome))
            return False
        if steps <= self._base.steps:
            return False
        self._end(ended, outcome)
        return not self.lagging or self._reached is not None

    def _mark(self, at: Moment, begun: Round) -> None:
        states, self._news = self._news, {}
        self._marks[begun] = _Mark(at, states, frozenset(self.lagging))

    def _end(self, ended: Round | None, outcome: Outcome) -> None:
        self.lagging.difference_update(outcome.settled)
        self.lagging.update(outcome.again)
        if ended is None or ended not in self._marks:
            # Of a transition; or the round had begun before these queries were captured. What
            # lagged until now has no newer state.
            self._news.update(outcome.settled)
            return
        given = outcome.settled | outcome.again
        mark = self._marks[ended]
        if mark.lagging <= given.keys():
            self._reached = Point(mark.at, self._told_until(ended) | given)
            return
        states = mark.states | outcome.settled
        rounds = list(self._marks)
        following = rounds[rounds.index(ended) + 1 :]
        del self._marks[ended]
        if following:
            after = self._marks[following[0]]
            self._marks[following[0]] = after._replace(states=states | after.states)
        else:
            self._news = states | self._news

    def _told_until(self, begun: Round | None) -> States:
        """What is not shown of what was told until a round began, or until now; taken away."""
        if self._reached is None and not self._marks:  # as mostly
            news, self._news = self._news, {}
            return news
        states = {} if self._reached is None else self._reached.states
        self._reached = None
        for each in list(self._marks):
            states |= self._marks.pop(each).states
            if each is begun:
                return states
        states |= self._news
        self._news = {}
        return states

    # -- where to go, on the event loop --------------------------------------------------------

    def is_captured(self, ts: int) -> bool:
        """Whether commits up to a timestamp were there when these queries were captured."""
        return ts <= self._base.ts

    def next_point(self, newest: Moment) -> Point | None:
        """To where all queries are known, if that is further than what is shown; taken away.

        Args:
            newest: up to where everything has been told.
        """
        if not self.lagging:
            at = newest if newest.number >= self._base.number else self._base
            return Point(at, self._told_until(None))
        point, self._reached = self._reached, None
        return point

    def asking(self, point: Point) -> list[int]:
        """The queries that are to be followed as the caller, as they ask who that is."""
        return [
            query_id
            for query, state in point.states.items()
            if isinstance(state.error, IdentityWanted)
            for query_id in self._ids.get(query, ())
        ]

    @staticmethod
    def is_prompt(point: Point) -> bool:
        """Whether `show` takes no time that others would feel."""
        size = 0
        for state in point.states.values():
            size += 0 if state.result is None else state.result.size_bytes
        return size <= PROMPT_BYTES_MAX

    def show(self, point: Point) -> Update:
        """Go to a point; on any thread, while nothing is followed."""
        states: dict[int, LiveState | Failure] = {
            query_id: state
            for query, state in point.states.items()
            for query_id in self._ids.get(query, ())
        }
        states |= self._failures
        self._failures = {}
        if point.at.number > self._number:
            self._number, self._ts = point.at.number, max(self._ts, point.at.ts)
        return Update(self._number, self._ts, point.at.steps, self._changed(states))

    # -- following -----------------------------------------------------------------------------

    def begin_following(self) -> None:
        """On the event loop, before `follow`: what is told from here on waits for `rebase`."""
        assert self._waiting is None, "it follows already"
        self._waiting = []

    def follow(
        self, order: Compute, on_follow: Callable[[], None], *, asking: Sequence[int] = ()
    ) -> Found:
        """Follow and drop what the order says, and see where all stands; blocking.

        Args:
            on_follow: called when `queries` has changed, before they are captured: what is told
                from there on must reach `note`.
            asking: queries to follow as the caller.

        Raises:
            ClosedError: the workspace or this set is closed.
        """
        caller: Caller | None = order.identity
        identity = None if caller is None else caller.identity
        with self._changing(on_follow):
            self._follow(dict.fromkeys(asking, identity) | self._ordered(order, caller))
        while True:
            captured = self._workspace.live.capture(list(self._ids))
            states = captured.states
            if captured.outcome is not None:
                states = states | captured.outcome.settled | captured.outcome.again
            wanted = self.asking(Point(self._base, states))
            if not wanted:
                break
            with self._changing(on_follow):
                self._follow(dict.fromkeys(wanted, identity))
        failures = {
            query_id: member.failure
            for query_id, member in self._members.items()
            if member.failure is not None
        }
        return Found(captured, failures)

    @contextmanager
    def _changing(self, on_follow: Callable[[], None]) -> Iterator[None]:
        """Within it queries are followed and dropped, unless the set is closed."""
        with self._following:
            if self.is_closed:
                raise ClosedError("The connection has ended")
            try:
                yield
            finally:
                on_follow()

    def _ordered(self, order: Compute, caller: Caller | None) -> dict[int, Any]:
        """Drop and add what an order says; those to follow, and as whom."""
        for query_id in order.removed:
            self._drop(query_id)
        for each in order.added:
            self._members[each.query_id] = _Member(each)
        self._caller = caller
        rights = self._rights_of(caller)
        if rights != self._rights:
            # What others share with the caller may be another's business now.
            self._rights = rights
            return dict.fromkeys(self._members, EVERYBODY)
        wanted: dict[int, Any] = {each.query_id: EVERYBODY for each in order.added}
        if order.is_identity_new:
            identity = None if caller is None else caller.identity
            wanted |= dict.fromkeys(self._personal(), identity)
        return wanted

    def rebase(self, found: Found) -> None:
        """On the event loop, after `follow`: begin from what it found, with what was told since."""
        captured = found.captured
        self._base = Moment(captured.number, captured.ts, captured.steps)
        self.lagging = set(captured.lagging)
        self._reached, self._marks = None, {}
        self._news = captured.states
        self._failures = found.failures
        if captured.round is not None and captured.outcome is not None:
            self._mark(self._base, captured.round)
            self._end(captured.round, captured.outcome)
        waiting, self._waiting = self._waiting, None
        for tell in waiting or ():
            tell()

    def _rights_of(self, caller: Caller | None) -> tuple[bool, str | None]:
        try:
            self._access.require_kind(caller, "query")
        except (AuthenticationError, PermissionDeniedError) as error:
            return False, error.message
        return self._access.is_admin(caller), None

    def _personal(self) -> list[int]:
        """Queries that are run as the caller."""
        return [
            query_id
            for query_id, member in self._members.items()
            if member.query is not None
            and getattr(member.query.source, "identity", EVERYBODY) is not EVERYBODY
        ]

    def _follow(self, wanted: dict[int, Any]) -> None:
        """Follow, or follow as somebody else, what `wanted` names."""
        sources: dict[int, LiveSource] = {}
        for query_id, identity in wanted.items():
            member = self._members[query_id]
            try:
                sources[query_id] = self._source(member.followed, identity)
                member.failure = None
            except LivedbError as error:
                member.failure = self._dialect.failure(error)
        queries = self._workspace.live.follow_lagging(list(sources.values()))
        followed = dict(zip(sources, queries, strict=True))
        for query_id in wanted:
            member = self._members[query_id]
            if member.query is not None:
                self._leave(query_id, member.query)
            member.query = followed.get(query_id)
            if member.query is not None:
                self._ids.setdefault(member.query, []).append(query_id)

    def _source(self, query: Followed, identity: Any) -> LiveSource:
        sees_internal, refusal = self._rights
        if refusal is not None:
            raise PermissionDeniedError(refusal)
        dialect = self._dialect
        args = read_object(dialect.codec.read(query.args))
        if query.component == LIVEDB and dialect.is_exact:
            return self._own_source(query.path, args)
        registry = self._workspace.runner.registry
        return FunctionSource(
            self._workspace.runner,
            registered_name(registry, query.path, query.component),
            args,
            identity=identity,
            is_public_only=not sees_internal,
            is_from_wire=not dialect.is_exact,
            keeps_page=not dialect.is_exact,
            journal=query.journal,
        )

    def _own_source(self, path: str, args: dict[str, Any]) -> LiveSource:
        """SQL, or a read of a table, for livedb's own client."""
        self._access.require(self._caller, _OWN.get(path, Permission.SQL))
        try:
            if path == "sql":
                return SqlSource(self._workspace.folded_sql, args["text"], args["params"])
            if path == "who":
                return self._workspace.presence.source
            if path == "table":
                function = table_function(args["verb"], args["name"])
                return InlineSource(self._workspace.runner, function, args["args"])
        except (KeyError, TypeError) as error:
            raise InvalidValueError(f"{path} cannot be followed: {error!r}") from error
        raise InvalidValueError(f"There is nothing to follow under {path!r}")

    def _changed(self, states: Mapping[int, LiveState | Failure]) -> dict[int, QueryState]:
        """What was not handed out before."""
        changed = {}
        for query_id, newest in states.items():
            member = self._members[query_id]
            if newest is member.shown:
                continue
            if isinstance(newest, Failure):
                changed[query_id] = QueryState(newest.message, newest)
            else:
                shown = member.shown if isinstance(member.shown, LiveState) else None
                journal = None if member.query is None else member.query.source.journal
                changed[query_id] = QueryState(newest, self._dialect.state(newest, shown), journal)
            member.shown = newest
        return changed

    def _leave(self, query_id: int, query: LiveQuery) -> None:
        followed = self._ids[query]
        followed.remove(query_id)
        if not followed:
            del self._ids[query]
        if not self._workspace.is_closed:
            self._workspace.live.leave(query)

    def _drop(self, query_id: int) -> None:
        query = self._members.pop(query_id).query
        if query is not None:
            self._leave(query_id, query)

    def close(self) -> list[LiveQuery]:
        """Follow nothing any more, whatever `follow` is at; gives what was followed."""
        with self._following:
            self.is_closed = True
            queries = self.queries()
            for query_id in list(self._members):
                self._drop(query_id)
            return queries
