"""The write log: dense, covering what somebody may still ask for."""

from __future__ import annotations

from livedb.transactions.reads import ReadSet, WriteSet
from livedb.transactions.write_log import WriteLog


def change(name):
    return WriteSet((), frozenset([name]), frozenset())


def reads(*names):
    made = ReadSet()
    made.names.update(names)
    return made


def filled():
    log = WriteLog(10)
    for name in "abcd":
        log.append(change(name))
    return log


def test_the_first_conflict_above_a_number_is_found():
    log = filled()
    assert log.last == 14
    assert log.first_conflict(reads("c", "b"), after=10)[0] == 12
    assert log.first_conflict(reads("c", "b"), after=12)[0] == 13
    assert log.first_conflict(reads("c", "b"), after=13) is None
    assert log.first_conflict(reads("d"), after=10, until=13) is None
    assert log.first_conflict(reads("z"), after=10) is None
    assert log.first_conflict(reads("d"), after=10, until=99)[0] == 14


def test_undo_takes_the_newest_and_numbers_go_on():
    log = filled()
    log.undo(12)
    assert log.last == 12
    assert log.first_conflict(reads("c"), after=10) is None
    log.append(change("new"))
    assert log.first_conflict(reads("new"), after=12)[0] == 13
    log.undo(99)
    assert log.last == 13


def test_release_takes_the_oldest():
    log = filled()
    assert log.covers(10)
    log.release(12)
    assert not log.covers(10)
    assert not log.covers(11)
    assert log.covers(12)
    assert log.first_conflict(reads("d"), after=12)[0] == 14
    log.release(99)
    assert log.last == 14
    assert log.covers(14)
    log.append(change("e"))
    assert log.last == 15
