"""One run: a transaction in progress on one thread, with a time and random numbers of its own.

Those are frozen or seeded, so that a run depends on nothing but its arguments and its reads; using
them marks the run, and its result is not kept. It is one object for all of this, because every call
makes one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from livedb.functions.call import Call
from livedb.functions.definition import FunctionKind
from livedb.transactions.transaction import Snapshot

if TYPE_CHECKING:
    import random

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Run:
    """One transaction in progress; nested calls join it.

    Attributes:
        kind: of the innermost function running.
        call: for whom it runs; None for nobody in particular.
        snapshot: set when it has begun, as is `now_ns`; until then the run only claims that no
            version is forgotten.
        epoch: of the commit that a mutation began at, by which it is known when it was undone.
        since_s: when it made that claim, on the monotonic clock.
        is_expired: the claim was longer than `Limits.snapshot_s_max`, and no longer holds.
        is_observed: the function looked at the time or at random numbers.
        interrupt_sql: ends the SQL statement that it waits for, from another thread.
    """

    __slots__ = (
        "_now",
        "_random",
        "_seed",
        "call",
        "depth",
        "epoch",
        "interrupt_sql",
        "is_expired",
        "is_observed",
        "kind",
        "now_ns",
        "since_s",
        "snapshot",
    )

    def __init__(
        self,
        kind: FunctionKind,
        since_s: float,
        seed: Callable[[], random.Random],
        call: Call | None,
    ) -> None:
        self.kind = kind
        self.call = call
        self.since_s = since_s
        self.is_expired = False
        self.snapshot: Snapshot
        self.depth = 1
        self.epoch = 0
        self.interrupt_sql: Callable[[], None] | None = None
        self.now_ns = 0
        self.is_observed = False
        self._seed = seed
        self._now: datetime | None = None
        self._random: random.Random | None = None

    @property
    def sql(self) -> Any:
        """What reads SQL in it, if not what does in every run."""
        return None

    def interrupt(self) -> None:
        """End what the run waits for outside of Python."""
        if self.interrupt_sql is not None:
            self.interrupt_sql()

    def watch(self, interrupt_sql: Callable[[], None]) -> None:
        self.interrupt_sql = interrupt_sql

    @property
    def now(self) -> datetime:
        """When it began, in UTC."""
        self.is_observed = True
        if self._now is None:
            self._now = EPOCH + timedelta(microseconds=self.now_ns // 1000)
        return self._now

    def secret(self, count: int) -> bytes:
        """`count` bytes that nobody can guess who knows the other random numbers of the run."""
        return self._seed().randbytes(count)

    @property
    def random(self) -> random.Random:
        """Random numbers of this run, a generator made when it is first asked for."""
        self.is_observed = True
        if self._random is None:
            self._random = self._seed()
        return self._random


class PastRun(Run):
    """A run of a query that reads an earlier commit, documents and SQL."""

    __slots__ = ("_sql",)

    def __init__(
        self, since_s: float, seed: Callable[[], random.Random], call: Call | None, sql: object
    ) -> None:
        super().__init__("query", since_s, seed, call)
        self._sql = sql

    @property
    def sql(self) -> Any:
        return self._sql
