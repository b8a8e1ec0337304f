"""The folder: brings the tables (DuckDB) to the commits that are published.

SQL has one number: under the fold lock everything up to that number is folded, then a read-only
snapshot is taken, and it stays at that number whatever is folded later. Bulk loads are folded from
their files in their place in the order of commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

from livedb.commitlog.payload import LoadPart
from livedb.errors import SnapshotTooOldError
from livedb.store.backlog import Backlog
from livedb.transactions.committer import Committer
from livedb.transactions.shield import Shield

if TYPE_CHECKING:
    from livedb.store.snapshot import SqlSnapshot
    from livedb.store.tables import TableStore


class Folder:
    """Folds published commits, one caller at a time.

    Args:
        chain_at: the commit log's running hash up to a number.
    """

    def __init__(
        self,
        *,
        tables: TableStore,
        backlog: Backlog,
        committer: Committer,
        chain_at: Callable[[int], bytes | None],
    ) -> None:
        self._tables = tables
        self._backlog = backlog
        self._committer = committer
        self._chain_at = chain_at
        self._lock = RLock()
        """Held while the tables change; taken before every other lock of the store."""
        self._loads: dict[int, LoadPart] = {}
        self._shield = Shield("livedb-fold")

    @property
    def folded_number(self) -> int:
        return self._tables.folded_number

    @property
    def pending(self) -> int:
        """Published commits that are not folded yet."""
        return self._committer.published - self._tables.folded_number

    def expect_load(self, number: int, part: LoadPart) -> None:
        """Commit `number` is a bulk load; it is folded from its file."""
        self._loads[number] = part

    def names_load(self, file: str) -> bool:
        """Whether a load that is not folded yet needs this file."""
        return any(part.file == file for part in list(self._loads.values()))

    def fold(self) -> int:
        """Fold everything published; returns the number the tables are at.

        Raises:
            FoldError: the tables could not be written; nothing is lost.
        """
        with self._lock:
            self._fold_to(self._committer.published)
            return self._tables.folded_number

    def snapshot(self) -> SqlSnapshot:
        """A SQL snapshot of everything published before the call."""
        with self._lock:
            self._fold_to(self._committer.published)
            return self._tables.snapshot()

    def snapshot_at(self, number: int) -> SqlSnapshot:
        """A SQL snapshot at exactly `number`, which must be published.

        Raises:
            SnapshotTooOldError: the tables are folded beyond it.
        """
        with self._lock:
            self._fold_to(number)
            if self._tables.folded_number != number:
                raise SnapshotTooOldError(
                    f"SQL at commit {number} was asked for, and the tables are at "
                    f"{self._tables.folded_number} already"
                )
            return self._tables.snapshot()

    @contextmanager
    def paused(self) -> Iterator[int]:
        """Within it nobody else folds; gives the number that is published now."""
        with self._lock:
            yield self._committer.published

    def close(self) -> None:
        """End the thread of folds; nobody folds any more."""
        self._shield.close()

    def _fold_to(self, number: int) -> None:
        if self._tables.folded_number < number:
            self._shield.run(lambda: self._fold_shielded(number))

    def _fold_shielded(self, number: int) -> None:
        folded = self._tables.folded_number
        for load_number in sorted(at for at in self._loads if folded < at <= number):
            self._fold_documents(load_number - 1)
            catalog = self._committer.catalog_at(load_number)
            part = self._loads[load_number]
            self._tables.fold_load(catalog, load_number, part, self._chain(load_number))
            self._backlog.drop(load_number)
            del self._loads[load_number]
        self._fold_documents(number)

    def _fold_documents(self, number: int) -> None:
        folded = self._tables.folded_number
        if folded >= number:
            return
        entries = self._backlog.entries(folded, number)
        catalog = self._committer.catalog_at(number)
        self._tables.fold(catalog, entries, until=number, chain=self._chain(number))
        self._backlog.drop(number)

    def _chain(self, number: int) -> bytes:
        chain = self._chain_at(number)
        assert chain is not None, f"commit {number} is published, so the log has its chain"
        return chain
