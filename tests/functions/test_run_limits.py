"""Limits of one run: what passes them is undone, who nears them is warned, time is bounded."""

from __future__ import annotations

import logging
import time

import pytest

from livedb.errors import FunctionTimeoutError, LimitError


def values(db, table="a", field="n"):
    return [row[field] for row in db[table].with_index("by_creation_time").collect()]


def test_too_many_writes_undo_everything(limited):
    db = limited(documents_written_max=10)

    @db.mutation
    def fill(ctx, count: int):
        for n in range(count):
            ctx.db.insert("a", {"n": n})

    fill(count=10)
    with pytest.raises(LimitError, match=r"Too many writes .* \(limit: 10\)") as caught:
        fill(count=11)
    assert caught.value.code == "TooManyWrites"
    assert db["a"].count() == 10


def test_too_many_bytes_written(limited):
    db = limited(bytes_written_max=10_000)
    with pytest.raises(LimitError, match="Too many bytes written") as caught:
        db["a"].insert([{"text": "x" * 3000} for _ in range(4)])
    assert caught.value.code == "TooManyBytesWritten"
    assert db["a"].count() == 0


def test_nested_functions_share_the_callers_limits(limited):
    db = limited(documents_written_max=10)

    @db.mutation
    def six(ctx):
        for n in range(6):
            ctx.db.insert("a", {"n": n})

    @db.mutation
    def twelve(ctx):
        six()
        six()

    with pytest.raises(LimitError):
        twelve()
    assert db["a"].count() == 0


def test_a_mutation_that_runs_itself_without_end_is_ended_and_undone(db):
    @db.mutation
    def again(ctx, n: int) -> None:
        ctx.db.insert("a", {"n": n})
        again(n=n + 1)

    @db.mutation
    def by_name(ctx, n: int) -> None:
        ctx.db.insert("a", {"n": n})
        ctx.run_mutation("by_name", n=n + 1)

    for mutation in (again, by_name):
        with pytest.raises(LimitError, match="8 levels deep"):
            mutation(n=0)
    assert "a" not in db


def test_from_80_percent_of_a_limit_a_warning_names_it(limited, caplog):
    db = limited(documents_written_max=10, documents_read_max=10)

    @db.mutation
    def fill(ctx, count: int):
        for n in range(count):
            ctx.db.insert("a", {"n": n})

    with caplog.at_level(logging.WARNING, logger="livedb"):
        fill(count=7)
        assert caplog.messages == []
        fill(count=8)
        assert caplog.messages == ["fill used 8 of at most 10 documents written"]
        caplog.clear()
        db["a"].take(8)
        assert caplog.messages == ["a.take(8) used 8 of at most 10 documents read"]


def test_a_limit_that_is_passed_is_not_warned_of_as_well(limited, caplog):
    db = limited(documents_read_max=10)
    db["a"].insert([{} for _ in range(11)])
    with caplog.at_level(logging.WARNING, logger="livedb"), pytest.raises(LimitError):
        db["a"].collect()
    assert caplog.messages == []


def test_a_limit_of_nothing_is_warned_of_only_when_it_is_used(limited, caplog):
    db = limited(documents_written_max=0, bytes_written_max=0)
    with caplog.at_level(logging.WARNING, logger="livedb"):
        assert db["a"].collect() == []
    assert caplog.messages == []


def test_arguments_that_are_too_large_are_refused(limited):
    db = limited(args_bytes_max=1000, result_bytes_max=1000)

    @db.query
    def echo(ctx, text: str, times: int = 1):
        return text * times

    assert echo(text="x" * 900)
    with pytest.raises(LimitError, match="Arguments for echo are too large") as caught:
        echo(text="x" * 1000)
    assert caught.value.code == "ArgsTooLarge"


# -- time ------------------------------------------------------------------------------------------


def test_a_runaway_function_is_stopped_and_undone(limited):
    db = limited(function_s_max=0.1)

    @db.mutation
    def runaway(ctx):
        ctx.db.insert("a", {"n": 1})
        while True:
            pass

    with pytest.raises(FunctionTimeoutError, match="timed out") as caught:
        runaway()
    assert caught.value.code == "FunctionTimeout"
    assert "a" not in db
    db["a"].insert({"n": 2})
    assert values(db) == [2]


def test_a_function_cannot_catch_its_time_limit(limited):
    db = limited(function_s_max=0.1)

    @db.query
    def stubborn(ctx):
        while True:
            try:
                time.sleep(0.001)
            except Exception:  # noqa: BLE001
                continue

    with pytest.raises(FunctionTimeoutError):
        stubborn()
