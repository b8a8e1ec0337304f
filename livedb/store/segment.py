"""The packed, immutable base of a table in memory: all it had at the commit it was loaded at.

A document costs its text, an id, a float and a few bytes per index; no Python object exists for it
until somebody reads it. Texts lie in one buffer, ids in lines (`packed_ids`), both **in id order**.
An index is the order of the rows, the keys of its declared fields, and the first whole key of every
block of 64. The rest of a key, creation time and id, is made from the columns.

Keys of a block share a prefix (they are neighbours in the order), which is kept once.

A range is read by the column, without a Python object for its keys: the two ends are found by
bisection, and where the rows of the range lie side by side, ids, times and texts are one slice
each. The blocks with which readers began are kept for a while, from the second time on with their
documents decoded: live queries read the same ranges again and again.
"""

from __future__ import annotations

import struct
import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from livedb.keys.encoding import encode_key
from livedb.schema.tables import IndexDefinition
from livedb.store.contract import Block, StoredDocument
from livedb.store.key_columns import KeyColumn, declared_keys, ranked
from livedb.store.loaded import LoadedTable
from livedb.store.packed import Bytes, Offsets, packed_texts
from livedb.store.packed_ids import PackedIds

BLOCK_ROWS = 64
"""Documents of one block of an index order: a bisection over kept keys finds it."""

_KEPT_DOCUMENTS_MAX = 16_384
"""Documents of blocks that are kept, of any table; about 0.7 KB each."""

_KEPT_SHARE = 4
"""One document in so many may be kept, in a table smaller than that."""

_WANTED_MAX = 4096
"""Blocks of which a first reader is remembered."""

_Place = tuple[int, int, int]
"""A block: the identity of its order, and between which positions."""

_KEPT_BYTES = 700
"""What a document in a kept block costs, roughly."""

_CUT_ROWS = 100_000
"""Keys cut at once; bounds the memory it takes."""

Rows: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_new_tuple = tuple.__new__


