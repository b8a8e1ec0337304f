"""The live queries of one connection, brought to one commit at a time.

Two ways lead to the next commit. Where queries are followed and dropped, `update` does that and
reads every state: it blocks, on a worker thread. Else nothing but what changed is looked at: the
hub hands it to `note` as it is told, and `advance` shows it, on the event loop. One of the two
happens at a time; `note` may come at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from livedb.auth.access import Caller
from livedb.errors import AuthenticationError, InvalidValueError, LivedbError, PermissionDeniedError
from livedb.functions.table_functions import table_function
from livedb.live.live_queries import Change
from livedb.live.live_query import LiveQuery, LiveSource, LiveState
from livedb.live.sources import EVERYBODY, FunctionSource, IdentityWanted, InlineSource, SqlSource
from livedb.protocol.server import Compute, Failure, Followed, QueryState
from livedb.service.access import Access
from livedb.service.functions import read_object, registered_name
from livedb.service.outcomes import Dialect
from livedb.workspace import Workspace

PROMPT_BYTES_MAX = 64 << 10
"""Bytes of results that are made into messages on the event loop; more are made on a thread."""

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
    """Where a query set stands: at a commit and its timestamp, with the states that changed."""

    number: int
    ts: int
    states: dict[int, QueryState]


class QuerySet:
    """What one connection follows."""

    def __init__(self, workspace: Workspace, access: Access, dialect: Dialect) -> None:
        self._workspace = workspace
        self._access = access
        self._dialect = dialect
        self._members: dict[int, _Member] = {}
        self._ids: dict[LiveQuery, list[int]] = {}
        """Under which ids each live query is followed."""
        self._news: dict[LiveQuery, tuple[int, LiveState]] = {}
        """The newest state that each was told to have, and by which transition."""
        self._number = self._ts = 0
        """The commit of the last update, and the transitions that it includes."""
        self._transitions = 0
        self._rights: tuple[bool, str | None] = (False, None)
        """Whether internal functions are seen, and why no query may be run: as of the last update.
        """

    def queries(self) -> list[LiveQuery]:
        """The live queries now followed."""
        return list(self._ids)

    # -- what changed, on the event loop -------------------------------------------------------

    def note(self, transitions: int, changes: Sequence[Change]) -> bool:
        """Keep what a transition changed, for the next `advance`; whether it was news."""
        for change in changes:
            self._news[change.query] = (transitions, change.new)
        return transitions > self._transitions

    def is_prompt(self) -> bool:
        """Whether `advance` takes no time that others would feel, and need run nothing again."""
        size = 0
        for transitions, state in self._news.values():
            if transitions <= self._transitions:
                continue
            if isinstance(state.error, IdentityWanted):
                return False
            size += 0 if state.result is None else state.result.size_bytes
        return size <= PROMPT_BYTES_MAX

    def advance(self, number: int, ts: int) -> Update:
        """Go to a commit up to which `note` has been told everything."""
        news, self._news = self._news, {}
        # An update may have read on while these were on their way.
        states = {
            query_id: state
            for query, (transitions, state) in news.items()
            if transitions > self._transitions
            for query_id in self._ids.get(query, ())
        }
        if number > self._number:
            self._number, self._ts = number, ts
        return Update(self._number, self._ts, self._changed(states))

    # -- following -----------------------------------------------------------------------------

    def update(self, order: Compute, on_follow: Callable[[], None]) -> Update:
        """Follow and drop what the order says, and go to the newest commit; blocking.

        Args:
            on_follow: called when `queries` has changed, before they are read: what is told from
                there on must reach `note`.

        Raises:
            ClosedError: the workspace is closed.
        """
        for query_id in order.removed:
            self._drop(query_id)
        caller: Caller | None = order.identity
        identity = None if caller is None else caller.identity
        wanted: dict[int, Any] = {each.query_id: EVERYBODY for each in order.added}
        for each in order.added:
            self._members[each.query_id] = _Member(each)
        rights = self._rights_of(caller)
        if rights != self._rights:
            # What others share with the caller may be another's business now.
            self._rights = rights
            wanted = dict.fromkeys(self._members, EVERYBODY)
        elif order.is_identity_new:
            wanted |= dict.fromkeys(self._personal(), identity)
        while True:
            self._follow(wanted)
            on_follow()
            states = self._read()
            wanted = {
                query_id: identity
                for query_id, state in states.items()
                if isinstance(state, LiveState) and isinstance(state.error, IdentityWanted)
            }
            if not wanted:
                break
        for query_id, member in self._members.items():
            if member.failure is not None:
                states[query_id] = member.failure
        return Update(self._number, self._ts, self._changed(states))

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
        queries = self._workspace.live.follow_all(list(sources.values()))
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
        if not self._rights[0]:
            raise PermissionDeniedError("SQL and tables are followed by editors and owners only")
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

    def _read(self) -> dict[int, LiveState | Failure]:
        """Every live query's state, all at one commit."""
        live = self._workspace.live
        with live.held() as number:
            states: dict[int, LiveState | Failure] = {
                query_id: query.state
                for query, query_ids in self._ids.items()
                if query.state is not None
                for query_id in query_ids
            }
            self._transitions = live.transitions_made
        self._number, self._ts = number, self._workspace.committer.ts_of(number)
        return states

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
            self._workspace.live.unfollow(query)

    def _drop(self, query_id: int) -> None:
        query = self._members.pop(query_id).query
        if query is not None:
            self._leave(query_id, query)

    def close(self) -> None:
        """Follow nothing any more."""
        for query_id in list(self._members):
            self._drop(query_id)
