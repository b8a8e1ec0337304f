"""One follower of a query on a service: what it asked for, and what the service says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Raw

from livedb.client.backend import OnChange
from livedb.client.optimistic import QueryKey, query_key
from livedb.errors import ClosedError
from livedb.functions.definition import FunctionDefinition
from livedb.functions.table_functions import verb_of
from livedb.live.live_query import NO_WORK, LiveState, Work
from livedb.live.result import DocumentsResult, Result, TableResult, ValueResult
from livedb.protocol.codecs import PACK
from livedb.protocol.errors import error_from
from livedb.protocol.messages import QueryFailed, QueryUpdated
from livedb.protocol.results import WireResult, read_result
from livedb.values import Value

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.client.remote import RemoteBackend


class RemoteSubscription:
    """One follower of a query on the service."""

    turn = 0

    def __init__(
        self,
        backend: RemoteBackend,
        title: str,
        asked: Asked,
        definition: FunctionDefinition | None,
        on_change: OnChange,
    ) -> None:
        self._backend = backend
        self._definition = definition
        self.title = title
        self.asked = asked
        self.on_change = on_change
        self.query_id: int | None = None
        self.is_dropped = False
        self.wire: WireResult | None = None
        self.known: LiveState | None = None
        """As the service has it."""
        self.shown: LiveState | None = None
        """The same, or what an optimistic update makes of it."""
        self._first_lines: Sequence[str] = ()
        """What the run printed that gave the first state."""

    def pull(self) -> int:
        return self._backend.pull()

    def state(self) -> LiveState:
        if self.query_id is None or self.shown is None:
            raise ClosedError(f"The live handle {self.title} is closed")
        return self.shown

    def definition(self) -> FunctionDefinition | None:
        known = self._definition
        if known is None or verb_of(known) is not None:
            return known
        return self._backend.newest(known)

    @property
    def runs(self) -> int:
        return self.work().runs

    def work(self) -> Work:
        return NO_WORK if self.query_id is None else self._backend.work_of(self.asked)

    def invalidate(self) -> None:
        definition = self.definition()
        if definition is not None and verb_of(definition) is None:
            self._backend.invalidate(definition.name)

    def close(self) -> None:
        # Takes no lock and waits for nothing: the garbage collector calls this, on any thread.
        self.is_dropped = True
        query_id, self.query_id = self.query_id, None
        if query_id is not None:
            self._backend.unfollow(query_id)

    def take(self, change: QueryUpdated | QueryFailed) -> Sequence[str]:
        """Take the state that a change from the service makes; returns what its run printed.

        Of the first state nothing, see `first_lines_among`, nor of one that is told again, as by a
        new connection.
        """
        before = self.known
        self._take(change)
        assert self.known is not None, "it was taken"
        lines = self.known.log_lines
        if before is None:
            self._first_lines = lines
            return ()
        is_told_again = self.known.number == before.number and lines == before.log_lines
        return () if is_told_again else lines

    def first_lines_among(self, others: Iterable[RemoteSubscription]) -> Sequence[str]:
        """What the run printed that gave the first state.

        Nothing where one of the others shows the same query: then none was made for this one.
        """
        if not self._first_lines:
            return ()
        shown = [each for each in others if each is not self and each.shown is not None]
        is_second = any(each.asked.key == self.asked.key for each in shown)
        return () if is_second else self._first_lines

    def _take(self, change: QueryUpdated | QueryFailed) -> None:
        if isinstance(change, QueryFailed):
            data = None if change.error_data is UNSET else change.error_data
            # The service sends rows whole after an error.
            self.wire, result = None, None if self.known is None else self.known.result
            self.known = _failed(data, change.log_lines, result)
        else:
            self.wire = read_result(change.value, self.wire)
            self.known = _succeeded(self.wire, change.log_lines)


def take_all(
    changes: Iterable[QueryUpdated | QueryFailed], subscriptions: Mapping[int, RemoteSubscription]
) -> list[Sequence[str]]:
    """Have each take its change; returns what was printed, once of a query that several follow."""
    printed: dict[QueryKey, Sequence[str]] = {}
    for change in changes:
        subscription = subscriptions.get(change.query_id)
        lines = () if subscription is None else subscription.take(change)
        if subscription is not None and lines and (key := subscription.asked.key) is not None:
            printed[key] = lines
    return list(printed.values())


def state_from(raw: Raw, log_lines: Sequence[str], *, is_good: bool) -> LiveState:
    """The state that the service sent by itself, whole."""
    if is_good:
        return _succeeded(read_result(raw, None), log_lines)
    return _failed(raw, log_lines, None)


def _succeeded(wire: WireResult, log_lines: Sequence[str]) -> LiveState:
    return LiveState(
        result=_result_of(wire), error=None, number=wire.number, log_lines=tuple(log_lines)
    )


def _failed(data: Raw | None, log_lines: Sequence[str], result: Result | None) -> LiveState:
    value = None if data is None else PACK.read(data)
    number = value.get("commit") if isinstance(value, dict) else None
    return LiveState(
        result=result,
        error=error_from(value),
        number=number if isinstance(number, int) else 0,
        log_lines=tuple(log_lines),
    )


class Asked(msgspec.Struct, frozen=True):
    """What is followed: a path of a component, and its arguments."""

    path: str
    component: str | None
    args: dict[str, Value]

    @property
    def key(self) -> QueryKey | None:
        """By which an optimistic update finds it; None when it is no function."""
        return query_key(self.path, self.args) if self.component is None else None


def is_same(new: LiveState, old: LiveState | None) -> bool:
    """Whether nobody can tell them apart, but for objects: what was guessed has come true."""
    if old is None or new.result is None or old.result is None:
        return False
    return new.error is old.error and new.number == old.number and new.result.is_same(old.result)


def _result_of(wire: WireResult) -> Result:
    if wire.rows is not None:
        return DocumentsResult(wire.rows.ids, wire.rows.texts)
    if wire.stream is not None:
        return TableResult(table_of(wire.stream))
    assert wire.text is not None, "a result is rows, a stream or a text"
    return ValueResult(wire.text)


def table_of(stream: bytes) -> pa.Table:
    """The table of an Arrow stream."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.BufferReader(stream)).read_all()
