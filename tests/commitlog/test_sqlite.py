"""What only the SQLite log promises: files, locks, kills, full disks, forks."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from livedb.clock import ManualClock
from livedb.commitlog.contract import Head
from livedb.commitlog.head import read_mark
from livedb.commitlog.sqlite import HEAD_SYNC_S, SqliteCommitLog
from livedb.errors import (
    DamagedError,
    ForkedError,
    FormatError,
    LogError,
    SnapshotTooOldError,
    WorkspaceLockedError,
)
from tests.commitlog.samples import commit, commits

KILL_CYCLES = int(os.environ.get("LIVEDB_KILL_CYCLES", "30"))
"""How often the kill test kills; 300 is the figure of a release."""


def open_log(path):
    return SqliteCommitLog(path, clock=ManualClock())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def test_a_log_whose_files_were_deleted_takes_nothing_more(path):
    log = open_log(path)
    log.append(commits(1, 2))
    for file in path.parent.iterdir():
        file.unlink()
    for _ in range(2):
        with pytest.raises(LogError, match="was deleted while it was open") as refused:
            log.append(commits(3, 3))
        assert refused.value.code == "LogDeleted"
    assert log.head.number == 2
    assert list(log.read(after=0)) == commits(1, 2)
    log.close()
    assert list(path.parent.iterdir()) == []


def test_a_log_that_was_moved_with_its_folder_goes_on(tmp_path):
    (tmp_path / "here").mkdir()
    log = open_log(tmp_path / "here" / "log")
    (tmp_path / "here").rename(tmp_path / "there")
    log.append(commits(1, 2))
    log.close()
    moved = open_log(tmp_path / "there" / "log")
    assert list(moved.read(after=0)) == commits(1, 2)
    moved.close()


def test_a_log_goes_on_where_it_was_closed(path):
    log = open_log(path)
    log.append(commits(1, 5))
    head = log.head
    log.close()
    log = open_log(path)
    assert log.head == head
    log.append(commits(6, 9))
    log.truncate(until=3, before_ts=10**9)
    head = log.head
    log.close()
    log = open_log(path)
    assert log.head == head
    assert list(log.read(after=3)) == commits(4, 9)
    log.append(commits(10, 10))
    log.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["log", "log.head"]


def test_a_log_truncated_to_nothing_reopens_at_its_head(path):
    log = open_log(path)
    log.append(commits(1, 5))
    log.truncate(until=5, before_ts=10**9)
    head = log.head
    log.close()
    log = open_log(path)
    assert log.head == head == Head(number=5, ts=5_000, chain=log.chain_at(5))
    log.append(commits(6, 6))
    log.close()


def test_the_head_file_knows_an_append_before_it_returns(path):
    log = open_log(path)
    for number in range(1, 6):
        log.append(commits(number, number))
        assert read_mark(path.with_name("log.head")) == (number, log.head.chain)
    log.close()


def test_the_head_file_is_synced_once_a_second_and_at_close(path, monkeypatch):
    clock = ManualClock()
    log = SqliteCommitLog(path, clock=clock)
    syncs = []
    sync = log._head_file.sync
    monkeypatch.setattr(log._head_file, "sync", lambda: (syncs.append(log.head.number), sync()))
    for number in range(1, 7):
        log.append(commits(number, number))
        clock.advance(HEAD_SYNC_S / 2)
    assert syncs == [3, 5]
    log.close()
    assert syncs == [3, 5, 6]


def test_values_of_every_size_come_back(path):
    sizes = (0, 1, 4_000, 5_000, 100_000, 3 << 20)
    wanted = [commit(n, size=size) for n, size in enumerate(sizes, 1)]
    log = open_log(path)
    log.append(wanted)
    log.close()
    log = open_log(path)
    assert list(log.read(after=0)) == wanted
    log.close()


def test_a_reader_overtaken_by_a_truncation_is_told_so(path):
    log = open_log(path)
    log.append(commits(1, 600))
    reading = log.read(after=0)
    assert next(reading) == commits(1, 1)[0]
    log.truncate(until=400, before_ts=10**9)
    found = []
    with pytest.raises(SnapshotTooOldError):
        found.extend(reading)
    assert found == commits(2, 1 + len(found))
    log.close()


# Paths that are something else.


def test_another_kind_of_file_is_refused_untouched(path):
    for content in (b"dear diary", b"\0" * 10_000, b"PAR1", b""):
        path.write_bytes(content)
        with pytest.raises((FormatError, DamagedError), match="log"):
            open_log(path)
        assert path.read_bytes() == content
        assert [file.name for file in path.parent.iterdir()] == ["log"]


def test_a_database_of_another_program_is_refused_untouched(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE commits (number INTEGER PRIMARY KEY)")
    content = path.read_bytes()
    with pytest.raises(FormatError, match="not a livedb commit log"):
        open_log(path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["log"]


def test_a_folder_a_fifo_and_a_device_are_refused_at_once(path):
    path.mkdir()
    with pytest.raises(FormatError, match="not a regular file"):
        open_log(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(FormatError, match="not a regular file"):
        open_log(path)
    path.unlink()
    for device in ("/dev/zero", "/dev/null"):
        path.symlink_to(device)
        with pytest.raises(FormatError, match="not a regular file"):
            open_log(path)
        path.unlink()
    path.with_name("log.head").mkdir()
    with pytest.raises(FormatError, match="not a regular file"):
        open_log(path)


def test_a_missing_folder_is_a_clear_error(tmp_path):
    with pytest.raises(LogError, match="No such file"):
        open_log(tmp_path / "nowhere" / "log")


@pytest.mark.parametrize("left", ["head", "empty", "blank"])
def test_a_creation_cut_short_is_taken_up_again(path, left):
    open_log(path).close()
    path.unlink()
    if left == "empty":
        path.touch()
    if left == "blank":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    log = open_log(path)
    log.append(commits(1, 2))
    log.close()


# One owner.


def test_a_log_is_open_once_in_a_process(path, tmp_path):
    log = open_log(path)
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link", str(path)):
        with pytest.raises(WorkspaceLockedError):
            open_log(name)
    log.append(commits(1, 1))
    log.close()
    open_log(tmp_path / "link").close()


_OPENER = """
import sys
from livedb.clock import SystemClock
from livedb.commitlog.sqlite import SqliteCommitLog
from livedb.errors import WorkspaceLockedError
try:
    SqliteCommitLog(sys.argv[1], clock=SystemClock())
