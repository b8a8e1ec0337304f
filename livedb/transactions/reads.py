"""Read sets: what a run depended on, as points, index-key intervals and searches.

One overlap test, `ReadSet.first_conflict`, answers three questions: must this mutation run again,
does this cached result still hold, which subscriptions does this commit touch (there through the
index of `subscriptions`, which must agree with it: a property test says so).

A range read covers the keys actually consumed: up to the last one handed to the user, or the whole
range once it was exhausted. So `take(5)` depends on nothing after the fifth key, and an empty range
is a read too.

Source: Convex's read sets, spec semantics.md 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from livedb.keys.encoding import encode_key
from livedb.search.reads import SearchRead
from livedb.store.contract import Write


class WriteSet(NamedTuple):
    """Everything one commit changed, in the terms of read sets."""

    writes: tuple[Write, ...]
    names: frozenset[str]
    """Tables created, dropped or redefined: their names are keys too."""
    whole_tables: frozenset[int]
    """Tables replaced or loaded in bulk: every read of them is touched."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The read that a write overlapped."""

    table: int
    index: str


class RangeRead:
    """One scan of an index, growing while it is consumed.

    Mutable on purpose: a scan that is abandoned half way (`for .. break`) must have recorded what
    it handed out without anybody closing it.
    """

    __slots__ = (
        "index",
        "is_exhausted",
        "last_key",
        "lower",
        "prefix",
        "reverse",
        "table",
        "upper",
    )

    def __init__(
        self,
        table: int,
        index: str,
        prefix: bytes,
        lower: bytes,
        upper: bytes | None,
        *,
        reverse: bool = False,
    ) -> None:
        self.table = table
        self.index = index
        self.prefix = prefix
        """The encoded equality prefix; `lower` and `upper` lie within it."""
        self.lower = lower
        self.upper = upper
        self.reverse = reverse
        self.last_key: bytes | None = None
        self.is_exhausted = False

    def interval(self) -> tuple[bytes, bytes | None]:
        """The keys consumed so far, half open; empty (upper = lower) before the first."""
        if self.is_exhausted:
            return self.lower, self.upper
        if self.last_key is None:
            return self.lower, self.lower
        if self.reverse:
            return self.last_key, self.upper
        return self.lower, self.last_key + b"\x00"

    def contains(self, key: bytes) -> bool:
        lower, upper = self.interval()
        return lower <= key and (upper is None or key < upper)


class ReadSet:
    """What one run read."""

    __slots__ = ("names", "points", "ranges", "searches", "whole_tables")

    def __init__(self) -> None:
        self.points: set[tuple[int, str]] = set()
        """(table, id) of documents asked for, found or not."""
        self.ranges: list[RangeRead] = []
        self.searches: set[SearchRead] = set()
        """Searches by words or vectors; each knows which documents bear on it."""
        self.names: set[str] = set()
        """Table names looked up: creating or redefining one conflicts.

        The functions a run calls are names too (`function_key`): redefining one reruns its callers.
        """
        self.whole_tables: set[int] = set()
        """Tables read by SQL."""

    def first_conflict(self, change: WriteSet) -> Conflict | None:
        """The first read that `change` overlaps, or None.

        Cost: O(keys written x ranges and searches read of the tables written).
        """
        if change.names and not self.names.isdisjoint(change.names):
            return Conflict(0, "")
        points = self.points
        for write in change.writes:
            if (write.table, write.id) in points:
                return Conflict(write.table, "by_id")
            if write.table in self.whole_tables:
                return Conflict(write.table, "")
        if self.ranges:
            for write in change.writes:
                for read in self.ranges:
                    if read.table == write.table and _touches(read, write):
                        return Conflict(read.table, read.index)
        if self.searches:
            for write in change.writes:
                for search in self.searches:
                    if search.table == write.table and is_touched(search, write):
                        return Conflict(search.table, search.index.name)
        if change.whole_tables:
            for table in self.tables():
                if table in change.whole_tables:
                    return Conflict(table, "")
        return None

    def tables(self) -> set[int]:
        """Every table read in any way."""
        found = {table for table, _ in self.points}
        found.update(read.table for read in self.ranges)
        found.update(search.table for search in self.searches)
        found.update(self.whole_tables)
        return found

    def merge(self, other: ReadSet) -> None:
        """Take in what a nested run has read."""
        self.points |= other.points
        self.ranges += other.ranges
        self.searches |= other.searches
        self.names |= other.names
        self.whole_tables |= other.whole_tables


def function_key(name: str) -> str:
    """The name of a function among those of tables, which hold no space."""
    return f"function {name}"


def _touches(read: RangeRead, write: Write) -> bool:
    return any(read.contains(key) for key in keys_of(write, read.index))


def is_touched(search: SearchRead, write: Write) -> bool:
    """Whether `write` changes a document that `search` found, or would find.

    Cost: decodes the document before and after.
    """
    old, new = write.old, write.new
    return (new is not None and search.touches(write.id, new.text)) or (
        old is not None and search.touches(write.id, old.text)
    )


def keys_of(write: Write, index: str) -> Iterable[bytes]:
    """The old and new key of `write` in `index`; once if it is the same."""
    if index == "by_id":
        return (encode_key(write.id),)
    if index not in write.indexes:
        return ()
    at = write.indexes.index(index)
    old, new = write.old_keys, write.new_keys
    if old is None or old is new:
        return () if new is None else (new[at],)
    return (old[at],) if new is None else (old[at], new[at])
