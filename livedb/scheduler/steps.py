"""Transactions of the scheduler's own, in which what it reads and writes does not count."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from livedb.errors import SnapshotTooOldError
from livedb.functions.definition import define
from livedb.functions.runner import SNAPSHOT_RETRIES_MAX, Runner
from livedb.functions.scheduling import UNBOUNDED, unbounded
from livedb.store.contract import DocumentStore
from livedb.transactions.committer import Committer
from livedb.transactions.transaction import Snapshot, Transaction

R = TypeVar("R")


def _step(ctx: Any) -> None:
    """Stands for what the scheduler does in a transaction."""


_STEP = define(_step, kind="mutation", visibility="internal", name="_system/scheduler:step")


class Steps:
    """Reads and commits for the scheduler of one workspace; any thread."""

    def __init__(self, runner: Runner, committer: Committer, store: DocumentStore) -> None:
        self._runner = runner
        self._committer = committer
        self._store = store

    def read(self, look: Callable[[Snapshot], R]) -> R:
        """What `look` finds at the newest published commit."""
        for _ in range(SNAPSHOT_RETRIES_MAX):
            # Another one where a table was read for the first time, as of a later commit.
            with self._runner.keeping(0), suppress(SnapshotTooOldError):
                number = self._committer.published
                catalog = self._committer.catalog_at(number)
                return look(Snapshot(self._store, catalog, number, UNBOUNDED))
        raise SnapshotTooOldError("The scheduler found no commit that stays readable")

    def commit(self, work: Callable[[Transaction], R]) -> R:
        """What `work` gives, in a transaction that is committed when this returns."""
        given: list[R] = []

        def handler(ctx: Any) -> None:
            transaction: Transaction = ctx.db._snapshot  # noqa: SLF001  # livedb's own function
            with unbounded(transaction):
                given[:] = [work(transaction)]

        self._runner.run_mutation(replace(_STEP, handler=handler), {})
        return given[0]

    def repeat(self, work: Callable[[Transaction], bool]) -> None:
        """Commit `work` until it says that there is no more to do."""
        while self.commit(work):
            pass
