"""SQL statements on threads of their own, which their callers leave when time is up.

DuckDB looks for an interrupt between chunks of 2,048 rows, and a chunk can hold minutes of work: a
distance between long texts, 2,048 times. So whoever asks waits in Python, where Ctrl-C and time
limits reach every thread, and interrupts the statement; one that does not end soon after that is
*left*: its caller gets the error it is due, and the thread goes on until DuckDB comes back, closes
the snapshot, and ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from livedb.errors import FunctionTimeoutError, SqlError
from livedb.transactions.shield import Job

if TYPE_CHECKING:
    from livedb.store.snapshot import SqlSnapshot

logger = logging.getLogger("livedb")

LEFT_AFTER_S = 2.0
"""Seconds after its interrupt in which a statement should end. Most do within milliseconds."""


class StatementThreads:
    """Runs statements; as many threads as there were statements at once. `close()` it."""

    def __init__(self) -> None:
        self._idle: deque[SimpleQueue[Job | None]] = deque()
        self._is_closed = False

    def run(
        self, snapshot: SqlSnapshot, action: Callable[[], None], *, may_leave: bool = True
    ) -> None:
        """Do `action`, which runs statements of `snapshot`, and wait for its end.

        Args:
            may_leave: whether it does nothing else, so that nobody misses the end of it.

        Raises:
            FunctionTimeoutError: it was left, at the limit of the snapshot.
            What it raises; Ctrl-C and time limits of the calling thread, once it has ended or was
            left.
        Cost: a hand-over of about 50 us.
        """
        job = Job(action)
        limit_s = snapshot.limit_s if may_leave else None
        try:
            self._start(job)
            if limit_s is None:
                job.wait()
            has_ended = limit_s is None or job.wait_within(limit_s + LEFT_AFTER_S)
        except BaseException:
            if not job.claim():
                self._end(job, snapshot, may_leave=may_leave)
            raise
        if not has_ended and snapshot.leave():
            raise FunctionTimeoutError(
                f"the SQL statement ran longer than Limits.sql_s_max ({limit_s:g} s) allows, and "
                "is in the middle of a call that DuckDB does not interrupt: what is left of it "
                "goes on in the background, and nothing comes of it. Make the texts shorter, or "
                "the rows fewer, on which it calls a function"
            )
        job.wait()  # it has just ended
        if isinstance(job.error, SqlError):
            raise job.error.with_traceback(None)  # nothing of the user's is on that thread
        if job.error is not None:
            raise job.error

    @staticmethod
    def _end(job: Job, snapshot: SqlSnapshot, *, may_leave: bool) -> None:
        while not job.end_within(LEFT_AFTER_S, snapshot.interrupt):
            if may_leave and snapshot.leave():
                logger.warning("a SQL statement was left in a call that DuckDB does not interrupt")
                return

    def close(self) -> None:
        """End the threads that wait; one that was left ends by itself."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _start(self, job: Job) -> None:
        try:
            jobs = self._idle.pop()
        except IndexError:
            jobs = SimpleQueue()
            Thread(target=self._loop, args=(jobs,), name="livedb-sql", daemon=True).start()
        jobs.put(job)

    def _loop(self, jobs: SimpleQueue[Job | None]) -> None:
        while (job := jobs.get()) is not None:
            if job.claim():
                job.run()
            del job
            self._idle.append(jobs)
            if self._is_closed:
                return
