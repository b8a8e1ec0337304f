"""Which subscriptions does a commit touch?

The answer is the same as asking every read set in turn (`ReadSet.first_conflict`), at a cost that
does not grow with subscriptions that are not touched:

    points          dict (table, id) -> subscriptions
    ranges          dict (table, index) -> RangeIndex, and inside it
                      dict equality prefix -> {whole prefix} + blocks of ranges ordered by lower end
    searches        `search_subscriptions`: dict word -> searches, a vector search each
    names, tables   dict -> subscriptions

An index key is prefix-free by component, so "does this key lie under that equality prefix" is one
dict look-up for each length that a registered prefix has.

Measured at 1e5 subscriptions (research/live-sql.md section 5): 0.4-2.5 us for points and prefixes,
20-35 us with 30 % ranges.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from livedb.keys.encoding import prefix_end
from livedb.search.reads import SearchRead
from livedb.transactions.reads import ReadSet, WriteSet, keys_of
from livedb.transactions.search_subscriptions import SearchSubscriptions

S = TypeVar("S", bound=Hashable)

_END = b"\xff"
"""Above every index key: no component's tag is that large."""

_BLOCK_RANGES_MAX = 64


@dataclass(frozen=True, slots=True)
class _Range:
    table: int
    index: str
    prefix: bytes
    lower: bytes
    upper: bytes


