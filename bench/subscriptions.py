"""One mutation that touches 1 of S subscriptions: the cost may not grow with S."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figure import Figure, Reading, Target
from bench.measure import Bench, Moment, Watch, medians_us
from bench.peers import SqliteTrigger
from bench.tasks import open_tasks

GROUP = "subscriptions"
PEER = "SQLite + trigger"
COST = Target(of="value", comparison="<=", bound=50, text="<= 50 us")
GROWTH = Target(of="ratio", comparison="<", bound=2, text="< 2 x growth")


def run(bench: Bench) -> Iterator[Figure]:
    sizes = [10, 1_000, bench.pick(100_000, 2_000)]
    rounds = bench.pick(2000, 50)
    tasks = open_tasks(None, sizes[-1])
    sqlite = SqliteTrigger(":memory:", sizes[-1], watched=0)
    try:
        ids = tasks.ids(sizes[-1])
        hot = ids[0]
        held = [tasks.one.live(id=hot)]
        watch = Watch(held[0])
        calls: list[float] = []
        arrivals: list[float] = []
        peers: list[float] = []
        for size in sizes:
            held += [tasks.one.live(id=each) for each in ids[len(held) : size]]
            sqlite.watch_first(size)
            call_us, peer_us = medians_us(
                rounds, lambda: tasks.bump(id=hot), lambda: sqlite.bump("k0")
            )
            calls.append(call_us)
            peers.append(peer_us)

            def until_callback() -> Moment:
                n = tasks.bump(id=hot)
                return watch.wait(lambda value: value["n"] == n)

            arrivals += medians_us(rounds, until_callback)
        for handle in held:
            handle.close()
    finally:
        tasks.db.close()
        sqlite.close()
    for size, call_us, peer_us in zip(sizes, calls, peers, strict=True):
        yield Figure(
            group=GROUP,
            what=f"mutation touching 1 of {size:,} subscriptions",
            unit="us",
            value=call_us,
            floor=Reading(name=f"{sizes[0]} subscriptions", value=calls[0]),
            peers=(Reading(name=PEER, value=peer_us),),
            ratio_to=f"{sizes[0]} subscriptions",
            target=GROWTH if size == sizes[-1] else COST,
        )
    yield Figure(
        group=GROUP,
        what=f"the same until its callback, {sizes[-1]:,} subscriptions",
        unit="us",
        value=arrivals[-1],
        floor=Reading(name=f"{sizes[0]} subscriptions", value=arrivals[0]),
        peers=(Reading(name=PEER, value=peers[-1]),),
        ratio_to=f"{sizes[0]} subscriptions",
        target=GROWTH,
    )
