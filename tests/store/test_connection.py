"""DuckDB is opened locked down, and only where a database can be."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import livedb
from livedb.errors import FoldError, FormatError, WorkspaceLockedError
from livedb.limits import Limits
from livedb.store.connection import fold_error, open_connection, quote
from tests.store.table_fixtures import Folder, catalog_of, new_ids, open_store, write


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    (tmp_path / "loads").mkdir()
    connection = open_connection(
        tmp_path / "x.duckdb", limits=Limits(), folders=[tmp_path / "loads"]
    )
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "set lock_configuration = false",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "set autoinstall_known_extensions = true",
        "set python_enable_replacements = true",
        "set memory_limit = '1TB'",
        "reset memory_limit",
        "from read_text('/etc/passwd')",
        "from '/etc/passwd'",
        "copy (select 1) to '/tmp/livedb-should-not-be.csv'",
        "attach '/tmp/livedb-should-not-be.db'",
        "install httpfs",
        "create persistent secret s (type http)",
        "from a_python_variable",
    ],
)
def test_the_lock_down_holds_even_without_the_gate(
    connection: duckdb.DuckDBPyConnection, statement: str
) -> None:
    a_python_variable = [1]
    with pytest.raises(duckdb.Error):
        connection.sql(statement).to_arrow_table()
    assert a_python_variable


def test_the_folders_named_are_open_and_their_neighbours_closed(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    connection.execute(f"copy (select 1 as a) to '{tmp_path}/loads/x.parquet'")
    assert connection.sql(f"from '{tmp_path}/loads/x.parquet'").to_arrow_table().num_rows == 1
    shutil.copy(tmp_path / "loads" / "x.parquet", tmp_path / "loads-too.parquet")
    for path in ("loads-too.parquet", "loads/../loads-too.parquet"):
        with pytest.raises(duckdb.Error):
            connection.sql(f"from '{tmp_path}/{path}'").to_arrow_table()


def test_a_new_cursor_is_locked_down_and_in_utc_too(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    cursor = connection.cursor()
    found = cursor.sql("select current_setting('TimeZone') as zone").to_arrow_table()
    assert found.to_pylist() == [{"zone": "UTC"}]
    with pytest.raises(duckdb.Error):
        cursor.execute("set TimeZone = 'Europe/Berlin'")
    cursor.close()


def make_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table t (a)")
    connection.commit()
    connection.close()


FOREIGN = {
    "a SQLite file": make_sqlite,
    "a text": lambda path: path.write_text("hello " * 1000),
    "an empty file": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(65536)),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_database_is_refused_at_once(tmp_path: Path, what: str) -> None:
    FOREIGN[what](tmp_path / "tables.duckdb")
    with pytest.raises(FormatError):
        open_store(tmp_path)


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "tables.duckdb")) as connection:
        connection.execute("create table sales (a int)")
    with pytest.raises(FormatError, match="not made by livedb"):
        open_store(tmp_path)
    with duckdb.connect(str(tmp_path / "tables.duckdb")) as connection:
        assert connection.sql("show tables").to_arrow_table().num_rows == 1


def test_a_database_that_another_process_holds_is_locked(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "tables.duckdb")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(WorkspaceLockedError):
            open_store(tmp_path)


def test_a_quoted_name_is_the_name(connection: duckdb.DuckDBPyConnection) -> None:
    name = "a\"b;--'é"
    assert connection.sql(f"select 1 as {quote(name)}").to_arrow_table().column_names == [name]


def test_a_full_disk_has_its_own_code() -> None:
    assert fold_error(OSError(28, "No space left on device")).code == "DiskFull"
    assert fold_error(duckdb.IOException("something else")).code == "FoldFailed"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        # Not root: a limit on the size of this process's files gives the same failure.
        pytest.fail("mounting a tmpfs needs root; run this test in the container of CI")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_full_disk_a_fold_fails_typed_reads_go_on_and_space_heals_it(
    small_disk: Path,
) -> None:
    store = open_store(small_disk)
    folder = Folder(store, catalog_of(tasks=None))
    folded: list[str] = []
    ids = new_ids(64)
    noise = [os.urandom(1 << 19).hex() for _ in ids]

    def fill() -> None:
        for each, text in zip(ids, noise, strict=True):
            folder.fold([write(each, {"s": text})])
            folded.append(each)

    with pytest.raises(FoldError) as caught:
        fill()
    assert caught.value.code in ("DiskFull", "FoldFailed")
    folder.number = store.folded_number
    assert folder.number >= len(folded)
    assert len(folder.rows("select _id from tasks")) == folder.number
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    for each, text in list(zip(ids, noise, strict=True))[folder.number :]:
        folder.fold([write(each, {"s": text})])
    assert folder.rows("select count(*) as n from tasks") == [{"n": len(ids)}]
    store.close()


def test_a_change_of_type_that_a_killed_process_left_is_replayed(tmp_path: Path) -> None:
    """DuckDB alone refuses the file: its extension for JSON comes after the replay."""
    path = tmp_path / "tables.duckdb"
    killed = """
import os, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("create table t (x varchar)")
connection.execute("insert into t values ('[1]')")
connection.execute("alter table t alter column x set data type json using try_cast(x as json)")
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    with open_connection(path, limits=Limits(), folders=()) as connection:
        assert connection.execute("from t").fetchall() == [("[1]",)]


def test_a_workspace_killed_after_a_column_was_widened_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "w.livedb"
    killed = """
import os, sys, livedb
db = livedb.open(sys.argv[1])
for value in (1, livedb.Int64(2**53 + 1), 2.5):
    db["t"].insert({"x": value})
    db.sql("select count(*) from t").df
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False, timeout=120)
    with livedb.open(path) as db:
        found = db.sql("select x, x__json from t order by _creationTime").df
        assert found["x__json"].tolist()[1] == '{"$int64":"9007199254740993"}'
