"""What an export writes, to the byte; that it is there whole or not at all; and the way back."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import livedb
from livedb import text
from livedb.errors import LoadError, SqlError
from livedb.interchange import exports
from livedb.interchange.arrow import json_field
from livedb.interchange.exports import export
from livedb.interchange.sources import open_source
from livedb.store.sql import RowStream
from livedb.values import Int64, Value

WHEN = datetime(2026, 1, 31, 12, 30, 15, 5, tzinfo=UTC)
ENDINGS = ("parquet", "csv", "jsonl")


def written(folder: Path, table: pa.Table, ending: str) -> bytes:
    return export(table, folder / f"x.{ending}", overwrite=True).path.read_bytes()


# --- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, cell",
    [
        ("x", "x"),
        (None, ""),
        ("", '""'),
        ("a,b", '"a,b"'),
        ('say "x"', '"say ""x"""'),
        ("two\nlines", '"two\nlines"'),
        ("two\r\nlines", '"two\r\nlines"'),
        (" x ", '" x "'),
        ("NA", "NA"),
        ("=1+1", "=1+1"),
        ("@sum(a1)", "@sum(a1)"),
        ("-2+3|cmd", "-2+3|cmd"),
        ("\u00e4\U0001f600\x00", "\u00e4\U0001f600\x00"),
        (True, "true"),
        (3, "3"),
        (3.0, "3.0"),
        (-0.0, "-0.0"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (WHEN, "2026-01-31T12:30:15.000005Z"),
        (WHEN.replace(tzinfo=None), "2026-01-31T12:30:15.000005"),
        (date(2026, 1, 31), "2026-01-31"),
        (Decimal("1.50"), "1.50"),
        (b"\x00\xff", "AP8="),
        ([1, 2.5, "a,b"], None),
        ({"a": WHEN}, '"{""a"":{""$datetime"":""2026-01-31T12:30:15.000005Z""}}"'),
    ],
)
def test_a_csv_cell(tmp_path: Path, value: Any, cell: str | None) -> None:
    if isinstance(value, list):
        table = pa.table({"x": pa.array([text.encode_value(value).decode()])})
        cell = '"[1,2.5,""a,b""]"'
    else:
        table = pa.table({"x": [value]})
    table = table.append_column("y", pa.array([1]))
    assert written(tmp_path, table, "csv").decode() == f"x,y\n{cell},1\n"


