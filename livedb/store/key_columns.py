"""The index keys of a whole table at once, from its texts in one buffer.

Texts are a flag byte and compact JSON, in which neither flag byte nor newline can occur (JSON
escapes them): with flag bytes turned into newlines, a buffer of texts is JSON Lines, which msgspec
decodes in one call, only the fields that the index needs. Tagged texts are decoded again, one by
one, by `livedb.text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from livedb.keys.encoding import encode_key
from livedb.keys.index_key import Path, split_path, value_at
from livedb.text import decode_fields
from livedb.values import UNSET, Value

_BATCH_ROWS = 20_000
"""Texts decoded in one call; bounds the objects alive at once."""

_KNOWN_TEXTS_MAX = 100_000
"""Keys of strings remembered while a column is encoded."""

_FLAGS_TO_NEWLINES = bytes.maketrans(b"\x00\x01", b"\n\n")


def declared_keys(
    texts: bytes, offsets: np.ndarray[Any, Any], fields: Sequence[str]
) -> list[bytes]:
    """The keys of the declared `fields` of every text, joined: the start of its index key.

    Cost: about 1 us a document for two fields.
    """
    paths = [split_path(field) for field in fields]
    decode = _decoder_of([path[0] for path in paths])
    encoders = [_ColumnEncoder() for _ in paths]
    keys: list[bytes] = []
    for start in range(0, len(offsets) - 1, _BATCH_ROWS):
        bounds = offsets[start : start + _BATCH_ROWS + 1]
        columns = _columns(texts, bounds, paths, decode)
        parts = [encode(column) for encode, column in zip(encoders, columns, strict=True)]
        keys += parts[0] if len(parts) == 1 else map(b"".join, zip(*parts, strict=True))
    return keys


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


class _ColumnEncoder:
    """Encodes the values of one field; strings, which often repeat, are remembered."""

    def __init__(self) -> None:
        self._known = _KnownTexts()

    def __call__(self, values: list[Value]) -> list[bytes]:
        kinds = set(map(type, values))
        if kinds <= {int, float}:
            return _number_keys(values)
        if kinds == {str}:
            if len(self._known) > _KNOWN_TEXTS_MAX:
                self._known.clear()
            return list(map(self._known.__getitem__, values))
        return list(map(encode_key, values))


class _KnownTexts(dict[str, bytes]):
    """The keys of strings, made when first asked for."""

    def __missing__(self, value: str) -> bytes:
        key = self[value] = encode_key(value)
        return key


def _number_keys(values: list[int | float]) -> list[bytes]:
    """`encode_key` of numbers, at once: a tag, then the bits of the float in total order."""
    numbers = np.array(values, dtype=np.float64)
    if np.isnan(numbers).any():
        return list(map(encode_key, values))  # all NaN share one key, whatever their bits
    bits = numbers.view(np.uint64)
    sign = np.uint64(1 << 63)
    ordered = np.where(bits & sign, ~bits, bits | sign).astype(">u8")
    keys = np.empty((len(values), 9), dtype=np.uint8)
    keys[:, 0] = 0x0D
    keys[:, 1:] = ordered.view(np.uint8).reshape(-1, 8)
    listed: list[bytes] = keys.view("V9").ravel().tolist()
    return listed
