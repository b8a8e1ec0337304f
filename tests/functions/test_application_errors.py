"""An error of the application's own keeps its data on every way (semantics.md 14)."""

from __future__ import annotations

import pytest

import livedb
from livedb import ApplicationError, Int64


class SoldOutError(ApplicationError):
    """A class of the application's own."""


@pytest.mark.parametrize(
    "data",
    ["sold out", None, 3, {"why": ["sold", {"out": True}], "left": Int64(0), "raw": b"\x00"}],
)
def test_data_comes_through_an_action_and_a_nested_mutation_with_its_types(db, data):
    @db.mutation
    def buy(ctx):
        ctx.db.insert("sales", {})
        raise ApplicationError(data)

    @db.mutation
    def buy_for(ctx):
        ctx.run_mutation(buy)

    @db.action
    def order(ctx):
        try:
            ctx.run_mutation(buy_for)
        except ApplicationError as error:
            raise ApplicationError(error.data) from None

    @db.action
    async def order_async(ctx):
        await ctx.run_mutation(buy_for)

    for function in (buy, buy_for, order, order_async):
        with pytest.raises(ApplicationError) as raised:
            function()
        assert raised.value.data == data
        assert type(raised.value.data) is type(data)
    assert db["sales"].count() == 0


def test_an_error_of_a_subclass_keeps_its_data(db):
    def sell(ctx):
        raise SoldOutError({"left": 0})

    refused = db.mutation(name="sell")(sell)
    with pytest.raises(ApplicationError) as raised:
        refused()
    assert raised.value.data == {"left": 0}


def test_a_caller_may_catch_it_and_only_the_failed_part_is_undone(db):
    @db.mutation
    def fail(ctx):
        ctx.db.insert("log", {"of": "failed"})
        raise ApplicationError("no")

    @db.mutation
    def catch(ctx):
        ctx.db.insert("log", {"of": "kept"})
        try:
            ctx.run_mutation(fail)
        except livedb.ApplicationError as error:
            return error.data

    assert catch() == "no"
    assert [row["of"] for row in db["log"].order("asc")] == ["kept"]
