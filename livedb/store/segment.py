"""The packed, immutable base of a table in memory: all it had at the commit it was loaded at.

A document costs its text, an id, a float and a few bytes per index; no Python object exists for it
until somebody reads it. Texts lie in one buffer, ids (all of one width, since they share the table
number) in one string **in id order**, so finding an id is a bisection over every 64th id and a
search in 64. An index is the order of the rows, the keys of its declared fields, and the first
whole key of every block of 32. The rest of a key, creation time and id, is made from the columns.

Keys of a block share a prefix (they are neighbours in the order), which is kept once.

Blocks that were read are kept as entries, up to a share of the segment: making one costs about
0.5 us a document, handing out a kept one next to nothing, and live queries read the same ranges
again and again.
"""

from __future__ import annotations

import struct
import threading
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain, pairwise, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from livedb.keys.encoding import encode_key
from livedb.schema.tables import IndexDefinition
from livedb.store.contract import Entry, StoredDocument
from livedb.store.key_columns import declared_keys
from livedb.store.loaded import LoadedTable

BLOCK_ROWS = 32
"""Documents of one block of an index order: what one cold read of a single document makes."""

_ID_FENCE_ROWS = 64
"""Every how many ids one is kept as an object: 1.4 bytes a document."""

_CACHED_SHARE = 32
"""One block in so many may be kept as entries (about 15 bytes a document)."""

_CACHED_BLOCKS_MIN = 64
"""Blocks that may be kept however small the segment is."""

_ENTRY_BYTES = 600
"""What one kept entry costs, roughly: six objects."""

_new_tuple = tuple.__new__


