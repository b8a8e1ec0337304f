"""Durable mutations a second from 64 callers at once."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figure import Figure, Reading, Target
from bench.measure import Bench, SyncedFile, calls_per_s, medians_us
from bench.peers import SqliteBatched
from bench.tasks import open_tasks

GROUP = "throughput"
CALLERS = 64
COUNT = 10_000
SPREAD = 1571  # a prime: neighbouring calls of one caller land far apart


def run(bench: Bench) -> Iterator[Figure]:
    seconds = bench.pick(40, 2) / 10
    count = bench.pick(COUNT, 500)
    tasks = open_tasks(bench.fresh("callers.livedb"), count)
    sqlite = SqliteBatched(bench.fresh("batched.sqlite"), count)
    file = SyncedFile(bench.fresh("synced"))
    try:
        ids = tasks.ids(count)
        keys = [f"k{number}" for number in range(count)]
        (sync_us,) = medians_us(bench.pick(300, 20), file.append)
        for what, spread in (("spread over 10,000 documents", SPREAD), ("on one document", 0)):
            # `spread` is bound now: the callers of one round all use the same.
            def place(caller: int, call: int, spread: int = spread) -> int:
                return (caller + call) * spread % count

            livedb = calls_per_s(
                CALLERS,
                seconds,
                lambda caller, call, at=place: tasks.bump(id=ids[at(caller, call)]),
            )
            peer = calls_per_s(
                CALLERS, seconds, lambda caller, call, at=place: sqlite.bump(keys[at(caller, call)])
            )
            yield Figure(
                group=GROUP,
                what=f"durable mutations/s, 64 callers, {what}",
                unit="/s",
                value=livedb,
                floor=Reading(name="64 a fdatasync", value=CALLERS * 1e6 / sync_us),
                peers=(Reading(name="SQLite batched", value=peer),),
                ratio_to="SQLite batched",
                target=Target(of="value", comparison=">=", bound=15_000, text=">= 15,000 /s"),
            )
    finally:
        for part in (tasks.db, sqlite, file):
            part.close()
