"""Document ids by the column: made and read with numpy, never one at a time.

The same ids as `livedb.ids`, which see for the format. A load needs a million of them in the time
that `IdFactory` takes for fifty thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from livedb.clock import Clock
from livedb.errors import InvalidIdError
from livedb.ids import INTERNAL_BYTES, IdFactory, decode_id, encode_id, sequence_of
from livedb.store.packed import Bytes, packed_texts

Numbers: TypeAlias = npt.NDArray[np.uint64]

_ALPHABET = np.frombuffer(b"0123456789abcdefghjkmnpqrstvwxyz", np.uint8)
_VALUES = np.full(256, 255, np.uint8)
_VALUES[_ALPHABET] = np.arange(32, dtype=np.uint8)
_CHARACTERS = 32
"""Characters of an id whose table number takes two bytes: 128 to 16,383, so all of ours."""
_BODY = 2 + INTERNAL_BYTES
_SHIFTS = range(30, -1, -10)
_PAIRS = np.array([[high, low] for high in _ALPHABET for low in _ALPHABET], np.uint8).view(
    np.uint16
)[:, 0]
"""The two characters of every 10-bit group, side by side in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdColumn:
    """A column of ids.

    Attributes:
        ids: the texts.
        sequences: the first 8 internal bytes of each, `_seq`.
    """

    ids: pa.Array[Any]
    sequences: pa.Array[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedIds:
    """What the texts of a column are.

    Attributes:
        table_numbers: the table of each; 0 where the text is no id, or is null.
        internals: 16 bytes each.
    """

    table_numbers: Numbers
    internals: Bytes


def new_ids(table_number: int, count: int, *, first_sequence: int, random: bytes) -> IdColumn:
    """`count` new ids with sequences counted up from `first_sequence`.

    Args:
        random: 8 bytes for each.
    Cost: about 0.1 us per id.
    """
    sequences = np.arange(count, dtype=np.uint64) + np.uint64(first_sequence)
    internals = np.empty((count, INTERNAL_BYTES), np.uint8)
    internals[:, :8] = sequences.astype(">u8").view(np.uint8).reshape(count, 8)
    internals[:, 8:] = np.frombuffer(random, np.uint8).reshape(count, 8)
    return IdColumn(ids=_encode(table_number, internals), sequences=pa.array(sequences))


def first_sequence(id_factory: IdFactory, table_number: int) -> int:
    """A sequence above those the factory has given out."""
    return sequence_of(id_factory.new(table_number)) + 1


def decode_ids(texts: pa.Array[Any]) -> DecodedIds:
    """The ids of a string column; what is no id gets table number 0. Cost: 0.2 us per id."""
    count = len(texts)
    found = DecodedIds(
        table_numbers=np.zeros(count, np.uint64),
        internals=np.zeros((count, INTERNAL_BYTES), np.uint8),
    )
    data, offsets = packed_texts(texts)
    lengths = np.diff(offsets)
    usual = np.flatnonzero(lengths == _CHARACTERS)
    if len(usual):
        _decode_usual(data[offsets[usual, None] + np.arange(_CHARACTERS)], usual, found)
    for position in np.flatnonzero((lengths != _CHARACTERS) & (lengths > 0)):
        _decode_one(texts[int(position)].as_py(), int(position), found)
    return found


def sequences_of(decoded: DecodedIds) -> pa.Array[Any]:
    """`_seq` of each decoded id."""
    first: Bytes = np.ascontiguousarray(decoded.internals[:, :8])
    return pa.array(first.view(">u8")[:, 0].astype(np.uint64))


def has_duplicates(internals: Bytes) -> bool:
    """Whether two ids have the same bytes. Cost: a sort."""
    halves = np.ascontiguousarray(internals).view(np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    halves = halves[order]
    return bool(np.any(np.all(halves[1:] == halves[:-1], axis=1)))


def _encode(table_number: int, internals: Bytes) -> pa.Array[Any]:
    if not 128 <= table_number < 1 << 14:
        return pa.array([encode_id(table_number, row.tobytes()) for row in internals], pa.string())
    count = len(internals)
    # One row per byte, so that numpy works along memory; this is four times the other way round.
    data = np.empty((20, count), np.uint8)
    data[0] = table_number & 0x7F | 0x80
    data[1] = table_number >> 7
    data[2:_BODY] = internals.T
    data[_BODY:] = _checksums(data[:_BODY])
    characters = np.empty((count, 4, 4), np.uint16)
    for group in range(4):
        bits = data[5 * group].astype(np.int64)
        for byte in data[5 * group + 1 : 5 * group + 5]:
            bits <<= 8
            bits |= byte
        for place, shift in enumerate(_SHIFTS):
            characters[:, group, place] = _PAIRS[bits >> shift & 1023]
    offsets = np.arange(count + 1, dtype=np.int32) * _CHARACTERS
    buffers = [None, pa.py_buffer(offsets.data), pa.py_buffer(characters.data)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def _checksums(bodies: Bytes) -> Bytes:
    """Fletcher-16 modulo 256 of each column; uint8 arithmetic wraps as the checksum wants."""
    sums = np.zeros((2, bodies.shape[1]), np.uint8)
    for byte in bodies:
        sums[0] += byte
        sums[1] += sums[0]
    return sums


def _decode_usual(rows: Bytes, positions: npt.NDArray[Any], found: DecodedIds) -> None:
    values = _VALUES[rows].reshape(len(rows), 4, 8)
    is_id = (values != 255).all(axis=(1, 2))
    groups = np.zeros((len(rows), 4), np.uint64)
    for place in range(8):
        groups = groups << np.uint64(5) | (values[:, :, place] & np.uint8(31))
    data = np.empty((len(rows), 20), np.uint8)
    for byte in range(5):
        data[:, byte::5] = (groups >> np.uint64(32 - 8 * byte) & np.uint64(255)).astype(np.uint8)
    high, low = data[:, 1], data[:, 0]
    is_id &= (low >= 0x80) & (high > 0) & (high < 0x80)
    is_id &= (_checksums(data[:, :_BODY].T) == data[:, _BODY:].T).all(axis=0)
    numbers = (low & 0x7F).astype(np.uint64) | high.astype(np.uint64) << np.uint64(7)
    found.table_numbers[positions] = np.where(is_id, numbers, 0)
    found.internals[positions] = data[:, 2:_BODY]


def _decode_one(text: str, position: int, found: DecodedIds) -> None:
    try:
        number, internal = decode_id(text)
    except InvalidIdError:
        return
    found.table_numbers[position] = number
    found.internals[position] = np.frombuffer(internal, np.uint8)


def random_of(clock: Clock, count: int) -> bytes:
    """The random bytes that `new_ids` takes."""
    return clock.random_bytes(8 * count)
