"""The write log: what the latest commits changed, for as long as somebody may ask.

A transaction that began at number b and commits after number n is serializable exactly when no
commit in (b, n] wrote a key inside its read set ("backward" validation, Kung and Robinson 1981).
"""

from __future__ import annotations

from livedb.transactions.reads import Conflict, ReadSet, WriteSet


class WriteLog:
    """Write sets by commit number, dense. Guarded by the committer's lock."""

    def __init__(self, number: int) -> None:
        self._first = number + 1
        self._entries: dict[int, WriteSet] = {}

    @property
    def last(self) -> int:
        return self._first + len(self._entries) - 1

    def append(self, change: WriteSet) -> None:
        self._entries[self._first + len(self._entries)] = change

    def covers(self, after: int) -> bool:
        """Whether every commit above `after` is still here."""
        return after + 1 >= self._first

    def first_conflict(
        self, reads: ReadSet, *, after: int, until: int | None = None
    ) -> tuple[int, Conflict] | None:
        """The first commit in (after, until] that overlaps `reads`.

        Cost: O(commits since `after` x keys written x ranges read).
        """
        stop = self.last if until is None else min(until, self.last)
        for number in range(max(after + 1, self._first), stop + 1):
            conflict = reads.first_conflict(self._entries[number])
            if conflict is not None:
                return number, conflict
        return None

    def undo(self, number: int) -> None:
        """Forget every commit above `number`."""
        while self._entries and self.last > number:
            del self._entries[self.last]

    def release(self, number: int) -> None:
        """Forget commits up to `number`: nobody began before it."""
        while self._entries and self._first <= number:
            del self._entries[self._first]
            self._first += 1
