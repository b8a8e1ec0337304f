"""The index keys of a whole table at once, from its texts in one buffer.

Texts are a flag byte and compact JSON, in which neither flag byte nor newline can occur (JSON
escapes them): with flag bytes turned into newlines, a buffer of texts is JSON Lines, which msgspec
decodes in one call, only the fields that the index needs. Tagged texts are decoded again, one by
one, by `livedb.text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from livedb.keys.encoding import encode_key
from livedb.keys.index_key import split_path, value_at
from livedb.store.packed import packed_texts
from livedb.text import PLAIN, decode_fields
from livedb.values import UNSET, Value

_BATCH_ROWS = 20_000
"""Texts decoded in one call; bounds the objects alive at once."""

_WORDS_MAX = 6
"""Words of eight bytes of a key up to which keys are compared as words."""

KeyColumn: TypeAlias = Any
"""A `pa.LargeBinaryArray` without nulls, one key a document; the stubs do not know its methods."""

_NULL_KEY = encode_key(None)
_STRING_TAG = b"\x10"
_END = b"\x00"
_NOTHING = b""
_NUMBER_TAG = 0x0D

_FLAGS_TO_NEWLINES = bytes.maketrans(b"\x00\x01", b"\n\n")


def declared_keys(
    texts: bytes,
    offsets: np.ndarray[Any, Any],
    fields: Sequence[str],
    columns: Mapping[str, pa.ChunkedArray[Any]] = MappingProxyType({}),
) -> KeyColumn:
    """The keys of the declared `fields` of every text, joined: the start of its index key.

    Args:
        texts: flagged texts, one after the other.
        offsets: where each starts, and the end of the last.
        fields: paths of fields.
        columns: of some fields, values that need not be decoded; see `LoadedTable.columns`.
    Cost: about 0.3 us a document for two fields that are in `columns`, else 0.8 us.
    """
    decoder = _Decoder(fields)
    # A field named "a.b" may have a column, but as a path it is another field.
    has_columns = all(field in columns and len(split_path(field)) == 1 for field in fields)
    keys: list[KeyColumn] = []
    for start in range(0, len(offsets) - 1, _BATCH_ROWS):
        bounds = offsets[start : start + _BATCH_ROWS + 1]
        batch = texts[int(bounds[0]) : int(bounds[-1])]
        starts = bounds - bounds[0]
        if has_columns:
            known = [columns[field].slice(start, len(starts) - 1) for field in fields]
            keys.append(_keys_of_columns(batch, starts, known, decoder))
        else:
            keys.append(decoder.keys(batch, starts))
    return pa.concat_arrays(keys) if keys else pa.nulls(0, pa.large_binary())


def _keys_of_columns(
    texts: bytes,
    offsets: np.ndarray[Any, Any],
    columns: Sequence[pa.ChunkedArray[Any]],
    decoder: _Decoder,
) -> KeyColumn:
    """Keys of texts from columns of values, of the rest from the texts."""
    is_known = np.frombuffer(texts, np.uint8)[offsets[:-1]] == PLAIN[0]
    parts = []
    for column in columns:
        values: Any = column.combine_chunks()
        is_known &= values.is_valid().to_numpy(zero_copy_only=False)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            part = _string_keys(values.cast(pa.large_binary()))
        else:
            numbers = values.cast(pa.float64(), safe=False).fill_null(0.0)
            # A zero may have lost its sign on the way through a column.
            is_known &= numbers.to_numpy() != 0.0
            part = _number_keys(numbers)
        if part is None:
            return decoder.keys(texts, offsets)
        parts.append(pc.fill_null(part, _constant(_NULL_KEY)))
    keys = parts[0] if len(parts) == 1 else _joined(*parts)
    rest = np.flatnonzero(~is_known)
    if not len(rest):
        return keys
    pieces = [texts[offsets[row] : offsets[row + 1]] for row in rest]
    decoded = decoder.keys(b"".join(pieces), np.cumsum([0, *map(len, pieces)]))
    return pc.replace_with_mask(keys, pa.array(~is_known), decoded)


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


class _Decoder:
    """Makes the keys of some fields from texts, decoding only these fields."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._paths = [split_path(field) for field in fields]
        by_name = {path[0]: f"column_{at}" for at, path in enumerate(self._paths)}
        self._columns = [attrgetter(by_name[path[0]]) for path in self._paths]
        struct = msgspec.defstruct(
            "Columns",
            [(column, Any, UNSET) for column in by_name.values()],
            rename={column: name for name, column in by_name.items()},
            gc=False,
        )
        self._decode = msgspec.json.Decoder(struct).decode_lines

    def keys(self, texts: bytes, offsets: np.ndarray[Any, Any]) -> KeyColumn:
        """The keys of every text, joined."""
        parts = list(map(_column_keys, self._values(texts, offsets)))
        return parts[0] if len(parts) == 1 else _joined(*parts)

    def _values(self, texts: bytes, offsets: np.ndarray[Any, Any]) -> list[list[Value]]:
        """The values at each path."""
        rows = self._decode(texts.translate(_FLAGS_TO_NEWLINES))
        assert len(rows) == len(offsets) - 1, f"{len(rows)} texts decoded of {len(offsets) - 1}"
        columns = []
        for path, column in zip(self._paths, self._columns, strict=True):
            values = list(map(column, rows))
            if len(path) > 1:
                values = [
                    value_at(value, path[1:]) if isinstance(value, dict) else UNSET
                    for value in values
                ]
            columns.append(values)
        flags = np.frombuffer(texts, dtype=np.uint8)[offsets[:-1]]
        for row in np.flatnonzero(flags):
            fields = decode_fields(texts[offsets[row] : offsets[row + 1]])
            for values, path in zip(columns, self._paths, strict=True):
                values[row] = value_at(fields, path)
        return columns


def _column_keys(values: list[Value]) -> KeyColumn:
    """The keys of the values of one field: at once where they are strings, or numbers, or null."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:
        keys = _string_keys(pa.array(values, pa.large_string()).cast(pa.large_binary()))
        if keys is not None:
            return pc.fill_null(keys, _constant(_NULL_KEY))
    elif kinds and kinds <= {int, float}:
        numbers = pa.array(values, pa.float64())
        # All NaN share one key, whatever their bits; only tagged texts have any.
        if not pc.any(pc.is_nan(numbers)).as_py():
            return pc.if_else(pc.is_valid(numbers), _number_keys(numbers), _constant(_NULL_KEY))
    return pa.array(list(map(encode_key, values)), pa.large_binary())


@cache
def _constant(key: bytes) -> Any:
    """Made when first needed: pyarrow loads pandas, half a second, for its first Python value."""
    return pa.scalar(key, pa.large_binary())


def _string_keys(texts: Any) -> KeyColumn | None:
    """The keys of strings, null for null; None if one holds a 00, which its key must escape."""
    if np.any(packed_texts(texts)[0] == 0):
        return None
    return _joined(_constant(_STRING_TAG), texts, _constant(_END))


def _joined(*parts: Any) -> KeyColumn:
    """Columns of bytes side by side."""
    return pc.binary_join_element_wise(*parts, _constant(_NOTHING))


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
