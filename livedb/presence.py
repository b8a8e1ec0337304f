"""Who is connected to a workspace now, as a live query like any other; nothing of it is kept.

Whoever comes, goes or changes makes the live query run again, so nobody polls. When somebody was
last active is told only every `SEEN_S`: a busy client would otherwise be news all the time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

from livedb.clock import Clock
from livedb.live.live_queries import LiveQueries
from livedb.live.live_query import Computed
from livedb.live.result import TableResult
from livedb.transactions.reads import ReadSet

if TYPE_CHECKING:
    import pyarrow as pa

SEEN_S = 30.0
"""Seconds by which the time that somebody was last active may be too early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who is connected.

    Attributes:
        name, role: empty until they say who they are.
        client: what they are connected with.
    """

    id: int
    name: str
    role: str
    client: str
    since_ns: int
    seen_ns: int


class Presence:
    """Who is connected to one workspace; safe to use from every thread, and may block."""

    def __init__(self, live: LiveQueries, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._ids = itertools.count(1)
        self._visitors: dict[int, Visitor] = {}
        self._lock = Lock()
        """Guards `_visitors`; taken alone."""
        self._listeners: tuple[Callable[[], None], ...] = ()
        self.source = PresenceSource(self)

    def enter(self, name: str, role: str, client: str) -> int:
        """Somebody has come; returns what to name them by."""
        now_ns = self._clock.now_ns()
        visitor = Visitor(
            id=next(self._ids), name=name, role=role, client=client,
            since_ns=now_ns, seen_ns=now_ns,
        )  # fmt: skip
        with self._lock:
            self._visitors[visitor.id] = visitor
        self._tell()
        return visitor.id

    def rename(self, visitor_id: int, name: str, role: str) -> None:
        """Somebody has said who they are."""
        with self._lock:
            known = self._visitors.get(visitor_id)
            if known is None or (known.name, known.role) == (name, role):
                return
            self._visitors[visitor_id] = replace(known, name=name, role=role)
        self._tell()

    def is_seen_late(self, visitor_id: int) -> bool:
        """Whether what is told of somebody's last activity is too old; does not block."""
        known = self._visitors.get(visitor_id)
        return known is not None and self._clock.now_ns() - known.seen_ns > SEEN_S * 1e9

    def see(self, visitor_id: int) -> None:
        """Somebody is active."""
        with self._lock:
            known = self._visitors.get(visitor_id)
            if known is None:
                return
            self._visitors[visitor_id] = replace(known, seen_ns=self._clock.now_ns())
        self._tell()

    def leave(self, visitor_id: int) -> None:
        """Somebody has gone."""
        with self._lock:
            if self._visitors.pop(visitor_id, None) is None:
                return
        self._tell()

    def visitors(self) -> list[Visitor]:
        """Those who are here, who came first first."""
        with self._lock:
            return list(self._visitors.values())

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Be told of every change, on any thread; call what is returned to stop."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each != listener)

        return stop

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
        self._live.invalidate_key(self.source.key)


class PresenceSource:
    """Who is connected, as a `LiveSource`; one for each workspace."""

    key = ("presence",)
    title = "who"
    uses_sql = False
    journal = None

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def compute(self, number: int) -> Computed:
        """Those who are here now: it depends on no document, and is current at every commit."""
        rows = TableResult(_table_of(self._presence.visitors()))
        return Computed(result=rows, error=None, number=number, reads=ReadSet())


def _table_of(visitors: list[Visitor]) -> pa.Table:
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "name": pa.array([each.name for each in visitors], pa.string()),
            "role": pa.array([each.role for each in visitors], pa.string()),
            "client": pa.array([each.client for each in visitors], pa.string()),
            "since": pa.array([_time_of(each.since_ns) for each in visitors], moment),
            "seen": pa.array([_time_of(each.seen_ns) for each in visitors], moment),
        }
    )


def _time_of(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1000 / 1e6, UTC)
