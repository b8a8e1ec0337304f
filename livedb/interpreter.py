"""Settings of the whole interpreter while any workspace of this process is open.

Both are restored when the last one is closed.
"""

from __future__ import annotations

import gc
import sys

from livedb.process_lock import ProcessLock

_SWITCH_INTERVAL_S = 0.0005
"""With a busy Python cell a commit took 15 ms at Python's default of 5 ms, 1.6 ms at this."""
_GC_THRESHOLD = (10_000, 20, 20)
"""Superseded versions live for seconds and outgrow Python's default of 700 objects at once: its
collector then took a third of a mutation's time (112 us against 76 us of CPU)."""


class InterpreterTuning:
    """One workspace's wish for these settings; counted, so wishes nest."""

    _open = 0
    _before: tuple[float, tuple[int, int, int]] = (0.0, (0, 0, 0))
    _lock = ProcessLock()

    def begin(self) -> None:
        cls = type(self)
        with cls._lock:
            cls._open += 1
            if cls._open > 1:
                return
            cls._before = (sys.getswitchinterval(), gc.get_threshold())
            sys.setswitchinterval(min(_SWITCH_INTERVAL_S, cls._before[0]))
            if 0 < cls._before[1][0] < _GC_THRESHOLD[0]:
                gc.set_threshold(*_GC_THRESHOLD)

    def end(self) -> None:
        cls = type(self)
        with cls._lock:
            cls._open -= 1
            if cls._open == 0:
                sys.setswitchinterval(cls._before[0])
                gc.set_threshold(*cls._before[1])
