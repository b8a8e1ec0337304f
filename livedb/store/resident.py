"""One table in memory, readable at every commit that is still kept.

    base       packed documents at the commit of the load (`segment`)
    changed    id -> newest version (None: deleted) of the documents written since
    orders     per index, the keys of every kept version of those (`indexes`)
    log        one record per write, with what it superseded: for undo, and for old snapshots

A document in `changed` hides the base's. A read at the newest number looks at `changed`, then at
the base. A read at an older one finds superseded versions beside the newest, each with the commits
between which it was seen.

Law: a document that is not in `changed` was, at every number from `oldest` on, what the base says.
So the base may be *newer* than a snapshot it serves, as long as whatever changed between is in
`changed` with its history: that is how a load and a repack keep older snapshots readable.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from livedb.schema.tables import IndexDefinition
from livedb.store.contract import Entry, StoredDocument, Write
from livedb.store.indexes import Change, ChangedOrder, IndexKeys, Version, id_key
from livedb.store.segment import Segment

_CHANGED_BYTES = 800
"""What one changed document costs beside its text and keys: objects, dict and list slots."""

_DELETED_BYTES = 300
"""What the absence of a document costs."""

_new_tuple = tuple.__new__
_ABSENT = StoredDocument(0.0, b"")
_key_of = itemgetter(0)
_until_of = itemgetter(0)


class _Superseded(NamedTuple):
    """What one write replaced. `old_change` is None if that was not among the changed documents."""

    number: int
    id: str
    old: StoredDocument | None
    old_change: Change | None
    old_keys: Sequence[bytes] | None


class ResidentTable:
    """The state of one table. Its owner's latch guards every method but `get_newest`.

    Attributes:
        base: the packed documents.
        oldest: reads below this number are refused.
        last_change: no commit above this number changed the table; never goes back, not even when
            commits are undone, so that `get_newest` can trust a comparison made afterwards.
        applied: the newest commit applied here.
    """

    def __init__(self, base: Segment, indexes: Sequence[IndexDefinition], *, oldest: int) -> None:
        self.base = base
        self.indexes = tuple(indexes)
        self.oldest = oldest
        self.applied = oldest
        self.last_change = oldest
        self._index_keys = IndexKeys(indexes)
        self._changed: dict[str, StoredDocument | None] = {}
        self._changes: dict[str, Change] = {}
        self._orders = [ChangedOrder() for _ in self._index_keys.names]
        self._by_id: ChangedOrder | None = None  # made by the first scan that needs it
        self._history: dict[str, list[tuple[int, StoredDocument | None]]] = {}  # until, version
        self._log: deque[_Superseded] = deque()
        self._count = base.count
        self._changed_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes held; exact for the base, estimated for changed documents."""
        return self.base.size_bytes + self._changed_bytes

    @property
    def changed_count(self) -> int:
        """Documents that are not read from the base."""
        return len(self._changed)

    @property
    def versions_count(self) -> int:
        """Superseded versions kept."""
        return len(self._log)

    # Reading

    def get_newest(self, document_id: str, number: int) -> tuple[bool, StoredDocument | None]:
        """The document, if the table has not changed since `number`; needs no latch.

        The committer raises `last_change` before it changes anything else, so a version newer than
        `number` cannot pass the comparison that follows the look-up.
        """
        document = self._changed.get(document_id, _ABSENT)
        if document is _ABSENT:
            document = self.base.get(document_id)
        return self.last_change <= number, document

    def get(self, document_id: str, number: int) -> StoredDocument | None:
        """The document as of commit `number`."""
        history = self._history.get(document_id)
        if history is not None:
            position = bisect_right(history, number, key=_until_of)
            if position < len(history):
                return history[position][1]
        if document_id in self._changed:
            return self._changed[document_id]
        return self.base.get(document_id)

    def count(self, number: int) -> int:
        """Documents as of commit `number`. Cost: O(writes since)."""
        count = self._count
        later: dict[str, bool] = {}  # whether the id existed before its first later write
        for record in reversed(self._log):
            if record.number <= number:
                break
            later[record.id] = record.old is not None
        for document_id, was_there in later.items():
            count += was_there - (self._changed[document_id] is not None)
        return count

    def prepare_by_id(self) -> None:
        """Order the changed documents by id, from now on."""
        if self._by_id is not None:
            return
        order = ChangedOrder()
        for record in self._log:
            if record.old is not None:
                since = record.old_change.number if record.old_change else 0
                key = id_key(record.id)
                order.retire(key, Version(record.number, since, Entry(key, record.id, record.old)))
        for document_id, document in self._changed.items():
            if document is not None:
                key = id_key(document_id)
                order.add(key, Entry(key, document_id, document))
        self._by_id = order  # last, so that an interrupt leaves nothing half made

    def order_of(self, index: str) -> ChangedOrder:
        """The order of the changed documents in an index."""
        if index == "by_id":
            self.prepare_by_id()
            assert self._by_id is not None
            return self._by_id
        return self._orders[self._index_keys.names.index(index)]

    def merge(
        self,
        index: str,
        base_entries: list[Entry],
        lower: bytes,
        upper: bytes | None,
        limit: int,
        number: int,
        *,
        reverse: bool,
    ) -> tuple[list[Entry], bytes | None]:
        """Changed documents merged into `base_entries`, which are all the base has in the interval.

        Returns:
            Entries in the order asked for, and the key where the next read goes on (forward: the
            lower bound, reverse: the upper one); None when nothing is left in the interval.
        """
        if not self._changed:
            return (base_entries[::-1] if reverse else base_entries), None
        order = self.order_of(index)
        keys = order.keys_between(lower, upper, limit, reverse=reverse)
        bound = None
        if len(keys) == limit:
            # There may be more changed keys beyond: what the base has there must wait for them.
            if reverse:
                bound = keys[-1]
                base_entries = [entry for entry in base_entries if entry[0] >= bound]
            else:
                bound = keys[-1] + b"\x00"
                base_entries = [entry for entry in base_entries if entry[0] < bound]
        changed = self._changed
        entries = [entry for entry in base_entries if entry[1] not in changed]
        if keys:
            if number >= self.last_change:
                entries += order.at_newest(keys)
            else:
                entries += order.at(keys, self._changes, number)
        entries.sort(key=_key_of, reverse=reverse)
        if len(entries) > limit:
            del entries[limit:]
            bound = entries[-1][0] if reverse else entries[-1][0] + b"\x00"
        return entries, bound

    # Changing

    def apply(self, number: int, writes: Iterable[Write], *, keys_known: bool = True) -> None:
        """Make commit `number` the newest. `keys_known`: trust the writes' index keys.

        Cost: about 8 us a write, and its old and new keys where they differ.
        """
        assert number >= self.applied, f"commit {number} after {self.applied}"
        self.last_change = max(self.last_change, number)  # before anything else: see `get_newest`
        self.applied = number
        for write in writes:
            old_keys, new_keys = self._index_keys.of_write(write, keys_known=keys_known)
            self._supersede(number, write, old_keys)
            self._add(number, write, new_keys)

    def undo(self, number: int) -> None:
        """Take back every commit above `number`, newest first."""
        assert number >= self.oldest or not self._log, f"{number} is released, {self.oldest}"
        while self._log and self._log[-1].number > number:
            self._take_back(self._log.pop())
        self.applied = min(self.applied, number)

    def release(self, number: int) -> None:
        """Forget versions that only snapshots below `number` need."""
        while self._log and self._log[0].number <= number:
            record = self._log.popleft()
            self.oldest = max(self.oldest, record.number)
            history = self._history[record.id]
            del history[0]
            if not history:
                del self._history[record.id]
            if record.old_keys is not None:
                for order, key in zip(self._orders, record.old_keys, strict=True):
                    order.forget_oldest(key)
                if self._by_id is not None:
                    self._by_id.forget_oldest(id_key(record.id))
            self._changed_bytes -= _cost(record.old, record.old_keys)

    def rebased(self, base: Segment) -> ResidentTable:
        """The same table on a newer base; what the base has and no snapshot needs is let go.

        Shares its parts with this state, which must not be used for anything but `get_newest`
        any more. Cost: O(changed documents).
        """
        table = ResidentTable(base, self.indexes, oldest=self.oldest)
        table.applied, table.last_change = self.applied, self.last_change
        cut = min(self.oldest, base.number)
        kept = [document_id for document_id, change in self._changes.items() if change.number > cut]
        table._changed = {document_id: self._changed[document_id] for document_id in kept}
        table._changes = {document_id: self._changes[document_id] for document_id in kept}
        table._orders, table._history, table._log = self._orders, self._history, self._log
        table._count, table._changed_bytes = self._count, self._changed_bytes
        for document_id in self._changed.keys() - table._changed.keys():
            table._forget_newest(self._changed[document_id], self._changes[document_id])
        return table

    def _forget_newest(self, document: StoredDocument | None, change: Change) -> None:
        self._changed_bytes -= _cost(document, change.keys)
        if change.keys is not None:
            for order, key in zip(self._orders, change.keys, strict=True):
                order.forget_newest(key)

    def _supersede(self, number: int, write: Write, keys: Sequence[bytes] | None) -> None:
        """Put the version that `write` replaces among the superseded ones.

        What the base has is `write.old` only if it was loaded before: a load also replays commits
        that the base already contains, for the sake of older snapshots.
        """
        document_id = write.id
        change = self._changes.get(document_id)
        if change is not None:
            old, since, keys = self._changed[document_id], change.number, change.keys
        else:
            old, since = write.old, 0
            is_hidden = old is not None
            if number <= self.base.number:
                is_hidden = self.base.row_of(document_id) is not None
            self._count -= is_hidden
            self._changed_bytes += _cost(old, keys)
        self._log.append(_Superseded(number, document_id, old, change, keys))
        self._history.setdefault(document_id, []).append((number, old))
        if old is None:
            return
        if change is not None:
            self._count -= 1
        assert keys is not None
        for order, key in zip(self._orders, keys, strict=True):
            entry = order.newest(key) if change else Entry(key, document_id, old)
            order.retire(key, Version(number, since, entry))
        if self._by_id is not None:
            key = id_key(document_id)
            self._by_id.retire(key, Version(number, since, Entry(key, document_id, old)))

    def _add(self, number: int, write: Write, keys: Sequence[bytes] | None) -> None:
        """Make `write.new` the newest version; the one before has been superseded."""
        document_id, new = write.id, write.new
        self._changes[document_id] = Change(number, keys)
        self._changed[document_id] = new
        self._changed_bytes += _cost(new, keys)
        if new is None:
            return
        self._count += 1
        assert keys is not None
        for order, key in zip(self._orders, keys, strict=True):
            order.add(key, _new_tuple(Entry, (key, document_id, new)))
        if self._by_id is not None:
            key = id_key(document_id)
            self._by_id.add(key, Entry(key, document_id, new))

    def _take_back(self, record: _Superseded) -> None:
        """Undo the newest write."""
        document_id = record.id
        new, change = self._changed[document_id], self._changes[document_id]
        by_id = () if self._by_id is None else ((self._by_id, id_key(document_id)),)
        if new is not None and change.keys is not None:
            for order, key in chain(zip(self._orders, change.keys, strict=True), by_id):
                order.take_back(key)
        history = self._history[document_id]
        history.pop()
        if not history:
            del self._history[document_id]
        if record.old is not None and record.old_keys is not None:
            for order, key in chain(zip(self._orders, record.old_keys, strict=True), by_id):
                order.bring_back(key, is_changed=record.old_change is not None)
        self._changed_bytes -= _cost(new, change.keys)
        self._count += (record.old is not None) - (new is not None)
        if record.old_change is not None:
            self._changed[document_id] = record.old
            self._changes[document_id] = record.old_change
        else:
            del self._changed[document_id], self._changes[document_id]
            self._changed_bytes -= _cost(record.old, record.old_keys)

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        state = f"changed {self._changed}, changes {self._changes}, log {self._log}"
        self.base._check()  # noqa: SLF001 - each structure checks itself
        orders = self._orders if self._by_id is None else [*self._orders, self._by_id]
        for order in orders:
            order._check()  # noqa: SLF001
            found = {entry.id: entry.document for entry in order.iter_newest()}
            newest = {key: it for key, it in self._changed.items() if it is not None}
            assert found == newest, f"ordered {found}, {state}"
        assert self._changed.keys() == self._changes.keys(), state
        numbers = [record.number for record in self._log]
        assert numbers == sorted(numbers), state
        assert not numbers or self.oldest < numbers[0], f"oldest {self.oldest}, {state}"
        assert not numbers or numbers[-1] <= self.applied <= self.last_change, state
        ids = {self.base.id_at(row) for row in range(self.base.count)} - self._changed.keys()
        there = {key for key, document in self._changed.items() if document is not None}
        assert self._count == len(ids) + len(there), f"count {self._count}, {state}"
        for document_id, change in self._changes.items():
            document = self._changed[document_id]
            expected = document and self._index_keys.of_document(document_id, document)
            assert change.keys == expected, f"keys of {document_id}: {expected}, {state}"
        kept: dict[str, list[tuple[int, StoredDocument | None]]] = {}
        for record in self._log:
            kept.setdefault(record.id, []).append((record.number, record.old))
        assert kept == self._history, f"history {self._history}, {state}"
        costs = [_cost(self._changed[key], change.keys) for key, change in self._changes.items()]
        costs += [_cost(record.old, record.old_keys) for record in self._log]
        assert self._changed_bytes == sum(costs), f"{self._changed_bytes} bytes, {state}"


def _cost(document: StoredDocument | None, keys: Sequence[bytes] | None) -> int:
    """Bytes that one version of a changed document holds, roughly."""
    if document is None:
        return _DELETED_BYTES
    return _CHANGED_BYTES + len(document.text) + sum(map(len, keys or ()))
