"""Loads end to end: into new and known tables, all or nothing, watched and interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import livedb
from livedb.errors import LivedbError, LoadError, SchemaChangeError


def leftovers(db: livedb.Database) -> list[str]:
    """The staged files of a workspace that nobody needs once all is folded."""
    db.sql("select 1").to_arrow()
    return [each.name for each in db.backend.workspace.loads_folder.iterdir()]


@pytest.fixture(params=["disk", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[livedb.Database]:
    with livedb.open(tmp_path / "w.livedb" if request.param == "disk" else None) as opened:
        yield opened


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
    from livedb.interchange.sources import Source

    table = pa.table({"a": [1, 2]})
    return Source(
        schema=table.schema, reader=Reread(table, between), rows=2, is_repeatable=not is_once
    )


def once(action: Callable[[], object]) -> Callable[[], object]:
    left = [action]
    return lambda: left.pop()() if left else None


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
