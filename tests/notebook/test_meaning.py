"""When a function of a cell means something else than before, and when it does not."""

from __future__ import annotations

import pytest

from livedb.notebook.meaning import meaning_of

CELLS = """\
import functools
def low(x): return x
def helper(x): return low(x)
def by_default(x, k=2): return x * k
def by_keyword(x, *, k=2): return x * k
def make(k):
    return lambda x: x + k
plus = make(1)
def logged(f):
    @functools.wraps(f)
    def wrapper(*args): return f(*args)
    return wrapper
@logged
def wrapped(x): return x
@functools.cache
def cached(x): return x
def one(x): return x * 1
def zero(x): return x * 0.0
factor = 0.0
pair = (1, 0.0)
class Thing: pass
thing = Thing()
things = []
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
"""

FUNCTION = """\
def query(x):
    total = helper(x) + by_default(x) + by_keyword(x) + plus(x) + wrapped(x) + cached(x) + even(2)
    total += one(x) + zero(x) + factor + pair[0]
    return [total for _ in (thing, things)]
"""


@pytest.fixture
def names():
    names = {}
    exec(CELLS + FUNCTION, names)
    return names


def meaning(names):
    return meaning_of(names["query"], names)


@pytest.mark.parametrize(
    "cell",
    [
        "def low(x): return -x",  # which only the helper names
        "def by_default(x, k=3): return x * k",
        "def by_keyword(x, *, k=3): return x * k",
        "plus = make(2)",
        "@logged\ndef wrapped(x): return -x",
        "@functools.cache\ndef cached(x): return -x",
        "def one(x): return x * True",
        "def zero(x): return x * -0.0",
        "factor = -0.0",
        "factor = 0",
        "pair = (1, -0.0)",
        "pair = (True, 0.0)",
        "thing = Thing()",
        "del thing; thing = Thing()",  # which may lie where the first one lay
        "things = [*things]",
        "def odd(n): return False",
        "del low",
    ],
)
def test_a_change_of_what_it_names_is_another_meaning(names, cell):
    before = meaning(names)
    exec(cell, names)
    assert meaning(names) != before


@pytest.mark.parametrize(
    "cell",
    [
        "def low(x): return x",  # the same cell again
        "\n\n# moved down\ndef helper(x): return low(x)",
        "def by_default(x, k=2): return x * k",
        "plus = make(1)",
        "@logged\ndef wrapped(x): return x",
        "factor = 0.0",
        "pair = (1, 0.0)",
        "unused = 3",
        "def unused(x): return x",
        FUNCTION,
        FUNCTION.replace("total += ", "total -= "),  # a redefinition, known as one
    ],
)
def test_what_comes_to_the_same_is_the_same_meaning(names, cell):
    before = meaning(names)
    exec(cell, names)
    assert meaning(names) == before


def test_a_not_a_number_is_itself(names):
    names["factor"] = float("nan")
    before = meaning(names)
    names["factor"] = float("nan")
    assert meaning(names) == before


def test_an_int_too_long_for_python_to_print_is_compared_as_any_other(names):
    names["factor"] = 10**5000
    before = meaning(names)
    names["factor"] = 10**5000
    assert meaning(names) == before
    names["factor"] += 1
    assert meaning(names) != before


def test_what_lies_in_a_module_is_not_looked_at(names):
    before = meaning(names)
    names["functools"].livedb_was_here = 1
    try:
        assert meaning(names) == before
    finally:
        del names["functools"].livedb_was_here
