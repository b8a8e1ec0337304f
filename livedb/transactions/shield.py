"""A thread for what Ctrl-C must not cut in half.

Only the main thread gets signals. What must happen wholly (a fold: several statements of one DuckDB
transaction) crosses from there to a thread of its own in one `SimpleQueue.put`; other threads do it
themselves, unless a time limit may strike there too. An interrupt before the crossing finds nothing
done, one after it waits for the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import ceil
from queue import SimpleQueue
from threading import Lock, Thread, current_thread, main_thread

_LOOK_S = 0.5
"""Between two looks of an interrupted waiter: a lock it took may have been lost to the signal."""
_AGAIN_S = 0.05
"""Between two interrupts of an action."""


class Job:
    """One action on its way to a thread; whoever claims it first, that or its caller, has it."""

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

    def wait_within(self, seconds: float) -> bool:
        """Whether the action has ended; waits about so long for it."""
        for _ in range(max(1, ceil(seconds / _LOOK_S))):
            if self.is_done:
                break
            self.done.acquire(timeout=min(seconds, _LOOK_S))
        return self.is_done

    def end_within(self, seconds: float, interrupt: Callable[[], None]) -> bool:
        """Interrupt the action for about so long, again and again: an interrupt may come too early.

        Returns whether it has ended.
        """
        for _ in range(ceil(seconds / _AGAIN_S)):
            if self.is_done:
                break
            with suppress(KeyboardInterrupt):  # the first one is on its way to the caller
                interrupt()
                self.done.acquire(timeout=_AGAIN_S)
        return self.is_done


class Shield:
    """Runs actions out of reach of signals. `close()` it.

    Args:
        covers_all_threads: out of reach of time limits too, which may end a run on any thread
            (`functions.deadline`): for what a user's function can be waiting for.
    """

    def __init__(self, name: str, *, covers_all_threads: bool = False) -> None:
        self._covers_all_threads = covers_all_threads
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def run(self, action: Callable[[], None]) -> None:
        """Do `action`, wholly or not at all as far as interrupts go.

        Raises: what it raises; KeyboardInterrupt when one came meanwhile, after its end.
        Cost: a hand-over of about 50 us, on the threads that are covered.
        """
        is_covered = self._covers_all_threads or current_thread() is main_thread()
        if not is_covered or current_thread() is self._thread:
            action()
            return
        job = Job(action)
        try:
            self._jobs.put(job)
            job.wait()
        except BaseException:  # Ctrl-C, or a time limit
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
