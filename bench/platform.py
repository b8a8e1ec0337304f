"""What runs by itself, and files: scheduled functions, lateness after a restart, bytes a second."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from bench.figure import Figure, Reading, Target
from bench.measure import Bench, timed_us
from bench.peers import SqliteQueue
from bench.served import PlainFiles, ServedFiles, files_of
from bench.tasks import Tasks, define_tasks, open_tasks
from livedb import MutationContext
from livedb import open as open_workspace

GROUP = "platform"
JOBS, LATE = 10_000, 1_000
PLANNED_AT_ONCE = 500
RUN_S_MAX = 300.0
FILE_BYTES = 1 << 30
PIECE_BYTES = 256 << 10
ROUNDS = 3
LOOK_S = 0.01
"""Between two looks at the memory of a process."""
HALF_THE_DISK = Target(of="ratio", comparison=">=", bound=0.5, text=">= 0.5 x the disk")


def run(bench: Bench) -> Iterator[Figure]:
    yield _throughput(bench)
    yield _lateness(bench)
    yield from _files(bench)


# -- scheduled functions ---------------------------------------------------------------------------


def _throughput(bench: Bench) -> Figure:
    count = bench.pick(JOBS, 200)
    tasks = open_tasks(bench.fresh("jobs.livedb"), count)
    with closing(tasks.db):
        ids = tasks.ids(count)
        called_us = timed_us(lambda: [tasks.bump(id=each) for each in ids])
        ended = Ended(tasks.db, count)
        due_s = time.time() + bench.pick(20, 1)
        _plan(tasks, ids, due_s)
        taken_s = max(ended.wait()) - due_s
    with closing(SqliteQueue(bench.fresh("jobs.sqlite"), count)) as queue:
        queue_us = timed_us(queue.run_all)
    return Figure(
        group=GROUP,
        what=f"{count:,} scheduled mutations due at once: runs/s until all have run",
        unit="/s",
        value=count / taken_s,
        floor=Reading(name="called one after another", value=count / called_us * 1e6),
        peers=(Reading(name="SQLite queue, 1 thread", value=count / queue_us * 1e6),),
        ratio_to="called one after another",
    )


def _lateness(bench: Bench) -> Figure:
    count = bench.pick(LATE, 100)
    path = bench.fresh("late.livedb")
    tasks = open_tasks(path, count)
    due_s = time.time() + bench.pick(4, 1)
    _plan(tasks, tasks.ids(count), due_s)
    tasks.db.close()
    time.sleep(max(0.0, due_s - time.time()))
    opened_s = time.time()
    with closing(open_workspace(path)) as db:
        ended = Ended(db, count)
        define_tasks(db)
        late_s = [each - opened_s for each in ended.wait()]
    return Figure(
        group=GROUP,
        what=f"{count:,} that fell due while a workspace was closed: p99 from its opening "
        "until one has run",
        unit="us",
        value=statistics.quantiles(late_s, n=100)[98] * 1e6,
        target=Target(of="value", comparison="<", bound=500_000, text="< 500 ms"),
    )


def _plan(tasks: Tasks, ids: list[str], due_s: float) -> None:
    """Schedule a run of `bump` for each document; raises where they are due before all are."""

    @tasks.db.mutation
    def plan(ctx: MutationContext, ids: list[str], due_s: float) -> None:
        for each in ids:
            ctx.scheduler.run_at(due_s, tasks.bump, id=each)

    for start in range(0, len(ids), PLANNED_AT_ONCE):
        plan(ids=ids[start : start + PLANNED_AT_ONCE], due_s=due_s)
    if time.time() >= due_s:
        raise RuntimeError(f"{len(ids):,} functions were due before all of them were scheduled")


class Ended:
    """When each of so many runs had ended and was durable, in seconds since 1970."""

    def __init__(self, db: Any, count: int) -> None:
        self._count = count
        self._seconds: list[float] = []
        self._errors: list[str] = []
        self._are_all = threading.Event()
        db.backend.workspace.scheduler.listen(self._hear)

    def _hear(self, run: Any) -> None:
        if run.outcome.error is not None:
            self._errors.append(run.outcome.error)
        self._seconds.append(time.time())
        if len(self._seconds) == self._count:
            self._are_all.set()

    def wait(self) -> list[float]:
        if not self._are_all.wait(RUN_S_MAX) or self._errors:
            raise RuntimeError(
                f"{len(self._seconds):,} of {self._count:,} ran; errors: {self._errors[:3]}"
            )
        return self._seconds


# -- files -----------------------------------------------------------------------------------------


def _files(bench: Bench) -> Iterator[Figure]:
    size = bench.pick(FILE_BYTES, 4 << 20)
    source = bench.fresh("source")
    source.write_bytes(os.urandom(size))
    disk = Disk(source, bench.fresh("disk"))
    yield _put(bench, disk)
    with (
        closing(ServedFiles(bench.fresh("served.livedb"))) as served,
        closing(PlainFiles(bench.fresh("plain"))) as plain,
    ):
        yield _upload(served, plain, disk)
        yield _download(served, plain, disk)


class Disk:
    """The file that is measured, and what its disk alone takes for one of this size."""

    def __init__(self, source: Path, copy: Path) -> None:
        self.source = source
        self.size = source.stat().st_size
        self.copy = copy

    def write(self) -> None:
        """As many bytes, from memory that holds a piece of them."""
        piece = os.urandom(PIECE_BYTES)
        with self.copy.open("wb", buffering=0) as file:
            for _ in range(self.size // PIECE_BYTES):
                file.write(piece)
            os.fsync(file.fileno())

    def read(self) -> None:
        piece = memoryview(bytearray(PIECE_BYTES))
        with self.copy.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass

    def copy_hashed(self) -> None:
        """What a store of files does at the least: copy, digest, `fsync`."""
        digest = hashlib.sha256()
        with self.source.open("rb") as source, self.copy.open("wb") as copy:
            while piece := source.read(PIECE_BYTES):
                digest.update(piece)
                copy.write(piece)
            os.fsync(copy.fileno())

    def copy_plain(self) -> None:
        shutil.copyfile(self.source, self.copy)
        with self.copy.open("rb") as copy:
            os.fsync(copy.fileno())

    def speeds(self, *steps: Callable[[], object], before: Callable[[], object]) -> list[float]:
        """Bytes a second of each, the best of a few rounds that the steps take in turns."""
        best_us = [float("inf")] * len(steps)
        for _ in range(ROUNDS):
            for place, step in enumerate(steps):
                before()
                best_us[place] = min(best_us[place], timed_us(step))
        return [self.size / each * 1e6 for each in best_us]

    def figure(
        self, what: str, grown: int, value: float, floor: Reading, *peers: Reading
    ) -> Figure:
        return Figure(
            group=GROUP,
            what=f"{what} of {self.size >> 20} MiB; memory grows by {grown / (1 << 20):.1f} MiB",
            unit="B/s",
            value=value,
            floor=floor,
            peers=peers,
            ratio_to=floor.name,
            target=HALF_THE_DISK,
        )


def _put(bench: Bench, disk: Disk) -> Figure:
    path = bench.fresh("files.livedb")
    with open_workspace(path) as db:
        db.files.put(b"the first, which imports what is needed")
        with memory_of(os.getpid()) as memory:
            livedb, floor, hashed, copied = disk.speeds(
                lambda: db.files.put(disk.source),
                disk.write,
                disk.copy_hashed,
                disk.copy_plain,
                before=lambda: _make_room(files_of(path)),
            )
    return disk.figure(
        "a file put in process,",
        memory.grown,
        livedb,
        Reading(name="write + fsync", value=floor),
        Reading(name="copy + sha256 + fsync", value=hashed),
        Reading(name="shutil.copyfile + fsync", value=copied),
    )


def _upload(served: ServedFiles, plain: PlainFiles, disk: Disk) -> Figure:
    served.upload(b"the first")
    plain.upload(b"the first")
    with memory_of(served.pid) as memory:
        livedb, floor, peer = disk.speeds(
            lambda: served.upload(disk.source),
            disk.write,
            lambda: plain.upload(disk.source),
            before=lambda: _make_room(served.contents()),
        )
    return disk.figure(
        "a file uploaded through HTTP,",
        memory.grown,
        livedb,
        Reading(name="write + fsync", value=floor),
        Reading(name="http.server + fsync", value=peer),
    )


def _download(served: ServedFiles, plain: PlainFiles, disk: Disk) -> Figure:
    url = served.url(served.upload(disk.source))

    def forget() -> None:
        """Let the kernel read from the disk again what was read or written before."""
        os.sync()
        for path in (disk.copy, *served.contents(), *plain.contents()):
            _drop_cached(path)

    with memory_of(served.pid) as memory:
        livedb, floor, peer = disk.speeds(
            lambda: fetch(url), disk.read, lambda: fetch(plain.url), before=forget
        )
    return disk.figure(
        "a file downloaded through HTTP,",
        memory.grown,
        livedb,
        Reading(name="read", value=floor),
        Reading(name="http.server", value=peer),
    )


def _make_room(contents: list[Path]) -> None:
    """Remove what was stored: the others write over what they wrote before.

    A virtual machine takes several times as long for memory that it did not have yet.
    """
    for path in contents:
        path.unlink()
    os.sync()


def _drop_cached(path: Path) -> None:
    if not hasattr(os, "posix_fadvise"):  # macOS: read from memory then, by all of them
        return
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fetch(url: str) -> None:
    """Read all of an answer, and keep nothing of it."""
    parts = urlsplit(url)
    piece = memoryview(bytearray(PIECE_BYTES))
    with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=60)) as connection:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"GET {url}: {answer.status}")
        while answer.readinto(piece):
            pass


class Memory:
    """How much of a process is resident, and was at most."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._before = self._most = process.memory_info().rss

    def look(self) -> None:
        self._most = max(self._most, self._process.memory_info().rss)

    @property
    def grown(self) -> int:
        return self._most - self._before


@contextmanager
def memory_of(pid: int) -> Iterator[Memory]:
    """Watch the memory of a process until the block ends."""
    memory = Memory(psutil.Process(pid))
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK_S):
            memory.look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield memory
    finally:
        stop.set()
        watcher.join()
