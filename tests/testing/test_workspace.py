"""A workspace for tests: time, chance and a failing log in a test's hands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from livedb import Id, MutationContext, QueryContext, testing
from livedb.clock import ManualClock
from livedb.errors import LogError
from livedb.live.live_query import LiveQuery

START = datetime.fromtimestamp(ManualClock.START_NS / 1e9, UTC)


def define(db):
    @db.table("orders")
    class Order:
        item: str
        at: datetime

    @db.mutation
    def order(ctx: MutationContext, item: str) -> Id[Order]:
        return ctx.db.insert("orders", {"item": item, "at": ctx.now})

    @db.query
    def orders(ctx: QueryContext) -> list[str]:
        return [each["item"] for each in ctx.db.query("orders")]

    @db.query
    def late(ctx: QueryContext) -> list[str]:
        day = timedelta(days=1)
        return [each["item"] for each in ctx.db.query("orders") if ctx.now - each["at"] >= day]

    return order, orders, late


@pytest.fixture(params=["memory", "disk"])
def trial(request, tmp_path):
    with testing.workspace(tmp_path / "w" if request.param == "disk" else None) as made:
        yield made


def test_time_is_where_the_test_has_moved_it(trial):
    order, _, late = define(trial.db)
    made = order(item="tea")
    assert trial.db["orders"].get(made)["at"] == START
    assert late() == []
    trial.clock.advance(86_400)
    assert late() == ["tea"]


def test_equal_seeds_give_equal_ids():
    def ids(seed):
        with testing.workspace(seed=seed) as trial:
            order, _, _ = define(trial.db)
            return [order(item="tea") for _ in range(3)]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def test_a_settled_workspace_has_told_its_followers(trial):
    order, orders, _ = define(trial.db)
    handle = orders.live()
    seen = []
    handle.observe(lambda _: seen.append(handle.value))
    order(item="tea")
    assert trial.settle() == trial.db.number
    assert seen[-1] == ["tea"]


def test_while_the_log_fails_nothing_happens_and_then_all_goes_on(trial):
    order, orders, _ = define(trial.db)
    order(item="tea")
    with trial.failing_log(), pytest.raises(LogError):
        order(item="milk")
    order(item="rum")
    assert orders() == ["tea", "rum"]


def test_a_live_result_that_is_wrong_is_found(trial, monkeypatch):
    order, orders, _ = define(trial.db)
    handle = orders.live()
    folded = trial.db.sql("select count(*) n from orders").live()
    order(item="tea")
    assert trial.wrong_results() == []
    absorb = LiveQuery.absorb
    monkeypatch.setattr(LiveQuery, "absorb", lambda query, _: (query.state, False))
    order(item="milk")
    assert len(trial.wrong_results()) == 2
    monkeypatch.setattr(LiveQuery, "absorb", absorb)
    order(item="rum")
    assert trial.wrong_results() == []
    assert [handle.value, folded.df["n"].tolist()] == [["tea", "milk", "rum"], [3]]