@pytest.mark.parametrize(
    "value, member",
    [
        ("x", '"x"'),
        (None, "null"),
        ("", '""'),
        ('q"\\\n\x00\u2028', '"q\\"\\\\\\n\\u0000\u2028"'),
        (True, "true"),
        (3, "3"),
        (3.0, "3.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (math.nan, '"NaN"'),
        (-math.inf, '"-Infinity"'),
        (WHEN, '"2026-01-31T12:30:15.000005Z"'),
        (date(2026, 1, 31), '"2026-01-31"'),
        (b"\x00\xff", '"AP8="'),
        ([1, None], "[1,null]"),
        ({"a": b"x"}, '{"a":{"$bytes":"eA=="}}'),
    ],
)
def test_a_jsonl_value(tmp_path: Path, value: Any, member: str) -> None:
    line = written(tmp_path, pa.table({"x": [value]}), "jsonl").decode()
    assert line == f'{{"x":{member}}}\n'
    json.loads(line)


def test_json_text_is_json_not_a_string(tmp_path: Path) -> None:
    column = pa.array(['{"a":1.0}', None, "[1]", "null"])
    table = pa.table([column], schema=pa.schema([json_field("x")]))
    assert written(tmp_path, table, "jsonl") == (
        b'{"x":{"a":1.0}}\n{"x":null}\n{"x":[1]}\n{"x":null}\n'
    )


def test_names_that_sql_confuses_stay_what_they_are(tmp_path: Path) -> None:
    names = ["a", "A", "", 'q"', "x,y", "select", "c0"]
    table = pa.table([[number] for number in range(len(names))], names=names)
    assert json.loads(written(tmp_path, table, "jsonl")) == {n: i for i, n in enumerate(names)}
    assert written(tmp_path, table, "csv") == b'a,A,"","q""","x,y",select,c0\n0,1,2,3,4,5,6\n'
    assert pq.read_table(export(table, tmp_path / "x.parquet").path).column_names == names


@pytest.mark.parametrize("ending", ENDINGS)
def test_tables_of_odd_shapes(tmp_path: Path, ending: str) -> None:
    wide = pa.table({f"c{n}": [n] for n in range(600)})
    for table in (pa.table({}), pa.table({"x": pa.array([], pa.int64())}), wide):
        result = export(table, tmp_path / f"x.{ending}", overwrite=True)
        assert result.rows == table.num_rows
        if table.num_columns == 600:
            assert open_source(result.path).reader().read_all().to_pylist() == table.to_pylist()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_rows_keep_their_order_over_many_batches(tmp_path: Path, ending: str) -> None:
    table = pa.table({"x": list(range(300_000))})
    path = export(table, tmp_path / f"x.{ending}").path
    assert open_source(path).reader().read_all()["x"].to_pylist() == table["x"].to_pylist()


# --- the way back ---------------------------------------------------------------------------------

v = livedb.v
FIELDS: dict[str, Any] = {
    "s": v.nullable(v.string()),
    "i": v.nullable(v.integer()),
    "n": v.nullable(v.int64()),
    "f": v.nullable(v.number()),
    "b": v.nullable(v.boolean()),
    "t": v.nullable(v.datetime()),
    "r": v.nullable(v.bytes()),
    "l": v.nullable(v.array(v.union(v.number(), v.string()))),
    "o": v.nullable(v.object({"x": v.int64(), "t": v.nullable(v.datetime())})),
    "a": v.any(),
}
SCHEMA = livedb.define_schema({"t": livedb.define_table(FIELDS)})
DOCUMENTS: list[dict[str, Value]] = [
    {"s": '=q",\n\u00e4', "i": 2**53, "n": Int64(2**63 - 1), "f": math.nan, "b": True, "t": WHEN,
     "r": b"\x00\xff", "l": [1.5, "x"], "o": {"x": Int64(1), "t": WHEN},
     "a": {"x": [b"y", 1, 1.0]}},
    {"s": "", "i": -1, "n": Int64(-(2**63)), "f": -0.0, "b": False,
     "t": datetime(1, 1, 1, tzinfo=UTC), "r": b"", "l": [], "o": {"x": Int64(0), "t": None},
     "a": 1.0},
    {"s": "NA", "i": 0, "n": Int64(0), "f": math.inf, "b": True, "t": WHEN, "r": b"x", "l": ["1"],
     "o": {"x": Int64(5), "t": None}, "a": "1"},
    {**dict.fromkeys(FIELDS), "a": None},
]  # fmt: skip


def exported(db: livedb.Database, name: str) -> list[bytes]:
    """The stored texts of a table with their ids and times, in order."""

    @db.query(name=f"all_of_{name}")
    def everything(ctx: Any) -> Any:
        return ctx.db.query(name).collect()

    return [text.encode_value(dict(each)) for each in everything()]


@pytest.mark.parametrize("ending", ENDINGS)
def test_documents_with_their_ids_come_back_equal(tmp_path: Path, ending: str) -> None:
    with livedb.open() as db, livedb.open() as other:
        for each in (db, other):
            each.push(SCHEMA)
        db["t"].insert(DOCUMENTS)
        path = db.export("t", tmp_path / f"x.{ending}").path
        other.load("t", path, ids="keep")
        assert exported(other, "t") == exported(db, "t")


@pytest.mark.parametrize("ending", ENDINGS)
def test_documents_without_their_ids_come_back_equal(tmp_path: Path, ending: str) -> None:
    with livedb.open() as db, livedb.open() as other:
        for each in (db, other):
            each.push(SCHEMA)
        db["t"].insert(DOCUMENTS)
        rows = db.sql(f"select {', '.join(FIELDS)} from t").to_arrow()
        other.load("t", export(rows, tmp_path / f"x.{ending}").path)
        found, wanted = (
            [{name: each[name] for name in FIELDS} for each in map(json.loads, exported(one, "t"))]
            for one in (other, db)
        )
        assert found == wanted


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_stream_is_written_group_by_group_as_its_rows_would_be(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_GROUP_ROWS", 300)
    table = pa.table({"n": list(range(1000)), "s": [f'"{n},' for n in range(1000)]})
    taken = []

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in table.to_batches(100):
            taken.append(batch.num_rows)
            yield batch

    result = export(RowStream(table.schema, batches()), tmp_path / f"stream.{ending}")
    assert (result.rows, len(taken)) == (1000, 10)
    if ending == "parquet":
        file = pq.ParquetFile(result.path)
        assert file.read() == table
        groups = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
        assert groups == [300, 300, 300, 100]
    else:
        whole = export(table, tmp_path / f"whole.{ending}")
        assert result.path.read_bytes() == whole.path.read_bytes()


def test_large_rows_are_held_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_GROUP_BYTES", 1000)
    table = pa.table({"s": ["x" * 600] * 10})
    path = export(RowStream(table.schema, iter(table.to_batches(1))), tmp_path / "x.parquet").path
    assert pq.ParquetFile(path).num_row_groups == 5


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_stream_that_fails_leaves_no_file(tmp_path: Path, ending: str) -> None:
    table = pa.table({"n": [1]})

    def batches() -> Iterator[pa.RecordBatch]:
        yield table.to_batches()[0]
        raise SqlError("no more")

    with pytest.raises(SqlError):
        export(RowStream(table.schema, batches()), tmp_path / f"x.{ending}")
    assert list(tmp_path.iterdir()) == []


# --- whole or not at all --------------------------------------------------------------------------

TABLE = pa.table({"x": [1, 2, 3]})


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"before")
    with pytest.raises(LoadError, match="overwrite=True") as refusal:
        export(TABLE, path)
    assert refusal.value.code == "FileExists"
    assert path.read_bytes() == b"before"
    result = export(TABLE, str(path), number=7, overwrite=True)
    assert (result.path, result.number, result.rows) == (path, 7, 3)
    assert repr(result) == f"wrote 3 rows to {str(path)!r} (commit 7)"
    assert open_source(path).reader().read_all() == TABLE
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


def test_a_file_that_appears_while_an_export_writes_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (path.write_bytes(b"theirs"), sync(file)))
    with pytest.raises(LoadError) as refusal:
        export(TABLE, path)
    assert refusal.value.code == "FileExists"
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Every write beyond `size` bytes of a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, ending: str, *, overwrite: bool
) -> None:
    path = tmp_path / f"x.{ending}"
    if overwrite:
        path.write_bytes(b"before")
    large = pa.table({"x": [os.urandom(50).hex() for _ in range(20_000)]})
    with files_no_larger_than(100_000), pytest.raises(LoadError, match="cannot be written"):
        export(large, path, overwrite=overwrite)
    assert os.listdir(tmp_path) == [path.name] * overwrite  # noqa: PTH208
    assert not overwrite or path.read_bytes() == b"before"
    assert export(large, path, overwrite=overwrite).rows == 20_000


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_killed_export_leaves_what_was_there(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"before")
    code = (
        "import os, signal, sys, pyarrow as pa\n"
        "from livedb.interchange.exports import export\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "export(pa.table({'x': list(range(100_000))}), sys.argv[1], overwrite=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"before"
    assert len(os.listdir(tmp_path)) == 2  # noqa: PTH208
    export(TABLE, tmp_path / "another.csv")
    assert sorted(os.listdir(tmp_path)) == ["another.csv", path.name]  # noqa: PTH208


@pytest.mark.parametrize(
    "name",
    [
        f".livedb-{socket.gethostname()}-{os.getppid()}-1.part",  # of a process that lives
        ".livedb-elsewhere-4194305-1.part",  # of another machine
        ".livedb-notes.part",
        "data.part",
    ],
)
def test_an_export_removes_nothing_but_what_dead_ones_left(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"kept")
    export(TABLE, tmp_path / "x.csv")
    assert sorted(os.listdir(tmp_path)) == sorted([name, "x.csv"])  # noqa: PTH208


def test_two_exports_to_one_file_at_once_leave_one_of_them_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    tables = [pa.table({"x": [n] * 50_000}) for n in range(4)]
    threads = [
        threading.Thread(target=export, args=(each, path), kwargs={"overwrite": True})
        for each in tables
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert open_source(path).reader().read_all() in tables
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


@pytest.mark.parametrize(
    "name", ["", "folder.csv", "x.txt", "x", "no/such/x.csv", "y" * 300 + ".csv"]
)
def test_what_cannot_be_a_target_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(LoadError):
        export(TABLE, tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.csv"]  # noqa: PTH208


def test_exports_say_the_commit_that_their_rows_are_of(tmp_path: Path) -> None:
    with livedb.open() as db:
        db["t"].insert({"a": 1})
        number = db.number
        # Between the rows and the number another commit must not slip in.
        write_rows = exports.write_rows

        def commit_then_write(rows: Any, *given: Any, **options: Any) -> int:
            db["t"].insert({"a": 2})
            return write_rows(rows, *given, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exports, "write_rows", commit_then_write)
            result = db["t"].to_csv(tmp_path / "x.csv")
        assert (result.number, result.rows) == (number, 1)
        assert db.export("t", tmp_path / "y.csv").number == db.number
        handle = db["t"].live()
        assert handle.to_jsonl(tmp_path / "z.jsonl").number == db.number
        assert db.sql("select 1 a").to_parquet(tmp_path / "s.parquet").number == db.number


def test_an_export_into_a_missing_folder_names_it_and_not_our_temporary_file(
    tmp_path: Path,
) -> None:
    with pytest.raises(LoadError, match="there is no folder") as refused:
        export(pa.table({"a": [1]}), tmp_path / "none" / "x.parquet")
    assert ".part" not in str(refused.value)
