"""Contents in pieces: whole in whatever parts they come, and hashed beside what is done with it."""

from __future__ import annotations

import hashlib
import io
import os
import random
from contextlib import closing

import pytest

from livedb.errors import InvalidValueError
from livedb.files.digest import Digest
from livedb.files.pieces import PIECE_BYTES, Gatherer, pieces_of

SIZES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 5 * PIECE_BYTES + 7]


class ReadsOnly:
    """A file as people write them: it has `read`, and nothing else."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def read(self, count):
        return self._file.read(count)


@pytest.mark.parametrize("kind", [io.BytesIO, ReadsOnly])
@pytest.mark.parametrize("size", SIZES)
def test_a_file_in_pieces_is_the_file_and_each_is_good_until_the_one_after_the_next(kind, size):
    content = os.urandom(size)
    found, held = b"", None
    for piece in pieces_of(kind(content)):
        found += b"" if held is None else bytes(held)
        held = piece
    assert found + bytes(held or b"") == content


def test_a_file_that_gives_text_is_refused():
    with pytest.raises(InvalidValueError, match="str instead of bytes"):
        list(pieces_of(io.StringIO("text")))


@pytest.mark.parametrize("size", SIZES)
def test_parts_of_any_size_become_full_pieces_and_a_rest(size):
    content, random_sizes = os.urandom(size), random.Random(size)
    gatherer, pieces, at = Gatherer(), [], 0
    held = None
    while at < size:
        count = random_sizes.choice([1, 100, 65_536, 262_144, 3 * PIECE_BYTES])
        for piece in gatherer.add(content[at : at + count]):
            pieces += [] if held is None else [bytes(held)]
            held = piece
        at += count
    pieces += [] if held is None else [bytes(held)]
    rest = bytes(gatherer.rest())
    assert {len(each) for each in pieces} <= {PIECE_BYTES}
    assert len(rest) < PIECE_BYTES
    assert b"".join(pieces) + rest == content


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_a_digest_is_that_of_all_pieces_whatever_becomes_of_their_memory(count):
    content = [bytearray(os.urandom(100_000)) for _ in range(count)]
    expected = hashlib.sha256(b"".join(content)).hexdigest()
    memory = [bytearray(100_000), bytearray(100_000)]
    with closing(Digest()) as digest:
        for number, piece in enumerate(content):
            held = memory[number % 2]
            held[:] = piece
            digest.update(memoryview(held))
        assert digest.hexdigest() == expected
