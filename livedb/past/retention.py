"""How far back the past is kept: for a time, and for so many bytes, whichever ends first."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livedb.clock import Clock
    from livedb.commitlog.contract import CommitLog
    from livedb.store.tables import TableStore


class Retention:
    """Forgets the past of one workspace, when it is asked to.

    Args:
        keep_s: seconds for which it is kept.
        bytes_max: of superseded documents.
    """

    def __init__(
        self,
        *,
        tables: TableStore,
        log: CommitLog,
        clock: Clock,
        keep_s: float,
        bytes_max: int,
    ) -> None:
        self._tables = tables
        self._log = log
        self._clock = clock
        self._keep_s = keep_s
        self._bytes_max = bytes_max
        self._lock = Lock()
        """Guards what was measured; taken before the locks of the tables."""
        self._measured = tables.oldest_kept
        self._spans: list[tuple[int, int]] = []
        """(last commit, bytes) of the history measured so far, oldest first."""

    def forget(self) -> int:
        """Forget what need not be kept; returns the oldest commit that can be read.

        Raises:
            FoldError: the tables could not be written; it stays as it was.
        Cost: nothing while no commit was folded since; else reads the sizes of what was superseded.
        """
        with self._lock:
            folded = self._tables.folded_number
            oldest = min(max(self._by_time(), self._by_size(folded)), folded)
            self._tables.forget_history(oldest)
            kept = self._tables.oldest_kept
            self._spans = [span for span in self._spans if span[0] > kept]
            return kept

    def _by_time(self) -> int:
        """The last commit of `keep_s` ago: what it was then can be read."""
        found = self._log.number_at(self._clock.now_ns() - int(self._keep_s * 1e9))
        return 0 if found is None else found

    def _by_size(self, folded: int) -> int:
        """The oldest commit from which on what was superseded is not too much."""
        if folded > self._measured:
            self._spans += self._tables.measure_history(after=self._measured, until=folded)
            self._measured = folded
        excess = sum(size for _, size in self._spans) - self._bytes_max
        oldest = 0
        for until, size in self._spans:
            if excess <= 0:
                break
            oldest, excess = until, excess - size
        return oldest
