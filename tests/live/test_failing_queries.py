"""Live results of queries that fail: an error is a state, and passes."""

from __future__ import annotations

import asyncio

import pytest

from livedb.errors import ApplicationError, FunctionTypeError, HandleError
from tests.waiting import until


def test_an_error_is_a_state_and_passes(memory):
    row = memory["a"].insert({"n": 1})

    @memory.query
    def picky(ctx):
        n = ctx.db.get(row)["n"]
        if n < 0:
            raise ApplicationError({"n": n})
        return n

    handle = picky.live()
    memory["a"].patch(row, {"n": -5})
    assert handle.error.data == {"n": -5}
    assert handle.value == 1  # the last good one
    with pytest.raises(ApplicationError):
        handle.raise_error()
    memory["a"].patch(row, {"n": 5})
    assert handle.value == 5
    assert handle.error is None
    handle.raise_error()


def test_a_query_that_fails_at_once_recovers(memory):
    @memory.query
    def first(ctx):
        return ctx.db.query("a").first()["n"]

    handle = first.live()
    assert isinstance(handle.error, TypeError)
    with pytest.raises(TypeError) as raised:
        handle.value  # noqa: B018 - reading is what raises
    assert (type(raised.value), str(raised.value)) == (type(handle.error), str(handle.error))
    memory["a"].insert({"n": 3})
    assert (handle.value, handle.error) == (3, None)


def test_rows_of_a_failed_query_are_the_last_good_ones_or_its_error(shop):
    @shop.query
    def strict(ctx):
        items = ctx.db.query("items").collect()
        if len(items) > 1:
            raise ApplicationError("too many")
        return items

    shop["items"].insert({"kind": "a"})
    handle = strict.live()
    shop["items"].insert({"kind": "b"})
    with pytest.warns(UserWarning, match="last good rows"):
        assert [item.kind for item in handle] == ["a"]

    @shop.query
    def broken(ctx):
        raise ApplicationError("never")

    handle = broken.live()
    assert handle
    with pytest.raises(ApplicationError, match="never"):
        len(handle)


def test_a_new_handle_of_a_failing_query_has_no_rows_of_those_who_followed_before(shop):
    @shop.query
    def inverse(ctx):
        return [{"x": 1 / item["price"]} for item in ctx.db.query("items").collect()]

    shop["items"].insert({"kind": "a", "price": 1})
    earlier = inverse.live()
    zero = shop["items"].insert({"kind": "a", "price": 0})
    assert earlier.value == [{"x": 1.0}]
    handle = inverse.live()
    assert isinstance(handle.error, ZeroDivisionError)
    for read in (lambda: handle.value, lambda: len(handle), lambda: list(handle), handle.to_arrow):
        with pytest.raises(ZeroDivisionError):
            read()
    assert handle.current().row_count == 0
    shop["items"].patch(zero, {"price": 2})
    assert handle.value == earlier.value == [{"x": 1.0}, {"x": 0.5}]
    shop["items"].patch(zero, {"price": 0})
    assert handle.value == [{"x": 1.0}, {"x": 0.5}]


def test_a_handle_that_had_no_value_yet_can_be_waited_for(memory):
    @memory.query
    def first(ctx):
        return ctx.db.query("a").first()["n"]

    async def first_value(handle):
        return await anext(handle.aio())

    handle = first.live()
    with pytest.raises(TypeError):
        asyncio.run(first_value(handle))
    seen = handle.version
    memory["a"].insert({"n": 3})
    assert handle.wait(10, after=seen)
    assert asyncio.run(first_value(handle)) == 3


def test_a_result_that_is_no_value_is_an_error_of_the_handle(memory):
    @memory.query
    def odd(ctx):
        return {1, 2}

    assert odd.live().error.code == "InvalidReturnValue"


def test_a_failing_observer_does_not_keep_others_from_hearing(memory):
    @memory.query
    def count(ctx):
        return ctx.db.count("a")

    handle, heard = count.live(), []
    handle.observe(lambda h: 1 / 0)
    handle.observe(lambda h: heard.append(h.value))
    other = count.live()
    other.observe(lambda h: heard.append(h.value))
    memory["a"].insert({})
    until(lambda: len(heard) == 2)
    assert heard == [1, 1]


def test_a_query_that_ends_the_program_fails_alone(shop):
    @shop.query
    def quits(ctx) -> int:
        found = ctx.db.query("items").collect()
        if len(found) == 1:
            raise SystemExit(3)
        return len(found)

    shop["items"].insert({"kind": "a"})
    with pytest.raises(FunctionTypeError, match=r"'quits' raised SystemExit"):
        quits()
    handle = quits.live()
    assert isinstance(handle.error, FunctionTypeError)
    assert len(shop.of_kind.live(kind="a").value) == 1
    shop["items"].insert({"kind": "a"})
    assert handle.value == 2


def test_what_cannot_be_called_and_what_is_no_trait_is_not_observed(db):
    @db.query
    def one(ctx) -> int:
        return 1

    handle = one.live()
    for handler in (3, None, "print"):
        with pytest.raises(HandleError, match="is no function"):
            handle.observe(handler)
    for names in ("valeu", ["value", "valeu"]):
        with pytest.raises(HandleError, match=r"no trait 'valeu'; it has .*\bvalue\b"):
            handle.observe(print, names)
