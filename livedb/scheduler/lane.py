"""Threads that run what is due, in that order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from livedb.scheduler.tasks import Task


class Lane:
    """A queue of tasks and the threads that serve it, made as they are needed; `close()` it.

    Args:
        run: is given each task; raises nothing.
        begun: is called when the last that waits has been taken.
    """

    def __init__(
        self, run: Callable[[Task], None], begun: Callable[[], None], *, threads_max: int
    ) -> None:
        self._run = run
        self._begun = begun
        self._threads_max = threads_max
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        """Guards all below."""
        self._threads: list[threading.Thread] = []
        self._count = 0
        """Tasks that wait or run."""

    @property
    def is_empty(self) -> bool:
        """Whether none waits."""
        return self._queue.empty()

    def put(self, task: Task) -> None:
        """Have a task run."""
        with self._lock:
            self._count += 1
            if len(self._threads) < min(self._count, self._threads_max):
                thread = threading.Thread(target=self._serve, name="livedb-job", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._queue.put(task)

    def close(self) -> list[threading.Thread]:
        """Have the threads end when the queue is empty; returns them."""
        with self._lock:
            for _ in self._threads:
                self._queue.put(None)
            return list(self._threads)

    def _serve(self) -> None:
        while (task := self._queue.get()) is not None:
            if self._queue.empty():
                self._begun()
            self._run(task)
            with self._lock:
                self._count -= 1
