"""Resident memory of a document that functions can read.

Each side runs in a process of its own and reports how much it grew. livedb loads two tables of the
same size and the growth by the second one counts, with what its load leaves behind: by then DuckDB
holds as many pages of its file as it may, which it drops whenever it likes.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bench.figure import Figure, Reading, Target
from bench.measure import Bench
from bench.tasks import FIELDS, Task, task, task_table

GROUP = "memory"
SQL_MEMORY_BYTES = 64 << 20
"""Less than what of the first table is read when it is loaded, so that DuckDB's pages are at it."""
SETTLE_S = 3.0
"""DuckDB gives back what a statement took when its threads have been idle for a while."""


def run(bench: Bench) -> Iterator[Figure]:
    count = bench.pick(1_000_000, 5_000)
    folder = bench.fresh("memory.livedb")
    _child("fill", folder, count)
    yield Figure(
        group=GROUP,
        what=f"memory per resident document of 6 fields, one index, {count:,} documents",
        unit="B",
        value=_child("livedb", folder, count) / count,
        floor=Reading(name="its JSON text", value=float(_json_bytes(count))),
        peers=(Reading(name="dict of dicts", value=_child("dicts", folder, count) / count),),
        ratio_to="dict of dicts",
        target=Target(of="value", comparison="<=", bound=200, text="<= 200 B"),
    )


def _json_bytes(count: int) -> int:
    import json

    return len(json.dumps(task(count // 2), separators=(",", ":")))


def _child(side: str, folder: Path, count: int) -> int:
    command = [sys.executable, "-m", "bench.memory", side, str(folder), str(count)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[-1])


def resident_bytes() -> int:
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def _fill(folder: Path, count: int) -> int:
    import livedb

    with livedb.open(folder) as db:
        for name in ("first", "second"):
            db.table(name, indexes={"by_user": ["user", "due"]})(Task)
            db.load(name, task_table(count))
    return 0


def _livedb(folder: Path, _count: int) -> int:
    import pyarrow as pa

    import livedb

    with livedb.open(folder, limits=livedb.Limits(sql_memory_bytes_max=SQL_MEMORY_BYTES)) as db:

        @db.query
        def touch(ctx: Any, table: str) -> int:
            return len(ctx.db.query(table).with_index("by_user", user="u1").collect())

        touch(table="first")
        for name in ("first", "second"):  # every page that DuckDB may keep, it keeps from here on
            columns = ", ".join(f'max("{field}")' for field in ("_id", *FIELDS))
            db.sql(f"select {columns} from {name}").to_arrow()
        pa.default_memory_pool().release_unused()
        time.sleep(SETTLE_S)
        before = resident_bytes()
        touch(table="second")
        time.sleep(SETTLE_S)
        gc.collect()
        return psutil.Process().memory_info().rss - before


def _dicts(_folder: Path, count: int) -> int:
    before = resident_bytes()
    documents = {f"k{number:031}": task(number) for number in range(count)}
    grown = resident_bytes() - before
    assert len(documents) == count
    return grown


if __name__ == "__main__":
    sides = {"fill": _fill, "livedb": _livedb, "dicts": _dicts}
    print(sides[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])))
