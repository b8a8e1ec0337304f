"""What the transaction floor needs of a store of documents, and the plain data they exchange.

Two stores answer reads of functions from this contract's words: the row store in memory today, a
side store on disk later. SQL never goes through it; `store.tables` serves that from DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from livedb.text import decode_block, split_texts
from livedb.values import Document, Value

if TYPE_CHECKING:
    from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
    from livedb.search.fields import Equality
    from livedb.search.vectors import VectorQuery
    from livedb.search.versioned import Hit, OwnWrites
    from livedb.search.words import TextQuery


class StoredDocument(NamedTuple):
    """One version of a document: its creation time, and its other fields as `livedb.text` bytes.

    `_id` is the key it is stored under; neither `_id` nor `_creationTime` is in `text`.
    """

    creation_time: float
    text: bytes


class Write(NamedTuple):
    """One document before and after a commit (None: it did not, or no longer does, exist).

    `indexes` names every index of the table but `by_id`, `by_creation_time` first; `old_keys` and
    `new_keys` are the document's keys in that order, None where there is no document. A key ends
    with the encoded `_creationTime` and `_id`. A write that moves its document in no index may, and
    to be cheap should, give the very same tuple twice. Without `indexes` the keys are not known,
    and whoever needs them makes them from the documents.
    """

    table: int
    id: str
    old: StoredDocument | None
    new: StoredDocument | None
    indexes: tuple[str, ...] = ()
    old_keys: tuple[bytes, ...] | None = None
    new_keys: tuple[bytes, ...] | None = None


class Entry(NamedTuple):
    """One position of an index scan."""

    key: bytes
    id: str
    document: StoredDocument


class KeyOrder(Protocol):
    """The keys of an index by their position in its order."""

    def key_at(self, position: int) -> bytes:
        """The key at one position."""

    def keys(self, start: int, end: int) -> list[bytes]:
        """The keys at the positions from `start` up to `end`, cheaper than one by one."""


class Block:
    """Neighbouring documents of an index scan, by the column.

    A scan hands out columns because most readers want documents: a key costs more to make than a
    text to decode, and of a hundred keys a read set needs the last one.
    """

    __slots__ = ("_creation_times", "_ids", "_kept", "_marks", "_order", "_texts")

    def __init__(
        self,
        ids: list[str],
        creation_times: list[float],
        texts: bytes,
        marks: Sequence[int | bytes],
        order: KeyOrder,
    ) -> None:
        """Columns of equal length, in ascending key order; a block never changes them.

        Args:
            ids: of the documents.
            creation_times: of the documents.
            texts: flagged texts (`livedb.text`), one after the other.
            marks: the key of each document, or its position in `order`.
            order: the index.
        """
        self._ids = ids
        self._creation_times = creation_times
        self._texts = texts
        self._marks = marks
        self._order = order
        self._kept: list[dict[str, Value]] | None = None

    @classmethod
    def of_entries(cls, entries: Sequence[Entry]) -> Block:
        """A block of these documents, in this order."""
        return cls(
            [entry.id for entry in entries],
            [entry.document.creation_time for entry in entries],
            b"".join([entry.document.text for entry in entries]),
            [entry.key for entry in entries],
            _NO_ORDER,
        )

    def in_reverse(self) -> Block:
        """The same documents, in descending key order."""
        return _ReversedBlock(self)

    def keep_documents(self) -> None:
        """Decode the documents now, for readers to come, if a copy of each is easily made.

        Which it is if they hold no list and no dict: a copy of one level is a private one.
        """
        texts = self._texts
        if self._kept is None and texts.count(b"{") == len(self) and b"[" not in texts:
            documents = decode_block(self._ids, self._creation_times, texts)
            self._kept = list(map(dict, documents))

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> list[str]:
        """The ids, in reading order; do not change the list."""
        return self._ids

    @property
    def size_bytes(self) -> int:
        """Bytes of all texts."""
        return len(self._texts)

    @property
    def first_key(self) -> bytes:
        """The key of the first document, in reading order. Cost: about 1 us."""
        return self.key_at(0)

    @property
    def last_key(self) -> bytes:
        """The key of the last document, in reading order. Cost: about 1 us."""
        return self.key_at(-1)

    def key_at(self, place: int) -> bytes:
        """The key of one document, by its place in reading order, from the end if negative."""
        mark = self._marks[place]
        return mark if isinstance(mark, bytes) else self._order.key_at(mark)

    def documents(self) -> list[Document]:
        """The documents, private copies, in reading order.

        Cost: about 0.6 us each, 0.1 us for kept ones.
        """
        if self._kept is not None:
            return list(map(Document, self._kept))
        return decode_block(self._ids, self._creation_times, self._texts)

    def entries(self) -> list[Entry]:
        """The documents as entries, in reading order. Cost: about 1.5 us each."""
        stored = map(StoredDocument, self._creation_times, split_texts(self._texts))
        return list(map(Entry, self._keys(), self._ids, stored))

    def __iter__(self) -> Iterator[Entry]:
        """As `entries`."""
        return iter(self.entries())

    def _keys(self) -> list[bytes]:
        marks = self._marks
        if isinstance(marks, range):
            return self._order.keys(marks.start, marks.stop)
        return list(map(self.key_at, range(len(marks))))


class _ReversedBlock(Block):
    """A block read from its end."""

    __slots__ = ("_forward",)

    def __init__(self, forward: Block) -> None:
        self._forward = forward

    def in_reverse(self) -> Block:
        return self._forward

    def __len__(self) -> int:
        return len(self._forward)

    @property
    def ids(self) -> list[str]:
        return self._forward.ids[::-1]

    @property
    def size_bytes(self) -> int:
        return self._forward.size_bytes

    def key_at(self, place: int) -> bytes:
        return self._forward.key_at(-1 - place)

    def documents(self) -> list[Document]:
        return self._forward.documents()[::-1]

    def entries(self) -> list[Entry]:
        return self._forward.entries()[::-1]


class _NoOrder:
    """The order of a block that knows its keys."""

    def key_at(self, position: int) -> bytes:
        raise AssertionError(position)

    def keys(self, start: int, end: int) -> list[bytes]:
        raise AssertionError((start, end))


_NO_ORDER = _NoOrder()


class DocumentStore(Protocol):
    """Documents and their index order, readable at every number that is still kept.

    Only the committer applies and undoes; any thread reads. A reader never sees a commit half
    applied, and iterating while commits are applied gives exactly the documents at its number.
    """

    def get(self, table: int, document_id: str, *, number: int) -> StoredDocument | None:
        """The version of one document at commit `number`.

        Raises:
            SnapshotTooOldError: versions at `number` are no longer kept.
            MemoryBudgetError: the table does not fit in memory.
        Cost: one dict look-up when the table has not changed since `number`.
        """

    def scan(
        self,
        table: int,
        index: str,
        lower: bytes,
        upper: bytes | None,
        *,
        number: int,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[Block]:
        """The documents whose `index` key k has lower <= k < upper (None: no bound), in blocks.

        Args:
            table: its number.
            index: its name.
            lower: the first key.
            upper: the end of the keys.
            number: the commit.
            reverse: in descending key order.
            limit: how many documents at most; who knows how many it will take says so, and gets
                them in blocks of `limits.READ_BLOCK_KEYS`. Else blocks start small and grow.

        Raises: as `get`.
        Cost: O(log n) to the first block, then proportional to the documents handed out.
        """

    def count(self, table: int, *, number: int) -> int:
        """How many documents the table has at commit `number`. Cost: O(changes since `number`)."""

    def search_text(
        self,
        table: int,
        index: SearchIndexDefinition,
        query: TextQuery,
        filters: Sequence[Equality],
        *,
        number: int,
        limit: int,
        own: OwnWrites,
    ) -> list[Hit]:
        """The documents that have the words at commit `number`, best first, ties newest first.

        Args:
            table: its number.
            index: of the table; it is built if need be.
            query: the words.
            filters: of which each must hold.
            number: the commit.
            limit: how many at most.
            own: what a transaction has written itself.

        Raises: as `get`.
        Cost: O(postings of the words); the first time about 10 us for each document.
        """

    def search_vectors(
        self,
        table: int,
        index: VectorIndexDefinition,
        query: VectorQuery,
        *,
        number: int,
        own: OwnWrites,
    ) -> list[Hit]:
        """The nearest documents at commit `number`, nearest first, ties by id.

        Args: as `search_text`.
        Raises: as `get`.
        Cost: O(documents x dimensions).
        """

    def apply(self, number: int, writes: Sequence[Write]) -> None:
        """Make commit `number` (the last one + 1) the newest state."""

    def undo(self, number: int) -> None:
        """Take back every commit above `number`, newest first."""

    def create(self, table: int, number: int) -> None:
        """A new, empty table as of commit `number`; called before that commit is applied."""

    def release(self, number: int) -> None:
        """Forget superseded versions that no snapshot at `number` or later needs."""
