"""What became of the runs of one function since its workspace was opened."""

from __future__ import annotations

from livedb.errors import SnapshotTooOldError

ERROR_CHARACTERS_MAX = 500
"""Characters of an error that are kept of it."""


class RunRecord:
    """How often a function ran and how the runs ended, reruns of live queries included.

    Counts of runs that end in one moment on several threads may miss one: they are for people.

    Attributes:
        runs: how often its handler was called: work, for tests and statistics.
        ended: runs that have ended.
        took_s: seconds that these took, all together.
        last_s: when the last one ended, on the monotonic clock.
        errors: runs that raised.
        error: what the last of those raised; "" when none did.
    """

    __slots__ = ("ended", "error", "errors", "last_s", "runs", "took_s")

    def __init__(self) -> None:
        self.runs = 0
        self.ended = 0
        self.took_s = 0.0
        self.last_s = 0.0
        self.errors = 0
        self.error = ""

    def end(self, began_s: float, now_s: float) -> None:
        """A run that began at `began_s` has ended."""
        self.ended += 1
        self.took_s += now_s - began_s
        self.last_s = now_s

    def fail(self, error: Exception) -> None:
        """A run raised; one that is made again at a newer commit is no failure."""
        if not isinstance(error, SnapshotTooOldError):
            self.errors += 1
            told = str(error).strip().partition("\n")[0]
            self.error = f"{type(error).__name__}: {told}"[:ERROR_CHARACTERS_MAX]
