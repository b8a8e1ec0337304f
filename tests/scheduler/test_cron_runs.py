"""Crons run at their times: one at a time, each slot once, what is missed is skipped and said."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest

import livedb
from livedb import testing
from livedb.clock import ManualClock
from livedb.errors import FunctionLoadError, FunctionNotFoundError, InvalidValueError
from livedb.functions.calling import current_call
from livedb.functions.loader import FunctionFolder

START_MS = ManualClock.START_NS / 1e6
HOUR_S = 3600


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
    def tick(ctx, n: int = 0):
        if n < 0:
            raise livedb.ApplicationError("negative")
        ctx.db.insert("a", {"n": n, "at": ctx.now})

    @db.query
    def logs(ctx):
        return ctx.db.system.query("_cron_job_logs").collect()

    @db.query
    def crons(ctx):
        return ctx.db.system.query("_cron_jobs").collect()


def ticks(trial):
    return [row["at"] for row in trial.db["a"].collect()] if "a" in trial.db else []


def run(trial, *steps_s):
    for seconds in steps_s:
        trial.clock.advance(seconds)
        trial.run_scheduled()


def test_an_interval_runs_at_once_and_then_in_its_rhythm(trial):
    trial.db.crons.interval("beat", minutes=10, fn="tick", args={"n": 3})
    run(trial, 0)
    assert len(ticks(trial)) == 1
    run(trial, 599)
    assert len(ticks(trial)) == 1
    run(trial, 1, 600, 600)
    assert len(ticks(trial)) == 4
    assert {row["n"] for row in trial.db["a"].collect()} == {3}


def test_the_first_cron_of_a_workspace_misses_nothing_however_late_the_thread_begins(
    trial, monkeypatch
):
    workspace = trial.db.backend.workspace
    notice = workspace.scheduler.notice

    def late(batch):
        trial.clock.advance(1)
        notice(batch)

    monkeypatch.setattr(workspace.scheduler, "notice", late)
    trial.db.crons.interval("beat", minutes=10, fn="tick")
    trial.run_scheduled()
    assert [log["status"]["kind"] for log in trial.db.function("logs")()] == ["success"]


def test_a_daily_cron_runs_at_its_time_in_utc(trial):
    trial.db.crons.daily("clean up", hour_utc=2, minute_utc=30, fn=trial.db.function("tick"))
    run(trial, 2.5 * HOUR_S - 1)
    assert ticks(trial) == []
    run(trial, 61)
    (at,) = ticks(trial)
    assert datetime(2026, 1, 1, 2, 30, tzinfo=UTC) <= at < datetime(2026, 1, 1, 2, 32, tzinfo=UTC)
    run(trial, 24 * HOUR_S)
    assert len(ticks(trial)) == 2


def test_a_cron_is_a_document_that_says_when_it_is_due(trial):
    trial.db.crons.weekly("w", day_of_week="friday", hour_utc=9, minute_utc=0, fn="tick")
    (cron,) = trial.db.function("crons")()
    assert {name: cron[name] for name in cron if name[0] != "_" and name != "nextTime"} == {
        "name": "w",
        "function": "tick",
        "args": [{}],
        "schedule": {"kind": "weekly", "dayOfWeek": "friday", "hourUTC": 9, "minuteUTC": 0},
        "source": "workspace",
        "state": {"kind": "pending"},
    }
    due = datetime.fromtimestamp(cron["nextTime"] / 1000, UTC)
    assert (due.strftime("%A"), due.hour, due.minute) == ("Friday", 9, 0)
    assert [each["name"] for each in trial.db.crons.list()] == ["w"]
    assert repr(trial.db.crons) == "<crons: w>"


def test_a_mutation_and_the_entry_of_its_run_are_one_commit(trial):
    trial.db.crons.interval("beat", seconds=60, fn="tick")
    run(trial, 0)
    before = trial.db.number
    run(trial, 60)
    assert trial.db.number == before + 1
    assert len(ticks(trial)) == 2
    assert len(trial.db.function("logs")()) == 2


def test_the_last_five_runs_are_remembered(trial):
    @trial.db.mutation
    def say(ctx):
        current_call().print("x" * 900 + "\n" + "y" * 900 + "\n")

    trial.db.crons.interval("beat", seconds=60, fn="say")
    run(trial, 0, *[60] * 8)
    logs = trial.db.function("logs")()
    assert len(logs) == 5
    assert logs[-1]["status"] == {"kind": "success"}
    assert logs[-1]["cron"] == "beat"
    assert logs[-1]["scheduledTime"] == logs[-2]["scheduledTime"] + 60_000
    assert sum(map(len, logs[-1]["logLines"])) == 1000


def test_a_run_that_fails_is_logged_and_the_next_one_comes(trial):
    trial.db.crons.interval("beat", seconds=60, fn="tick", args={"n": -1})
    run(trial, 0, 60)
    logs = trial.db.function("logs")()
    assert [log["status"]["kind"] for log in logs] == ["failed", "failed"]
    assert "negative" in logs[0]["status"]["error"]
    assert ticks(trial) == []


def test_a_slot_of_a_mutation_happens_once_through_a_conflict(trial):
    trial.db["counters"].insert({"n": 0})
    begun, go_on, runs = threading.Event(), threading.Event(), []

    @trial.db.mutation
    def count(ctx):
        runs.append(ctx.now)
        row = ctx.db.query("counters").first()
        begun.set()
        assert go_on.wait(30)
        ctx.db.patch(row["_id"], {"n": row["n"] + 1})

    trial.db.crons.interval("count", seconds=60, fn="count")
    assert begun.wait(30)
    row = trial.db["counters"].first()
    trial.db["counters"].patch(row["_id"], {"n": 10})
    go_on.set()
    trial.run_scheduled()
    assert len(runs) == 2
    assert trial.db["counters"].first()["n"] == 11
    assert [log["status"]["kind"] for log in trial.db.function("logs")()] == ["success"]


def test_a_slot_of_a_mutation_that_the_log_does_not_take_is_tried_again(trial):
    trial.db.crons.interval("beat", seconds=600, fn="tick")
    run(trial, 0)
    with trial.failing_log():
        run(trial, 600, 1, 1)
        assert len(ticks(trial)) == 1
        assert len(trial.db.function("logs")()) == 1
    run(trial, 60)
    assert len(ticks(trial)) == 2
    ran = trial.db.function("logs")()[-1]
    assert (ran["status"], ran["scheduledTime"]) == ({"kind": "success"}, START_MS + 600_000)
    assert trial.db.function("crons")()[0]["nextTime"] == START_MS + 1_200_000


def test_one_run_at_a_time_and_what_it_overlaps_is_skipped_and_logged(trial, caplog):
    begun, go_on, runs = threading.Event(), threading.Event(), []

    @trial.db.action
    def slow(ctx):
        runs.append(ctx.now)
        begun.set()
        assert go_on.wait(30)

    trial.db.crons.interval("slow", seconds=60, fn="slow")
    assert begun.wait(30)
    trial.clock.advance(200)
    go_on.set()
    trial.run_scheduled()
    assert len(runs) == 1
    ran, skipped = trial.db.function("logs")()
    assert ran["status"] == {"kind": "success"}
    assert skipped["status"] == {"kind": "canceled", "numCanceled": 3}
    assert "missed 3 of its times" in caplog.text
    run(trial, 40)
    assert len(runs) == 2
    assert trial.db.function("crons")()[0]["nextTime"] == START_MS + 300_000


def test_what_was_missed_while_nothing_was_open_is_not_made_up_for(tmp_path):
    with opened(tmp_path / "w") as trial:
        trial.db.crons.interval("beat", hours=1, fn="tick")
        run(trial, 0)
    with testing.workspace(tmp_path / "w", seed=1) as trial:
        trial.clock.advance(5.5 * HOUR_S)
        define(trial.db)
        trial.run_scheduled()
        assert len(ticks(trial)) == 1
        assert trial.db.function("logs")()[-1]["status"] == {"kind": "canceled", "numCanceled": 5}
        run(trial, 0.5 * HOUR_S)
        assert len(ticks(trial)) == 2


def test_an_action_of_a_cron_that_was_interrupted_has_failed_and_the_cron_goes_on(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("livedb.scheduler.worker.CLOSE_S_MAX", 0.05)
    begun, go_on = threading.Event(), threading.Event()
    with opened(tmp_path / "w") as trial:

        @trial.db.action
        def act(ctx):
            begun.set()
            go_on.wait(30)

        trial.db.crons.interval("beat", seconds=60, fn="act")
        assert begun.wait(30)
    go_on.set()
    with opened(tmp_path / "w", seed=1) as trial:
        trial.db.action(name="act")(lambda ctx: None)
        trial.run_scheduled()
        (log,) = trial.db.function("logs")()
        assert log["status"]["error"] == "Transient error while executing action"
        run(trial, 60)
        assert trial.db.function("logs")()[-1]["status"] == {"kind": "success"}


def test_a_changed_schedule_is_due_anew_and_an_unchanged_one_keeps_its_time(trial):
    def next_ms():
        return trial.db.function("crons")()[0]["nextTime"] - START_MS

    trial.db.crons.interval("beat", hours=1, fn="tick")
    run(trial, 0)
    assert next_ms() == 3_600_000
    trial.clock.advance(60)
    trial.db.crons.interval("beat", minutes=60, fn="tick", args={"n": 7})
    assert next_ms() == 3_600_000
    trial.db.mutation(name="tock")(lambda ctx, n: ctx.db.insert("a", {"n": n, "at": ctx.now}))
    trial.db.crons.interval("beat", minutes=60, fn="tock", args={"n": 7})
    assert next_ms() == 3_600_000
    trial.db.crons.interval("beat", hours=2, fn="tock", args={"n": 7})
    run(trial, 0)
    assert [row["n"] for row in trial.db["a"].collect()] == [0, 7]
    assert next_ms() == 60_000 + 7_200_000


def test_a_changed_schedule_that_is_due_about_now_anyway_keeps_its_time(trial):
    trial.db.crons.interval("beat", minutes=1, fn="tick")
    run(trial, 0, 40)
    trial.db.crons.interval("beat", hours=2, fn="tick")
    run(trial, 0)
    assert len(ticks(trial)) == 1
    run(trial, 20)
    assert len(ticks(trial)) == 2


def test_a_removed_cron_runs_no_more_and_leaves_nothing(trial):
    trial.db.crons.interval("beat", seconds=60, fn="tick")
    run(trial, 0)
    assert len(trial.db.function("logs")()) == 1
    assert trial.db.crons.remove("beat") is True
    assert trial.db.crons.remove("beat") is False
    run(trial, 600)
    assert len(ticks(trial)) == 1
    assert trial.db.function("logs")() == []
    assert trial.db.crons.list() == []


def test_a_cron_made_inside_a_mutation_is_part_of_its_commit(trial):
    @trial.db.mutation
    def subscribe(ctx, name: str):
        trial.db.crons.interval(name, seconds=60, fn="tick")
        if name == "bad":
            raise ValueError(name)

    subscribe(name="good")
    with pytest.raises(ValueError, match="bad"):
        subscribe(name="bad")
    assert [each["name"] for each in trial.db.crons.list()] == ["good"]


def test_a_cron_of_what_does_not_exist_or_cannot_run_is_refused(trial):
    with pytest.raises(FunctionNotFoundError, match="does not exist"):
        trial.db.crons.interval("beat", seconds=60, fn="tock")
    with pytest.raises(livedb.FunctionTypeError, match="is a query"):
        trial.db.crons.interval("beat", seconds=60, fn="logs")
    with pytest.raises(livedb.ArgumentValidationError):
        trial.db.crons.interval("beat", seconds=60, fn="tick", args={"m": 1})
    with pytest.raises(InvalidValueError, match="printable"):
        trial.db.crons.interval("bé", seconds=60, fn="tick")
    assert trial.db.crons.list() == []


def test_a_cron_whose_cell_was_not_run_yet_waits_and_then_goes_on_with_its_next_time(tmp_path):
    with opened(tmp_path / "w") as trial:
        trial.db.mutation(name="mine")(lambda ctx: ctx.db.insert("b", {}) and None)
        trial.db.crons.interval("beat", hours=1, fn="mine")
        run(trial, 0)
    with opened(tmp_path / "w", seed=1) as trial:
        run(trial, 0, HOUR_S + 60)
        (cron,) = trial.db.crons.list()
        assert cron["state"] == {"kind": "pending", "waitingFor": "mine"}
        trial.db.mutation(name="mine")(lambda ctx: ctx.db.insert("b", {}) and None)
        run(trial, 0)
        assert trial.db["b"].count() == 1
        run(trial, HOUR_S)
        assert trial.db["b"].count() == 2


def test_the_first_push_of_a_workspace_misses_nothing(tmp_path):
    with testing.workspace() as trial, closing(Pushes(tmp_path / "app", trial)) as pushes:
        workspace = trial.db.backend.workspace
        workspace.committer._publish = _after(workspace.committer._publish, trial.clock)
        pushes.push(tasks=TASKS, crons=CRONS)
        trial.run_scheduled()
        assert [row["n"] for row in trial.db["a"].collect()] == [5]


def _after(publish, clock):
    def publish_late(batch):
        clock.advance(1)
        publish(batch)

    return publish_late


# -- crons.py --------------------------------------------------------------------------------------

TASKS = """
from livedb import mutation, query
@mutation
def beat(ctx, n: int = 1):
    ctx.db.insert("a", {"n": n, "at": ctx.now})
