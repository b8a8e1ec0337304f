"""Workspaces whose files lie in an object store: chosen once, remembered, never damaged by it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request

import pytest

import livedb
from livedb.errors import DamagedError, FileError, InvalidValueError, WorkspaceError
from livedb.files import objects
from livedb.repairing import check_workspace
from livedb.service.hub import UPDATES_MAX
from livedb.transfer import export_snapshot, import_snapshot
from tests.files.small_s3 import BUCKET, SECRET, small_s3
from tests.files.small_s3 import serving as store_serving
from tests.files.stores import STORES
from tests.service.serving import ADMIN_KEY, serving

TEXT = b"what a file holds"
URL = f"s3://{BUCKET}/shop"


def storage(db):
    return db.backend.workspace.file_storage


def read(db, file):
    with db.files.open(file) as opened:
        return opened.read()


@pytest.fixture
def s3(monkeypatch):
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    with small_s3() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def hasty(monkeypatch):
    """A store that fails is not asked for long."""
    monkeypatch.setattr(objects, "_RETRIES", 0)
    monkeypatch.setattr(objects, "_BRIEF_RETRIES", 0)


# -- chosen and remembered -------------------------------------------------------------------------


def test_files_lie_in_the_store_that_was_named_and_it_is_remembered(tmp_path, s3):
    with livedb.open(tmp_path / "w", files=f"{URL}/") as db:
        assert s3.objects == {}
        file = db.files.put(TEXT)
        assert db.files.url(file) == f"s3://{BUCKET}/{next(iter(s3.objects))}"
        assert livedb.open(tmp_path / "w", files=URL) is db
    assert list((tmp_path / "w/files").iterdir()) == []
    assert list(s3.objects.values()) == [TEXT]
    with livedb.open(tmp_path / "w") as db:
        assert read(db, file) == TEXT
        db.files.put(b"another")
    with livedb.open(tmp_path / "w", files=URL) as db:
        assert len(list(db.files)) == len(s3.objects) == 2


@pytest.mark.parametrize("scheme", STORES)
def test_a_workspace_has_its_files_in_a_store_of_each_scheme(tmp_path, monkeypatch, scheme):
    large = bytes(range(256)) * 40_000
    with store_serving(STORES[scheme]()) as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        with livedb.open(tmp_path / "w", files=f"{scheme}://{BUCKET}/shop") as db:
            assert store.objects == {}
            kept, deleted = db.files.put(large), db.files.put(TEXT)
            db.files.delete(deleted)
            assert storage(db).collect() == 1
        assert list(store.objects.values()) == [large]
        with livedb.open(tmp_path / "w") as db:
            assert read(db, kept) == large
            db.backup(tmp_path / "copy")
        secret = SECRET.encode()
        files = [file.read_bytes() for file in (tmp_path / "w").rglob("*") if file.is_file()]
        assert secret not in b"".join(files)
    with livedb.open(tmp_path / "copy") as copy:
        assert read(copy, kept) == large


def test_the_workspace_has_no_credentials(tmp_path, s3):
    with livedb.open(tmp_path / "w", files=URL) as db:
        db.files.put(TEXT)
    secret = s3.environment["AWS_SECRET_ACCESS_KEY"].encode()
    kept = [file.read_bytes() for file in (tmp_path / "w").rglob("*") if file.is_file()]
    assert URL.encode() in b"".join(kept)
    assert secret not in b"".join(kept)


def test_another_store_than_the_remembered_one_is_refused(tmp_path, s3):
    with livedb.open(tmp_path / "w", files=URL) as db:
        with pytest.raises(WorkspaceError, match=r"shop.*other") as raised:
            livedb.open(tmp_path / "w", files=f"s3://{BUCKET}/other")
        assert raised.value.code == "OtherFiles"
        db.files.put(TEXT)
    with pytest.raises(WorkspaceError, match=r"shop.*other"):
        livedb.open(tmp_path / "w", files=f"s3://{BUCKET}/other")
    with livedb.open(tmp_path / "w") as db:
        assert [each["size"] for each in db.files] == [len(TEXT)]


def test_a_workspace_with_files_on_the_disk_keeps_them_there(tmp_path, s3):
    with livedb.open(tmp_path / "w") as db:
        with pytest.raises(WorkspaceError, match="on the disk"):
            livedb.open(tmp_path / "w", files=URL)
        file = db.files.put(TEXT)
    with pytest.raises(WorkspaceError, match="export"):
        livedb.open(tmp_path / "w", files=URL)
    with livedb.open(tmp_path / "w") as db:
        assert read(db, file) == TEXT
    assert s3.asked == []


def test_a_store_that_cannot_be_used_is_not_remembered(tmp_path, s3):
    s3.is_refusing_all = True
    with pytest.raises(FileError, match="credentials"):
        livedb.open(tmp_path / "w", files=URL)
    s3.is_refusing_all = False
    with pytest.raises(FileError, match="bucket"):
        livedb.open(tmp_path / "w", files="s3://another/shop")
    with livedb.open(tmp_path / "w") as db:
        file = db.files.put(TEXT)
        db.files.delete(file)
        storage(db).collect()
    with livedb.open(tmp_path / "w", files=URL) as db:
        db.files.put(TEXT)
    assert len(s3.objects) == 1


def test_a_workspace_in_memory_has_a_store_in_memory_and_no_other(tmp_path):
    with livedb.open(files="memory:///") as db:
        file = db.files.put(TEXT)
        assert read(db, file) == TEXT
        db.files.delete(file)
        assert storage(db).collect() == 1
    for path, url in [(tmp_path / "w", "memory:///"), (None, (tmp_path / "s").as_uri())]:
        with pytest.raises(InvalidValueError, match="in memory"):
            livedb.open(path, files=url)


def test_a_url_with_a_secret_is_refused_without_repeating_it(tmp_path):
    with pytest.raises(InvalidValueError) as raised:
        livedb.open(tmp_path / "w", files="s3://who:hunter2@bucket/x")
    assert "hunter2" not in str(raised.value)


def test_who_comes_to_an_open_workspace_cannot_choose(tmp_path):
    url = (tmp_path / "store").as_uri()
    with livedb.open(tmp_path / "w", files=url) as db, db.serve():
        script = f"""
            import livedb
            for files in ({url!r}, "s3://bucket/other"):
                with livedb.open({str(tmp_path / "w")!r}, files=files) as db:
                    print(db.files.put(b"x"))
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "OtherFiles" in done.stderr or "was asked for" in done.stderr
        assert read(db, done.stdout.strip()) == b"x"
    with pytest.raises(WorkspaceError, match="was asked for"):
        livedb.open(tmp_path / "w", shared=True, files="s3://bucket/other")


