"""`livedb.open(path, shared=True)`: one process of its own for a workspace, and none too many."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import time

import pytest

import livedb
from livedb.commitlog.lock import WorkspaceLock
from livedb.errors import FormatError, WorkspaceError, WorkspaceLockedError
from tests.sharing.processes import Python, is_alive


@pytest.fixture
def path(tmp_path):
    """Where a workspace will be, whose service is ended with the test."""
    folder = tmp_path / "work"
    yield folder
    if folder.is_dir():
        holder = WorkspaceLock(folder).holder()
        if holder is not None and holder.pid != os.getpid():
            os.kill(holder.pid, signal.SIGTERM)
            gone(holder.pid)


@pytest.fixture(params=["socket", "loopback"])
def way(request, monkeypatch):
    """How processes of one user reach a service: the second is all that Windows has."""
    monkeypatch.setenv("LIVEDB_LOOPBACK", str(int(request.param == "loopback")))
    return request.param


def holder_of(folder):
    return WorkspaceLock(folder).holder()


def gone(pid, timeout_s=30.0):
    """Wait until a process has ended."""
    end = time.monotonic() + timeout_s
    while is_alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.02)


@pytest.mark.usefixtures("way")
def test_it_outlives_the_one_who_started_it(path):
    with Python(path=str(path)) as first:
        first.run("db = livedb.open(path, shared=True)\ndb['t'].insert({'n': 1})")
        service = holder_of(path).pid
        assert service != first.pid
        first.kill()
    with livedb.open(path, shared=True) as db:
        assert holder_of(path).pid == service
        assert db["t"].count() == 1
        assert os.getsid(service) == service  # no kernel's signals reach it


@pytest.mark.usefixtures("way")
def test_functions_of_a_notebook_know_it_as_their_db(path):
    with livedb.open(path, shared=True) as db:
        db["t"].insert({"n": 1})

        @db.query
        def counted(ctx) -> list[int]:
            return [db["t"].count(), db.sql("select count(*)::int as n from t")[0].n]

        handle = counted.live()
        db["t"].insert({"n": 2})
        assert counted() == handle.value == [2, 2]


def test_two_who_open_at_once_start_one(path):
    with Python(path=str(path)) as one, Python(path=str(path)) as two:
        for each in (one, two):
            each.begin("db = livedb.open(path, shared=True)\ndb['t'].insert({'n': 1})")
        assert (one.finish(), two.finish()) == ("", "")
        assert one.run("print(db['t'].count())") == "2"
    log = (path / "service.log").read_text()
    assert log.count(" serves ") == 1, log


def test_it_ends_when_nobody_is_left(path, monkeypatch):
    monkeypatch.setenv("LIVEDB_IDLE_S", "0.3")
    with livedb.open(path, shared=True) as db:
        db["t"].insert({"n": 1})
        service = holder_of(path).pid
        time.sleep(1.0)
        assert is_alive(service)
        db["t"].insert({"n": 2})
    gone(service)
    with livedb.open(path) as db:  # nobody has it: it is opened here
        assert db["t"].count() == 2


def test_it_stays_for_a_cron_and_ends_when_that_is_removed(path, monkeypatch):
    monkeypatch.setenv("LIVEDB_IDLE_S", "0.3")
    with livedb.open(path, shared=True) as db:

        @db.mutation
        def tick(ctx):
            ctx.db.insert("ticks", {})

        tick()
        db.crons.interval("ticking", seconds=1, fn=tick)
        service = holder_of(path).pid
        before = db["ticks"].count()
    time.sleep(2.5)  # longer than it stays for nobody
    assert is_alive(service)
    with livedb.open(path, shared=True) as db:
        assert db["ticks"].count() > before
        db.crons.remove("ticking")
    gone(service)


@pytest.mark.usefixtures("way")
def test_one_that_crashed_is_started_again_by_the_next_and_others_come_back(path):
    with Python(path=str(path)) as other:
        other.run("db = livedb.open(path, shared=True)\ndb['t'].insert({'n': 1})")
        service = holder_of(path).pid
        os.kill(service, signal.SIGKILL)
        with livedb.open(path, shared=True) as db:
            assert holder_of(path).pid != service
            assert db["t"].count() == 1
            assert other.run("db['t'].insert({'n': 2})\nprint(db['t'].count())") == "2"


@pytest.mark.usefixtures("way")
def test_an_opener_killed_while_the_service_starts_leaves_it_usable(path):
    with Python(path=str(path)) as opener:
        opener.begin("livedb.open(path, shared=True)")
        while not (path / "service.log").exists():
            time.sleep(0.005)
        opener.kill()
    with livedb.open(path, shared=True) as db:
        db["t"].insert({"n": 1})
    assert len(re.findall(r"process \d+ serves ", (path / "service.log").read_text())) == 1


def test_a_link_leads_there_again_when_the_service_is_started_again(path):
    with livedb.open(path, shared=True) as db:
        db["t"].insert({"n": 1})
        link, service = str(db.invite(name="ana").url), holder_of(path).pid
        os.kill(service, signal.SIGTERM)
        gone(service)
    with livedb.open(path, shared=True), livedb.connect(link) as ana:
        assert ana["t"].count() == 1


@pytest.mark.usefixtures("way")
def test_who_would_serve_it_to_others_is_told_how(path):
    with livedb.open(path, shared=True) as db:
        db["t"].insert({"n": 1})
        with pytest.raises(WorkspaceError, match="of shared=True") as refused:
            db.serve("0.0.0.0")
        service = holder_of(path).pid
        assert f"kill {service}" in str(refused.value)
        assert f"livedb serve {path} --host" in str(refused.value)
        os.kill(service, signal.SIGTERM)
        gone(service)
        with Python(path=str(path)) as other:
            other.run("there = livedb.open(path)\nthere.serve()")
            assert db["t"].count() == 1
            with pytest.raises(WorkspaceError, match=r"call db\.serve there"):
                db.serve("0.0.0.0")


def test_it_finishes_commits_when_it_is_told_to_end(path):
    with livedb.open(path, shared=True) as db:
        for n in range(50):
            db["t"].insert({"n": n})
        service = holder_of(path).pid
        os.kill(service, signal.SIGTERM)
        gone(service)
    with livedb.open(path) as db:
        assert db["t"].count() == 50


@pytest.mark.usefixtures("way")
def test_a_plain_open_finds_it_too(path):
    with livedb.open(path, shared=True) as db, Python(path=str(path)) as other:
        db["t"].insert({"n": 1})
        assert other.run("print(livedb.open(path)['t'].count())") == "1"


@pytest.mark.usefixtures("way")
def test_one_that_a_notebook_has_open_is_told_from_one_that_starts(path):
    with Python(path=str(path)) as notebook:
        notebook.run("db = livedb.open(path)")
        with pytest.raises(WorkspaceLockedError, match=r"db\.serve\(\)"):
            livedb.open(path, shared=True)
        notebook.run("db.serve()")
        with livedb.open(path, shared=True) as db:
            db["t"].insert({"n": 1})
        assert notebook.run("print(db['t'].count())") == "1"


def test_its_own_process_is_told_to_close_first(path):
    with livedb.open(path), pytest.raises(WorkspaceError, match="this process itself"):
        livedb.open(path, shared=True)


def test_what_is_no_workspace_is_refused_untouched(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FormatError):
        livedb.open(tmp_path, shared=True)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_a_service_that_cannot_start_says_why(path):
    livedb.open(path).close()
    (path / "log").write_bytes(b"not a log" * 1000)
    with pytest.raises(WorkspaceError, match="could not be started") as refused:
        livedb.open(path, shared=True)
    assert "damaged" in str(refused.value)


def test_another_version_is_told_so(path, monkeypatch):
    with Python(path=str(path)) as other:
        other.run("db = livedb.open(path, shared=True)")
        monkeypatch.setattr(livedb, "__version__", "99.0")
        with pytest.raises(WorkspaceError, match=r"99\.0") as refused:
            livedb.open(path, shared=True)
        assert refused.value.code == "VersionMismatch"


def test_its_files_are_private(path, way):
    with livedb.open(path, shared=True) as db:
        door = "socket" if way == "socket" else "socket.key"
        assert db.backend.name.startswith("unix:" if way == "socket" else "http://127.0.0.1:")
        for name in ("service.log", "service.start", "service.begins", door, "lock"):
            assert stat.S_IMODE((path / name).stat().st_mode) == 0o600
        assert json.loads((path / "lock").read_bytes())["version"] == livedb.__version__


def test_it_needs_a_path_and_has_its_own_limits(path):
    with pytest.raises(WorkspaceError):
        livedb.open(shared=True)
    with pytest.raises(FormatError):
        livedb.open("a\0b", shared=True)
    with pytest.raises(WorkspaceError):
        livedb.open(path, shared=True, limits=livedb.Limits())
