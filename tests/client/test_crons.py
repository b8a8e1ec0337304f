"""`db.crons` and scheduled functions of cells, in the workspace's own process and connected."""

from __future__ import annotations

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
    assert ticking.crons.list() == []