# -- what lies there -------------------------------------------------------------------------------


def test_orphans_are_collected_and_nothing_else_in_the_store(tmp_path):
    store = tmp_path / "store"
    with livedb.open(tmp_path / "w", files=store.as_uri()) as db:
        kept, deleted = db.files.put(TEXT), db.files.put(TEXT)
        (store / "somebody's.txt").write_bytes(TEXT)
        assert storage(db).collect() == 0
        with livedb.open(tmp_path / "other", files=store.as_uri()) as other:
            theirs = other.files.put(TEXT)
            db.files.delete(deleted)
            assert storage(db).collect() == 1
            assert storage(other).collect() == 0
            assert read(other, theirs) == TEXT
        assert read(db, kept) == TEXT
    assert len(list(store.iterdir())) == 3


KILLED = """
    import os, sys
    import livedb
    from livedb.files import contents

    step = sys.argv[3]
    write, finish = contents.Incoming.write, contents.Incoming.finish
    db = livedb.open(sys.argv[1], files=sys.argv[2])

    def killed_writing(self, piece):
        write(self, piece)
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
def test_killed_at_a_step_of_an_upload_the_file_is_there_whole_or_not_at_all(
    tmp_path, s3, step, files
):
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "w"), URL, step],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(s3.objects) == (0 if step == "write" else 1)
    with livedb.open(tmp_path / "w") as db:
        assert [read(db, each["_id"]) for each in db.files] == [TEXT] * files
        storage(db).collect()
        assert storage(db).contents.candidates() == storage(db).contents.place.names()
        assert len(s3.objects) == len(storage(db).contents.place.names()) == files
        check_workspace(db.backend.workspace)


def test_a_backup_has_the_contents_itself_and_leaves_the_store_alone(tmp_path, s3):
    with livedb.open(tmp_path / "w", files=URL) as db:
        file = db.files.put(TEXT)
        db.backup(tmp_path / "copy")
    s3.asked.clear()
    with livedb.open(tmp_path / "copy") as copy:
        assert read(copy, file) == TEXT
        assert check_workspace(copy.backend.workspace).files == 1
        copy.files.delete(file)
        storage(copy).collect()
    assert s3.asked == []
    assert list(s3.objects.values()) == [TEXT]


def test_an_export_moves_files_from_the_disk_to_a_store(tmp_path, s3):
    with livedb.open(tmp_path / "w") as db:
        file = db.files.put(TEXT)
        export_snapshot(db.backend.workspace, tmp_path / "out.zip")
    with livedb.open(tmp_path / "new", files=URL) as db:
        import_snapshot(db.backend.workspace, tmp_path / "out.zip")
        assert read(db, file) == TEXT
        export_snapshot(db.backend.workspace, tmp_path / "again.zip")
    assert list(s3.objects.values()) == [TEXT]


def test_uploads_and_downloads_over_http_go_through_the_store(tmp_path, s3):
    large = bytes(range(256)) * 40_000
    with livedb.open(tmp_path / "w", files=URL) as db:

        @db.mutation
        def upload_url(ctx):
            return ctx.storage.generate_upload_url()

        with serving(db):
            asked = urllib.request.Request(upload_url(), data=large, method="POST")
            with urllib.request.urlopen(asked) as answer:
                file = json.load(answer)["storageId"]
            assert list(s3.objects.values()) == [large]
            asked = urllib.request.Request(db.files.url(file), headers={"Range": "bytes=-300"})
            s3.asked.clear()
            with urllib.request.urlopen(asked) as answer:
                assert answer.read() == large[-300:]
            end = len(large)
            assert s3.asked[-1][2] == f"bytes={end - 300}-{end - 1}"
            with urllib.request.urlopen(db.files.url(file)) as answer:
                assert answer.read() == large
            s3.is_refusing_all = True
            for asked in (
                urllib.request.Request(db.files.url(file)),
                urllib.request.Request(upload_url(), data=TEXT, method="POST"),
            ):
                with pytest.raises(urllib.error.HTTPError) as raised:
                    urllib.request.urlopen(asked)
                with raised.value as refused:
                    assert refused.status == 503
                    said = json.load(refused)
                    assert said["code"] == "StoreFailed"
                    assert URL not in said["message"]


def test_downloads_that_wait_for_the_store_hold_up_nothing_else(tmp_path, s3):
    def fetch(url, fetched):
        with urllib.request.urlopen(url) as answer:
            fetched.append(answer.read())

    with livedb.open(tmp_path / "w", files=URL) as db, serving(db) as served:
        url, fetched = db.files.url(db.files.put(TEXT)), []

        @db.query
        def hello(ctx):
            return "hello"

        s3.may_answer.clear()
        threads = [
            threading.Thread(target=fetch, args=(url, fetched)) for _ in range(UPDATES_MAX + 1)
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            s3.waiting.acquire()
        asked = urllib.request.Request(
            f"{served.url}/api/query",
            json.dumps({"path": "hello", "args": {}, "format": "json"}).encode(),
            {"content-type": "application/json", "authorization": f"Convex {ADMIN_KEY}"},
        )
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer)["value"] == "hello"
        s3.may_answer.set()
        for thread in threads:
            thread.join()
        assert fetched == [TEXT] * len(threads)


# -- a store that fails ----------------------------------------------------------------------------


def test_a_damaged_content_in_the_store_is_found_by_check_and_repair(tmp_path, s3):
    with livedb.open(tmp_path / "w", files=URL) as db:
        missing, other = db.files.put(TEXT), db.files.put(TEXT[::-1])
        for name, data in list(s3.objects.items()):
            if data == TEXT:
                del s3.objects[name]
            else:
                s3.objects[name] = TEXT
        with pytest.raises(DamagedError) as raised:
            check_workspace(db.backend.workspace)
        assert f"{missing}: it is missing" in raised.value.message
        assert f"{other}: it is not what was stored" in raised.value.message
    report = livedb.repair(tmp_path / "w")
    assert len(report.lost_files) == 2


def test_a_store_that_fails_is_no_damage_and_documents_go_on(tmp_path, s3, hasty):
    with livedb.open(tmp_path / "w", files=URL) as db:
        file = db.files.put(TEXT)
    s3.is_refusing_all = True
    with livedb.open(tmp_path / "w") as db:

        @db.mutation
        def add(ctx, text: str):
            return ctx.db.insert("notes", {"text": text})

        add("kept")
        for step in (
            lambda: db.files.open(file),
            lambda: db.files.put(TEXT),
            lambda: check_workspace(db.backend.workspace),
            lambda: export_snapshot(db.backend.workspace, tmp_path / "out.zip"),
            lambda: db.backup(tmp_path / "copy"),
        ):
            with pytest.raises(FileError, match="try again"):
                step()
        assert not (tmp_path / "out.zip").exists()
        assert len(list(db.files)) == 1
    report = livedb.repair(tmp_path / "w")
    assert report.lost_files == ()
    assert "not looked at" in str(report)
    s3.is_refusing_all = False
    with livedb.open(tmp_path / "w") as db:
        assert read(db, file) == TEXT
        assert check_workspace(db.backend.workspace).files == 1


def test_orphans_that_a_store_did_not_let_go_are_removed_later(tmp_path, s3, hasty):
    with livedb.open(tmp_path / "w", files=URL) as db:
        db.files.delete(db.files.put(TEXT))
        s3.is_refusing_all = True
        with pytest.raises(FileError):
            storage(db).collect()
        assert len(s3.objects) == 1
        s3.is_refusing_all = False
        assert storage(db).collect() == 1
        assert s3.objects == {}


def test_upkeep_goes_on_with_a_warning_when_a_store_fails(tmp_path, s3, hasty, caplog):
    with livedb.open(tmp_path / "w", files=URL) as db:
        db.files.delete(db.files.put(TEXT))
    s3.is_refusing_all = True
    with livedb.open(tmp_path / "w") as db:  # which looks for orphans at once
        while "will be tried again" not in caplog.text:
            pass
        db.files.list()
        upkeep = db.backend.workspace._upkeep
        assert upkeep._thread.is_alive()
    assert "credentials of the environment do not allow it" in caplog.text


def test_a_repair_that_loses_commits_leaves_the_store_as_it_is(tmp_path, s3):
    with livedb.open(tmp_path / "w", files=URL) as db:
        db.files.put(TEXT)
    for name in ("log", "log-wal", "log.head"):
        (tmp_path / "w" / name).unlink(missing_ok=True)
    report = livedb.repair(tmp_path / "w")
    assert "object store" in str(report)
    [name] = s3.objects
    assert [each.name for each in (report.backup / "names").iterdir()] == [name.split("/")[-1]]
    with livedb.open(tmp_path / "w") as db:
        assert storage(db).collect() == 0
    assert list(s3.objects.values()) == [TEXT]


def test_without_obstore_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(WorkspaceError, match=r"livedb\[objects\]"):
        livedb.open(tmp_path / "w", files=(tmp_path / "store").as_uri())
