"""Loads end to end: into new and known tables, all or nothing, watched and interrupted."""

from __future__ import annotations

import functools
import json
import math
import random
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import livedb
from livedb.errors import LivedbError, LoadError, SchemaChangeError
from livedb.interchange.sources import Source, open_source
from livedb.store import loads, staged_file
from livedb.values import Value


def leftovers(db: livedb.Database) -> list[str]:
    """The staged files of a workspace that nobody needs once all is folded."""
    db.sql("select 1").to_arrow()
    workspace = getattr(db, "served", db).backend.workspace
    return [each.name for each in workspace.files.loads.iterdir()]


@pytest.mark.parametrize("bad", [[{"a": 1}, {"a": 2**53 + 1}], [{"_x": 1}], [{"a": {1, 2}}]])
def test_a_refused_load_into_a_new_table_leaves_no_table(
    db: livedb.Database, bad: list[Any]
) -> None:
    before = db.number
    with pytest.raises(LivedbError):
        db.load("new", bad)
    assert "new" not in db.tables
    assert db.number == before
    assert leftovers(db) == []
    assert db.load("new", [{"a": 1}]).rows == 1


@pytest.mark.parametrize("number, advice", [(2**60, "v.int64()"), (2**63, "as text")])
def test_a_number_that_no_column_keeps_exactly_is_refused_with_what_keeps_it(
    memory: livedb.Database, number: int, advice: str
) -> None:
    with pytest.raises(LoadError) as caught:
        memory.load("new", pa.table({"a": pa.array([1, number], pa.uint64())}))
    assert str(number) in str(caught.value)
    assert advice in str(caught.value)
    assert ("int64" in str(caught.value)) == (number < 2**63)


@pytest.mark.parametrize("value", ["x", b"x"])
def test_a_value_larger_than_a_document_is_refused_before_anything_is_made_of_it(
    memory: livedb.Database, tmp_path: Path, value: Any
) -> None:
    pq.write_table(pa.table({"a": [value, value * (2 << 20)]}), tmp_path / "t.parquet")
    with pytest.raises(LoadError, match=r"'a', row 1: the value has 2,097,152 bytes") as caught:
        memory.load("new", tmp_path / "t.parquet")
    assert caught.value.code == "ValueTooLarge"


def test_a_load_that_breaks_while_it_is_read_leaves_no_table(db: livedb.Database) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [1] * 200_000})
        raise OSError("the disk is gone")

    reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())
    with pytest.raises(LoadError, match="the disk is gone"):
        db.load("new", reader)
    assert "new" not in db.tables
    assert leftovers(db) == []


def test_a_new_table_and_its_rows_are_one_commit_that_survives(tmp_path: Path) -> None:
    with livedb.open(tmp_path / "w.livedb") as db:
        before = db.number
        assert db.load("new", [{"a": 1}, {"a": 2}]).number == before + 1
        db["new"].insert({"a": 3})
    with livedb.open(tmp_path / "w.livedb") as db:
        assert sorted(each["a"] for each in db.sql("select a from new").to_arrow().to_pylist()) == [
            1, 2, 3,
        ]  # fmt: skip
        assert db["new"].count() == 3


def test_rows_with_ids_of_their_own_make_a_table_too(db: livedb.Database, tmp_path: Path) -> None:
    db.load("a", [{"x": 1}])
    db["a"].to_parquet(tmp_path / "a.parquet")
    with livedb.open() as other:
        other.load("a", tmp_path / "a.parquet", ids="keep")
        columns = "select _id, _creationTime, x from a"
        assert other.sql(columns).to_arrow() == db.sql(columns).to_arrow()


class Reread:
    """A source that runs `between` each time it is read."""

    def __init__(self, table: pa.Table, between: Callable[[], object]) -> None:
        self.table = table
        self.between = between

    def __call__(self) -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            yield from self.table.to_batches()
            self.between()

        return pa.RecordBatchReader.from_batches(self.table.schema, batches())


def source_of(between: Callable[[], object], *, is_once: bool = False) -> Any:
    table = pa.table({"a": [1, 2]})
    return Source(
        schema=table.schema, reader=Reread(table, between), rows=2, is_repeatable=not is_once
    )


def once(action: Callable[[], object]) -> Callable[[], object]:
    left = [action]
    return lambda: left.pop()() if left else None


