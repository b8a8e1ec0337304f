"""The contents of files: never a document without one, orphans go, damage is found, copies keep."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

import livedb
from livedb.errors import DamagedError, LivedbError, LogError
from livedb.functions.storage import LIST_CONTENTS
from livedb.repairing import check_workspace
from livedb.testing import workspace
from livedb.transfer import export_snapshot

TEXT = b"what a file holds"


def storage(db):
    return db.backend.workspace.file_storage


def contents(db):
    return sorted(db.backend.workspace.files.files.iterdir())


def read(db, file):
    with db.files.open(file) as opened:
        return opened.read()


def content_of(db, file):
    page, _ = storage(db)._page(LIST_CONTENTS, None)
    [found] = [each for each in page if each["_id"] == file]
    assert found["_id"] == file
    return storage(db).contents.place.path(found["name"])


def test_orphans_are_collected_and_contents_of_files_are_not(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        folder = db.backend.workspace.files.files
        for name in ("left", "unfinished.part"):
            (folder / name).write_bytes(TEXT)
        file = db.files.put(TEXT)
        assert storage(db).collect() == 2
        assert storage(db).collect() == 0
        assert [read(db, file)] == [TEXT]
        db.files.delete(file)
        assert storage(db).collect() == 1
        assert contents(db) == []


def test_orphans_go_by_themselves_when_a_workspace_is_opened(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db.files.put(TEXT)
    (tmp_path / "w/files/left.part").write_bytes(TEXT)
    with livedb.open(tmp_path / "w") as db:
        while len(contents(db)) > 1:
            pass
        assert [each["size"] for each in db.files] == [len(TEXT)]


def test_what_is_under_way_is_no_orphan(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        with storage(db).incoming() as incoming:
            incoming.write(TEXT)
            assert storage(db).collect() == 0
            content = incoming.finish()
            assert storage(db).collect() == 0
            file = storage(db).keep(content)
        assert storage(db).collect() == 0
        assert read(db, file) == TEXT


def test_there_are_no_orphans_in_a_folder_that_was_deleted(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        shutil.rmtree(storage(db).contents.place.folder)
        assert storage(db).collect() == 0


def test_collecting_beside_uploads_and_deletions_takes_nothing_that_is_named():
    with livedb.open() as db:
        done = threading.Event()

        def collect():
            while not done.is_set():
                storage(db).collect()

        collecting = threading.Thread(target=collect)
        collecting.start()
        try:
            for number in range(150):
                file = db.files.put(str(number).encode())
                assert read(db, file) == str(number).encode()
                if number % 3:
                    db.files.delete(file)
        finally:
            done.set()
            collecting.join()
        storage(db).collect()
        assert [wrong for _, wrong in storage(db).damage()] == [None] * 50
        assert len(contents(db)) == 50


def test_a_commit_of_which_nobody_knows_keeps_its_content():
    with livedb.open() as db:

        def keep(_):
            raise LogError("the log broke under it", code="LogUnknown")

        with pytest.raises(LogError):
            storage(db).store(TEXT, keep)
        assert storage(db).collect() == 0
        assert [each.read_bytes() for each in contents(db)] == [TEXT]


def test_a_commit_that_the_log_refused_leaves_no_content():
    with workspace() as trial:
        with trial.failing_log(), pytest.raises(LogError):
            trial.db.files.put(TEXT)
        assert contents(trial.db) == []
        trial.db.files.put(TEXT)


def test_a_refused_document_leaves_no_content():
    with livedb.open() as db:
        with pytest.raises(LivedbError), storage(db).incoming() as incoming:
            storage(db).keep(incoming.finish(), None, "no token")
        assert contents(db) == []


KILLED = """
    import os, sys
    import livedb
    from livedb.files import contents

    db = livedb.open(sys.argv[1])
    print("open", flush=True)
    step = sys.argv[2]
    write, finish = contents.Incoming.write, contents.Incoming.finish

    def killed_writing(self, piece):
        write(self, piece)
        self._sink._file.flush()
        os.kill(os.getpid(), 9)

    def killed_finished(self, *args):
        finish(self, *args)
        os.kill(os.getpid(), 9)

    if step == "write":
        contents.Incoming.write = killed_writing
    if step == "finish":
        contents.Incoming.finish = killed_finished
    db.files.put(b"what a file holds")
    if step == "put":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("step, files", [("write", 0), ("finish", 0), ("put", 1)])
