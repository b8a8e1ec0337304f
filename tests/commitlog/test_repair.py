from __future__ import annotations

import shutil

import pytest

from livedb.clock import ManualClock
from livedb.commitlog import repair
from livedb.commitlog.repair import check_log, repair_log
from livedb.commitlog.sqlite import SqliteCommitLog
from livedb.errors import DamagedError, FormatError, WorkspaceLockedError
from tests.commitlog.samples import PARTS, commits, copy_log, leave_log
from tests.commitlog.test_damage import change_stored, fingerprint, part_of

COUNT = 20


@pytest.fixture
def path(tmp_path):
    leave_log(tmp_path / "log", COUNT)
    return tmp_path / "log"


def cut_wal(path):
    with part_of(path, "-wal").open("r+b") as file:
        file.truncate(part_of(path, "-wal").stat().st_size - 5_000)


def reopened(path):
    log = SqliteCommitLog(path, clock=ManualClock())
    found = list(log.read(after=log.head.number - len(list(log.read(after=0)))))
    log.close()
    return found


def test_a_sound_log_is_left_alone(path):
    before = fingerprint(path.parent)
    report = repair_log(path)
    assert report.is_sound
    assert (report.kept.number, report.lost, report.backup) == (COUNT, 0, None)
    assert fingerprint(path.parent) == before


def test_a_cut_log_is_backed_up_and_opens_with_its_exact_beginning(path):
    cut_wal(path)
    damaged = {part: part_of(path, part).read_bytes() for part in PARTS}
    report = repair_log(path)
    kept = report.kept.number
    assert 0 < kept < COUNT
    assert (report.acknowledged, report.lost) == (COUNT, COUNT - kept)
    assert f"{COUNT - kept} acknowledged commits after it are lost" in str(report)
    assert report.backup is not None
    assert {part: part_of(report.backup / "log", part).read_bytes() for part in PARTS} == damaged
    assert reopened(path) == commits(1, kept)
    assert check_log(path).is_sound


def test_a_repaired_log_goes_on_with_the_same_chain(path, tmp_path):
    whole = check_log(path).kept.chain
    cut_wal(path)
    kept = repair_log(path).kept.number
    log = SqliteCommitLog(path, clock=ManualClock())
    log.append(commits(kept + 1, COUNT))
    assert log.head.chain == whole
    assert log.find("session-1:7") is not None
    log.close()


def test_a_lost_head_file_is_made_anew_and_loses_nothing(path):
    part_of(path, ".head").unlink()
    report = repair_log(path)
    assert (report.kept.number, report.lost) == (COUNT, None)
    assert reopened(path) == commits(1, COUNT)
    part_of(path, ".head").write_bytes(b"\xff" * 100)
    assert repair_log(path).kept.number == COUNT
    assert reopened(path) == commits(1, COUNT)


def test_a_truncated_log_is_repaired_from_its_anchor(path):
    log = SqliteCommitLog(path, clock=ManualClock())
    log.truncate(until=5, before_ts=10**9)
    log.close()
    change_stored(path, "UPDATE commits SET payload = x'00' WHERE number = 12")
    report = repair_log(path)
    assert (report.anchor.number, report.kept.number) == (5, 11)
    log = SqliteCommitLog(path, clock=ManualClock())
    assert list(log.read(after=5)) == commits(6, 11)
    log.close()


def test_a_database_of_zeros_keeps_nothing_but_its_backup(path):
    SqliteCommitLog(path, clock=ManualClock()).close()  # Everything is in the database now.
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(len(content) - 100))
    report = repair_log(path)
    assert (report.kept.number, report.lost) == (0, COUNT)
    assert report.backup is not None
    assert reopened(path) == []


@pytest.mark.parametrize("step", range(3))
def test_a_repair_cut_short_anywhere_can_be_run_again(path, monkeypatch, step):
    """It stops before the old -wal goes, before the new head is there, before the last rename."""
    cut_wal(path)
    kept = check_log(path).kept.number
    broken = (repair.sync_folder, repair.HeadFile.create, repair.sync_folder)[step]
    calls = []

    class StopError(Exception):
        pass

    def stop(*arguments):
        calls.append(arguments)
        # sync_folder: twice for the backup, once before and once after the swap.
        if step == 1 or len(calls) == (3 if step == 0 else 4):
            raise StopError
        return broken(*arguments)

    with monkeypatch.context() as patch:
        if step == 1:
            patch.setattr(repair.HeadFile, "create", stop)
        else:
            patch.setattr(repair, "sync_folder", stop)
        with pytest.raises(StopError):
            repair_log(path)
    if step < 2:
        with pytest.raises(DamagedError, match="cut short"):
            SqliteCommitLog(path, clock=ManualClock())
    assert repair_log(path).kept.number == kept
    assert reopened(path) == commits(1, kept)


def test_an_open_log_is_not_repaired(path):
    log = SqliteCommitLog(path, clock=ManualClock())
    with pytest.raises(WorkspaceLockedError):
        repair_log(path)
    with pytest.raises(WorkspaceLockedError):
        check_log(path)
    log.close()


def test_what_is_no_log_is_not_repaired(tmp_path):
    with pytest.raises(FormatError):
        repair_log(tmp_path / "missing")
    (tmp_path / "text").write_text("dear diary")
    with pytest.raises(FormatError):
        repair_log(tmp_path / "text")
    assert (tmp_path / "text").read_text() == "dear diary"


def test_each_repair_has_a_backup_of_its_own(path, tmp_path):
    cut_wal(path)
    copy_log(path, tmp_path / "kept")
    first = repair_log(path).backup
    copy_log(tmp_path / "kept", path)
    second = repair_log(path).backup
    assert first != second
    shutil.rmtree(first)
    assert (second / "log-wal").exists()
