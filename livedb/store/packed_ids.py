"""The ids of a table in memory, in order, without an object for each.

Ids of one table have one width, since they share the table number, and neighbours in the order
start alike: ours begin with the table number and the time. So ids are kept in groups, and of a
group what its ids start with once, then the rest of each, a line each: of 32 characters about 20
for documents that were loaded together. An id is found by a bisection over every 32nd id and a
search in 32 lines.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from livedb.store.packed import Bytes, packed_texts

_GROUP_SHIFT = 10
GROUP_ROWS = 1 << _GROUP_SHIFT
"""Ids that share a start; each of twice as many would take a fifth of a character more."""
_GROUP_MASK = GROUP_ROWS - 1

_FENCE_SHIFT = 5
_FENCE_ROWS = 1 << _FENCE_SHIFT
"""Every how many ids one is kept as an object: 2.8 bytes a document."""
_FENCES_SHIFT = _GROUP_SHIFT - _FENCE_SHIFT
_FENCES_MASK = (1 << _FENCES_SHIFT) - 1

_TEXT_BYTES = 49
"""What a string takes beside its characters."""


class _Group(NamedTuple):
    """Neighbours in the order.

    Attributes:
        start: what each id starts with.
        lines: the rest of each, followed by a newline.
        line: characters of one line, the newline included.
        shared: characters that each id starts with.
    """

    start: str
    lines: str
    line: int
    shared: int


class PackedIds:
    """The ids of a table in order; a row is a place in it.

    Attributes:
        width: characters of an id, 0 without ids.
    """

    def __init__(self, ids: Any) -> None:
        """Pack an Arrow array of strings, ascending, none of them null."""
        self._count = len(ids)
        data, offsets = packed_texts(ids)
        self.width = int(offsets[1]) if self._count else 0
        lengths: Any = pc.min_max(pc.binary_length(ids))
        assert lengths["min"] == lengths["max"], f"ids of one table differ in length: {ids}"
        characters = data.reshape(self._count, self.width)
        self._groups = [
            _packed(characters[row : row + GROUP_ROWS]) for row in range(0, self._count, GROUP_ROWS)
        ]
        self._fences = [self.at(row) for row in range(0, self._count, _FENCE_ROWS)]

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        groups = sum([len(start) + len(lines) for start, lines, _, _ in self._groups])
        fences = (_TEXT_BYTES + self.width + 8) * len(self._fences)
        return groups + (2 * _TEXT_BYTES + 80) * len(self._groups) + fences

    def row_of(self, document_id: str) -> int | None:
        """Where this id is, if it is. Cost: O(log n)."""
        fence = bisect_right(self._fences, document_id) - 1
        if fence < 0 or len(document_id) != self.width:
            return None
        group = fence >> _FENCES_SHIFT
        start, lines, line, shared = self._groups[group]
        first = (fence & _FENCES_MASK) * (line << _FENCE_SHIFT)
        place = lines.find(document_id[shared:], first, first + (line << _FENCE_SHIFT))
        # Beside a line is the end of one and the beginning of the next, for an id with a newline.
        if place < 0 or place % line or document_id[:shared] != start:
            return None
        return (group << _GROUP_SHIFT) + place // line

    def at(self, row: int) -> str:
        """The id of a row."""
        start, lines, line, _ = self._groups[row >> _GROUP_SHIFT]
        place = (row & _GROUP_MASK) * line
        return start + lines[place : place + line - 1]

    def between(self, first: int, end: int) -> list[str]:
        """The ids of the rows from `first` up to `end`. Cost: about 0.05 us each."""
        ids: list[str] = []
        while first < end:
            group = first >> _GROUP_SHIFT
            stop = min(end, (group + 1) << _GROUP_SHIFT)
            start, lines, line, _ = self._groups[group]
            place = (first & _GROUP_MASK) * line
            rest = lines[place : place + (stop - first) * line - 1]
            ids += (start + rest.replace("\n", "\n" + start)).split("\n")
            first = stop
        return ids

    def of_rows(self, rows: Iterable[int]) -> list[str]:
        """The ids of any rows. Cost: about 0.15 us each."""
        groups, ids = self._groups, []
        for row in rows:
            start, lines, line, _ = groups[row >> _GROUP_SHIFT]
            place = (row & _GROUP_MASK) * line
            ids.append(start + lines[place : place + line - 1])
        return ids

    def _check(self) -> None:
        """Assert every invariant, or show what is wrong."""
        ids = self.between(0, self._count)
        state = f"{self._count} ids of width {self.width}"
        assert len(ids) == self._count, state
        assert all(one < other for one, other in pairwise(ids)), state
        assert self.of_rows(range(self._count)) == ids, state
        assert [self.row_of(document_id) for document_id in ids] == list(range(self._count)), state


def _packed(characters: Bytes) -> _Group:
    """A group of ids, of which each is a row of characters."""
    count, width = characters.shape
    differ = np.flatnonzero(characters[0] != characters[-1])
    shared = int(differ[0]) if len(differ) else width
    lines = np.full((count, width - shared + 1), ord("\n"), np.uint8)
    lines[:, :-1] = characters[:, shared:]
    start = characters[0, :shared].tobytes().decode("ascii")
    return _Group(start, lines.tobytes().decode("ascii"), width - shared + 1, shared)
