from __future__ import annotations

import pytest

from livedb.store.backlog import Backlog
from livedb.store.contract import StoredDocument, Write


def write(table: int, number: int) -> Write:
    return Write(table, f"id{number}", None, StoredDocument(1.0, b"\x00{}"))


@pytest.fixture
def backlog():
    backlog = Backlog(10)
    for number in range(11, 16):
        backlog.append(number, [write(number % 2, number), write(7, number)])
    yield backlog
    backlog._check()


def test_entries_are_above_one_number_up_to_another(backlog):
    assert [number for number, _ in backlog.entries(11, 14)] == [12, 13, 14]
    assert backlog.entries(15, 15) == []


def test_writes_of_a_table_come_in_commit_order(backlog):
    assert [number for number, _ in backlog.writes_of(1, 0)] == [11, 13, 15]
    assert [number for number, _ in backlog.writes_of(7, 13)] == [14, 15]


def test_a_fold_drops_its_commits(backlog):
    backlog.drop(13)
    assert len(backlog) == 2
    assert backlog.last == 15
    found = backlog.of_table(1)
    assert (found.dropped, found.last, [number for number, _ in found.writes]) == (13, 15, [15])


def test_undo_takes_back_the_newest_and_their_numbers_come_again(backlog):
    backlog.undo(12)
    assert backlog.last == 12
    backlog.append(13, [write(7, 99)])
    assert [found.id for _, found in backlog.writes_of(7, 12)] == ["id99"]


def test_what_is_folded_cannot_be_undone(backlog):
    backlog.drop(13)
    with pytest.raises(AssertionError, match="commit 13"):
        backlog.undo(12)
    backlog.undo(13)
    assert backlog.last == 13


def test_numbers_only_grow(backlog):
    with pytest.raises(AssertionError, match="after 15"):
        backlog.append(15, [])


class Walked(dict):
    """Counts how often somebody starts to walk over it."""

    walks = 0

    def __iter__(self):
        self.walks += 1
        return super().__iter__()


def test_dropping_walks_over_the_commits_once_however_many_go():
    # A dict walks over all that was deleted at its front: once for each would be quadratic.
    backlog = Backlog(0)
    backlog._commits = Walked()
    for number in range(1, 1001):
        backlog.append(number, ())
    backlog.drop(900)
    assert len(backlog) == 100
    assert backlog._commits.walks <= 1
