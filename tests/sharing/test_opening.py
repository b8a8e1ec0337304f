"""One process has a workspace, the others use it through that one, until it dies."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

import livedb
from livedb.client.remote import RemoteBackend
from livedb.errors import WorkspaceError, WorkspaceLockedError
from livedb.service import local_door
from livedb.sharing import opening
from tests.sharing.processes import Python


@pytest.fixture
def path(tmp_path):
    return tmp_path / "work"


def is_attached(db):
    return isinstance(db.backend, RemoteBackend)


def wait_for(condition, timeout_s=30.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_a_second_process_uses_the_workspace_through_the_one_that_serves_it(path):
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)\nserving = db.serve()\ndb['t'].insert({'n': 1})")
        with livedb.open(path) as db:
            assert is_attached(db)
            db["t"].insert({"n": 2})
            assert owner.run("print(db['t'].count())") == "2"
            assert db.sql("select count(*) c from t").to_arrow()["c"].to_pylist() == [2]


def test_handles_here_follow_commits_there(path):
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)\ndb.serve()\ndb['t'].insert({'n': 1})")
        with livedb.open(path) as db:
            rows = db["t"].live()
            changed = threading.Event()
            rows.observe(lambda _: changed.set(), "value")
            owner.run("db['t'].insert({'n': 2})")
            assert changed.wait(30)
            assert rows.value.num_rows == 2


def test_one_that_is_not_served_says_who_has_it_and_how_to_share_it(path):
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)")
        with pytest.raises(WorkspaceLockedError, match=r"db\.serve\(\)") as refused:
            livedb.open(path)
        assert refused.value.pid == owner.pid
        assert f"process {owner.pid}" in str(refused.value)


def test_one_that_is_served_no_more_is_locked_again(path):
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)\nserving = db.serve()\nserving.close()")
        with pytest.raises(WorkspaceLockedError):
            livedb.open(path)
        owner.run("db.serve()")
        with livedb.open(path) as db:
            assert is_attached(db)


def test_opening_twice_gives_the_same_db(path):
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)\ndb.serve()")
        with livedb.open(path) as db:
            assert livedb.open(path) is db
            assert livedb.open(str(path) + "/.") is db


def test_limits_belong_to_the_process_that_has_it(path):
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)\ndb.serve()")
        with pytest.raises(WorkspaceError, match="whose limits hold"):
            livedb.open(path, limits=livedb.Limits(documents_read_max=1))


def test_the_owner_is_killed_while_another_is_attached_and_nothing_acknowledged_is_lost(path):
    with Python(path=str(path)) as owner, Python(path=str(path)) as third:
        owner.run("db = livedb.open(path)\ndb.serve()")
        attached = livedb.open(path)
        for n in range(20):
            attached["t"].insert({"n": n})
        rows = attached["t"].live()
        owner.kill()
        wait_for(lambda: attached.backend.status.state == "reconnecting")
        assert rows.value.num_rows == 20  # the last that is known stays readable
        with livedb.open(path) as db:
            assert not is_attached(db)
            assert db["t"].count() == 20
            # Never a second writer: a third process is refused, and comes in when it is served.
            assert third.run("livedb.open(path)").startswith("WorkspaceLockedError")
            db.serve()
            assert third.run("db = livedb.open(path)\nprint(db['t'].count())") == "20"
        assert attached.backend.status.state == "closed"


def test_who_stays_attached_comes_back_when_another_process_serves_it(path):
    with Python(path=str(path)) as owner, Python(path=str(path)) as heir:
        owner.run("db = livedb.open(path)\ndb.serve()\ndb['t'].insert({'n': 1})")
        with livedb.open(path) as db:
            rows = db["t"].live()
            owner.kill()
            heir.run("db = livedb.open(path)\ndb.serve()\ndb['t'].insert({'n': 2})")
            wait_for(lambda: db.backend.status.state == "connected")
            db["t"].insert({"n": 3})
            assert sorted(rows.value["n"].to_pylist()) == [1, 2, 3]
            assert heir.run("print(db['t'].count())") == "3"


def test_a_process_that_ends_frees_it_at_once(path):
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)\ndb.serve()\ndb['t'].insert({'n': 1})")
        attached = livedb.open(path)
        assert attached["t"].count() == 1
        assert owner.end() == 0
        with livedb.open(path) as db:
            assert not is_attached(db)
            assert db["t"].count() == 1
        assert not (path / local_door.SOCKET_NAME).exists()


def test_a_socket_left_by_a_killed_process_is_in_nobodys_way(path):
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)\ndb.serve()")
        owner.kill()
    assert (path / local_door.SOCKET_NAME).exists()
    with livedb.open(path) as db, Python(path=str(path)) as other:
        assert not is_attached(db)
        db.backup(path.parent / "copy")
        db.serve()
        assert other.run("print(livedb.open(path).backend.name)").startswith("unix:")


def test_the_door_is_closed_to_other_users(path):
    with livedb.open(path) as db:
        db.serve()
        mode = (path / local_door.SOCKET_NAME).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_who_can_reach_the_door_is_turned_away(path):
    knock = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as door:
    door.settimeout(20)
    door.connect(where)
    try:
        door.sendall(b"GET /version HTTP/1.1\\r\\nhost: localhost\\r\\n\\r\\n")
        print(door.recv(100))
    except OSError as error:
        print(b"")
"""
    with livedb.open(path) as db, Python(where=str(path / "socket")) as other:
        db.serve()
        for folder in (path, *path.parents[:-2]):
            folder.chmod(0o755)
        (path / "socket").chmod(0o666)
        assert other.run(knock) == "b''"


