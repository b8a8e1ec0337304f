"""What is due runs: mutations exactly once, actions at most once, on the clock of the workspace."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing, contextmanager

import pytest

import livedb
from livedb import testing
from livedb.clock import ManualClock
from livedb.functions.loader import FunctionFolder
from livedb.limits import Limits
from tests.waiting import until

START_MS = ManualClock.START_NS / 1e6
DAY_S = 86_400


@contextmanager
def opened(path=None, **settings):
    with testing.workspace(path, **settings) as trial:
        define(trial.db)
        yield trial


@pytest.fixture
def trial():
    with opened() as trial:
        yield trial


def define(db):
    @db.mutation
    def add(ctx, n: int = 0):
        if n < 0:
            ctx.db.insert("a", {"n": n})
            raise livedb.ApplicationError("negative")
        ctx.db.insert("a", {"n": n})

    @db.query
    def jobs(ctx):
        return ctx.db.system.query("_scheduled_functions").collect()

    @db.mutation
    def later(ctx, name: str, seconds: float = 0, args: dict = {}):  # noqa: B006
        return ctx.scheduler.run_after(seconds, name, args)

    @db.mutation
    def cancel(ctx, id_: str):
        ctx.scheduler.cancel(id_)


def later(trial, name, seconds=0.0, **args):
    return trial.db.function("later")(name=name, seconds=seconds, args=args)


def states(trial):
    return [job["state"]["kind"] for job in trial.db.function("jobs")()]


def numbers(trial):
    return [row["n"] for row in trial.db["a"].collect()] if "a" in trial.db else []


def test_nothing_runs_before_its_time_and_all_in_the_order_of_their_times(trial):
    for n, seconds in enumerate([30, 10, 20, 10]):
        later(trial, "add", seconds, n=n)
    trial.clock.advance(9)
    trial.run_scheduled()
    assert numbers(trial) == []
    trial.clock.advance(1)
    trial.run_scheduled()
    assert numbers(trial) == [1, 3]
    trial.clock.advance(DAY_S)
    trial.run_scheduled()
    assert numbers(trial) == [1, 3, 2, 0]


def test_actions_that_take_all_their_threads_hold_up_no_mutation():
    with opened(limits=Limits(scheduled_parallel_max=2)) as trial:
        go_on, begun = threading.Event(), threading.Barrier(3)

        @trial.db.action
        def act(ctx):
            begun.wait(30)
            go_on.wait(30)

        for _ in range(2):
            later(trial, "act")
        begun.wait(30)
        ended = threading.Event()
        trial.db.backend.workspace.scheduler.listen(lambda run: ended.set())
        later(trial, "add", n=1)
        assert ended.wait(30)
        assert numbers(trial) == [1]
        go_on.set()
        trial.run_scheduled()


def test_the_state_changes_in_the_very_commit_of_the_mutation(trial):
    later(trial, "add", seconds=5, n=1)
    before = trial.db.number
    trial.clock.advance(5)
    trial.run_scheduled()
    assert (states(trial), numbers(trial)) == (["success"], [1])
    assert trial.db.number == before + 1


def test_a_mutation_that_fails_is_undone_and_says_why(trial):
    later(trial, "add", n=-1)
    trial.run_scheduled()
    (job,) = trial.db.function("jobs")()
    assert job["state"]["kind"] == "failed"
    assert "negative" in job["state"]["error"]
    assert job["completedTime"] == START_MS
    assert numbers(trial) == []
    trial.clock.advance(DAY_S)
    trial.run_scheduled()
    assert trial.db.function("jobs")() == [job]  # and is not tried again


def test_the_warning_of_a_run_that_failed_has_its_line(trial, caplog):
    @trial.db.mutation
    def divide(ctx):
        return 1 / 0

    later(trial, "divide")
    trial.run_scheduled()
    assert "ZeroDivisionError: division by zero\n    at divide (" in caplog.text


def test_a_mutation_that_finds_something_else_closed_has_failed(trial):
    other = livedb.open()
    other.close()

    @trial.db.mutation
    def ask(ctx):
        other["a"].count()

    later(trial, "ask")
    trial.run_scheduled()
    assert "ClosedError" in trial.db.function("jobs")()[0]["state"]["error"]


def test_a_mutation_sees_itself_in_progress(trial):
    seen = []

    @trial.db.mutation
    def look(ctx):
        seen.extend(ctx.db.system.query("_scheduled_functions").collect())

    later(trial, "look")
    trial.run_scheduled()
    assert [job["state"]["kind"] for job in seen] == ["inProgress"]


def test_a_mutation_that_conflicts_runs_again_and_counts_once(trial):
    trial.db["counters"].insert({"n": 0})

    @trial.db.mutation
    def count(ctx):
        row = ctx.db.query("counters").first()
        ctx.db.patch(row["_id"], {"n": row["n"] + 1})

    for _ in range(100):
        later(trial, "count")
    trial.run_scheduled()
    assert trial.db["counters"].first()["n"] == 100
    assert set(states(trial)) == {"success"}


def test_a_function_has_the_whole_of_its_limits_when_it_is_scheduled():
    with opened(limits=Limits(documents_written_max=2, index_ranges_max=2)) as trial:

        @trial.db.mutation
        def full(ctx):
            for n in range(2):
                ctx.db.insert("a", {"n": n})
                ctx.db.query("b").collect()

        later(trial, "full")
        trial.run_scheduled()
        assert states(trial) == ["success"]


def test_what_the_log_does_not_take_is_tried_again(trial):
    later(trial, "add", seconds=5, n=1)
    with trial.failing_log():
        trial.clock.advance(5)
        trial.run_scheduled()
        assert states(trial) == ["pending"]
    trial.clock.advance(1)
    trial.run_scheduled()
    assert states(trial) == ["success"]
    assert numbers(trial) == [1]


def test_what_cannot_be_committed_is_tried_at_growing_pauses_of_up_to_a_minute(trial):
    tries = []

    @trial.db.mutation
    def try_it(ctx):
        tries.append(ctx.now)

    later(trial, "try_it", seconds=5)
    with trial.failing_log():
        trial.clock.advance(5)
        trial.run_scheduled()
        for pause_s in (*(0.1 * 2**n for n in range(10)), 60, 60):
            before = len(tries)
            trial.clock.advance(pause_s * 0.99)
            trial.run_scheduled()
            assert len(tries) == before
            trial.clock.advance(pause_s * 0.02)
            trial.run_scheduled()
            assert len(tries) == before + 1
    trial.clock.advance(60)
    trial.run_scheduled()
    assert states(trial) == ["success"]


def test_that_an_action_has_ended_is_entered_as_soon_as_the_log_takes_it(trial):
    begun, go_on, runs = threading.Event(), threading.Event(), []

    @trial.db.action
    def act(ctx):
        runs.append(1)
        begun.set()
        assert go_on.wait(30)

    later(trial, "act")
    assert begun.wait(30)
    [log] = trial._logs
    with trial.failing_log():
        refused = log.refused
        go_on.set()
        until(lambda: log.refused >= refused + 2)  # it was tried again
        assert states(trial) == ["inProgress"]
    trial.run_scheduled()
    assert (states(trial), runs) == (["success"], [1])


def test_an_action_is_in_progress_while_it_runs_and_then_has_succeeded(trial):
    seen = []

    @trial.db.action
    async def act(ctx, n: int):
        seen.extend(await ctx.run_query("jobs"))
        await ctx.run_mutation("add", n=n)

    later(trial, "act", n=4)
    trial.run_scheduled()
    assert [job["state"]["kind"] for job in seen] == ["inProgress"]
    assert states(trial) == ["success"]
    assert numbers(trial) == [4]


@pytest.mark.parametrize("error", [RuntimeError("away"), SystemExit(3), KeyboardInterrupt()])
def test_an_action_that_fails_keeps_what_it_committed(trial, error):
    @trial.db.action
    def act(ctx):
        ctx.run_mutation("add", n=1)
        raise error

    later(trial, "act")
    trial.run_scheduled()
    (job,) = trial.db.function("jobs")()
    assert job["state"]["kind"] == "failed"
    assert type(error).__name__ in job["state"]["error"]
    assert numbers(trial) == [1]
    later(trial, "add", n=2)
    trial.run_scheduled()
    assert numbers(trial) == [1, 2]


def test_only_so_many_run_at_once():
    with opened(limits=Limits(scheduled_parallel_max=2)) as trial:
        running, most, lock = [0], [0], threading.Lock()
        both = threading.Barrier(2)

        @trial.db.action
        def act(ctx):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            both.wait(30)  # two do run at once
            with lock:
                running[0] -= 1

        for _ in range(6):
            later(trial, "act")
        trial.run_scheduled()
        assert most[0] == 2
        assert states(trial) == ["success"] * 6


def test_eight_actions_run_at_once_and_begin_in_the_order_of_their_times(trial):
    begun, go_on = [], threading.Event()
    lock, eight = threading.Lock(), threading.Barrier(9)

    @trial.db.action
    def act(ctx, n: int):
        with lock:
            begun.append(n)
        if n < 8:
            eight.wait(30)
        assert go_on.wait(30)

    for n in reversed(range(12)):
        later(trial, "act", 5 + n, n=n)
    trial.clock.advance(60)
    eight.wait(30)
    assert sorted(begun) == list(range(8))
    assert states(trial).count("inProgress") == 8
    go_on.set()
    trial.run_scheduled()
    assert sorted(begun[8:]) == [8, 9, 10, 11]
    assert states(trial) == ["success"] * 12


def test_an_action_that_is_cancelled_goes_on_and_what_it_schedules_is_cancelled(trial):
    begun, go_on = threading.Event(), threading.Event()

    @trial.db.action
    def act(ctx):
        begun.set()
        assert go_on.wait(30)
        ctx.scheduler.run_after(0, "add", n=1)
        ctx.run_mutation("later", name="add", seconds=0, args={"n": 2})
        ctx.run_mutation("add", n=3)

    job = later(trial, "act")
    assert begun.wait(30)
    trial.db.function("cancel")(id_=job)
    assert states(trial) == ["canceled"]
    go_on.set()
    trial.run_scheduled()
    assert states(trial) == ["canceled", "canceled", "canceled"]
    assert numbers(trial) == [3]


@pytest.mark.parametrize("error", [None, RuntimeError("late")])
def test_a_cancelled_action_has_ended_when_it_was_cancelled_whatever_comes_of_it(trial, error):
    begun, go_on = threading.Event(), threading.Event()

    @trial.db.action
    def act(ctx):
        begun.set()
        assert go_on.wait(30)
        if error is not None:
            raise error

    job = later(trial, "act")
    assert begun.wait(30)
    trial.db.function("cancel")(id_=job)
    entered = trial.db.function("jobs")()
    assert (entered[0]["state"], entered[0]["completedTime"]) == ({"kind": "canceled"}, START_MS)
    trial.clock.advance(5)
    go_on.set()
    trial.run_scheduled()
    assert trial.db.function("jobs")() == entered


def test_what_an_action_that_a_cancelled_one_runs_schedules_is_cancelled(trial):
    begun, go_on = threading.Event(), threading.Event()

    @trial.db.action
    async def act(ctx):
        begun.set()
        await asyncio.to_thread(go_on.wait, 30)
        await ctx.run_action("inner")

    @trial.db.action
    async def inner(ctx):
        await ctx.scheduler.run_after(0, "add", n=1)

    job = later(trial, "act")
    assert begun.wait(30)
    trial.db.function("cancel")(id_=job)
    go_on.set()
    trial.run_scheduled()
    assert states(trial) == ["canceled", "canceled"]
    assert numbers(trial) == []


def test_what_was_scheduled_before_the_cancellation_runs(trial):
    begun, go_on = threading.Event(), threading.Event()

    @trial.db.action
    def act(ctx):
        ctx.scheduler.run_after(5, "add", n=1)
        begun.set()
        assert go_on.wait(30)

    job = later(trial, "act")
    assert begun.wait(30)
    trial.db.function("cancel")(id_=job)
    go_on.set()
    trial.clock.advance(5)
    trial.run_scheduled()
    assert states(trial) == ["canceled", "success"]


def test_a_mutation_that_is_cancelled_while_it_runs_does_not_happen(trial):
    begun, go_on = threading.Event(), threading.Event()

    @trial.db.mutation
    def slow(ctx):
        ctx.db.insert("a", {"n": 1})
        ctx.scheduler.run_after(0, "add", n=2)
        begun.set()
        assert go_on.wait(30)

    job = later(trial, "slow")
    assert begun.wait(30)
    trial.db.function("cancel")(id_=job)
    assert states(trial) == ["canceled"]
    go_on.set()
    trial.run_scheduled()
    assert states(trial) == ["canceled"]
    assert numbers(trial) == []


def test_a_running_action_learns_that_it_was_cancelled_and_may_stop(trial):
    begun, ended = threading.Semaphore(0), []

    @trial.db.action
    def plain(ctx):
        with trial.db.snapshot():  # a commit that it holds does not hide it
            assert ctx.is_cancelled() is False
            begun.release()
            while not ctx.is_cancelled():
                pass
        ended.append("plain")

    @trial.db.action
    async def waiting(ctx):
        assert await ctx.is_cancelled() is False
        begun.release()
        while not await ctx.is_cancelled():
            pass
        ended.append("waiting")

    @trial.db.action
    def around(ctx):
        ctx.run_action("plain")

    for name, says in (("plain", "plain"), ("waiting", "waiting"), ("around", "plain")):
        job = later(trial, name)
        assert begun.acquire(timeout=30)
        trial.db.function("cancel")(id_=job)
        trial.run_scheduled()
        assert ended.pop() == says


def test_a_function_that_cancels_itself_fails(trial):
    @trial.db.mutation
    def me(ctx):
        mine = ctx.db.system.query("_scheduled_functions").first()
        ctx.scheduler.cancel(mine["_id"])

    later(trial, "me")
    trial.run_scheduled()
    (job,) = trial.db.function("jobs")()
    assert job["state"]["kind"] == "failed"
    assert "cannot cancel itself" in job["state"]["error"]


def test_who_scheduled_it_is_not_known_when_it_runs(trial):
    seen = []

    @trial.db.mutation
    def who(ctx):
        seen.append(ctx.auth.get_user_identity())

    later(trial, "who")
    trial.run_scheduled()
    assert seen == [None]


def test_a_function_that_takes_other_arguments_by_now_fails_when_it_is_due(trial):
    later(trial, "add", seconds=5, n=1)

    @trial.db.mutation
    def add(ctx, text: str):
        ctx.db.insert("a", {"text": text})

    trial.clock.advance(5)
    trial.run_scheduled()
    (job,) = trial.db.function("jobs")()
    assert job["state"]["kind"] == "failed"
    assert "ArgumentValidationError" in job["state"]["error"]


def test_a_function_that_is_a_query_by_now_fails_when_it_is_due(trial):
    later(trial, "add", seconds=5)
    trial.db.query(name="add")(lambda ctx: None)
    trial.clock.advance(5)
    trial.run_scheduled()
    assert "is a query" in trial.db.function("jobs")()[0]["state"]["error"]


def test_what_has_ended_is_kept_for_seven_days(trial):
    for n in range(300):
        later(trial, "add", n=n)
    later(trial, "add", seconds=30 * DAY_S)
    trial.run_scheduled()
    trial.clock.advance(7 * DAY_S - 1)
    trial.run_scheduled()
    assert len(states(trial)) == 301
    trial.clock.advance(1)
    trial.run_scheduled()
    assert states(trial) == ["pending"]


def test_a_clock_that_is_set_neither_storms_nor_stalls(trial):
    later(trial, "add", seconds=60, n=1)
    trial.clock.set_ns(trial.clock.now_ns() - 3600 * 10**9)
    trial.run_scheduled()
    assert numbers(trial) == []
    trial.clock.set_ns(trial.clock.now_ns() + 365 * DAY_S * 10**9)
    trial.run_scheduled()
    assert numbers(trial) == [1]


def test_functions_that_schedule_themselves_go_on_for_ever_and_others_with_them(trial):
    @trial.db.mutation
    def again(ctx):
        ctx.db.insert("b", {})
        ctx.scheduler.run_after(60, "again")

    again()
    for _ in range(5):
        trial.clock.advance(60)
        trial.run_scheduled()
    assert trial.db["b"].count() == 6


# -- reopened --------------------------------------------------------------------------------------


def test_what_was_due_while_nothing_was_open_runs_when_it_is_opened(tmp_path):
    with opened(tmp_path / "w") as trial:
        later(trial, "add", seconds=60, n=1)
        later(trial, "add", seconds=600, n=2)
    with testing.workspace(tmp_path / "w", seed=1) as trial:
        trial.clock.advance(90)
        define(trial.db)
        trial.run_scheduled()
        assert numbers(trial) == [1]
        assert states(trial) == ["success", "pending"]


def test_an_action_that_was_in_progress_when_the_workspace_was_closed_has_failed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("livedb.scheduler.worker.CLOSE_S_MAX", 0.05)
    begun, go_on = threading.Event(), threading.Event()
    with opened(tmp_path / "w") as trial:

        @trial.db.action
        def act(ctx):
            begun.set()
            go_on.wait(30)
            ctx.run_mutation("add", n=1)

        later(trial, "act")
        assert begun.wait(30)
    go_on.set()
    with testing.workspace(tmp_path / "w", seed=1) as trial:
        define(trial.db)
        trial.run_scheduled()
        (job,) = trial.db.function("jobs")()
        assert job["state"] == {
            "kind": "failed",
            "error": "Transient error while executing action",
        }
        assert numbers(trial) == []


def test_who_opens_a_workspace_for_its_data_changes_nothing(tmp_path):
    with opened(tmp_path / "w") as trial:
        later(trial, "add", seconds=5, n=1)
        number = trial.db.number
    with testing.workspace(tmp_path / "w", seed=1) as trial:
        trial.clock.advance(60)
        trial.run_scheduled()
        assert trial.db.number == number


def test_a_function_whose_cell_was_not_run_yet_is_waited_for(tmp_path, caplog):
    with opened(tmp_path / "w") as trial:

        @trial.db.mutation
        def mine(ctx):
            ctx.db.insert("a", {"n": 7})

        later(trial, "mine", seconds=5)
    with opened(tmp_path / "w", seed=1) as trial:
        trial.clock.advance(60)
        later(trial, "add", n=1)
        trial.run_scheduled()
        assert numbers(trial) == [1]
        waiting = trial.db.function("jobs")()[0]
        assert waiting["state"] == {"kind": "pending", "waitingFor": "mine"}
        assert "'mine' is due 1 time and not defined" in caplog.text

        @trial.db.mutation
        def mine(ctx):
            ctx.db.insert("a", {"n": 8})

        trial.run_scheduled()
        assert numbers(trial) == [1, 8]
        assert states(trial) == ["success", "success"]


def test_many_that_wait_are_entered_together_and_run_when_the_function_is_there(tmp_path):
    with opened(tmp_path / "w") as trial:
        trial.db.mutation(name="mine")(lambda ctx: None)

        @trial.db.mutation
        def many(ctx):
            for _ in range(600):
                ctx.scheduler.run_after(5, "mine")

        many()
    with opened(tmp_path / "w", seed=1) as trial:
        before = trial.db.number
        later(trial, "add", seconds=6, n=1)
        trial.clock.advance(60)
        trial.run_scheduled()
        assert numbers(trial) == [1]
        assert trial.db.number == before + 1 + 3 + 1
        trial.db.mutation(name="mine")(lambda ctx: ctx.db.insert("b", {}) and None)
        trial.run_scheduled()
        assert trial.db["b"].count() == 600


def test_what_waits_for_its_function_can_be_cancelled(tmp_path):
    with opened(tmp_path / "w") as trial:
        trial.db.mutation(name="mine")(lambda ctx: None)
        job = later(trial, "mine")
        trial.db.function("cancel")(id_=job)
    with opened(tmp_path / "w", seed=1) as trial:
        trial.run_scheduled()
        assert states(trial) == ["canceled"]


@pytest.fixture
def write(tmp_path):
    """Writes a module of a folder of functions, and loads the folder."""
    (tmp_path / "app").mkdir()
    with closing(FunctionFolder(tmp_path / "app")) as folder:

        def write(text):
            (tmp_path / "app" / "m.py").write_text(text)
            return folder.load()

        yield write


ONE = "from livedb import mutation\n@mutation\ndef one(ctx):\n    ctx.db.insert('a', {'n': 1})\n"


def test_a_function_that_a_folder_has_no_more_fails_when_it_is_due(write):
    with opened() as trial:
        workspace = trial.db.backend.workspace
        first = write(ONE)
        workspace.push_functions(first)
        later(trial, "m:one", seconds=5)
        later(trial, "m:one")
        trial.run_scheduled()
        workspace.push_functions(write(""), before=first.names())
        trial.clock.advance(5)
        trial.run_scheduled()
        assert states(trial) == ["failed", "success"]
        assert "Could not find function 'm:one'" in trial.db.function("jobs")()[0]["state"]["error"]


def test_what_waits_for_a_folder_runs_or_fails_once_it_is_pushed(tmp_path, write):
    both = ONE + ONE.replace("one", "two")
    with opened(tmp_path / "w") as trial:
        trial.db.backend.workspace.push_functions(write(both))
        later(trial, "m:one", seconds=5)
        later(trial, "m:two", seconds=5)
    with opened(tmp_path / "w", seed=1) as trial:
        trial.clock.advance(60)
        trial.run_scheduled()
        assert states(trial) == ["pending", "pending"]
        trial.db.backend.workspace.push_functions(write(ONE))
        trial.run_scheduled()
        assert states(trial) == ["success", "failed"]
