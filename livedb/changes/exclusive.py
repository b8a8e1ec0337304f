"""Exclusive commits: the turn, taken so that nobody overtakes, with all before it published.

A schema change or a bulk load judges the published documents set-wise, in DuckDB, and commits what
it found them to allow. So nothing may be applied between its look and its commit.
"""

from __future__ import annotations

from livedb.functions.runner import Runner
from livedb.transactions.committer import CommitRequest, Committer
from livedb.transactions.turn import Turn, TurnHolder


class ExclusiveTurns:
    """Gives out the turn for exclusive commits of one workspace."""

    def __init__(self, *, turn: Turn, committer: Committer, runner: Runner) -> None:
        self._turn = turn
        self._committer = committer
        self._runner = runner

    def begin(self, holder: TurnHolder) -> ExclusiveTurn:
        """The turn as a context, for `holder`; enter `holder.running` before it."""
        assert holder.is_exclusive
        return ExclusiveTurn(self, holder)

    def take(self, holder: TurnHolder) -> None:
        self._turn.take(holder)
        try:
            self._drain()
        except BaseException:
            self._turn.give(holder)
            raise

    def give(self, holder: TurnHolder) -> None:
        self._turn.give(holder)

    def _drain(self) -> None:
        """Wait until everything applied is published."""
        begin, epoch, _ = self._committer.begin()
        if begin > self._committer.published:
            self._runner.commit(CommitRequest.empty(begin=begin, epoch=epoch))


class ExclusiveTurn:
    """One exclusive commit's hold on the turn."""

    def __init__(self, turns: ExclusiveTurns, holder: TurnHolder) -> None:
        self._turns = turns
        self._holder = holder

    def __enter__(self) -> None:
        self._turns.take(self._holder)

    def __exit__(self, *_: object) -> None:
        self._turns.give(self._holder)
