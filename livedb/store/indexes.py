"""The index order of the documents of a table that changed since its base was packed.

One sorted list per index holds every key under which some version of a changed document lies: the
newest one, or superseded ones that a snapshot may still read. A change that keeps a document's key
(`by_creation_time` always does) touches dicts only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter, eq, itemgetter
from typing import NamedTuple

from sortedcontainers import SortedList

from livedb.keys.encoding import encode_key
from livedb.keys.index_key import index_key, key_suffix, split_path
from livedb.schema.tables import IndexDefinition
from livedb.store.contract import Entry, IndexChange, StoredDocument, Write
from livedb.text import decode_fields


class Version(NamedTuple):
    """A superseded version under one key: what snapshots at since <= number < until see."""

    until: int
    since: int
    entry: Entry


class Change(NamedTuple):
    """How one document last changed: the commit, and its keys in the order of the indexes."""

    number: int
    keys: Sequence[bytes] | None


_until = attrgetter("until")


class IndexKeys:
    """Makes a document's keys in every index of a table: `by_creation_time` first, then declared.

    `by_id` is left out: its key needs nothing but the id.
    """

    def __init__(self, indexes: Sequence[IndexDefinition]) -> None:
        self.names = ("by_creation_time", *(index.name for index in indexes))
        self._paths = [tuple(map(split_path, index.fields)) for index in indexes]

    def of_document(self, document_id: str, document: StoredDocument) -> tuple[bytes, ...]:
        """The keys of a document. Cost: decodes it, about 1 us and 1 us for each index."""
        suffix = key_suffix(document.creation_time, document_id)
        if not self._paths:
            return (suffix,)
        fields = decode_fields(document.text)
        return (suffix, *(index_key(fields, paths, suffix) for paths in self._paths))

    def of_write(
        self, write: Write, *, keys_known: bool
    ) -> tuple[Sequence[bytes] | None, Sequence[bytes] | None]:
        """The keys of the document before and after `write`, None where there is none.

        Args:
            write: one change of a document.
            keys_known: take them from the write, as far as it has them. A write made before an
                index was declared anew has none, or other ones.
        """
        old, new = write.old, write.new
        old_keys = new_keys = None
        if keys_known:
            found = self._changes_in_order(write)
            if found:
                old_keys = old and [change.old_key for change in found]
                new_keys = new and [change.new_key for change in found]
        return (
            self._complete(write.id, old, old_keys),
            self._complete(write.id, new, new_keys),
        )

    def _changes_in_order(self, write: Write) -> Sequence[IndexChange]:
        """The write's changes, one per index of this table; empty when it lacks one."""
        changes = write.index_changes
        # A transaction gives them in this very order, unless the indexes were declared anew.
        if len(changes) == len(self.names) and all(
            map(eq, map(itemgetter(0), changes), self.names)
        ):
            return changes
        by_name = {change[0]: change for change in changes}
        try:
            return [by_name[name] for name in self.names]
        except KeyError:
            return ()

    def _complete(
        self,
        document_id: str,
        document: StoredDocument | None,
        keys: Sequence[bytes | None] | None,
    ) -> Sequence[bytes] | None:
        if document is None:
            return None
        if keys is None or None in keys:
            return self.of_document(document_id, document)
        return tuple(keys)  # type: ignore[arg-type]  # None was excluded


def id_key(document_id: str) -> bytes:
    """A document's key in `by_id`."""
    return encode_key(document_id)


class ChangedOrder:
    """One index over the changed documents of a table, every version that is still kept.

    The committer changes it and readers read it under the latch of the table: a sorted list that
    is iterated while it changes gives missing, doubled and misordered keys.
    """

    def __init__(self) -> None:
        self._keys: SortedList = SortedList()
        self._newest: dict[bytes, Entry | None] = {}  # None: only superseded versions lie here
        self._older: dict[bytes, list[Version]] = {}  # oldest first, never an empty list

    @classmethod
    def of_newest(cls, entries: Mapping[bytes, Entry]) -> ChangedOrder:
        """The order of documents without superseded versions. Cost: a sort."""
        order = cls()
        order._newest = dict(entries)
        order._keys = SortedList(entries)
        return order

    def __len__(self) -> int:
        return len(self._newest)

    def __bool__(self) -> bool:
        return bool(self._newest)

    def add(self, key: bytes, entry: Entry) -> None:
        """The newest version of the document under `key`. Cost: O(log n) if the key is new."""
        if key not in self._newest:
            self._keys.add(key)
        self._newest[key] = entry

    def retire(self, key: bytes, version: Version) -> None:
        """The newest version under `key` is superseded. Cost: as `add`."""
        if key not in self._newest:
            self._keys.add(key)
        self._newest[key] = None
        self._older.setdefault(key, []).append(version)

    def take_back(self, key: bytes) -> None:
        """Undo `add`."""
        self._newest[key] = None
        self._clean(key)

    def bring_back(self, key: bytes, *, is_changed: bool) -> None:
        """Undo `retire`; `is_changed` is False when the version comes from the base."""
        versions = self._older[key]
        version = versions.pop()
        if not versions:
            del self._older[key]
        self._newest[key] = version.entry if is_changed else None
        self._clean(key)

    def forget_oldest(self, key: bytes) -> None:
        """Drop the oldest superseded version under `key`."""
        versions = self._older[key]
        del versions[0]
        if not versions:
            del self._older[key]
        self._clean(key)

    def forget_newest(self, key: bytes) -> None:
        """Drop the newest version under `key`: the base has it."""
        self.take_back(key)

    def newest(self, key: bytes) -> Entry:
        """The newest entry under `key`, which must be there."""
        entry = self._newest[key]
        assert entry is not None, key
        return entry

    def iter_newest(self) -> Iterator[Entry]:
        """The newest entries, in no order."""
        return (entry for entry in self._newest.values() if entry is not None)

    def at(
        self, keys: Sequence[bytes], changes: Mapping[str, Change], number: int
    ) -> Iterator[Entry]:
        """The entries of `keys` that a snapshot at `number` sees."""
        for key in keys:
            entry = self._newest[key]
            if entry is not None and changes[entry.id].number <= number:
                yield entry
                continue
            versions = self._older.get(key)
            if versions is None:
                continue
            position = bisect_right(versions, number, key=_until)
            if position < len(versions) and versions[position].since <= number:
                yield versions[position].entry

    def at_newest(self, keys: Sequence[bytes]) -> list[Entry]:
        """The newest entries of `keys`, for a table that did not change since."""
        return [entry for entry in map(self._newest.__getitem__, keys) if entry is not None]

    def keys_between(
        self, lower: bytes, upper: bytes | None, limit: int, *, reverse: bool
    ) -> list[bytes]:
        """The first `limit` keys with lower <= key < upper, the last ones if `reverse`."""
        return list(islice(self._keys.irange(lower, upper, (True, False), reverse=reverse), limit))

    def _clean(self, key: bytes) -> None:
        if self._newest[key] is None and key not in self._older:
            del self._newest[key]
            self._keys.remove(key)

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        state = f"newest {self._newest}, older {self._older}"
        assert list(self._keys) == sorted(self._newest), state
        for key, entry in self._newest.items():
            assert entry is None or entry.key == key, state
            assert entry is not None or key in self._older, state
        for key, versions in self._older.items():
            assert key in self._newest, state
            assert versions, state
            assert all(version.entry.key == key for version in versions), state
            assert all(version.since < version.until for version in versions), state
            bounds = [bound for version in versions for bound in (version.since, version.until)]
            assert bounds == sorted(bounds), state
