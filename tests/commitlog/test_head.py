from __future__ import annotations

import random

import pytest

from livedb.commitlog.head import HeadFile, HeadMark, read_mark
from livedb.errors import DamagedError, FormatError, WorkspaceLockedError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.head"


def chain(number):
    return number.to_bytes(16, "big")


def test_the_last_mark_is_read_back(path):
    head = HeadFile.create(path)
    assert head.read() == HeadMark(0, bytes(16))
    for number in (1, 2, 9, 10):
        head.write(number, chain(number))
        assert head.read() == read_mark(path) == HeadMark(number, chain(number))
    head.close()
    head.close()
    head = HeadFile(path)
    assert head.read() == HeadMark(10, chain(10))
    head.close()


def test_a_missing_file_is_not_made_by_opening(path):
    with pytest.raises(FileNotFoundError):
        HeadFile(path)
    assert read_mark(path) is None
    assert not path.exists()


def test_only_one_slot_is_ever_ahead_of_the_disk(path):
    """Whatever a power cut makes of what was written since the last sync, that mark survives."""
    generator = random.Random(3)
    head = HeadFile.create(path)
    synced = path.read_bytes()
    synced_number = 0
    for number in range(1, 200):
        head.write(number, chain(number))
        written = path.read_bytes()
        cut = generator.randrange(len(written) + 1)
        for torn in (written[:cut] + synced[cut:], synced[:cut] + written[cut:]):
            (path.parent / "torn").write_bytes(torn)
            mark = read_mark(path.parent / "torn")
            assert mark is not None
            assert mark.number >= synced_number
            assert mark.chain == chain(mark.number)
        if generator.random() < 0.3:
            head.sync()
            head.sync()
            synced, synced_number = path.read_bytes(), number
        if generator.random() < 0.1:
            head.close()
            head = HeadFile(path)  # Syncs what the last one left.
            synced, synced_number = path.read_bytes(), number
    head.close()


def test_one_spoilt_slot_leaves_the_other_and_two_are_damage(path):
    head = HeadFile.create(path)
    head.write(1, chain(1))
    head.sync()
    head.write(2, chain(2))
    head.close()
    content = bytearray(path.read_bytes())
    newest = content.index(chain(2))
    content[newest] ^= 1
    path.write_bytes(content)
    assert read_mark(path) == HeadMark(1, chain(1))
    content[content.index(chain(1)) + 15] ^= 4
    path.write_bytes(content)
    assert read_mark(path) is None
    with pytest.raises(DamagedError):
        HeadFile(path)


def test_it_is_open_once(path):
    head = HeadFile.create(path)
    with pytest.raises(WorkspaceLockedError):
        HeadFile(path)
    head.close()
    HeadFile(path).close()


def test_what_is_no_file_is_refused(path):
    path.mkdir()
    with pytest.raises(FormatError):
        HeadFile(path)
