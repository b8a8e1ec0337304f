"""The turn: whose mutation runs now.

Correctness never depends on it, since every commit is validated by its read set. So a mutation
first runs without the turn, which costs nothing and seldom conflicts: it is over before the
interpreter gives another thread the word. One that conflicted runs again in the turn, and schema
changes and loads take it for themselves; who comes meanwhile waits until the turn is free.

A turn may be overtaken: after `turn_ms_max` the next caller goes on beside a holder that sleeps,
debugs or waits for input. A turn lost to a signal at the wrong bytecode heals itself: whoever waits
sees that its run has ended, and takes it.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Lock

from livedb.clock import Clock


class TurnHolder:
    """One run's hold on the turn; `is_exclusive` ones (schema changes, loads) are not overtaken.

    The run is made `with holder.running`: a lock in C, which no signal keeps from being released.
    """

    __slots__ = ("is_exclusive", "running", "since_s")

    def __init__(self, *, is_exclusive: bool = False) -> None:
        self.is_exclusive = is_exclusive
        self.running = Lock()
        self.since_s = 0.0


class Turn:
    """A lock that waits only so long for its holder."""

    def __init__(self, clock: Clock, *, turn_ms_max: float) -> None:
        self._clock = clock
        self._turn_s_max = turn_ms_max / 1000
        self._lock = Lock()
        self._holder: TurnHolder | None = None

    def wait_free(self) -> None:
        """Wait until nobody has the turn, or whoever has it may be overtaken."""
        if self._lock.locked():
            passer = TurnHolder()
            with passer.running:
                try:
                    self.take(passer)
                finally:
                    self.give(passer)

    def take(self, holder: TurnHolder) -> None:
        """Wait for the turn, or overtake a holder that has had it for too long."""
        if not self._lock.acquire(blocking=False):
            seen: TurnHolder | None = holder
            while not self._lock.acquire(timeout=self._turn_s_max):
                current = self._holder
                if self._may_overtake(holder, current, seen):
                    break
                seen = current
        holder.since_s = self._clock.monotonic_s()
        self._holder = holder

    def give(self, holder: TurnHolder) -> None:
        """Give the turn back; does nothing when it was overtaken."""
        if self._holder is holder:
            self._holder = None
            # Overtaking is not exact: two who overtook at once may both come here. Letting one
            # more in costs a rerun at worst.
            with suppress(RuntimeError):
                self._lock.release()

    def _may_overtake(
        self, holder: TurnHolder, current: TurnHolder | None, seen: TurnHolder | None
    ) -> bool:
        if current is None:
            # Being taken just now; or, if it was so a whole wait ago too, lost to a signal before
            # its holder was written down.
            return seen is None
        if not current.running.locked():
            return current is seen  # its run ended and never gave the turn back
        if current.is_exclusive or holder.is_exclusive:
            return False
        return self._clock.monotonic_s() - current.since_s >= self._turn_s_max
