"""A workspace for tests: its time moves by hand, its chance comes from a seed, its log can fail.

def test_an_order_is_late_after_a_day():
with testing.workspace() as trial:
define(trial.db)
late = trial.db.function("late_orders").live()
trial.db.function("order")(item="tea")
trial.clock.advance(86_400)
assert len(trial.db.function("late_orders")()) == 1
assert trial.wrong_results() == []
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from livedb.clock import ManualClock
from livedb.errors import LogError
from livedb.sharing.opening import database_of
from livedb.testing.oracle import wrong_results
from livedb.workspaces import open_workspace

if TYPE_CHECKING:
    import os

    from livedb.commitlog.contract import Commit, CommitLog
    from livedb.limits import Limits

SETTLE_S_MAX = 60.0
"""Seconds until followers must have been told of everything."""


class _FailingLog:
    """A commit log that takes nothing while `is_failing`; how often it did not, `refused` says."""

    def __init__(self, log: CommitLog) -> None:
        self._log = log
        self.is_failing = False
        self.refused = 0

    def append(self, commits: Sequence[Commit]) -> None:
        if self.is_failing:
            self.refused += 1
            raise LogError("The test lets the commit log fail")
        self._log.append(commits)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Trial:
    """A workspace under test. Made by `workspace`.

    Attributes:
        clock: moved by `advance(seconds)` and `set_ns(..)`, and by nothing else. What waits by the
            clock of livedb waits for it: ids, `ctx.now`, time limits, the expiry of tokens.
        db: what `livedb.open` would have given.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, limits: Limits | None, clock: ManualClock
    ) -> None:
        self.clock = clock
        self._logs: list[_FailingLog] = []
        self._workspace = open_workspace(path, limits=limits, clock=clock, wrap_log=self._wrap)
        self.db = database_of(self._workspace)

    def _wrap(self, log: CommitLog) -> Any:
        self._logs.append(_FailingLog(log))
        return self._logs[-1]

    def settle(self) -> int:
        """Wait until every live result stands at the newest commit and its followers know it.

        Returns the number of that commit.
        """
        reached: list[int] = []
        told = threading.Event()

        def answer(number: int) -> None:
            reached.append(number)
            told.set()

        self._workspace.live.ask(answer)
        assert told.wait(SETTLE_S_MAX), "live results do not come to rest"
        return reached[0]

    def run_scheduled(self) -> None:
        """Wait until all scheduled functions and crons that are due by the clock have run."""
        assert self._workspace.scheduler.settle(SETTLE_S_MAX), "scheduled functions do not end"

    def wrong_results(self) -> list[str]:
        """The live results that differ from a fresh run, a line each; see `testing.oracle`."""
        return wrong_results(self._workspace)

    @contextmanager
    def failing_log(self) -> Iterator[None]:
        """Within it no commit becomes durable: mutations raise `LogError`, and nothing happened."""
        for log in self._logs:
            log.is_failing = True
        try:
            yield
        finally:
            for log in self._logs:
                log.is_failing = False


@contextmanager
def workspace(
    path: str | os.PathLike[str] | None = None, *, seed: int = 0, limits: Limits | None = None
) -> Iterator[Trial]:
    """A workspace in memory, or at `path`, that is closed at the end.

    Args:
        seed: equal seeds give equal ids and equal `ctx.random`.
        limits: as for `livedb.open`.
    """
    trial = Trial(path, limits, ManualClock(seed=seed))
    try:
        yield trial
    finally:
        trial.db.close()