def test_killed_at_a_step_of_an_upload_the_file_is_there_whole_or_not_at_all(tmp_path, step, files):
    script = textwrap.dedent(KILLED)
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "w"), step],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list((tmp_path / "w/files").iterdir())) == 1
    with livedb.open(tmp_path / "w") as db:
        assert [read(db, each["_id"]) for each in db.files] == [TEXT] * files
        storage(db).collect()
        assert len(contents(db)) == files
        check_workspace(db.backend.workspace)


def test_a_backup_has_the_files(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        file = db.files.put(TEXT)
        db.backup(tmp_path / "copy")
        db.files.delete(file)
        storage(db).collect()
    with livedb.open(tmp_path / "copy") as copy:
        assert read(copy, file) == TEXT
        assert check_workspace(copy.backend.workspace).files == 1


def test_a_backup_of_a_service_has_the_files(tmp_path):
    with livedb.open(tmp_path / "w") as db, db.serve() as served:
        file = db.files.put(TEXT)
        with livedb.connect(db.invite(name="ada", role="owner").url) as other:
            other.backup(tmp_path / "copy")
        assert served is not None
    with livedb.open(tmp_path / "copy") as copy:
        assert read(copy, file) == TEXT


def spoil(path, how):
    if how == "missing":
        path.unlink()
    elif how == "shorter":
        path.write_bytes(TEXT[:-1])
    else:
        path.write_bytes(TEXT[::-1])


DAMAGE = [("missing", "missing"), ("shorter", "16 bytes instead of 17"), ("other", "not what was")]


@pytest.mark.parametrize("how, said", DAMAGE)
def test_a_check_and_a_repair_name_damaged_contents(tmp_path, how, said):
    with livedb.open(tmp_path / "w") as db:
        file = db.files.put(TEXT)
        spoil(content_of(db, file), how)
        with pytest.raises(DamagedError, match=f"{file}.*{said}"):
            check_workspace(db.backend.workspace)
    report = livedb.repair(tmp_path / "w")
    assert report.lost == 0
    assert not report.is_sound
    assert not report.is_whole
    assert "repaired" not in str(report)
    assert file in report.lost_files[0]
    assert said in report.lost_files[0]


@pytest.mark.parametrize("how, said", DAMAGE)
def test_an_export_names_every_damaged_content_and_leaves_no_zip(tmp_path, how, said):
    with livedb.open() as db:
        files = [db.files.put(TEXT) for _ in range(3)]
        for file in files[:2]:
            spoil(content_of(db, file), how)
        with pytest.raises(DamagedError, match=said) as raised:
            export_snapshot(db.backend.workspace, tmp_path / "out.zip")
        assert [file in raised.value.message for file in files] == [True, True, False]
        assert list(tmp_path.iterdir()) == []
        for file in files[:2]:
            db.files.delete(file)
        export_snapshot(db.backend.workspace, tmp_path / "out.zip")


def test_a_lost_content_hides_no_orphan(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        lost, kept = db.files.put(TEXT), db.files.put(TEXT)
        content_of(db, lost).unlink()
        orphan = tmp_path / "w" / "files" / "orphan"
        orphan.write_bytes(TEXT)
        assert storage(db).collect() == 1
        assert not orphan.exists()
        assert read(db, kept) == TEXT


def test_orphans_are_looked_for_again_only_when_something_changed():
    with livedb.open() as db:
        first, second = db.files.put(TEXT), db.files.put(TEXT)
        storage(db).collect()
        before = db.backend.workspace.calling.runs["_system/storage:known"].runs
        storage(db).collect()
        assert db.backend.workspace.calling.runs["_system/storage:known"].runs == before
        db.files.delete(first)
        assert storage(db).collect() == 1
        assert read(db, second) == TEXT


def test_reading_a_missing_content_says_so_and_what_to_do():
    with livedb.open() as db:
        file = db.files.put(TEXT)
        content_of(db, file).unlink()
        with pytest.raises(DamagedError, match="backup"):
            db.files.open(file)


def test_a_repair_that_loses_commits_keeps_the_contents_they_named(tmp_path):
    with livedb.open(tmp_path / "w") as db:
        db.files.put(TEXT)
    for name in ("log", "log-wal", "log.head"):
        (tmp_path / "w" / name).unlink(missing_ok=True)
    report = livedb.repair(tmp_path / "w")
    assert [each.read_bytes() for each in (report.backup / "files").iterdir()] == [TEXT]
