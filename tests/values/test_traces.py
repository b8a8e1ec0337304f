"""Where an error came from: the lines of functions, not those of livedb or of Python itself."""

from __future__ import annotations

import asyncio
import json
import sys

import httpx
import pytest

import livedb
from livedb.traces import FRAMES_MAX, trace_of


def names(error):
    lines = trace_of(error)
    assert all(f"({__file__}:" in each for each in lines)
    return [each.split()[1] for each in lines]


def test_livedbs_own_frames_and_those_of_python_are_left_out():
    with livedb.open() as db:

        @db.query
        def inner(ctx):
            json.loads("{")

        @db.action
        async def outer(ctx):
            await asyncio.sleep(0)
            await ctx.run_query(inner)

        with pytest.raises(json.JSONDecodeError) as caught:
            outer()
    assert names(caught.value)[-2:] == ["outer", "inner"]


def test_of_a_recursion_the_first_and_the_last_calls_are_named():
    def first(n):
        return again(n)

    def again(n):
        return again(n - 1) if n else last()

    def last():
        raise ValueError

    with pytest.raises(ValueError) as caught:
        first(100)
    found = names(caught.value)
    assert len(found) == FRAMES_MAX
    assert (found[1], found[2], found[-1]) == ("first", "again", "last")


def test_lines_of_an_installed_package_are_named_where_there_are_no_others():
    with pytest.raises(TypeError) as caught:
        httpx.URL(5)
    assert names(caught.value) == [sys._getframe().f_code.co_name]
    caught.value.__traceback__ = caught.value.__traceback__.tb_next
    assert [httpx.__path__[0] in each for each in trace_of(caught.value)] == [True]


def test_an_error_that_was_not_raised_came_from_nowhere():
    assert trace_of(ValueError("x")) == ()
