"""What the names in the code of a cell's function mean.

`meaning_of` gives a value that equals an earlier one as long as the function finds the same behind
every name. It goes through functions of the same notebook: helpers of helpers, what a closure or a
default holds, what a decorator wraps. Running a cell again makes new functions that mean what the
old ones did. Plain values are compared to the last bit; of anything else (a class, a list, a frame)
it counts which object it is. What lies in imported modules is not looked at, nor the function's own
code: whoever defines it anew is known to have done so.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

_PLAIN: dict[Any, Callable[[Any], object]] = {
    int: lambda value: int.__add__(value, 0),
    float: float.__repr__,  # nan is nan, and -0.0 is not 0.0
    complex: complex.__repr__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    type(None): repr,
    type(...): repr,
}
"""What is equal exactly when two values of a type, or of one made from it, mean the same."""


def meaning_of(function: FunctionType, namespace: Mapping[str, Any]) -> list[object]:
    """What `function` finds now, whose globals are `namespace`; compare it with `==`."""
    meaning: list[object] = []
    functions = [function]
    known = {id(function)}
    for each in functions:  # which grows meanwhile
        if each is not function:
            meaning.append(_code_as_value(each.__code__))
        for name, value in _values_of(each, namespace):
            meaning.append((name, _as_value(value)))
            for named in _functions_of(value, namespace):
                if id(named) not in known:
                    known.add(id(named))
                    functions.append(named)
    return meaning


def _values_of(function: FunctionType, namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values that the code reaches by a name, and the default values of its parameters."""
    for name in _names_of(function.__code__):
        yield name, namespace.get(name)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, _content_of(cell)
    for default in function.__defaults__ or ():
        yield "", default
    yield from (function.__kwdefaults__ or {}).items()


def _names_of(code: CodeType) -> Iterator[str]:
    """Global names that the code uses, nested code included (and names of attributes)."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_of(constant)


def _content_of(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is assigned yet
        return None


def _functions_of(value: Any, namespace: Mapping[str, Any]) -> Iterator[FunctionType]:
    """The functions of this notebook that `value` is, or wraps, as a decorated one does."""
    for each in (value, getattr(value, "__wrapped__", None)):
        if isinstance(each, FunctionType) and each.__globals__ is namespace:
            yield each


def _as_value(value: Any) -> object:
    if isinstance(value, tuple):
        return (type(value), *map(_as_value, value))
    if isinstance(value, frozenset):
        return (type(value), frozenset(map(_as_value, value)))
    if isinstance(value, CodeType):
        return _code_as_value(value)
    for plain, as_plain in _PLAIN.items():
        if isinstance(value, plain):
            return (type(value), as_plain(value))
    function = value if isinstance(value, FunctionType) else getattr(value, "__wrapped__", None)
    if isinstance(function, FunctionType):
        return _code_as_value(function.__code__)
    return _Thing(value)


def _code_as_value(code: CodeType) -> object:
    """The instructions, wherever they stand in their cell; `==` of two codes compares lines too."""
    return (code.co_code, code.co_names, *map(_as_value, code.co_consts))


class _Thing:
    """One object: equal to itself, and to no other that comes to lie at its address later."""

    __slots__ = ("_id", "_reference")

    def __init__(self, value: object) -> None:
        self._id = id(value)
        try:
            self._reference: weakref.ref[object] | None = weakref.ref(value)
        except TypeError:  # a list or a dict
            self._reference = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Thing) or self._id != other._id:
            return False
        if self._reference is None or other._reference is None:
            return self._reference is other._reference
        return self._reference() is other._reference() is not None

    def __hash__(self) -> int:
        return hash(self._id)
