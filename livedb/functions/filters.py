"""Filter expressions: trees that are evaluated once per scanned document.

Comparison is the total order of all values, so it never fails: an absent field is less than
everything. Arithmetic takes two int64 or two numbers; `and`, `or` and `not` take booleans.

Source: spec semantics.md 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from livedb.canonical import canonical
from livedb.errors import FilterError
from livedb.keys.encoding import encode_key
from livedb.keys.index_key import split_path, value_at
from livedb.values import UNSET, Int64, Missing, Value

Evaluate = Callable[[Mapping[str, Value]], Any]

INT64_MAX = 2**63 - 1

_TYPE_NAMES = {
    bool: "boolean",
    Int64: "int64",
    str: "string",
    bytes: "bytes",
    datetime: "datetime",
    list: "array",
    dict: "object",
}


class Expression:
    """A node of a filter; make them with the methods of `FilterBuilder`."""

    __slots__ = ("evaluate", "text", "tree")

    def __init__(self, evaluate: Evaluate, text: str, tree: list[Value]) -> None:
        self.evaluate = evaluate
        self.text = text
        """A stable rendering, part of a pagination cursor's fingerprint."""
        self.tree = tree
        """The same as data, which `expression_from` reads: the method's name, then its operands."""

    def __repr__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        raise FilterError(
            f"{self.text} is an expression, not a truth value: combine expressions with q.and_(), "
            "q.or_() and q.not_()"
        )

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        raise self._operator("eq", other)

    def __ne__(self, other: object) -> bool:
        raise self._operator("neq", other)

    def __lt__(self, other: object) -> bool:
        raise self._operator("lt", other)

    def __le__(self, other: object) -> bool:
        raise self._operator("lte", other)

    def __gt__(self, other: object) -> bool:
        raise self._operator("gt", other)

    def __ge__(self, other: object) -> bool:
        raise self._operator("gte", other)

    def _operator(self, verb: str, other: object) -> FilterError:
        return FilterError(
            "Filters compare with methods, not with Python's operators: write "
            f"q.{verb}({_as_written(self)}, {_as_written(other)})"
        )


def _as_written(value: object) -> str:
    """An operand as the user's code has it."""
    is_field = isinstance(value, Expression) and value.text.startswith("field(")
    return f"q.{value!r}" if is_field else repr(value)


