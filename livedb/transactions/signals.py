"""Signals held back for the moment of a commit.

Python runs signal handlers on the main thread, between any two bytecodes, and Ctrl-C's raises
KeyboardInterrupt there: within the commit step that would leave half a commit in memory. To give
the step to another thread avoids it, and costs two wake-ups, 50 to 100 us, more than the step.
Holding the handlers back costs 2 us: for the length of the step every Python handler is replaced
by one that takes a note, and what came meanwhile is delivered right after it.

Other threads never get signals and run the step as it is.
"""

from __future__ import annotations

import os
import signal
from _signal import getsignal  # type: ignore[import-not-found]  # `signal.getsignal` makes enums
from _signal import signal as set_handler
from collections.abc import Callable
from threading import get_ident, main_thread
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_CANDIDATES = tuple(
    int(getattr(signal, name))
    for name in (
        "SIGINT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2",
        "SIGCHLD", "SIGWINCH", "SIGBREAK",
    )
    if hasattr(signal, name)
)  # fmt: skip
# Those that programs give Python handlers to. The first is put back last, so that Ctrl-C cannot
# strike while another one is still held back.

Handler = Callable[[int, FrameType | None], object]


class _Held:
    """Stands in for one handler."""

    __slots__ = ("came", "handler", "number")

    def __init__(self, number: int, handler: Handler) -> None:
        self.number = number
        self.handler = handler
        self.came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True


def run_undisturbed(action: Callable[[T], None], argument: T) -> None:
    """`action(argument)`, with every Python signal handler held back until it has ended.

    Raises: what `action` raises; then what a handler held back raises, such as KeyboardInterrupt.
        One that strikes before `action` began is raised without running it.
    Cost: about 2 us on the main thread, nothing elsewhere.
    """
    if get_ident() != _main_ident:
        action(argument)
        return
    held: list[_Held] = []
    try:
        for number, handler in zip(_CANDIDATES, map(getsignal, _CANDIDATES), strict=True):
            # What is no function is None or a number: "default" or "ignore".
            if handler is not None and type(handler) is not int:
                stand_in = _Held(number, _unwrapped(handler))
                held.append(stand_in)
                set_handler(number, stand_in)
        action(argument)
    finally:
        for stand_in in reversed(held):
            set_handler(stand_in.number, stand_in.handler)
    for stand_in in held:
        if stand_in.came:
            stand_in.handler(stand_in.number, None)


def is_main_thread() -> bool:
    """Whether this is the thread that gets signals."""
    return get_ident() == _main_ident


def _learn_main_ident() -> None:
    global _main_ident  # noqa: PLW0603  # asked for on every commit; it changes with a fork only
    _main_ident = main_thread().ident


_main_ident = main_thread().ident
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_learn_main_ident)


def _unwrapped(handler: Handler) -> Handler:
    """The program's handler, also where a strike in the last instant left a stand-in behind."""
    while isinstance(handler, _Held):
        handler = handler.handler
    return handler
