"""What a client fetches: made once, read by where a part begins, gone when nobody wants it."""

from __future__ import annotations

import pytest

from livedb.clock import ManualClock
from livedb.errors import DisconnectedError, LimitError
from livedb.service.downloads import DOWNLOADS_MAX, IDLE_S_MAX, Downloads


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def kept(clock, tmp_path):
    made = Downloads(tmp_path, clock)
    yield made
    made.close()
    assert list(tmp_path.iterdir()) == []


def write(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "b").write_bytes(b"bb")
    (folder / "a").write_bytes(b"aaa")
    return 7


def test_files_are_made_once_and_read_from_anywhere(kept):
    made = (7, [("a", 3), ("inner/b", 2)])
    assert kept.make("x", write) == made
    assert kept.make("x", lambda _: pytest.fail("a second time")) == made
    assert (kept.read("x", 0, 1), kept.read("x", 1, 0), kept.read("x", 0, 3)) == (b"aa", b"bb", b"")


def test_what_could_not_be_made_is_not_there(kept, tmp_path):
    with pytest.raises(ZeroDivisionError):
        kept.make("x", lambda folder: write(folder) // 0)
    assert list(tmp_path.iterdir()) == []
    assert kept.make("x", write)[0] == 7


@pytest.mark.parametrize("file", [-1, 2])
def test_what_is_not_here_says_so(kept, file):
    kept.make("x", write)
    for name, number in (("x", file), ("y", 0)):
        with pytest.raises(DisconnectedError, match="has forgotten"):
            kept.read(name, number, 0)
    kept.drop("x")
    kept.drop("x")
    with pytest.raises(DisconnectedError):
        kept.read("x", 0, 0)


def test_who_stays_silent_is_forgotten(kept, clock):
    kept.make("x", write)
    clock.advance(IDLE_S_MAX - 1)
    kept.read("x", 0, 0)
    clock.advance(IDLE_S_MAX - 1)
    kept.make("y", write)
    assert len(kept) == 2
    clock.advance(2)
    kept.make("z", write)
    assert len(kept) == 2


def test_only_so_many_are_kept_at_once(kept):
    for number in range(DOWNLOADS_MAX):
        kept.make(str(number), write)
    with pytest.raises(LimitError) as refused:
        kept.make("more", write)
    assert refused.value.code == "TooManyDownloads"
    kept.make("0", write)
