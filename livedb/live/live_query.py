"""A live query: a function and arguments, or a SQL text, with what it read and its newest result.

Equal subscriptions share one live query, so it is run once however many follow it. It keeps the
last good result beside the error of a failed run, and the failed run's read set: it runs again when
what it read changes.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Protocol

from livedb.live.result import Result
from livedb.transactions.reads import ReadSet


class Computed(NamedTuple):
    """What one run of a source gave: a result or an error, and what it depends on.

    `is_volatile` says that it looked at the time or at random numbers, so it is not kept.
    """

    result: Result | None
    error: Exception | None
    number: int
    reads: ReadSet
    is_volatile: bool = False
    log_lines: tuple[str, ...] = ()


class LiveSource(Protocol):
    """How a live query gets its result.

    The seam for live SQL that is maintained instead of run again: such a source answers `compute`
    from its operators' state.
    """

    @property
    def key(self) -> Hashable:
        """Equal keys share one live query."""

    @property
    def title(self) -> str:
        """What it follows, for people."""

    @property
    def uses_sql(self) -> bool:
        """Whether it reads folded tables, which have one number at a time."""

    @property
    def journal(self) -> str | None:
        """Where its page ends, if it keeps one."""

    def compute(self, number: int) -> Computed:
        """Its result exactly at commit `number`."""


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class LiveState:
    """What followers of a live query see; never changed, replaced as a whole.

    Not frozen, which would make each three times as dear, one for every change of every live query.

    Attributes:
        result: the newest good result; None when no run has succeeded yet.
        error: why the newest run failed; None when it succeeded.
        number: the commit of the run that last changed `result` or `error`.
        log_lines: what that run printed, where its source keeps it.
    """

    result: Result | None
    error: Exception | None
    number: int
    log_lines: tuple[str, ...] = ()


class Work(NamedTuple):
    """What a live query costs, for people.

    Attributes:
        runs: how often it was computed.
        run_s: seconds of a run, by the last ones; 0 before the first.
        reads: what it depends on, a table each; empty when that is not known.
    """

    runs: int
    run_s: float
    reads: tuple[str, ...]


NO_WORK = Work(0, 0.0, ())


SLOW_S = 0.02
"""Seconds of a run above which a query is slow: the transitions of others do not wait for it."""

HICCUP_S = 0.1
"""Seconds up to which one run of a query that was fast says nothing: the machine may be busy."""

SLOWNESS_KEPT = 0.8
"""What is kept, for the next run, of how long an earlier one took: one that is slow now and then
should not be found out by the others each time."""


class LiveQuery:
    """One shared live query; belongs to `LiveQueries`, which guards it with its refresh lock."""

    __slots__ = (
        "followers",
        "handles",
        "is_touched",
        "is_volatile",
        "key",
        "round",
        "run_s",
        "runs",
        "source",
        "state",
    )

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.key = source.key
        """Under which it is shared."""
        self.state: LiveState | None = None
        self.followers = 0
        self.handles = 0
        """Those of the followers that read it under the refresh lock: a lagging one is no use to
        them, so it is never slow."""
        self.run_s = inf
        """How long it takes; nobody knows before the first run."""
        self.round: Round | None = None
        """That is running it now."""
        self.is_touched = False
        """Since that began."""
        self.is_volatile = False
        self.runs = 0
        """How often it was computed: work, for tests and the explorer."""

    def __repr__(self) -> str:
        return f"<LiveQuery {self.source.title}>"

    @property
    def is_slow(self) -> bool:
        """Whether transitions leave it to a round."""
        return self.run_s > SLOW_S and not self.handles

    def took(self, seconds: float) -> None:
        """A run has ended."""
        self.runs += 1
        known_s = self.run_s
        if known_s == inf or (seconds < SLOW_S and known_s < SLOW_S):
            self.run_s = seconds
        elif known_s < SLOW_S and seconds <= HICCUP_S:
            self.run_s = SLOW_S  # the next one decides
        else:
            self.run_s = max(seconds, known_s * SLOWNESS_KEPT)

    def is_shared_with(self, source: LiveSource) -> bool:
        """Whether it may stand for `source`, whose key it has.

        A page that has been run again keeps the end of its first run; whoever comes new begins
        with a page of its own.
        """
        return self.runs <= 1 or self.source.journal == source.journal

    def absorb(self, computed: Computed) -> tuple[LiveState, bool]:
        """Take a run's outcome; returns the new state and whether followers must hear of it."""
        old = self.state
        self.is_volatile = computed.is_volatile
        error = computed.error
        result = computed.result if error is None else (old.result if old else None)
        is_unchanged = old is not None and old.log_lines == computed.log_lines
        if is_unchanged and old is not None and _is_unchanged(old, result, error):
            return old, False
        self.state = LiveState(
            result=result, error=error, number=computed.number, log_lines=computed.log_lines
        )
        return self.state, True

    def agrees_with(self, computed: Computed) -> bool:
        """Whether the newest state is what another run gave."""
        state = self.state
        return state is not None and _is_unchanged(state, computed.result, computed.error)


@dataclass(slots=True, eq=False)
class Round:
    """Queries that lag, while they are run beside the transitions, all at one commit.

    Attributes:
        is_private: first runs, which nobody waits for but who runs them: nobody is told.
        kept: what keeps the commit readable.
    """

    number: int
    queries: list[LiveQuery]
    is_private: bool
    kept: ExitStack = field(default_factory=ExitStack)


def _is_unchanged(old: LiveState, result: Result | None, error: Exception | None) -> bool:
    if (old.error is None) != (error is None):
        return False
    if error is not None:
        return type(error) is type(old.error) and str(error) == str(old.error)
    if result is None or old.result is None:
        return result is old.result
    return result.is_same(old.result)
