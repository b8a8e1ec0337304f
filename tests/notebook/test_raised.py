"""What a reader is raised of a live query's error, and that nothing of the reader stays in it."""

from __future__ import annotations

import gc
import traceback
import weakref

import pytest

from livedb.errors import SqlError, UniqueError
from livedb.notebook.raised import raised_to_one
from tests.waiting import until


class NoAirportError(Exception):
    def __init__(self, name, *, country=None):
        super().__init__(f"no airport {name}")
        self.country = country


class OddError(UnicodeDecodeError):
    """Made by Python's code and kept in C's: not to be copied."""

    def __init__(self, word):
        super().__init__("utf-8", b"x", 0, 1, word)


def noted(error):
    error.add_note("a note")
    return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 2),
        KeyError("k"),
        FileNotFoundError(2, "no", "file"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        NoAirportError("XYZ", country="NL"),
        ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
        UniqueError("taken", index="by_name", existing_id=None),
        SqlError("wrong", code="SqlRefused"),
        noted(ValueError("a")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_it_is_another_object_that_says_the_same(error):
    copied = raised_to_one(error)
    assert copied is not error
    assert type(copied) is type(error)
    assert (str(copied), repr(copied), copied.args) == (str(error), repr(error), error.args)
    assert vars(copied) == vars(error)


def test_a_class_that_cannot_be_made_again_is_raised_itself():
    error = OddError("bad")
    assert raised_to_one(error) is error


def test_it_shows_where_it_was_raised_and_what_caused_it():
    def fails():
        try:
            {}["cause"]
        except KeyError as cause:
            raise ValueError("no") from cause

    with pytest.raises(ValueError) as caught:
        fails()
    copied = raised_to_one(caught.value)
    assert traceback.extract_tb(copied.__traceback__)[-1].name == "fails"
    assert isinstance(copied.__cause__, KeyError)


def test_a_handle_raises_the_same_however_often_it_is_read(db):
    @db.query
    def fails(ctx) -> int:
        raise ValueError("no")

    handle = fails.live()
    lengths = set()
    for _ in range(5):
        with pytest.raises(ValueError, match="no") as caught:
            _ = handle.value
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
        with pytest.raises(ValueError, match="no"):
            handle.raise_error()
    assert len(lengths) == 1


class Big:
    pass


@pytest.mark.local("looks at the live queries of the workspace")
@pytest.mark.parametrize("kind", ["query", "sql"])
def test_a_handle_that_failed_is_dropped_with_its_reader(memory, kind):
    @memory.query
    def fails(ctx) -> int:
        if ctx.db.query("items").first() is not None:
            raise ValueError("no")
        return 1

    def reader():
        big = Big()
        memory["items"].insert({"a": 1})
        if kind == "query":
            handle = fails.live()
            memory["items"].insert({"a": 2})
        else:
            handle = memory.sql("select a from items").live()
            memory.drop_table("items")
        assert handle.error is not None
        if kind == "query":
            with pytest.raises(ValueError):
                _ = handle.value
        return weakref.ref(big)

    big = reader()
    gc.collect()
    assert big() is None
    # A refresher at work takes leave of it a moment later.
    until(lambda: memory.statistics().live["followed"] == 0)