class Segment:
    """The documents of a table at one commit, by id and in the order of every index.

    Nothing changes after it was made but the blocks kept, which have a lock of their own.

    Attributes:
        number: the commit.
        count: how many documents.
        ids: in order.
        creation_times: in id order, as the following.
        texts: flagged texts, one after the other.
        offsets: where each text starts, and the end of the last.
        orders: the order of every index, `by_id` and `by_creation_time` among them.
        kept: blocks read lately.
    """

    def __init__(self, loaded: LoadedTable, indexes: Sequence[IndexDefinition]) -> None:
        ids, creation_times, texts, columns = _in_id_order(loaded)
        self.number = loaded.number
        self.count = len(ids)
        self.ids = PackedIds(ids)
        self.creation_times = _packed("d", creation_times)
        self.texts, offsets = _packed_texts(texts)
        self.offsets = _packed_offsets(offsets)
        id_bytes = max(self.ids.width, 1)
        self._pack_suffix: Callable[..., bytes] = struct.Struct(f">BdB{id_bytes}sB").pack
        self.orders: dict[str, SegmentOrder] = {
            "by_id": SegmentOrder(self, None, None, is_by_id=True),
            "by_creation_time": SegmentOrder(
                self, _packed_rows(_permutation(None, creation_times)), None
            ),
        }
        for index in indexes:
            keys = declared_keys(self.texts, offsets, index.fields, columns)
            rows = _permutation(keys, creation_times)
            if rows is not None:
                keys = keys.take(pa.array(rows))
            self.orders[index.name] = SegmentOrder(self, _packed_rows(rows), keys)
        self.kept = _KeptBlocks(min(_KEPT_DOCUMENTS_MAX, self.count // _KEPT_SHARE))
        self._packed_bytes = (
            self.ids.size_bytes
            + len(self.texts)
            + self.creation_times.itemsize * self.count
            + self.offsets.itemsize * len(self.offsets)
            + sum(order.size_bytes for order in self.orders.values())
        )

    @property
    def size_bytes(self) -> int:
        """Bytes held, the kept blocks included."""
        return self._packed_bytes + self.kept.documents * _KEPT_BYTES

    def get(self, document_id: str) -> StoredDocument | None:
        """The document with this id. Cost: two searches, about 1.5 us."""
        row = self.ids.row_of(document_id)
        if row is None:
            return None
        text = self.texts[self.offsets[row] : self.offsets[row + 1]]
        return _new_tuple(StoredDocument, (self.creation_times[row], text))

    def columns(self, rows: Sequence[int]) -> tuple[list[str], list[float], bytes]:
        """Ids, creation times and joined texts of some rows.

        Cost: about 0.05 us each if they lie side by side in ascending order, else 0.4 us.
        """
        if not rows:
            return [], [], b""
        start, end = rows[0], rows[-1] + 1
        if end - start == len(rows) and _is_consecutive(rows):
            texts = self.texts[self.offsets[start] : self.offsets[end]]
            return self.ids.between(start, end), self.creation_times[start:end].tolist(), texts
        all_texts, times, offsets = self.texts, self.creation_times, self.offsets
        return (
            self.ids.of_rows(rows),
            [times[row] for row in rows],
            b"".join([all_texts[offsets[row] : offsets[row + 1]] for row in rows]),
        )

    def suffix(self, document_id: str, creation_time: float) -> bytes:
        """The end of the index keys of a document: the keys of creation time and id.

        The key of a float sets the sign bit of a positive number, which is what negating it does;
        creation times are positive. `_check` compares with `encode_key`.
        """
        return self._pack_suffix(0x0D, -creation_time, 0x10, document_id.encode(), 0)

    def _check(self) -> None:
        """Assert every invariant, or show what is wrong."""
        self.ids._check()  # noqa: SLF001 - each structure checks itself
        assert len(self.ids) == self.count, f"{self.count} documents, loaded at {self.number}"
        for order in self.orders.values():
            order._check()  # noqa: SLF001 - each structure checks itself


class Span(NamedTuple):
    """The positions of an index order between two keys; `bound` is None if they are all.

    Else it is the key up to which (exclusive), or in reverse from which on, they are all there is.
    """

    start: int
    end: int
    bound: bytes | None


class SegmentOrder:
    """The rows of a segment in the order of one index."""

    def __init__(
        self,
        segment: Segment,
        rows: array[int] | None,
        declared: KeyColumn | None,
        *,
        is_by_id: bool = False,
    ) -> None:
        """Order a segment.

        Args:
            segment: whose rows.
            rows: in the order of the index; None if they are in it as they lie.
            declared: the keys of the declared fields, in the order of the index.
            is_by_id: the keys are the ids' alone.
        """
        self._segment = segment
        self._rows = rows
        self._declared = None if declared is None else _PackedKeys(declared)
        self.is_by_id = is_by_id
        self.fences = self._first_keys(declared)

    @property
    def size_bytes(self) -> int:
        """Bytes held for this order."""
        fences = sum(map(len, self.fences)) + 41 * len(self.fences)
        rows = 0 if self._rows is None else self._rows.itemsize * len(self._rows)
        return fences + rows + (self._declared.size_bytes if self._declared else 0)

    def span(self, lower: bytes, upper: bytes | None, limit: int, *, reverse: bool) -> Span:
        """The first `limit` positions with lower <= key < upper, the last ones if `reverse`.

        Cost: two bisections, about 3 us each.
        """
        start = self.position(lower)
        end = self._segment.count if upper is None else max(self.position(upper), start)
        if end - start <= limit:
            return Span(start, end, None)
        if reverse:
            return Span(end - limit, end, self.key_at(end - limit))
        return Span(start, start + limit, self.key_at(start + limit))

    def block(self, start: int, end: int) -> Block:
        """The documents at some positions, ascending."""
        rows = range(start, end) if self._rows is None else self._rows[start:end]
        return Block(*self._segment.columns(rows), range(start, end), self)

    def kept_block(self, start: int, end: int) -> Block:
        """As `block`, for the first one of a scan: another one may soon begin there as well."""
        kept = self._segment.kept
        place = (id(self), start, end)
        block = kept.get(place)
        if block is None:
            block = self.block(start, end)
            if kept.was_wanted(place):
                block.keep_documents()
                kept.put(place, block)
        return block

    def position(self, key: bytes) -> int:
        """The first position whose key is not below `key`. Cost: O(log n)."""
        fence = bisect_left(self.fences, key)
        if fence == 0:
            return 0
        low = (fence - 1) * BLOCK_ROWS + 1
        high = min(fence * BLOCK_ROWS, self._segment.count)
        while low < high:
            middle = (low + high) // 2
            if self.is_below(middle, key):
                low = middle + 1
            else:
                high = middle
        return low

    def is_below(self, position: int, key: bytes) -> bool:
        """Whether the key at a position is below `key`."""
        if self._declared is not None:
            # Mostly the declared fields decide, and the rest of the key need not be made.
            declared = self._declared.at(position)
            if not key.startswith(declared):
                return declared < key
        return self.key_at(position) < key

    def key_at(self, position: int) -> bytes:
        """The whole key at a position. Cost: about 1 us."""
        segment = self._segment
        row = position if self._rows is None else self._rows[position]
        document_id = segment.ids.at(row)
        if self.is_by_id:
            return b"\x10" + document_id.encode() + b"\x00"
        suffix = segment.suffix(document_id, segment.creation_times[row])
        return suffix if self._declared is None else self._declared.at(position) + suffix

    def size_at(self, position: int) -> int:
        """Bytes of the text of the document at a position."""
        row = position if self._rows is None else self._rows[position]
        return self._segment.offsets[row + 1] - self._segment.offsets[row]

    def keys(self, start: int, end: int) -> list[bytes]:
        """The whole keys at the positions from `start` up to `end`. Cost: about 0.5 us each."""
        rows = range(start, end) if self._rows is None else self._rows[start:end]
        ids, times, _ = self._segment.columns(rows)
        declared = None if self._declared is None else self._declared.between(start, end)
        return self._whole_keys(declared, ids, times)

    def _whole_keys(
        self, declared: list[bytes] | None, ids: Sequence[str], times: Sequence[float]
    ) -> list[bytes]:
        if self.is_by_id:
            return [b"\x10" + document_id.encode() + b"\x00" for document_id in ids]
        suffixes = list(map(self._segment.suffix, ids, times))
        if declared is None:
            return suffixes
        return [key + suffix for key, suffix in zip(declared, suffixes, strict=True)]

    def _first_keys(self, declared: KeyColumn | None) -> list[bytes]:
        """The first whole key of every block."""
        segment = self._segment
        every = slice(None, None, BLOCK_ROWS)
        rows = range(segment.count)[every] if self._rows is None else self._rows[every]
        return self._whole_keys(
            None if declared is None else declared[every].to_pylist(),
            segment.ids.of_rows(rows),
            [segment.creation_times[row] for row in rows],
        )

    def _check(self) -> None:
        """Assert every invariant, or show what is wrong."""
        segment, state = self._segment, f"{self._segment.count} documents"
        entries = self.block(0, segment.count).entries()
        keys = [entry.key for entry in entries]
        assert sorted(entry.id for entry in entries) == segment.ids.between(0, segment.count), state
        assert all(a < b for a, b in pairwise(keys)), f"{state}: {keys}"
        assert self.fences == keys[::BLOCK_ROWS], state
        for position, entry in enumerate(entries):
            assert entry.document == segment.get(entry.id), f"{state}: {entry}"
            assert self.key_at(position) == entry.key, f"{state}: {entry}"
            suffix = encode_key(entry.id)
            if not self.is_by_id:
                suffix = encode_key(entry.document.creation_time) + suffix
            assert entry.key.endswith(suffix), f"{state}: {entry}"


class _PackedKeys:
    """Sorted keys in one buffer; the prefix that the keys of a block share is kept once."""

    def __init__(self, keys: KeyColumn) -> None:
        data, offsets = packed_texts(keys)
        self._prefixes: list[bytes] = []
        for start in range(0, len(keys), BLOCK_ROWS):
            end = min(start + BLOCK_ROWS, len(keys))
            first = data[offsets[start] : offsets[start + 1]].tobytes()
            last = data[offsets[end - 1] : offsets[end]].tobytes()
            self._prefixes.append(_common_prefix(first, last))
        sizes = np.fromiter(map(len, self._prefixes), np.int64, len(self._prefixes))
        cuts = np.repeat(sizes, BLOCK_ROWS)[: len(keys)]
        self._buffer = b"".join(
            _without_starts(data, offsets[start : start + _CUT_ROWS + 1], cuts[start:][:_CUT_ROWS])
            for start in range(0, len(keys), _CUT_ROWS)
        )
        kept = np.zeros(len(keys) + 1, np.int64)
        np.cumsum(np.diff(offsets) - cuts, out=kept[1:])
        self._offsets = _packed_offsets(kept)

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        prefixes = sum(map(len, self._prefixes)) + 41 * len(self._prefixes)
        return len(self._buffer) + prefixes + self._offsets.itemsize * len(self._offsets)

    def at(self, position: int) -> bytes:
        """The key at a position."""
        start, end = self._offsets[position], self._offsets[position + 1]
        return self._prefixes[position // BLOCK_ROWS] + self._buffer[start:end]

    def between(self, start: int, end: int) -> list[bytes]:
        """The keys at the positions from `start` up to `end`."""
        buffer, prefixes = self._buffer, self._prefixes
        bounds = pairwise(self._offsets[start : end + 1])
        return [
            prefixes[position // BLOCK_ROWS] + buffer[first:last]
            for position, (first, last) in enumerate(bounds, start)
        ]


def _without_starts(data: Bytes, offsets: Offsets, cuts: Offsets) -> bytes:
    """The values between `offsets` without their first so many bytes, in one piece."""
    base = offsets[0]
    is_kept = np.ones(offsets[-1] - base, np.bool_)
    before = np.cumsum(cuts) - cuts
    is_kept[np.arange(cuts.sum()) + np.repeat(offsets[:-1] - base - before, cuts)] = False
    return data[base : offsets[-1]][is_kept].tobytes()


def _common_prefix(one: bytes, other: bytes) -> bytes:
    """The bytes with which both start."""
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return one[:position]
    return min(one, other, key=len)


class _KeptBlocks:
    """Blocks wanted twice lately; the oldest gives way.

    Keeping one at once would make a range that is read once cost more. The one not read for longest
    would be the better choice, but noting each read would cost more than making a block again now
    and then.
    """

    def __init__(self, documents_max: int) -> None:
        self._documents_max = documents_max
        # Guards changes; innermost. Several readers share a segment without a table's latch.
        self._latch = threading.Lock()
        self._blocks: OrderedDict[_Place, Block] = OrderedDict()
        self._wanted: OrderedDict[_Place, None] = OrderedDict()  # once, as far as known
        self.documents = 0

    def get(self, place: _Place) -> Block | None:
        return self._blocks.get(place)

    def was_wanted(self, place: _Place) -> bool:
        """Whether somebody wanted this block before."""
        with self._latch:
            if place in self._wanted:
                return True
            self._wanted[place] = None
            if len(self._wanted) > _WANTED_MAX:
                self._wanted.popitem(last=False)
            return False

    def put(self, place: _Place, block: Block) -> None:
        with self._latch:
            if place not in self._blocks and len(block) <= self._documents_max:
                self._blocks[place] = block
                self.documents += len(block)
            while self.documents > self._documents_max:
                self.documents -= len(self._blocks.popitem(last=False)[1])


def _is_consecutive(rows: Sequence[int]) -> bool:
    """Whether ascending neighbours differ by one; the first and the last fit already."""
    return isinstance(rows, range) or rows == array("I", range(rows[0], rows[-1] + 1))


def _in_id_order(
    loaded: LoadedTable,
) -> tuple[Any, np.ndarray[Any, Any], Any, dict[str, pa.ChunkedArray[Any]]]:
    """The columns with the rows ordered by id, which is how our own ids come anyway."""
    ids, texts, columns = loaded.ids, loaded.texts, dict(loaded.columns)
    times = np.asarray(loaded.creation_times, dtype=np.float64)
    assert ids.null_count == 0, "a document without an id"
    assert texts.null_count == 0, "a document without a text"
    assert len(times) == 0 or times.min() > 0, "creation times are positive"
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        rows = pc.sort_indices(ids)
        ids, texts, times = ids.take(rows), texts.take(rows), times[rows.to_numpy()]
        columns = {field: column.take(rows) for field, column in columns.items()}
    return ids, times, texts, columns


def _packed_texts(texts: Any) -> tuple[bytes, np.ndarray[Any, Any]]:
    """The values of a binary column in one buffer, and where each starts (one more: the end)."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    packed = [packed_texts(chunk) for chunk in chunks]
    offsets = np.zeros(len(texts) + 1, np.int64)
    sizes = [np.diff(starts) for _, starts in packed]
    np.cumsum(np.concatenate(sizes or [offsets[:0]]), out=offsets[1:])
    return b"".join([data.data for data, _ in packed]), offsets


def _packed_offsets(offsets: np.ndarray[Any, Any]) -> array[int]:
    """Offsets in four bytes where that is enough."""
    return _packed("I" if int(offsets[-1]) < 1 << 32 else "Q", offsets)


def _packed_rows(rows: Rows | None) -> array[int] | None:
    return None if rows is None else _packed("I", rows)


def _packed(typecode: str, numbers: np.ndarray[Any, Any]) -> array[Any]:
    """Numbers as an array, whose items are read faster than numpy's.

    Made in its size: an array that bytes are added to takes a sixteenth more than they need.
    """
    packed = array(typecode, [0]) * len(numbers)
    np.frombuffer(packed, packed.typecode)[:] = numbers
    return packed


def _permutation(keys: KeyColumn | None, creation_times: np.ndarray[Any, Any]) -> Rows | None:
    """The rows (in id order now) ordered by key, creation time, id; None when they are already."""
    columns: list[np.ndarray[Any, Any]] = []
    if len(creation_times) > 1 and np.any(creation_times[1:] < creation_times[:-1]):
        columns.append(creation_times)
    if keys is not None:
        columns += reversed(ranked(keys))
    if not columns:
        return None
    rows = np.argsort(columns[0], kind="stable") if len(columns) == 1 else np.lexsort(columns)
    return None if np.array_equal(rows, np.arange(len(rows))) else rows
