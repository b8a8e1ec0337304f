"""Damaged files: a clear refusal or an exact beginning, never wrong rows; `livedb.repair` opens."""

from __future__ import annotations

import logging
import random
import shutil
from itertools import pairwise

import pytest

import livedb
from livedb.errors import DamagedError, FormatError
from tests.faults.checks import check_agreement, workspace_of

STEPS = 60

logger = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def killed(zygote, tmp_path_factory):
    """A workspace whose process was killed: commits in the -wal, half of them folded."""
    path = tmp_path_factory.mktemp("killed") / "w"
    child = zygote.start("leave", path, STEPS)
    child.wait()
    assert child.lines()[-1] == "LEFT", child.lines()
    return path


@pytest.fixture
def workspace(killed, tmp_path):
    return shutil.copytree(killed, tmp_path / "w")


def rows(db):
    """[(n, whether the step after patched it)]; functions must see the same documents as SQL."""
    found = db.sql("select n, patched from items order by n").to_arrow().to_pylist()
    assert sorted(each["n"] for each in db["items"].collect()) == [each["n"] for each in found]
    return [(each["n"], each["patched"]) for each in found]


def check_prefix(db):
    """What is there is exactly what some first k steps made; returns k."""
    found = rows(db)
    k = len(found)
    assert found == [(n, n < k) for n in range(1, k + 1)]
    return k


def open_or_refusal(path):
    try:
        with livedb.open(path) as db:
            return check_prefix(db)
    except (DamagedError, FormatError):
        return None


def test_undamaged_it_opens_whole_and_repair_changes_nothing(workspace):
    report = livedb.repair(workspace)
    assert report.is_sound
    assert report.lost == 0
    assert "sound" in str(report)
    with livedb.open(workspace) as db:
        assert check_prefix(db) == STEPS
        check_agreement(db)


DAMAGES = {
    "wal gone": lambda w: (w / "log-wal").unlink(),
    "log gone": lambda w: (w / "log").unlink(),
    "head gone": lambda w: (w / "log.head").unlink(),
    "tables gone": lambda w: [each.unlink() for each in w.glob("tables.duckdb*")],
    "tables' wal gone": lambda w: [each.unlink() for each in w.glob("tables.duckdb.wal")],
    "tables cut": lambda w: cut(w / "tables.duckdb", 0.5),
    "tables emptied": lambda w: cut(w / "tables.duckdb", 0),
    "tables garbled": lambda w: (w / "tables.duckdb").write_bytes(b"no database" * 999),
    "wal cut": lambda w: cut(w / "log-wal", 0.6),
    "wal emptied": lambda w: cut(w / "log-wal", 0),
    "log garbled": lambda w: (w / "log").write_bytes(b"no database" * 999),
    "log and tables' wal gone": lambda w: [
        each.unlink() for each in (*w.glob("log*"), *w.glob("tables.duckdb.wal"))
    ],
    "mark gone": lambda w: (w / "workspace.json").unlink(),
    "mark garbled": lambda w: (w / "workspace.json").write_text("{"),
}


def cut(path, share):
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_refused_or_harmless_and_can_be_repaired(workspace, damage):
    DAMAGES[damage](workspace)
    before = open_or_refusal(shutil.copytree(workspace, workspace.with_name("tried")))
    assert before in (None, STEPS), "an acknowledged commit was lost in silence"
    report = livedb.repair(workspace)
    assert damage == "tables gone" or report.is_sound == (before is not None), str(report)
    with livedb.open(workspace) as db:
        k = check_prefix(db)
        assert report.kept == db.number
        assert report.lost is None or (report.lost > 0) == (k < STEPS)
        db["items"].insert({"n": k + 1, "patched": False})
    with livedb.open(workspace) as db:
        assert len(rows(db)) == k + 1
    if not report.is_sound and report.backup is not None:
        assert any(report.backup.iterdir())


@pytest.mark.parametrize("damage", ["log garbled", "tables garbled", "mark garbled", "mark gone"])
def test_a_garbled_file_is_refused_with_the_advice_to_repair(workspace, damage):
    DAMAGES[damage](workspace)
    part = damage.partition(" ")[0].replace("mark", "workspace.json")
    with pytest.raises(DamagedError, match=rf"{part}.*livedb\.repair\(path\)"):
        livedb.open(workspace)


def test_after_a_refused_open_a_repair_reports_the_same_loss(workspace):
    """An open that made an empty log in place of the lost one would hide the loss."""
    DAMAGES["log and tables' wal gone"](workspace)
    with pytest.raises(DamagedError, match=r"commit log of .* is gone"):
        livedb.open(workspace)
    report = livedb.repair(workspace)
    assert report.lost is None
    assert "an unknown number of acknowledged commits are lost" in str(report)


