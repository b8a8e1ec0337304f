"""Opening a workspace that holds much, and folding changes into its tables."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import livedb
from bench.figure import Figure, Reading
from bench.measure import Bench, best_us, medians_us, timed_us
from bench.peers import SqliteReader
from bench.tasks import Tasks, define_tasks, task_table

GROUP = "storage"
CHANGES = 10_000
CHANGES_PER_MUTATION = 1_000


def run(bench: Bench) -> Iterator[Figure]:
    million = bench.pick(1_000_000, 5_000)
    source = bench.fresh("million.parquet")
    pq.write_table(task_table(million), source)
    for copies in (1, 10):
        held = Held(bench.fresh("held"), million, copies)
        held.make(source)
        yield from _opening(held)
        if copies == 1:
            yield from _folding(held)


@dataclass(frozen=True, slots=True)
class Held:
    """A folder with the same tasks in livedb, DuckDB and SQLite."""

    folder: Path
    distinct: int
    copies: int

    @property
    def count(self) -> int:
        return self.distinct * self.copies

    def path(self, side: str) -> Path:
        return self.folder / f"tasks.{side}"

    def make(self, source: Path) -> None:
        self.folder.mkdir()
        with livedb.open(self.path("livedb")) as db:
            tasks = define_tasks(db)
            for _ in range(self.copies):
                tasks.db.load("tasks", source)
        with duckdb.connect(str(self.path("duckdb"))) as connection:
            connection.execute(f"create table tasks as from read_parquet('{source}') limit 0")
            for _ in range(self.copies):
                connection.execute(f"insert into tasks from read_parquet('{source}')")
        SqliteReader.make(self.path("sqlite"), self.distinct, copies=self.copies).close()


def _opening(held: Held) -> Iterator[Figure]:
    opened_us, first_us = _in_child("livedb", held)
    sqlite_opened_us, sqlite_first_us = _in_child("sqlite", held)
    duckdb_us = best_us(3, lambda: _open_duckdb(held.path("duckdb")))
    yield Figure(
        group=GROUP,
        what=f"open a workspace of {held.count:,} documents, in a new process",
        unit="us",
        value=opened_us,
        floor=Reading(name="DuckDB opens its file", value=duckdb_us),
        peers=(Reading(name="SQLite opens its file", value=sqlite_opened_us),),
        ratio_to="DuckDB opens its file",
    )
    yield Figure(
        group=GROUP,
        what=f"first function that reads a table of {held.count:,}",
        unit="us",
        value=first_us,
        floor=Reading(
            name="DuckDB gives all rows to Arrow", value=_read_duckdb_us(held.path("duckdb"))
        ),
        peers=(Reading(name="SQLite, from its file by an index", value=sqlite_first_us),),
        ratio_to="DuckDB gives all rows to Arrow",
    )


def _open_duckdb(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.sql("select 1").to_arrow_table()


def _read_duckdb_us(path: Path) -> float:
    with duckdb.connect(str(path)) as connection:
        return timed_us(lambda: connection.sql("from tasks").to_arrow_table())


def _in_child(side: str, held: Held) -> tuple[float, float]:
    """Microseconds to open, and then to read 100 documents by an index, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.storage", side, str(held.path(side))],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    opened, first = done.stdout.split()[-2:]
    return float(opened), float(first)


def _report_livedb(folder: Path) -> None:
    begin = time.perf_counter()
    db = livedb.open(folder, limits=livedb.Limits(row_memory_bytes_max=16 << 30))
    opened = time.perf_counter()
    tasks = define_tasks(db)
    defined = time.perf_counter()
    tasks.read_ranges(users=["u1"])
    first = time.perf_counter()
    print((opened - begin) * 1e6, (first - defined) * 1e6)
    db.close()


def _report_sqlite(path: Path) -> None:
    begin = time.perf_counter()
    reader = SqliteReader.open(path)
    opened = time.perf_counter()
    reader.range("u1")
    first = time.perf_counter()
    print((opened - begin) * 1e6, (first - opened) * 1e6)
    reader.close()


def _folding(held: Held) -> Iterator[Figure]:
    count = held.count
    changes = min(CHANGES, count // 2)
    with (
        livedb.open(held.path("livedb")) as db,
        duckdb.connect(str(held.path("duckdb"))) as connection,
    ):
        tasks = define_tasks(db)

        @db.mutation
        def bump_all(ctx: livedb.MutationContext, ids: list[str]) -> None:
            for each in ids:
                ctx.db.patch("tasks", each, {"note": "changed"})

        ids = tasks.ids(count)
        for size in (1, changes):
            chosen = random.Random(size).sample(range(count), size)
            for start in range(0, size, CHANGES_PER_MUTATION):
                bump_all(ids=[ids[i] for i in chosen[start : start + CHANGES_PER_MUTATION]])
            yield Figure(
                group=GROUP,
                what=f"fold {size:,} scattered changes into a table of {count:,}",
                unit="us",
                value=_fold_us(tasks),
                floor=Reading(name="DuckDB appends the rows", value=_append_us(connection, size)),
                peers=(
                    Reading(name="DuckDB update from", value=_peer_update_us(connection, chosen)),
                ),
                ratio_to="DuckDB update from",
            )


def _fold_us(tasks: Tasks) -> float:
    """The first SQL after the changes folds them; the second has nothing to fold."""
    statement = "select count(*) from tasks"
    folding = timed_us(lambda: tasks.db.sql(statement).to_arrow())
    (folded,) = medians_us(5, lambda: tasks.db.sql(statement).to_arrow())
    return max(folding - folded, 0.0)


def _peer_update_us(connection: duckdb.DuckDBPyConnection, chosen: list[int]) -> float:
    connection.register("changes", pa.table({"n": pa.array(chosen, pa.int64())}))
    statement = "update tasks set note = 'changed' from changes where tasks.n = changes.n"
    return timed_us(lambda: connection.execute(statement))


def _append_us(connection: duckdb.DuckDBPyConnection, size: int) -> float:
    """What a fold cannot do without: as many rows written, and durable."""
    connection.execute("create or replace table appended as from tasks limit 0")
    connection.register("rows", task_table(size))
    taken = timed_us(lambda: connection.execute("insert into appended from rows"))
    connection.unregister("rows")
    return taken


if __name__ == "__main__":
    {"livedb": _report_livedb, "sqlite": _report_sqlite}[sys.argv[1]](Path(sys.argv[2]))
