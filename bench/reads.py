"""Reads of a function: one document by its id, and a range of 100 by an index."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figure import Figure, Reading, Target
from bench.measure import Bench, medians_us
from bench.peers import SqliteReader
from bench.tasks import TASKS_PER_USER, open_tasks, task

GROUP = "reads"


def run(bench: Bench) -> Iterator[Figure]:
    count = bench.pick(100_000, 2_000)
    points, ranges, rounds = 1_000, bench.pick(100, 10), bench.pick(50, 5)
    tasks = open_tasks(bench.fresh("reads.livedb"), count)
    sqlite = SqliteReader.make(bench.fresh("reads.sqlite"), count)
    try:
        ids = tasks.ids(points)
        users = [f"u{number}" for number in range(ranges)]
        keys = [f"k{number}" for number in range(points)]
        documents = {key: task(number) for number, key in enumerate(keys)}
        # The call around the reads is taken off, and a cell's clock would cost as much as a read.
        empty_us, points_us, ranges_us, sqlite_points_us, sqlite_ranges_us, dict_us = medians_us(
            rounds,
            lambda: tasks.read_many(ids=[]),
            lambda: tasks.read_many(ids=ids),
            lambda: tasks.read_ranges(users=users),
            lambda: [sqlite.one(key) for key in keys],
            lambda: [sqlite.range(user) for user in users],
            lambda: [dict(documents[key]) for key in keys],
        )
    finally:
        tasks.db.close()
        sqlite.close()
    yield Figure(
        group=GROUP,
        what="point read from a function",
        unit="us",
        value=(points_us - empty_us) / points,
        floor=Reading(name="copy of a dict", value=dict_us / points),
        peers=(Reading(name="SQLite + json", value=sqlite_points_us / points),),
        ratio_to="SQLite + json",
        target=Target(of="value", comparison="<=", bound=5, text="<= 5 us"),
    )
    yield Figure(
        group=GROUP,
        what=f"index range of {TASKS_PER_USER} documents from a function",
        unit="us",
        value=(ranges_us - empty_us) / ranges,
        floor=Reading(name="copies of dicts", value=dict_us / points * TASKS_PER_USER),
        peers=(Reading(name="SQLite + json", value=sqlite_ranges_us / ranges),),
        ratio_to="SQLite + json",
        target=Target(of="value", comparison="<=", bound=60, text="<= 60 us"),
    )
