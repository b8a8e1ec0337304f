"""Plain frames are read here, all others reach the library, in order and to the last byte."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

from livedb.service.plain_frames import SHORT_BYTES_MAX, FrameReader, frame_of, unmasked

MASK = b"\x01\x80\xff\x7e"


def frame(opcode, payload=b"", *, fin=True, mask=MASK):
    """A frame as a client sends it."""
    size = len(payload)
    head = bytes([opcode | 0x80 * fin])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + mask + unmasked(payload, mask)


class Reading:
    """What a reader made of what it was fed: messages taken, and the bytes in between passed on."""

    def __init__(self, *, wants=True):
        self.found = []
        self.wants = wants
        self.has_more = True
        self.reader = FrameReader(self.take, self.pass_on)

    def take(self, message):
        if self.wants:
            self.found.append(message)
        return self.wants

    def pass_on(self, data):
        if self.found and isinstance(self.found[-1], bytearray):
            self.found[-1] += data
        else:
            self.found.append(bytearray(data))
        return self.has_more

    def feed(self, *parts):
        for part in parts:
            self.reader.feed(part)
        return self.found


PAYLOADS = st.one_of(
    st.text(max_size=200).map(lambda text: (1, text.encode())),
    st.binary(max_size=200).map(lambda data: (2, data)),
    st.sampled_from([125, 126, 127, 65_535 - 8, SHORT_BYTES_MAX - 8, SHORT_BYTES_MAX - 7]).map(
        lambda size: (2, b"x" * size)
    ),
)
MESSAGES = st.one_of(
    PAYLOADS.map(lambda each: [frame(*each)]),
    st.binary(max_size=20).map(lambda data: [frame(9, data)]),
    st.lists(st.binary(max_size=20), min_size=1, max_size=3).map(
        lambda parts: [
            frame(0 if place else 2, part, fin=place == len(parts) - 1)
            for place, part in enumerate(parts)
        ]
    ),
)


def read_by_library(data):
    """(opcode, payload) of each frame, as the library reads them."""
    protocol = Protocol(SERVER, max_size=None)
    protocol.receive_data(data)
    assert protocol.parser_exc is None
    return [
        (each.opcode, bytes(each.data), each.fin)
        for each in protocol.events_received()
        if isinstance(each, Frame)
    ]


@given(st.lists(MESSAGES, max_size=6), st.data())
def test_however_it_is_cut_all_that_came_is_read_once_in_order(messages, data):
    stream = b"".join(part for message in messages for part in message)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    ends = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    found = Reading().feed(*(stream[start:end] for start, end in ends))
    read = []
    for each in found:
        if isinstance(each, bytearray):
            read += read_by_library(bytes(each))
        elif isinstance(each, str):
            read.append((Opcode.TEXT, each.encode(), True))
        else:
            read.append((Opcode.BINARY, each, True))
    assert read == read_by_library(stream)


def test_a_short_message_never_reaches_the_library():
    stream = frame(1, b"a") + frame(2, b"\x00" * 1000) + frame(1, "ü".encode())
    assert Reading().feed(stream) == ["a", b"\x00" * 1000, "ü"]
    assert Reading().feed(*(bytes([each]) for each in stream)) == ["a", b"\x00" * 1000, "ü"]


@pytest.mark.parametrize(
    "other",
    [
        frame(9, b"ping"),
        frame(8),
        frame(1, b"\xff"),
        frame(1, b"a", fin=False),
        frame(3, b"?"),
        bytes([0xC1, 0x81]) + MASK + b"?",
        b"\x81\x01a",
        frame(2, b"x" * SHORT_BYTES_MAX),
    ],
    ids=["ping", "close", "not UTF-8", "fragment", "opcode", "reserved", "not masked", "long"],
)
def test_whatever_is_not_plain_is_the_librarys(other):
    assert Reading().feed(frame(1, b"before") + other) == ["before", bytearray(other)]


def test_what_is_not_plain_is_passed_on_before_it_is_whole():
    assert Reading().feed(b"\x81\x01") == [bytearray(b"\x81\x01")]  # not masked: to be refused
    long = frame(2, b"x" * (1 << 20))
    assert Reading().feed(long[:100]) == [bytearray(long[:100])]


def test_a_message_that_nobody_wants_is_the_librarys():
    assert Reading(wants=False).feed(frame(1, b"a")) == [bytearray(frame(1, b"a"))]


def test_nothing_is_read_behind_the_end():
    reading = Reading()
    reading.has_more = False
    assert reading.feed(frame(8) + frame(1, b"late")) == [bytearray(frame(8))]


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)) | st.just("x" * 70_000))
def test_what_is_written_is_what_the_library_writes(message):
    is_text = isinstance(message, str)
    data = message.encode() if is_text else message
    written = Frame(Opcode.TEXT if is_text else Opcode.BINARY, data).serialize(mask=False)
    assert frame_of(message) == written


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_a_mask_taken_off_twice_changes_nothing(data, mask):
    assert unmasked(unmasked(data, mask), mask) == data
