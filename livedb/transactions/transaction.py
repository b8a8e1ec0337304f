"""A view of the documents at one commit, and a mutation's own writes over it.

A view is *base + overlay*: the base is the store at the number the run began at, the overlay holds
the run's own writes. A `Snapshot` has no overlay; a `Transaction` does. One read path serves both,
records what was read, and counts it against the limits.

The overlay is journalled, so that a nested mutation can be rolled back alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, NoReturn, cast

from sortedcontainers import SortedList

from livedb.errors import FunctionTypeError, InvalidIdError, UniqueError
from livedb.ids import IdFactory, table_number_of
from livedb.keys.encoding import encode_key, prefix_end
from livedb.keys.index_key import key_suffix, value_at
from livedb.limits import Limits
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.tables import SYSTEM_DEFINITIONS, TableDefinition
from livedb.store.contract import Block, DocumentStore, Entry, StoredDocument, Write
from livedb.text import decode_fields
from livedb.transactions.reads import RangeRead, ReadSet, WriteSet
from livedb.transactions.table_indexes import (
    BY_CREATION_TIME,
    IndexPaths,
    TableIndexes,
    table_indexes,
)
from livedb.transactions.usage import Usage
from livedb.values import UNSET, Value

if TYPE_CHECKING:
    from livedb.search.versioned import OwnWrites

BY_ID = "by_id"

_NO_TABLES: frozenset[int] = frozenset()
_NO_NAMES: frozenset[str] = frozenset()

_new_tuple = tuple.__new__
"""Makes a named tuple three times as fast as its class does."""


_table_number_of = lru_cache(1 << 16)(table_number_of)
"""A strict id decode is 1-4 us; a mutation usually asks about the same id two or three times."""


class Pending:
    """One document the transaction has written; keys are in the order of `indexes`."""

    __slots__ = ("indexes", "new", "new_keys", "old", "old_keys")

    def __init__(
        self,
        indexes: TableIndexes,
        old: StoredDocument | None,
        old_keys: tuple[bytes, ...] | None,
        new: StoredDocument | None,
        new_keys: tuple[bytes, ...] | None,
    ) -> None:
        self.indexes = indexes
        self.old = old
        self.old_keys = old_keys
        self.new = new
        self.new_keys = new_keys


class _EndedReads:
    """Stands for the read set of a run that is over."""

    def __getattr__(self, name: str) -> NoReturn:
        _refuse_ended()


def _refuse_ended() -> NoReturn:
    raise FunctionTypeError("ctx is used after its function has returned")


_ENDED = cast("ReadSet", _EndedReads())


class Snapshot:
    """The documents at one commit, read-only; records what was read.

    Not thread-safe: it belongs to one run.
    """

    def __init__(self, store: DocumentStore, catalog: Catalog, number: int, limits: Limits) -> None:
        self.store = store
        self.catalog = catalog
        self.number = number
        self.reads = ReadSet()
        self.usage = Usage(limits)
        self.earlier_ends: list[str] | None = None
        """The cursors at which an earlier run of the same live query ended its pages, in order."""
        self.page_ends: list[str] | None = None
        """The cursors at which this run has ended its pages, in order."""

    def end(self) -> None:
        """The run is over: whoever kept its `ctx` can neither read nor write by it.

        Every read and write begins with a note in `reads`, so that nothing else need be asked; a
        scan that goes on looks at it before each document.
        """
        self.reads = _ENDED

    def table(self, name: str) -> CatalogTable | None:
        """The table of that name; the look-up itself is a read."""
        self.reads.names.add(name)
        return self.catalog.get(name)

    def table_of(self, document_id: str) -> CatalogTable | None:
        """The table an id belongs to, None when there is none such.

        Raises:
            InvalidIdError: `document_id` is not an id.
        """
        if not isinstance(document_id, str):
            raise InvalidIdError(
                f"Expected an id, which is a str, and got {type(document_id).__name__}"
            )
        table = self.catalog.by_number(_table_number_of(document_id))
        if table is not None:
            self.reads.names.add(table.definition.name)
        return table

    def get(self, table: CatalogTable, document_id: str) -> StoredDocument | None:
        """One document, as this run sees it."""
        self.reads.points.add((table.number, document_id))
        stored = self._current(table.number, document_id)
        self.usage.count_point(stored, table.definition.name)
        return stored

    def range_read(
        self,
        table: CatalogTable,
        index: str,
        prefix: bytes,
        lower: bytes,
        upper: bytes | None,
        *,
        reverse: bool,
    ) -> RangeRead:
        """Begin a scan; give it to `blocks` or `iter_entries`."""
        self.usage.count_range(table.definition.name)
        read = RangeRead(table.number, index, prefix, lower, upper, reverse=reverse)
        self.reads.ranges.append(read)
        return read

    def blocks(self, table: CatalogTable, read: RangeRead, limit: int | None) -> list[Block]:
        """The next `limit` documents of a scan just begun (None: all of them)."""
        found: list[Block] = []
        # One more than a run may read is where reading all of them fails.
        left = self.usage.limits.documents_read_max + 1 if limit is None else limit
        for block in self._blocks(table, read, left):
            found.append(block)
            self.usage.count_read(len(block), block.size_bytes, table.definition.name)
            left -= len(block)
            if not left:
                break
        else:
            read.is_exhausted = True
        if found:
            read.last_key = found[-1].last_key
        return found

    def iter_entries(self, table: CatalogTable, read: RangeRead) -> Iterator[Entry]:
        """The entries of a scan one by one; only those handed out count as read."""
        blocks = self._blocks(table, read, None)
        entries = chain.from_iterable(block.entries() for block in blocks)
        return self._handed_out(table, read, entries)

    def _handed_out(
        self, table: CatalogTable, read: RangeRead, entries: Iterator[Entry]
    ) -> Iterator[Entry]:
        count, name = self.usage.count_read, table.definition.name
        for entry in entries:
            read.last_key = entry[0]
            count(1, len(entry[2][1]), name)
            yield entry
            if self.reads is _ENDED:
                _refuse_ended()
        read.is_exhausted = True

    def count(self, table: CatalogTable) -> int:
        """How many documents the table has; reads the whole table as far as conflicts go."""
        read = self.range_read(table, BY_CREATION_TIME, b"", b"", None, reverse=False)
        read.is_exhausted = True
        return self.store.count(table.number, number=self.number)

    def own_writes(self, table: CatalogTable) -> OwnWrites:  # noqa: ARG002  # a Transaction's
        """What this run has written to a table, by id; None for a document it deleted."""
        return {}

    def is_stored(self, table: CatalogTable) -> bool:  # noqa: ARG002  # a Transaction's
        """Whether the store has the table, as it has unless this run has made it."""
        return True

    def current(self, table: CatalogTable, document_id: str) -> StoredDocument | None:
        """A document that a search of this run has found; the search is what depends on it."""
        if self.reads is _ENDED:
            _refuse_ended()
        stored = self._current(table.number, document_id)
        if stored is not None:
            self.usage.count_read(1, len(stored.text), table.definition.name)
        return stored

    def _current(self, table: int, document_id: str) -> StoredDocument | None:
        return self.store.get(table, document_id, number=self.number)

    def _blocks(self, table: CatalogTable, read: RangeRead, limit: int | None) -> Iterator[Block]:
        return self.store.scan(
            table.number,
            read.index,
            read.lower,
            read.upper,
            number=self.number,
            reverse=read.reverse,
            limit=limit,
        )


class Transaction(Snapshot):
    """A snapshot with writes of its own; becomes a commit when it is handed to the committer."""

    def __init__(
        self,
        store: DocumentStore,
        catalog: Catalog,
        number: int,
        limits: Limits,
        *,
        ids: IdFactory,
        start_ms: float,
    ) -> None:
        super().__init__(store, catalog, number, limits)
        self._base_catalog = catalog
        self._ids = ids
        self._creation_time = start_ms
        self._overlay: dict[int, dict[str, Pending]] = {}
        self._orders: dict[tuple[int, str], SortedList] = {}
        self._journal: list[tuple[int, str, Pending | None]] = []

    # -- reads ---------------------------------------------------------------------------------

    def count(self, table: CatalogTable) -> int:
        base = 0
        if self._base_catalog.by_number(table.number) is not None:
            base = super().count(table)
        for pending in self._overlay.get(table.number, {}).values():
            base += (pending.new is not None) - (pending.old is not None)
        return base

    def own_writes(self, table: CatalogTable) -> OwnWrites:
        overlay = self._overlay.get(table.number, {})
        return {document_id: pending.new for document_id, pending in overlay.items()}

    def is_stored(self, table: CatalogTable) -> bool:
        return self._base_catalog.by_number(table.number) is not None

    def _current(self, table: int, document_id: str) -> StoredDocument | None:
        overlay = self._overlay.get(table)
        if overlay is not None:
            pending = overlay.get(document_id)
            if pending is not None:
                return pending.new
        if self.catalog is not self._base_catalog and self._base_catalog.by_number(table) is None:
            return None
        return self.store.get(table, document_id, number=self.number)

    def iter_entries(self, table: CatalogTable, read: RangeRead) -> Iterator[Entry]:
        # The caller may write this table while it iterates, so own writes are merged from the
        # start, entry by entry.
        self._overlay.setdefault(table.number, {})
        return self._handed_out(table, read, self._merged(table, read))

    def _blocks(self, table: CatalogTable, read: RangeRead, limit: int | None) -> Iterator[Block]:
        if self._overlay.get(table.number):
            own = islice(self._merged(table, read), limit)
            return iter([Block.of_entries(entries)] if (entries := list(own)) else [])
        return self._base_blocks(table, read, limit)

    def _base_blocks(
        self, table: CatalogTable, read: RangeRead, limit: int | None = None
    ) -> Iterator[Block]:
        if self._base_catalog.by_number(table.number) is None:
            return iter(())
        return super()._blocks(table, read, limit)

    def _merged(self, table: CatalogTable, read: RangeRead) -> Iterator[Entry]:
        """Base entries not overwritten, and own writes, in key order.

        Own writes made while iterating appear when their key lies ahead of the position, as a
        cursor over an index would show them.
        """
        overlay = self._overlay[table.number]
        blocks = self._base_blocks(table, read)
        entries = (entry for block in blocks for entry in block.entries())
        ahead = next(entries, None)
        position: bytes | None = None
        while True:
            while ahead is not None and ahead[1] in overlay:
                ahead = next(entries, None)
            own = self._next_own(table, read, position)
            if ahead is None and own is None:
                return
            if own is None or (ahead is not None and (ahead[0] < own[0]) != read.reverse):
                assert ahead is not None
                position = ahead[0]
                entry, ahead = ahead, next(entries, None)
                yield entry
            else:
                position = own[0]
                yield own

    def _next_own(
        self, table: CatalogTable, read: RangeRead, position: bytes | None
    ) -> Entry | None:
        """The own write that follows `position` within the range."""
        order = self._order(table, read.index)
        if read.reverse:
            bound = read.upper if position is None else position
            at = len(order) if bound is None else order.bisect_left((bound, ""))
            if at == 0:
                return None
            key, document_id = order[at - 1]
            if key < read.lower:
                return None
        else:
            at = (
                order.bisect_left((read.lower, ""))
                if position is None
                else order.bisect_left((position + b"\x00", ""))
            )
            if at == len(order):
                return None
            key, document_id = order[at]
            if read.upper is not None and key >= read.upper:
                return None
        stored = self._overlay[table.number][document_id].new
        assert stored is not None, "the order of an overlay names only documents that exist"
        return Entry(key, document_id, stored)

    def _order(self, table: CatalogTable, index: str) -> SortedList:
        order = self._orders.get((table.number, index))
        if order is None:
            at = self._position(table, index)
            order = SortedList(
                (_key_at(pending.new_keys, at, document_id), document_id)
                for document_id, pending in self._overlay[table.number].items()
                if pending.new_keys is not None
            )
            self._orders[table.number, index] = order
        return order

    @staticmethod
    def _position(table: CatalogTable, index: str) -> int:
        if index == BY_ID:
            return -1
        return table_indexes(table.definition).names.index(index)

    # -- writes --------------------------------------------------------------------------------

    def writable_table(self, name: str) -> CatalogTable:
        """The table to insert into, created when there is none."""
        table = self.table(name)
        if table is None:
            system = SYSTEM_DEFINITIONS.get(name)
            if system is not None:
                table = CatalogTable(system.number, system.definition)
            else:
                created = TableDefinition(name=name)
                table = CatalogTable(self.catalog.next_table_number(), created)
            self.catalog = self.catalog.with_table(self.number, table)
        return table

    def next_creation_time(self) -> float:
        """The creation time of the next insert: the next double after the last one's."""
        self._creation_time = math.nextafter(self._creation_time, math.inf)
        return self._creation_time

    def new_id(self, table: CatalogTable) -> str:
        return self._ids.new(table.number)

    def insert(
        self,
        table: CatalogTable,
        document_id: str,
        fields: dict[str, Value],
        stored: StoredDocument,
    ) -> None:
        """Put a new document. `fields` are what `stored.text` encodes."""
        indexes = table_indexes(table.definition)
        keys = self._new_keys(table, indexes, document_id, fields, stored)
        self._put(table, indexes, document_id, None, None, stored, keys)

    def replace(
        self,
        table: CatalogTable,
        document_id: str,
        old: StoredDocument,
        old_fields: dict[str, Value] | None,
        fields: dict[str, Value],
        stored: StoredDocument,
        *,
        changed: Iterable[str] | None = None,
    ) -> None:
        """Put a new version of a document this run has read as `old`.

        Args:
            old_fields: what `old.text` encodes, where the caller knows.
            changed: the top-level fields that may differ; None when any may.
        """
        indexes = table_indexes(table.definition)
        keys = self._new_keys(table, indexes, document_id, fields, stored)
        old_keys: tuple[bytes, ...] | None = keys
        if changed is None or indexes.are_moved_by(changed):
            old_keys = self._old_keys(table, indexes, document_id, old, old_fields)
        self._put(table, indexes, document_id, old, old_keys, stored, keys)

    def delete(self, table: CatalogTable, document_id: str, old: StoredDocument) -> None:
        indexes = table_indexes(table.definition)
        old_keys = self._old_keys(table, indexes, document_id, old, None)
        self._put(table, indexes, document_id, old, old_keys, None, None)

    def _new_keys(
        self,
        table: CatalogTable,
        indexes: TableIndexes,
        document_id: str,
        fields: dict[str, Value],
        stored: StoredDocument,
    ) -> tuple[bytes, ...]:
        keys = indexes.keys(fields, stored.creation_time, document_id)
        if indexes.has_unique:
            for index, key in zip(indexes.declared, keys[1:], strict=True):
                if index.is_unique:
                    self._check_unique(table, index, key, fields, document_id, stored)
        return keys

    def _old_keys(
        self,
        table: CatalogTable,
        indexes: TableIndexes,
        document_id: str,
        old: StoredDocument,
        fields: dict[str, Value] | None,
    ) -> tuple[bytes, ...] | None:
        overlay = self._overlay.get(table.number)
        if overlay is not None and document_id in overlay:
            return None  # the overlay has those of the version before this run
        known = decode_fields(old.text) if fields is None else fields
        return indexes.keys(known, old.creation_time, document_id)

    def _put(
        self,
        table: CatalogTable,
        indexes: TableIndexes,
        document_id: str,
        old: StoredDocument | None,
        old_keys: tuple[bytes, ...] | None,
        stored: StoredDocument | None,
        new_keys: tuple[bytes, ...] | None,
    ) -> None:
        number = table.number
        overlay = self._overlay.get(number)
        if overlay is None:
            overlay = self._overlay[number] = {}
        self.usage.count_write(0 if stored is None else len(stored.text), table.definition.name)
        before = overlay.get(document_id)
        taken_keys = None
        if before is not None:
            old, old_keys, taken_keys = before.old, before.old_keys, before.new_keys
        overlay[document_id] = Pending(indexes, old, old_keys, stored, new_keys)
        self._journal.append((number, document_id, before))
        if self._orders:
            self._reorder(table, document_id, taken_keys, new_keys)

    def _reorder(
        self,
        table: CatalogTable,
        document_id: str,
        taken: tuple[bytes, ...] | None,
        added: tuple[bytes, ...] | None,
    ) -> None:
        for (number, index), order in self._orders.items():
            if number != table.number:
                continue
            at = self._position(table, index)
            if taken is not None:
                order.remove((_key_at(taken, at, document_id), document_id))
            if added is not None:
                order.add((_key_at(added, at, document_id), document_id))

    def _check_unique(
        self,
        table: CatalogTable,
        index: IndexPaths,
        key: bytes,
        fields: dict[str, Value],
        document_id: str,
        stored: StoredDocument,
    ) -> None:
        """Refuse a second document under one key; the look-up is a read like any other.

        As in SQL, null is no value to share, and neither is an absent field.
        """
        values = [value_at(fields, path) for path in index.paths]
        if any(value is None or value is UNSET for value in values):
            return
        prefix = key[: len(key) - len(key_suffix(stored.creation_time, document_id))]
        read = self.range_read(table, index.name, prefix, prefix, prefix_end(prefix), reverse=False)
        found = [entry for block in self.blocks(table, read, 2) for entry in block.entries()]
        for entry in found:
            if entry.id != document_id:
                shown = ", ".join(".".join(path) for path in index.paths)
                name = table.definition.name
                raise UniqueError(
                    f"Table {name!r} already has a document with this {shown} "
                    f"(unique index {index.name!r}): {entry.id}. Patch that one, or use another "
                    "value.",
                    index=index.name,
                    existing_id=entry.id,
                )

    # -- nesting -------------------------------------------------------------------------------

    def savepoint(self) -> tuple[int, Catalog]:
        """A mark to roll back to."""
        return len(self._journal), self.catalog

    def rollback(self, savepoint: tuple[int, Catalog]) -> None:
        """Undo every write since `savepoint`; what was read stays read."""
        length, self.catalog = savepoint
        while len(self._journal) > length:
            number, document_id, before = self._journal.pop()
            if before is None:
                del self._overlay[number][document_id]
            else:
                self._overlay[number][document_id] = before
        self._orders.clear()

    # -- outcome -------------------------------------------------------------------------------

    @property
    def has_written(self) -> bool:
        return bool(self._journal) or self.has_new_tables

    @property
    def has_new_tables(self) -> bool:
        return self.catalog is not self._base_catalog

    def write_set(self) -> WriteSet:
        """What this transaction changes, without writes that leave a document as it was."""
        writes: list[Write] = []
        for number, overlay in self._overlay.items():
            if self.catalog.by_number(number) is None:
                continue  # created in a nested mutation that was rolled back
            for document_id, pending in overlay.items():
                old, new = pending.old, pending.new
                if old != new:
                    old_keys, new_keys = pending.old_keys, pending.new_keys
                    if old_keys == new_keys:
                        new_keys = old_keys  # the store sees by identity that nothing moved
                    write = (
                        number, document_id, old, new, pending.indexes.names, old_keys, new_keys,
                    )  # fmt: skip
                    writes.append(_new_tuple(Write, write))
        names = _NO_NAMES
        if self.catalog is not self._base_catalog:
            names = self.catalog.changed_names(self._base_catalog)
        return _new_tuple(WriteSet, (tuple(writes), names, _NO_TABLES))


def _key_at(keys: tuple[bytes, ...] | None, at: int, document_id: str) -> bytes:
    assert keys is not None
    return encode_key(document_id) if at < 0 else keys[at]
