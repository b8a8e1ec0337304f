"""The row store: documents in memory, for functions, readable at every commit that is kept.

A table enters memory when a function first reads it, and is one of

    unloaded   nothing here; writes go to the commit log and the backlog alone
    loading    a loader thread packs what the tables (DuckDB) have; writes wait in a queue
    loaded     a `ResidentTable`: packed base, changed documents, superseded versions

**Loading without stopping commits.** The loader registers `loading`, and copies from the backlog
every commit the tables did not have at that instant; then it loads, which takes about a second for
1e6 documents. A commit is in the backlog before it is applied here, so each one above the last fold
is in that copy or in the queue, whatever folds happen meanwhile, and replaying them with what they
replaced makes every number since that fold readable, even those below the load's own.

**Threads.** One committer applies and undoes. Any thread reads; a reader holds a table's latch for
one block at a time, or not at all (`get` of a table unchanged since). Nothing that a reader's
thread does alone is needed by others: loads run in threads of their own, so that an interrupt
(Ctrl-C in a cell) cannot leave one half done.

Order of locks: a loader's turn, a search index's, a table's latch, the innermost ones of backlog
and block cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from livedb.errors import IndexRangeError
from livedb.limits import READ_BLOCK_KEYS, Limits
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.schema.tables import IndexDefinition
from livedb.search.fields import Equality, SearchedIndex
from livedb.search.text_index import TextIndex
from livedb.search.vector_index import VectorIndex
from livedb.search.vectors import VectorQuery
from livedb.search.versioned import Hit, OwnWrites
from livedb.search.words import TextQuery
from livedb.store.allocators import return_unused_memory
from livedb.store.backlog import Backlog
from livedb.store.contract import Block, DocumentStore, StoredDocument, Write
from livedb.store.loaded import LoadedTable
from livedb.store.resident import ResidentTable
from livedb.store.searches import BuiltIndex
from livedb.store.segment import Segment, SegmentOrder
from livedb.store.table_slot import (
    Loading,
    TableSlot,
    budget_error,
    check_number,
    search_budget_error,
)

_FIRST_BLOCK_KEYS = 16
"""Keys of a scan's first block; the next ones double up to READ_BLOCK_KEYS."""

_INSTALL_WRITES_MAX = 100
"""Queued writes that a loader applies under the latch; it applies more outside, and looks again."""

_REPACK_CHANGED_MIN = 50_000
"""Changed documents below which packing them anew is not worth a load."""

_REPACK_SHARE = 0.25
"""Share of the base that may be changed before it is packed anew."""

_WEIGH_BYTES = 1 << 20
"""Bytes written between two comparisons of what is held with the budget."""

_RETURN_BYTES = 16 << 20
"""Size of a table from which on its load is followed by giving back memory."""


