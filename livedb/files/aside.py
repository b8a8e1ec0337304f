"""Work that is done beside whoever brings it, a thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """Does one thing at a time on a thread of its own; `close()` it.

    The first thing is done at once: for most files it is the only one, and no thread is begun.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: ThreadPoolExecutor | None = None
        self._doing: Future[object] | None = None
        self._is_begun = False

    def begin(self, do: Callable[[T], object], what: T) -> None:
        """Do it, once the last one is done; `what` must stay as it is until the next call.

        Raises: what the last one raised, and then it is not begun.
        """
        self.wait()
        if not self._is_begun:
            self._is_begun = True
            do(what)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        self._doing = self._thread.submit(do, what)

    def wait(self) -> None:
        """Return once the last one is done, and raise what it raised."""
        if self._doing is not None:
            self._doing.result()

    def close(self) -> None:
        """Let it end what it does, whatever comes of it; twice is harmless."""
        if self._thread is not None:
            self._thread.shutdown()
