"""What a served function prints and logs goes to its caller, too.

While a service runs, `sys.stdout` is a `_Tee`: whatever is printed where a function runs for
somebody in particular becomes a line of that call, and goes where it went before as well. Log
records of level INFO and above, as far as their loggers let them through, become lines likewise.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, TextIO

from livedb.functions.calling import current_call

_LEVELS = ((logging.ERROR, "ERROR"), (logging.WARNING, "WARN"), (logging.INFO, "INFO"))


class _Tee:
    """A standard output that also writes into the call in progress."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        call = current_call()
        if call is not None:
            call.print(text)
        return self.stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _CallHandler(logging.Handler):
    """Hands log records to the call in progress.

    Where it is the only handler, Python's last resort, which shows warnings, is kept in its place.
    """

    def emit(self, record: logging.LogRecord) -> None:
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and self._is_alone(record.name):
            last.handle(record)
        call = current_call()
        if call is None:
            return
        level = next((name for least, name in _LEVELS if record.levelno >= least), "DEBUG")
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  # a wrong format, which other handlers tell of
            return
        call.log(level, text)

    def _is_alone(self, name: str) -> bool:
        """Whether no other handler has what a logger of this name is told."""
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(each is not self for each in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


class Console:
    """The one of this process: begun by each service, and gone with the last of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._tee: _Tee | None = None
        self._handler = _CallHandler(logging.INFO)

    def begin(self) -> None:
        """Listen to what functions print."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._tee = _Tee(sys.stdout)
                sys.stdout = self._tee
                logging.getLogger().addHandler(self._handler)

    def end(self) -> None:
        """One service less; who has put another stream in our place meanwhile keeps it."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._tee is not None:
                logging.getLogger().removeHandler(self._handler)
                if sys.stdout is self._tee:
                    sys.stdout = self._tee.stream
                self._tee = None


console = Console()