@pytest.mark.local("loads without `db`")
def test_a_load_is_prepared_again_when_its_table_changed_meanwhile(db: livedb.Database) -> None:
    workspace = db.backend.workspace
    # Another new table takes the number that the rows' ids carry.
    workspace.load("new", source_of(once(lambda: db["other"].insert({"b": 1}))))
    # The table itself appears.
    workspace.load("late", source_of(once(lambda: db["late"].insert({"a": 0}))))
    for name, count in (("new", 2), ("other", 1), ("late", 3)):
        assert db[name].count() == count
        ids = db.sql(f"select _id from {name}").to_arrow()["_id"].to_pylist()
        assert all(db[name].get(each) is not None for each in ids)


@pytest.mark.local("loads without `db`")
def test_a_source_that_can_be_read_once_is_refused_then(db: livedb.Database) -> None:
    workspace = db.backend.workspace
    source = source_of(lambda: db["other"].insert({"b": 1}), is_once=True)
    with pytest.raises(SchemaChangeError, match="load again"):
        workspace.load("new", source)
    assert "new" not in db.tables
    assert leftovers(db) == []


def test_many_threads_load_new_tables_at_once(db: livedb.Database) -> None:
    def load(name: str) -> None:
        db.load(name, [{"a": number} for number in range(100)])

    threads = [threading.Thread(target=load, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [db[f"t{n}"].count() for n in range(4)] == [100] * 4


# --- long loads -----------------------------------------------------------------------------------


@pytest.mark.local("loads without `db`")
def test_progress_counts_up_to_all_rows(
    db: livedb.Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loads, "SLAB_ROWS", 1000)
    seen: list[int] = []
    workspace = db.backend.workspace
    workspace.load("t", open_source([{"a": n} for n in range(3500)]), progress=seen.append)
    assert seen == [1000, 2000, 3000, 3500]
    db.load("t", [{"a": n} for n in range(3500)], progress=True)
    shown = capsys.readouterr().err
    assert "2,000 of 3,500 rows" in shown
    assert shown.endswith("\r\x1b[K")


@pytest.mark.parametrize("at", [0, 1, 5])
@pytest.mark.local("interrupts the thread that loads")
def test_ctrl_c_in_the_middle_of_a_load_leaves_nothing(
    db: livedb.Database, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "SLAB_ROWS", 1000)

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(10):
            if number == at:
                signal.raise_signal(signal.SIGINT)
            yield pa.record_batch({"a": [number] * 1000})

    reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())
    number = db.number
    with pytest.raises(KeyboardInterrupt):
        db.load("new", reader)
    assert "new" not in db.tables
    assert db.number == number
    assert leftovers(db) == []
    assert db.load("new", [{"a": 1}]).rows == 1


# Python swallows a Ctrl-C that strikes in a destructor, and says so: the load then goes on.
@pytest.mark.filterwarnings(
    "ignore:(?s).*KeyboardInterrupt:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.local("interrupts the thread that loads")
def test_ctrl_c_at_any_moment_loads_all_or_nothing(db: livedb.Database) -> None:
    rows = [{"a": number, "b": f"text {number}"} for number in range(20_000)]
    db.load("t", rows)
    expected, interrupted = len(rows), 0
    generator = random.Random(7)
    for _ in range(25):
        timer = threading.Timer(generator.random() * 0.15, signal.raise_signal, [signal.SIGINT])
        try:
            timer.start()  # within: it may strike while it starts
            db.load("t", rows)
            expected += len(rows)
            timer.cancel()
            timer.join()
        except KeyboardInterrupt:
            interrupted += 1
            found = db.sql("select count(*) n from t").to_arrow()["n"][0].as_py()
            # The commit may have been reached: then all of it is there.
            assert found in (expected, expected + len(rows))
            expected = found
    assert db.sql("select count(*) n from t").to_arrow()["n"][0].as_py() == expected
    assert interrupted
    assert leftovers(db) == []


@pytest.mark.local("interrupts the thread that loads")
def test_ctrl_c_while_the_writing_thread_starts_closes_nothing_under_it(
    db: livedb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The executor forgets a thread that it was interrupted in starting; once it wrote on while the
    # file was closed, which crashed the process.
    start = threading.Thread.start

    def interrupted_start(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("livedb-load"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted_start)
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                db.load("t", [{"a": "x" * 100} for _ in range(5_000)])
    assert leftovers(db) == []
    assert db.load("t", [{"a": 1}]).rows == 1


@pytest.mark.local("interrupts the thread that loads")
def test_ctrl_c_as_the_staged_file_is_opened_leaves_no_file(
    db: livedb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sink(staged_file._HashingSink):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(staged_file, "_HashingSink", Sink)
        with pytest.raises(KeyboardInterrupt):
            db.load("t", [{"a": 1}])
    assert leftovers(db) == []
    assert db.load("t", [{"a": 1}]).rows == 1


def test_rows_that_break_the_schema_at_the_very_end_load_none(
    db: livedb.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "SLAB_ROWS", 1000)
    v = livedb.v
    shape = livedb.define_table({"a": v.integer(), "b": v.optional(v.string())})
    db.push(livedb.define_schema({"t": shape.index("by_a", ["a"], unique=True)}))
    good: list[dict[str, Any]] = [{"a": number, "b": "x"} for number in range(5000)]
    db.load("t", [{"a": -1}])
    number, files = db.number, leftovers(db)
    for last in ({"a": "text"}, {"a": 1.5}, {"a": None}, {}, {"a": 5, "c": 1}, {"a": 7}, {"a": -1}):
        documents = [*good, last]
        with pytest.raises(LivedbError):
            db.load("t", documents)
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in documents))
        with pytest.raises(LivedbError):
            db.load("t", path)
        assert (db["t"].count(), db.number) == (1, number)
        assert leftovers(db) == files
    assert db.load("t", good).rows == 5000


def test_what_a_load_brought_without_a_column_gets_one_from_a_schema(db: livedb.Database) -> None:
    db.load("t", [{f"f{at}": at for at in range(258)}])
    with pytest.warns(UserWarning, match="'f256', 'f257'"):
        assert "f257" not in db["t"].to_arrow().column_names
    names = [f"f{at}" for at in reversed(range(258))]
    table = livedb.define_table({name: livedb.v.integer() for name in names})
    db.push(livedb.define_schema({"t": table}))
    with pytest.warns(UserWarning, match="'f0', 'f1'"):
        [row] = db["t"].to_arrow().to_pylist()
    assert [row["f257"], row["f256"], row["f2"]] == [257, 256, 2]


def test_what_a_load_brought_that_no_member_of_a_union_declares_is_named_as_lacking(
    db: livedb.Database,
) -> None:
    v = livedb.v
    table = livedb.define_table(v.union(v.object({"a": v.integer()}), v.any()))
    db.push(livedb.define_schema({"t": table}))
    db.load("t", [{"a": 1}, {"b": 1}])
    with pytest.warns(UserWarning, match="field 'b'"):
        assert db["t"].to_arrow().num_rows == 2


@pytest.mark.parametrize("write", ["insert", "load"])
def test_numbers_of_a_union_that_a_float_would_round_are_shown_as_json(
    memory: livedb.Database, write: str
) -> None:
    v = livedb.v
    number = v.union(v.int64(), v.number())
    fields = {"a": number, "b": v.number()}
    members = [v.object({"k": v.literal(k), "x": of}) for k, of in fields.items()]
    memory.push(livedb.define_schema({"t": livedb.define_table(v.union(*members))}))
    rows = [
        {"k": "a", "x": livedb.Int64(2**53 + 1)},
        {"k": "a", "x": livedb.Int64(7)},
        {"k": "b", "x": 1.5},
    ]
    add = memory["t"].insert if write == "insert" else functools.partial(memory.load, "t")
    add(rows)
    shown = memory.sql("select x, x__json from t order by _creationTime").to_arrow().to_pylist()
    assert shown == [
        {"x": None, "x__json": '{"$int64":"9007199254740993"}'},
        {"x": 7.0, "x__json": None},
        {"x": 1.5, "x__json": None},
    ]


def test_a_load_may_widen_a_column_and_have_json_after_it(memory: livedb.Database) -> None:
    memory["t"].insert({"x": 0.5})
    assert len(memory.sql("from t")) == 1  # the column is one of DOUBLE from here on
    memory.load("t", [{"x": livedb.Int64(2**53 + 1), "y": [1, 2]}])
    shown = memory.sql("select x, x__json, y from t order by _creationTime").to_arrow().to_pylist()
    assert shown == [
        {"x": 0.5, "x__json": None, "y": None},
        {"x": None, "x__json": '{"$int64":"9007199254740993"}', "y": "[1,2]"},
    ]


@pytest.mark.parametrize("kind", ["handle", "table", "sql", "documents", "parquet", "csv", "jsonl"])
def test_rows_of_one_table_can_be_loaded_into_another(memory, tmp_path, kind):
    memory.load("f", [{"x": 1, "tags": ["a"]}, {"x": 2, "tags": []}])
    source = {
        "handle": memory["f"].live,
        "table": lambda: memory["f"],
        "sql": lambda: memory.sql("from f"),
        "documents": memory["f"].collect,
    }.get(kind, lambda: memory.export("f", tmp_path / f"f.{kind}").path)()
    with pytest.raises(LoadError, match='ids="new" to leave them out'):
        memory.load("g", source)
    with pytest.raises(LoadError, match="no id of table 'g'; pass ids=\"new\""):
        memory.load("g", source, ids="keep")
    assert memory.load("g", source, ids="new").rows == 2
    assert [row["x"] for row in memory["g"]] == [1, 2]
    assert not {row["_id"] for row in memory["f"]} & {row["_id"] for row in memory["g"]}


@pytest.mark.parametrize("before", [None, 1, 2.5])
@pytest.mark.parametrize("kind", ["documents", "jsonl", "objects", "decimals"])
def test_numbers_of_an_undeclared_field_are_a_column_that_sql_adds_up(
    db: livedb.Database, tmp_path: Path, kind: str, before: float | None
) -> None:
    if before is not None:
        db["t"].insert({"x": before})
    numbers = [1, 2.5, None, -3]
    documents = [{"x": each} for each in numbers]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in documents))
    exact = [None if each is None else Decimal(str(each)) for each in numbers]
    source: Any = {
        "documents": documents,
        "jsonl": path,
        "objects": pd.DataFrame({"x": pd.Series(numbers, dtype=object)}),
        "decimals": pa.table({"x": pa.array(exact, pa.decimal128(9, 2))}),
    }[kind]
    db.load("t", source)
    [column] = db.sql("describe t").to_arrow().filter(pc.field("column_name") == "x").to_pylist()
    assert column["column_type"] == "DOUBLE"
    assert db.sql("select sum(x) s from t").to_arrow().to_pylist() == [{"s": 0.5 + (before or 0)}]
    assert str(db["t"].df.dtypes["x"]) == "Float64"


def test_odd_floats_beside_ints_are_in_their_column_too(db: livedb.Database) -> None:
    odd = [1, math.nan, math.inf, -math.inf, -0.0, None, 2**53, 1e300]
    db.load("t", [{"x": each} for each in odd])
    read = db.sql("select x from t order by _creationTime").to_arrow()["x"].to_pylist()
    assert repr(read) == repr([each if each is None else float(each) for each in odd])
    assert repr([each["x"] for each in db["t"]]) == repr(odd)


MIXES: list[list[Value]] = [
    [1, "x"],
    [None, "x", 1, 2.5],
    [1, "x", 2.5],
    [2.5, 1, livedb.Int64(7), True],
    [1, livedb.Int64(2**62)],
    [livedb.Int64(7), 1.5],
    [True, 1, False],
    ["a\x00\u2028\U0001f600", b"x", ""],
    [b"\x00\xff", "AP8=", b""],
    [datetime(1, 2, 3, 4, 5, 6, 7, tzinfo=UTC), "2020-01-01"],
    [math.nan, [1], -0.0, math.inf],
    [[1], 1, "x", {"a": None}],
    [{"a": 1}, 7],
    ["x", {"a": 1}, {}, [], None],
    [1, "1", True, "true", 1.0],
    [None, None],
]


@pytest.mark.parametrize("before", [None, 1, 2.5, "s", True, [1], b"b"], ids=repr)
def test_a_loaded_mix_has_the_columns_of_the_same_rows_inserted(
    memory: livedb.Database, before: Value
) -> None:
    rows = [
        {f"x{at}": mix[row] for at, mix in enumerate(MIXES) if row < len(mix)}
        for row in range(max(map(len, MIXES)))
    ]
    first = {f"x{at}": before for at in range(len(MIXES))}
    later = dict.fromkeys(first, "later")
    for table in ("loaded", "inserted"):
        memory[table].insert(first)
    memory.load("loaded", rows)
    memory["inserted"].insert(rows)
    assert shown(memory, "loaded") == shown(memory, "inserted")
    for table in ("loaded", "inserted"):
        memory[table].insert(later)
    assert shown(memory, "loaded") == shown(memory, "inserted")


def shown(db: livedb.Database, table: str) -> tuple[list[str], list[str]]:
    """Columns with their types, and rows, as SQL shows them."""
    rows = db.sql(f"select * exclude (_id, _creationTime) from {table}").to_arrow()
    types = db.sql(f"describe {table}").to_arrow().select(["column_name", "column_type"])
    in_order = rows.select(sorted(rows.column_names)).to_pylist()
    return sorted(map(repr, types.to_pylist())), sorted(map(repr, in_order))
