"""Filter expressions: comparison is total, arithmetic is typed, booleans are booleans."""

from __future__ import annotations

import math
from itertools import product

import pytest

from livedb import UNSET, Int64
from livedb.errors import FilterError
from livedb.functions.filters import FilterBuilder, build_filter, passes
from livedb.keys.encoding import encode_key
from livedb.values import same_value

Q = FilterBuilder()
MAX, MIN = Int64(2**63 - 1), Int64(-(2**63))
SAMPLES = [
    UNSET,
    None,
    Int64(-1),
    Int64(0),
    -math.inf,
    -0.0,
    0.0,
    0,
    1,
    1.5,
    math.inf,
    math.nan,
    False,
    True,
    "",
    "a",
    b"a",
    [],
    [1, "a"],
    {},
    {"a": 1},
    {"a": 1, "b": 1},
]


def value_of(expression, **fields):
    return expression.evaluate(fields)


def test_comparison_is_the_total_order_of_all_values():
    tests = {
        "eq": lambda a, b: a == b,
        "neq": lambda a, b: a != b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
    }
    for left, right in product(SAMPLES, SAMPLES):
        for name, test in tests.items():
            expected = test(encode_key(left), encode_key(right))
            fields = {} if left is UNSET else {"x": left}
            found = value_of(getattr(Q, name)(Q.field("x"), right), **fields)
            assert found is expected, (name, left, right)


def test_nan_equals_itself_and_minus_zero_is_below_zero():
    x = Q.field("x")
    assert value_of(Q.eq(x, math.nan), x=math.nan) is True
    assert value_of(Q.eq(x, 0.0), x=-0.0) is False
    assert value_of(Q.lt(x, 0), x=-0.0) is True


def test_an_absent_field_is_below_everything():
    missing = Q.lt(Q.field("x"), 5)
    assert value_of(missing) is True
    assert value_of(missing, x=None) is True
    assert value_of(missing, x=Int64(10**15)) is True
    assert value_of(missing, x=5) is False
    assert value_of(Q.eq(Q.field("x"), UNSET)) is True
    assert value_of(Q.eq(Q.field("x"), UNSET), x=None) is False


def test_field_walks_nested_objects():
    nested = Q.field("a.b.c")
    assert value_of(nested, a={"b": {"c": 7}}) == 7
    for document in ({}, {"a": 1}, {"a": {"b": None}}, {"a": {"b": [1]}}, {"a": {}}):
        assert value_of(nested, **document) is UNSET


# -- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, left, right, expected",
    [
        ("add", 1, 2, 3.0),
        ("add", 0.1, 2, 2.1),
        ("add", Int64(1), Int64(2), Int64(3)),
        ("sub", 1, 2, -1.0),
        ("sub", Int64(1), Int64(2), Int64(-1)),
        ("mul", 3, 2.5, 7.5),
        ("mul", Int64(3), Int64(-2), Int64(-6)),
        ("div", 7, 2, 3.5),
        ("div", Int64(7), Int64(2), Int64(3)),
        ("div", Int64(-7), Int64(2), Int64(-3)),
        ("div", Int64(7), Int64(-2), Int64(-3)),
        ("mod", 7, 2, 1.0),
        ("mod", -7.5, 2, -1.5),
        ("mod", Int64(-7), Int64(2), Int64(-1)),
        ("mod", Int64(7), Int64(-2), Int64(1)),
        ("div", 1, 0, math.inf),
        ("div", -1, 0, -math.inf),
        ("div", 1, -0.0, -math.inf),
        ("div", -1, -0.0, math.inf),
        ("div", 0, 0, math.nan),
        ("div", math.nan, 0, math.nan),
        ("div", math.inf, 0, math.inf),
        ("mod", 1, 0, math.nan),
        ("mod", math.inf, 2, math.nan),
        ("mod", 2, math.inf, 2.0),
        ("mul", 1e308, 10, math.inf),
        ("add", math.inf, -math.inf, math.nan),
    ],
)
def test_arithmetic(name, left, right, expected):
    found = value_of(getattr(Q, name)(left, right))
    assert same_value(found, expected) or (math.isnan(found) and math.isnan(expected)), found


@pytest.mark.parametrize(
    "name, left, right",
    [
        ("add", MAX, Int64(1)),
        ("sub", MIN, Int64(1)),
        ("mul", MAX, Int64(2)),
        ("div", MIN, Int64(-1)),
        ("div", Int64(1), Int64(0)),
        ("mod", Int64(1), Int64(0)),
    ],
)
def test_int64_overflow_and_division_by_zero_are_errors(name, left, right):
    with pytest.raises(FilterError) as caught:
        value_of(getattr(Q, name)(left, right))
    assert caught.value.code == "EvalError"


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "mod"])
@pytest.mark.parametrize(
    "left, right", [(1, Int64(1)), ("a", 1), (True, 1), (None, 1), (UNSET, 1), ([1], 1)]
)
def test_arithmetic_on_other_types_names_them(name, left, right):
    with pytest.raises(FilterError, match=r"^Cannot .* \(type .*\) and .* \(type .*\)") as caught:
        value_of(getattr(Q, name)(left, right))
    assert caught.value.code == "EvalError"


def test_negation():
    assert value_of(Q.neg(3)) == -3
    assert same_value(value_of(Q.neg(0.0)), -0.0)
    assert same_value(value_of(Q.neg(Int64(3))), Int64(-3))
    for wrong in (True, "a", None, UNSET):
        with pytest.raises(FilterError, match="Cannot negate"):
            value_of(Q.neg(wrong))
    with pytest.raises(FilterError, match="overflow"):
        value_of(Q.neg(MIN))


