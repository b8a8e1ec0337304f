"""A block of an index scan in which some documents are not what the base has.

The usual case is a live query that runs again since one of its hundred documents changed. So the
block of the base stays whole, with what is kept of it, and only the changes are put in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from livedb.store.contract import Block, Entry, StoredDocument
from livedb.store.segment import SegmentOrder
from livedb.text import decode_block
from livedb.values import Document


class Row(NamedTuple):
    """A changed document in a block.

    Attributes:
        mark: its key, or where in the block of the base it lies.
        id: its id.
        document: what it is now.
    """

    mark: bytes | int
    id: str
    document: StoredDocument


class MergedBlock(Block):
    """A block of the base with changes, in ascending key order."""

    __slots__ = ("_base", "_base_order", "_changed", "_rows", "_start")

    def __init__(
        self, base: Block, rows: Sequence[int | Row], order: SegmentOrder, start: int
    ) -> None:
        """Merge.

        Args:
            base: the documents at neighbouring positions of `order`.
            rows: the documents of the block: one of `base`, by its place there, or another.
            order: the base's order of the index.
            start: the position of the first document of `base`.
        """
        self._base = base
        self._rows = rows
        self._changed = [row for row in rows if not isinstance(row, int)]
        self._base_order = order
        self._start = start

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> list[str]:
        base = self._base.ids
        return [base[row] if isinstance(row, int) else row.id for row in self._rows]

    @property
    def size_bytes(self) -> int:
        """See `Block`. Cost: O(changes)."""
        size_bytes = sum([len(row.document.text) for row in self._changed])
        if self._is_all_changed:
            return size_bytes
        gone = set(range(len(self._base))).difference(
            [row for row in self._rows if isinstance(row, int)]
        )
        size_at, start = self._base_order.size_at, self._start
        return size_bytes + self._base.size_bytes - sum([size_at(start + at) for at in gone])

    def key_at(self, place: int) -> bytes:
        return self._key_of(self._rows[place])

    def documents(self) -> list[Document]:
        """See `Block`. Cost: that of the base's block, and about 0.6 us for each change."""
        changed = decode_block(
            [row.id for row in self._changed],
            [row.document.creation_time for row in self._changed],
            b"".join([row.document.text for row in self._changed]),
        )
        if self._is_all_changed:
            return changed
        base, following = self._base.documents(), iter(changed)
        return [base[row] if type(row) is int else next(following) for row in self._rows]

    def entries(self) -> list[Entry]:
        base = self._base.entries()
        return [
            base[row] if isinstance(row, int) else Entry(self._key_of(row), row.id, row.document)
            for row in self._rows
        ]

    @property
    def _is_all_changed(self) -> bool:
        return len(self._changed) == len(self._rows)

    def _key_of(self, row: int | Row) -> bytes:
        mark = row if isinstance(row, int) else row.mark
        return mark if isinstance(mark, bytes) else self._base_order.key_at(self._start + mark)


class Merge:
    """Puts changed documents into a block of the base."""

    def __init__(self, base: Block, rows: list[int | Row], order: SegmentOrder, start: int) -> None:
        """Begin with the documents that lie where the base has them, as `MergedBlock` has them."""
        self._base = base
        self._rows = rows
        self._order = order
        self._start = start

    def keep_up_to(self, key: bytes, *, reverse: bool) -> None:
        """Drop the documents beyond `key`, in reading direction; the base does not have it."""
        place = self._place_of(key)
        self._rows = self._rows[place:] if reverse else self._rows[:place]

    def add(self, changes: Sequence[Row]) -> None:
        """Add documents, ascending, that the base does not have under the keys they now have.

        Cost: about 5 us each, much less for those that come between the same two of the base.
        """
        rows, done = self._rows, 0
        if not rows:
            self._rows = list(changes)
            return
        merged: list[int | Row] = []
        for change in changes:
            key = change.mark
            assert isinstance(key, bytes), change
            if done < len(rows) and self._order.is_below(self._start + _mark_of(rows[done]), key):
                place = self._place_of(key)
                merged += rows[done:place]
                done = place
            merged.append(change)
        self._rows = merged + rows[done:]

    def block(self, limit: int, *, reverse: bool) -> tuple[MergedBlock, bytes | None]:
        """The first `limit` documents, the last ones if `reverse`, and the key where to read on.

        The key is None when these are all there are.
        """
        rows = self._rows
        is_all = len(rows) <= limit
        rows = rows[-limit:] if reverse else rows[:limit]
        block = MergedBlock(self._base, rows, self._order, self._start)
        if is_all:
            return block, None
        return block, block.first_key if reverse else block.last_key + b"\x00"

    def _place_of(self, key: bytes) -> int:
        return bisect_left(self._rows, self._order.position(key) - self._start, key=_mark_of)


def _mark_of(row: int | Row) -> int:
    """Where in the base's block a row lies; asked only of those that lie there."""
    mark = row if isinstance(row, int) else row.mark
    assert isinstance(mark, int), row
    return mark
