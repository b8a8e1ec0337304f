"""The index keys of documents that changed since the base of their table was packed.

A changed document that keeps its key in an index stays where the base has it: only keys that the
base does not have for that very document are ordered here. So the usual change, which moves a
document in no index, touches no order at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from sortedcontainers import SortedList

from livedb.keys.encoding import encode_key
from livedb.keys.index_key import index_key, key_suffix, split_path
from livedb.schema.tables import IndexDefinition
from livedb.store.contract import StoredDocument, Write
from livedb.text import decode_fields

Keys = tuple[bytes, ...]
"""A document's keys in the order of the indexes of its table."""

_KEY_BYTES = 250
"""What one ordered key costs beside its own bytes: an object, slots of a dict and a list."""


class IndexKeys:
    """Makes a document's keys in every index of a table: `by_creation_time` first, then declared.

    `by_id` is left out: its key needs nothing but the id.
    """

    def __init__(self, indexes: Sequence[IndexDefinition]) -> None:
        self.names = ("by_creation_time", *(index.name for index in indexes))
        self._paths = [tuple(map(split_path, index.fields)) for index in indexes]

    def of_document(self, document_id: str, document: StoredDocument | None) -> Keys | None:
        """The keys of a document. Cost: decodes it, about 1 us and 1 us for each index."""
        if document is None:
            return None
        suffix = key_suffix(document.creation_time, document_id)
        if not self._paths:
            return (suffix,)
        fields = decode_fields(document.text)
        return (suffix, *(index_key(fields, paths, suffix) for paths in self._paths))

    def of_write(self, write: Write, *, keys_known: bool) -> tuple[Keys | None, Keys | None]:
        """The keys of the document before and after `write`, None where there is none.

        Args:
            write: one change of a document.
            keys_known: take them from the write, if it has them. A write made before an index was
                declared anew has none, or other ones.
        """
        if keys_known and write.indexes == self.names:
            return write.old_keys, write.new_keys
        return self.of_document(write.id, write.old), self.of_document(write.id, write.new)


def id_key(document_id: str) -> bytes:
    """A document's key in `by_id`."""
    return encode_key(document_id)


class ChangedOrder:
    """The keys of one index under which changed documents lie, or lay at a commit still kept.

    A document that leaves a key and comes back to it lies there twice, so keys are counted. The
    committer changes this and readers read it under the latch of the table: a sorted list that is
    iterated while it changes gives missing, doubled and misordered keys.
    """

    def __init__(self) -> None:
        self._keys: SortedList = SortedList()
        self._ids: dict[bytes, str] = {}
        self._further: dict[bytes, int] = {}  # how many times beyond the first, never 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, key: bytes, document_id: str) -> None:
        """A document lies under `key`, once more perhaps. Cost: O(log n)."""
        if key in self._ids:
            self._further[key] = self._further.get(key, 0) + 1
        else:
            self._ids[key] = document_id
            self._keys.add(key)
            self.size_bytes += len(key) + _KEY_BYTES

    def remove(self, key: bytes) -> None:
        """Undo one `add`. Cost: O(log n)."""
        further = self._further.get(key, 0)
        if further > 1:
            self._further[key] = further - 1
        elif further:
            del self._further[key]
        else:
            del self._ids[key]
            self._keys.remove(key)
            self.size_bytes -= len(key) + _KEY_BYTES

    def id_of(self, key: bytes) -> str:
        """The document that lies, or lay, under `key`."""
        return self._ids[key]

    def keys_between(
        self, lower: bytes, upper: bytes | None, limit: int, *, reverse: bool
    ) -> list[bytes]:
        """The first `limit` keys with lower <= key < upper, the last ones if `reverse`."""
        if not self._ids:
            return []
        return list(islice(self._keys.irange(lower, upper, (True, False), reverse=reverse), limit))

    def iter_counts(self) -> Iterator[tuple[bytes, str, int]]:
        """Every key, whose it is, and how often it was added, in no order."""
        for key, document_id in self._ids.items():
            yield key, document_id, 1 + self._further.get(key, 0)

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        state = f"keys {list(self._keys)}, ids {self._ids}, further {self._further}"
        assert list(self._keys) == sorted(self._ids), state
        assert self._further.keys() <= self._ids.keys(), state
        assert all(count > 0 for count in self._further.values()), state
        assert self.size_bytes == sum(len(key) + _KEY_BYTES for key in self._ids), state