class Segment:
    """The documents of a table at one commit, by id and in the order of every index.

    Nothing changes after it was made but the cache of blocks, which has a lock of its own.
    """

    def __init__(self, loaded: LoadedTable, indexes: Sequence[IndexDefinition]) -> None:
        ids, creation_times, texts = _in_id_order(loaded)
        self.number = loaded.number
        self.count = len(ids)
        self.cache = _BlockCache(max(_CACHED_BLOCKS_MIN, self.count // BLOCK_ROWS // _CACHED_SHARE))
        self.width, self.ids = _packed_ids(ids)
        self.creation_times = array("d", creation_times.tobytes())
        self.texts, offsets = _packed_texts(texts)
        self.offsets = _packed_offsets(offsets)
        self._id_fences = [self.id_at(row) for row in range(0, self.count, _ID_FENCE_ROWS)]
        id_bytes = max(self.width, 1)
        self._pack_suffix = struct.Struct(f">BdB{id_bytes}sB").pack
        self.orders: dict[str, SegmentOrder] = {
            "by_id": SegmentOrder(self, None, None, is_by_id=True),
            "by_creation_time": SegmentOrder(self, _permutation([], creation_times), None),
        }
        for index in indexes:
            keys = declared_keys(self.texts, offsets, index.fields)
            rows = _permutation(keys, creation_times)
            ordered = keys if rows is None else [keys[row] for row in rows]
            self.orders[index.name] = SegmentOrder(self, rows, ordered)
        self._packed_bytes = (
            len(self.ids)
            + len(self.texts)
            + self.creation_times.itemsize * self.count
            + self.offsets.itemsize * len(self.offsets)
            + (49 + self.width + 8) * len(self._id_fences)
            + sum(order.size_bytes for order in self.orders.values())
        )

    @property
    def size_bytes(self) -> int:
        """Bytes held, the cached blocks included."""
        return self._packed_bytes + self.cache.count * BLOCK_ROWS * _ENTRY_BYTES

    def get(self, document_id: str) -> StoredDocument | None:
        """The document with this id. Cost: two searches, about 1.5 us."""
        row = self.row_of(document_id)
        if row is None:
            return None
        start, end = self.offsets[row : row + 2]
        return _new_tuple(StoredDocument, (self.creation_times[row], self.texts[start:end]))

    def row_of(self, document_id: str) -> int | None:
        """Where the document with this id lies. Cost: O(log n)."""
        width = self.width
        if len(document_id) != width or not width:
            return None
        fences = self._id_fences
        fence = bisect_left(fences, document_id)
        if fence < len(fences) and fences[fence] == document_id:
            return fence * _ID_FENCE_ROWS
        start = (fence - 1) * _ID_FENCE_ROWS * width
        if start < 0:
            return None
        end = start + _ID_FENCE_ROWS * width
        position = self.ids.find(document_id, start, end)
        # What was found may straddle two ids.
        while position >= 0 and position % width:
            position = self.ids.find(document_id, position + 1, end)
        return position // width if position >= 0 else None

    def id_at(self, row: int) -> str:
        """The id of a row."""
        return self.ids[row * self.width : (row + 1) * self.width]

    def suffixes(self, ids: Sequence[str], creation_times: Sequence[float]) -> list[bytes]:
        """The end of the index keys of some rows: the keys of creation time and id.

        The key of a float sets the sign bit of a positive number, which is what negating it does;
        creation times are positive. `_check` compares with `encode_key`.
        """
        pack = self._pack_suffix
        return [
            pack(0x0D, -creation_time, 0x10, document_id.encode(), 0)
            for document_id, creation_time in zip(ids, creation_times, strict=True)
        ]

    def entries(self, rows: Sequence[int], order: SegmentOrder, block: int) -> list[Entry]:
        """The rows of one block of `order` as entries. Cost: about 0.5 us each."""
        width, all_ids, all_texts = self.width, self.ids, self.texts
        if isinstance(rows, range):
            times = self.creation_times[rows.start : rows.stop].tolist()
            bounds = self.offsets[rows.start : rows.stop + 1].tolist()
            starts, ends = bounds[:-1], bounds[1:]
        else:
            times = [self.creation_times[row] for row in rows]
            starts = [self.offsets[row] for row in rows]
            ends = [self.offsets[row + 1] for row in rows]
        ids = [all_ids[row * width : row * width + width] for row in rows]
        texts = [all_texts[start:end] for start, end in zip(starts, ends, strict=True)]
        documents = map(_new_tuple, repeat(StoredDocument), zip(times, texts, strict=True))
        keys = order.keys(block, ids, times)
        return list(map(_new_tuple, repeat(Entry), zip(keys, ids, documents, strict=True)))

    def _check(self) -> None:
        """Assert every invariant, or show what is wrong."""
        state = f"{self.count} documents of width {self.width}, loaded at {self.number}"
        ids = [self.id_at(row) for row in range(self.count)]
        assert len(self.ids) == self.count * self.width, state
        assert all(one < other for one, other in pairwise(ids)), state
        assert [self.row_of(document_id) for document_id in ids] == list(range(self.count)), state
        for name, order in self.orders.items():
            entries = list(chain.from_iterable(map(order.block, range(order.block_count))))
            keys = [entry.key for entry in entries]
            assert sorted(entry.id for entry in entries) == ids, f"{name}: {state}"
            assert all(a < b for a, b in pairwise(keys)), f"{name}: {keys}"
            assert order.fences == keys[::BLOCK_ROWS], f"{name}: {state}"
            for entry in entries:
                assert entry.document == self.get(entry.id), f"{name}: {entry}"
                suffix = encode_key(entry.id)
                if not order.is_by_id:
                    suffix = encode_key(entry.document.creation_time) + suffix
                assert entry.key.endswith(suffix), f"{name}: {entry}"


class SegmentOrder:
    """The rows of a segment in the order of one index."""

    def __init__(
        self,
        segment: Segment,
        rows: array[int] | None,
        declared: list[bytes] | None,
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
        self.block_count = -(-segment.count // BLOCK_ROWS)
        self.fences = self._first_keys(declared)

    @property
    def size_bytes(self) -> int:
        """Bytes held for this order."""
        fences = sum(map(len, self.fences)) + 41 * len(self.fences)
        rows = 0 if self._rows is None else self._rows.itemsize * len(self._rows)
        return fences + rows + (self._declared.size_bytes if self._declared else 0)

    def keys(self, block: int, ids: Sequence[str], times: Sequence[float]) -> list[bytes]:
        """The whole keys of the rows of a block, which have these ids and creation times."""
        declared = None if self._declared is None else self._declared.block(block)
        return self._whole_keys(declared, ids, times)

    def _whole_keys(
        self, declared: list[bytes] | None, ids: Sequence[str], times: Sequence[float]
    ) -> list[bytes]:
        if self.is_by_id:
            return [b"\x10" + document_id.encode() + b"\x00" for document_id in ids]
        suffixes = self._segment.suffixes(ids, times)
        if declared is None:
            return suffixes
        return [key + suffix for key, suffix in zip(declared, suffixes, strict=True)]

    def block(self, block: int) -> list[Entry]:
        """The entries of a block; they are shared, so do not change the list."""
        return self._kept(block)[1]

    def take(
        self, lower: bytes, upper: bytes | None, limit: int
    ) -> tuple[list[Entry], bytes | None]:
        """The first `limit` entries with lower <= key < upper.

        Returns:
            The entries, and the key up to which (exclusive) they are all there is; None when
            that is `upper`.
        """
        block = max(bisect_left(self.fences, lower) - 1, 0)
        found: list[Entry] = []
        while block < self.block_count:
            keys, entries = self._kept(block)
            start = 0 if lower <= keys[0] else bisect_left(keys, lower)
            if upper is not None and keys[-1] >= upper:
                found += entries[start : bisect_left(keys, upper)]
                return _first(found, limit, is_all=True)
            found += entries[start:] if start else entries
            if len(found) >= limit:
                break
            block += 1
        return _first(found, limit, is_all=block >= self.block_count)

    def take_last(
        self, lower: bytes, upper: bytes | None, limit: int
    ) -> tuple[list[Entry], bytes | None]:
        """The last `limit` entries with lower <= key < upper, ascending.

        Returns:
            The entries, and the key from which on (inclusive) they are all there is; None when
            that is `lower`.
        """
        block = self.block_count if upper is None else bisect_left(self.fences, upper)
        pieces: list[list[Entry]] = []
        count = 0
        while (block := block - 1) >= 0:
            keys, entries = self._kept(block)
            end = len(keys)
            if upper is not None and not pieces:
                end = bisect_left(keys, upper)
            if keys[0] <= lower:
                pieces.append(entries[bisect_left(keys, lower) : end])
                break
            pieces.append(entries[:end])
            count += end
            if count >= limit:
                break
        found = list(chain.from_iterable(reversed(pieces)))
        if len(found) > limit:
            del found[:-limit]
        elif block < 0 or keys[0] <= lower:
            return found, None
        return found, found[0][0]

    def _kept(self, block: int) -> tuple[list[bytes], list[Entry]]:
        cache = self._segment.cache
        kept = cache.get((id(self), block))
        if kept is None:
            entries = self._segment.entries(self._rows_of(block), self, block)
            kept = ([entry[0] for entry in entries], entries)
            cache.put((id(self), block), kept)
        return kept

    def _rows_of(self, block: int) -> Sequence[int]:
        start = block * BLOCK_ROWS
        end = min(start + BLOCK_ROWS, self._segment.count)
        return range(start, end) if self._rows is None else self._rows[start:end]

    def _first_keys(self, declared: list[bytes] | None) -> list[bytes]:
        """The first whole key of every block."""
        segment = self._segment
        every = slice(None, None, BLOCK_ROWS)
        rows = range(segment.count)[every] if self._rows is None else self._rows[every]
        return self._whole_keys(
            None if declared is None else declared[every],
            [segment.id_at(row) for row in rows],
            [segment.creation_times[row] for row in rows],
        )


def _first(entries: list[Entry], limit: int, *, is_all: bool) -> tuple[list[Entry], bytes | None]:
    """The first `limit` entries, and the key where the rest begins."""
    if len(entries) <= limit and is_all:
        return entries, None
    del entries[limit:]
    return entries, entries[-1][0] + b"\x00"


class _PackedKeys:
    """Sorted keys in one buffer; the prefix that the keys of a block share is kept once."""

    def __init__(self, keys: list[bytes]) -> None:
        self._prefixes: list[bytes] = []
        pieces: list[bytes] = []
        for start in range(0, len(keys), BLOCK_ROWS):
            block = keys[start : start + BLOCK_ROWS]
            prefix = _common_prefix(block[0], block[-1])
            self._prefixes.append(prefix)
            pieces += [key[len(prefix) :] for key in block] if prefix else block
        self._buffer = b"".join(pieces)
        offsets = np.zeros(len(keys) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, pieces), dtype=np.int64, count=len(keys)), out=offsets[1:])
        self._offsets = _packed_offsets(offsets)

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        prefixes = sum(map(len, self._prefixes)) + 41 * len(self._prefixes)
        return len(self._buffer) + prefixes + self._offsets.itemsize * len(self._offsets)

    def block(self, block: int) -> list[bytes]:
        """The keys of a block."""
        prefix, buffer = self._prefixes[block], self._buffer
        start = block * BLOCK_ROWS
        bounds = self._offsets[start : start + BLOCK_ROWS + 1].tolist()
        return [prefix + buffer[one:other] for one, other in pairwise(bounds)]


def _common_prefix(one: bytes, other: bytes) -> bytes:
    """The bytes with which both start."""
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return one[:position]
    return min(one, other, key=len)


class _BlockCache:
    """Blocks made lately; the oldest gives way.

    The one not read for longest would be the better choice, but noting each read would cost more
    than making a block again now and then.
    """

    def __init__(self, blocks_max: int) -> None:
        self._blocks_max = blocks_max
        # Guards additions; innermost. Several readers share a segment without a table's latch.
        self._latch = threading.Lock()
        self._blocks: dict[tuple[int, int], tuple[list[bytes], list[Entry]]] = {}

    @property
    def count(self) -> int:
        return len(self._blocks)

    def get(self, key: tuple[int, int]) -> tuple[list[bytes], list[Entry]] | None:
        return self._blocks.get(key)

    def put(self, key: tuple[int, int], block: tuple[list[bytes], list[Entry]]) -> None:
        with self._latch:
            self._blocks[key] = block
            if len(self._blocks) > self._blocks_max:
                del self._blocks[next(iter(self._blocks))]


def _in_id_order(loaded: LoadedTable) -> tuple[Any, np.ndarray[Any, Any], Any]:
    """The columns with the rows ordered by id, which is how our own ids come anyway."""
    ids, texts = loaded.ids, loaded.texts
    times = np.asarray(loaded.creation_times, dtype=np.float64)
    assert ids.null_count == 0, "a document without an id"
    assert texts.null_count == 0, "a document without a text"
    assert len(times) == 0 or times.min() > 0, "creation times are positive"
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        rows = pc.sort_indices(ids)
        ids, texts, times = ids.take(rows), texts.take(rows), times[rows.to_numpy()]
    return ids, times, texts


def _packed_ids(ids: Any) -> tuple[int, str]:
    """The width of the ids, and all of them in one string."""
    if len(ids) == 0:
        return 0, ""
    values, offsets = _packed_texts(ids)
    widths = np.diff(offsets)
    width = int(widths[0])
    assert (widths == width).all(), f"ids of one table differ in length: {ids}"
    return width, values.decode("ascii")


def _packed_texts(texts: Any) -> tuple[bytes, np.ndarray[Any, Any]]:
    """The values of a binary column in one buffer, and where each starts (one more: the end)."""
    texts = texts.cast(pa.large_binary())
    if len(texts) == 0:
        return b"", np.zeros(1, dtype=np.int64)
    _, offset_buffer, data = texts.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1]
    start, end = int(offsets[0]), int(offsets[-1])
    packed = b"" if data is None else data.slice(start, end - start).to_pybytes()
    return packed, offsets - start


def _packed_offsets(offsets: np.ndarray[Any, Any]) -> array[int]:
    """Offsets in four bytes where that is enough. An array, since numpy's numbers are slow."""
    if int(offsets[-1]) < 1 << 32:
        return array("I", offsets.astype(np.uint32).tobytes())
    return array("Q", offsets.astype(np.uint64).tobytes())


def _permutation(keys: list[bytes], creation_times: np.ndarray[Any, Any]) -> array[int] | None:
    """The rows (in id order now) ordered by key, creation time, id; None when they are already.

    Equal keys are ranked once: sorting whole numbers is far cheaper than sorting bytes, and the
    keys of an index often repeat.
    """
    columns: list[np.ndarray[Any, Any]] = []
    if len(creation_times) > 1 and np.any(creation_times[1:] < creation_times[:-1]):
        columns.append(creation_times)
    if keys:
        distinct = pa.array(keys, type=pa.large_binary()).dictionary_encode()
        order = pc.sort_indices(distinct.dictionary).to_numpy()
        ranks = np.empty(len(order), dtype=np.uint32)
        ranks[order] = np.arange(len(order), dtype=np.uint32)
        columns.append(ranks[distinct.indices.to_numpy()])
    if not columns:
        return None
    rows = np.argsort(columns[0], kind="stable") if len(columns) == 1 else np.lexsort(columns)
    if np.array_equal(rows, np.arange(len(rows))):
        return None
    return array("I", rows.astype(np.uint32).tobytes())