@query
def all(ctx):
    return []
"""
CRONS = """
import livedb
from tasks import beat
crons = livedb.cron_jobs()
crons.interval("beat", minutes=10, fn=beat, args={"n": 5})
crons.hourly("by name", fn="tasks:beat")
"""


class Pushes:
    def __init__(self, path, trial):
        path.mkdir()
        self._path = path
        self._trial = trial
        self._before = None
        self._folder = FunctionFolder(path)
        self.close = self._folder.close

    def push(self, **files):
        for name, text in files.items():
            (self._path / f"{name}.py").write_text(text)
        loaded = self._folder.load()
        names = () if self._before is None else self._before.names()
        self._trial.db.backend.workspace.push_functions(loaded, before=names)
        self._before = loaded


@pytest.fixture
def pushes(tmp_path, trial):
    with closing(Pushes(tmp_path / "app", trial)) as pushes:
        yield pushes


def named(trial):
    return {cron["name"]: cron for cron in trial.db.crons.list()}


def test_the_crons_of_a_folder_come_with_its_functions_in_one_commit(trial, pushes):
    before = trial.db.number
    pushes.push(tasks=TASKS, crons=CRONS)
    found = named(trial)
    assert {name: cron["function"] for name, cron in found.items()} == {
        "beat": "tasks:beat",
        "by name": "tasks:beat",
    }
    assert {cron["source"] for cron in found.values()} == {"folder"}
    trial.run_scheduled()
    assert [row["n"] for row in trial.db["a"].collect()] == [5]
    # One for the push, one for the run.
    assert trial.db.number == before + 2


PLANNING = """
import livedb
from tasks import beat

