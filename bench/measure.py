"""How time is taken: medians, interleaved where two things are compared."""

from __future__ import annotations

import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

WAIT_S = 30.0
"""How long a callback may take before the benchmark gives up."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything is measured; `--quick` shows that each benchmark runs."""

    is_quick: bool

    def pick(self, full: int, quick: int) -> int:
        return quick if self.is_quick else full


@dataclass(frozen=True, slots=True)
class Bench:
    """What a group of benchmarks gets: its size, and a folder of its own on a real disk."""

    scale: Scale
    folder: Path

    def pick(self, full: int, quick: int) -> int:
        return self.scale.pick(full, quick)

    def fresh(self, name: str) -> Path:
        """A path below the folder where nothing is."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        return path


def timed_us(step: Callable[[], object]) -> float:
    """Microseconds that one call takes, or up to the `Moment` that it returns."""
    begin = time.perf_counter()
    ended = step()
    end = ended.seconds if isinstance(ended, Moment) else time.perf_counter()
    return (end - begin) * 1e6


@dataclass(frozen=True, slots=True)
class Moment:
    """When what is measured was there, in seconds of `perf_counter`, on whatever thread."""

    seconds: float


TURN_ROUNDS = 25
"""Rounds of one step before the next step's: one and the same call over and over, as a loop in a
program makes it, and yet all steps meet the same weather."""


def medians_us(rounds: int, *steps: Callable[[], object]) -> list[float]:
    """The median of each step, the steps taken in turns of a few rounds.

    What one step leaves behind (cold caches, threads that still spin) falls on the first rounds of
    the next one's turn, and the median passes over it.
    """
    times: list[list[float]] = [[] for _ in steps]
    for begin in range(0, rounds, TURN_ROUNDS):
        count = min(TURN_ROUNDS, rounds - begin)
        for step, taken in zip(steps, times, strict=True):
            taken.extend(timed_us(step) for _ in range(count))
    return [statistics.median(taken) for taken in times]


def best_us(rounds: int, step: Callable[[], object]) -> float:
    """The fastest of a few runs, for work of seconds."""
    return min(timed_us(step) for _ in range(rounds))


class SyncedFile:
    """The floor of anything durable: append 4 KiB and `fdatasync`."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._page = b"x" * 4096
        self._sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync

    def append(self) -> None:
        os.write(self._file, self._page)
        self._sync(self._file)

    def close(self) -> None:
        os.close(self._file)


class Watch:
    """The values that a live handle hands to a callback."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._values: SimpleQueue[Any] = SimpleQueue()
        handle.observe(self._receive)

    def _receive(self, *_: object) -> None:
        value = self._handle.value
        self._values.put((value, time.perf_counter()))

    def wait(self, is_it: Callable[[Any], bool]) -> Moment:
        """When a callback held a value that `is_it`; earlier values are passed over.

        The time is taken in the callback: waking the thread that waits here is not part of it.
        """
        while True:
            value, seconds = self._values.get(timeout=WAIT_S)
            if is_it(value):
                return Moment(seconds)


def calls_per_s(callers: int, seconds: float, call: Callable[[int, int], object]) -> float:
    """`call(caller, count)` from that many threads at once: calls completed a second."""
    counts = [0] * callers
    start = threading.Barrier(callers + 1)
    deadline = [0.0]

    def work(caller: int) -> None:
        start.wait()
        while time.perf_counter() < deadline[0]:
            call(caller, counts[caller])
            counts[caller] += 1

    threads = [threading.Thread(target=work, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    begin = time.perf_counter()
    deadline[0] = begin + seconds
    start.wait()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin)


@contextmanager
def busy_python() -> Iterator[None]:
    """A thread that computes in pure Python until the block ends, as a running cell does."""
    stop = threading.Event()

    def compute() -> None:
        total = 0
        while not stop.is_set():
            for number in range(1000):
                total += number * number

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
