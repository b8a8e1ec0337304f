"""A connected `db` when the network or the service fails: nothing lost, nothing twice, no hang."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

import livedb
from livedb.auth.access import Role
from livedb.client import connection
from livedb.errors import (
    AuthenticationError,
    ClosedError,
    DisconnectedError,
    ForkedError,
    FunctionTypeError,
    LimitError,
    WorkspaceError,
    WorkspaceGoneError,
)
from livedb.service.access import Access
from livedb.service.definition_calls import DefinitionCalls
from livedb.service.server import ServiceThread
from tests.client.cutting import Proxy
from tests.waiting import until


@pytest.fixture
def served():
    """A workspace with a query `numbers` and a mutation `add`."""
    with livedb.open() as db:

        @db.query
        def numbers(ctx) -> list[int]:
            return [row.n for row in ctx.db.query("numbers").collect()]

        @db.mutation
        def add(ctx, n: int) -> int:
            ctx.db.insert("numbers", {"n": n})
            return n

        yield db


@pytest.fixture
def access(served):
    return Access(served.backend.workspace.clock, anonymous=Role.OWNER)


@pytest.fixture
def service(served, access):
    with ServiceThread(served.backend.workspace, access=access) as running:
        yield running


@pytest.fixture
def proxy(service):
    with Proxy(service.port) as between:
        yield between


@pytest.fixture
def db(proxy):
    with livedb.connect(proxy.url) as connected:
        yield connected


def go_away(db, proxy):
    proxy.is_down = True
    proxy.cut()
    until(lambda: db.status.state == "reconnecting")


def come_back(db, proxy):
    proxy.is_down = False
    until(lambda: db.status.state == "connected")


# -- once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "direction, delivers",
    [("up", False), ("up", True), ("down", False), ("down", True)],
    ids=["before send", "after send", "after commit", "after ack"],
)
def test_a_mutation_cut_off_happens_once_and_is_answered(served, db, proxy, direction, delivers):
    add = db.function("add")
    for n in range(5):
        done = proxy.cut_next(direction, delivers=delivers)
        assert add(n=n) == n
        assert done.wait(10)
    assert served.function("numbers")() == list(range(5))


def test_mutations_of_many_threads_happen_once_however_often_they_are_cut(served, db, proxy):
    add, answered, is_over = db.function("add"), [], threading.Event()
    seeded = random.Random(7)

    def cut():
        for seen in range(0, 1000, 20):
            until(lambda seen=seen: len(answered) >= seen or is_over.is_set(), 60)
            proxy.cut_next(seeded.choice(["up", "down"]), delivers=seeded.random() < 0.5)

    with ThreadPoolExecutor(9) as pool:
        cutter = pool.submit(cut)
        try:
            for n in pool.map(lambda n: add(n=n), range(1000)):
                answered.append(n)  # noqa: PERF402  # one by one, for the cutter
        finally:
            is_over.set()
        cutter.result()
    assert answered == list(range(1000))
    assert sorted(served.function("numbers")()) == list(range(1000))


def test_mutations_go_on_when_the_service_is_killed_and_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S_MAX", 60)  # the child may start slowly

    def start(port):
        command = [sys.executable, str(Path(__file__).parent / "service_child.py")]
        child = subprocess.Popen(
            [*command, str(tmp_path / "w"), str(port)], stdout=subprocess.PIPE, text=True
        )
        return child, int(child.stdout.readline())

    child, port = start(0)
    try:
        with livedb.connect(f"http://127.0.0.1:{port}") as db, ThreadPoolExecutor(4) as pool:
            handle = db["numbers"].with_index("by_creation_time").live()
            added = [pool.submit(db["numbers"].insert, {"n": n}) for n in range(200)]
            until(lambda: any(each.done() for each in added))
            child.kill()
            child.communicate()
            child, _ = start(port)
            ids = [each.result(60) for each in added]
            assert sorted(row.n for row in handle.value) == list(range(200))
            assert {row._id for row in handle.value} == set(ids)
    finally:
        child.kill()
        child.communicate()


def test_what_would_do_harm_twice_is_reported_as_lost(db, proxy):
    db["numbers"].insert({"n": 1})
    proxy.cut_next("down", delivers=False)
    with pytest.raises(DisconnectedError, match="may or may not have happened"):
        db.drop_table("numbers")
    until(lambda: db.status.state == "connected")
    assert "numbers" not in db


def test_an_action_whose_connection_is_lost_runs_on_and_its_caller_is_told(served, db, proxy):
    begun, go_on = threading.Event(), threading.Event()

    @served.action
    async def act(ctx):
        begun.set()
        await asyncio.to_thread(go_on.wait, 30)
        return await ctx.run_mutation("add", n=1)

    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(db.function("act"))
        assert begun.wait(30)
        proxy.cut()
        with pytest.raises(DisconnectedError, match="may or may not have happened"):
            called.result(30)
    numbers = db.function("numbers").live()
    assert numbers.value == []
    go_on.set()
    until(lambda: numbers.value == [1])


def test_a_load_cut_off_is_there_once(db, proxy, monkeypatch):
    monkeypatch.setattr("livedb.client.transfers.UPLOAD_PART_BYTES", 1000)
    for direction, delivers in (("up", False), ("up", True), ("down", False)):
        proxy.cut_next(direction, delivers=delivers)
        assert db.load("loaded", [{"n": n} for n in range(1000)]).rows == 1000
    assert db["loaded"].count() == 3000


# -- away ------------------------------------------------------------------------------------------


def test_handles_give_their_last_state_while_the_service_is_away(served, db, proxy):
    served.function("add")(n=1)
    handle = db.function("numbers").live()
    assert (handle.value, handle.current().ended) == ([1], None)
    assert str(db.status) == "connected"
    go_away(db, proxy)
    served.function("add")(n=2)
    assert handle.value == [1]
    assert repr(db).startswith(f"<livedb {proxy.url} reconnecting: ")
    assert db._repr_mimebundle_() == {"text/plain": repr(db)}
    assert handle.current().ended.startswith("Reconnecting: these are the last rows (")
    come_back(db, proxy)
    assert handle.value == [1, 2]
    assert handle.current().ended is None


def test_pages_are_told_when_the_service_goes_and_comes(db, proxy):
    handle = db.function("numbers").live()
    told = []

    class Page:
        view_count = 1

        def notify(self):
            told.append(handle.current().ended is None)

        def close(self, **_): ...

    handle._widgets = (Page(),)
    go_away(db, proxy)
    until(lambda: told == [False])
    come_back(db, proxy)
    until(lambda: True in told)


def test_a_call_waits_for_the_service(db, proxy):
    go_away(db, proxy)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(db.function("add"), n=1)
        follower = pool.submit(lambda: db.function("numbers").live().value)
        come_back(db, proxy)
        assert waiting.result(10) == 1
        assert follower.result(10) == [1]


def test_a_call_that_was_never_sent_says_so(served, db, proxy, monkeypatch):
    add, numbers = db.function("add"), db.function("numbers")
    monkeypatch.setattr(connection, "CONNECT_S_MAX", 0.1)
    go_away(db, proxy)
    for call in (lambda: add(n=1), numbers, numbers.live, lambda: db.sql("select 1")):
        with pytest.raises(DisconnectedError, match="not sent: nothing happened"):
            call()
    come_back(db, proxy)
    assert numbers() == []


def test_a_call_that_was_sent_and_not_answered_in_time_says_so(served, db, proxy, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S_MAX", 0.1)
    begun, go_on = threading.Event(), threading.Event()

    @served.mutation
    def slow(ctx):
        begun.set()
        go_on.wait(10)
        ctx.db.insert("numbers", {"n": 1})

    call = db.function("slow")
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(call)
        assert begun.wait(10)
        go_away(db, proxy)
        with pytest.raises(DisconnectedError, match="may or may not have happened"):
            called.result(10)
    go_on.set()
    come_back(db, proxy)
    numbers = db.function("numbers").live()
    until(lambda: numbers.value == [1])


def test_ctrl_c_in_a_query_says_that_it_changes_nothing(served, db):
    @served.query
    def slow(ctx) -> int:
        import time

        time.sleep(0.5)
        return 1

    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt, match="where it changes nothing"):
        db.function("slow")()
    timer.join()


def test_ctrl_c_just_after_an_action_is_sent_cancels_it(served, db, monkeypatch):
    begun, cancelled = threading.Event(), threading.Event()

    @served.action
    async def slow(ctx):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    connection, act = db.backend._connection, db.function("slow")
    ask = connection.call

    def call(*args, **options):
        waiting = ask(*args, **options)
        assert begun.wait(10)
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)
        return waiting

    monkeypatch.setattr(connection, "call", call)
    with pytest.raises(KeyboardInterrupt, match="where it is cancelled"):
        act()
    assert cancelled.wait(10)


@pytest.mark.parametrize("is_away", [True, False])
def test_ctrl_c_while_waiting_says_what_may_have_happened(served, db, proxy, is_away):
    @served.mutation
    def slow(ctx):
        import time

        time.sleep(0.5)
        return ctx.db.insert("numbers", {"n": 1})

    call = db.function("slow")
    if is_away:
        go_away(db, proxy)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    expected = "it was not sent" if is_away else "may or may not happen"
    with pytest.raises(KeyboardInterrupt, match=expected):
        call()
    timer.join()
    if is_away:
        come_back(db, proxy)
        assert db.function("numbers")() == []
    assert db.function("add")(n=2) == 2
    assert 2 in db.function("numbers")()


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_away", [True, False])
def test_close_lets_everybody_go(served, db, proxy, is_away):
    begun, go_on = threading.Event(), threading.Event()

    @served.mutation
    def slow(ctx):
        begun.set()
        go_on.wait(10)

    handle, call = db.function("numbers").live(), db.function("slow")
    if is_away:
        go_away(db, proxy)
    with ThreadPoolExecutor(2) as pool:
        waiter, caller = pool.submit(handle.wait), pool.submit(call)
        until(lambda: db.backend._connection._waiting and handle.followers.waiting)
        db.close()
        for each in (waiter, caller):
            with pytest.raises(ClosedError):
                each.result(10)
    go_on.set()
    assert handle.value == []
    assert db.status.state == "closed"
    with pytest.raises(ClosedError, match="is closed"):
        call()
    db.close()


def test_a_token_that_is_wrong_is_refused(service):
    with pytest.raises(AuthenticationError):
        livedb.connect(service.url, token="livedb_wrong")


def test_a_token_refused_later_ends_the_connection(served, proxy):
    access = Access(served.backend.workspace.clock)
    token, _ = access.tokens.issue(Role.OWNER, "me")
    with ServiceThread(served.backend.workspace, access=access) as first:
        proxy.target = first.port
        db = livedb.connect(proxy.url, token=token)
        handle = db.function("numbers").live()
    other = Access(served.backend.workspace.clock)
    with ServiceThread(served.backend.workspace, access=other) as second:
        proxy.target = second.port
        until(lambda: db.status.state == "closed")
        assert db.status.detail
        with pytest.raises(ClosedError, match=r"is closed: "):
            db.function("add")()
        assert handle.value == []
        assert handle.current().ended == "The workspace is closed; these are its last rows."
    db.close()


def test_nothing_that_answers_is_named(monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S_MAX", 0.3)
    with Proxy(1) as nobody:
        hung_up = "it hung up without an answer"
        for url, why in ((nobody.url, hung_up), ("http://127.0.0.1:1", "nothing listens there")):
            with pytest.raises(
                DisconnectedError, match=f"No livedb service answers at {url}: {why}"
            ):
                livedb.connect(url)


def test_a_forked_child_is_told_that_the_connection_is_not_its_own(db):
    handle = db.function("numbers").live()
    child = os.fork()
    if child == 0:
        seen = []
        for use in (
            lambda: db.tables,
            db.function("numbers"),
            lambda: db.sql("select 1"),
        ):
            try:
                use()
            except ForkedError:
                seen.append(True)
        handle.close()
        db.close()
        os._exit(len(seen))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert db.function("add")(n=1) == 1
    assert handle.value == [1]


# -- other kernels ---------------------------------------------------------------------------------


def test_a_function_redefined_in_another_kernel_is_called_as_it_is_now(db, proxy):
    with livedb.connect(proxy.url) as other:

        @db.query
        def shown(ctx, a: int) -> str:
            return f"a {a}"

        assert shown(1) == "a 1"
        handle = shown.live(1)

        @other.query
        def shown(ctx, b: str, times: int = 2) -> list[str]:  # as a cell run again
            return [b] * times

        mine = db.function("shown")
        assert mine("x") == ["x", "x"]
        assert mine(b="x", times=1) == ["x"]
        assert isinstance(handle.error, livedb.ArgumentValidationError)
        with pytest.raises(livedb.ArgumentValidationError):
            mine(a=1)

        @other.mutation(name="shown")
        def changed(ctx):
            return ctx.db.insert("numbers", {"n": 1})

        # Who calls a query never commits.
        with pytest.raises(FunctionTypeError, match="'shown' was redefined as a mutation"):
            mine()
        assert db["numbers"].count() == 0

        @other.query(name="shown")
        def back(ctx, b: str):
            return b

        assert mine(b="x") == "x"


def test_a_table_defined_in_another_kernel_gives_frames_their_types(db, proxy):
    @db.query
    def rows(ctx):
        return ctx.db.query("things").collect()

    handle = rows.live()
    db["things"].insert({"n": 1})
    with livedb.connect(proxy.url) as other:

        @other.table("things")
        class Thing:
            n: float

        assert str(handle.df.dtypes["n"]) == "Float64"


# -- work ------------------------------------------------------------------------------------------


def test_one_changed_row_of_ten_thousand_takes_less_than_a_kilobyte(db, proxy):
    db.load("rows", [{"n": n, "note": "x" * 20} for n in range(10_000)])
    handle = db["rows"].with_index("by_creation_time").live()
    first = handle.value[5000]
    before = dict(proxy.bytes)
    db["rows"].patch(first._id, {"n": -1})
    assert handle.value[5000].n == -1
    sent = {each: proxy.bytes[each] - before[each] for each in before}
    assert sum(sent.values()) < 1024 * 2
    assert sent["down"] < 1024


def test_a_mutation_and_a_read_of_a_handle_are_two_round_trips(db, monkeypatch):
    add, handle = db.function("add"), db.function("numbers").live()
    add(n=0)
    asked = []
    call = db.backend._connection.call
    monkeypatch.setattr(
        db.backend._connection,
        "call",
        lambda *args, **options: asked.append(1) or call(*args, **options),
    )
    add(n=1)
    assert handle.value == [0, 1]
    assert len(asked) == 2


def test_the_last_rows_of_a_handle_are_frames_and_documents_while_the_service_is_away(db, proxy):
    db["numbers"].insert({"n": 1})
    whole, narrowed = db["numbers"].live(), db["numbers"].with_index("by_creation_time").live()
    go_away(db, proxy)
    assert whole.df.n.tolist() == narrowed.df.n.tolist() == [1]
    assert [row.n for row in whole] == [1]


# -- another workspace in its place ----------------------------------------------------------------


@pytest.fixture
def restarted(served, service, proxy, access):
    """Puts another workspace in memory where the service was, as a restart of its process does."""
    with ExitStack() as closing:

        def restart(*, rows: int = 0) -> livedb.Database:
            other = closing.enter_context(livedb.open())
            if rows:
                other["numbers"].insert([{"n": -each} for each in range(1, rows + 1)])
            anew = ServiceThread(
                other.backend.workspace,
                access=Access(other.backend.workspace.clock, anonymous=Role.OWNER),
            )
            closing.enter_context(anew)
            proxy.target = anew.port
            proxy.cut()
            return other

        yield restart


@pytest.mark.parametrize("rows", [0, 3], ids=["with nothing in it", "with later commits"])
def test_a_workspace_in_memory_that_is_gone_ends_its_clients_with_a_typed_error(
    db, restarted, rows
):
    db["numbers"].insert([{"n": 1}, {"n": 2}])
    handle = db["numbers"].live()
    assert handle.df.n.tolist() == [1, 2]
    restarted(rows=rows)
    until(lambda: db.status.state == "closed")
    assert "gone" in db.status.detail
    for call in (db["numbers"].count, lambda: db["numbers"].insert({"n": 3}), db["numbers"].live):
        with pytest.raises(WorkspaceGoneError, match="connect again"):
            call()
    until(lambda: handle.error is not None)
    assert isinstance(handle.error, WorkspaceGoneError)
    with pytest.warns(UserWarning, match="gone"):
        assert handle.df.n.tolist() == [1, 2]
    with pytest.raises(WorkspaceGoneError):
        handle.raise_error()


def test_what_waits_for_a_workspace_that_is_gone_is_not_sent_to_the_next_one(db, proxy, restarted):
    db["numbers"].insert({"n": 1})
    go_away(db, proxy)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(db["numbers"].insert, {"n": 2})
        other = restarted()
        proxy.is_down = False
        with pytest.raises(WorkspaceGoneError):
            late.result(30)
    assert "numbers" not in other


def test_who_has_seen_no_commit_of_a_workspace_in_memory_goes_on_with_the_next(db, restarted):
    assert db.number == 0
    restarted(rows=1)
    until(lambda: db.status.state != "connected")
    until(lambda: db.status.state == "connected")
    assert db["numbers"].count() == 1


def test_a_backup_in_the_place_of_a_workspace_ends_its_clients(tmp_path, proxy):
    def serve(opened):
        clock = opened.backend.workspace.clock
        return ServiceThread(opened.backend.workspace, access=Access(clock, anonymous=Role.OWNER))

    with livedb.open(tmp_path / "work") as work, serve(work) as service:
        proxy.target = service.port
        with livedb.connect(proxy.url) as db, livedb.connect(service.url) as early:
            db["numbers"].insert({"n": 1})
            work.backup(tmp_path / "backup")
            db["numbers"].insert({"n": 2})
            with livedb.open(tmp_path / "backup") as backup, serve(backup) as anew:
                proxy.target = anew.port
                proxy.cut()
                with pytest.raises(WorkspaceGoneError):
                    until(lambda: db["numbers"].count() < 2)
            assert early["numbers"].count() == 2


def test_what_no_message_has_room_for_is_refused_and_the_connection_goes_on(served, db):
    @served.query
    def length(ctx, text: str) -> int:
        return len(text)

    @served.mutation
    def write(ctx, text: str) -> None:
        ctx.db.insert("numbers", {"n": len(text)})

    served.function("add")(n=1)
    numbers = db.function("numbers").live()
    much = "y" * (18 << 20)
    for ask in (
        lambda: db.function("length")(text=much),
        lambda: db.function("length").live(text=much),
        lambda: db.function("write")(text=much),
        lambda: db["numbers"].insert({"text": much}),
    ):
        with pytest.raises(LimitError):
            ask()
    assert str(db.status) == "connected"
    served.function("add")(n=2)
    assert numbers.value == [1, 2]


def test_a_service_of_another_version_is_refused(served, access, monkeypatch):
    describe = DefinitionCalls.describe

    def older(self, *given):
        answer = describe(self, *given)
        return answer._replace(value={**answer.value, "livedb": "0.0.9"})

    monkeypatch.setattr(DefinitionCalls, "describe", older)
    with (
        ServiceThread(served.backend.workspace, access=access) as service,
        pytest.raises(WorkspaceError, match=r"The service runs livedb 0\.0\.9") as refused,
    ):
        livedb.connect(service.url)
    assert refused.value.code == "VersionMismatch"
