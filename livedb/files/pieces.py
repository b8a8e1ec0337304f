"""A file in pieces, without memory that is asked for and given back for each.

The kernel maps a new mebibyte page by page as it is filled, which can take longer than to hash it,
or to write it. And a disk takes a piece as it is, past the kernel's cache, from memory that begins
with a page (`disk.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import cycle
from mmap import mmap
from typing import IO, Any

from livedb.errors import InvalidValueError

PIECE_BYTES = 1 << 20
"""Bytes of a content that are read from a place, and given on, at once."""

Piece = bytes | memoryview


def pieces_of(file: IO[bytes]) -> Iterator[Piece]:
    """The rest of a file; each piece is good until the one after the next is asked for.

    Raises:
        InvalidValueError: the file gives text.
    """
    for _ in range(2):  # most files end within them
        if not (piece := file.read(PIECE_BYTES)):
            return
        yield _bytes_of(piece)
    read_into = getattr(file, "readinto", None)
    if read_into is None:
        while piece := file.read(PIECE_BYTES):
            yield _bytes_of(piece)
        return
    buffers = cycle(memories(2))
    for buffer in buffers:
        if not (count := read_into(buffer)):
            return
        yield buffer[:count]


def memories(count: int) -> list[memoryview]:
    """Memory for so many pieces, which begins with a page."""
    return [memoryview(mmap(-1, PIECE_BYTES)) for _ in range(count)]


class Gatherer:
    """Makes pieces of parts of any size, each good until the next is taken and more parts come."""

    def __init__(self) -> None:
        self._buffers = deque(memories(2))
        self._size = 0

    def add(self, part: bytes) -> Iterator[memoryview]:
        """The pieces that are full now."""
        view = memoryview(part)
        while view:
            took = min(len(view), PIECE_BYTES - self._size)
            self._buffers[0][self._size : self._size + took] = view[:took]
            self._size += took
            view = view[took:]
            if self._size == PIECE_BYTES:
                yield self.rest()

    def rest(self) -> memoryview:
        """What has not made a piece yet, perhaps nothing."""
        piece = self._buffers[0][: self._size]
        self._buffers.rotate(-1)
        self._size = 0
        return piece


def _bytes_of(piece: Any) -> bytes:
    if not isinstance(piece, bytes):
        raise InvalidValueError(
            f"The file gives {type(piece).__name__} instead of bytes; open it with 'rb'"
        )
    return piece