except WorkspaceLockedError:
    print("locked")
"""


def ask_opener(path):
    command = [sys.executable, "-c", _OPENER, str(path)]
    return subprocess.run(command, capture_output=True, check=False)


def test_a_log_is_open_in_one_process(path):
    log = open_log(path)
    log.append(commits(1, 1))
    assert ask_opener(path).stdout == b"locked\n"
    # Even with the head file gone, SQLite's own lock keeps the other process out.
    path.with_name("log.head").rename(path.with_name("hidden"))
    assert ask_opener(path).returncode != 0
    log.append(commits(2, 2))
    path.with_name("hidden").rename(path.with_name("log.head"))
    log.close()
    log = open_log(path)
    assert list(log.read(after=0)) == commits(1, 2)
    log.close()


def test_a_forked_child_cannot_use_or_spoil_the_log(path):
    log = open_log(path)
    log.append(commits(1, 20))
    with log._lock:  # As if another thread of the parent were appending.
        child = os.fork()
    if child == 0:
        status = 1
        try:
            for call in (
                lambda: log.append(commits(21, 21)),
                lambda: list(log.read(after=0)),
                lambda: log.find("x"),
            ):
                with pytest.raises(ForkedError):
                    call()
            log.close()
            del log
            gc.collect()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.with_name("log-wal").exists()
    with pytest.raises(WorkspaceLockedError):
        open_log(path)
    log.append(commits(21, 40))
    log.close()
    log = open_log(path)
    assert list(log.read(after=0)) == commits(1, 40)
    log.close()


# Kills.

_APPENDER = """
import sys
from livedb.clock import SystemClock
from livedb.commitlog.sqlite import SqliteCommitLog
from tests.commitlog.samples import commits
log = SqliteCommitLog(sys.argv[1], clock=SystemClock())
print("READY", flush=True)
number = log.head.number
while True:
    count = 1 + number % 7
    log.append(commits(number + 1, number + count))
    number += count
    print(number, flush=True)
