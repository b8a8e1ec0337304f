"""The folder: brings the tables (DuckDB) to the commits that are published.

SQL has one number: under the fold lock everything up to that number is folded, then a read-only
snapshot is taken, and it stays at that number whatever is folded later. Bulk loads are folded from
their files, and fills of defaults by their rule, in their place in the order of commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

from livedb.commitlog.payload import ClearPart, FillPart, LoadPart, WholeTablePart
from livedb.errors import SnapshotTooOldError
from livedb.store.backlog import Backlog
from livedb.text import decode_value
from livedb.transactions.committer import Committer
from livedb.transactions.load_files import LoadFiles
from livedb.transactions.shield import Shield
from livedb.values import Value

if TYPE_CHECKING:
    from livedb.store.snapshot import SqlSnapshot
    from livedb.store.tables import TableStore


class Folder:
    """Folds published commits, one caller at a time.

    Args:
        files: the files of bulk loads, which the folder needs until it has folded them.
        chain_at: the commit log's running hash up to a number.
    """

    def __init__(
        self,
        *,
        tables: TableStore,
        backlog: Backlog,
        committer: Committer,
        files: LoadFiles,
        chain_at: Callable[[int], bytes | None],
    ) -> None:
        self._tables = tables
        self._backlog = backlog
        self._committer = committer
        self._files = files
        self._chain_at = chain_at
        self._lock = RLock()
        """Held while the tables change; taken before every other lock of the store."""
        self._whole: dict[int, Sequence[WholeTablePart]] = {}
        """What commits that are not folded yet did to whole tables: clears and loads, or fills."""
        self._shield = Shield("livedb-fold", covers_all_threads=True)

    @property
    def folded_number(self) -> int:
        return self._tables.folded_number

    @property
    def oldest_kept(self) -> int:
        """The oldest commit of which the tables hold everything."""
        return self._tables.oldest_kept

    @property
    def pending(self) -> int:
        """Published commits that are not folded yet."""
        return self._committer.published - self._tables.folded_number

    def expect(self, number: int, parts: Sequence[WholeTablePart]) -> None:
        """Commit `number` changed whole tables; it is folded by itself, as `parts` say."""
        for file in _files_of(parts):
            self._files.need(file)
        self._whole[number] = parts

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
        alone = {at for at in self._whole if folded < at <= number}
        alone |= self._committer.dropping(after=folded, until=number)
        for whole_number in sorted(alone):
            self._fold_documents(whole_number - 1)
            if whole_number not in self._whole:  # it dropped tables, whose documents end there
                self._fold_documents(whole_number)
                continue
            self._fold_whole(whole_number)
            self._backlog.drop(whole_number)
            for file in _files_of(self._whole.pop(whole_number)):
                self._files.let_go(file)  # its rows are durable in the tables
        self._fold_documents(number)

    def _fold_whole(self, number: int) -> None:
        catalog, chain = self._committer.catalog_at(number), self._chain(number)
        catalogs = self._committer.catalogs(after=number - 1, until=number)
        parts = self._whole[number]
        fills = [(part.table, _values_of(part)) for part in parts if isinstance(part, FillPart)]
        if fills:
            assert len(parts) == len(fills), "fills are a commit of their own"
            self._tables.fold_fill(catalog, number, fills, chain, catalogs=catalogs)
            return
        loads = [part for part in parts if isinstance(part, LoadPart)]
        cleared = [part.table for part in parts if isinstance(part, ClearPart)]
        self._tables.fold_loads(catalog, number, loads, chain, cleared=cleared, catalogs=catalogs)

    def _fold_documents(self, number: int) -> None:
        folded = self._tables.folded_number
        if folded >= number:
            return
        entries = self._backlog.entries(folded, number)
        catalog = self._committer.catalog_at(number)
        catalogs = self._committer.catalogs(after=folded, until=number)
        self._tables.fold(
            catalog, entries, until=number, chain=self._chain(number), catalogs=catalogs
        )
        self._backlog.drop(number)

    def _chain(self, number: int) -> bytes:
        chain = self._chain_at(number)
        assert chain is not None, f"commit {number} is published, so the log has its chain"
        return chain


def _files_of(parts: Sequence[WholeTablePart]) -> list[str]:
    return [part.file for part in parts if isinstance(part, LoadPart)]


def _values_of(part: FillPart) -> dict[str, Value]:
    return {path: decode_value(text) for path, text in part.defaults.items()}
