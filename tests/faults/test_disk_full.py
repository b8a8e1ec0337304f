"""A full disk: typed errors, reads and live handles go on, recovery without a restart."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import httpx
import pytest

import livedb
from livedb.errors import FileError, LivedbError, TransientError
from livedb.limits import Limits
from tests.faults.checks import check_agreement
from tests.service.serving import serving

SIZE = 24 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 MB: a tmpfs of our own where this user may mount one, else a container's."""
    target = tmp_path / "disk"
    target.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={SIZE}".encode()
    if libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", 0, options) != 0:
        pytest.fail(f"cannot mount a tmpfs: {os.strerror(ctypes.get_errno())}; run as root")
    yield target
    libc.umount2(os.fsencode(target), 2)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Take all space of the disk but `leave` bytes."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with ballast.open("ab") as file:
        os.posix_fallocate(file.fileno(), file.seek(0, 2), max(1, free - leave))
    return ballast


def insert_until_full(db, size):
    acknowledged = 0
    while True:
        try:
            db["items"].insert({"n": acknowledged, "text": "x" * size})
        except LivedbError as error:
            return acknowledged, error
        acknowledged += 1


@pytest.mark.parametrize("size", [200, 100_000])
def test_mutations_fail_typed_reads_go_on_and_space_heals(small_disk, size):
    path = small_disk / "w"
    with livedb.open(path, limits=Limits(fold_idle_s=1e9)) as db:
        db["items"].insert({"n": -1, "text": ""})

        @db.query
        def count(ctx) -> int:
            return len(ctx.db.query("items").order("asc").take(5_000))

        handle = count.live()
        ballast = fill(small_disk, leave=3 << 20)
        acknowledged, error = insert_until_full(db, size)
        assert isinstance(error, TransientError)
        assert error.code == "DiskFull", error
        for _ in range(3):
            with pytest.raises(TransientError):
                db["items"].insert({"n": -2, "text": "x" * 200_000})
        assert count() == handle.value == min(acknowledged + 1, 5_000)
        numbers = db.statistics()
        assert numbers.applied == numbers.durable == numbers.published
        ballast.unlink()
        db["items"].insert({"n": acknowledged, "text": "after"})
        assert handle.value == min(acknowledged + 2, 5_000)
        check_agreement(db)
    with livedb.open(path) as db:
        found = db.sql("select n from items order by n").to_arrow().column(0).to_pylist()
        assert found == list(range(-1, acknowledged + 1))


def test_a_fold_or_checkpoint_on_a_full_disk_loses_nothing(small_disk):
    path = small_disk / "w"
    with livedb.open(path, limits=Limits(fold_idle_s=1e9)) as db:
        for n in range(40):
            db["items"].insert({"n": n, "text": os.urandom(30_000).hex()})
        ballast = fill(small_disk, leave=100_000)
        for _ in range(3):
            with pytest.raises(TransientError) as caught:
                db.sql("select count(*) from items")
            assert caught.value.code == "DiskFull"
        assert len(db["items"].collect()) == 40
        ballast.unlink()
        assert db.sql("select count(*) as c from items").to_arrow().to_pylist() == [{"c": 40}]
        for n in range(40, 44):
            db["items"].insert({"n": n, "text": ""})
        fill(small_disk)
    (small_disk / "ballast").unlink()
    with livedb.open(path) as db:
        assert len(db["items"].collect()) == 44
        check_agreement(db)


def test_a_file_that_finds_no_room_leaves_nothing(small_disk):
    with livedb.open(small_disk / "w") as db:
        kept = db.files.put(b"x" * 100_000)
        ballast = fill(small_disk, leave=1 << 20)
        for _ in range(3):
            with pytest.raises(FileError) as caught:
                db.files.put(os.urandom(2 << 20))
            assert caught.value.code == "DiskFull"
        assert len(list((small_disk / "w/files").iterdir())) == 1
        with db.files.open(kept) as file:
            assert file.read() == b"x" * 100_000
        ballast.unlink()
        db.files.put(os.urandom(2 << 20))
        assert [row["size"] for row in db.files] == [100_000, 2 << 20]


def test_a_workspace_is_not_half_made_on_a_full_disk(small_disk):
    ballast = fill(small_disk)
    with pytest.raises(LivedbError):
        livedb.open(small_disk / "w")
    ballast.unlink()
    with livedb.open(small_disk / "w") as db:
        db["items"].insert({"n": 1})
        assert len(db["items"].collect()) == 1
        ballast = fill(small_disk)
        with pytest.raises(LivedbError):
            db.load("items", [{"n": n, "text": "x" * 3000} for n in range(2_000)])
        assert len(db["items"].collect()) == 1
        ballast.unlink()
        db.load("items", [{"n": n} for n in range(5)])
        check_agreement(db)


def test_over_http_a_full_disk_is_507_for_files_and_mutations(small_disk):
    with livedb.open(small_disk / "w") as db:

        @db.mutation
        def upload_url(ctx) -> str:
            return ctx.storage.generate_upload_url()

        @db.mutation
        def add(ctx, text: str) -> None:
            ctx.db.insert("items", {"text": text})

        with serving(db) as served:
            url = upload_url()
            ballast = fill(small_disk, leave=1 << 20)
            refused = httpx.post(url, content=os.urandom(2 << 20), timeout=30)
            assert (refused.status_code, refused.json()["code"]) == (507, "DiskFull")
            fill(small_disk)
            while db["items"].count() < 1_000:  # what the log has allocated already is used first
                args = {"text": os.urandom(100_000).hex()}
                body = {"path": "cells:add", "args": args}
                answer = httpx.post(f"{served.url}/api/mutation", json=body, timeout=30)
                if answer.status_code != 200:
                    break
            assert (answer.status_code, answer.json()["code"]) == (507, "DiskFull")
            ballast.unlink()
            assert httpx.post(url, content=os.urandom(2 << 20), timeout=30).status_code == 200
