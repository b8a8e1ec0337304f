"""What the transaction floor needs of a store of documents, and the plain data they exchange.

Two stores answer reads of functions from this contract's words: the row store in memory today, a
side store on disk later. SQL never goes through it; `store.tables` serves that from DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


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
    ) -> Iterator[list[Entry]]:
        """The documents whose `index` key k has lower <= k < upper (None: no bound), in blocks.

        Blocks start small and grow to `limits.READ_BLOCK_KEYS`, so that `first()` costs no more
        than a few keys. In descending key order when `reverse`.

        Raises: as `get`.
        Cost: O(log n) to the first block, then proportional to the documents handed out.
        """

    def count(self, table: int, *, number: int) -> int:
        """How many documents the table has at commit `number`. Cost: O(changes since `number`)."""

    def apply(self, number: int, writes: Sequence[Write]) -> None:
        """Make commit `number` (the last one + 1) the newest state."""

    def undo(self, number: int) -> None:
        """Take back every commit above `number`, newest first."""

    def create(self, table: int, number: int) -> None:
        """A new, empty table as of commit `number`; called before that commit is applied."""

    def release(self, number: int) -> None:
        """Forget superseded versions that no snapshot at `number` or later needs."""
