"""The live queries of one connection, brought to one commit at a time.

Blocking: called on worker threads, one call at a time for each connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from msgspec import Raw

from livedb.errors import AuthenticationError, LivedbError, PermissionDeniedError
from livedb.live.live_query import LiveQuery, LiveState
from livedb.live.sources import EVERYBODY, FunctionSource, IdentityWanted
from livedb.protocol.server import Compute, Failure, Followed, QueryState, Success
from livedb.service.access import Access, Caller
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


class QuerySet:
    """What one connection follows."""

    def __init__(
        self, workspace: Workspace, access: Access, states: WireStates, outcomes: Outcomes
    ) -> None:
        self._workspace = workspace
        self._access = access
        self._states = states
        self._outcomes = outcomes
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

    def update(self, order: Compute) -> tuple[int, dict[int, QueryState]]:
        """Follow and drop what the order says; returns a timestamp and what changed until there.

        Raises:
            ClosedError: the workspace is closed.
        """
        for query_id in order.removed:
            self._drop(query_id)
        caller: Caller = order.identity
        wanted = {each.query_id: EVERYBODY for each in order.added}
        for each in order.added:
            self._members[each.query_id] = _Member(each)
        rights = self._rights_of(caller)
        if rights != self._rights:
            # What others share with the caller may be another's business now.
            self._rights = rights
            wanted = dict.fromkeys(self._members, EVERYBODY)
        elif order.is_identity_new:
            wanted |= dict.fromkeys(self._personal(), caller.identity)
        while wanted:
            self._follow(wanted)
            number, states = self._read()
            wanted = {
                query_id: caller.identity
                for query_id, state in states.items()
                if isinstance(state.error, IdentityWanted)
            }
        number, states = self._read()
        return self._workspace.committer.ts_of(number), self._changed(states)

    def update_nowait(self, order: Compute) -> tuple[int, dict[int, QueryState]] | None:
        """As `update`, when nothing has to be waited for or run; None when it does."""
        if order.added or order.removed or order.is_identity_new:
            return None
        queries = self.queries()
        with self._workspace.live.held_nowait() as number:
            if number is None:
                return None
            states = self._states_of(queries)
        return self._workspace.committer.ts_of(number), self._changed(states)

    def _rights_of(self, caller: Caller) -> tuple[bool, str | None]:
        try:
            self._access.require(caller, "query")
        except (AuthenticationError, PermissionDeniedError) as error:
            return False, error.message
        return self._access.is_admin(caller), None

    def _personal(self) -> list[int]:
        """Queries that are run as the caller."""
        return [
            query_id
            for query_id, member in self._members.items()
            if member.query is not None
            and getattr(member.query.source, "identity", None) is not EVERYBODY
        ]

    def _follow(self, wanted: dict[int, Any]) -> None:
        """Follow, or follow as somebody else, what `wanted` names."""
        sources: dict[int, FunctionSource] = {}
        for query_id, identity in wanted.items():
            member = self._members[query_id]
            try:
                sources[query_id] = self._source(member.followed, identity)
                member.failure = None
            except LivedbError as error:
                member.failure = self._outcomes.failure(error)
        queries = self._workspace.live.follow_all(list(sources.values()))
        followed = dict(zip(sources, queries, strict=True))
        for query_id in wanted:
            member = self._members[query_id]
            if member.query is not None:
                self._workspace.live.unfollow(member.query)
            member.query = followed.get(query_id)

    def _source(self, query: Followed, identity: Any) -> FunctionSource:
        sees_internal, refusal = self._rights
        if refusal is not None:
            raise PermissionDeniedError(refusal)
        runner = self._workspace.runner
        return FunctionSource(
            runner,
            registered_name(runner.registry, query.path, query.component),
            read_arguments(query.args),
            identity=identity,
            is_public_only=not sees_internal,
            keeps_page=True,
            journal=query.journal,
        )

    def _read(self) -> tuple[int, dict[int, LiveState]]:
        """Every live query's state, all at one commit."""
        queries = self.queries()
        with self._workspace.live.held() as number:
            return number, self._states_of(queries)

    def _states_of(self, queries: Sequence[LiveQuery]) -> dict[int, LiveState]:
        read = {query: query.state for query in queries if query.state is not None}
        self._read_states = read
        return {
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
            member.shown = newest
            if isinstance(newest, Failure):
                changed[query_id] = QueryState(newest.message, newest)
            else:
                journal = None if member.query is None else member.query.source.journal
                changed[query_id] = QueryState(newest, self._states.of(newest), journal)
        return changed

    def _drop(self, query_id: int) -> None:
        query = self._members.pop(query_id).query
        if query is not None and not self._workspace.is_closed:
            self._workspace.live.unfollow(query)

    def close(self) -> None:
        """Follow nothing any more."""
        for query_id in list(self._members):
            self._drop(query_id)
