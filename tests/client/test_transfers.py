"""Exports and backups of a workspace on a service: fetched in parts, whole or not at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

import livedb
from livedb.auth.access import Role
from livedb.client import connection
from livedb.errors import DisconnectedError, FormatError, LoadError, PermissionDeniedError, SqlError
from livedb.service import downloads
from livedb.service.access import Access
from livedb.service.server import ServiceThread
from tests.client.cutting import Proxy
from tests.conftest import connected

ENDINGS = ["parquet", "csv", "jsonl"]


@pytest.fixture
def served(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        db.load("t", [{"n": n, "text": f"{n}" * 50} for n in range(3000)])
        yield db


@pytest.fixture
def parts(monkeypatch):
    """Small ones, so that there are many; how many were read."""
    monkeypatch.setattr(downloads, "PART_BYTES_MAX", 2000)
    read, counted = downloads.Downloads.read, []

    def counting(self, *given):
        counted.append(given)
        return read(self, *given)

    monkeypatch.setattr(downloads.Downloads, "read", counting)
    return counted


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def staged(served):
    return list(served.backend.workspace.files.staging.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_export_is_the_file_that_the_service_itself_would_write(served, parts, tmp_path, ending):
    here = served.export("t", tmp_path / f"here.{ending}")
    with connected(served) as db:
        there = db.export("t", tmp_path / f"there.{ending}")
        assert (there.rows, there.number) == (here.rows, here.number)
        assert there.path.read_bytes() == here.path.read_bytes()
        assert len(parts) > 3
        db["t"].count()  # behind what says that it has come
    assert staged(served) == []


def test_a_target_that_is_there_is_refused_before_anything_is_asked(served, parts, tmp_path):
    target = tmp_path / "x.csv"
    target.write_text("mine")
    with connected(served) as db:
        with pytest.raises(LoadError, match="exists"):
            db.export("t", target)
        with pytest.raises(LoadError, match="ends with one of"):
            db.export("t", tmp_path / "x.txt")
        assert (target.read_text(), parts) == ("mine", [])
        assert db["t"].to_csv(target, overwrite=True).rows == 3000


def test_a_table_that_is_not_there_leaves_nothing(served, tmp_path):
    with connected(served) as db, pytest.raises(SqlError, match="nowhere"):
        db.export("nowhere", tmp_path / "x.csv")
    assert (names(tmp_path), staged(served)) == (["work"], [])


def test_an_export_cut_off_goes_on(served, parts, tmp_path):
    here = served.export("t", tmp_path / "here.csv")
    access = Access(served.backend.workspace.clock, anonymous=Role.OWNER)
    with (
        ServiceThread(served.backend.workspace, access=access) as service,
        Proxy(service.port) as proxy,
        livedb.connect(proxy.url) as db,
    ):
        for direction, delivers in (("up", False), ("up", True), ("down", False)):
            proxy.cut_next(direction, delivers=delivers)
            there = db.export("t", tmp_path / f"{direction}{delivers}.csv")
            assert there.path.read_bytes() == here.path.read_bytes()


def test_an_export_that_the_service_forgot_leaves_nothing(served, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S_MAX", 60)
    read = downloads.Downloads.read

    def forgetful(self, name, *given):
        if len(parts) == 2:
            self.drop(name)  # as one that was started anew
        return read(self, name, *given)

    monkeypatch.setattr(downloads.Downloads, "read", forgetful)
    with connected(served) as db:
        with pytest.raises(DisconnectedError, match="has forgotten"):
            db.export("t", tmp_path / "x.csv")
        assert names(tmp_path) == ["work"]


# -- backups ---------------------------------------------------------------------------------------


def test_a_backup_is_the_whole_workspace_at_one_commit(served, parts, tmp_path):
    with connected(served) as db:
        number = db.backup(tmp_path / "copy")
        db["t"].insert({"n": -1, "text": ""})
        assert staged(served) == []
    assert len(parts) > 5
    with livedb.open(tmp_path / "copy") as copy:
        assert (copy.number, copy["t"].count()) == (number, 3000)


@pytest.mark.parametrize("role", [Role.EDITOR, Role.MEMBER, Role.VIEWER])
def test_a_backup_is_for_owners(served, tmp_path, role):
    with connected(served, role) as db, pytest.raises(PermissionDeniedError, match="owner may"):
        db.backup(tmp_path / "copy")
    assert staged(served) == []


def test_a_backup_goes_into_a_new_folder(served, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    with connected(served) as db, pytest.raises(FormatError, match="not empty"):
        db.backup(tmp_path / "mine")


def test_a_backup_that_breaks_off_is_no_workspace(served, parts, tmp_path, monkeypatch):
    read = downloads.Downloads.read

    def forgetful(self, name, *given):
        if len(parts) == 2:
            self.drop(name)
        return read(self, name, *given)

    monkeypatch.setattr(downloads.Downloads, "read", forgetful)
    with connected(served) as db, pytest.raises(DisconnectedError):
        db.backup(tmp_path / "copy")
    with pytest.raises(FormatError):
        livedb.open(tmp_path / "copy")


@pytest.mark.parametrize("name", ["../x", "/x", "a/b/c", "a//b", "..", ".", "", "a\\b"])
def test_a_service_names_files_inside_the_folder_only(served, tmp_path, monkeypatch, name):
    make = downloads.Downloads.make

    def lying(self, *given):
        made, _ = make(self, *given)
        return made, [(name, 1)]

    monkeypatch.setattr(downloads.Downloads, "make", lying)
    with connected(served) as db, pytest.raises(FormatError, match="which is none"):
        db.backup(tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


LACKING = """
import resource
import pyarrow as pa
from livedb.client.transfers import _parts
from livedb.interchange.sources import Source

rows = pa.record_batch({"a": pa.array(range(1_000_000))})
reader = lambda: pa.RecordBatchReader.from_batches(rows.schema, iter([rows] * 4))
source = Source(schema=rows.schema, reader=reader, rows=4_000_000)
refusals = 0
for spare_mb in range(1, 60, 4):
    in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (spare_mb << 20), -1))
    parts = []
    try:
        parts.extend(_parts(source))
    except MemoryError:
        refusals += 1
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(refusals > 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="says how much memory it has in Linux's way")
def test_a_load_that_memory_does_not_suffice_for_says_so():
    done = subprocess.run(
        [sys.executable, "-c", LACKING], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "True\n", done.stderr
