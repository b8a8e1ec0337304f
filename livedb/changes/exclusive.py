"""Exclusive commits: steps that judge the published documents as a whole, then commit.

A schema change or a bulk load looks at its tables set-wise, in DuckDB, and commits what it found
them to allow. It takes the turn, so that mutations which begin meanwhile wait, and waits until all
that was applied is published. A mutation that began before may still commit between the look and
the commit: the step's read set holds the tables it judged, so then it conflicts, and runs again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from livedb.changes.parts import Parts
from livedb.errors import ConflictError, SnapshotTooOldError
from livedb.transactions.commit_request import CommitRequest
from livedb.transactions.reads import ReadSet
from livedb.transactions.turn import TurnHolder

R = TypeVar("R")

TRIES_MAX = 16
"""Runs of one step; each conflict is with a mutation that began before the turn was taken."""


def run_exclusively(parts: Parts, step: Callable[[TurnHolder], R]) -> R:
    """What `step` gives, run in the turn; its commit gives the turn back.

    Raises: what `step` raises; ConflictError when it conflicted on every try, or
        SnapshotTooOldError when what it read was gone.
    """
    for attempt in range(TRIES_MAX):
        holder = TurnHolder(is_exclusive=True)
        with holder.running:
            try:
                parts.turn.take(holder)
                _drain(parts)
                return step(holder)
            except (ConflictError, SnapshotTooOldError):
                if attempt == TRIES_MAX - 1:
                    raise
            finally:
                parts.turn.give(holder)
    raise AssertionError("the loop returns or raises")


def _drain(parts: Parts) -> None:
    """Wait until everything applied is published."""
    begin, epoch, _ = parts.committer.begin()
    if begin > parts.committer.published:
        parts.committer.commit(CommitRequest.empty(begin=begin, epoch=epoch))


def judged(*tables: int) -> ReadSet:
    """The read set of a step that looked at the whole of these tables."""
    reads = ReadSet()
    reads.whole_tables.update(tables)
    return reads
