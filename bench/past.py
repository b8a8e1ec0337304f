"""The past: what a read of `db.at(n)` costs, by how much changed since, beside a read of now."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from bench.figure import Figure, Reading
from bench.measure import Bench, medians_us, timed_us
from livedb import Limits, MutationContext, QueryContext
from livedb import open as open_workspace

GROUP = "past"
DOCUMENTS = 20_000
AT_ONCE = 1_000
LOADED = 2
"""The commit after which the table has its documents."""
ROUNDS = 5
CHANGES = (0, 10)
"""Versions in the history, for each document of the table."""

SQL = "select count(*) as c, sum(n) as s, max(title) as t from notes"


def run(bench: Bench) -> Iterator[Figure]:
    documents = bench.pick(DOCUMENTS, 500)
    for changes in CHANGES:
        with closing(_filled(bench, documents, changes)) as db:
            yield from _figures(db, documents, changes)


def _filled(bench: Bench, documents: int, changes: int) -> Any:
    """A table, each of whose documents was changed so many times since commit 2."""
    limits = Limits(documents_read_max=10**9, bytes_read_max=1 << 40)
    db = open_workspace(bench.fresh(f"past-{changes}.livedb"), limits=limits)

    @db.table("notes")
    class Note:
        n: int
        title: str
        done: bool = False

    db.load("notes", [{"n": n, "title": f"note {n}", "done": False} for n in range(documents)])

    @db.mutation
    def change(ctx: MutationContext, ids: list[str], n: int) -> None:
        for each in ids:
            ctx.db.patch(each, {"n": n})

    @db.query
    def total(ctx: QueryContext) -> int:
        return sum(row["n"] for row in ctx.db.query("notes").collect())

    ids = db.sql("select _id from notes").to_arrow().column(0).to_pylist()
    for n in range(changes):
        for start in range(0, len(ids), AT_ONCE):
            change(ids=ids[start : start + AT_ONCE], n=n)
        db.sql(SQL)
    return db


def _figures(db: Any, documents: int, changes: int) -> Iterator[Figure]:
    since = f"{documents:,} documents, {documents * changes:,} changes since"
    for name, read_of in (("SQL", _sql_of), ("query", _query_of)):
        read_of(db)()
        first = [_first_us(db, read_of) for _ in range(ROUNDS)]
        past_read = read_of(db.at(LOADED))
        past_read()
        # In turns, so that both meet the same weather.
        [now_us, again_us] = medians_us(5 * ROUNDS, read_of(db), past_read)
        yield _figure(f"first {name} at a past commit: {since}", statistics.median(first), now_us)
        yield _figure(f"{name} there again: {since}", again_us, now_us)


def _sql_of(db: Any) -> Callable[[], object]:
    return lambda: db.sql(SQL)


def _query_of(db: Any) -> Callable[[], object]:
    total: Callable[[], object] = db.function("total")
    return total


def _first_us(db: Any, read_of: Callable[[Any], Callable[[], object]]) -> float:
    db.backend.workspace.pasts.drop_idle()
    return timed_us(read_of(db.at(LOADED)))


def _figure(what: str, value: float, now_us: float) -> Figure:
    return Figure(
        group=GROUP,
        what=what,
        unit="us",
        value=value,
        floor=Reading(name="read of now", value=now_us),
        ratio_to="read of now",
    )
