"""Rows that arrive: each part once, each load once, and nothing kept of who stays silent."""

from __future__ import annotations

import pytest

from livedb.clock import ManualClock
from livedb.errors import DisconnectedError, LimitError
from livedb.service import uploads
from livedb.service.uploads import IDLE_S_MAX, UPLOADS_MAX, Uploads


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def arriving(clock):
    kept = Uploads(clock)
    yield kept
    kept.close()


def loaded(file):
    return len(file.read()), 7


def test_a_part_that_comes_twice_is_taken_once(arriving):
    assert arriving.add("a", 0, [b"one"]) == 1
    assert arriving.add("a", 0, [b"one"]) == 1
    assert arriving.add("a", 1, [b"two", b"three"]) == 2
    assert arriving.load("a", loaded) == (11, 7)


def test_a_load_that_is_asked_for_twice_happens_once(arriving):
    arriving.add("a", 0, [b"one"])
    assert arriving.load("a", loaded) == (3, 7)
    assert arriving.load("a", lambda _: pytest.fail("a second time")) == (3, 7)


def test_a_load_that_fails_is_forgotten(arriving):
    arriving.add("a", 0, [b"one"])
    with pytest.raises(ZeroDivisionError):
        arriving.load("a", lambda _: 1 // 0)
    with pytest.raises(DisconnectedError, match="has forgotten this load"):
        arriving.load("a", loaded)


def test_parts_that_are_not_here_any_more_are_missed(arriving):
    with pytest.raises(DisconnectedError, match="has forgotten this load"):
        arriving.add("a", 1, [b"two"])
    arriving.add("b", 0, [b"one"])
    with pytest.raises(DisconnectedError, match="has forgotten this load"):
        arriving.add("b", 2, [b"three"])


def test_a_load_that_is_too_large_is_refused_and_forgotten(arriving, monkeypatch):
    monkeypatch.setattr(uploads, "UPLOAD_BYTES_MAX", 5)
    arriving.add("a", 0, [b"one"])
    with pytest.raises(LimitError, match="larger than the 5 bytes") as caught:
        arriving.add("a", 1, [b"two"])
    assert caught.value.code == "UploadTooLarge"
    assert len(arriving) == 0


def test_only_so_many_arrive_at_once_and_the_silent_make_room(arriving, clock):
    for n in range(UPLOADS_MAX):
        arriving.add(str(n), 0, [b"x"])
    with pytest.raises(LimitError, match="are arriving already"):
        arriving.add("more", 0, [b"x"])
    clock.advance(IDLE_S_MAX + 1)
    arriving.add("more", 0, [b"x"])
    assert len(arriving) == 1


def test_a_load_that_is_done_is_in_nobodys_way(arriving):
    for n in range(UPLOADS_MAX + 1):
        arriving.add(str(n), 0, [b"x"])
        arriving.load(str(n), loaded)
