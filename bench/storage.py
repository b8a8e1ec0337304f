"""Opening a workspace that holds much, and folding changes into its tables."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import livedb
from bench.figure import Figure, Reading
from bench.measure import Bench, best_us, medians_us, timed_us
from bench.tasks import Tasks, define_tasks, task_table

GROUP = "storage"
CHANGES = 10_000
CHANGES_PER_MUTATION = 1_000


def run(bench: Bench) -> Iterator[Figure]:
    million = bench.pick(1_000_000, 5_000)
    source = bench.fresh("million.parquet")
    pq.write_table(task_table(million), source)
    folder = bench.fresh("million.livedb")
    peer = bench.fresh("million.duckdb")
    _make(folder, [source])
    _make_peer(peer, [source])
    yield from _opening(folder, peer, million)
    yield from _folding(folder, peer, million)

    folder, peer = bench.fresh("ten-million.livedb"), bench.fresh("ten-million.duckdb")
    _make(folder, [source] * 10)
    _make_peer(peer, [source] * 10)
    yield from _opening(folder, peer, million * 10)


def _make(folder: Path, sources: list[Path]) -> None:
    with livedb.open(folder) as db:
        tasks = define_tasks(db)
        for source in sources:
            tasks.db.load("tasks", source)


def _make_peer(path: Path, sources: list[Path]) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"create table tasks as from read_parquet('{sources[0]}') limit 0")
        for source in sources:
            connection.execute(f"insert into tasks from read_parquet('{source}')")


def _opening(folder: Path, peer: Path, count: int) -> Iterator[Figure]:
    duckdb_us = best_us(3, lambda: _open_peer(peer))
    opened_us, first_us = _open_in_child(folder)
    yield Figure(
        group=GROUP,
        what=f"open a workspace of {count:,} documents, in a new process",
        unit="us",
        value=opened_us,
        floor=Reading(name="DuckDB opens its file", value=duckdb_us),
    )
    yield Figure(
        group=GROUP,
        what=f"first function that reads a table of {count:,}",
        unit="us",
        value=first_us,
        floor=Reading(name="DuckDB gives all rows to Arrow", value=_read_peer_us(peer)),
    )


def _open_peer(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.sql("select 1").to_arrow_table()


def _read_peer_us(path: Path) -> float:
    with duckdb.connect(str(path)) as connection:
        return timed_us(lambda: connection.sql("from tasks").to_arrow_table())


def _open_in_child(folder: Path) -> tuple[float, float]:
    """Microseconds to open, and then to run the first function, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.storage", str(folder)],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    opened, first = done.stdout.split()[-2:]
    return float(opened), float(first)


def _report_opening(folder: Path) -> None:
    begin = time.perf_counter()
    db = livedb.open(folder, limits=livedb.Limits(row_memory_bytes_max=16 << 30))
    opened = time.perf_counter()
    tasks = define_tasks(db)
    defined = time.perf_counter()
    tasks.read_ranges(users=["u1"])
    first = time.perf_counter()
    print((opened - begin) * 1e6, (first - defined) * 1e6)
    db.close()


def _folding(folder: Path, peer: Path, count: int) -> Iterator[Figure]:
    changes = min(CHANGES, count // 2)
    with livedb.open(folder) as db, duckdb.connect(str(peer)) as connection:
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


if __name__ == "__main__":
    _report_opening(Path(sys.argv[1]))