_Bounds = tuple[bytes, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatistics:
    """One loaded table."""

    table: int
    documents: int
    documents_changed: int
    versions_superseded: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStoreStatistics:
    """What the row store holds."""

    tables: tuple[TableStatistics, ...]
    size_bytes: int
    size_bytes_max: int


class RowStore(DocumentStore):
    """Documents of the tables that functions use, in memory."""

    def __init__(
        self,
        *,
        load: Callable[[int], LoadedTable],
        indexes_of: Callable[[int], Sequence[IndexDefinition]],
        estimate_bytes: Callable[[int], int],
        backlog: Backlog,
        limits: Limits,
        name_of: Callable[[int], str] = str,
    ) -> None:
        """Make an empty store.

        Args:
            load: all documents of a table; called in a loader thread, with no latch held that a
                commit needs. May be called while commits and folds go on.
            indexes_of: the declared indexes of a table.
            estimate_bytes: how much memory a table will take, roughly.
            backlog: commits the tables do not have yet; each is appended there before `apply`,
                and taken back there before `undo`.
            limits: `row_memory_bytes_max` is heeded.
            name_of: a table's name, for messages.
        """
        self._load = load
        self._indexes_of = indexes_of
        self._estimate_bytes = estimate_bytes
        self._backlog = backlog
        self._limits = limits
        self._name_of = name_of
        # Guards the dict of slots, not the slots.
        self._slots_latch = threading.Lock()
        self._slots: dict[int, TableSlot] = {}
        # One load at a time: two would only share the interpreter, and the memory budget is
        # weighed before each.
        self._load_turn = threading.Lock()
        self._released = 0
        self._unweighed_bytes = 0  # written since memory was last compared with the budget

    # Reading

    def get(self, table: int, document_id: str, *, number: int) -> StoredDocument | None:
        """See `DocumentStore.get`. Cost: 0.4 us for a changed document, 2 us for a packed one."""
        slot = self._slots.get(table) or self._slot(table)
        state = slot.state
        if state is not None and state.oldest <= number:
            is_certain, document = state.get_newest(document_id, number)
            if is_certain:
                return document
        while True:
            state = self._state(slot)
            with slot.latch:
                if slot.state is state:
                    check_number(slot, state, number)
                    return state.get(document_id, number)

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
        """See `DocumentStore.scan`."""
        slot = self._slot(table)
        size = _FIRST_BLOCK_KEYS
        is_first = True
        rest: _Bounds | None = (lower, upper)
        while rest is not None and (rest[1] is None or rest[0] < rest[1]):
            if limit is not None:
                size = min(limit, READ_BLOCK_KEYS)
            state = self._state(slot)
            order = _order_of(state, index)
            # The base never changes, so its blocks are made without the latch.
            span = order.span(*rest, size, reverse=reverse)
            base = (order.kept_block if is_first else order.block)(span.start, span.end)
            is_first = False
            known = _narrowed(rest, span.bound, reverse=reverse)
            with slot.latch:
                if slot.state is not state:
                    continue
                check_number(slot, state, number)
                block, stop = state.merge(index, base, span, *known, size, number, reverse=reverse)
            rest = _beyond(rest, span.bound if stop is None else stop, reverse=reverse)
            if block:
                yield block.in_reverse() if reverse else block
            if limit is not None:
                limit -= len(block)
                if not limit:
                    return
            size = min(2 * size, READ_BLOCK_KEYS)

    def count(self, table: int, *, number: int) -> int:
        """See `DocumentStore.count`."""
        slot = self._slot(table)
        while True:
            state = self._state(slot)
            with slot.latch:
                if slot.state is state:
                    check_number(slot, state, number)
                    return state.count(number)

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
        """See `DocumentStore.search_text`."""
        with self._searched(table, index, number) as built:
            assert isinstance(built, TextIndex), index
            return built.search(query, filters, number=number, limit=limit, own=own)

    def search_vectors(
        self,
        table: int,
        index: VectorIndexDefinition,
        query: VectorQuery,
        *,
        number: int,
        own: OwnWrites,
    ) -> list[Hit]:
        """See `DocumentStore.search_vectors`."""
        with self._searched(table, index, number) as built:
            assert isinstance(built, VectorIndex), index
            return built.search(query, number=number, own=own)

    # Changing: the committer's thread

    def apply(self, number: int, writes: Sequence[Write]) -> None:
        """See `DocumentStore.apply`. Cost: about 2 us a write, nothing for unloaded tables.

        The latch is held for one write at a time: no reader can ask for `number` yet.
        """
        assert self._backlog.last >= number, f"commit {number} is not in the backlog yet"
        slots = self._slots
        for write in writes:
            slot = slots.get(write.table)
            if slot is not None:
                self._apply_to(slot, number, write)

    def undo(self, number: int) -> None:
        """See `DocumentStore.undo`."""
        assert self._backlog.last <= number, f"commits above {number} are still in the backlog"
        for slot in self._all_slots():
            with slot.latch:
                slot.covered = min(slot.covered, number)
                if slot.floor > number:
                    # The commit that reset the table is undone: what was before is unknown here.
                    slot.state = slot.loading = None
                    slot.floor, slot.load_from = number, min(slot.load_from, number)
                if slot.loading is not None:
                    slot.loading.undo(number)
                if slot.state is not None:
                    slot.state.undo(number)

    def release(self, number: int) -> None:
        """See `DocumentStore.release`."""
        self._released = max(self._released, number)
        for slot in self._all_slots():
            with slot.latch:
                if slot.state is not None:
                    slot.state.release(number)

    def reset(self, table: int, number: int, *, load_from: int | None = None) -> None:
        """Drop a table's documents from memory: they, or its indexes, changed as a whole.

        Versions before `number` are gone. The next read loads the table.

        Args:
            table: its number.
            number: the commit that changed it (a load of a file, a schema).
            load_from: what the next load must contain at least; `number` if not given. Pass 0 when
                the documents are the same and only the indexes changed.
        """
        slot = self._slot(table)
        with slot.latch:
            slot.state = slot.loading = None
            slot.floor = max(slot.floor, number)
            slot.load_from = max(slot.load_from, number if load_from is None else load_from)

    def keep_searches(self, table: int, indexes: Iterable[SearchedIndex]) -> None:
        """Let go of every search index of a table that is not among these."""
        slot = self._slot(table)
        with slot.latch:
            if slot.state is not None:
                slot.state.searches.keep_only(indexes)

    def create(self, table: int, number: int) -> None:
        """A new table, empty and loaded, as of commit `number`."""
        slot = self._slot(table)
        indexes = self._indexes_of(table)
        base = Segment(_nothing(number - 1), indexes)
        with slot.latch:
            # One number below: the commit that creates it may write to it as well.
            slot.state, slot.loading = ResidentTable(base, indexes, oldest=number - 1), None
            slot.floor, slot.load_from, slot.covered = number, 0, 0

    # Memory

    def repack_wanted(self) -> list[int]:
        """Tables of which so much changed that `repack` would save memory."""
        return [
            slot.table
            for slot in self._all_slots()
            if (state := slot.state) is not None
            and state.changed_count >= max(_REPACK_CHANGED_MIN, _REPACK_SHARE * state.base.count)
        ]

    def repack(self, table: int) -> None:
        """Pack a table's changed documents into a new base, while it is read and written.

        Every snapshot that is readable stays so. The maintenance thread calls it.
        Cost: a load of the table, in memory for both bases while it runs.
        """
        slot = self._slot(table)
        before = slot.state
        if before is None:
            return
        with self._load_turn:
            base = Segment(self._load(table), before.indexes)
            with slot.latch:
                # Else a reset, or another repack, came in between.
                if slot.state is before:
                    slot.state = before.rebased(base)
        del before, base
        _return_memory(slot.state)

    def statistics(self) -> RowStoreStatistics:
        """What is held now."""
        tables = []
        for slot in self._all_slots():
            with slot.latch:
                state = slot.state
                if state is not None:
                    tables.append(
                        TableStatistics(
                            table=slot.table,
                            documents=state.count(state.applied),
                            documents_changed=state.changed_count,
                            versions_superseded=state.versions_count,
                            size_bytes=state.size_bytes,
                        )
                    )
        return RowStoreStatistics(
            tables=tuple(tables),
            size_bytes=sum(table.size_bytes for table in tables),
            size_bytes_max=self._limits.row_memory_bytes_max,
        )

    # Inside

    @contextmanager
    def _searched(self, table: int, index: SearchedIndex, number: int) -> Iterator[BuiltIndex]:
        """A search index that has all commits up to `number`, for one search at a time."""
        slot = self._slot(table)
        while True:
            state = self._state(slot)
            kept = state.searches.get(index)
            if kept is None:
                self._in_thread(slot, partial(self._build, slot, state, index))
                continue
            with kept.lock:
                with slot.latch:
                    if slot.state is not state:
                        continue
                    check_number(slot, state, number)
                    noted, oldest = kept.take_noted(), state.oldest
                    documents = state.count(state.applied)
                if kept.catch_up(noted, oldest) and not kept.is_stale(documents):
                    yield kept.built
                    return
                with slot.latch:
                    state.searches.forget(index)

    def _build(self, slot: TableSlot, state: ResidentTable, index: SearchedIndex) -> None:
        """Build a search index, in a loader's thread, while commits go on."""
        with self._load_turn:
            with slot.latch:
                if slot.state is not state or state.searches.get(index) is not None:
                    return
                kept = state.searches.begin(index, state.base)
                changes, oldest = state.changes(), state.oldest
            try:
                kept.build(state.base, changes, oldest)
                held_bytes = self._held_bytes()
                if held_bytes > self._limits.row_memory_bytes_max:
                    raise search_budget_error(slot.name, index.name, held_bytes, self._limits)
                with slot.latch:
                    kept.is_ready = True
            finally:
                if not kept.is_ready:
                    with slot.latch:
                        state.searches.forget(index)

    def _slot(self, table: int) -> TableSlot:
        with self._slots_latch:
            slot = self._slots.get(table)
            if slot is None:
                slot = self._slots[table] = TableSlot(table, self._name_of)
            return slot

    def _all_slots(self) -> list[TableSlot]:
        with self._slots_latch:
            return list(self._slots.values())

    def _state(self, slot: TableSlot) -> ResidentTable:
        """The table's state, loaded first if need be."""
        while (state := slot.state) is None:
            self._in_thread(slot, lambda: self._load_slot(slot))
        return state

    def _in_thread(self, slot: TableSlot, work: Callable[[], None]) -> None:
        """Wait for work that happens in a thread of its own, and raise what it raises.

        So an interrupt of this one, or the end of a function's time, leaves nothing half done.
        """
        done: Future[None] = Future()

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
                done.set_exception(error)
            else:
                done.set_result(None)
                _return_memory(slot.state)

        threading.Thread(target=run, name=f"livedb-load-{slot.table}", daemon=True).start()
        done.result()

    def _load_slot(self, slot: TableSlot) -> None:
        """Load a table unless it is loaded."""
        with self._load_turn:
            if slot.state is None:
                self._load_unloaded(slot)

    def _load_unloaded(self, slot: TableSlot) -> None:
        with slot.latch:
            # Register first, then copy the backlog, both before the load looks at the tables:
            # every commit it may lack is in the copy or will come into the queue.
            backlog = self._backlog.of_table(slot.table)
            loading = slot.loading = Loading(covered=backlog.last)
            floor, load_from = slot.floor, slot.load_from
        try:
            estimate_bytes = self._require_room(slot)
            indexes = self._indexes_of(slot.table)
            loaded = self._load(slot.table)
            assert loaded.number >= max(backlog.dropped, load_from), (
                f"table {slot.table} was loaded at {loaded.number}, but what is below "
                f"{max(backlog.dropped, load_from)} is nowhere else"
            )
            state = ResidentTable(Segment(loaded, indexes), indexes, oldest=backlog.dropped)
            for number, write in backlog.writes:
                # What the base has and no reader may ask about would only take space; and below a
                # reset, the base may have been changed by other means than writes.
                if number > min(loaded.number, floor):
                    state.apply(number, write, keys_known=False)
            state.release(floor)
            state.oldest = max(state.oldest, floor)
            self._check_room(slot, state, estimate_bytes)
            self._install(slot, loading, state)
        finally:
            with slot.latch:
                if slot.loading is loading:
                    slot.loading = None

    def _install(self, slot: TableSlot, loading: Loading, state: ResidentTable) -> None:
        """Catch up with the commits applied during the load, and let readers in."""
        while True:
            with slot.latch:
                if slot.loading is not loading:
                    return  # reset meanwhile; the reader asks again
                queue, loading.queue = loading.queue, []
                undone_to, loading.undone_to = loading.undone_to, None
                if undone_to is not None:
                    state.undo(undone_to)
                if len(queue) <= _INSTALL_WRITES_MAX:
                    for number, write in queue:
                        state.apply(number, write)
                    state.release(self._released)
                    slot.state, slot.loading, slot.covered = state, None, loading.covered
                    return
            for number, write in queue:
                state.apply(number, write)

    def _apply_to(self, slot: TableSlot, number: int, write: Write) -> None:
        with slot.latch:
            if slot.loading is not None:
                slot.loading.enqueue(number, write)
            state = slot.state
            if state is None or number <= slot.covered:
                return
            self._unweighed_bytes += state.apply(number, write)
        if self._unweighed_bytes > _WEIGH_BYTES:
            self._unweighed_bytes = 0
            self._weigh(slot)

    def _weigh(self, slot: TableSlot) -> None:
        """Take a table out of memory if, by what was written to it, the budget is exceeded.

        The next reader weighs loading it: packed anew it may fit, else it gets the error. A commit
        cannot be refused here, being in the log already.
        """
        if self._held_bytes() > self._limits.row_memory_bytes_max:
            with slot.latch:
                slot.state = None

    def _held_bytes(self) -> int:
        states = [slot.state for slot in self._all_slots()]
        return sum(state.size_bytes for state in states if state is not None)

    def _require_room(self, slot: TableSlot) -> int:
        """The estimated size of a table, if there is room for it."""
        estimate_bytes = int(self._estimate_bytes(slot.table) * slot.estimate_factor)
        if self._held_bytes() + estimate_bytes > self._limits.row_memory_bytes_max:
            raise budget_error(slot.name, estimate_bytes, self._held_bytes(), self._limits)
        return estimate_bytes

    def _check_room(self, slot: TableSlot, state: ResidentTable, estimate_bytes: int) -> None:
        """Refuse a table that turned out larger than estimated, and estimate better next time."""
        if self._held_bytes() + state.size_bytes > self._limits.row_memory_bytes_max:
            slot.estimate_factor *= max(1.0, state.size_bytes / max(estimate_bytes, 1))
            raise budget_error(slot.name, state.size_bytes, self._held_bytes(), self._limits)

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        for slot in self._all_slots():
            with slot.latch:
                assert slot.loading is None or slot.state is None, f"table {slot.table}"
                if slot.state is not None:
                    slot.state._check()  # noqa: SLF001 - each structure checks itself


def _return_memory(loaded: ResidentTable | None) -> None:
    """Give back what a load took beside what it left; not worth it after a small one."""
    if loaded is not None and loaded.size_bytes >= _RETURN_BYTES:
        return_unused_memory()


def _order_of(state: ResidentTable, index: str) -> SegmentOrder:
    order = state.base.orders.get(index)
    if order is None:
        raise IndexRangeError(
            f"no index {index!r}; there are {sorted(state.base.orders)}", code="IndexNotFoundError"
        )
    return order


def _narrowed(bounds: _Bounds, bound: bytes | None, *, reverse: bool) -> _Bounds:
    """The part of an interval up to `bound` (None: all of it), in reading direction."""
    if bound is None:
        return bounds
    return (bound, bounds[1]) if reverse else (bounds[0], bound)


def _beyond(bounds: _Bounds, bound: bytes | None, *, reverse: bool) -> _Bounds | None:
    """The part of an interval beyond `bound` (None: nothing is left), in reading direction."""
    if bound is None:
        return None
    return (bounds[0], bound) if reverse else (bound, bounds[1])


def _nothing(number: int) -> LoadedTable:
    return LoadedTable(
        number=number,
        ids=pa.nulls(0, pa.string()),
        creation_times=pa.nulls(0, pa.float64()),
        texts=pa.nulls(0, pa.large_binary()),
    )
