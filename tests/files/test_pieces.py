"""Contents in pieces: whole in whatever parts they come, and hashed beside what is done with it."""

from __future__ import annotations

import io
import os
import random
import threading
from contextlib import closing

import pytest

from livedb.errors import InvalidValueError
from livedb.files.aside import Aside
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


class Doing:
    """Work that waits until it may go on, as a slow disk does."""

    def __init__(self):
        self.done, self.may_go_on = [], threading.Event()

    def do(self, what):
        assert what == "first" or self.may_go_on.wait(30)
        self.done.append((what, threading.current_thread().name))
        if what == "wrong":
            raise ValueError("wrong")


def test_the_first_thing_is_done_at_once_and_the_others_beside_one_after_the_other():
    doing = Doing()
    with closing(Aside("beside")) as aside:
        aside.begin(doing.do, "first")
        assert doing.done == [("first", threading.current_thread().name)]
        aside.begin(doing.do, "second")
        assert len(doing.done) == 1  # it waits, and we do not
        doing.may_go_on.set()
        aside.begin(doing.do, "third")
        assert doing.done[1] == ("second", "beside_0")
        aside.wait()
        assert doing.done[2] == ("third", "beside_0")


def test_what_a_thing_raises_comes_with_the_next_one_which_is_not_begun():
    doing = Doing()
    doing.may_go_on.set()
    with closing(Aside("beside")) as aside:
        for what in ("first", "wrong"):
            aside.begin(doing.do, what)
        with pytest.raises(ValueError, match="wrong"):
            aside.begin(doing.do, "after it")
        with pytest.raises(ValueError, match="wrong"):
            aside.wait()
        assert [what for what, _ in doing.done] == ["first", "wrong"]