# -- booleans --------------------------------------------------------------------------------------


def test_and_or_not():
    for a, b in product([True, False], repeat=2):
        assert value_of(Q.and_(a, b)) is (a and b)
        assert value_of(Q.or_(a, b)) is (a or b)
    assert value_of(Q.not_(True)) is False
    assert value_of(Q.and_()) is True
    assert value_of(Q.or_()) is False


def test_and_and_or_stop_at_the_first_that_decides():
    wrong = Q.add("a", 1)
    assert value_of(Q.and_(False, wrong)) is False
    assert value_of(Q.or_(True, wrong)) is True
    with pytest.raises(FilterError):
        value_of(Q.and_(True, wrong))


@pytest.mark.parametrize("wrong", [1, 0, "a", None, UNSET, [], Int64(1)])
def test_what_is_no_boolean_is_an_error(wrong):
    for expression in (Q.and_(wrong), Q.or_(wrong), Q.not_(wrong)):
        with pytest.raises(FilterError) as caught:
            value_of(expression)
        assert caught.value.code == "EvalError"
    if not isinstance(wrong, list):
        with pytest.raises(FilterError):
            passes(build_filter(lambda q: q.field("x")), {"x": wrong})


def test_python_operators_cannot_be_used_by_mistake():
    with pytest.raises(FilterError, match=r"q\.and_\(\)"):
        bool(Q.eq(Q.field("x"), 1))
    with pytest.raises(FilterError, match="must return an expression"):
        build_filter(lambda q: None)
    with pytest.raises(FilterError, match=r"q\.and_\(\)"):
        build_filter(lambda q: q.eq(q.field("x"), 1) and q.eq(q.field("x"), 2))


FIELD_IS_MEANT = {
    "attribute": (lambda d: d.n == 1, r'q\.eq\(q\.field\("n"\), 1\)'),
    "item": (lambda d: d["n"] == 1, r'q\.eq\(q\.field\("n"\), 1\)'),
    "greater": (lambda q: q.field("x") > 1, r"q\.gt\(q\.field\('x'\), 1\)"),
    "at_least": (lambda q: q.field("x") >= 1, r"q\.gte\(q\.field\('x'\), 1\)"),
    "less": (lambda q: q.field("x") < 1, r"q\.lt\(q\.field\('x'\), 1\)"),
    "at_most": (lambda q: q.field("x") <= 1, r"q\.lte\(q\.field\('x'\), 1\)"),
    "equal": (lambda q: q.field("x") == 1, r"q\.eq\(q\.field\('x'\), 1\)"),
    "unequal": (lambda q: q.field("x") != "y", r"q\.neq\(q\.field\('x'\), 'y'\)"),
    "bare": (lambda q: q.eq("x", 1), r"q\.eq\(q\.field\('x'\), 1\)"),
    "constants": (lambda q: q.lt(1, 2), r'q\.lt\(q\.field\("x"\), 2\)'),
    "true": (lambda q: True, r'q\.eq\(q\.field\("done"\), False\)'),
    "nothing": (lambda q: None, r'q\.eq\(q\.field\("done"\), False\)'),
}


@pytest.mark.parametrize("build, hint", FIELD_IS_MEANT.values(), ids=FIELD_IS_MEANT)
def test_a_filter_that_cannot_depend_on_the_document_shows_how_to_name_the_field(build, hint):
    with pytest.raises(FilterError, match=hint):
        build_filter(build)


# -- in queries ------------------------------------------------------------------------------------


def test_the_filter_applies_before_the_limit(db):
    db["t"].insert([{"n": n} for n in range(10)])
    odd = db["t"].filter(lambda q: q.eq(q.mod(q.field("n"), 2), 1))
    assert [t.n for t in odd.take(3)] == [1, 3, 5]
    assert [t.n for t in odd.order("desc").take(2)] == [9, 7]
    assert odd.first().n == 1


def test_filters_add_up_and_stand_anywhere_around_order(memory):
    memory["t"].insert([{"n": n} for n in range(10)])
    above = [t.n for t in memory["t"].filter(lambda q: q.gt(q.field("n"), 3)).order("desc")]
    assert above == [9, 8, 7, 6, 5, 4]
    both = (
        memory["t"]
        .filter(lambda q: q.gt(q.field("n"), 3))
        .order("desc")
        .filter(lambda q: q.lt(q.field("n"), 6))
    )
    assert [t.n for t in both] == [5, 4]


def test_system_fields_can_be_filtered(memory):
    made = memory["t"].insert([{"n": 1}, {"n": 2}])
    assert memory["t"].filter(lambda q: q.eq(q.field("_id"), made[1])).unique().n == 2


def test_a_filter_of_constant_conditions(memory):
    memory["t"].insert([{"n": 1}])
    assert len(memory["t"].filter(lambda q: q.and_(True)).collect()) == 1
    assert memory["t"].filter(lambda q: q.or_()).collect() == []


def test_an_error_of_a_filter_is_the_querys(memory):
    memory["t"].insert([{"n": "text"}])
    with pytest.raises(FilterError, match=r"Cannot add 'text' \(type string\) and 1"):
        memory["t"].filter(lambda q: q.eq(q.add(q.field("n"), 1), 2)).collect()