"""


def test_a_killed_process_loses_no_acknowledged_commit_and_leaves_no_half_one(path):
    generator = random.Random(7)
    acknowledged = 0
    for cycle in range(KILL_CYCLES):
        child = subprocess.Popen(
            [sys.executable, "-c", _APPENDER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "READY\n"
        time.sleep(generator.random() * 0.08)
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().splitlines(keepends=True)
        child.wait()
        child.stdout.close()
        acknowledged = max([acknowledged, *(int(line) for line in lines if line.endswith("\n"))])
        log = open_log(path)
        kept = log.head.number
        assert kept >= acknowledged, f"cycle {cycle}"
        # Batches start at the kept number and have 1 + number % 7 commits: none was cut.
        assert list(log.read(after=0)) == commits(1, kept)
        assert kept in _batch_ends(kept)
        if cycle % 2:
            log.close()
        else:  # Also go on from a -wal that nobody folded in: the next child recovers it.
            log.append(commits(kept + 1, kept + 1 + kept % 7))
            log.close()
    assert acknowledged > KILL_CYCLES


def _batch_ends(last):
    number, ends = 0, {0}
    while number <= last:
        number += 1 + number % 7
        ends.add(number)
    return ends


# Failing disks.


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_until_refused(log, size):
    """Append commits of `size` bytes until one is refused; returns it and the error."""
    while True:
        number = log.head.number + 1
        try:
            log.append([commit(number, size=size)])
        except LogError as error:
            return [commit(number, size=size)], error


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_refuses_an_append_which_works_again_when_space_returns(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    log = open_log(small_disk / "log")
    refused, error = fill_until_refused(log, 30_000)
    assert error.code == "DiskFull"
    head = log.head
    assert head.number == refused[0].number - 1
    for _ in range(3):
        with pytest.raises(LogError):
            log.append(refused)
    wanted = [commit(number, size=30_000) for number in range(1, head.number + 1)]
    assert list(log.read(after=0)) == wanted
    assert log.head == head
    ballast.unlink()
    log.append(refused)
    log.close()
    log = open_log(small_disk / "log")
    assert list(log.read(after=0)) == wanted + refused
    log.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_full_from_the_start_or_for_a_backup_leaves_nothing(small_disk, tmp_path):
    log = open_log(tmp_path / "log")
    log.append([commit(number, size=100_000) for number in range(1, 60)])
    with pytest.raises(LogError) as caught:
        log.backup(str(small_disk / "copy"))
    assert caught.value.code == "DiskFull"
    assert list(small_disk.iterdir()) == []
    log.append([commit(60)])
    log.close()
    with contextlib.suppress(OSError):
        (small_disk / "ballast").write_bytes(bytes(4 << 20))
    with pytest.raises(LogError) as caught:
        open_log(small_disk / "log")
    assert caught.value.code == "DiskFull"
    (small_disk / "ballast").unlink()
    open_log(small_disk / "log").close()


def test_a_database_at_its_size_limit_refuses_the_whole_append(path):
    """SQLite's own answer to a full disk, where nothing can be mounted."""
    log = open_log(path)
    log.append(commits(1, 2))
    (pages,) = log._connection.execute("PRAGMA page_count").fetchone()
    log._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    batch = [commit(3, size=50), commit(4, size=50_000)]
    with pytest.raises(LogError) as caught:
        log.append(batch)
    assert caught.value.code == "DiskFull"
    assert caught.value.is_transient
    assert list(log.read(after=0)) == commits(1, 2)
    log._connection.execute(f"PRAGMA max_page_count = {pages + 1_000}")
    log.append(batch)
    assert list(log.read(after=2)) == batch
    log.close()


class FailingSync:
    """A connection whose appends write, but whose sync fails: the disk's answer, not ours."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *arguments):
        if statement.startswith("INSERT"):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return self._connection.execute(statement, *arguments)


def test_after_a_failed_sync_the_outcome_is_unknown_and_nothing_more_is_appended(path):
    log = open_log(path)
    log.append(commits(1, 3))
    connection = log._connection
    log._connection = FailingSync(connection)
    with pytest.raises(LogError) as caught:
        log.append(commits(4, 4))
    assert caught.value.code == "LogUnknown"
    log._connection = connection
    with pytest.raises(LogError) as caught:
        log.append(commits(4, 4))
    assert caught.value.code == "LogUnknown"
    assert list(log.read(after=0)) == commits(1, 3)
    log.close()
    log = open_log(path)
    log.append(commits(4, 4))
    log.close()


def test_an_interrupted_append_leaves_no_open_transaction(path):
    log = open_log(path)

    class Interrupting(list):
        def __iter__(self):
            yield super().__getitem__(0)
            raise KeyboardInterrupt

    rows = Interrupting([(*commit(1), b"chain")])
    with pytest.raises(KeyboardInterrupt):
        log._insert(rows)
    log.append(commits(1, 3))
    assert list(log.read(after=0)) == commits(1, 3)
    log.close()
