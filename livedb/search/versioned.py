"""An index that keeps what it holds of every version of a document: what both kinds share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from livedb.search.base_rows import BaseRows
from livedb.search.fields import Keys, SearchedIndex, indexed_fields
from livedb.search.slots import VersionSlots
from livedb.values import Value

V = TypeVar("V")

Stored: TypeAlias = tuple[float, bytes]
"""A version of a document: creation time and text, as `store.contract.StoredDocument`."""

OwnWrites: TypeAlias = Mapping[str, Stored | None]
"""What a transaction has written, by id: they hide what the index has of these documents."""


class Hit(NamedTuple):
    """A document that a search found, and how well it fits."""

    id: str
    score: float


class VersionedIndex(ABC, Generic[V]):
    """What a table has in one index, readable at every commit that is kept.

    Whoever owns it sees to it that one thread uses it at a time.
    """

    def __init__(self, index: SearchedIndex, base: BaseRows) -> None:
        self._fields = indexed_fields(index)
        self._slots = VersionSlots(base, len(index.filters))

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self._slots.size_bytes + self._content_bytes()

    @property
    def slots_count(self) -> int:
        """Versions held, superseded ones included."""
        return len(self._slots)

    def add_rows(self, rows: Iterable[int], documents: Iterable[Mapping[str, Value]]) -> None:
        """Take in documents of the base, in the order of its rows, before any that changed."""
        taken: list[int] = []
        values: list[V] = []
        keys: list[Keys] = []
        for row, fields in zip(rows, documents, strict=True):
            value = self._fields.value(fields)
            if value is not None:
                taken.append(row)
                values.append(value)
                keys.append(self._fields.keys(fields))
        first = len(self._slots)
        self._slots.add_rows(taken, keys)
        self._add(first, values)

    def apply(self, number: int, document_id: str, old: Stored | None, new: Stored | None) -> None:
        """One document is another from commit `number` on, or is gone, or new."""
        was = self._fields.of_text(None if old is None else old[1])
        now = self._fields.of_text(None if new is None else new[1])
        if was == now:
            return
        self._slots.end(document_id, number)
        if now is not None:
            assert new is not None, document_id
            slot = self._slots.add(document_id, new[0], now[1], number)
            self._add(slot, [now[0]])

    def undo(self, number: int) -> None:
        """Take back every commit above `number`."""
        self._slots.undo(number)

    @abstractmethod
    def settle(self, oldest: int) -> None:
        """Make what was added ready for searches; forget what none at `oldest` or later sees."""

    @abstractmethod
    def _content_bytes(self) -> int:
        """Bytes held beside the slots."""

    @abstractmethod
    def _add(self, first: int, values: Sequence[V]) -> None:
        """The values of the slots from `first` on."""
