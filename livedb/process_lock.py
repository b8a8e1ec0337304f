"""A lock for what a whole process has once, which the child of a fork finds free.

A fork copies the thread that calls it and no other. A lock that another thread had at that moment
is never given back in the child, where whoever takes it waits for ever. Locks of a workspace need
nothing of this: `require_open` refuses a child before any of them is taken.
"""

from __future__ import annotations

import os
import threading


class ProcessLock:
    """A context manager; not to be held by a thread while it forks."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
