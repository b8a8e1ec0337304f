"""The commits that memory has and the tables (DuckDB) do not have yet.

The committer appends a commit here *before* it applies it to the row store, and takes one back here
*before* the row store does: so whatever the row store holds beyond the last fold is always found
here, which is what a table that loads late relies on. A fold takes commits out once its own
transaction is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from livedb.store.contract import Write

Commit = tuple[int, Sequence[Write]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBacklog:
    """What the backlog has of one table, seen at one instant.

    Attributes:
        writes: (commit number, write), in commit order.
        dropped: every commit up to this one is in the tables, and gone from here.
        last: the last commit appended.
    """

    writes: list[tuple[int, Write]]
    dropped: int
    last: int


class Backlog:
    """Commits above the last fold, in order. Any thread may call any method."""

    def __init__(self, number: int = 0) -> None:
        # Guards the three fields below. Innermost: nothing else is locked while it is held.
        self._latch = threading.Lock()
        self._commits: dict[int, Sequence[Write]] = {}
        self._last = number
        self._dropped = number

    @property
    def last(self) -> int:
        """The number of the newest commit, the last one folded when there is none."""
        return self._last

    def __len__(self) -> int:
        return len(self._commits)

    def append(self, number: int, writes: Sequence[Write]) -> None:
        """Add the newest commit. Cost: O(1)."""
        with self._latch:
            assert number > self._last, f"commit {number} after {self._last}"
            self._commits[number] = writes
            self._last = number

    def undo(self, number: int) -> None:
        """Take back every commit above `number`. Cost: O(commits taken back)."""
        with self._latch:
            assert number >= self._dropped, f"commit {self._dropped} is in the tables already"
            while self._commits and next(reversed(self._commits)) > number:
                self._commits.popitem()
            self._last = min(self._last, number)

    def drop(self, until: int) -> None:
        """Forget the commits up to `until`: the tables have them. Cost: O(commits forgotten)."""
        with self._latch:
            assert until <= self._last, f"commit {until} has not happened"
            # Not `next(iter(..))` for each: a dict remembers what was deleted at its front, and
            # walks over it again every time.
            for number in list(self._commits):
                if number > until:
                    break
                del self._commits[number]
            self._dropped = max(self._dropped, until)

    def entries(self, after: int, until: int) -> list[Commit]:
        """The commits above `after` up to `until`, in order. Cost: O(commits held)."""
        with self._latch:
            return [item for item in self._commits.items() if after < item[0] <= until]

    def writes_of(self, table: int, after: int) -> list[tuple[int, Write]]:
        """The writes to `table` above commit `after`, in order. Cost: O(writes held)."""
        return [found for found in self.of_table(table).writes if found[0] > after]

    def of_table(self, table: int) -> TableBacklog:
        """All that is held of `table`, and between which commits. Cost: O(writes held)."""
        with self._latch:
            writes = [
                (number, write)
                for number, commit in self._commits.items()
                for write in commit
                if write.table == table
            ]
            return TableBacklog(writes=writes, dropped=self._dropped, last=self._last)

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        with self._latch:
            numbers = list(self._commits)
            state = f"dropped {self._dropped}, last {self._last}, commits {numbers}"
            assert numbers == sorted(numbers), state
            assert not numbers or self._dropped < numbers[0], state
            assert not numbers or numbers[-1] == self._last, state
            assert self._dropped <= self._last, state
