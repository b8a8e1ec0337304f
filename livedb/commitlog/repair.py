"""Looking into a damaged log, and cutting it back to its longest exact beginning.

Both work on a log that nobody has open. A repair never changes a file it did not copy first: it
writes the commits that agree with the chain into a new log beside the old one, and only when that
one is complete and synced takes it in the old one's place. Cut short at any point, it can be run
again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from livedb.commitlog import sqlite_file
from livedb.commitlog.contract import Commit, Head
from livedb.commitlog.head import HeadFile, HeadMark, read_mark
from livedb.commitlog.lock import locked_error, try_lock
from livedb.commitlog.sqlite import create_log
from livedb.commitlog.sqlite_file import EMPTY_HEAD, head_path, repaired_path, wal_path
from livedb.durable import sync_file, sync_folder
from livedb.errors import DamagedError, FormatError
from livedb.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What a log holds, beside what it once acknowledged."""

    path: Path
    anchor: Head
    """What the first kept commit continues; earlier ones were truncated, or none ever were."""
    kept: Head
    """The end of the longest beginning that agrees with the chain."""
    acknowledged: int | None
    """The last commit the head file knows of; None when the head file cannot be read."""
    problem: str | None
    """What is wrong; None for a sound log."""
    backup: Path | None = None
    """The folder with the files as they were before a repair."""

    @property
    def is_sound(self) -> bool:
        """Whether the log opens as it is."""
        return self.problem is None

    @property
    def lost(self) -> int | None:
        """How many acknowledged commits are not kept; None when that is not known."""
        if self.acknowledged is None:
            return None
        return max(0, self.acknowledged - self.kept.number)

    def __str__(self) -> str:
        if self.problem is None:
            return f"{self.path}: sound, {counted(self.kept.number, 'commit')}"
        lost = "an unknown number of" if self.lost is None else str(self.lost)
        text = (
            f"{self.path}: {self.problem}; commits up to {self.kept.number} are exact,"
            f" {lost} acknowledged commits after it are lost"
        )
        return text if self.backup is None else f"{text}; the files as they were: {self.backup}"


def check_log(path: Path | str) -> LogReport:
    """Read a whole log against its chain and its head file, without changing a byte.

    Raises:
        WorkspaceLockedError: the log is open.
        FormatError: `path` is no log, or one of a newer livedb.
    Cost: 3 us per commit.
    """
    path = Path(os.path.realpath(path))
    with _nobody_else(path):
        return _check(path)


def repair_log(path: Path | str) -> LogReport:
    """Cut a damaged log to its longest exact beginning; a sound one is left alone.

    The files as they were are first copied into a folder beside the log, `<log>.damaged-<n>`.

    Raises: as `check_log`.
    """
    path = Path(os.path.realpath(path))
    with _nobody_else(path):
        if repaired_path(path).exists():
            _take_place(path)
        report = _check(path)
        if report.is_sound:
            return report
        backup = _back_up(path)
        draft = path.with_name(path.name + ".repairing")
        draft.unlink(missing_ok=True)
        with _salvaging(path) as salvage:
            create_log(draft, report.anchor, salvage.commits())
        draft.replace(repaired_path(path))
        _take_place(path)
        return replace(report, backup=backup)


def _check(path: Path) -> LogReport:
    sqlite_file.check_kind(path)
    mark = read_mark(head_path(path))
    with _salvaging(path) as salvage:
        kept = salvage.end()
        problem = salvage.problem or _disagreement(path, salvage, kept, mark)
        return LogReport(
            path=path,
            anchor=salvage.anchor,
            kept=kept,
            acknowledged=None if mark is None else mark.number,
            problem=problem,
        )


def _disagreement(path: Path, salvage: _Salvage, kept: Head, mark: HeadMark | None) -> str | None:
    """How a log whose every commit is exact differs from its head file, if it does."""
    if repaired_path(path).exists():
        return "an earlier repair was cut short"
    if mark is None:
        return "its head file is missing or cannot be read"
    if mark.number > kept.number:
        return f"it ends at commit {kept.number}, but commit {mark.number} was acknowledged"
    if salvage.chain_at(mark.number) != mark.chain:
        return f"its commits up to {mark.number} are not the acknowledged ones"
    return None


