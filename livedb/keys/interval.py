"""Half-open ranges of index keys, and sets of them: what a transaction read."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple


class Interval(NamedTuple):
    """The keys k with lower <= k < upper; `upper` None means no bound."""

    lower: bytes
    upper: bytes | None

    def contains(self, key: bytes) -> bool:
        """Whether `key` lies in it."""
        return self.lower <= key and (self.upper is None or key < self.upper)

    def overlaps(self, other: Interval) -> bool:
        """Whether some key lies in both."""
        if self.is_empty or other.is_empty:
            return False
        return (self.upper is None or other.lower < self.upper) and (
            other.upper is None or self.lower < other.upper
        )

    @property
    def is_empty(self) -> bool:
        """Whether no key lies in it."""
        return self.upper is not None and self.upper <= self.lower


EVERYTHING = Interval(b"", None)
"""Every key."""


class IntervalSet:
    """A set of keys held as disjoint intervals, in order; those that touch become one.

    Invariant: lower[0] < upper[0] < lower[1] < upper[1] < ..., only the last upper may be None.
    """

    __slots__ = ("_lowers", "_uppers")

    def __init__(self) -> None:
        self._lowers: list[bytes] = []
        self._uppers: list[bytes | None] = []

    def add(self, interval: Interval) -> None:
        """Add the keys of `interval`. Cost: O(log n) to find the place, O(n) to insert there."""
        if interval.is_empty:
            return
        lower, upper = interval
        first, last = self._touching(lower, upper)
        if first < last:
            lower = min(lower, self._lowers[first])
            last_upper = self._uppers[last - 1]
            upper = None if upper is None or last_upper is None else max(upper, last_upper)
        self._lowers[first:last] = [lower]
        self._uppers[first:last] = [upper]

    def contains(self, key: bytes) -> bool:
        """Whether `key` lies in one of the intervals. Cost: O(log n)."""
        index = bisect_right(self._lowers, key) - 1
        if index < 0:
            return False
        upper = self._uppers[index]
        return upper is None or key < upper

    def overlaps(self, interval: Interval) -> bool:
        """Whether some key of `interval` is in the set. Cost: O(log n)."""
        if interval.is_empty:
            return False
        # Of the intervals that start before `interval` ends, the last one reaches furthest.
        lower, upper = interval
        end = len(self._lowers) if upper is None else bisect_left(self._lowers, upper)
        if end == 0:
            return False
        last_upper = self._uppers[end - 1]
        return last_upper is None or lower < last_upper

    def __iter__(self) -> Iterator[Interval]:
        """The intervals in order."""
        return map(Interval, self._lowers, self._uppers)

    def __len__(self) -> int:
        return len(self._lowers)

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)!r})"

    def _touching(self, lower: bytes, upper: bytes | None) -> tuple[int, int]:
        """The slice of intervals that overlap [lower, upper) or are adjacent to it."""
        last = len(self._lowers) if upper is None else bisect_right(self._lowers, upper)
        first = bisect_left(self._lowers, lower, 0, last)
        if first > 0:
            previous_upper = self._uppers[first - 1]
            if previous_upper is None or lower <= previous_upper:
                first -= 1
        return first, last

    def _check(self) -> None:
        """Assert the invariant."""
        assert len(self._lowers) == len(self._uppers), self
        for index, (lower, upper) in enumerate(self):
            is_last = index == len(self._lowers) - 1
            assert upper is not None or is_last, self
            assert upper is None or lower < upper, self
            assert is_last or (upper is not None and upper < self._lowers[index + 1]), self
