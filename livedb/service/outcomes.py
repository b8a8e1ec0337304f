"""What a call came to, as it goes to a client: JSON of values, texts of errors.

Source: spec sync-protocol.md 6.5: the message names the request, and the details when they may be
shown; an application's own error travels as data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import UNSET, Raw

from livedb.canonical import canonical
from livedb.clock import Clock
from livedb.errors import ApplicationError, FunctionNotFoundError, LivedbError, PaginationError
from livedb.functions.definition import canonical_result
from livedb.live.result import Result
from livedb.protocol.convex_json import Json, to_wire
from livedb.protocol.messages import encode_json
from livedb.protocol.server import Failure
from livedb.values import Value

ToJson = Callable[[Value], Json]
"""`to_wire`, or `to_lossy_json`."""

logger = logging.getLogger("livedb.service")

_INVALID_CURSOR = encode_json({"isConvexSystemError": True, "paginationError": "InvalidCursor"})


class Outcomes:
    """Turns results and errors into what clients read.

    Args:
        shows_details: whether clients may read the messages of errors that are not the
            application's own.
    """

    def __init__(self, clock: Clock, *, shows_details: bool = True) -> None:
        self._clock = clock
        self._shows_details = shows_details

    def value(self, value: object, to_json: ToJson = to_wire) -> Raw:
        """The JSON of a function's result."""
        return encode_json(to_json(canonical_result(value)))

    def result(self, result: Result) -> Raw:
        """The JSON of a live query's result."""
        return encode_json(to_wire(result.value()))

    def failure(
        self, error: Exception, log_lines: tuple[str, ...] = (), to_json: ToJson = to_wire
    ) -> Failure:
        """What a client reads of an error."""
        request = self._clock.random_bytes(8).hex()
        head = f"[Request ID: {request}] Server Error"
        if isinstance(error, ApplicationError):
            data = encode_json(to_json(canonical(error.data)))
            return Failure(f"{head}\nUncaught ConvexError: {error}", data, log_lines)
        if isinstance(error, PaginationError) and error.code == "InvalidCursor":
            return Failure(f"{head}\nInvalidCursor: {error.message}", _INVALID_CURSOR, log_lines)
        if not isinstance(error, LivedbError):
            logger.info("request %s failed", request, exc_info=error)
        if not self._shows_details and not isinstance(error, FunctionNotFoundError):
            return Failure(head, UNSET, log_lines)
        return Failure(f"{head}\n{_detail(error)}", UNSET, log_lines)


def _detail(error: Exception) -> str:
    if isinstance(error, FunctionNotFoundError):
        return error.message
    if isinstance(error, LivedbError):
        return f"Uncaught {error.code}: {error.message}"
    return f"Uncaught {type(error).__name__}: {error}"
