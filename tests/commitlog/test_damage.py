"""Damaged files: a clear refusal or an exact beginning, never other commits than the appended."""

from __future__ import annotations

import random
import shutil

import pytest

from livedb.clock import ManualClock
from livedb.commitlog import sqlite_file
from livedb.commitlog.head import HeadFile, read_mark
from livedb.commitlog.repair import check_log, repair_log
from livedb.commitlog.sqlite import SqliteCommitLog
from livedb.errors import DamagedError, FormatError
from tests.commitlog.samples import PARTS, commits, copy_log, leave_log

COUNT = 40
FRAME_BYTES = 4096 + 24


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A log whose process was killed after `COUNT` appends: all of them are in the -wal."""
    path = tmp_path_factory.mktemp("killed") / "log"
    leave_log(path, COUNT)
    return path


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory):
    """A log whose commits are half in the database and half in the -wal."""
    folder = tmp_path_factory.mktemp("checkpointed")
    leave_log(folder / "log", COUNT)
    SqliteCommitLog(folder / "log", clock=ManualClock()).close()
    leave_log_further(folder / "log")
    return folder / "log"


def leave_log_further(path):
    """Append `COUNT` commits more, then leave the files as a killed process does."""
    log = SqliteCommitLog(path, clock=ManualClock())
    for number in range(COUNT + 1, 2 * COUNT + 1):
        log.append(commits(number, number))
    copy = copy_log(path, path.with_name("left"))  # The head's lock is flock: not dropped by this.
    log.close()
    for part in PARTS:
        shutil.move(copy.with_name(copy.name + part), path.with_name(path.name + part))


def part_of(path, part):
    return path.with_name(path.name + part)


def fingerprint(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def open_and_read(path):
    """The commits of the log, all or the exact beginning that came before the refusal."""
    found = []
    log = SqliteCommitLog(path, clock=ManualClock())
    try:
        found.extend(log.read(after=0))
    finally:
        log.close()
    return found


def refusal_or_commits(path):
    """The commits, or None for a refusal; whatever was handed out must be exact either way."""
    log, refusal = None, None
    found: list[object] = []
    try:
        log = SqliteCommitLog(path, clock=ManualClock())
        found.extend(log.read(after=0))
    except (DamagedError, FormatError) as error:
        refusal = str(error)
    finally:
        if log is not None:
            log.close()
    assert found == commits(1, len(found))
    assert refusal is None or str(path) in refusal
    return found if refusal is None else None


def test_a_log_left_by_a_killed_process_has_every_commit(killed, tmp_path):
    assert part_of(killed, "-wal").stat().st_size > COUNT * FRAME_BYTES
    assert check_log(killed).is_sound
    assert open_and_read(copy_log(killed, tmp_path / "log")) == commits(1, COUNT)


def test_a_deleted_wal_is_noticed_and_nothing_is_touched(killed, checkpointed, tmp_path):
    for source in (killed, checkpointed):
        path = copy_log(source, tmp_path / "log")
        part_of(path, "-wal").unlink()
        before = fingerprint(tmp_path)
        with pytest.raises(DamagedError, match=r"acknowledged.*livedb\.repair"):
            SqliteCommitLog(path, clock=ManualClock())
        assert fingerprint(tmp_path) == before


def test_a_deleted_head_or_database_is_noticed(killed, tmp_path):
    path = copy_log(killed, tmp_path / "log")
    part_of(path, ".head").unlink()
    with pytest.raises(DamagedError, match="head file is missing"):
        SqliteCommitLog(path, clock=ManualClock())
    copy_log(killed, path)
    path.unlink()
    with pytest.raises(DamagedError, match="it is gone"):
        SqliteCommitLog(path, clock=ManualClock())


def test_every_truncation_inside_the_last_commit_is_noticed_and_leaves_the_others(killed, tmp_path):
    """Every offset over the last commit's bytes, and 250 random ones over the whole -wal."""
    path = copy_log(killed, tmp_path / "log")
    wal = part_of(path, "-wal")
    content = wal.read_bytes()
    size = len(content)
    # Each commit's frames end with one that says so: its header holds the database's size.
    frames = range(32, size, FRAME_BYTES)
    ends = [f + FRAME_BYTES for f in frames if content[f + 4 : f + 8] != b"\0\0\0\0"]
    assert len(ends) == COUNT + 1, "one append is one transaction, after the one of the schema"
    last_start = ends[-2]
    offsets = list(range(last_start, size))
    offsets += random.Random(5).sample(range(last_start), 250)
    for offset in sorted(offsets, reverse=True):
        with wal.open("r+b") as file:
            file.truncate(offset)
        whole = max(0, sum(end <= offset for end in ends) - 1)
        with pytest.raises(DamagedError):
            SqliteCommitLog(path, clock=ManualClock())
        assert wal.stat().st_size == offset, "a refusal touches nothing"
        if offset % 16 == 0 or offset < last_start:
            report = check_log(path)
            assert (report.kept.number, report.lost) == (whole, COUNT - whole)