def _expression(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    constant = UNSET if value is UNSET else canonical(value)
    tree: list[Value] = ["absent"] if constant is UNSET else ["value", constant]
    return Expression(lambda _: constant, repr(constant), tree)


def _meant(name: str, left: Any, right: Any) -> str:
    """The comparison of a field that one of two constants was probably meant to be."""
    field = repr(left) if isinstance(left, str) else '"x"'
    return f"q.{name}(q.field({field}), {right!r})"


def _comparison(name: str, test: Callable[[bytes, bytes], bool]) -> Any:
    def build(_: FilterBuilder, left: Any, right: Any) -> Expression:
        if not (isinstance(left, Expression) or isinstance(right, Expression)):
            raise FilterError(
                f"q.{name}({left!r}, {right!r}) compares two constants, whatever the document "
                f"holds. Name the field with q.field: {_meant(name, left, right)}"
            )
        a, b = _expression(left), _expression(right)
        left_of, right_of = a.evaluate, b.evaluate

        def evaluate(fields: Mapping[str, Value]) -> bool:
            return test(encode_key(left_of(fields)), encode_key(right_of(fields)))

        return Expression(evaluate, f"{name}({a.text}, {b.text})", [name, a.tree, b.tree])

    build.__name__ = name
    build.__doc__ = f"`left {name} right` in the total order of all values."
    return build


def _arithmetic(name: str, verb: str, compute: Callable[[Any, Any], Any]) -> Any:
    def build(_: FilterBuilder, left: Any, right: Any) -> Expression:
        a, b = _expression(left), _expression(right)

        def evaluate(fields: Mapping[str, Value]) -> Value:
            return _compute(verb, compute, a.evaluate(fields), b.evaluate(fields))

        return Expression(evaluate, f"{name}({a.text}, {b.text})", [name, a.tree, b.tree])

    build.__name__ = name
    build.__doc__ = f"{verb.capitalize()} two numbers, or two int64."
    return build


def _type_name(value: Any) -> str:
    if isinstance(value, Missing):
        return "undefined"
    if value is None:
        return "null"
    return "number" if _is_number(value) else _TYPE_NAMES[type(value)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, (bool, Int64))


def _compute(verb: str, compute: Callable[[Any, Any], Any], left: Any, right: Any) -> Value:
    if isinstance(left, Int64) and isinstance(right, Int64):
        try:
            result = compute(int(left), int(right))
        except ZeroDivisionError:
            raise FilterError(f"Cannot {verb} {left} by zero") from None
        if not -INT64_MAX - 1 <= result <= INT64_MAX:
            raise FilterError(f"Cannot {verb} {left} and {right}: the result overflows int64")
        return Int64(result)
    if _is_number(left) and _is_number(right):
        return _float_compute(compute, float(left), float(right))
    raise FilterError(
        f"Cannot {verb} {left!r} (type {_type_name(left)}) and {right!r} (type {_type_name(right)})"
    )


def _float_compute(compute: Callable[[Any, Any], Any], left: float, right: float) -> float:
    """IEEE arithmetic: Python raises where IEEE gives an infinity or NaN."""
    try:
        return float(compute(left, right))
    except ZeroDivisionError:
        if compute is _remainder or left == 0 or math.isnan(left):
            return math.nan
        return math.copysign(math.inf, left) * math.copysign(1.0, right)
    except (OverflowError, ValueError):
        return math.nan


def _quotient(left: Any, right: Any) -> Any:
    """Truncating for int64, as in Convex; true division for numbers."""
    if isinstance(left, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _remainder(left: Any, right: Any) -> Any:
    """The sign of the dividend, as in Convex."""
    if isinstance(left, int):
        return left - right * _quotient(left, right)
    if right == 0:
        raise ZeroDivisionError
    return math.fmod(left, right)


def _truth(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise FilterError(f"{name} needs booleans, and got {value!r} (type {_type_name(value)})")
    return value


class FilterBuilder:
    """What the function given to `.filter` receives."""

    if not TYPE_CHECKING:  # a type checker is to say that there is no such attribute

        def __getattr__(self, name):  # noqa: ANN001, ANN204
            if name.startswith("__"):
                raise AttributeError(name)
            raise FilterError(
                f"A filter is built once, and sees no document: q.{name} is no method of it. "
                f'Name the field with q.field, as in q.eq(q.field("{name}"), 1)'
            )

        def __getitem__(self, name):  # noqa: ANN001, ANN204
            raise FilterError(
                f"A filter is built once, and sees no document to take [{name!r}] of. "
                f'Name the field with q.field, as in q.eq(q.field("{name}"), 1)'
            )

    def field(self, path: str) -> Expression:
        """The document's field; `"a.b"` walks nested objects; undefined when absent."""
        names = split_path(path)
        if len(names) == 1:
            name = names[0]
            return Expression(
                lambda fields: fields.get(name, UNSET), f"field({path!r})", ["field", path]
            )
        return Expression(
            lambda fields: value_at(fields, names), f"field({path!r})", ["field", path]
        )

    eq = _comparison("eq", lambda a, b: a == b)
    neq = _comparison("neq", lambda a, b: a != b)
    lt = _comparison("lt", lambda a, b: a < b)
    lte = _comparison("lte", lambda a, b: a <= b)
    gt = _comparison("gt", lambda a, b: a > b)
    gte = _comparison("gte", lambda a, b: a >= b)
    add = _arithmetic("add", "add", lambda a, b: a + b)
    sub = _arithmetic("sub", "subtract", lambda a, b: a - b)
    mul = _arithmetic("mul", "multiply", lambda a, b: a * b)
    div = _arithmetic("div", "divide", _quotient)
    mod = _arithmetic("mod", "take the remainder of", _remainder)

    def neg(self, value: Any) -> Expression:
        """Minus `value`, a number or an int64."""
        a = _expression(value)

        def evaluate(fields: Mapping[str, Value]) -> Value:
            found = a.evaluate(fields)
            if _is_number(found):
                return -float(found)
            if isinstance(found, Int64):
                return _compute("negate", lambda x, y: y - x, found, Int64(0))
            raise FilterError(f"Cannot negate {found!r} (type {_type_name(found)})")

        return Expression(evaluate, f"neg({a.text})", ["neg", a.tree])

    def and_(self, *conditions: Any) -> Expression:
        """Whether all hold, left to right; of nothing, true."""
        parts = [_expression(condition) for condition in conditions]
        text = f"and({', '.join(part.text for part in parts)})"
        return Expression(
            lambda fields: all(_truth(part.evaluate(fields), "and") for part in parts),
            text,
            ["and_", *[part.tree for part in parts]],
        )

    def or_(self, *conditions: Any) -> Expression:
        """Whether any holds, left to right; of nothing, false."""
        parts = [_expression(condition) for condition in conditions]
        text = f"or({', '.join(part.text for part in parts)})"
        return Expression(
            lambda fields: any(_truth(part.evaluate(fields), "or") for part in parts),
            text,
            ["or_", *[part.tree for part in parts]],
        )

    def not_(self, condition: Any) -> Expression:
        """Whether `condition` does not hold."""
        part = _expression(condition)
        return Expression(
            lambda fields: not _truth(part.evaluate(fields), "not"),
            f"not({part.text})",
            ["not_", part.tree],
        )


def build_filter(build: Callable[[FilterBuilder], Any]) -> Expression:
    """The expression a `.filter` function makes."""
    built = build(FilterBuilder())
    if not isinstance(built, Expression):
        raise FilterError(
            f"The function given to .filter() must return an expression such as "
            f'q.eq(q.field("done"), False), not {built!r}'
        )
    return built


def expression_from(tree: Any) -> Expression:
    """The expression of `Expression.tree`, which may have come from anywhere.

    Raises:
        FilterError: it is no such tree.
    """
    try:
        return _from_tree(tree, EXPRESSION_NESTING_MAX)
    except (TypeError, ValueError, AttributeError, LookupError):
        raise FilterError(f"This is no filter expression: {tree!r:.200}") from None


def _from_tree(tree: Any, nesting_left: int) -> Expression:
    name, *operands = tree
    if nesting_left <= 0:
        raise FilterError(f"A filter expression has at most {EXPRESSION_NESTING_MAX} levels")
    if name == "value":
        return _expression(operands[0])
    if name == "absent":
        return _expression(UNSET)
    if name not in _METHODS:
        raise FilterError(f"A filter expression has no {name!r}")
    if name != "field":
        operands = [_from_tree(operand, nesting_left - 1) for operand in operands]
    built: Expression = getattr(FilterBuilder(), name)(*operands)
    return built


EXPRESSION_NESTING_MAX = 64
_METHODS = frozenset(
    {"field", "eq", "neq", "lt", "lte", "gt", "gte", "add", "sub", "mul", "div", "mod", "neg"}
) | {"and_", "or_", "not_"}


def passes(expression: Expression, fields: Mapping[str, Value]) -> bool:
    """Whether a document passes; a result that is no boolean is an error."""
    return _truth(expression.evaluate(fields), "A filter")
