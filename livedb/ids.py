"""Document ids: Convex's form, with a counter inside that grows with time.

An id is text: the lower-case Crockford base32 (no padding) of

    table number (7 bits per byte, low bits first) | 16 internal bytes | checksum (2 bytes)

so a table number of livedb gives 32 characters, any table number 31 to 37. Convex fills the internal
bytes at random. Ours start with 8 that grow with time: unix microseconds << 12, plus 12 random bits.
Documents made together therefore lie together, and `sequence_of` is a pruning hint for DuckDB's zone
maps. It is a hint only: an imported id has any bytes there.

Ids are not secrets, and they show when a document was made. They are plain `str` at run time.

Source: Convex value/src/id_v6.rs; spec semantics.md 2.
"""

from __future__ import annotations

from operator import mul
from struct import Struct
from threading import Lock
from typing import Generic, TypeVar

from livedb.clock import Clock
from livedb.errors import InvalidIdError

T = TypeVar("T")

FIRST_TABLE_NUMBER = 10_001
"""The number of a workspace's first table; lower ones are reserved for system tables (Convex)."""

INTERNAL_BYTES = 16
TABLE_NUMBER_MAX = 2**32 - 1
SEQUENCE_MAX = 2**64 - 1

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PYTHON_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_TO_PYTHON = str.maketrans(_ALPHABET, _PYTHON_ALPHABET)
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
"""The two characters of every 10-bit group."""

_LENGTH_MIN, _LENGTH_MAX = 31, 37
_RANDOM_BYTES = 10
"""Random bytes of one id: 8 at its end, and 12 bits of two more inside its sequence."""
_RANDOM_POOL_BYTES = 400 * _RANDOM_BYTES
_SEQUENCE = Struct(">Q")


class Id(str, Generic[T]):  # noqa: SLOT000 - an annotation; no instance is ever made
    """Annotation of a field or argument that holds the id of a document of one table.

    `Id[User]` names the table's class, `Id["users"]` the table. The values are plain `str`.
    """


def encode_id(table_number: int, internal: bytes) -> str:
    """The id of table `table_number` with the 16 bytes `internal`."""
    assert len(internal) == INTERNAL_BYTES
    assert 0 <= table_number <= TABLE_NUMBER_MAX
    body = _encode_table_number(table_number) + internal
    return _base32(body + _checksum(body))


def decode_id(text: str) -> tuple[int, bytes]:
    """The table number and internal bytes of an id.

    Strict: every pair has exactly one text, and any other text is refused.

    Raises:
        InvalidIdError: `text` is no id.
    """
    if type(text) is not str or not _LENGTH_MIN <= len(text) <= _LENGTH_MAX:
        raise _no_id(text)
    try:
        number = int(text.translate(_TO_PYTHON), 32)
    except ValueError:
        raise _no_id(text) from None
    size = len(text) * 5 // 8
    data = (abs(number) >> (len(text) * 5 - size * 8)).to_bytes(size, "big")
    table_number, used = _decode_table_number(data)
    internal = data[used : used + INTERNAL_BYTES]
    # Encoding again catches everything at once: case, padding bits, checksum, odd digits, length.
    is_whole = len(internal) == INTERNAL_BYTES and table_number <= TABLE_NUMBER_MAX
    if not is_whole or encode_id(table_number, internal) != text:
        raise _no_id(text)
    return table_number, internal


def table_number_of(text: str) -> int:
    """The number of the table that id `text` belongs to. Raises: InvalidIdError."""
    return decode_id(text)[0]


def sequence_of(text: str) -> int:
    """The first 8 internal bytes of an id as a number, `_seq` in DuckDB. Raises: InvalidIdError."""
    sequence: int = _SEQUENCE.unpack_from(decode_id(text)[1])[0]
    return sequence


class IdFactory:
    """Makes new ids; those of one factory have strictly increasing sequences.

    Safe to call from several threads. Cost: about 2 us.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        """Guards the three fields below; a leaf, nothing else is locked inside it."""
        self._last_sequence = 0
        self._pool = b""
        self._pool_used = 0
        self._prefixes: dict[int, bytes] = {}

    def new(self, table_number: int) -> str:
        """A new id of table `table_number`."""
        prefix = self._prefixes.get(table_number)
        if prefix is None:
            prefix = self._prefixes[table_number] = _encode_table_number(table_number)
        with self._lock:
            used = self._pool_used
            if used >= len(self._pool):
                self._pool = self._clock.random_bytes(_RANDOM_POOL_BYTES)
                used = 0
            self._pool_used = used + _RANDOM_BYTES
            pool = self._pool
            twelve_bits = (pool[used] << 4) | (pool[used + 1] >> 4)
            sequence = (self._clock.now_ns() // 1000) << 12 | twelve_bits
            # The clock may stand still or be set back; the sequence still grows.
            if sequence <= self._last_sequence:
                sequence = self._last_sequence + 1
            self._last_sequence = sequence
        body = prefix + _SEQUENCE.pack(sequence) + pool[used + 2 : used + _RANDOM_BYTES]
        return _base32(body + _checksum(body))


def _no_id(text: object) -> InvalidIdError:
    shown = repr(text)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return InvalidIdError(f"{shown} is not a document id")


def _encode_table_number(number: int) -> bytes:
    result = bytearray()
    while number >= 0x80:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def _decode_table_number(data: bytes) -> tuple[int, int]:
    """The number, and how many bytes it took."""
    number = 0
    for index, byte in enumerate(data):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, index + 1
    return number, len(data)


_WEIGHTS = {size: tuple(range(size, 0, -1)) for size in range(17, 22)}


def _checksum(body: bytes) -> bytes:
    """Fletcher-16 modulo 256, little-endian; XOR with the format version 0 changes nothing."""
    # The running sum of running sums, unrolled: byte i of n is counted n - i times.
    return bytes((sum(body) & 255, sum(map(mul, body, _WEIGHTS[len(body)])) & 255))


def _base32(data: bytes) -> str:
    """Crockford base32 of 19 to 23 bytes; the last group is filled with zero bits."""
    if len(data) != 20:
        return _base32_slowly(data)
    pairs = _PAIRS
    from_bytes = int.from_bytes
    a = from_bytes(data[:5], "big")
    b = from_bytes(data[5:10], "big")
    c = from_bytes(data[10:15], "big")
    d = from_bytes(data[15:], "big")
    return (
        f"{pairs[a >> 30]}{pairs[a >> 20 & 1023]}{pairs[a >> 10 & 1023]}{pairs[a & 1023]}"
        f"{pairs[b >> 30]}{pairs[b >> 20 & 1023]}{pairs[b >> 10 & 1023]}{pairs[b & 1023]}"
        f"{pairs[c >> 30]}{pairs[c >> 20 & 1023]}{pairs[c >> 10 & 1023]}{pairs[c & 1023]}"
        f"{pairs[d >> 30]}{pairs[d >> 20 & 1023]}{pairs[d >> 10 & 1023]}{pairs[d & 1023]}"
    )


def _base32_slowly(data: bytes) -> str:
    length = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (length * 5 - len(data) * 8)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(length * 5 - 5, -1, -5))
