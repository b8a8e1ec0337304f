"""The live queries of one connection, brought to one commit at a time.

Blocking: called on worker threads, one call at a time for each connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from livedb.errors import InvalidValueError, LivedbError
from livedb.functions.table_functions import table_function
from livedb.identity import Identity
from livedb.live.live_query import LiveQuery, LiveSource, LiveState
from livedb.live.sources import EVERYBODY, FunctionSource, IdentityWanted, InlineSource, SqlSource
from livedb.protocol.server import Compute, Failure, Followed, QueryState
from livedb.service.functions import read_object, registered_name
from livedb.service.outcomes import Dialect
from livedb.workspace import Workspace

LIVEDB = "livedb"
"""The component whose paths are livedb's own: SQL, reads of tables, verbs of a workspace."""


@dataclass(slots=True)
class _Member:
    """One query of the set: its live query, or why it can have none."""

    followed: Followed
    query: LiveQuery | None = None
    failure: Failure | None = None
    sent: LiveState | Failure | None = None
    """What the client has of it."""


@dataclass(frozen=True, slots=True)
class Update:
    """Where a query set stands: at a commit and its timestamp, with the states that changed."""

    number: int
    ts: int
    states: dict[int, QueryState]


class QuerySet:
    """What one connection follows."""

    def __init__(self, workspace: Workspace, dialect: Dialect) -> None:
        self._workspace = workspace
        self._dialect = dialect
        self._members: dict[int, _Member] = {}
        self.number = -1
        """The commit of the last update."""

    def queries(self) -> list[LiveQuery]:
        """The live queries now followed."""
        return [each.query for each in list(self._members.values()) if each.query is not None]

    def update(self, order: Compute, *, is_admin: bool) -> Update:
        """Follow and drop what the order says, and go to the newest commit.

        Raises:
            ClosedError: the workspace is closed.
        """
        for query_id in order.removed:
            self._drop(query_id)
        identity = _identity_of(order.identity)
        wanted: dict[int, Any] = {each.query_id: EVERYBODY for each in order.added}
        if order.is_identity_new:
            wanted |= dict.fromkeys(self._personal(), identity)
        for each in order.added:
            self._members[each.query_id] = _Member(each)
        while wanted:
            self._follow(wanted, is_admin=is_admin)
            number, states = self._read()
            wanted = {
                query_id: identity
                for query_id, state in states.items()
                if isinstance(state.error, IdentityWanted)
            }
        number, states = self._read()
        self.number = number
        return Update(number, self._workspace.committer.ts_of(number), self._changed(states))

    def _personal(self) -> list[int]:
        """Queries that are run as the caller, and those that may be there for another one."""
        return [
            query_id
            for query_id, member in self._members.items()
            if member.query is None
            or getattr(member.query.source, "identity", EVERYBODY) is not EVERYBODY
        ]

    def _follow(self, wanted: dict[int, Any], *, is_admin: bool) -> None:
        """Follow, or follow as somebody else, what `wanted` names."""
        sources: dict[int, LiveSource] = {}
        for query_id, identity in wanted.items():
            member = self._members[query_id]
            try:
                sources[query_id] = self._source(member.followed, identity, is_admin=is_admin)
            except LivedbError as error:
                member.failure = self._dialect.failure(error)
        queries = self._workspace.live.follow_all(list(sources.values()))
        for query_id, query in zip(sources, queries, strict=True):
            member = self._members[query_id]
            if member.query is not None:
                self._workspace.live.unfollow(member.query)
            member.query, member.failure = query, None

    def _source(self, query: Followed, identity: Any, *, is_admin: bool) -> LiveSource:
        args = read_object(self._dialect.codec.read(query.args))
        if query.component == LIVEDB:
            return self._own_source(query.path, args, is_admin=is_admin)
        runner = self._workspace.runner
        return FunctionSource(
            runner,
            registered_name(runner.registry, query.path),
            args,
            identity=identity,
            is_public_only=not is_admin,
            is_from_wire=not self._dialect.is_exact,
            keeps_page=not self._dialect.is_exact,
            journal=query.journal,
        )

    def _own_source(self, path: str, args: dict[str, Any], *, is_admin: bool) -> LiveSource:
        if not is_admin:
            raise InvalidValueError("SQL and tables are followed by editors and owners only")
        if path == "sql":
            return SqlSource(self._workspace.folded_sql, args["text"], args["params"])
        if path == "table":
            function = table_function(args["verb"], args["name"])
            return InlineSource(self._workspace.runner, function, args["args"])
        raise InvalidValueError(f"There is nothing to follow under {path!r}")

    def _read(self) -> tuple[int, dict[int, LiveState]]:
        """Every live query's state, all at one commit."""
        states: dict[int, LiveState] = {}
        with self._workspace.live.held() as number:
            for query_id, member in self._members.items():
                if member.query is not None and member.query.state is not None:
                    states[query_id] = member.query.state
        return number, states

    def _changed(self, states: dict[int, LiveState]) -> dict[int, QueryState]:
        """What the client does not have yet."""
        changed = {}
        for query_id, member in self._members.items():
            state = member.failure or states[query_id]
            if state is member.sent:
                continue
            if isinstance(state, Failure):
                changed[query_id] = QueryState(id(state), state)
            else:
                known = member.sent if isinstance(member.sent, LiveState) else None
                journal = None if member.query is None else member.query.source.journal
                outcome = self._dialect.state(state, known)
                changed[query_id] = QueryState(state, outcome, journal)
            member.sent = state
        return changed

    def _drop(self, query_id: int) -> None:
        query = self._members.pop(query_id).query
        if query is not None and not self._workspace.is_closed:
            self._workspace.live.unfollow(query)

    def close(self) -> None:
        """Follow nothing any more."""
        for query_id in list(self._members):
            self._drop(query_id)


def _identity_of(caller: Any) -> Identity | None:
    identity: Identity | None = getattr(caller, "identity", None)
    return identity
