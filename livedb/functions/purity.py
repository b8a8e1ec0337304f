"""Warnings for functions that depend on what livedb cannot see change.

A query is run again when a document it read changes. It is not run again because the clock moved
or because a list in the notebook grew or a file was written, so a function that uses such things is
told once, when it is defined.
"""

from __future__ import annotations

import builtins
import dis
import warnings
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from livedb.functions.definition import FunctionDefinition

_CLOCKS = {
    ("datetime", "now"): "ctx.now",
    ("datetime", "utcnow"): "ctx.now",
    ("datetime", "today"): "ctx.now",
    ("date", "today"): "ctx.now.date()",
    ("time", "time"): "ctx.now",
    ("time", "time_ns"): "ctx.now",
    ("time", "monotonic"): "ctx.now",
}

_RANDOM_MODULES = {
    "random",
    "secrets",
    "numpy.random",
    "numpy.random.mtrand",
    "numpy.random._generator",
}
_RANDOM_NAMES = {("uuid", name) for name in ("uuid1", "uuid4", "uuid6", "uuid7")}

_OUTSIDE_NAMES = {("_io", "open"), ("io", "open"), ("os", "listdir"), ("posix", "listdir")}
_OUTSIDE_MODULES = (
    "socket", "_socket", "urllib.request", "http.client", "subprocess", "requests", "httpx",
    "aiohttp",
)  # fmt: skip
"""Whose functions and classes reach what lies outside of the workspace."""

_OUTSIDE = tuple(f"{module}." for module in _OUTSIDE_MODULES)

_FRAME_LIBRARIES = {"pandas", "polars"}

_DATA_TYPES = (list, dict, set)
_FRAME_TYPES = {"DataFrame", "Series", "LazyFrame", "Table", "ndarray"}


class ImpureFunctionWarning(UserWarning):
    """A query or mutation uses something whose changes livedb cannot follow."""


def warn_of_impurity(function: FunctionDefinition, told: set[str]) -> None:
    """Warn of each impure thing that the function's code names, at the place of its definition.

    Args:
        told: what was warned of before, which is not said again; what is said now joins it.
            (Python's own memory of warnings is lost whenever any library changes a filter.)
    """
    code = getattr(function.innermost, "__code__", None)
    for impurity in impurities(function):
        message = f"{function.name}: {impurity}"
        if code is not None and message not in told:
            told.add(message)
            warnings.warn_explicit(
                message, ImpureFunctionWarning, code.co_filename, code.co_firstlineno
            )


def impurities(function: FunctionDefinition) -> list[str]:
    """One sentence per impure thing."""
    handler = function.innermost
    known: Mapping[str, Any] = getattr(handler, "__globals__", {})
    code = getattr(handler, "__code__", None)
    if code is None:
        return []
    found: dict[str, None] = {}
    for name, attributes in _global_reads(code):
        value = known.get(name, vars(builtins).get(name))
        message = _impurity(name, attributes, value, function.kind)
        if message is not None:
            found[message] = None
    return list(found)


def _impurity(name: str, attributes: tuple[str, ...], value: Any, kind: str) -> str | None:
    if kind == "query" and (isinstance(value, _DATA_TYPES) or type(value).__name__ in _FRAME_TYPES):
        return (
            f"it reads the global {name!r} (a {type(value).__name__}), and is not run again when "
            "that changes. Pass it as an argument, or load it into a table."
        )
    shown = name
    message = _of_origin(shown, _origin(value))
    for attribute in attributes:
        if message is not None or not isinstance(value, (ModuleType, type)):
            return message
        shown = f"{shown}.{attribute}"
        owner = value.__name__
        value = vars(value).get(attribute)  # asks no module's or metaclass's own code
        message = _of_origin(shown, (owner, attribute)) or _of_origin(shown, _origin(value))
    return message


def _of_origin(shown: str, origin: tuple[str, str] | None) -> str | None:
    """What is wrong with a thing known to its code as `shown`, by where it comes from."""
    if origin is None:
        return None
    instead = _CLOCKS.get(origin)
    if instead is not None:
        return (
            f"{shown} gives another time at each run, and nothing runs the function "
            f"again when time passes. Use {instead}: when this run began."
        )
    if origin[0] in _RANDOM_MODULES or origin in _RANDOM_NAMES:
        return f"{shown} differs at each run. Use ctx.random."
    if _is_outside(*origin):
        return (
            f"{shown} reaches outside of the workspace: nothing runs the function again when that "
            "changes, and a run may be repeated. Do it in an action, or load it into a table."
        )
    return None


def _is_outside(module: str, name: str) -> bool:
    """Whether files, processes or the network are what a thing is for."""
    if module.partition(".")[0] in _FRAME_LIBRARIES:
        return name.startswith(("read_", "scan_"))
    return (module, name) in _OUTSIDE_NAMES or f"{module}.".startswith(_OUTSIDE)


def _origin(value: Any) -> tuple[str, str] | None:
    """The module or class that a function comes from, and its name there, whatever it is called.

    The functions of `random` are methods of an object that the module keeps: they come from the
    module of its class.
    """
    if isinstance(value, type):
        return value.__module__, value.__name__
    if not isinstance(value, (FunctionType, BuiltinFunctionType, MethodType)):
        return None
    owner = getattr(value, "__self__", None)
    if isinstance(owner, (ModuleType, type)):
        return owner.__name__, value.__name__
    module = value.__module__ if owner is None else type(owner).__module__
    return module or "", value.__name__


def _global_reads(code: CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(global name, attributes taken of it one after another) in the code and what it nests."""
    name: str | None = None
    attributes: list[str] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and name is not None:
            attributes.append(instruction.argval)
        elif instruction.opname not in ("PUSH_NULL", "CACHE", "PRECALL"):
            if name is not None:
                yield name, tuple(attributes)
            loads = instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            name, attributes = instruction.argval if loads else None, []
    if name is not None:
        yield name, tuple(attributes)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_reads(constant)
