"""One table in memory, readable at every commit that is still kept.

    base       packed documents at the commit of the load (`segment`)
    changed    id -> newest version of the documents written since; each version knows the one it
               superseded, as far back as some snapshot may ask
    orders     per index, the keys of those versions that lie elsewhere than in the base (`indexes`)
    log        the versions in the order of their commits: what to undo, and what to forget

A document in `changed` hides the base's. A read at the newest number looks at `changed`, then at
the base. A read at an older one goes back from the newest version to the one of its number.

Law: a document that is not in `changed` was, at every number from `oldest` on, what the base says.
So the base may be *newer* than a snapshot it serves, as long as whatever changed between is in
`changed` with its history: that is how a load and a repack keep older snapshots readable.

Law: each kept version of a changed document lies, in each index, either in the base, under the key
that the base has for this document (its *home*), or in the order of that index; never in both.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

import msgspec

from livedb.schema.tables import IndexDefinition
from livedb.store.contract import Block, StoredDocument, Write
from livedb.store.indexes import ChangedOrder, IndexKeys, Keys, id_key
from livedb.store.merged import Merge, Row
from livedb.store.searches import Chain, TableSearches
from livedb.store.segment import Segment, Span

_VERSION_BYTES = 700
"""What a version costs beside its text: objects, keys of usual length, dict and list slots."""

_new_tuple = tuple.__new__
_BY_ID = -1
"""The place of `by_id` among the indexes: its keys are not kept, being the ids."""


class Version(msgspec.Struct, eq=False):
    """One version of a changed document. A struct of msgspec is the cheapest object there is.

    Not exempt from the collector (`gc=False`): freeing a long history of such structs overflows
    the C stack.

    Attributes:
        number: the commit that made it; 0 for what was there before the first change known.
        id: of the document.
        document: None: deleted, or not there yet.
        keys: its keys in every index, None without a document.
        home: the keys of the document in the base, None if the base does not have it.
        older: the version it superseded; None once that is forgotten.
    """

    number: int
    id: str
    document: StoredDocument | None
    keys: Keys | None
    home: Keys | None
    older: Version | None

    def __repr__(self) -> str:
        older = None if self.older is None else self.older.number
        return f"<version {self.number} of {self.id}: {self.document}, after {older}>"

    def is_home(self, position: int) -> bool:
        """Whether it lies where the base has its document, in the index at `position`."""
        keys, home = self.keys, self.home
        if keys is home:
            return keys is not None
        if keys is None or home is None:
            return False
        return position == _BY_ID or keys[position] == home[position]


class ResidentTable:
    """The state of one table. Its owner's latch guards every method but `get_newest`.

    Attributes:
        base: the packed documents.
        oldest: reads below this number are refused.
        last_change: no commit above this number changed the table; never goes back, not even when
            commits are undone, so that `get_newest` can trust a comparison made afterwards.
        applied: the newest commit applied here.
        searches: the search indexes that somebody has used.
    """

    def __init__(self, base: Segment, indexes: Sequence[IndexDefinition], *, oldest: int) -> None:
        self.base = base
        self.indexes = tuple(indexes)
        self.oldest = oldest
        self.applied = oldest
        self.last_change = oldest
        self._index_keys = IndexKeys(indexes)
        self._changed: dict[str, Version] = {}
        self._orders = [ChangedOrder() for _ in self._index_keys.names]
        self._by_id: ChangedOrder | None = None  # made by the first scan that needs it
        self._log: deque[Version] = deque()
        self._count = base.count
        self._versions_bytes = 0
        self.searches = TableSearches()

    @property
    def size_bytes(self) -> int:
        """Bytes held; exact for the base, estimated for changed documents."""
        orders = sum([order.size_bytes for order in self._orders])
        packed = self.base.size_bytes + self.searches.size_bytes
        return packed + self._versions_bytes + orders

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
        version = self._changed.get(document_id)
        document = self.base.get(document_id) if version is None else version.document
        return self.last_change <= number, document

    def get(self, document_id: str, number: int) -> StoredDocument | None:
        """The document as of commit `number`. Cost: O(its versions since)."""
        version = self._changed.get(document_id)
        if version is None:
            return self.base.get(document_id)
        return _as_of(version, number).document

    def count(self, number: int) -> int:
        """Documents as of commit `number`. Cost: O(writes since)."""
        count = self._count
        later: dict[str, bool] = {}  # whether the id existed before its first later write
        for version in reversed(self._log):
            if version.number <= number:
                break
            assert version.older is not None, version
            later[version.id] = version.older.document is not None
        for document_id, was_there in later.items():
            count += was_there - (self._changed[document_id].document is not None)
        return count

    def merge(
        self,
        index: str,
        base: Block,
        span: Span,
        lower: bytes,
        upper: bytes | None,
        limit: int,
        number: int,
        *,
        reverse: bool,
    ) -> tuple[Block, bytes | None]:
        """Changed documents merged into a block of the base.

        Args:
            index: its name.
            base: all that the base has in the interval, at most `limit` documents.
            span: where they lie in the base's order.
            lower: the first key of the interval.
            upper: the end of the interval, None without one.
            limit: how many documents to give.
            number: the commit.
            reverse: give the last ones.

        Returns:
            Documents in ascending order, and the key where the next read goes on (forward: the
            lower bound, reverse: the upper one); None when nothing is left in the interval.
        Cost: one look-up per document, and what `Merge` takes for those that changed.
        """
        changed = self._changed
        if not changed:
            return base, None
        order, position = self._order_of(index)
        keys = order.keys_between(lower, upper, limit, reverse=reverse)
        if not keys and changed.keys().isdisjoint(base.ids):
            return base, None
        merge = Merge(
            base, self._rows_at_home(base, position, number), self.base.orders[index], span.start
        )
        bound = None
        if len(keys) == limit:
            # There may be more changed keys beyond: what the base has there must wait for them.
            merge.keep_up_to(keys[-1], reverse=reverse)
            bound = keys[-1] if reverse else keys[-1] + b"\x00"
        found = [_row_under(key, changed[order.id_of(key)], position, number) for key in keys]
        added = [row for row in found if row is not None]
        merge.add(added[::-1] if reverse else added)
        block, rest = merge.block(limit, reverse=reverse)
        return block, bound if rest is None else rest

    def _rows_at_home(self, base: Block, position: int, number: int) -> list[int | Row]:
        """The documents of a block of the base that lie there at `number`, as they are then."""
        changed = self._changed
        ids = base.ids
        rows: list[int | Row] = list(range(len(ids)))
        touched = changed.keys() & ids
        if not touched:
            return rows
        places = [place for place, document_id in enumerate(ids) if document_id in touched]
        for place in reversed(places):
            newest = changed[ids[place]]
            version = newest if newest.number <= number else _as_of(newest, number)
            document = version.document
            if document is None or not version.is_home(position):
                del rows[place]
            else:
                rows[place] = _new_tuple(Row, (place, version.id, document))
        return rows

    def _order_of(self, index: str) -> tuple[ChangedOrder, int]:
        """The order of the changed documents in an index, and the place of its keys."""
        if index == "by_id":
            return self._prepared_by_id(), _BY_ID
        position = self._index_keys.names.index(index)
        return self._orders[position], position

    def _prepared_by_id(self) -> ChangedOrder:
        """The ids that the base does not have, in order from the first time somebody asks."""
        if self._by_id is None:
            order = ChangedOrder()
            for document_id, version in self._changed.items():
                if version.home is None:
                    order.add(id_key(document_id), document_id)
            self._by_id = order  # last, so that an interrupt leaves nothing half made
        return self._by_id

    # Changing

    def apply(self, number: int, write: Write, *, keys_known: bool = True) -> int:
        """One write of commit `number`, which is the newest. `keys_known`: trust the write's keys.

        Returns:
            Bytes that the new version takes.
        Cost: about 1 us if the write moves its document in no index, else 2 us for each key.
        """
        assert number >= self.applied, f"commit {number} after {self.applied}"
        # Before anything else: see `get_newest`.
        self.last_change = max(self.last_change, number)
        self.applied = number
        document_id, new = write.id, write.new
        old_keys, new_keys = self._index_keys.of_write(write, keys_known=keys_known)
        older = self._changed.get(document_id)
        if older is None:
            older = self._first_version(number, write, old_keys)
        else:
            self._count -= older.document is not None
        version = Version(number, document_id, new, new_keys, older.home, older)
        self._log.append(version)
        self._changed[document_id] = version
        if new_keys is not older.keys:
            self._enter(version, new_keys, beside=older.keys)
        self._count += new is not None
        self.searches.note(number, write)
        size_bytes = _cost(version)
        self._versions_bytes += size_bytes
        return size_bytes

    def undo(self, number: int) -> None:
        """Take back every commit above `number`, newest first."""
        assert number >= self.oldest or not self._log, f"{number} is released, {self.oldest}"
        while self._log and self._log[-1].number > number:
            self._take_back(self._log.pop())
        self.applied = min(self.applied, number)
        self.searches.note(number, None)

    def release(self, number: int) -> None:
        """Forget versions that only snapshots below `number` need."""
        log = self._log
        while log and log[0].number <= number:
            version = log.popleft()
            self.oldest = max(self.oldest, version.number)
            older, version.older = version.older, None
            assert older is not None, version
            if older.keys is not version.keys:
                self._leave(older, older.keys, beside=version.keys)
            self._versions_bytes -= _cost(older)

    def changes(self) -> dict[str, Chain]:
        """The kept versions of every changed document, by id. Cost: O(versions)."""
        chains: dict[str, Chain] = {}
        for document_id, newest in self._changed.items():
            chain: Chain = []
            version: Version | None = newest
            while version is not None:
                chain.append((version.number, version.document))
                version = version.older
            chains[document_id] = chain[::-1]
        return chains

    def rebased(self, base: Segment) -> ResidentTable:
        """The same table on a newer base; what the base has and no snapshot needs is let go.

        Shares its versions and search indexes with this state, which must not be used for anything
        but `get_newest` any more. Cost: O(changed documents), a few us for each that is not let go.
        """
        table = ResidentTable(base, self.indexes, oldest=self.oldest)
        table.applied, table.last_change = self.applied, self.last_change
        table.searches = self.searches
        table.searches.outlive_base()
        table._count, table._log = self._count, self._log
        cut = min(self.oldest, base.number)
        for document_id, newest in self._changed.items():
            if newest.number > cut:
                table._changed[document_id] = newest
                table._settle(newest)
        return table

    def _settle(self, newest: Version) -> None:
        """Find the place of every version of a document whose base is another one now."""
        home = self._index_keys.of_document(newest.id, self.base.get(newest.id))
        version: Version | None = newest
        while version is not None:
            version.home = home
            older = version.older
            self._enter(version, version.keys, beside=None if older is None else older.keys)
            self._versions_bytes += _cost(version)
            version = older

    def _first_version(self, number: int, write: Write, keys: Keys | None) -> Version:
        """What was there before the first change of a document.

        The base has it, if it was loaded before: a load also replays commits that the base already
        contains, for the sake of older snapshots.
        """
        document_id, home = write.id, keys
        if number <= self.base.number:
            home = self._index_keys.of_document(document_id, self.base.get(document_id))
        version = Version(0, document_id, write.old, keys, home, None)
        if keys is not home:
            self._enter(version, keys, beside=None)
        if home is None and self._by_id is not None:
            self._by_id.add(id_key(document_id), document_id)
        self._count -= home is not None
        self._versions_bytes += _cost(version)
        return version

    def _take_back(self, version: Version) -> None:
        """Undo the newest write."""
        document_id, older = version.id, version.older
        assert older is not None, version
        self._leave(version, version.keys, beside=older.keys)
        self._count += (older.document is not None) - (version.document is not None)
        self._versions_bytes -= _cost(version)
        if older.number > 0:
            self._changed[document_id] = older
            return
        del self._changed[document_id]
        self._leave(older, older.keys, beside=None)
        self._versions_bytes -= _cost(older)
        if older.home is None and self._by_id is not None:
            self._by_id.remove(id_key(document_id))

    def _enter(self, version: Version, keys: Keys | None, *, beside: Keys | None) -> None:
        """Order the keys of a version where they are not those of the version `beside` it."""
        for order, key in self._ordered(version, keys, beside):
            order.add(key, version.id)

    def _leave(self, version: Version, keys: Keys | None, *, beside: Keys | None) -> None:
        """Undo `_enter`."""
        for order, key in self._ordered(version, keys, beside):
            order.remove(key)

    def _ordered(
        self, version: Version, keys: Keys | None, beside: Keys | None
    ) -> Iterable[tuple[ChangedOrder, bytes]]:
        if keys is None:
            return
        home = version.home
        for position, (order, key) in enumerate(zip(self._orders, keys, strict=True)):
            if beside is not None and beside[position] == key:
                continue
            if home is None or home[position] != key:
                yield order, key

    def _check(self) -> None:
        """Assert every invariant, or show the state."""
        state = f"changed {self._changed}, log {self._log}"
        self.base._check()  # noqa: SLF001 - each structure checks itself
        numbers = [version.number for version in self._log]
        assert numbers == sorted(numbers), state
        assert not numbers or self.oldest < numbers[0], f"oldest {self.oldest}, {state}"
        assert not numbers or numbers[-1] <= self.applied <= self.last_change, state
        ids = set(self.base.ids.between(0, self.base.count)) - self._changed.keys()
        there = {key for key, version in self._changed.items() if version.document is not None}
        assert self._count == len(ids) + len(there), f"count {self._count}, {state}"
        self._check_versions(state)
        self._check_orders(state)

    def _check_versions(self, state: str) -> None:
        logged = {id(version) for version in self._log}
        size_bytes = 0
        for document_id, newest in self._changed.items():
            home = self._index_keys.of_document(document_id, self.base.get(document_id))
            version: Version | None = newest
            while version is not None:
                assert version.id == document_id, state
                assert version.home == home, f"home of {version}: {home}, {state}"
                keys = self._index_keys.of_document(document_id, version.document)
                assert version.keys == keys, f"keys of {version}: {keys}, {state}"
                assert (id(version) in logged) == (version.older is not None), state
                assert version.older is None or version.older.number < version.number, state
                size_bytes += _cost(version)
                logged.discard(id(version))
                version = version.older
        assert not logged, state
        assert self._versions_bytes == size_bytes, f"{self._versions_bytes} bytes, {state}"

    def _check_orders(self, state: str) -> None:
        """The orders hold what they would if every version entered them now."""
        expected: list[Counter[tuple[bytes, str]]] = [Counter() for _ in self._orders]
        for newest in self._changed.values():
            version: Version | None = newest
            while version is not None:
                beside = None if version.older is None else version.older.keys
                for order, key in self._ordered(version, version.keys, beside):
                    expected[self._orders.index(order)][key, version.id] += 1
                version = version.older
        for order, counts in zip(self._orders, expected, strict=True):
            order._check()  # noqa: SLF001 - each structure checks itself
            found = {(key, own): count for key, own, count in order.iter_counts()}
            assert found == counts, f"ordered {found}, {state}"
        if self._by_id is not None:
            self._by_id._check()  # noqa: SLF001
            homeless = {key for key, version in self._changed.items() if version.home is None}
            assert {own for _, own, _ in self._by_id.iter_counts()} == homeless, state


def _as_of(version: Version, number: int) -> Version:
    """The version that a snapshot at `number` sees, at or before `version`."""
    while version.number > number:
        assert version.older is not None, f"commit {number} is released: {version}"
        version = version.older
    return version


def _row_under(key: bytes, newest: Version, position: int, number: int) -> Row | None:
    """What a snapshot at `number` sees of a document under `key`, if it lies there then."""
    version = newest if newest.number <= number else _as_of(newest, number)
    keys, document = version.keys, version.document
    if document is None or keys is None or (position != _BY_ID and keys[position] != key):
        return None
    return _new_tuple(Row, (key, version.id, document))


def _cost(version: Version) -> int:
    """Bytes that a version holds, roughly."""
    return _VERSION_BYTES if version.document is None else _VERSION_BYTES + len(version.document[1])
