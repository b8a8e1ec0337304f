"""The live queries of one connection, brought to one commit at a time.

Blocking: called on worker threads, one call at a time for each connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from msgspec import Raw

from livedb.errors import LivedbError
from livedb.live.live_query import LiveQuery, LiveState
from livedb.live.sources import EVERYBODY, FunctionSource, IdentityWanted
from livedb.protocol.server import Compute, Failure, Followed, QueryState, Success
from livedb.service.functions import read_arguments, registered_name
from livedb.service.outcomes import Outcomes
from livedb.workspace import Workspace


class WireStates:
    """States of live queries as clients read them: made once, however many follow."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        self._known: WeakKeyDictionary[LiveState, Success | Failure] = WeakKeyDictionary()

    def of(self, state: LiveState) -> Success | Failure:
        """What clients read of a state."""
        found = self._known.get(state)
        if found is None:
            found = self._known[state] = self._make(state)
        return found

    def _make(self, state: LiveState) -> Success | Failure:
        if state.error is not None:
            return self._outcomes.failure(state.error, state.log_lines)
        assert state.result is not None, "a state without error has a result"
        value: Raw = self._outcomes.result(state.result)
        return Success(value, state.log_lines)


@dataclass(slots=True)
class _Member:
    """One query of the set: its live query, or why it can have none."""

    followed: Followed
    query: LiveQuery | None = None
    failure: Failure | None = None


class QuerySet:
    """What one connection follows."""

    def __init__(self, workspace: Workspace, states: WireStates, outcomes: Outcomes) -> None:
        self._workspace = workspace
        self._states = states
        self._outcomes = outcomes
        self._members: dict[int, _Member] = {}
        self.number = -1
        """The commit of the last update."""

    def queries(self) -> list[LiveQuery]:
        """The live queries now followed."""
        return [each.query for each in list(self._members.values()) if each.query is not None]

    def update(self, order: Compute, *, sees_internal: bool) -> tuple[int, dict[int, QueryState]]:
        """Follow and drop what the order says; returns a timestamp and every query's state there.

        Raises:
            ClosedError: the workspace is closed.
        """
        for query_id in order.removed:
            self._drop(query_id)
        identity = order.identity.identity
        wanted = {each.query_id: EVERYBODY for each in order.added}
        if order.is_identity_new:
            wanted |= dict.fromkeys(self._personal(), identity)
        for each in order.added:
            self._members[each.query_id] = _Member(each)
        while wanted:
            self._follow(wanted, sees_internal=sees_internal)
            number, states = self._read()
            wanted = {
                query_id: identity
                for query_id, state in states.items()
                if isinstance(state.error, IdentityWanted)
            }
        number, states = self._read()
        return self._workspace.committer.ts_of(number), self._as_sent(states)

    def _personal(self) -> list[int]:
        """Queries that are run as the caller, and those that may not even be there for another."""
        return [
            query_id
            for query_id, member in self._members.items()
            if member.query is None
            or getattr(member.query.source, "identity", None) is not EVERYBODY
        ]

    def _follow(self, wanted: dict[int, Any], *, sees_internal: bool) -> None:
        """Follow, or follow as somebody else, what `wanted` names."""
        sources: dict[int, FunctionSource] = {}
        for query_id, identity in wanted.items():
            member = self._members[query_id]
            try:
                sources[query_id] = self._source(
                    member.followed, identity, sees_internal=sees_internal
                )
            except LivedbError as error:
                member.failure = self._outcomes.failure(error)
        queries = self._workspace.live.follow_all(list(sources.values()))
        for query_id, query in zip(sources, queries, strict=True):
            member = self._members[query_id]
            if member.query is not None:
                self._workspace.live.unfollow(member.query)
            member.query, member.failure = query, None

    def _source(self, query: Followed, identity: Any, *, sees_internal: bool) -> FunctionSource:
        runner = self._workspace.runner
        return FunctionSource(
            runner,
            registered_name(runner.registry, query.path),
            read_arguments(query.args),
            identity=identity,
            is_public_only=not sees_internal,
            keeps_page=True,
            journal=query.journal,
        )

    def _read(self) -> tuple[int, dict[int, LiveState]]:
        """Every live query's state, all at one commit."""
        states: dict[int, LiveState] = {}
        with self._workspace.live.held() as number:
            for query_id, member in self._members.items():
                if member.query is not None and member.query.state is not None:
                    states[query_id] = member.query.state
        self.number = number
        return number, states

    def _as_sent(self, states: dict[int, LiveState]) -> dict[int, QueryState]:
        sent = {}
        for query_id, member in self._members.items():
            if member.failure is not None:
                sent[query_id] = QueryState(member.failure.message, member.failure)
            else:
                state = states[query_id]
                journal = None if member.query is None else member.query.source.journal
                sent[query_id] = QueryState(state, self._states.of(state), journal)
        return sent

    def _drop(self, query_id: int) -> None:
        query = self._members.pop(query_id).query
        if query is not None and not self._workspace.is_closed:
            self._workspace.live.unfollow(query)

    def close(self) -> None:
        """Follow nothing any more."""
        for query_id in list(self._members):
            self._drop(query_id)
