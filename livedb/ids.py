"""Document ids: Convex's form, with a counter inside that grows with time.

An id is text: the lower-case Crockford base32 (no padding) of

    table number (7 bits per byte, low bits first) | 16 internal bytes | checksum (2 bytes)

so an id has 32 characters for table numbers 128 to 16,383, and 31 to 37 for any. Convex fills the
internal bytes at random. Ours start with 8 that grow with time: unix microseconds << 12, plus 12
random bits. Documents made together therefore lie together, and `sequence_of` is a pruning hint for
DuckDB's zone maps. It is a hint only: an imported id has any bytes there.

Ids are not secrets, and they show when a document was made. They are plain `str` at run time.

Theory of operation: making and checking ids is on the path of every insert and point read. For the
usual 32 characters, 160 bits, both work on one whole number: checksum and base32 treat its bytes or
5-bit groups as lanes, side by side. The general form below them is the plain definition.

Source: Convex value/src/id_v6.rs; spec semantics.md 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from livedb.clock import Clock
from livedb.errors import InvalidIdError

T = TypeVar("T")

FIRST_TABLE_NUMBER = 10_001
"""The number of a workspace's first table; lower ones are reserved for system tables (Convex)."""

INTERNAL_BYTES = 16
TABLE_NUMBER_MAX = 2**32 - 1
SEQUENCE_MAX = 2**64 - 1

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_GROUP_TO_CHARACTER = bytes.maketrans(bytes(range(32)), _ALPHABET.encode())
_CHARACTER_TO_DIGIT = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(chr(code))]
    if chr(code) in _ALPHABET
    else ord("!")
    for code in range(256)
)
"""From our digits to those `int(..., 32)` reads; every other byte to one that it refuses."""

_LENGTH_MIN, _LENGTH_MAX = 31, 37
_SEQUENCE = Struct(">Q")
_INTERNAL = Struct(">QQ")
_RANDOM = Struct(">HQ")
"""The randomness of one id: 12 of 16 bits for the end of its sequence, and its last 8 bytes."""
_IDS_PER_DRAW = 400


