"""The commit log in one SQLite file, for a workspace on one machine.

One append is one SQLite transaction and one fdatasync, however many commits it carries. Next to
the file `log` lie `log-wal` (SQLite's) and `log.head` (`commitlog.head`), and no process may copy
or delete one without the others: `backup` makes a copy that stands by itself.

While a log is open nothing in its process may `open()` the SQLite file: closing that descriptor
would drop SQLite's POSIX lock.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livedb.commitlog import sqlite_file
from livedb.commitlog.contract import Commit, Head
from livedb.commitlog.head import HeadFile
from livedb.commitlog.sqlite_file import (
    EMPTY_HEAD,
    Contents,
    Row,
    damaged,
    head_path,
    repaired_path,
    translated,
)
from livedb.durable import sync_file, sync_folder
from livedb.errors import (
    ClosedError,
    DuplicateMutationError,
    ForkedError,
    LoadError,
    LogError,
    SnapshotTooOldError,
)

if TYPE_CHECKING:
    from livedb.clock import Clock

HEAD_SYNC_S: Final = 1.0
"""Seconds between syncs of the head file: what a power cut may take off it, never off the log."""

TRUNCATE_ROWS: Final = 10_000
"""Commits dropped per transaction, so that an append in between waits for milliseconds."""

_logger = logging.getLogger("livedb")


class SqliteCommitLog:
    """A `CommitLog` in a SQLite file of its own.

    One thread appends, any thread reads; both take turns on the one connection there can be
    (`locking_mode=EXCLUSIVE`), so a read may wait for an append under way.
    """

    def __init__(self, path: Path | str, *, clock: Clock) -> None:
        """Open the log at `path`, or make an empty one where there is none.

        Raises:
            FormatError: `path` is something else, or of a newer livedb; it was not touched.
            DamagedError: the log lost commits or holds others than acknowledged; not touched.
            WorkspaceLockedError: it is open already, here or in another process.
            LogError: a new one could not be written.
        """
        self.path = Path(os.path.realpath(path))
        self._clock = clock
        self._lock = threading.Lock()
        """Guards the connection; taken alone, never while another lock is waited for under it."""
        self._is_closed = self._is_forked = self._is_failed = False
        self._head_file = _open_head(self.path)
        try:
            self._connection, contents = _open_checked(self.path, self._head_file)
        except BaseException:  # a Ctrl-C too: nobody else could close it
            self._head_file.close()
            raise
        self._anchor, self._head = contents
        self._synced_s = clock.monotonic_s()
        _open_logs.add(self)
        self._note_head()

    @property
    def head(self) -> Head:
        """The last durable commit."""
        return self._head

    def append(self, commits: Sequence[Commit]) -> None:
        """Make `commits` durable, all or none; see `CommitLog.append`.

        Raises:
            LogError: nothing was appended and the same call may be made again (`code` "DiskFull"
                or "LogFailed"); or never, `code` "LogDeleted", as its files were deleted; or,
                `code` "LogUnknown", a sync failed: whether the commits are kept shows when the
                log is opened again, and this one takes no more.
            DuplicateMutationError: a `mutation_id` is taken; nothing was appended.
        Cost: one fdatasync plus about 5 us per commit.
        """
        rows, head = sqlite_file.link_rows(commits, self._head)
        if not rows:
            return
        with self._lock:
            self._check_usable()
            if self._is_failed:
                raise _unknown_outcome(self.path)
            if self._head_file.is_deleted():
                raise _deleted(self.path)
            self._insert(rows)
            self._head = head
            self._note_head()

    def read(self, *, after: int, until: int | None = None) -> Iterator[Commit]:
        """The commits with `after < number <= until`; see `CommitLog.read`.

        Raises:
            SnapshotTooOldError: some of them were truncated.
            DamagedError: a commit is not what was appended; those before it were handed out.
        """
        end = self._head.number if until is None else min(until, self._head.number)
        if after >= end:
            return
        chain = self.chain_at(after)
        if chain is None:
            raise self._truncated(after)
        while after < end:
            rows = self._select(after, end)
            if after < self._anchor.number:  # Overtaken by a truncation.
                raise self._truncated(after)
            if not rows:
                raise damaged(self.path, f"commit {after + 1} is missing")
            for link in sqlite_file.check_rows(rows, after, chain, self.path):
                yield link.commit
                after, chain = link.commit.number, link.chain

    @property
    def anchor_number(self) -> int:
        return self._anchor.number

    def chain_at(self, number: int) -> bytes | None:
        """The running hash up to `number`; None when it was truncated or never written."""
        if number == self._head.number:
            return self._head.chain
        with self._lock:
            self._check_usable()
            try:
                return sqlite_file.read_chain(self._connection, number, self._anchor)
            except sqlite3.Error as error:
                raise translated(error, self.path, "read") from error

    def find(self, mutation_id: str) -> Commit | None:
        """The commit that carries `mutation_id`, if it is still remembered."""
        with self._lock:
            self._check_usable()
            try:
                return self._find(mutation_id)
            except sqlite3.Error as error:
                raise translated(error, self.path, "read") from error

    def newest_request(self, session: str) -> int | None:
        """The highest number of a session's mutation ids; see `CommitLog.newest_request`."""
        with self._lock:
            self._check_usable()
            try:
                return sqlite_file.newest_request(self._connection, session)
            except sqlite3.Error as error:
                raise translated(error, self.path, "read") from error

    def holds(self, ts: int) -> bool:
        """Whether a commit of timestamp `ts` is in the log; see `CommitLog.holds`."""
        with self._lock:
            self._check_usable()
            if ts <= self._anchor.ts:
                return True
            try:
                return sqlite_file.has_ts(self._connection, self._anchor, self._head, ts, self.path)
            except sqlite3.Error as error:
                raise translated(error, self.path, "read") from error

    def number_at(self, ts: int) -> int | None:
        """The last commit at timestamp `ts`; see `CommitLog.number_at`."""
        with self._lock:
            self._check_usable()
            if ts < self._anchor.ts:
                return None
            try:
                return sqlite_file.number_at(
                    self._connection, self._anchor, self._head, ts, self.path
                )
            except sqlite3.Error as error:
                raise translated(error, self.path, "read") from error

    def ts_of(self, number: int) -> int | None:
        """The timestamp of a commit; see `CommitLog.ts_of`."""
        with self._lock:
            self._check_usable()
            if number in (self._anchor.number, self._head.number):
                return self._anchor.ts if number == self._anchor.number else self._head.ts
            if not self._anchor.number < number < self._head.number:
                return None
            try:
                return sqlite_file.read_ts(self._connection, number, self.path)
            except sqlite3.Error as error:
                raise translated(error, self.path, "read") from error

    def truncate(self, *, until: int, before_ts: int) -> int:
        """Drop commits numbered `until` or less and older than `before_ts`; returns how many."""
        with self._lock:
            self._check_usable()
            self._sync_head()
        dropped = 0
        while count := self._truncate_some(until, before_ts):
            dropped += count
        return dropped

    def backup(self, path: str) -> None:
        """Write a copy that opens by itself to `path`, which must not exist.

        Raises:
            LoadError: `path` exists.
            LogError: it could not be written; nothing is left of it.
        Cost: appends wait until it is written.
        """
        target = Path(path)
        if target.exists() or head_path(target).exists():
            raise LoadError(f"the backup {path!r} exists already; choose another name")
        try:
            with self._lock:
                self._check_usable()
                self._connection.execute("VACUUM INTO ?", (path,))
                head = self._head
            sync_file(target)
            HeadFile.create(head_path(target), head.number, head.chain).close()
        except (sqlite3.Error, OSError) as error:
            target.unlink(missing_ok=True)
            raise translated(error, target, "write") from error

    def close(self) -> None:
        """Flush and release; closing twice, or in a forked child, is harmless."""
        with self._lock:
            if self._is_closed or self._is_forked:
                return
            self._is_closed = True
            _open_logs.discard(self)
            try:
                self._connection.close()
                self._head_file.sync()
            except (sqlite3.Error, OSError) as error:
                raise translated(error, self.path, "close") from error
            finally:
                self._head_file.close()

    def _insert(self, rows: list[Row]) -> None:
        connection = self._connection
        try:
            # One statement where possible, its own transaction: each one gives the interpreter
            # away and has to wait for it again, half a millisecond beside a busy cell.
            if len(rows) <= sqlite_file.STATEMENT_ROWS_MAX:
                sqlite_file.insert_at_once(connection, rows)
            else:
                connection.execute("BEGIN IMMEDIATE")
                sqlite_file.insert_rows(connection, rows)
                connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            self._roll_back()
            raise DuplicateMutationError(
                "a commit with the same mutation id is in the log already; find() returns it"
            ) from error
        except sqlite3.Error as error:
            self._roll_back()
            if _is_sync_failure(error):
                self._is_failed = True
                raise _unknown_outcome(self.path) from error
            raise translated(error, self.path, "write") from error
        except BaseException:  # a Ctrl-C too must roll back
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _note_head(self) -> None:
        """Let the head file witness the commits that just became durable.

        A witness that cannot be written does not undo a commit, so its failure is only logged.
        """
        try:
            if self._head_file.read().number != self._head.number:
                self._head_file.write(self._head.number, self._head.chain)
            now_s = self._clock.monotonic_s()
            if now_s - self._synced_s >= HEAD_SYNC_S:
                self._head_file.sync()
                self._synced_s = now_s
        except OSError as error:
            _logger.warning("cannot write the head file of %s: %s", self.path, error)

    def _truncated(self, after: int) -> SnapshotTooOldError:
        return SnapshotTooOldError(
            f"commits after {after} were asked for, but those up to {self._anchor.number} are no"
            " longer in the log; start from a backup or a newer state"
        )

    def _sync_head(self) -> None:
        """Before a truncation: a mark behind the anchor could no longer be compared."""
        try:
            self._head_file.sync()
        except OSError as error:
            raise translated(error, head_path(self.path), "write") from error

    def _select(self, after: int, until: int) -> list[Row]:
        with self._lock:
            self._check_usable()
            try:
                return sqlite_file.read_rows(self._connection, after, until)
            except sqlite3.Error as error:
                raise translated(error, self.path, "read") from error

    def _find(self, mutation_id: str) -> Commit | None:
        row = self._connection.execute(
            "SELECT number FROM commits WHERE mutation_id = ?", (mutation_id,)
        ).fetchone()
        if row is None:
            return None
        link = sqlite_file.read_link(self._connection, row[0], self._anchor, self.path)
        if link is None or link.commit.mutation_id != mutation_id:
            raise damaged(self.path, f"its index leads from {mutation_id!r} to another commit")
        return link.commit

    def _truncate_some(self, until: int, before_ts: int) -> int:
        connection = self._connection
        with self._lock:
            self._check_usable()
            try:
                last = sqlite_file.last_to_truncate(
                    connection, min(until, self._anchor.number + TRUNCATE_ROWS), before_ts
                )
                if last is None:
                    return 0
                sqlite_file.truncate(connection, last)
            except sqlite3.Error as error:
                self._roll_back()
                raise translated(error, self.path, "write") from error
            count = last.number - self._anchor.number
            self._anchor = last
            return count

    def _check_usable(self) -> None:
        if self._is_forked:
            raise ForkedError(
                f"the log {str(self.path)!r} belongs to the process this one was forked from"
            )
        if self._is_closed:
            raise ClosedError(f"the log {str(self.path)!r} is closed")

    def _forget_in_child(self) -> None:
        """Make sure that a forked child never closes the connection.

        SQLite in the child believes that it holds the parent's locks: closing would fold the
        parent's `-wal` into the database and delete it. So the connection is never freed there.
        """
        self._is_forked = True
        self._lock = threading.Lock()  # Another thread of the parent may have held it.
        self._head_file.forget()
        _never_freed(self._connection)


