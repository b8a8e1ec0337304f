"""From a mutation to the callback that holds the new result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread

from bench.figure import Figure, Reading, Target
from bench.measure import Bench, Moment, SyncedFile, Watch, busy_python, medians_us
from bench.peers import DuckdbRerun, SqliteTrigger
from bench.tasks import Tasks, open_tasks

GROUP = "commit"
COUNT = 10_000


def run(bench: Bench) -> Iterator[Figure]:
    yield from _durable(bench)
    yield _while_busy(bench)
    yield _in_memory(bench)


def _bump_and_wait(tasks: Tasks) -> Callable[[], object]:
    """A step: one mutation, and the callback of the live query that it touched."""
    (hot,) = tasks.ids(1)
    handle = tasks.one.live(id=hot)
    watch = Watch(handle)

    def step() -> Moment:
        n = tasks.bump(id=hot)
        return watch.wait(lambda value: value["n"] == n)

    # Whoever holds the step holds the handle, which would unsubscribe when dropped.
    step.handle = handle  # type: ignore[attr-defined]
    return step


def _durable(bench: Bench) -> Iterator[Figure]:
    rounds = bench.pick(500, 20)
    count = bench.pick(COUNT, 500)
    tasks = open_tasks(bench.fresh("commit.livedb"), count)
    file = SyncedFile(bench.fresh("synced"))
    sqlite = SqliteTrigger(bench.fresh("trigger.sqlite"), count)
    duckdb = DuckdbRerun(bench.fresh("rerun.duckdb"), count)
    try:
        livedb_us, sync_us, sqlite_us, duckdb_us = medians_us(
            rounds,
            _bump_and_wait(tasks),
            file.append,
            lambda: sqlite.bump("k5"),
            lambda: duckdb.bump("k5"),
        )
    finally:
        for part in (tasks.db, file, sqlite, duckdb):
            part.close()
    yield Figure(
        group=GROUP,
        what="durable mutation to callback, in process",
        unit="us",
        value=livedb_us,
        floor=Reading(name="fdatasync", value=sync_us),
        peers=(
            Reading(name="SQLite + trigger", value=sqlite_us),
            Reading(name="DuckDB update and rerun", value=duckdb_us),
        ),
        ratio_to="fdatasync",
        target=Target(of="ratio", comparison="<=", bound=1.5, text="<= 1.5 x fdatasync"),
    )


def _while_busy(bench: Bench) -> Figure:
    rounds = bench.pick(300, 10)
    count = bench.pick(COUNT, 500)
    tasks = open_tasks(bench.fresh("busy.livedb"), count)
    file = SyncedFile(bench.fresh("synced-busy"))
    sqlite = SqliteTrigger(bench.fresh("busy.sqlite"), count)
    try:
        step = _bump_and_wait(tasks)
        with busy_python():
            livedb_us, sync_us, sqlite_us = medians_us(
                rounds, step, file.append, lambda: sqlite.bump("k5")
            )
    finally:
        for part in (tasks.db, file, sqlite):
            part.close()
    return Figure(
        group=GROUP,
        what="the same while a cell computes in Python",
        unit="us",
        value=livedb_us,
        floor=Reading(name="fdatasync", value=sync_us),
        peers=(Reading(name="SQLite + trigger", value=sqlite_us),),
        ratio_to="fdatasync",
        target=Target(of="value", comparison="<=", bound=3000, text="<= 3 ms"),
    )


def _in_memory(bench: Bench) -> Figure:
    rounds = bench.pick(3000, 50)
    count = bench.pick(COUNT, 500)
    tasks = open_tasks(None, count)
    sqlite, duckdb = SqliteTrigger(":memory:", count), DuckdbRerun(":memory:", count)
    try:
        livedb_us, sqlite_us = medians_us(rounds, _bump_and_wait(tasks), lambda: sqlite.bump("k5"))
        (duckdb_us,) = medians_us(rounds // 10, lambda: duckdb.bump("k5"))
    finally:
        for part in (tasks.db, sqlite, duckdb):
            part.close()
    return Figure(
        group=GROUP,
        what="mutation to callback, workspace in memory",
        unit="us",
        value=livedb_us,
        floor=Reading(name="two thread hand-overs", value=_hand_over_us(rounds)),
        peers=(
            Reading(name="SQLite + trigger", value=sqlite_us),
            Reading(name="DuckDB update and rerun", value=duckdb_us),
        ),
        target=Target(of="value", comparison="<=", bound=80, text="<= 80 us"),
    )


def _hand_over_us(rounds: int) -> float:
    """What it costs to ask another thread and to be answered, with no work between."""
    asked: SimpleQueue[bool] = SimpleQueue()
    answered: SimpleQueue[bool] = SimpleQueue()

    def answer() -> None:
        while asked.get():
            answered.put(True)

    thread = Thread(target=answer)
    thread.start()

    def step() -> None:
        asked.put(True)
        answered.get()

    (taken,) = medians_us(rounds, step)
    asked.put(False)
    thread.join()
    return taken