class Id(str, Generic[T]):  # noqa: SLOT000 - an annotation; no instance is ever made
    """Annotation of a field or argument that holds the id of a document of one table.

    `Id[User]` names the table's class, `Id["users"]` the table. The values are plain `str`, and so
    is what calling it gives.
    """

    if not TYPE_CHECKING:  # to whom it is one of these

        def __new__(cls, text: str) -> str:
            """The id as the plain text that it is."""
            return str(text)


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
    Cost: about 1.5 us.
    """
    number = _number_of(text)
    if len(text) == _USUAL_LENGTH:
        high, low = number >> 152, number >> 144 & 0xFF
        # Two bytes of table number, the second not zero, or there were a shorter form.
        if high >= 0x80 and 0 < low < 0x80 and _lane_checksum(number >> 16) == number & 0xFFFF:
            return low << 7 | high & 0x7F, (number >> 16 & _INTERNAL_MASK).to_bytes(16, "big")
    else:
        size = len(text) * 5 // 8
        data = (number >> (len(text) * 5 - size * 8)).to_bytes(size, "big")
        table_number, used = _decode_table_number(data)
        internal = data[used:-2]
        # Encoding again catches the rest at once: padding bits, checksum, a form too long.
        is_whole = len(internal) == INTERNAL_BYTES and table_number <= TABLE_NUMBER_MAX
        if is_whole and encode_id(table_number, internal) == text:
            return table_number, internal
    raise _no_id(text)


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
        """Guards the two fields below; a leaf, nothing else is locked inside it."""
        self._last_sequence = 0
        self._randoms = self._draw()

    def new(self, table_number: int) -> str:
        """A new id of table `table_number`."""
        with self._lock:
            drawn = next(self._randoms, None)
            if drawn is None:
                self._randoms = self._draw()
                drawn = next(self._randoms)
            low_bits, tail = drawn
            # The clock may stand still or be set back; the sequence still grows.
            sequence = self._clock.now_ns() // 1000 << 12 | low_bits >> 4
            if sequence <= self._last_sequence:
                sequence = self._last_sequence + 1
            self._last_sequence = sequence
        if 0x80 <= table_number < 0x4000:
            prefix = (table_number & 0x7F | 0x80) << 8 | table_number >> 7
            body = prefix << 128 | sequence << 64 | tail
            return _lane_base32(body << 16 | _lane_checksum(body))
        return encode_id(table_number, _INTERNAL.pack(sequence, tail))

    def _draw(self) -> Iterator[tuple[int, int]]:
        """Randomness for many ids at once: the operating system takes as long for one."""
        return _RANDOM.iter_unpack(self._clock.random_bytes(_RANDOM.size * _IDS_PER_DRAW))


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


def _checksum(body: bytes) -> bytes:
    """Fletcher-16 modulo 256, little-endian; XOR with the format version 0 changes nothing."""
    low = high = 0
    for byte in body:
        low += byte
        high += low
    return bytes((low & 0xFF, high & 0xFF))


def _base32(data: bytes) -> str:
    """Crockford base32; the last group is filled with zero bits."""
    length = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (length * 5 - len(data) * 8)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(length * 5 - 5, -1, -5))


def _number_of(text: str) -> int:
    """The 5-bit groups of `text` as one whole number."""
    if type(text) is not str or not _LENGTH_MIN <= len(text) <= _LENGTH_MAX:
        raise _no_id(text)
    try:
        return int(text.encode("ascii").translate(_CHARACTER_TO_DIGIT), 32)
    except ValueError:
        raise _no_id(text) from None


# --- the same for the usual 160 bits, all lanes at once -------------------------------------------

_USUAL_LENGTH = 32
_INTERNAL_MASK = (1 << 128) - 1

_EVEN_BYTES = sum(0xFF << 16 * lane for lane in range(9))
"""Every second byte of 18, each in a lane of 16 bits."""
_ONES = sum(1 << 16 * lane for lane in range(9))
_EVEN_WEIGHTS = sum(2 * (lane + 1) - 1 << 16 * (8 - lane) for lane in range(9))
_ODD_WEIGHTS = sum(2 * (lane + 1) << 16 * (8 - lane) for lane in range(9))
"""How often a byte enters the sum of running sums: the last once, the first 18 times.

Mirrored, so that lane 8 of the product is the weighted sum. No lane carries into the next: the sum
is at most 171 * 255, below 2^16. """


def _lane_checksum(body: int) -> int:
    """`_checksum` of the 18 bytes of `body`, as they follow it."""
    even = body & _EVEN_BYTES
    odd = body >> 8 & _EVEN_BYTES
    low = (even + odd) * _ONES >> 128 & 0xFF
    high = even * _EVEN_WEIGHTS + odd * _ODD_WEIGHTS >> 128 & 0xFF
    return low << 8 | high


def _low_halves(bits: int) -> int:
    """Mask of the low half of every group of 2 * `bits` bits, in its lane of `_lane_base32`."""
    lane = bits * 8 // 5
    return sum((1 << bits) - 1 << 2 * lane * index for index in range(128 // lane))


_MASK_80, _MASK_40, _MASK_20, _MASK_10, _MASK_5 = map(_low_halves, (80, 40, 20, 10, 5))


def _lane_base32(number: int) -> str:
    """`_base32` of 160 bits.

    Halves every group of bits five times, moving the upper half up to a lane of its own, until each
    byte holds one group of 5 bits.
    """
    low = number & _MASK_80
    number = low | (number ^ low) << 48
    low = number & _MASK_40
    number = low | (number ^ low) << 24
    low = number & _MASK_20
    number = low | (number ^ low) << 12
    low = number & _MASK_10
    number = low | (number ^ low) << 6
    low = number & _MASK_5
    number = low | (number ^ low) << 3
    return number.to_bytes(32, "big").translate(_GROUP_TO_CHARACTER).decode("ascii")
