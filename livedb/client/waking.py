"""Lets Ctrl-C reach a cell that awaits a call.

A kernel (ipykernel 7, on tornado) answers the signal with a callback on the loop that the cell runs
on, and does not wake that loop: while nothing else happens there, the cell would wait on. Whether a
kernel runs the loop only `notebook/` knows, which is above; elsewhere it costs a timer a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

WAKE_S = 0.2
"""Seconds between two times at which the loop is woken; microseconds of work each."""


@contextmanager
def waking() -> Iterator[None]:
    """Within it the loop that runs here is woken now and then."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def wake() -> None:
        nonlocal timer
        timer = loop.call_later(WAKE_S, wake)

    wake()
    try:
        yield
    finally:
        timer.cancel()