@livedb.mutation
def plan(ctx):
    ctx.crons.interval("of a mutation", minutes=10, fn=beat, args={"n": 6})

@livedb.mutation
def take(ctx):
    ctx.crons.interval("beat", minutes=1, fn=beat)

@livedb.action
async def plan_async(ctx):
    await ctx.crons.interval("of an action", minutes=10, fn=beat, args={"n": 7})
"""


def test_functions_of_a_folder_have_crons_that_stay_when_it_is_pushed_again(trial, pushes):
    pushes.push(tasks=TASKS, planning=PLANNING)
    trial.db.function("planning:plan")()
    trial.db.function("planning:plan_async")()
    assert sorted(named(trial)) == ["of a mutation", "of an action"]
    trial.run_scheduled()
    assert sorted(row["n"] for row in trial.db["a"].collect()) == [6, 7]
    pushes.push(tasks=TASKS, crons=CRONS)
    assert sorted(named(trial)) == ["beat", "by name", "of a mutation", "of an action"]
    with pytest.raises(InvalidValueError, match=r"is declared in crons\.py"):
        trial.db.function("planning:take")()


def test_a_push_removes_what_is_gone_and_keeps_the_clock_of_what_stays(trial, pushes):
    pushes.push(tasks=TASKS, crons=CRONS)
    run(trial, 0)
    kept = named(trial)["by name"]["nextTime"]
    trial.clock.advance(60)
    pushes.push(crons=CRONS.replace('crons.interval("beat"', 'crons.interval("other"'))
    assert sorted(named(trial)) == ["by name", "other"]
    assert named(trial)["by name"]["nextTime"] == kept


def test_a_push_that_changes_nothing_makes_no_commit_of_crons(trial, pushes):
    pushes.push(tasks=TASKS, crons=CRONS)
    run(trial, 0)
    before = trial.db.number
    pushes.push(tasks=TASKS, crons=CRONS)
    assert trial.db.number == before


def test_a_folder_without_crons_removes_its_own_and_leaves_those_of_cells(trial, pushes):
    pushes.push(tasks=TASKS, crons=CRONS)
    trial.db.crons.interval("mine", hours=1, fn="tick")
    pushes.push(crons="")
    assert sorted(named(trial)) == ["mine"]


def test_a_cell_does_not_change_what_crons_py_declares(trial, pushes):
    pushes.push(tasks=TASKS, crons=CRONS)
    with pytest.raises(InvalidValueError, match=r"declared in crons\.py"):
        trial.db.crons.interval("beat", seconds=1, fn="tick")
    with pytest.raises(InvalidValueError, match=r"declared in crons\.py"):
        trial.db.crons.remove("beat")


@pytest.mark.parametrize(
    "crons,why",
    [
        ("crons = 3", r"crons = livedb\.cron_jobs\(\) is expected"),
        (CRONS.replace("minutes=10", "minutes=-1"), "at least 1 second"),
        (CRONS.replace('"by name"', '"beat"'), "two crons named 'beat'"),
        (CRONS.replace('"tasks:beat"', '"tasks:bet"'), "'by name' runs tasks:bet"),
        (CRONS.replace('"tasks:beat"', '"tasks:all"'), "is a query"),
        (CRONS.replace('"n": 5', '"n": "x"'), "the cron 'beat'"),
        (CRONS.replace("fn=beat", "fn=print"), "no function of this folder"),
    ],
)
def test_what_crons_py_gets_wrong_is_said_before_anything_changes(trial, pushes, crons, why):
    pushes.push(tasks=TASKS, crons=CRONS)
    trial.run_scheduled()
    before = trial.db.number
    with pytest.raises(FunctionLoadError, match=why) as caught:
        pushes.push(crons=crons)
    assert "crons.py" in caught.value.message
    assert trial.db.number == before


def test_an_error_and_the_lines_of_a_run_are_cut_at_a_thousand_characters(trial):
    @trial.db.mutation
    def talk(ctx):
        for _ in range(5):
            current_call().print("x" * 300 + "\n")
        raise livedb.ApplicationError("y" * 5000)

    trial.db.crons.interval("talk", seconds=60, fn="talk")
    run(trial, 0)
    (log,) = trial.db.function("logs")()
    assert len(log["status"]["error"]) == 1000
    assert sum(map(len, log["logLines"])) == 1000