class _Registered(NamedTuple):
    points: frozenset[tuple[int, str]]
    ranges: frozenset[_Range]
    searches: frozenset[SearchRead]
    names: frozenset[str]
    whole_tables: frozenset[int]
    tables: frozenset[int]

    def reads_only(self, reads: ReadSet) -> bool:
        """Whether `reads` is the same again and has no ranges: what most reruns find."""
        return (
            not reads.ranges
            and not self.ranges
            and self.searches == reads.searches
            and self.points == reads.points
            and self.names == reads.names
            and self.whole_tables == reads.whole_tables
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of one table, for people.

    Attributes:
        is_whole: all of it, as SQL does.
        documents: how many are asked for by their ids.
        indexes: those with ranges or searches that are read; "by_id" and "by_creation_time" among
            them.
    """

    table: int
    is_whole: bool
    documents: int
    indexes: tuple[str, ...]


_NOTHING = _Registered(frozenset(), frozenset(), frozenset(), frozenset(), frozenset(), frozenset())


class _Multimap(Generic[S]):
    """Key -> subscriptions, empty keys dropped."""

    __slots__ = ("by_key",)

    def __init__(self) -> None:
        self.by_key: dict[Hashable, set[S]] = {}

    def add(self, key: Hashable, subscription: S) -> None:
        self.by_key.setdefault(key, set()).add(subscription)

    def remove(self, key: Hashable, subscription: S) -> None:
        found = self.by_key[key]
        found.discard(subscription)
        if not found:
            del self.by_key[key]


class _Blocks(Generic[S]):
    """Ranges ordered by lower end in blocks; `reach[i]` is the largest upper end up to block i."""

    __slots__ = ("_serial", "blocks", "firsts", "reach")

    def __init__(self) -> None:
        self.blocks: list[list[tuple[bytes, int, bytes, S]]] = []
        self.firsts: list[bytes] = []
        self.reach: list[bytes] = []
        self._serial = 0

    def add(self, lower: bytes, upper: bytes, subscription: S) -> None:
        self._serial += 1
        item = (lower, self._serial, upper, subscription)
        if not self.blocks:
            self.blocks.append([item])
            self._refresh(0)
            return
        at = max(bisect_right(self.firsts, lower) - 1, 0)
        block = self.blocks[at]
        insort(block, item)
        if len(block) > _BLOCK_RANGES_MAX:
            half = len(block) // 2
            self.blocks[at : at + 1] = [block[:half], block[half:]]
        self._refresh(at)

    def remove(self, lower: bytes, upper: bytes, subscription: S) -> None:
        at = bisect_right(self.firsts, lower) - 1
        while at >= 0:
            block = self.blocks[at]
            for position, item in enumerate(block):
                if item[0] == lower and item[3] == subscription and item[2] == upper:
                    del block[position]
                    if not block:
                        del self.blocks[at]
                    self._refresh(at)
                    return
            at -= 1
        raise AssertionError("removing a range that was never added")

    def _refresh(self, at: int) -> None:
        """Bring `firsts` and `reach` up to date from block `at` on."""
        self.firsts[at:] = [block[0][0] for block in self.blocks[at:]]
        del self.reach[at:]
        reach = self.reach[at - 1] if at else b""
        for block in self.blocks[at:]:
            reach = max(reach, *(item[2] for item in block))
            self.reach.append(reach)

    def collect(self, key: bytes, into: set[S]) -> None:
        at = bisect_right(self.firsts, key) - 1
        while at >= 0 and self.reach[at] > key:
            for lower, _, upper, subscription in self.blocks[at]:
                if lower > key:
                    break
                if key < upper:
                    into.add(subscription)
            at -= 1


class _RangeIndex(Generic[S]):
    """The ranges registered on one index of one table."""

    __slots__ = ("lengths", "ranges", "whole")

    def __init__(self) -> None:
        self.whole: _Multimap[S] = _Multimap()
        self.ranges: dict[bytes, tuple[_Blocks[S], list[int]]] = {}
        self.lengths: dict[int, int] = {}

    def add(self, read: _Range, subscription: S) -> None:
        length = len(read.prefix)
        self.lengths[length] = self.lengths.get(length, 0) + 1
        if _is_whole_prefix(read):
            self.whole.add(read.prefix, subscription)
            return
        blocks, count = self.ranges.setdefault(read.prefix, (_Blocks(), [0]))
        count[0] += 1
        blocks.add(read.lower, read.upper, subscription)

    def remove(self, read: _Range, subscription: S) -> None:
        length = len(read.prefix)
        self.lengths[length] -= 1
        if not self.lengths[length]:
            del self.lengths[length]
        if _is_whole_prefix(read):
            self.whole.remove(read.prefix, subscription)
            return
        blocks, count = self.ranges[read.prefix]
        blocks.remove(read.lower, read.upper, subscription)
        count[0] -= 1
        if not count[0]:
            del self.ranges[read.prefix]

    def collect(self, key: bytes, into: set[S]) -> None:
        whole, ranges = self.whole.by_key, self.ranges
        for length in self.lengths:
            prefix = key[:length]
            if (found := whole.get(prefix)) is not None:
                into |= found
            if (blocks := ranges.get(prefix)) is not None:
                blocks[0].collect(key, into)


def _is_whole_prefix(read: _Range) -> bool:
    return read.lower == read.prefix and read.upper == (prefix_end(read.prefix) or _END)


class SubscriptionIndex(Generic[S]):
    """Read sets by what touches them. Not thread-safe: guard it with the publish lock."""

    def __init__(self) -> None:
        self._registered: dict[S, _Registered] = {}
        self._points: _Multimap[S] = _Multimap()
        self._names: _Multimap[S] = _Multimap()
        self._whole_tables: _Multimap[S] = _Multimap()
        self._tables: _Multimap[S] = _Multimap()
        """Every table read in any way: what a bulk load touches."""
        self._ranges: dict[int, dict[str, _RangeIndex[S]]] = {}
        self._searches: dict[int, SearchSubscriptions[S]] = {}

    def __len__(self) -> int:
        return len(self._registered)

    def follow(self, subscription: S, reads: ReadSet) -> None:
        """Register `subscription`, or replace what it reads; only the difference is touched.

        Cost: O(points and ranges that differ from before).
        """
        old = self._registered.get(subscription)
        if old is None:
            old = _NOTHING
        elif old.reads_only(reads):
            return
        new = _Registered(
            frozenset(reads.points),
            frozenset(_ranges_of(reads)),
            frozenset(reads.searches),
            frozenset(reads.names),
            frozenset(reads.whole_tables),
            frozenset(reads.tables()),
        )
        self._change(subscription, old, new)
        self._registered[subscription] = new

    def remove(self, subscription: S) -> None:
        """Forget `subscription`; does nothing when it is not registered."""
        old = self._registered.pop(subscription, None)
        if old is not None:
            self._change(subscription, old, _NOTHING)

    def reads_of(self, subscription: S) -> list[Reading]:
        """What a subscription reads, a table each; nothing when it is not registered."""
        known = self._registered.get(subscription, _NOTHING)
        return [
            Reading(
                table,
                is_whole=table in known.whole_tables,
                documents=sum(1 for at, _ in known.points if at == table),
                indexes=tuple(sorted(_indexes_of(known, table))),
            )
            for table in sorted(known.tables)
        ]

    def touched(self, change: WriteSet) -> set[S]:
        """The subscriptions whose reads `change` overlaps.

        Cost: O(keys written) look-ups plus the subscriptions found.
        """
        found: set[S] = set()
        points, tables = self._points.by_key, self._whole_tables.by_key
        for write in change.writes:
            if (at_point := points.get((write.table, write.id))) is not None:
                found |= at_point
            if tables and (at_table := tables.get(write.table)) is not None:
                found |= at_table
            if (indexes := self._ranges.get(write.table)) is not None:
                for index, ranges in indexes.items():
                    for key in keys_of(write, index):
                        ranges.collect(key, found)
            if (searches := self._searches.get(write.table)) is not None:
                searches.collect(write, found)
        for name in change.names:
            found |= self._names.by_key.get(name, set())
        for table in change.whole_tables:
            found |= self._tables.by_key.get(table, set())
        return found

    def _change(self, subscription: S, old: _Registered, new: _Registered) -> None:
        _apply_difference(self._points, subscription, old.points, new.points)
        _apply_difference(self._names, subscription, old.names, new.names)
        _apply_difference(self._whole_tables, subscription, old.whole_tables, new.whole_tables)
        _apply_difference(self._tables, subscription, old.tables, new.tables)
        for read in old.ranges - new.ranges:
            self._remove_range(read, subscription)
        for read in new.ranges - old.ranges:
            indexes = self._ranges.setdefault(read.table, {})
            indexes.setdefault(read.index, _RangeIndex()).add(read, subscription)
        # What is the same but for its end is there all the time: its vector is kept as it is.
        for search in new.searches - old.searches:
            self._searches.setdefault(search.table, SearchSubscriptions()).add(search, subscription)
        for search in old.searches - new.searches:
            searches = self._searches[search.table]
            searches.remove(search, subscription)
            if not searches:
                del self._searches[search.table]

    def _remove_range(self, read: _Range, subscription: S) -> None:
        indexes = self._ranges[read.table]
        ranges = indexes[read.index]
        ranges.remove(read, subscription)
        if not ranges.lengths:
            del indexes[read.index]
            if not indexes:
                del self._ranges[read.table]


def _indexes_of(known: _Registered, table: int) -> set[str]:
    ranges = {read.index for read in known.ranges if read.table == table}
    return ranges | {search.index.name for search in known.searches if search.table == table}


def _apply_difference(
    target: _Multimap[S], subscription: S, old: frozenset[Hashable], new: frozenset[Hashable]
) -> None:
    for key in old - new:
        target.remove(key, subscription)
    for key in new - old:
        target.add(key, subscription)


def _ranges_of(reads: ReadSet) -> Iterable[_Range]:
    for read in reads.ranges:
        lower, upper = read.interval()
        if upper is None or lower < upper:
            end = _END if upper is None else upper
            yield _Range(read.table, read.index, read.prefix, lower, end)