def create_log(path: Path, anchor: Head, commits: Iterator[Commit]) -> Head:
    """Write a whole log, closed, to a new file, and return where it ends.

    Args:
        path: where; no head file is made.
        anchor: what the first of `commits` continues; `EMPTY_HEAD` for a log from the start.
        commits: numbered densely from `anchor`.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    head = anchor
    try:
        connection.execute("PRAGMA synchronous = FULL")
        sqlite_file.create_schema(connection, anchor)
        connection.execute("BEGIN IMMEDIATE")
        for commit in commits:
            rows, head = sqlite_file.link_rows([commit], head)
            sqlite_file.insert_rows(connection, rows)
        connection.execute("COMMIT")
    finally:
        connection.close()
    sync_file(path)
    return head


def _open_head(path: Path) -> HeadFile:
    """The log's head file, locked; a new one only where there is no log yet."""
    try:
        return HeadFile(head_path(path))
    except FileNotFoundError:
        pass
    if path.exists():
        sqlite_file.check_kind(path)
        _check_is_log(path)
        raise damaged(path, "its head file is missing")
    try:
        # Before the log itself: from its first byte on, a log has a witness.
        return HeadFile.create(head_path(path))
    except OSError as error:
        raise translated(error, path, "create") from error


def _open_checked(path: Path, head_file: HeadFile) -> tuple[sqlite3.Connection, Contents]:
    try:
        contents = _check(path, head_file)
        connection = sqlite_file.connect(path)
        if contents is None:
            contents = _create(connection, path)
    except (sqlite3.Error, OSError) as error:
        raise translated(error, path, "open") from error
    return connection, contents


