"""The search indexes of a table in memory: built when a search first asks, kept up as it is used.

A commit only notes what it wrote; the next search takes that in. So writing costs the same with a
search index as without, and an index that nobody asks for any more is let go.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from livedb.schema.search_indexes import SearchIndexDefinition
from livedb.search.fields import SearchedIndex
from livedb.search.slots import Array
from livedb.search.text_index import TextIndex
from livedb.search.vector_index import VectorIndex
from livedb.store.contract import StoredDocument, Write
from livedb.store.segment import Segment
from livedb.text import decode_texts

BuiltIndex: TypeAlias = TextIndex | VectorIndex

Chain: TypeAlias = list[tuple[int, StoredDocument | None]]
"""The versions of one document, oldest first: the commit that made each, and what it is."""

_Event: TypeAlias = tuple[int, Write | None]
"""A write of a commit; without one, every commit above the number is taken back."""

EVENTS_MAX = 20_000
"""Writes noted and not taken in; then the index is let go, and built by the next search."""

_DECODED_ROWS = 4_096
_DECODED_BYTES = 16 << 20
"""Documents decoded at once while an index is built, and bytes of their texts, unless one alone has
more; bounds the memory that takes."""

_STALE_SHARE = 4
_STALE_MIN = 10_000
"""How many times the documents of the table, and this many more, an index takes in versions before
it is built anew without those that nobody can see."""


class KeptIndex:
    """One index that is built or being built.

    Attributes:
        lock: who searches has it. Taken before the table's latch.
        is_ready: whether it is built; guarded by the table's latch, as what is noted.
    """

    def __init__(self, index: SearchedIndex, base: Segment) -> None:
        self._rows = _Rows(base)
        self._rows_bytes = 0
        """What the rows take that nobody else holds."""
        self.built: BuiltIndex = (
            TextIndex(index, self._rows)
            if isinstance(index, SearchIndexDefinition)
            else VectorIndex(index, self._rows)
        )
        self.lock = threading.Lock()
        self.is_ready = False
        self._noted: list[_Event] = []
        self._slots_built = 0
        self._is_whole = True
        """False while writes are taken in: should that be interrupted, it cannot be used."""

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self.built.size_bytes + self._rows_bytes

    def outlive_base(self) -> None:
        """The table has a newer base: this one keeps the rows of the one that it was built from."""
        self._rows_bytes = self._rows.size_bytes

    @property
    def noted_count(self) -> int:
        """Writes not taken in yet."""
        return len(self._noted)

    def note(self, event: _Event) -> None:
        """Remember what a commit did, for the next search; under the latch."""
        self._noted.append(event)

    def take_noted(self) -> list[_Event]:
        """What was noted since; under the latch."""
        noted, self._noted = self._noted, []
        return noted

    def build(self, base: Segment, changed: dict[str, Chain], oldest: int) -> None:
        """Take in every document: those of the base, and all versions of those that changed."""
        skipped = {row for key in changed if (row := base.ids.row_of(key)) is not None}
        for rows in _spans(base.offsets):
            texts = base.texts[base.offsets[rows.start] : base.offsets[rows.stop]]
            documents = decode_texts(texts)
            taken = [row for row in rows if row not in skipped]
            self.built.add_rows(taken, [documents[row - rows.start] for row in taken])
        for document_id, chain in changed.items():
            before: StoredDocument | None = None
            for number, document in chain:
                self.built.apply(number, document_id, before, document)
                before = document
        self.built.settle(oldest)
        self._slots_built = self.built.slots_count

    def is_stale(self, documents: int) -> bool:
        """Whether so many versions were taken in that it should be built anew.

        Those that it was built with do not count: while snapshots need them, they would be there
        again.
        """
        taken_in = self.built.slots_count - self._slots_built
        return taken_in > _STALE_SHARE * documents + _STALE_MIN

    def catch_up(self, noted: Iterable[_Event], oldest: int) -> bool:
        """Take in what was noted; False if the index cannot be used, since this was interrupted.

        Ctrl-C or a time limit may strike anywhere in here, as it is whoever searches that does it.
        """
        if not self._is_whole:
            return False
        self._is_whole = False
        for number, write in noted:
            if write is None:
                self.built.undo(number)
            else:
                self.built.apply(number, write.id, write.old, write.new)
        self.built.settle(oldest)
        self._is_whole = True
        return True


class TableSearches:
    """The indexes of one table; the table's latch guards it."""

    def __init__(self) -> None:
        self._kept: dict[SearchedIndex, KeptIndex] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return sum(kept.size_bytes for kept in list(self._kept.values()))

    def outlive_base(self) -> None:
        """The documents are packed anew, which changes none of them, nor any of their versions."""
        for kept in self._kept.values():
            kept.outlive_base()

    def get(self, index: SearchedIndex) -> KeptIndex | None:
        """An index that is built."""
        kept = self._kept.get(index)
        return kept if kept is not None and kept.is_ready else None

    def begin(self, index: SearchedIndex, base: Segment) -> KeptIndex:
        """An index to be built; from now on it notes what commits do."""
        kept = self._kept[index] = KeptIndex(index, base)
        return kept

    def forget(self, index: SearchedIndex) -> None:
        """Let an index go."""
        self._kept.pop(index, None)

    def keep_only(self, indexes: Iterable[SearchedIndex]) -> None:
        """Let go of every index that is not among these."""
        wanted = set(indexes)
        self._kept = {index: kept for index, kept in self._kept.items() if index in wanted}

    def note(self, number: int, write: Write | None) -> None:
        """A commit wrote, or (None) every commit above `number` is taken back."""
        if not self._kept:
            return
        for index, kept in list(self._kept.items()):
            kept.note((number, write))
            if kept.is_ready and kept.noted_count > EVENTS_MAX:
                self.forget(index)


def _spans(offsets: Sequence[int]) -> Iterator[range]:
    """Rows to decode at once; `offsets` is where their texts start, and the end of the last."""
    start, count = 0, len(offsets) - 1
    while start < count:
        fitting = bisect_right(offsets, offsets[start] + _DECODED_BYTES, start) - 1
        stop = max(start + 1, min(start + _DECODED_ROWS, fitting))
        yield range(start, stop)
        start = stop


class _Rows:
    """The packed documents of a table, as indexes ask for them: not their texts, nor their orders.

    An index that outlives its base holds no more of it than this.
    """

    def __init__(self, base: Segment) -> None:
        self._ids = base.ids
        self._times = np.frombuffer(base.creation_times, np.float64)

    @property
    def size_bytes(self) -> int:
        return self._ids.size_bytes + self._times.nbytes

    def row_of(self, document_id: str) -> int | None:
        return self._ids.row_of(document_id)

    def id_at(self, row: int) -> str:
        return self._ids.at(row)

    def creation_times(self, rows: Array) -> Array:
        return self._times[rows]
