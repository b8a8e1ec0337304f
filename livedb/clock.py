"""The one door for time and randomness.

Nothing else in livedb reads the wall clock, draws a random number or makes an id from either. So a
run can freeze them (`ctx.now`, `ctx.random`), and a test can replay a whole workspace from a seed.
"""

from __future__ import annotations

import os
import random
import threading
import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """What livedb needs of the outside world: two clocks and a source of randomness."""

    @abstractmethod
    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may jump when the machine's clock is set."""

    @abstractmethod
    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never goes back. For deadlines and durations."""

    @abstractmethod
    def wait(self, woken: threading.Event, seconds: float) -> None:
        """Wait until `woken` is set, or `seconds` have passed; perhaps not so long.

        For work that is due at a time: a clock moved by hand wakes those who wait for it.
        """

    @abstractmethod
    def random_bytes(self, count: int) -> bytes:
        """`count` bytes nobody can guess: for ids and tokens."""

    def random(self, seed: int | None = None) -> random.Random:
        """A generator of its own, seeded by `seed`, or freshly when None."""
        if seed is None:
            seed = int.from_bytes(self.random_bytes(16), "big")
        return random.Random(seed)  # noqa: S311 - reproducible on purpose; tokens use random_bytes


class SystemClock(Clock):
    """The machine's clock and the operating system's randomness."""

    def now_ns(self) -> int:
        """The machine's wall clock."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds since the machine started, or the like."""
        return time.monotonic()

    def wait(self, woken: threading.Event, seconds: float) -> None:
        """Sleep."""
        woken.wait(seconds)

    def random_bytes(self, count: int) -> bytes:
        """The operating system's randomness."""
        return os.urandom(count)


class ManualClock(Clock):
    """A clock that a test moves by hand; its randomness comes from a seed.

    Both clocks move together. Not for ids that must be hard to guess.
    """

    START_NS = 1_767_225_600_000_000_000
    """2026-01-01T00:00:00Z, a moment as good as any."""

    def __init__(self, start_ns: int = START_NS, *, seed: int = 0) -> None:
        self._now_ns = start_ns
        self._elapsed_ns = 0
        self._waiting: set[threading.Event] = set()
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose

    def now_ns(self) -> int:
        """The moment last set, plus what advanced since."""
        return self._now_ns

    def monotonic_s(self) -> float:
        """What advanced since the clock was made."""
        return self._elapsed_ns / 1e9

    def wait(self, woken: threading.Event, seconds: float) -> None:
        """Until the clock is moved, however little."""
        del seconds
        if woken in self._waiting:
            woken.wait()
        else:  # the clock may have been moved just before
            self._waiting.add(woken)

    def random_bytes(self, count: int) -> bytes:
        """The next bytes of the seeded generator."""
        return self._random.randbytes(count)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        assert seconds >= 0, "time passes forward; use set_ns to move the wall clock back"
        step_ns = round(seconds * 1e9)
        self._now_ns += step_ns
        self._elapsed_ns += step_ns
        self._wake()

    def set_ns(self, now_ns: int) -> None:
        """Set the wall clock, forward or back, as an administrator might; monotonic time stays."""
        self._now_ns = now_ns
        self._wake()

    def _wake(self) -> None:
        for woken in list(self._waiting):
            woken.set()