def _create(connection: sqlite3.Connection, path: Path) -> Contents:
    try:
        sqlite_file.create_schema(connection, EMPTY_HEAD)
        sync_folder(path.parent)
    except BaseException:  # a Ctrl-C too: nobody else could close it
        connection.close()
        raise
    return Contents(EMPTY_HEAD, EMPTY_HEAD)


def _check(path: Path, head_file: HeadFile) -> Contents | None:
    """Verify the log without changing it; None when there is nothing in it yet."""
    sqlite_file.check_kind(path)
    if repaired_path(path).exists():
        raise damaged(path, "a repair of it was cut short")
    mark = head_file.read()
    if not path.exists():
        if mark.number == 0:
            return None
        raise damaged(path, f"it is gone, but commit {mark.number} was acknowledged")
    try:
        with sqlite_file.reading(path) as connection:
            if sqlite_file.is_blank(connection):
                if mark.number == 0:
                    return None
                raise damaged(path, f"it is empty, but commit {mark.number} was acknowledged")
            sqlite_file.check_format(connection, path)
            contents = sqlite_file.read_contents(connection, path)
            sqlite_file.check_mark(connection, contents, mark, path)
            return contents
    except sqlite3.Error as error:
        raise translated(error, path, "read") from error


def _check_is_log(path: Path) -> None:
    try:
        with sqlite_file.reading(path) as connection:
            sqlite_file.check_format(connection, path)
    except sqlite3.Error as error:
        raise translated(error, path, "read") from error


def _is_sync_failure(error: sqlite3.Error) -> bool:
    """Whether the commits were written but their sync failed: a crash may bring them back."""
    return getattr(error, "sqlite_errorcode", None) in {
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
    }


def _unknown_outcome(path: Path) -> LogError:
    return LogError(
        f"the disk failed to sync {str(path)!r}, so whether the last commits are kept is unknown;"
        " nothing more is written until the workspace is opened again",
        code="LogUnknown",
    )


def _deleted(path: Path) -> LogError:
    return LogError(
        f"the commit log {str(path)!r} was deleted while it was open here, so nothing written to it"
        " would be kept. What this process still has can be read and exported: do so, then"
        " close the workspace and open a path again",
        code="LogDeleted",
    )


def _never_freed(connection: sqlite3.Connection) -> None:
    import ctypes  # Only ever needed in a forked child.

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


_open_logs: weakref.WeakSet[SqliteCommitLog] = weakref.WeakSet()
"""Logs open in this process, for the child of a fork to let go of."""


def _forget_all_in_child() -> None:
    for log in list(_open_logs):
        log._forget_in_child()  # noqa: SLF001 - the fork hook is part of this class.
    _open_logs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all_in_child)