class _Salvage:
    """The exact beginning of a log, read through a connection that changes nothing."""

    def __init__(self, path: Path, connection: sqlite3.Connection | None) -> None:
        self.path = path
        self.problem: str | None = None
        self.anchor = EMPTY_HEAD
        self._connection = connection
        if connection is None:
            self.problem = "the file is missing"
            return
        for step in (self._check_format, self._read_anchor, self._check_index):
            try:
                step(connection)
            except (sqlite3.Error, DamagedError) as error:
                self.problem = self.problem or _reason(error)

    def commits(self) -> Iterator[Commit]:
        """The commits up to the first that is missing, unreadable or not what was written."""
        if self._connection is None:
            return
        after, chain = self.anchor.number, self.anchor.chain
        try:
            if sqlite_file.is_blank(self._connection):
                return
            for row in sqlite_file.iterate_rows(self._connection):
                for link in sqlite_file.check_rows([row], after, chain, self.path):
                    yield link.commit
                    after, chain = link.commit.number, link.chain
        except (sqlite3.Error, DamagedError) as error:
            self.problem = self.problem or _reason(error)

    def end(self) -> Head:
        """Where the exact beginning ends."""
        head = self.anchor
        for commit in self.commits():
            _, head = sqlite_file.link_rows([commit], head)
        return head

    def chain_at(self, number: int) -> bytes | None:
        """The chain up to `number`, as stored."""
        if self._connection is None or number == self.anchor.number:
            return self.anchor.chain
        return sqlite_file.read_chain(self._connection, number, self.anchor)

    def _check_format(self, connection: sqlite3.Connection) -> None:
        if not sqlite_file.is_blank(connection):
            sqlite_file.check_format(connection, self.path)

    def _read_anchor(self, connection: sqlite3.Connection) -> None:
        if not sqlite_file.is_blank(connection):
            self.anchor = sqlite_file.read_anchor(connection, self.path)

    def _check_index(self, connection: sqlite3.Connection) -> None:
        """Whether the index of mutation ids agrees with the table: a retry must find its commit."""
        (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if answer != "ok":
            self.problem = self.problem or str(answer)


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, DamagedError) else str(error)


@contextlib.contextmanager
def _salvaging(path: Path) -> Iterator[_Salvage]:
    if not path.exists():
        yield _Salvage(path, None)
        return
    with sqlite_file.reading(path) as connection:
        yield _Salvage(path, connection)


def _back_up(path: Path) -> Path:
    """Copy the log's files as they are into a new folder, to the disk."""
    number = 1
    while (folder := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    folder.mkdir(mode=0o700)
    for part in (path, wal_path(path), head_path(path)):
        if part.is_file():
            copy = shutil.copy2(part, folder / part.name)
            sync_file(Path(copy))
    sync_folder(folder)
    sync_folder(path.parent)
    return folder


def _take_place(path: Path) -> None:
    """Put the finished repair in the log's place; run again, it ends the same.

    The old `-wal` goes first: SQLite would play it into the new file.
    """
    repaired = repaired_path(path)
    sync_folder(path.parent)
    wal_path(path).unlink(missing_ok=True)
    with sqlite_file.reading(repaired) as connection:
        head = sqlite_file.read_contents(connection, repaired).head
    HeadFile.create(head_path(path), head.number, head.chain).close()
    repaired.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def _nobody_else(path: Path) -> Iterator[None]:
    """Hold the log's lock, which lives on its head file, whatever that file contains."""
    head = head_path(path)
    if not head.exists() and not path.exists():
        raise FormatError(f"there is no commit log at {str(path)!r}")
    if not head.is_file():
        yield
        return
    descriptor = os.open(head, os.O_RDWR)
    try:
        if not try_lock(descriptor):
            raise locked_error(path, None)
        yield
    finally:
        os.close(descriptor)
