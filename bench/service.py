"""The service: from a mutation of one client to what other clients are told, over loopback."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

from bench.figure import Figure, Reading, Target
from bench.measure import Bench, Moment, SyncedFile, calls_per_s, medians_us
from bench.served import Echo, ServedTasks
from bench.servers import start_peers
from bench.tasks import open_tasks
from bench.wire import Crowd, WireClient

GROUP = "service"
COUNT = 10_000
ONE, BUMP, PAD = "cells:one", "cells:bump", "cells:pad"
SPREAD = 1571  # a prime
MANY, CONNECTIONS, SUBSCRIBERS, CALLERS = 10_000, 100, 1_000, 64
PADDING_BYTES = 64 << 10
"""Bytes of the document that the stalled reader does not read."""
STALL_ROUNDS = 150
"""Commits until nothing more fits between the service and a reader that does not read."""


def run(bench: Bench) -> Iterator[Figure]:
    yield _callback(bench)
    yield from _many_subscriptions(bench)
    yield from _one_query(bench)
    yield _throughput(bench)
    yield _stalled_reader(bench)


def _callback(bench: Bench) -> Figure:
    rounds = bench.pick(500, 20)
    count = bench.pick(COUNT, 500)
    with ExitStack() as stack:
        served = stack.enter_context(ServedTasks(bench.fresh("callback.livedb"), count))
        hot = served.ids[0]
        caller = stack.enter_context(closing(WireClient(served.port, "caller")))
        other = stack.enter_context(closing(WireClient(served.port, "other")))
        other.follow(ONE, [{"id": hot}])
        echo = stack.enter_context(closing(Echo()))
        file = stack.enter_context(closing(SyncedFile(bench.fresh("synced"))))
        peers, missing = start_peers(bench.folder, count)
        for peer in peers:
            stack.callback(peer.close)

        def step() -> Moment:
            caller.mutate(BUMP, {"id": hot})
            other.wait_for(b'"QueryUpdated"')
            told = Moment(time.perf_counter())
            caller.wait_for(b'"MutationResponse"')
            return told

        def floor() -> None:
            file.append()
            echo.round_trip()
            echo.round_trip()

        livedb_us, floor_us, *peers_us = medians_us(
            rounds, step, floor, *[peer.bump for peer in peers]
        )
    absent = "".join(f"; {name}: peer not available" for name in missing)
    return Figure(
        group=GROUP,
        what=f"durable mutation to another client's callback, WebSocket on loopback{absent}",
        unit="us",
        value=livedb_us,
        floor=Reading(name="fdatasync + 2 round trips", value=floor_us),
        peers=tuple(
            Reading(name=peer.name, value=peer_us)
            for peer, peer_us in zip(peers, peers_us, strict=True)
        ),
        ratio_to="fdatasync + 2 round trips",
        target=Target(of="ratio", comparison="<=", bound=1, text="<= fdatasync + 2 round trips"),
    )


def _many_subscriptions(bench: Bench) -> Iterator[Figure]:
    rounds = bench.pick(500, 20)
    count = bench.pick(MANY, 400)
    connections = bench.pick(CONNECTIONS, 10)
    with ExitStack() as stack:
        served = stack.enter_context(ServedTasks(bench.fresh("many.livedb"), count))
        caller = stack.enter_context(closing(WireClient(served.port, "caller")))
        lone = stack.enter_context(closing(WireClient(served.port, "lone")))
        lone.follow(ONE, [{"id": served.ids[0]}])
        crowd = stack.enter_context(closing(Crowd(served.port, connections)))

        def touch(follower: WireClient, document: str) -> Callable[[], Moment]:
            def step() -> Moment:
                caller.mutate(BUMP, {"id": document})
                follower.wait_for(b'"QueryUpdated"')
                told = Moment(time.perf_counter())
                caller.wait_for(b'"MutationResponse"')
                return told

            return step

        (alone_us,) = medians_us(rounds, touch(lone, served.ids[0]))
        lone.close()
        before = served.used().resident_bytes
        for place, client in enumerate(crowd.clients):
            client.follow(ONE, [{"id": each} for each in served.ids[place::connections]])
        grown = served.used().resident_bytes - before
        (touched_us,) = medians_us(rounds, touch(crowd.clients[3], served.ids[3]))
    what = f"{count:,} subscriptions over {connections} connections"
    yield Figure(
        group=GROUP,
        what=f"{what}: mutation to the callback of the one touched",
        unit="us",
        value=touched_us,
        floor=Reading(name="1 subscription", value=alone_us),
        ratio_to="1 subscription",
        target=Target(of="value", comparison="<=", bound=1000, text="<= 1 ms"),
    )
    yield Figure(
        group=GROUP,
        what=f"{what}: memory of an idle one",
        unit="B",
        value=grown / count,
        target=Target(of="value", comparison="<=", bound=10 << 10, text="<= 10 KiB"),
    )


def _one_query(bench: Bench) -> Iterator[Figure]:
    rounds = bench.pick(100, 5)
    connections = bench.pick(CONNECTIONS, 10)
    each = SUBSCRIBERS // CONNECTIONS
    subscribers = connections * each
    with ExitStack() as stack:
        served = stack.enter_context(ServedTasks(bench.fresh("one.livedb"), 100))
        hot = served.ids[0]
        caller = stack.enter_context(closing(WireClient(served.port, "caller")))
        crowd = stack.enter_context(closing(Crowd(served.port, connections)))
        for client in crowd.clients:
            client.follow(ONE, [{"id": hot}] * each)

        def step() -> Moment:
            told = 0

            def take(_: WireClient, message: bytes) -> None:
                nonlocal told
                told += message.count(b'"QueryUpdated"')

            caller.mutate(BUMP, {"id": hot})
            crowd.read_until(lambda: told == subscribers, take)
            all_told = Moment(time.perf_counter())
            caller.wait_for(b'"MutationResponse"')
            return all_told

        before = served.used()
        (all_us,) = medians_us(rounds, step)
        runs = (served.used().runs - before.runs) / rounds - 1  # one is the mutation
    yield Figure(
        group=GROUP,
        what=f"one query, {subscribers:,} subscribers on {connections} connections: "
        f"mutation until all have it; {runs:.2f} runs a commit",
        unit="us",
        value=all_us,
        target=Target(of="value", comparison="<", bound=_one_run(runs), text="1 run a commit"),
    )


def _one_run(runs: float) -> float:
    """A bound that is met when each commit made one run."""
    return float("inf") if runs <= 1 else 0.0


def _throughput(bench: Bench) -> Figure:
    seconds = bench.pick(40, 5) / 10
    count = bench.pick(COUNT, 500)
    tasks = open_tasks(bench.fresh("callers.livedb"), count)
    with closing(tasks.db):
        ids = tasks.ids(count)
        in_process = calls_per_s(
            CALLERS, seconds, lambda caller, call: tasks.bump(id=ids[_place(caller, call, count)])
        )
    with ExitStack() as stack:
        served = stack.enter_context(ServedTasks(bench.fresh("served.livedb"), count))
        crowd = stack.enter_context(closing(Crowd(served.port, CALLERS)))
        answered, cpu_us, switches = _call_for(served, crowd, seconds)
    return Figure(
        group=GROUP,
        what=f"durable mutations/s, {CALLERS} WebSocket clients; the service takes "
        f"{cpu_us:.0f} us of CPU and {switches:.1f} thread switches for one",
        unit="/s",
        value=answered,
        floor=Reading(name=f"{CALLERS} threads in process", value=in_process),
        ratio_to=f"{CALLERS} threads in process",
        target=Target(of="value", comparison=">=", bound=5_000, text=">= 5,000 /s"),
    )


def _place(caller: int, call: int, count: int) -> int:
    """Neighbouring calls of one caller land far apart."""
    return (caller + call) * SPREAD % count


def _call_for(served: ServedTasks, crowd: Crowd, seconds: float) -> tuple[float, float, float]:
    """Mutations a second when each client sends one as soon as its last one is answered.

    Also what each costs the service, in microseconds of CPU and in thread switches.
    """
    numbers = {client: number for number, client in enumerate(crowd.clients)}
    counts = [0] * len(numbers)
    is_over = False
    waiting = len(numbers)

    def send(client: WireClient) -> None:
        number = numbers[client]
        document = served.ids[_place(number, counts[number], len(served.ids))]
        client.mutate(BUMP, {"id": document})

    def take(client: WireClient, message: bytes) -> None:
        nonlocal waiting
        if b'"MutationResponse"' not in message:
            return
        assert b'"success":true' in message, message
        counts[numbers[client]] += 1
        if is_over or time.perf_counter() > end:
            waiting -= 1
        else:
            send(client)

    before = served.used()
    begin = time.perf_counter()
    end = begin + seconds
    for client in crowd.clients:
        send(client)
    crowd.read_until(lambda: waiting == 0, take)
    took = time.perf_counter() - begin
    after = served.used()
    answered = sum(counts)
    cpu_us = (after.cpu_s - before.cpu_s) * 1e6 / answered
    return answered / took, cpu_us, (after.switches - before.switches) / answered


def _stalled_reader(bench: Bench) -> Figure:
    rounds = bench.pick(100, 5)
    spells = bench.pick(5, 1)
    connections = bench.pick(CONNECTIONS, 10)
    before_us: list[float] = []
    during_us: list[float] = []
    with ExitStack() as stack:
        served = stack.enter_context(ServedTasks(bench.fresh("stalled.livedb"), 100))
        hot, wide = served.ids[:2]
        caller = stack.enter_context(closing(WireClient(served.port, "caller")))
        caller.mutate(PAD, {"id": wide, "size": PADDING_BYTES})
        caller.wait_for(b'"MutationResponse"')
        crowd = stack.enter_context(closing(Crowd(served.port, connections)))
        stalled, *others = crowd.clients
        stalled.follow(ONE, [{"id": wide}])
        for client in others:
            client.follow(ONE, [{"id": hot}])
        # By turns: a p99 is of the few worst commits, which come when the machine has other work.
        for _ in range(spells):
            before_us += _told_us(caller, crowd, len(others), (hot, wide), rounds)
            crowd.leave_unread(stalled)
            _told_us(caller, crowd, len(others), (hot, wide), STALL_ROUNDS)
            during_us += _told_us(caller, crowd, len(others), (hot, wide), rounds)
            crowd.read_again(stalled)
    return Figure(
        group=GROUP,
        what=f"one stalled reader among {connections} clients: p99 of the others' callbacks",
        unit="us",
        value=_p99(during_us),
        floor=Reading(name="it reads", value=_p99(before_us)),
        ratio_to="it reads",
        target=Target(of="ratio", comparison="<=", bound=1.2, text="<= 1.2 x"),
    )


def _told_us(
    caller: WireClient, crowd: Crowd, others: int, documents: tuple[str, str], rounds: int
) -> list[float]:
    """How long each of the others waits for each of a few commits to its document."""
    hot, wide = documents
    waited_us: list[float] = []
    for _ in range(rounds):
        caller.mutate(BUMP, {"id": wide})
        caller.wait_for(b'"MutationResponse"')
        told = len(waited_us) + others
        begin = time.perf_counter()

        def take(_: WireClient, message: bytes, begin: float = begin) -> None:
            if b'"QueryUpdated"' in message and len(message) < PADDING_BYTES:
                waited_us.append((time.perf_counter() - begin) * 1e6)

        caller.mutate(BUMP, {"id": hot})
        crowd.read_until(lambda told=told: len(waited_us) >= told, take)  # type: ignore[misc]
        caller.wait_for(b'"MutationResponse"')
        crowd.drain(0.005)
    return waited_us


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
