"""The index keys of a whole table at once, from its texts in one buffer.

Texts are a flag byte and compact JSON, in which neither flag byte nor newline can occur (JSON
escapes them): with flag bytes turned into newlines, a buffer of texts is JSON Lines, which msgspec
decodes in one call, only the fields that the index needs. Tagged texts are decoded again, one by
one, by `livedb.text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from livedb.keys.encoding import encode_key
from livedb.keys.index_key import Path, split_path, value_at
from livedb.store.packed import packed_texts
from livedb.text import decode_fields
from livedb.values import UNSET, Value

_BATCH_ROWS = 20_000
"""Texts decoded in one call; bounds the objects alive at once."""

_WORDS_MAX = 6
"""Words of eight bytes of a key up to which keys are compared as words."""

KeyColumn: TypeAlias = Any
"""A `pa.LargeBinaryArray` without nulls, one key a document; the stubs do not know its methods."""

_NULL_KEY = pa.scalar(encode_key(None), pa.large_binary())
_STRING_TAG = pa.scalar(b"\x10", pa.large_binary())
_END = pa.scalar(b"\x00", pa.large_binary())
_NOTHING = pa.scalar(b"", pa.large_binary())
_NUMBER_TAG = 0x0D

_FLAGS_TO_NEWLINES = bytes.maketrans(b"\x00\x01", b"\n\n")


def declared_keys(texts: bytes, offsets: np.ndarray[Any, Any], fields: Sequence[str]) -> KeyColumn:
    """The keys of the declared `fields` of every text, joined: the start of its index key.

    Cost: about 0.7 us a document for two fields of strings or numbers, most of it to decode.
    """
    paths = [split_path(field) for field in fields]
    decode = _decoder_of([path[0] for path in paths])
    batches: list[KeyColumn] = []
    for start in range(0, len(offsets) - 1, _BATCH_ROWS):
        bounds = offsets[start : start + _BATCH_ROWS + 1]
        parts = list(map(_column_keys, _columns(texts, bounds, paths, decode)))
        batches.append(parts[0] if len(parts) == 1 else _joined(*parts))
    return pa.concat_arrays(batches) if batches else pa.array([], pa.large_binary())


def ranked(keys: KeyColumn) -> list[np.ndarray[Any, Any]]:
    """Columns of whole numbers that order the rows as `keys` do, the first one first.

    Sorting whole numbers is far cheaper than sorting bytes. No key is the start of another one
    (each component says where it ends), so keys may be filled up with zeros.
    """
    data, offsets = packed_texts(keys)
    sizes = np.diff(offsets)
    width = int(sizes.max(initial=0))
    if width > _WORDS_MAX * 8:
        return [_ranks(keys)]
    words = np.zeros((-(-width // 8), len(keys)), np.uint64)
    for start in range(0, len(keys), _BATCH_ROWS):
        rows = slice(start, start + _BATCH_ROWS)
        places = np.arange(len(words) * 8)
        is_inside = places < sizes[rows, None]
        filled = np.zeros(is_inside.shape, np.uint8)
        filled[is_inside] = data[offsets[start] : offsets[min(rows.stop, len(keys))]]
        words[:, rows] = filled.view(">u8").T
    return [word for word in words if np.any(word != word[0])]


def _ranks(keys: KeyColumn) -> np.ndarray[Any, Any]:
    """The rank of each key among the distinct ones."""
    distinct = keys.dictionary_encode()
    order = pc.sort_indices(distinct.dictionary).to_numpy()
    ranks = np.empty(len(order), dtype=np.uint32)
    ranks[order] = np.arange(len(order), dtype=np.uint32)
    found: np.ndarray[Any, Any] = ranks[distinct.indices.to_numpy()]
    return found


def _decoder_of(names: Sequence[str]) -> Callable[[bytes], list[Any]]:
    """A decoder of JSON Lines that makes only these top-level fields, as `column_<n>`."""
    columns = [f"column_{position}" for position in range(len(names))]
    by_name: dict[str, str] = dict(zip(names, columns, strict=True))
    struct = msgspec.defstruct(
        "Columns",
        [(column, Any, UNSET) for column in by_name.values()],
        rename={column: name for name, column in by_name.items()},
        gc=False,
    )
    return msgspec.json.Decoder(struct).decode_lines


def _columns(
    texts: bytes,
    bounds: np.ndarray[Any, Any],
    paths: Sequence[Path],
    decode: Callable[[bytes], list[Any]],
) -> list[list[Value]]:
    """The values at each path, for the texts between `bounds`."""
    start = int(bounds[0])
    batch = texts[start : int(bounds[-1])]
    rows = decode(batch.translate(_FLAGS_TO_NEWLINES))
    assert len(rows) == len(bounds) - 1, f"{len(rows)} texts decoded of {len(bounds) - 1}"
    last = {path[0]: position for position, path in enumerate(paths)}
    columns = []
    for path in paths:
        column = list(map(attrgetter(f"column_{last[path[0]]}"), rows))
        if len(path) > 1:
            column = [
                value_at(value, path[1:]) if isinstance(value, dict) else UNSET for value in column
            ]
        columns.append(column)
    flags = np.frombuffer(batch, dtype=np.uint8)[bounds[:-1] - start]
    for row in np.flatnonzero(flags):
        fields = decode_fields(batch[bounds[row] - start : bounds[row + 1] - start])
        for column, path in zip(columns, paths, strict=True):
            column[row] = value_at(fields, path)
    return columns


def _column_keys(values: list[Value]) -> KeyColumn:
    """The keys of the values of one field: at once where they are strings, or numbers, or null."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:
        texts = pa.array(values, pa.large_string()).cast(pa.large_binary())
        # A 00 inside a string is escaped, which is too rare to do by the column.
        if not np.any(packed_texts(texts)[0] == 0):
            return pc.fill_null(_joined(_STRING_TAG, texts, _END), _NULL_KEY)
    elif kinds and kinds <= {int, float}:
        numbers = pa.array(values, pa.float64())
        # All NaN share one key, whatever their bits; only tagged texts have any.
        if not pc.any(pc.is_nan(numbers)).as_py():
            return pc.if_else(pc.is_valid(numbers), _number_keys(numbers), _NULL_KEY)
    return pa.array(list(map(encode_key, values)), pa.large_binary())


def _joined(*parts: Any) -> KeyColumn:
    """Columns of bytes side by side."""
    return pc.binary_join_element_wise(*parts, _NOTHING)


def _number_keys(numbers: pa.Array[Any]) -> KeyColumn:
    """`encode_key` of numbers, any for null: a tag, then the bits of the float in total order."""
    count = len(numbers)
    bits = numbers.fill_null(0.0).to_numpy().view(np.uint64)
    sign = np.uint64(1 << 63)
    ordered = np.where(bits & sign, ~bits, bits | sign).astype(">u8")
    keys = np.empty((count, 9), dtype=np.uint8)
    keys[:, 0] = _NUMBER_TAG
    keys[:, 1:] = ordered.view(np.uint8).reshape(-1, 8)
    offsets = np.arange(0, 9 * count + 1, 9, dtype=np.int64)
    buffers = [None, pa.py_buffer(offsets.data), pa.py_buffer(keys.data)]
    return pa.Array.from_buffers(pa.large_binary(), count, buffers)
