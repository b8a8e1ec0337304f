"""What every commit log promises, tried on each of them."""

from __future__ import annotations

import threading

import pytest

from livedb.clock import ManualClock
from livedb.commitlog.chain import EMPTY_CHAIN, next_chain
from livedb.commitlog.contract import CommitLog, Head
from livedb.commitlog.memory import MemoryCommitLog
from livedb.commitlog.sqlite import SqliteCommitLog
from livedb.errors import ClosedError, DuplicateMutationError, LoadError, SnapshotTooOldError
from tests.commitlog.samples import commit, commits, identified


@pytest.fixture(params=["sqlite", "memory"])
def log(request, tmp_path):
    log: CommitLog
    if request.param == "sqlite":
        log = SqliteCommitLog(tmp_path / "log", clock=ManualClock())
    else:
        log = MemoryCommitLog()
    yield log
    log.close()


def test_an_empty_log_ends_at_number_0_with_the_empty_chain(log):
    assert log.head == Head(number=0, ts=0, chain=EMPTY_CHAIN)
    assert log.chain_at(0) == EMPTY_CHAIN
    assert list(log.read(after=0)) == []


def test_what_is_appended_is_read_back_exactly_and_in_order(log):
    log.append(commits(1, 3))
    log.append(commits(4, 700))  # More than one block.
    assert list(log.read(after=0)) == commits(1, 700)
    assert list(log.read(after=5, until=9)) == commits(6, 9)
    assert list(log.read(after=698, until=10_000)) == commits(699, 700)
    assert list(log.read(after=700)) == []


def test_the_chain_is_the_running_hash_of_all_commits_however_they_were_batched(log):
    chain = EMPTY_CHAIN
    chains = [chain := next_chain(chain, one) for one in commits(1, 9)]
    log.append(commits(1, 1))
    assert log.head.chain == chains[0]
    log.append(commits(2, 9))
    assert log.head == Head(number=9, ts=9_000, chain=chains[8])
    assert [log.chain_at(number) for number in range(1, 10)] == chains
    assert log.chain_at(10) is None
    log.append([])
    assert log.head.chain == chains[8]


def test_a_commit_out_of_order_is_refused_and_nothing_is_appended(log):
    log.append(commits(1, 2))
    with pytest.raises(AssertionError):
        log.append([commit(3), commit(5)])
    with pytest.raises(AssertionError):
        log.append([commit(3), commit(4)._replace(ts=3_000)])
    with pytest.raises(AssertionError):
        log.append([commit(2)])
    assert list(log.read(after=0)) == commits(1, 2)
    log.append(commits(3, 4))
    assert log.head.number == 4


def test_a_mutation_id_finds_its_commit(log):
    log.append(commits(1, 20))
    assert log.find("session-1:7") == identified(7)
    assert log.find("session-1:8") is None
    assert log.find("") is None


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_second_commit_with_one_mutation_id_takes_its_whole_batch_with_it(log, position):
    log.append([identified(1)])
    batch = commits(2, 4)
    batch[position] = batch[position]._replace(mutation_id=identified(1).mutation_id)
    with pytest.raises(DuplicateMutationError):
        log.append(batch)
    assert log.head.number == 1
    log.append(commits(2, 4))
    assert list(log.read(after=0)) == commits(1, 4)


def test_one_mutation_id_twice_in_one_batch_is_refused(log):
    with pytest.raises(DuplicateMutationError):
        log.append([identified(1), identified(2)._replace(mutation_id=identified(1).mutation_id)])
    assert log.head.number == 0
    assert log.find("session-1:1") is None


def test_truncation_stops_at_its_number_and_at_its_ts(log):
    log.append(commits(1, 20))
    chain = log.chain_at(8)
    assert log.truncate(until=0, before_ts=10**9) == 0
    assert log.truncate(until=20, before_ts=6_000) == 5
    assert log.truncate(until=8, before_ts=10**9) == 3
    assert list(log.read(after=8)) == commits(9, 20)
    assert log.chain_at(8) == chain
    assert log.chain_at(7) is None


def test_a_truncated_commit_is_neither_read_nor_found(log):
    log.append(commits(1, 20))
    log.truncate(until=8, before_ts=10**9)
    with pytest.raises(SnapshotTooOldError, match="8"):
        list(log.read(after=7))
    assert log.find("session-1:7") is None
    assert log.find("session-0:9") == identified(9)
    log.append([identified(21), commit(22, mutation_id="session-1:7")])  # Forgotten, so free.