def test_a_truncation_that_loses_only_unacknowledged_commits_opens(killed, tmp_path):
    """The head was not yet written when the process died: the commit may be there or not."""
    path = copy_log(killed, tmp_path / "log")
    chain = check_log(path).kept.chain
    log = SqliteCommitLog(copy_log(killed, tmp_path / "whole"), clock=ManualClock())
    chains = [log.chain_at(number) for number in range(COUNT + 1)]
    log.close()
    assert chain == chains[COUNT]
    for acknowledged in (0, 17, COUNT - 1):
        copy_log(killed, path)
        HeadFile.create(part_of(path, ".head"), acknowledged, chains[acknowledged]).close()
        assert open_and_read(path) == commits(1, COUNT)
    copy_log(killed, path)
    HeadFile.create(part_of(path, ".head"), COUNT - 1, chains[COUNT - 1]).close()
    with part_of(path, "-wal").open("r+b") as file:
        file.truncate(part_of(killed, "-wal").stat().st_size - 1)
    assert open_and_read(path) == commits(1, COUNT - 1)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("source", ["killed", "checkpointed"])
def test_a_flipped_bit_never_gives_wrong_commits(part, source, tmp_path, request):
    original = request.getfixturevalue(source)
    count = COUNT if source == "killed" else 2 * COUNT
    generator = random.Random(f"{part}{source}")
    content = part_of(original, part).read_bytes()
    refused = 0
    for _ in range(60):
        path = copy_log(original, tmp_path / "log")
        flipped = bytearray(content)
        bit = generator.randrange(len(content) * 8)
        flipped[bit // 8] ^= 1 << (bit % 8)
        part_of(path, part).write_bytes(flipped)
        found = refusal_or_commits(path)
        # Shorter than what was acknowledged must be a refusal; longer cannot be.
        assert found is None or found == commits(1, count), f"bit {bit}"
        refused += found is None
    # A killed log's database is one page, which its -wal replaces.
    assert refused > 0 or part == ".head" or (part == "" and source == "killed")


def test_every_byte_of_the_head_file_may_be_wrong(killed, tmp_path):
    path = copy_log(killed, tmp_path / "log")
    head = part_of(path, ".head")
    content = head.read_bytes()
    for position in [*range(80), *range(4096, 4096 + 80)]:
        flipped = bytearray(content)
        if position < len(flipped):
            flipped[position] ^= 0xFF
        head.write_bytes(flipped)
        mark = read_mark(head)
        assert mark is None or mark.number <= COUNT
        assert check_log(path).kept.number == COUNT
    head.write_bytes(b"")
    with pytest.raises(DamagedError, match="head file"):
        SqliteCommitLog(path, clock=ManualClock())


def test_the_head_or_the_wal_of_another_log_is_noticed(killed, tmp_path):
    other = SqliteCommitLog(tmp_path / "other", clock=ManualClock())
    strange = [commit._replace(author="eve") for commit in commits(1, COUNT + 3)]
    other.append(strange)
    other.close()
    path = copy_log(killed, tmp_path / "log")
    shutil.copy(part_of(tmp_path / "other", ".head"), part_of(path, ".head"))
    with pytest.raises(DamagedError):
        SqliteCommitLog(path, clock=ManualClock())
    shutil.copy(part_of(killed, ".head"), part_of(path, ".head"))
    shutil.copy(tmp_path / "other", path)
    part_of(path, "-wal").unlink()
    with pytest.raises(DamagedError, match="not the acknowledged ones"):
        SqliteCommitLog(path, clock=ManualClock())
    shutil.copy(part_of(killed, "-wal"), part_of(path, "-wal"))
    assert refusal_or_commits(path) in (None, commits(1, COUNT))  # The -wal has every page.


def change_stored(path, statement, *values):
    connection = sqlite_file.connect(path)
    connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE commits SET payload = x'00' WHERE number = 9",
        "UPDATE commits SET chain = 'text' WHERE number = 9",
        "UPDATE commits SET author = 7 WHERE number = 9",
        "UPDATE commits SET function = CAST(x'ff' AS TEXT) WHERE number = 9",
        "DELETE FROM commits WHERE number = 9",
        "UPDATE commits SET mutation_id = 'session-1:10' WHERE number = 9",
    ],
)
def test_a_changed_commit_is_refused_and_those_before_it_are_read(killed, tmp_path, statement):
    path = copy_log(killed, tmp_path / "log")
    change_stored(path, statement)
    log = SqliteCommitLog(path, clock=ManualClock())
    reading = log.read(after=0)
    assert [next(reading) for _ in range(8)] == commits(1, 8)
    with pytest.raises(DamagedError):
        next(reading)
    log.close()
    report = check_log(path)
    assert (report.kept.number, report.lost) == (8, COUNT - 8)


def test_a_retry_never_gets_a_result_that_was_changed(killed, tmp_path):
    path = copy_log(killed, tmp_path / "log")
    change_stored(path, "UPDATE commits SET result = x'00' WHERE number = 9")
    log = SqliteCommitLog(path, clock=ManualClock())
    with pytest.raises(DamagedError):
        log.find("session-0:9")
    log.close()


def test_a_log_with_a_planted_trigger_is_refused(killed, tmp_path):
    path = copy_log(killed, tmp_path / "log")
    change_stored(path, "CREATE TRIGGER t AFTER INSERT ON commits BEGIN DELETE FROM commits; END")
    with pytest.raises(DamagedError, match="tables"):
        SqliteCommitLog(path, clock=ManualClock())


def test_a_newer_format_is_refused_untouched(killed, tmp_path):
    path = copy_log(killed, tmp_path / "log")
    change_stored(path, "UPDATE meta SET format = 2")
    before = fingerprint(tmp_path)
    with pytest.raises(FormatError, match="newer livedb"):
        SqliteCommitLog(path, clock=ManualClock())
    with pytest.raises(FormatError, match="newer livedb"):
        repair_log(path)
    assert fingerprint(tmp_path) == before
