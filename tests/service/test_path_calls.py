"""Calls of clients: no thread waits for a commit, and the answers of a batch come in one piece."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

import livedb
from livedb.errors import LogError
from livedb.service.path_calls import THREADS_MAX
from livedb.service.websocket import SyncConnection
from tests.service import shop
from tests.service.serving import ADMIN_KEY, Wire, serving
from tests.waiting import until

CLIENTS = 20
WAIT_S = 20


def is_response(message):
    return message["type"] == "MutationResponse"


@pytest.fixture
def durable(tmp_path):
    """The shop, on disk."""
    with livedb.open(tmp_path / "shop") as db:
        shop.define(db)
        db["tasks"].insert({"title": "first", "user": "ann"})
        with serving(db) as service:
            yield service


@pytest.fixture
def wires(durable):
    with ExitStack() as stack:
        yield [
            stack.enter_context(Wire(durable, session=f"s{number}")) for number in range(CLIENTS)
        ]


def hub_of(served):
    return served.thread._server._service.hub()


def log_of(served):
    return served.db.backend.workspace.log


@contextmanager
def held_log(served):
    """All that is committed within it waits to be written, and then is one batch."""
    committer = served.db.backend.workspace.committer
    # First something that the log writer waits with.
    with committer._append_lock:
        yield committer


def add_one_each(wires, *, number=1):
    for wire in wires:
        wire.mutate(number, "tasks:add", {"title": "t", "user": "ann"})


def test_the_answers_of_a_batch_are_handed_to_the_loop_in_one_piece(durable, wires, monkeypatch):
    loop_calls = hub_of(durable)._loop_calls
    pieces, put = [], loop_calls.put
    with held_log(durable) as committer:
        before = committer.applied
        add_one_each(wires)
        until(lambda: committer.applied == before + CLIENTS)
        monkeypatch.setattr(loop_calls, "put", lambda *calls: (pieces.append(calls), put(*calls)))
    for wire in wires:
        *_, response = wire.hear_all(is_response)
        assert response["success"]
    assert [len(calls) for calls in pieces if len(calls) > 1] == [CLIENTS]


def test_calls_whose_commits_wait_for_the_disk_hold_no_thread(durable, wires):
    with held_log(durable) as committer:
        before = committer.applied
        add_one_each(wires)
        until(lambda: committer.applied == before + CLIENTS)
        until(lambda: all(each.is_idle for each in hub_of(durable).calls._threads._threads))
    for wire in wires:
        wire.hear_all(is_response)


def test_nobody_is_answered_before_the_commit_is_durable(durable, wires):
    with held_log(durable) as committer:
        before = committer.applied
        add_one_each(wires)
        until(lambda: committer.applied == before + CLIENTS)
        # The loop has nothing of them: one round of it, and nothing is on its way out.
        rounds = threading.Event()
        hub = hub_of(durable)
        hub._loop.call_soon_threadsafe(rounds.set)
        assert rounds.wait(20)
        assert all(each._running is not None for each in hub.connections)
        assert committer.durable == before
    for wire in wires:
        wire.hear_all(is_response)


def test_a_mutation_of_a_connection_starts_no_task(durable, monkeypatch):
    tasks = []
    spawn = SyncConnection._spawn
    monkeypatch.setattr(
        SyncConnection, "_spawn", lambda self, work: (tasks.append(work), spawn(self, work))
    )
    with Wire(durable) as wire:
        wire.mutate(1, "tasks:add", {"title": "t", "user": "ann"})
        wire.hear_all(is_response)
        tasks.clear()  # of the connection itself
        loop, made = hub_of(durable)._loop, []

        def count(loop, coro, **options):
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **options)

        loop.call_soon_threadsafe(loop.set_task_factory, count)
        for number in range(2, 22):
            wire.mutate(number, "tasks:add", {"title": "t", "user": "ann"})
            wire.hear_all(is_response)
            wire.transition()
        loop.call_soon_threadsafe(loop.set_task_factory, None)
    assert tasks == []
    assert made == []


def test_a_first_time_request_asks_the_log_nothing(durable, monkeypatch):
    log, ids = log_of(durable), durable.db.backend.workspace.runner._mutation_ids
    asked = []
    monkeypatch.setattr(ids, "_find_commit", lambda each: (asked.append(each), log.find(each))[1])
    with Wire(durable, session="new") as wire:
        for number in range(20):
            wire.mutate(number, "tasks:add", {"title": "t", "user": "ann"})
            wire.hear_all(is_response)
    assert asked == []
    with Wire(durable, session="new") as again:
        again.mutate(19, "tasks:add", {"title": "t", "user": "ann"})
        again.hear_all(is_response)
    assert asked == ["new:19"]


def test_a_mutation_undone_under_a_failed_log_runs_again_and_happens_once(durable, monkeypatch):
    """The first of a batch fails with it; what was handed over behind it is run again."""
    log = log_of(durable)
    entered, failing = threading.Event(), threading.Event()
    append = log.append

    def fail_once(commits):
        if not entered.is_set():
            entered.set()
            assert failing.wait(20)
            raise LogError("the disk is full", code="DiskFull")
        return append(commits)

    monkeypatch.setattr(log, "append", fail_once)
    committer = durable.db.backend.workspace.committer
    with Wire(durable, session="one") as one, Wire(durable, session="other") as other:
        before = committer.applied
        one.mutate(1, "tasks:add", {"title": "one", "user": "bob"})
        assert entered.wait(20)
        other.mutate(1, "tasks:add", {"title": "other", "user": "bob"})
        until(lambda: committer.applied == before + 2)
        failing.set()
        *_, response = other.hear_all(is_response)
        assert response["success"]
    assert durable.db.sql("select title from tasks where user = 'bob'").to_pandas()[
        "title"
    ].tolist() == ["other"]


def test_a_result_that_cannot_be_sent_fails_the_call_and_commits_nothing(durable):
    db = durable.db

    @db.mutation(name="tasks:odd")
    def odd(ctx):
        ctx.db.insert("tasks", {"title": "odd", "user": "bob"})
        return object()

    with Wire(durable) as wire:
        wire.mutate(1, "tasks:odd", {})
        *_, response = wire.hear_all(is_response)
        assert not response["success"]
    assert db.sql("select title from tasks where user = 'bob'").to_pandas().empty


def test_the_only_call_writes_its_commit_itself_and_beside_others_the_log_writer_does(
    durable, monkeypatch
):
    log, writers = log_of(durable), []
    append = log.append
    monkeypatch.setattr(
        log,
        "append",
        lambda commits: (writers.append(threading.current_thread().name[:11]), append(commits))[1],
    )
    gate = threading.Event()

    @durable.db.action(name="tasks:wait")
    def wait(ctx):
        assert gate.wait(20)

    def add(wire, number):
        wire.mutate(number, "tasks:add", {"title": "t", "user": "ann"})
        wire.hear_all(is_response)

    writers.clear()
    with Wire(durable, session="one") as one, Wire(durable, session="other") as other:
        add(one, 1)
        other.act(1, "tasks:wait")
        until(lambda: hub_of(durable).calls._under_way == 1)
        add(one, 2)
        gate.set()
        other.hear_all(lambda message: message["type"] == "ActionResponse")
        # Callers are answered a moment before the log writer lets go of the log.
        until(lambda: not durable.db.backend.workspace.committer._append_lock.locked())
        add(one, 3)
    assert writers == ["livedb-call", "livedb-log", "livedb-call"]


@contextmanager
def waiting_actions(service, remote, number):
    """Within it so many actions are called, half of them by livedb's own client."""

    async def call_all():
        wait = remote.function("tasks:wait")
        await asyncio.gather(*(wait.aio() for _ in range(number // 2)))

    with Wire(service, session="acting") as wire, ThreadPoolExecutor(1) as pool:
        own = pool.submit(asyncio.run, call_all())
        for request in range(number - number // 2):
            wire.act(request, "tasks:wait")
        yield
        own.result(WAIT_S)
        for _ in range(number - number // 2):
            wire.hear_all(lambda message: message["type"] == "ActionResponse")


@pytest.mark.parametrize("most", [2, THREADS_MAX + 1])
def test_actions_that_wait_hold_up_no_other_call_and_run_so_many_at_once(most):
    gate, begun = threading.Event(), threading.Semaphore(0)
    with livedb.open(limits=livedb.Limits(actions_parallel_max=most)) as db:
        shop.define(db)

        @db.action(name="tasks:wait")
        def wait(ctx):
            begun.release()
            assert gate.wait(60)

        with (
            serving(db) as service,
            Wire(service) as wire,
            livedb.connect(service.url, token=ADMIN_KEY) as remote,
            waiting_actions(service, remote, most + 2),
        ):
            for _ in range(most):
                assert begun.acquire(timeout=WAIT_S)
            wire.mutate(1, "tasks:add", {"title": "t", "user": "ann"})
            *_, response = wire.hear_all(is_response)
            assert response["success"]
            assert remote.function("tasks:titles")(user="ann") == ["t"]
            assert not begun.acquire(blocking=False)  # those beyond wait for their turn
            gate.set()


def test_an_action_that_is_cancelled_while_it_waits_for_its_turn_never_begins():
    gate, ran = threading.Event(), []
    with livedb.open(limits=livedb.Limits(actions_parallel_max=1)) as db:

        @db.action
        def wait(ctx, n: int):
            ran.append(n)
            assert gate.wait(60)

        async def call(remote, service):
            wait = remote.function("wait")
            calls = [asyncio.create_task(wait.aio(n=n)) for n in range(3)]
            cancellations = hub_of(service).calls._cancellations
            await asyncio.to_thread(until, lambda: len(cancellations) == 3)
            first, second, third = cancellations.values()
            calls[1].cancel()
            await asyncio.to_thread(until, lambda: second.is_cancelled)
            gate.set()
            await asyncio.gather(calls[0], calls[2])
            assert [first.is_cancelled, third.is_cancelled] == [False, False]
            await asyncio.to_thread(until, lambda: not cancellations)

        with (
            serving(db) as service,
            livedb.connect(service.url, token=ADMIN_KEY) as remote,
        ):
            asyncio.run(call(remote, service))
    assert ran == [0, 2]
