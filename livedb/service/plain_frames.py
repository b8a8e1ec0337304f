"""The WebSocket frames that nearly all messages are: whole, short, of text or bytes.

The library makes objects and steps through generators for each frame, which costs more than all
that the service does with the message. So those frames are read and written here, and whatever is
not one of them (control frames, fragments, long frames, all that breaks the protocol) goes to the
library as it comes.

Source: RFC 6455, section 5.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

SHORT_BYTES_MAX = 16 << 10
"""Bytes of a frame that is read here; so much of it may be kept until it is whole."""

_FIN_TEXT, _FIN_BYTES = 0x81, 0x82
_MASKED = 0x80

_LENGTH_16, _LENGTH_64 = struct.Struct("!H"), struct.Struct("!Q")


class FrameReader:
    """Cuts what a client sends into frames.

    Args:
        take: given a plain message; says whether it was wanted, else the library gets it.
        pass_on: given bytes for the library, which may end in the middle of a frame; says whether
            there may be more.
    """

    def __init__(
        self, take: Callable[[str | bytes], bool], pass_on: Callable[[bytes], bool]
    ) -> None:
        self._take = take
        self._pass_on = pass_on
        self._begun = b""
        """Of a plain frame, or of a head, that is not whole yet."""
        self._passing = 0
        """Bytes of a frame that the library gets as they come."""
        self._is_in_message = False
        """The last data frame was a fragment, and not the last of its message."""

    def feed(self, data: bytes) -> None:
        """Take bytes that came, wherever they begin and end."""
        if self._begun:
            data = self._begun + data
            self._begun = b""
        start, end = 0, len(data)
        while start < end:
            if self._passing:
                part = data[start : start + self._passing]
                self._passing -= len(part)
                start += len(part)
                if not self._pass_on(part):
                    return
                continue
            head, size = _head_at(data, start)
            if not size:
                self._begun = data[start:]
                return
            if size > SHORT_BYTES_MAX or not self._is_plain(data, start):
                self._note(data[start])
                self._passing = size
                continue
            if start + size > end:
                self._begun = data[start:]
                return
            if not self._is_taken(data, start, start + head, start + size):
                self._passing = size
                continue
            start += size

    def _is_taken(self, data: bytes, start: int, body: int, end: int) -> bool:
        payload = unmasked(data[body:end], data[body - 4 : body])
        if data[start] == _FIN_BYTES:
            return self._take(payload)
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            return False  # the library knows how to close for that
        return self._take(text)

    def _is_plain(self, data: bytes, start: int) -> bool:
        is_data = data[start] == _FIN_TEXT or data[start] == _FIN_BYTES
        return is_data and bool(data[start + 1] & _MASKED) and not self._is_in_message

    def _note(self, head: int) -> None:
        if head & 0x0F <= 2:  # of data, not of control
            self._is_in_message = not head & 0x80


def _head_at(data: bytes, start: int) -> tuple[int, int]:
    """Bytes of a frame's head, and of the whole frame; nothing while they cannot be told."""
    there = len(data) - start
    if there < 2:
        return 0, 0
    second = data[start + 1]
    length, head = second & 0x7F, 2 + 4 * (second >> 7)
    if length < 126:
        return head, head + length
    if length == 126:
        if there < 4:
            return 0, 0
        return head + 2, head + 2 + _LENGTH_16.unpack_from(data, start + 2)[0]
    if there < 10:
        return 0, 0
    return head + 8, head + 8 + _LENGTH_64.unpack_from(data, start + 2)[0]


def unmasked(data: bytes, mask: bytes) -> bytes:
    """A payload with its mask taken off, or put on."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(data, "little") ^ int.from_bytes(key, "little")
    return mixed.to_bytes(size, "little")


def frame_of(message: str | bytes) -> bytes:
    """A whole message as a server sends it."""
    first = _FIN_BYTES
    if isinstance(message, str):
        first, message = _FIN_TEXT, message.encode()
    size = len(message)
    if size < 126:
        return bytes((first, size)) + message
    if size < 1 << 16:
        return bytes((first, 126)) + _LENGTH_16.pack(size) + message
    return bytes((first, 127)) + _LENGTH_64.pack(size) + message
