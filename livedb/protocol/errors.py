"""Errors on the wire of livedb's own client: they arrive as the class that was raised.

Official clients read a text; ours gets what the class needs to be made again, by name from the
tree in `livedb.errors` and from Python's own exceptions only: a function that raises ValueError
does so for whoever calls it. Any other class arrives as a `RemoteError` that says what it was.
"""

from __future__ import annotations

import builtins
from typing import Any

import livedb.errors
from livedb.canonical import canonical
from livedb.errors import ApplicationError, LivedbError, RemoteError
from livedb.traces import FRAMES_MAX, frames_of
from livedb.values import Value

_PLAIN = ("code", "path", "kind", "index", "existing_id", "table", "number", "count")
"""Attributes that carry over, where a class has them."""

_TUPLES = ("ids",)
"""Those that are tuples of texts."""


def error_value(error: BaseException, *, shows_files: bool = False) -> dict[str, Value]:
    """What is sent of an error.

    Args:
        shows_files: whether the lines of the service's own files by which it came are told, too.
    """
    return {**_what(error), "where": _where(error, shows_files=shows_files)}


def _where(error: BaseException, *, shows_files: bool) -> list[Value]:
    """The lines by which it came; of functions that travelled the source is at the caller."""
    found: list[Value] = []
    for name, file, line in frames_of(error):
        if file.startswith("<") and " of " in file:
            found.append(f"line {line} of {name}")
        elif shows_files:
            found.append(f"{name} ({file}:{line})")
    return found


def _what(error: BaseException) -> dict[str, Value]:
    if isinstance(error, ApplicationError):
        return {"class": "ApplicationError", "message": str(error), "data": canonical(error.data)}
    if not isinstance(error, LivedbError):
        return {
            "class": type(error).__name__,
            "message": str(error),
            "args": [
                each if isinstance(each, str | int | None) else str(each) for each in error.args
            ],
        }
    attributes = {name: getattr(error, name) for name in _PLAIN if hasattr(error, name)}
    if "status" in vars(error):  # another one than its class has
        attributes["status"] = error.status
    kept: dict[str, Value] = {
        name: value
        for name, value in attributes.items()
        if value is None or isinstance(value, str | int)
    }
    kept |= {name: list(getattr(error, name)) for name in _TUPLES if hasattr(error, name)}
    return {"class": type(error).__name__, "message": error.message, "attributes": kept}


def error_from(value: Any) -> Exception:
    """The error that was sent; a note says where on the service it was raised."""
    error = _made(value)
    where = value.get("where") if isinstance(value, dict) else None
    if isinstance(where, list) and where:
        error.add_note(f"On the service: {', '.join(map(str, where[:FRAMES_MAX]))}")
    return error


def _made(value: Any) -> Exception:
    if not isinstance(value, dict):
        return RemoteError(f"The service failed: {value!r}")
    name, message = str(value.get("class")), str(value.get("message"))
    if name == "ApplicationError":
        return ApplicationError(value.get("data"))
    found = getattr(livedb.errors, name, None)
    if not (isinstance(found, type) and issubclass(found, LivedbError)):
        raised = _builtin(name, value.get("args"))
        return raised or RemoteError(f"{name}: {message}", kind=name)
    error = found.__new__(found)
    Exception.__init__(error, message)
    error.message = message
    for attribute, held in dict(value.get("attributes") or {}).items():
        if attribute in (*_PLAIN, "status"):
            setattr(error, attribute, held)
        elif attribute in _TUPLES:
            setattr(error, attribute, tuple(held))
    return error


def _builtin(name: str, args: Any) -> Exception | None:
    """The exception of Python's own, if it is one that can be made of what was sent."""
    found = getattr(builtins, name, None)
    if not (isinstance(found, type) and issubclass(found, Exception)) or not isinstance(args, list):
        return None
    try:
        return found(*args)
    except TypeError:
        return None
