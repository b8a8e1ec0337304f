"""`ctx.scheduler`: what is scheduled is part of its commit, bounded, and readable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import livedb
from livedb import testing
from livedb.clock import ManualClock
from livedb.errors import (
    ArgumentValidationError,
    FunctionNotFoundError,
    FunctionTypeError,
    InvalidIdError,
    InvalidValueError,
    LimitError,
)
from livedb.limits import SCHEDULED_DELAY_S_MAX, Limits

START_MS = ManualClock.START_NS / 1e6
FIVE_YEARS_S = 5 * 366 * 86_400


@pytest.fixture
def trial():
    with testing.workspace() as trial:
        define(trial.db)
        yield trial


def define(db):
    @db.mutation
    def add(ctx, n: int = 0):
        return ctx.db.insert("a", {"n": n})

    @db.query
    def jobs(ctx):
        return ctx.db.system.query("_scheduled_functions").collect()

    @db.mutation
    def later(ctx, seconds: float, n: int = 1):
        return ctx.scheduler.run_after(seconds, add, n=n)

    @db.mutation
    def cancel(ctx, id_: str):
        ctx.scheduler.cancel(id_)


def jobs_of(trial):
    return trial.db.function("jobs")()


def in_mutation(trial, work):
    trial.db.mutation(name="work")(work)
    return trial.db.function("work")()


def test_what_is_scheduled_is_a_document_that_says_all_of_it(trial):
    given = trial.db.function("later")(seconds=10, n=3)
    (job,) = jobs_of(trial)
    assert {name: job[name] for name in job if name != "_creationTime"} == {
        "_id": given,
        "name": "add",
        "args": [{"n": 3}],
        "scheduledTime": START_MS + 10_000,
        "state": {"kind": "pending"},
    }

    @trial.db.query
    def one(ctx, id_: str):
        return ctx.db.system.get(id_)

    assert one(id_=given)["name"] == "add"


def test_a_live_query_follows_what_is_scheduled_and_what_becomes_of_it(trial):
    live = trial.db.function("jobs").live()
    assert live.value == []
    trial.db.function("later")(seconds=1)
    assert [job["state"]["kind"] for job in live.value] == ["pending"]
    trial.clock.advance(1)
    trial.run_scheduled()
    assert [job["state"]["kind"] for job in live.value] == ["success"]
    assert trial.wrong_results() == []


def test_what_a_failed_mutation_scheduled_is_not_there(trial):
    def work(ctx):
        ctx.scheduler.run_after(0, "add")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_mutation(trial, work)
    assert jobs_of(trial) == []


def test_what_a_failed_nested_mutation_scheduled_is_not_there(trial):
    @trial.db.mutation
    def inner(ctx):
        ctx.scheduler.run_after(0, "add", n=1)
        raise ValueError("no")

    def work(ctx):
        ctx.scheduler.run_after(0, "add", n=2)
        with pytest.raises(ValueError, match="no"):
            ctx.run_mutation("inner")

    in_mutation(trial, work)
    assert [job["args"] for job in jobs_of(trial)] == [[{"n": 2}]]


@pytest.mark.parametrize(
    "time,expected_ms",
    [
        (datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(seconds=2), START_MS + 2000),
        (START_MS / 1000 + 2.5, START_MS + 2500),
        (START_MS / 1000 - 60, START_MS - 60_000),
    ],
)
def test_run_at_takes_a_datetime_or_seconds_and_a_past_time_keeps_its_value(
    trial, time, expected_ms
):
    in_mutation(trial, lambda ctx: ctx.scheduler.run_at(time, "add"))
    trial.run_scheduled()
    (job,) = jobs_of(trial)
    assert job["scheduledTime"] == expected_ms
    assert job["state"]["kind"] == ("success" if expected_ms < START_MS else "pending")


@pytest.mark.parametrize(
    "work,why",
    [
        (lambda s: s.run_after(-1, "add"), "must be non-negative"),
        (lambda s: s.run_after("1", "add"), "must be a number"),
        (lambda s: s.run_after(True, "add"), "must be a number"),
        (lambda s: s.run_after(float("inf"), "add"), "must be finite"),
        (lambda s: s.run_after(float("nan"), "add"), "must be finite"),
        (lambda s: s.run_after(None, "add"), "must be a number"),
        (lambda s: s.run_after(SCHEDULED_DELAY_S_MAX + 1, "add"), "5 years"),
        (lambda s: s.run_at(0, "add"), "5 years"),
        (lambda s: s.run_at(START_MS / 1000 - FIVE_YEARS_S - 1, "add"), "5 years"),
        (lambda s: s.run_at(START_MS, "add"), "in seconds since 1970, and .* looks like millis"),
        (lambda s: s.run_at(datetime(2026, 1, 1), "add"), "no time zone"),
        (lambda s: s.run_at("tomorrow", "add"), "a datetime or seconds"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(trial, work, why):
    with pytest.raises(InvalidValueError, match=why) as caught:
        in_mutation(trial, lambda ctx: work(ctx.scheduler))
    assert caught.value.code == "InvalidScheduledFunctionDelay"


@pytest.mark.parametrize("seconds", [0, FIVE_YEARS_S, -FIVE_YEARS_S])
def test_five_leap_years_from_now_and_ago_are_still_taken(trial, seconds):
    in_mutation(trial, lambda ctx: ctx.scheduler.run_at(START_MS / 1000 + seconds, "add"))
    assert [job["scheduledTime"] for job in jobs_of(trial)] == [START_MS + seconds * 1000]


def test_an_http_action_is_not_scheduled(trial):
    @trial.db.http.route(path="/hook", method="POST")
    def hook(ctx, request):
        return livedb.json_response({})

    with pytest.raises(FunctionTypeError, match="HTTP action") as caught:
        in_mutation(trial, lambda ctx: ctx.scheduler.run_after(0, "POST /hook"))
    assert caught.value.code == "InvalidScheduledFunction"


def test_a_function_that_does_not_exist_is_not_scheduled(trial):
    with pytest.raises(FunctionNotFoundError, match="does not exist") as caught:
        in_mutation(trial, lambda ctx: ctx.scheduler.run_after(0, "ad"))
    assert caught.value.code == "InvalidScheduledFunction"


def test_a_query_is_not_scheduled(trial):
    with pytest.raises(FunctionTypeError, match="is a query") as caught:
        in_mutation(trial, lambda ctx: ctx.scheduler.run_after(0, "jobs"))
    assert caught.value.code == "InvalidScheduledFunction"


def test_arguments_are_checked_when_it_is_scheduled(trial):
    with pytest.raises(ArgumentValidationError):
        in_mutation(trial, lambda ctx: ctx.scheduler.run_after(0, "add", {"n": "x"}))
    with pytest.raises(ArgumentValidationError):
        in_mutation(trial, lambda ctx: ctx.scheduler.run_after(0, "add", m=1))


def test_arguments_larger_than_a_document_come_back_whole_up_to_4_mib(trial):
    @trial.db.mutation
    def keep(ctx, text: str):
        ctx.db.insert("a", {"length": len(text)})

    most = "x" * (4 * 1024 * 1024 - 100)
    in_mutation(trial, lambda ctx: ctx.scheduler.run_after(0, keep, text=most))
    trial.run_scheduled()
    assert [row["length"] for row in trial.db["a"].collect()] == [len(most)]
    with pytest.raises(LimitError, match="too large to be scheduled") as caught:
        in_mutation(trial, lambda ctx: ctx.scheduler.run_after(0, keep, text=most + "x" * 100))
    assert caught.value.code == "ScheduledFunctionsArgumentsTooLarge"


def test_a_mutation_schedules_a_thousand_functions_and_no_more():
    with testing.workspace(limits=Limits(functions_scheduled_max=3)) as trial:
        define(trial.db)

        def work(ctx, count):
            for _ in range(count):
                ctx.scheduler.run_after(0, "add")

        in_mutation(trial, lambda ctx: work(ctx, 3))
        with pytest.raises(LimitError, match="Too many functions scheduled") as caught:
            in_mutation(trial, lambda ctx: work(ctx, 4))
        assert caught.value.code == "TooManyFunctionsScheduled"
        trial.run_scheduled()
        assert trial.db["a"].count() == 3
    assert Limits().functions_scheduled_max == 1_000


def test_the_arguments_of_one_mutation_have_a_total():
    with testing.workspace(limits=Limits(scheduled_bytes_max=1000)) as trial:
        define(trial.db)
        trial.db.mutation(name="keep")(lambda ctx, text: None)

        def work(ctx):
            for _ in range(3):
                ctx.scheduler.run_after(0, "keep", text="x" * 400)

        with pytest.raises(LimitError, match="total size") as caught:
            in_mutation(trial, work)
        assert caught.value.code == "ScheduledFunctionsArgumentsTooLarge"
    assert Limits().scheduled_bytes_max == 16 * 1024 * 1024


def test_a_cancelled_function_never_runs(trial):
    job = trial.db.function("later")(seconds=5)
    trial.db.function("cancel")(id_=job)
    trial.clock.advance(10)
    trial.run_scheduled()
    (found,) = jobs_of(trial)
    assert found["state"] == {"kind": "canceled"}
    assert found["completedTime"] == START_MS
    assert "a" not in trial.db


def test_to_cancel_what_has_ended_changes_nothing(trial):
    job = trial.db.function("later")(seconds=0)
    trial.run_scheduled()
    before = jobs_of(trial)
    trial.db.function("cancel")(id_=job)
    assert jobs_of(trial) == before


def test_only_a_scheduled_function_is_cancelled(trial):
    other = trial.db["a"].insert({})
    trial.db.function("later")(seconds=5)
    with pytest.raises(InvalidIdError, match="_scheduled_functions"):
        trial.db.function("cancel")(id_=other)
    with pytest.raises(InvalidIdError):
        trial.db.function("cancel")(id_="nonsense")


def test_in_an_action_each_call_is_a_commit_that_stays_when_it_fails(trial):
    seen = []

    @trial.db.action
    def act(ctx):
        first = ctx.scheduler.run_after(60, "add", n=1)
        ctx.scheduler.run_at(ctx.now + timedelta(seconds=90), "add", n=2)
        seen.extend(ctx.run_query("jobs"))
        ctx.scheduler.cancel(first)
        raise RuntimeError("late")

    with pytest.raises(RuntimeError, match="late"):
        act()
    assert [job["scheduledTime"] - START_MS for job in seen] == [60_000, 90_000]
    assert [job["state"]["kind"] for job in jobs_of(trial)] == ["canceled", "pending"]


def test_an_async_action_awaits_the_scheduler(trial):
    @trial.db.action
    async def act(ctx):
        job = await ctx.scheduler.run_after(60, "add", n=1)
        await ctx.scheduler.run_at(START_MS / 1000 + 61, "add", n=2)
        await ctx.scheduler.cancel(job)

    act()
    assert [job["state"]["kind"] for job in jobs_of(trial)] == ["canceled", "pending"]


def test_an_action_is_told_like_a_mutation_what_cannot_be_scheduled(trial):
    @trial.db.action
    def act(ctx, seconds: float, name: str):
        ctx.scheduler.run_after(seconds, name)

    with pytest.raises(InvalidValueError, match="non-negative"):
        act(seconds=-1, name="add")
    with pytest.raises(FunctionNotFoundError, match="does not exist"):
        act(seconds=1, name="ad")


def test_a_query_has_no_scheduler(trial):
    @trial.db.query
    def ask(ctx):
        ctx.scheduler.run_after(0, "add")

    with pytest.raises(AttributeError, match="scheduler"):
        ask()


def test_the_id_of_a_scheduled_function_is_kept_in_documents(trial):
    @trial.db.table("reminders")
    class Reminder:
        job: livedb.Id["_scheduled_functions"]  # noqa: F821, UP037

    job = trial.db.function("later")(seconds=5)
    trial.db["reminders"].insert({"job": job})
    with pytest.raises(livedb.SchemaEnforcementError):
        trial.db["reminders"].insert({"job": trial.db["reminders"].first()["_id"]})
