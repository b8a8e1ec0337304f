"""A thread for what Ctrl-C must not cut in half.

Only the main thread gets signals. What must happen wholly (a fold: several statements of one DuckDB
transaction) crosses from there to a thread of its own in one `SimpleQueue.put`; other threads do it
themselves. An interrupt before the crossing finds nothing done, one after it waits for the end.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread, current_thread, main_thread

_LOOK_S = 0.5
"""Between two looks of an interrupted waiter: a lock it took may have been lost to the signal."""


class _Job:
    """One action on its way; whoever claims it first, its thread or its caller, has it."""

    __slots__ = ("_claim", "action", "done", "error", "is_done")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.error: BaseException | None = None
        self.is_done = False
        self.done = Lock()
        self.done.acquire()
        self._claim = Lock()

    def claim(self) -> bool:
        return self._claim.acquire(blocking=False)

    def run(self) -> None:
        try:
            self.action()
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            self.error = error
        finally:
            self.is_done = True
            self.done.release()

    def wait(self) -> None:
        while not self.is_done:
            self.done.acquire(timeout=_LOOK_S)


class Shield:
    """Runs actions out of reach of signals. `close()` it."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def run(self, action: Callable[[], None]) -> None:
        """Do `action`, wholly or not at all as far as interrupts go.

        Raises: what it raises; KeyboardInterrupt when one came meanwhile, after its end.
        Cost: nothing but on the main thread, there a hand-over of about 50 us.
        """
        if current_thread() is not main_thread():
            action()
            return
        job = _Job(action)
        try:
            self._jobs.put(job)
            job.wait()
        except KeyboardInterrupt:
            if not job.claim():
                job.wait()
            raise
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """End the thread; nothing may be running."""
        self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.claim():
                job.run()
