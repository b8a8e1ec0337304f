"""What a call came to, as it goes to a client: values, states of live queries, errors.

Two dialects: official clients read JSON and texts of errors; livedb's own client reads exact
values, changes of rows, Arrow, and errors that it raises again as what they were.

Source: spec sync-protocol.md 6.5: the message names the request, and the details when they may be
shown; an application's own error travels as data.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from msgspec import UNSET, Raw

from livedb.canonical import canonical
from livedb.clock import Clock
from livedb.errors import (
    ApplicationError,
    FunctionNotFoundError,
    LivedbError,
    PaginationError,
    RemoteError,
)
from livedb.functions.definition import canonical_result
from livedb.live.live_query import LiveState
from livedb.live.result import DocumentsResult, Result, TableResult, ValueResult, ipc_bytes
from livedb.protocol.codecs import JSON, PACK, Codec
from livedb.protocol.convex_json import Json, to_wire
from livedb.protocol.effects import Failure, Success
from livedb.protocol.errors import error_value
from livedb.protocol.messages import encode_json
from livedb.protocol.results import Rows, write_rows, write_table, write_value
from livedb.traces import trace_of
from livedb.values import Value

ToJson = Callable[[Value], Json]

logger = logging.getLogger("livedb.service")

_REQUEST = re.compile(r"\[Request ID: [0-9a-f]+\] Server Error")

_INVALID_CURSOR = JSON.write({"isConvexSystemError": True, "paginationError": "InvalidCursor"})


class Dialect(Protocol):
    """How outcomes look to one kind of client."""

    codec: Codec
    is_exact: bool
    """Whether an int arrives as an int; in JSON every number is a float."""

    def value(self, value: Any) -> Raw:
        """A function's result."""

    def failure(self, error: BaseException, log_lines: Sequence[str] = ()) -> Failure:
        """An error."""

    def state(self, state: LiveState, sent: LiveState | None) -> Success | Failure:
        """A live query's state, for a client that has the state `sent`, if any."""


class ConvexDialect:
    """For the official clients, and for plain HTTP.

    Args:
        to_json: Convex's wire form, or the lossy one.
        shows_details: whether clients may read the messages of errors that are not the
            application's own.
    """

    codec: Codec = JSON
    is_exact = False

    def __init__(
        self, clock: Clock, *, to_json: ToJson = to_wire, shows_details: bool = True
    ) -> None:
        self._clock = clock
        self._to_json = to_json
        self._shows_details = shows_details
        self._known: WeakKeyDictionary[LiveState, Success | Failure] = WeakKeyDictionary()
        """Made once for each state, however many follow."""

    def value(self, value: Any) -> Raw:
        return encode_json(self._to_json(canonical_result(value)))

    def state(self, state: LiveState, sent: LiveState | None) -> Success | Failure:  # noqa: ARG002  # always whole
        found = self._known.get(state)
        if found is None:
            found = self._known[state] = self._state(state)
        return found

    def _state(self, state: LiveState) -> Success | Failure:
        if state.error is not None:
            return self.failure(state.error, state.log_lines)
        assert state.result is not None, "a state without error has a result"
        return Success(self.value(state.result.value()), state.log_lines)

    def failure(self, error: BaseException, log_lines: Sequence[str] = ()) -> Failure:
        request = self._clock.random_bytes(8).hex()
        head = f"[Request ID: {request}] Server Error"
        if isinstance(error, ApplicationError):
            plain = self._to_json(canonical(error.data))
            text = plain if isinstance(plain, str) else json.dumps(plain, indent=2)
            message = f"{head}\nUncaught ConvexError: {text}"
            return Failure(message, encode_json(plain), log_lines)
        if isinstance(error, PaginationError) and error.code == "InvalidCursor":
            return Failure(f"{head}\nInvalidCursor: {error.message}", _INVALID_CURSOR, log_lines)
        if not isinstance(error, LivedbError):
            logger.info("request %s failed", request, exc_info=error)
        if not self._shows_details and not isinstance(error, FunctionNotFoundError):
            return Failure(head, UNSET, log_lines)
        detail = "\n".join([_detail(error), *trace_of(error)])
        return Failure(f"{head}\n{detail}", UNSET, log_lines)


def logged(error: BaseException, told: Failure) -> str:
    """What the log of functions has of an error: all of it, whatever its client was told.

    It is read by owners and editors. The request is named, by whose id a client may ask.
    """
    request = _REQUEST.search(told.message)
    first = () if request is None else (request.group(),)
    return "\n".join([*first, _detail(error), *trace_of(error)])


def _detail(error: BaseException) -> str:
    if isinstance(error, FunctionNotFoundError):
        return error.message
    if isinstance(error, LivedbError):
        return f"Uncaught {error.code}: {error.message}"
    return f"Uncaught {type(error).__name__}: {error}"


class OwnDialect:
    """For livedb's own client: nothing is lost on the way.

    Args:
        shows_details: whether clients may read what functions raised that is no error of livedb's.
    """

    codec: Codec = PACK
    is_exact = True

    def __init__(self, clock: Clock, *, shows_details: bool = True) -> None:
        self._clock = clock
        self._shows_details = shows_details

    def value(self, value: Any) -> Raw:
        return PACK.write(canonical_result(value))

    def failure(self, error: BaseException, log_lines: Sequence[str] = ()) -> Failure:
        shown = self._shown(error)
        return Failure(_detail(shown), PACK.write(self._value_of(shown)), log_lines)

    def _value_of(self, shown: BaseException) -> dict[str, Value]:
        return error_value(shown, shows_files=self._shows_details)

    def _shown(self, error: BaseException) -> BaseException:
        if self._shows_details or isinstance(error, LivedbError):
            return error
        request = self._clock.random_bytes(8).hex()
        logger.info("request %s failed", request, exc_info=error)
        return RemoteError(
            f"[Request ID: {request}] Server Error: the function raised something that is not "
            "shown to clients; `livedb logs` shows it to owners and editors"
        )

    def state(self, state: LiveState, sent: LiveState | None) -> Success | Failure:
        if state.error is not None:
            shown = self._shown(state.error)
            value = {**self._value_of(shown), "commit": state.number}
            return Failure(str(shown), PACK.write(value), state.log_lines)
        assert state.result is not None, "a state without error has a result"
        old = sent.result if sent is not None and sent.error is None else None
        return Success(_result(state.result, old, state.number), state.log_lines)


def _result(new: Result, old: Result | None, number: int) -> Raw:
    match new:
        case DocumentsResult(ids, texts):
            before = Rows(old.ids, old.texts) if isinstance(old, DocumentsResult) else None
            return write_rows(Rows(ids, texts), before, number)
        case ValueResult(text):
            return write_value(text, number)
        case TableResult(table):
            return write_table(ipc_bytes(table), number)
        case _:
            raise AssertionError(f"a result of an unknown kind: {new!r}")
