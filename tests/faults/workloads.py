"""What the children of the fault tests do; each takes (workspace path, say, ...)."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable

import livedb
from livedb.limits import Limits

Say = Callable[[str], None]

LIMITS = Limits(fold_idle_s=0.05, documents_read_max=1_000_000, bytes_read_max=1 << 30)
"""Folds come soon, so that kills hit them."""


def warm_up() -> None:
    """Import what the children need, without starting a thread or opening a file."""
    import duckdb  # noqa: F401
    import pandas  # noqa: F401, ICN001
    import pyarrow.parquet  # noqa: F401

    import livedb.client.local
    import livedb.interchange.sources
    import livedb.notebook.handles
    import livedb.repair
    import livedb.store.check_rows
    import livedb.store.loads  # noqa: F401


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Steps:
    """The mutation of the storm: one step of one writer changes three tables at once."""

    def __init__(self, db: livedb.Database) -> None:
        self.db = db

        @db.mutation(name="step")
        def step(ctx, writer: str, n: int, text: str) -> None:
            ctx.db.insert("left", {"writer": writer, "n": n, "text": text})
            ctx.db.insert("right", {"writer": writer, "n": n, "text": text})
            counter = ctx.db.query("counters").filter(lambda q: q.eq(q.field("writer"), writer))
            found = counter.first()
            if found is None:
                ctx.db.insert("counters", {"writer": writer, "n": n})
            else:
                assert found["n"] == n - 1, (writer, found["n"], n)
                ctx.db.patch(found["_id"], {"n": n})
            if n % 7 == 0:  # delete an older pair, so that folds and history see deletes
                for table in ("left", "right"):
                    old = ctx.db.query(table).filter(
                        lambda q: q.and_(q.eq(q.field("writer"), writer), q.eq(q.field("n"), n - 3))
                    )
                    ctx.db.delete(old.first()["_id"])

        self.step = step

    def counters(self) -> dict[str, int]:
        rows = self.db.sql("select writer, n from counters").to_arrow().to_pylist()
        return {row["writer"]: row["n"] for row in rows}


def define_tables(db: livedb.Database) -> None:
    v = livedb.v
    names = ("left", "right", "counters")
    fields = {"writer": v.string(), "n": v.integer()}
    db.push(
        livedb.define_schema(
            {
                name: livedb.define_table(
                    fields if name == "counters" else {**fields, "text": v.string()}
                )
                for name in names
            }
        )
    )


def storm(path: str, say: Say, seed: int, writers: int = 4) -> None:
    """Commit from several threads, with bulk loads, schema changes and folds, until killed.

    Says `step <writer> <n>`, `load <n>`, `shape <n>` once each is acknowledged.
    """
    rng = random.Random(seed)
    db = livedb.open(path, limits=LIMITS)
    define_tables(db)
    steps = Steps(db)
    begun = steps.counters()
    loads = _highest(db, "bulk", "batch")
    shapes = _shape_of(db)
    say("READY")

    def write(writer: str, rng: random.Random) -> None:
        n = begun.get(writer, 0)
        while True:
            n += 1
            steps.step(writer, n, "x" * rng.choice((3, 50, 3000)))
            say(f"step {writer} {n}")

    def load() -> None:
        batch = loads
        while True:
            batch += 1
            db.load("bulk", [{"batch": batch, "row": row} for row in range(40)])
            say(f"load {batch}")

    def reshape() -> None:
        n = shapes
        while True:
            n += 1
            fields = {f"f{i}": livedb.v.optional(livedb.v.integer()) for i in range(n % 5 + 1)}
            fields["n"] = livedb.v.literal(n)
            shape = livedb.define_table(livedb.v.object(fields))
            db.push(livedb.define_schema({"shape": shape}))
            say(f"shape {n}")

    def read() -> None:
        while True:
            db.sql('select count(*) from "left"').to_arrow()

    jobs = [lambda w=f"w{i}", r=random.Random(rng.random()): write(w, r) for i in range(writers)]
    jobs += [load, reshape, read]
    threads = [threading.Thread(target=_guarded(job, say)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _guarded(job: Callable[[], None], say: Say) -> Callable[[], None]:
    def run() -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  # told to the test, which fails
            say(f"ERROR {type(error).__name__}: {error}")

    return run


def _highest(db: livedb.Database, table: str, field: str) -> int:
    if table not in db.tables:
        return 0
    rows = db.sql(f"select coalesce(max({field}), 0) as n from {table}").to_arrow()
    return rows.column(0)[0].as_py()


def _shape_of(db: livedb.Database) -> int:
    table = db.backend.catalog().get("shape")
    if table is None:
        return 0
    return dict(table.definition.document.items)["n"].value
