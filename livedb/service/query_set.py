"""The live queries of one connection, brought to one commit at a time.

Blocking: called on worker threads, one call at a time for each connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from livedb.auth.access import Caller
from livedb.errors import AuthenticationError, InvalidValueError, LivedbError, PermissionDeniedError
from livedb.functions.table_functions import table_function
from livedb.live.live_query import LiveQuery, LiveSource, LiveState
from livedb.live.sources import EVERYBODY, FunctionSource, IdentityWanted, InlineSource, SqlSource
from livedb.protocol.server import Compute, Failure, Followed, QueryState
from livedb.service.access import Access
from livedb.service.functions import read_object, registered_name
from livedb.service.outcomes import Dialect
from livedb.workspace import Workspace

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
        self._rights: tuple[bool, str | None] = (False, None)
        """Whether internal functions are seen, and why no query may be run: as of the last update.
        """
        self._read_states: dict[LiveQuery, LiveState] = {}
        """As of the last update; replaced as a whole."""

    def queries(self) -> list[LiveQuery]:
        """The live queries now followed."""
        return [each.query for each in list(self._members.values()) if each.query is not None]

    def knows(self, query: LiveQuery, state: LiveState | None) -> bool:
        """Whether the last update read this state; from any thread."""
        return self._read_states.get(query) is state

    def update(self, order: Compute) -> Update:
        """Follow and drop what the order says, and go to the newest commit.

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
        while wanted:
            self._follow(wanted)
            number, states = self._read()
            wanted = {
                query_id: identity
                for query_id, state in states.items()
                if isinstance(state.error, IdentityWanted)
            }
        number, states = self._read()
        return Update(number, self._workspace.committer.ts_of(number), self._changed(states))

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
                self._workspace.live.unfollow(member.query)
            member.query = followed.get(query_id)

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

    def _read(self) -> tuple[int, dict[int, LiveState]]:
        """Every live query's state, all at one commit."""
        queries = self.queries()
        with self._workspace.live.held() as number:
            read = {query: query.state for query in queries if query.state is not None}
        self._read_states = read
        return number, {
            query_id: read[member.query]
            for query_id, member in self._members.items()
            if member.query is not None
        }

    def _changed(self, states: dict[int, LiveState]) -> dict[int, QueryState]:
        """What was not handed out before."""
        changed = {}
        for query_id, member in self._members.items():
            newest = member.failure or states[query_id]
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

    def _drop(self, query_id: int) -> None:
        query = self._members.pop(query_id).query
        if query is not None and not self._workspace.is_closed:
            self._workspace.live.unfollow(query)

    def close(self) -> None:
        """Follow nothing any more."""
        for query_id in list(self._members):
            self._drop(query_id)