def test_a_log_truncated_to_nothing_goes_on_from_its_head(log):
    log.append(commits(1, 5))
    head = log.head
    assert log.truncate(until=100, before_ts=10**9) == 5
    assert log.head == head
    assert list(log.read(after=5)) == []
    log.append(commits(6, 6))
    assert log.head.chain == next_chain(head.chain, commits(6, 6)[0])
    assert list(log.read(after=5)) == commits(6, 6)


def test_a_backup_opens_by_itself_and_agrees(log, tmp_path):
    log.append(commits(1, 30))
    log.truncate(until=10, before_ts=10**9)
    log.backup(str(tmp_path / "copy"))
    log.append(commits(31, 32))  # The copy must not follow.
    copy = SqliteCommitLog(tmp_path / "copy", clock=ManualClock())
    try:
        assert copy.head == Head(number=30, ts=30_000, chain=log.chain_at(30))
        assert list(copy.read(after=10)) == commits(11, 30)
        assert copy.find("session-1:13") == identified(13)
        copy.append(commits(31, 32))
        assert copy.head == log.head
    finally:
        copy.close()


def test_a_backup_never_overwrites(log, tmp_path):
    (tmp_path / "copy").write_bytes(b"mine")
    with pytest.raises(LoadError):
        log.backup(str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"mine"


def test_a_closed_log_says_so_and_closes_again(log):
    log.append(commits(1, 2))
    log.close()
    log.close()
    for call in (
        lambda: log.append(commits(3, 3)),
        lambda: list(log.read(after=0)),
        lambda: log.find("session-1:1"),
        lambda: log.chain_at(1),
        lambda: log.truncate(until=1, before_ts=10**9),
    ):
        with pytest.raises(ClosedError):
            call()


def test_readers_see_only_whole_appends_while_one_is_under_way(log):
    seen, errors, is_done = [], [], threading.Event()

    def read() -> None:
        try:
            while not is_done.is_set():
                found = list(log.read(after=0))
                seen.append(len(found))
                assert found == everything[: len(found)]
                assert len(found) % 10 == 0
        except BaseException as error:  # noqa: BLE001 - reported by the main thread.
            errors.append(error)

    everything = commits(1, 600)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for start in range(0, 600, 10):
        log.append(everything[start : start + 10])
    is_done.set()
    for reader in readers:
        reader.join(30)
    assert errors == []
    assert seen


def test_a_log_knows_the_timestamps_of_its_commits_and_no_others(log):
    assert log.holds(0)
    assert not log.holds(1_000)
    log.append(commits(1, 700))
    assert all(log.holds(each.ts) for each in commits(1, 700))
    assert not any(log.holds(ts) for ts in (999, 1_001, 350_500, 700_001))
    log.truncate(until=300, before_ts=200_500)
    assert log.holds(0)
    assert log.holds(1_000)  # was here, and nothing says otherwise
    assert log.holds(200_000)
    assert log.holds(201_000)
    assert not log.holds(201_001)


def test_a_log_in_memory_tells_that_what_came_before_it_was_never_there():
    log = MemoryCommitLog()
    log.append([commit(1)._replace(ts=5_000), commit(2)._replace(ts=6_000)])
    log.truncate(until=1, before_ts=5_500)
    assert log.holds(5_000)
    assert not log.holds(4_000)


def test_a_time_names_the_last_commit_until_then_and_a_commit_its_time(log):
    assert log.number_at(5) == 0
    assert log.ts_of(0) == 0
    log.append(commits(1, 700))
    for ts, number in ((0, 0), (999, 0), (1_000, 1), (1_999, 1), (350_000, 350), (10**9, 700)):
        assert log.number_at(ts) == number
    assert [log.ts_of(number) for number in (1, 350, 700)] == [1_000, 350_000, 700_000]
    assert log.ts_of(701) is None
    log.truncate(until=200, before_ts=10**9)
    assert log.number_at(199_999) is None
    assert log.number_at(200_000) == 200
    assert log.number_at(200_999) == 200
    assert log.number_at(201_000) == 201
    assert [log.ts_of(number) for number in (199, 200, 201)] == [None, 200_000, 201_000]
