from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from livedb import limits
from livedb.commitlog.lock import DOOR_NAME, LOCK_NAME, WorkspaceLock, file_system_of, try_lock
from livedb.errors import ForkedError, FormatError, WorkspaceLockedError

_HOLDER = """
import sys
from livedb.commitlog.lock import WorkspaceLock
lock = WorkspaceLock(sys.argv[1])
lock.acquire(address="http://127.0.0.1:9")
print("READY", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "shop.livedb"


def start_holder(folder):
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "READY\n"
    return child


def end(child):
    child.kill()
    child.communicate()


def test_the_lock_names_its_holder_and_keeps_the_folder_private(folder):
    old = os.umask(0)
    try:
        lock = WorkspaceLock(folder)
        lock.acquire()
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / LOCK_NAME).stat().st_mode & 0o777 == 0o600
    holder = json.loads((folder / LOCK_NAME).read_text())
    me = {"pid": os.getpid(), "host": socket.gethostname()}
    assert holder == {**me, "address": None, "version": None, "is_background": False}
    lock.announce("http://127.0.0.1:8")
    assert json.loads((folder / LOCK_NAME).read_text())["address"] == "http://127.0.0.1:8"
    lock.release()
    lock.release()
    assert not lock.is_held


def test_who_has_it_can_be_looked_up_without_taking_it(folder):
    lock = WorkspaceLock(folder)
    folder.mkdir()
    assert WorkspaceLock(folder).holder() is None
    with lock:
        lock.announce("unix:/a", "1.2")
        found = WorkspaceLock(folder).holder()
        assert (found.pid, found.address, found.version) == (os.getpid(), "unix:/a", "1.2")
        with pytest.raises(WorkspaceLockedError) as refused:
            WorkspaceLock(folder).acquire()
        assert refused.value.version == "1.2"
    assert WorkspaceLock(folder).holder() is None
    lock.acquire()  # a look took nothing
    lock.release()


def test_an_existing_folder_becomes_private(folder):
    folder.mkdir(mode=0o755)
    with WorkspaceLock(folder):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_second_process_is_told_who_holds_it_and_where(folder):
    child = start_holder(folder)
    try:
        with pytest.raises(WorkspaceLockedError) as caught:
            WorkspaceLock(folder).acquire()
        error = caught.value
        assert (error.pid, error.host) == (child.pid, socket.gethostname())
        assert error.address == "http://127.0.0.1:9"
        assert str(child.pid) in str(error)
        assert str(error).endswith("which serves it at http://127.0.0.1:9; close it there first")
    finally:
        end(child)
    WorkspaceLock(folder).acquire()  # A dead process's file is free.


def test_a_second_lock_of_one_process_is_refused_too(folder):
    with WorkspaceLock(folder):
        with pytest.raises(WorkspaceLockedError, match=r"this process .*db\.close\(\)"):
            WorkspaceLock(folder).acquire()
        assert json.loads((folder / LOCK_NAME).read_text())["pid"] == os.getpid()
    with WorkspaceLock(folder):
        pass


@pytest.mark.parametrize("left", [b"", b'{"pid": 1, "host": "of a process that died"}'])
def test_whoever_comes_between_the_lock_and_the_name_waits_for_the_name(folder, monkeypatch, left):
    folder.mkdir()
    (folder / LOCK_NAME).write_bytes(left)
    is_between, may_go_on, heard = threading.Event(), threading.Event(), []
    write_holder = WorkspaceLock._write_holder

    def write_late(lock, address):
        is_between.set()
        may_go_on.wait(30)
        write_holder(lock, address)

    monkeypatch.setattr(WorkspaceLock, "_write_holder", write_late)
    winner = WorkspaceLock(folder)
    winning = threading.Thread(target=winner.acquire)
    winning.start()
    assert is_between.wait(30)

    def lose():
        with pytest.raises(WorkspaceLockedError) as caught:
            WorkspaceLock(folder).acquire()
        heard.append(caught.value.pid)

    losing = threading.Thread(target=lose)
    losing.start()
    losing.join(0.05)
    assert heard == []
    may_go_on.set()
    for thread in (winning, losing):
        thread.join(30)
    assert heard == [os.getpid()]
    winner.release()


def test_a_process_stopped_at_the_door_makes_others_give_up_and_not_hang(folder, monkeypatch):
    monkeypatch.setattr(limits, "LOCK_DOOR_S_MAX", 0.005)
    folder.mkdir()
    with (folder / DOOR_NAME).open("w") as door:
        assert try_lock(door.fileno())
        with pytest.raises(WorkspaceLockedError, match="another process"):
            WorkspaceLock(folder).acquire()
    with WorkspaceLock(folder):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xff", b'{"pid": "x"}', b"[1]" * 5_000])
def test_an_unreadable_name_still_means_held(folder, content):
    with WorkspaceLock(folder):
        (folder / LOCK_NAME).write_bytes(content)
        with pytest.raises(WorkspaceLockedError, match="another process") as caught:
            WorkspaceLock(folder).acquire()
        assert caught.value.pid is None
    with WorkspaceLock(folder):
        pass


def test_a_lock_file_removed_and_made_anew_does_not_let_two_in(folder):
    with WorkspaceLock(folder):
        pass
    lock = WorkspaceLock(folder)
    lock.acquire()
    assert lock._descriptor is not None
    assert os.fstat(lock._descriptor).st_ino == (folder / LOCK_NAME).stat().st_ino
    lock.release()


def test_a_forked_child_neither_holds_nor_releases_its_parents_lock(folder):
    lock = WorkspaceLock(folder)
    lock.acquire()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert not lock.is_held
            with pytest.raises(ForkedError):
                lock.announce("http://127.0.0.1:1")
            lock.release()
            lock.__exit__(None, None, None)
            with pytest.raises(WorkspaceLockedError):
                WorkspaceLock(folder).acquire()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(WorkspaceLockedError):
        WorkspaceLock(folder).acquire()
    lock.release()


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(folder):
    lock = WorkspaceLock(folder)
    lock.acquire()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    lock.release()
    with WorkspaceLock(folder):
        pass
    os.close(writer)
    os.waitpid(child, 0)


def test_a_file_or_a_planted_link_or_fifo_is_refused(folder, tmp_path):
    folder.write_text("mine")
    with pytest.raises(FormatError, match="a workspace is a folder"):
        WorkspaceLock(folder).acquire()
    assert folder.read_text() == "mine"
    folder.unlink()
    folder.mkdir()
    (tmp_path / "precious").write_text("mine")
    (folder / LOCK_NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(FormatError, match="lock file"):
        WorkspaceLock(folder).acquire()
    assert (tmp_path / "precious").read_text() == "mine"
    (folder / LOCK_NAME).unlink()
    os.mkfifo(folder / LOCK_NAME)
    with pytest.raises(FormatError, match="lock file"):
        WorkspaceLock(folder).acquire()


MOUNTS = r"""sysfs /sys sysfs rw 0 0
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/ada/scratch tmpfs rw 0 0
drive /content/drive fuse.drive rw 0 0
//nas/share /mnt/my\040share cifs rw 0 0
broken
"""


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/", "ext4"),
        ("/srv/shop.livedb", "ext4"),
        ("/home/ada/shop.livedb", "nfs4"),
        ("/home", "nfs4"),
        ("/homely", "ext4"),
        ("/home/ada/scratch/x", "tmpfs"),
        ("/content/drive/MyDrive/x", "fuse.drive"),
        ("/mnt/my share/x", "cifs"),
    ],
)
def test_the_deepest_mount_decides_the_file_system(path, kind):
    assert file_system_of(Path(path), MOUNTS) == kind


def test_a_later_mount_hides_an_earlier_one_on_the_same_folder():
    assert file_system_of(Path("/a/b"), "x /a ext4 rw\ny /a nfs rw\n") == "nfs"
    assert file_system_of(Path("/a"), "") is None


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs", "fuse.drive"])
def test_a_network_file_system_is_refused_with_advice_and_untouched(folder, tmp_path, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver {folder.parent.resolve()} {kind} rw 0 0\n")
    with pytest.raises(FormatError, match=r"local disk.*db\.backup") as caught:
        WorkspaceLock(folder, mounts=mounts).acquire()
    assert caught.value.code == "NetworkFileSystem"
    assert not folder.exists()


def test_this_machines_own_disk_is_accepted(folder):
    with WorkspaceLock(folder) as lock:
        assert lock.is_held
