"""The versions of documents that an index holds, readable at every commit that is kept.

A version has a number, its *slot*, for as long as the index lives: it was born at one commit and
died at another, or is alive. What a document was at a commit is the slot that was born by then and
had not died. Nothing is moved when documents change, so a search at an older commit sees what was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from livedb.search.base_rows import BaseRows

ALIVE = np.iinfo(np.int64).max
"""The number of the commit at which what is alive has died."""

_OTHER_BYTES = 150
"""What a document that the base does not have costs beside: a dict's entry, a tuple, a float."""

_CODE_BYTES = 150
"""What a value to filter by costs beside its key, once for all documents that have it."""

Array: TypeAlias = np.ndarray[Any, Any]


class Growing:
    """A column of numbers that grows at its end."""

    __slots__ = ("_data", "count")

    def __init__(self, dtype: Any) -> None:
        self._data = np.empty(16, dtype)
        self.count = 0

    def extend(self, values: Sequence[int] | Array) -> None:
        """Add values. Cost: amortised, a few ns each."""
        end = self.count + len(values)
        if end > len(self._data):
            larger = np.empty(max(end, 2 * len(self._data)), self._data.dtype)
            larger[: self.count] = self._data[: self.count]
            self._data = larger
        self._data[self.count : end] = values
        self.count = end

    @property
    def values(self) -> Array:
        """All of them, to read and to overwrite."""
        return self._data[: self.count]

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self._data.nbytes


class VersionSlots:
    """Slots of documents, with the values of their filter fields."""

    def __init__(self, base: BaseRows, filters: int) -> None:
        """No slots yet.

        Args:
            base: where documents lie that have not changed.
            filters: how many filter fields the index has.
        """
        self._base = base
        self._rows_count = 0
        self._born = Growing(np.int64)
        self._died = Growing(np.int64)
        self._places = Growing(np.int32)
        """The row of the base, or -1 - n for the n-th of `_others`."""
        self._before = Growing(np.int32)
        """The slot of the same document before, -1 if there is none."""
        self._others: list[tuple[str, float]] = []
        self._newest: dict[str, int] = {}
        """The last slot of each of `_others`; a document of the base is found by its row."""
        self._codes: list[dict[bytes, int]] = [{} for _ in range(filters)]
        self._codes_bytes = 0
        self._filtered = [Growing(np.int32) for _ in range(filters)]

    def __len__(self) -> int:
        return self._born.count

    @property
    def size_bytes(self) -> int:
        """Bytes held; exact for columns, estimated for documents that changed."""
        columns = (self._born, self._died, self._places, self._before, *self._filtered)
        others = _OTHER_BYTES * len(self._others)
        return sum(column.size_bytes for column in columns) + others + self._codes_bytes

    # Changing

    def add_rows(self, rows: Sequence[int], filters: Sequence[Sequence[bytes]]) -> None:
        """Slots for documents of the base, which lie there in ascending order; before any other.

        Args:
            rows: of the base.
            filters: the keys of the filter fields of each.
        """
        assert not self._others, "the base comes first"
        count = len(rows)
        self._born.extend(np.zeros(count, np.int64))
        self._died.extend(np.full(count, ALIVE))
        self._places.extend(rows)
        self._before.extend(np.full(count, -1, np.int32))
        self._add_filters(filters)
        self._rows_count += count

    def add(
        self, document_id: str, creation_time: float, filters: Sequence[bytes], number: int
    ) -> int:
        """A slot for what a document is from commit `number` on."""
        slot = len(self)
        before = self.newest(document_id)
        self._born.extend([number])
        self._died.extend([ALIVE])
        self._places.extend([-1 - len(self._others)])
        self._before.extend([-1 if before is None else before])
        self._add_filters([filters])
        self._others.append((document_id, creation_time))
        self._newest[document_id] = slot
        return slot

    def end(self, document_id: str, number: int) -> None:
        """What a document was is no longer so from commit `number` on."""
        slot = self.newest(document_id)
        if slot is not None and self._died.values[slot] == ALIVE:
            self._died.values[slot] = number

    def undo(self, number: int) -> None:
        """Take back every commit above `number`. Cost: O(slots)."""
        born, died = self._born.values, self._died.values
        never = born > number
        died[(died > number) & ~never] = ALIVE
        born[never] = ALIVE
        died[never] = 0
        self._newest = {}
        for at, (document_id, _) in enumerate(self._others):
            slot = self._rows_count + at
            if not never[slot]:
                self._newest[document_id] = slot

    # Reading

    def newest(self, document_id: str) -> int | None:
        """The last slot of a document, alive or not."""
        slot = self._newest.get(document_id)
        if slot is None:
            row = self._base.row_of(document_id)
            if row is not None:
                rows = self._places.values[: self._rows_count]
                at = int(np.searchsorted(rows, row))
                if at < self._rows_count and rows[at] == row:
                    slot = at
        return slot

    def all_of(self, document_ids: Iterable[str]) -> Iterator[int]:
        """Every slot of some documents, whenever they were alive."""
        before = self._before.values
        for document_id in document_ids:
            slot = self.newest(document_id)
            while slot is not None and slot >= 0:
                yield slot
                slot = int(before[slot])

    def is_alive(self, number: int, slots: Array | slice = slice(None)) -> Array:
        """Whether each slot was what its document was, at commit `number`."""
        alive: Array = self._born.values[slots] <= number
        alive &= self._died.values[slots] > number
        return alive

    def is_needed(self, oldest: int, slots: Array) -> Array:
        """Whether each slot can be seen at commit `oldest` or later."""
        needed: Array = self._died.values[slots] > oldest
        return needed

    def passes(self, equality: tuple[int, bytes], slots: Array | slice = slice(None)) -> Array:
        """Whether each slot has the value in a filter field."""
        field, key = equality
        code = self._codes[field].get(key, -1)
        passing: Array = self._filtered[field].values[slots] == code
        return passing

    def id_of(self, slot: int) -> str:
        """Whose slot it is."""
        place = int(self._places.values[slot])
        return self._base.id_at(place) if place >= 0 else self._others[-1 - place][0]

    def creation_times(self, slots: Array) -> Array:
        """When the documents of some slots were created."""
        places = self._places.values[slots]
        times = np.empty(len(places))
        in_base = places >= 0
        times[in_base] = self._base.creation_times(places[in_base])
        others = self._others
        times[~in_base] = [others[-1 - place][1] for place in places[~in_base].tolist()]
        return times

    def _add_filters(self, filters: Sequence[Sequence[bytes]]) -> None:
        for field, (codes, column) in enumerate(zip(self._codes, self._filtered, strict=True)):
            for key in {keys[field] for keys in filters} - codes.keys():
                codes[key] = len(codes)
                self._codes_bytes += len(key) + _CODE_BYTES
            column.extend([codes[keys[field]] for keys in filters])
