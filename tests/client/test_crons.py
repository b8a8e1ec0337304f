"""`db.crons` and scheduled functions of cells, in the workspace's own process and connected."""

from __future__ import annotations

import contextlib
import time

import pytest

import livedb


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.005)


@pytest.fixture
def ticking(db):
    @db.mutation
    def tick(ctx, n: int = 0) -> None:
        ctx.db.insert("ticks", {"n": n})

    @db.mutation
    def later(ctx, n: int) -> str:
        return ctx.scheduler.run_after(0, tick, n=n)

    @db.query
    def jobs(ctx) -> list[dict]:
        return ctx.db.system.query("_scheduled_functions").collect()

    @db.query
    def runs(ctx) -> list[dict]:
        return ctx.db.system.query("_cron_job_logs").collect()

    return db


def test_what_a_cell_schedules_runs_and_its_handle_sees_it(ticking):
    live = ticking.function("jobs").live()
    ticking.function("later")(n=4)
    wait_for(lambda: [job["state"]["kind"] for job in live.value] == ["success"])
    assert [row["n"] for row in ticking["ticks"].collect()] == [4]


def test_a_cron_of_a_cell_runs_until_it_is_removed(ticking):
    ticking.crons.interval("beat", seconds=1, fn=ticking.function("tick"), args={"n": 3})
    ticking.crons.daily("far", hour_utc=2, fn="tick")
    wait_for(ticking.function("runs"))
    assert ticking["ticks"].first()["n"] == 3
    assert [cron["name"] for cron in ticking.crons.list()] == ["beat", "far"]
    assert repr(ticking.crons) == "<crons: beat, far>"
    assert ticking.crons.remove("beat") is True
    assert ticking.crons.remove("beat") is False
    assert [cron["name"] for cron in ticking.crons.list()] == ["far"]


def test_a_cron_that_cannot_be_is_refused_with_its_reason(ticking):
    with pytest.raises(livedb.FunctionNotFoundError, match="does not exist"):
        ticking.crons.hourly("h", fn="tock")
    with pytest.raises(livedb.FunctionTypeError, match="is a query"):
        ticking.crons.hourly("h", fn="jobs")
    with pytest.raises(livedb.InvalidValueError, match="not understood"):
        ticking.crons.cron("c", "99 * * * *", fn="tick")
    with pytest.raises(livedb.InvalidValueError, match="args= are the function's arguments by na"):
        ticking.crons.hourly("h", fn="tick", args=[1])
    assert ticking.crons.list() == []


@pytest.fixture
def planning(ticking):
    """Functions that have crons, with what only `ctx` gives them."""

    @ticking.mutation
    def plan(ctx, name: str, *, fails: bool = False) -> list[str]:
        ctx.crons.interval(name, hours=1, fn="tick", args={"n": 7})
        if fails:
            raise ValueError("no")
        return [cron["name"] for cron in ctx.crons.list()]

    @ticking.mutation
    def plan_all(ctx) -> None:
        tick = "tick"
        ctx.crons.hourly("hourly", fn=tick)
        ctx.crons.daily("daily", hour_utc=2, fn=tick)
        ctx.crons.weekly("weekly", day_of_week="monday", hour_utc=2, fn=tick)
        ctx.crons.monthly("monthly", day=1, hour_utc=2, fn=tick)
        ctx.crons.cron("cron", "0 9 * * 1-5", fn=tick)

    @ticking.mutation
    def plan_twice(ctx) -> None:
        ctx.crons.hourly("kept", fn="tick")
        with contextlib.suppress(ValueError):
            ctx.run_mutation("plan", name="undone", fails=True)

    @ticking.mutation
    def unplan(ctx, name: str) -> bool:
        return ctx.crons.remove(name)

    return ticking


def names_of(db):
    return [cron["name"] for cron in db.crons.list()]


def test_a_mutation_has_crons_which_are_part_of_its_commit(planning):
    assert planning.function("plan")(name="b") == ["b"]
    assert planning.function("plan")(name="a") == ["a", "b"]
    with pytest.raises(ValueError, match="no"):
        planning.function("plan")(name="c", fails=True)
    assert names_of(planning) == ["a", "b"]
    wait_for(lambda: {row["n"] for row in planning["ticks"].collect()} == {7})
    assert planning.function("unplan")(name="a") is True
    assert planning.function("unplan")(name="a") is False
    assert names_of(planning) == ["b"]


def test_what_a_nested_mutation_planned_is_undone_with_it(planning):
    planning.function("plan_twice")()
    assert names_of(planning) == ["kept"]


def test_a_mutation_has_every_verb_of_the_notebooks(planning):
    planning.function("plan_all")()
    assert names_of(planning) == ["cron", "daily", "hourly", "monthly", "weekly"]


def test_a_cron_that_a_mutation_cannot_have_is_refused(planning):
    @planning.mutation
    def wrong(ctx, fn: str, minute: int) -> None:
        ctx.crons.hourly("h", minute_utc=minute, fn=fn)

    with pytest.raises(livedb.FunctionNotFoundError, match="does not exist"):
        wrong(fn="tock", minute=1)
    with pytest.raises(livedb.FunctionTypeError, match="is a query"):
        wrong(fn="jobs", minute=1)
    with pytest.raises(livedb.InvalidValueError) as refused:
        wrong(fn="tick", minute=60)
    assert refused.value.code == "InvalidCron"
    assert names_of(planning) == []


def test_each_cron_of_an_action_is_a_commit_of_its_own(planning):
    @planning.action
    def plain(ctx) -> list[str]:
        ctx.crons.hourly("plain", fn="tick")
        found = [cron["name"] for cron in ctx.crons.list()]
        raise ValueError(f"{found} {ctx.crons.remove('nothing')}")

    @planning.action
    async def awaiting(ctx) -> list:
        await ctx.crons.daily("async", hour_utc=2, fn="tick")
        await ctx.crons.interval("gone", hours=1, fn="tick")
        removed = await ctx.crons.remove("gone")
        return [removed, [cron["name"] for cron in await ctx.crons.list()]]

    with pytest.raises(ValueError, match=r"\['plain'\] False"):
        plain()
    assert names_of(planning) == ["plain"]
    assert awaiting() == [True, ["async", "plain"]]