def test_tables_gone_and_a_log_that_no_longer_reaches_back_are_refused(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db["items"].insert([{"n": 1}, {"n": 2}])
        db.sql("from items")
        workspace_of(db).log.truncate(until=db.number, before_ts=2**62)
        db["items"].insert({"n": 3})
    DAMAGES["tables gone"](tmp_path / "w")
    with pytest.raises(DamagedError, match="repair"):
        livedb.open(tmp_path / "w")
    with pytest.raises(DamagedError, match="begins only after commit"):
        livedb.repair(tmp_path / "w")


def test_tables_gone_with_the_rows_of_a_folded_load_are_refused(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db.load("items", [{"n": 1}])
    livedb.open(tmp_path / "w").close()  # deletes the file of the load, whose rows are folded
    DAMAGES["tables gone"](tmp_path / "w")
    with pytest.raises(DamagedError, match="bulk load"):
        livedb.open(tmp_path / "w")
    with pytest.raises(DamagedError, match=r"cannot be repaired: .* 1 bulk loads"):
        livedb.repair(tmp_path / "w")


def flips(workspace, name, count, seed):
    rng = random.Random(seed)
    outcomes = {"refused": 0, "whole": 0, "repaired": 0, "beyond repair": 0}
    for _ in range(count):
        tried = shutil.copytree(workspace, workspace.with_name("tried"))
        content = bytearray((tried / name).read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tried / name).write_bytes(content)
        note_outcome(tried, outcomes)
        shutil.rmtree(tried)
    return outcomes


def note_outcome(tried, outcomes):
    kept = open_or_refusal(tried)
    assert kept in (None, STEPS), "an acknowledged commit was lost in silence"
    outcomes["refused" if kept is None else "whole"] += 1
    if kept is None:
        try:
            report = livedb.repair(tried)
        except DamagedError:
            outcomes["beyond repair"] += 1
        else:
            with livedb.open(tried) as db:
                k = check_prefix(db)
                assert report.kept == db.number
            assert report.lost is None or report.lost == STEPS - k, str(report)
            outcomes["repaired"] += 1


FILES = ["log", "log-wal", "log.head", "tables.duckdb", "tables.duckdb.wal"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_never_gives_wrong_rows(workspace, name):
    if not (workspace / name).exists():
        pytest.fail(f"the killed workspace has no {name}")
    flips(workspace, name, 4, seed=1)


@pytest.mark.oracle
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_many_flipped_bits_never_give_wrong_rows(workspace, name):
    outcomes = flips(workspace, name, 60, seed=2)
    logger.info("%s with a flipped bit: %s", name, outcomes)
    assert outcomes["refused"] + outcomes["whole"] == 60


BLOCK = 256 << 10
"""Of DuckDB's file, after three headers of 4 KiB; SQLite's pages and WAL frames are smaller."""


def offsets_of_each_class(size, rng):
    """Where a file may end: around headers, pages and blocks, in the middle, near its end."""
    edges = {0, 1, 16, 32, 100, 4096, 8192, 12288, size // 2, size - 4096, size - 512, size - 1}
    edges |= set(range(12288, size, BLOCK)) | {rng.randrange(size) for _ in range(4)}
    near = {edge + step for edge in edges for step in (-1, 0, 1)}
    return sorted(at for at in near if 0 <= at < size)


def truncations(workspace, name, offsets):
    """A cut file is refused or has lost nothing; repaired, it is an exact beginning."""
    outcomes = {"refused": 0, "whole": 0, "repaired": 0, "beyond repair": 0}
    for offset in offsets:
        tried = shutil.copytree(workspace, workspace.with_name("tried"))
        with (tried / name).open("r+b") as file:
            file.truncate(offset)
        note_outcome(tried, outcomes)
        shutil.rmtree(tried)
    return outcomes


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_never_gives_wrong_rows(workspace, name):
    rng = random.Random(3)
    offsets = offsets_of_each_class((workspace / name).stat().st_size, rng)
    truncations(workspace, name, rng.sample(offsets, min(4, len(offsets))))


@pytest.mark.oracle
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_at_each_class_of_offset_never_gives_wrong_rows(workspace, name):
    offsets = offsets_of_each_class((workspace / name).stat().st_size, random.Random(4))
    outcomes = truncations(workspace, name, offsets)
    logger.info("%s cut at %d offsets: %s", name, len(offsets), outcomes)
    assert outcomes["refused"] + outcomes["whole"] == len(offsets)


def test_a_workspace_that_cannot_be_put_together_is_refused_and_kept(workspace):
    for file in [*workspace.glob("log*"), *workspace.glob("tables*")]:
        file.write_bytes(b"\x00" * 100)
    with pytest.raises((DamagedError, FormatError)):
        livedb.repair(workspace)


def test_repair_refuses_what_is_open_newer_or_foreign(workspace, tmp_path):
    with livedb.open(workspace), pytest.raises(livedb.WorkspaceLockedError):
        livedb.repair(workspace)
    (workspace / "workspace.json").write_text('{"application": "livedb", "format": 999}')
    with pytest.raises(FormatError, match="newer"):
        livedb.repair(workspace)
    with pytest.raises(FormatError):
        livedb.repair(tmp_path)
    with pytest.raises(FormatError):
        livedb.repair(tmp_path / "nowhere")


def test_history_is_right_across_a_crash(zygote, tmp_path):
    child = zygote.start("leave_history", tmp_path / "w")
    child.wait()
    said = dict(line.split() for line in child.lines())
    with livedb.open(tmp_path / "w") as db:
        workspace = db.backend.workspace
        table = db.backend.catalog().get("items")
        with workspace.folder.snapshot() as snapshot:
            changed = snapshot.history(table.number, said["changed"])
            deleted = snapshot.history(table.number, said["deleted"])
            twice = snapshot.history(table.number, said["twice"])
    assert [version.document.text for version in changed] == [
        b'\x00{"n":%d}' % n for n in (1, 2, 3, 4)
    ]
    for before, after in pairwise(changed):
        assert before.valid_to == after.valid_from
    assert [version.document.text for version in deleted] == [b'\x00{"n":10}']
    assert deleted[0].valid_to is not None
    assert [version.document.text for version in twice] == [b'\x00{"n":20}', b'\x00{"n":21}']