def test_a_long_path_has_its_door_in_a_private_folder(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.parent.mkdir()
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with Python(path=str(deep)) as owner:
        owner.run("db = livedb.open(path)\ndb.serve()")
        holder = json.loads((deep / "lock").read_bytes())
        assert holder["address"].startswith("unix:")
        door = holder["address"].removeprefix("unix:")
        assert len(door) <= local_door.PATH_BYTES_MAX
        assert stat.S_IMODE(Path(door).parent.stat().st_mode) == 0o700
        with livedb.open(deep) as db:
            assert is_attached(db)


def test_a_folder_for_running_programs_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    runtime = tmp_path / "r"
    mine = runtime / f"livedb-{os.getuid()}"
    mine.mkdir(parents=True)
    mine.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    found = local_door.socket_path(tmp_path / ("x" * 120))
    assert mine not in found.parents


def test_without_unix_sockets_a_process_of_the_same_user_comes_in_with_the_key(path, monkeypatch):
    monkeypatch.setattr(local_door, "has_local_door", lambda: False)
    with livedb.open(path) as db, Python(path=str(path)) as other:
        serving = db.serve()
        assert stat.S_IMODE((path / "socket.key").stat().st_mode) == 0o600
        assert other.run("db = livedb.open(path)\nprint(db.backend.name)") == serving.url
        assert other.run("db.invite(name='x')\nprint(len(db.invitations))") == "1"
        serving.close()
        assert not (path / "socket.key").exists()


def test_another_version_of_livedb_is_told_so(path, monkeypatch):
    with Python(path=str(path)) as owner:
        owner.run("livedb.__version__ = '0.0.9'\ndb = livedb.open(path)\ndb.serve()")
        with pytest.raises(WorkspaceError, match=r"livedb 0\.0\.9") as refused:
            livedb.open(path)
        assert refused.value.code == "VersionMismatch"


def test_a_process_that_hangs_at_its_door_is_named_in_the_end(path, monkeypatch):
    monkeypatch.setattr(opening, "ATTACH_S_MAX", 0.1)
    with Python(path=str(path)) as owner:
        owner.run("db = livedb.open(path)\ndb.serve()\nos.unlink(path + '/socket')")
        with pytest.raises(WorkspaceLockedError, match=f"process {owner.pid}"):
            livedb.open(path)
