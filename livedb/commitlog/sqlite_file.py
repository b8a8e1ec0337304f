"""The SQLite file of a commit log: its schema, how it is opened, checked and copied.

Opening checks a log before SQLite may change it. An ordinary connection recovers the `-wal` file
and, on closing, folds what it understood into the database and deletes the rest: the very bytes a
repair needs. So the check runs on a read-only connection without SQLite's own locks (the head
file's `flock` keeps others out), which leaves every byte as it was.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain as chained
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from livedb.commitlog.chain import EMPTY_CHAIN, next_chain
from livedb.commitlog.contract import Commit, Head
from livedb.commitlog.head import HeadMark
from livedb.errors import (
    DISK_FULL,
    DamagedError,
    FormatError,
    LivedbError,
    LogError,
    WorkspaceLockedError,
    is_disk_full,
)

FORMAT_VERSION = 1
APPLICATION_ID = 0x4C56_4442
"""`LVDB`, in SQLite's header: tells our logs from other programs' databases."""

EMPTY_HEAD = Head(number=0, ts=0, chain=EMPTY_CHAIN)

BLOCK_ROWS = 256
"""Commits read at once, under the log's lock; a payload may be megabytes, so not more."""

STATEMENT_ROWS_MAX = 64
"""Commits inserted by one statement; SQLite keeps its plan, up to 999 parameters in any build."""

SESSION_ROWS_MAX = 10_000
"""Commits of one session that are looked at for its newest request: a few milliseconds."""

_SQLITE_HEADER = b"SQLite format 3\0"

_META = (
    "CREATE TABLE meta (format INTEGER NOT NULL, anchor_number INTEGER NOT NULL,"
    " anchor_ts INTEGER NOT NULL, anchor_chain BLOB NOT NULL)"
)
_COMMITS = (
    "CREATE TABLE commits (number INTEGER PRIMARY KEY, ts INTEGER NOT NULL, mutation_id TEXT,"
    " function TEXT, args_hash BLOB, result BLOB, log_lines BLOB, author TEXT,"
    " payload BLOB NOT NULL, chain BLOB NOT NULL)"
)
# Partial: only identified mutations pay for it.
_BY_MUTATION_ID = (
    "CREATE UNIQUE INDEX commits_by_mutation_id ON commits (mutation_id)"
    " WHERE mutation_id IS NOT NULL"
)
_SCHEMA = (_META, _COMMITS, _BY_MUTATION_ID)
_INSERT = "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ANOTHER_ROW = ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT = (
    "SELECT number, ts, mutation_id, function, args_hash, result, log_lines, author, payload,"
    " chain FROM commits"
)

NOT_A_LOG: Final = "NotALog"
"""Code of the FormatError for a file in which SQLite finds no database: foreign, or damaged."""

_UNLOCKED_VFS = "win32-none" if sys.platform == "win32" else "unix-none"

Row = tuple[Any, ...]


class Link(NamedTuple):
    """A stored commit and the chain stored with it."""

    commit: Commit
    chain: bytes


class Contents(NamedTuple):
    """What a log file says of itself: where it starts (after the anchor) and where it ends."""

    anchor: Head
    head: Head


def wal_path(path: Path) -> Path:
    """Where SQLite keeps the commits that are not yet in the database file."""
    return path.with_name(path.name + "-wal")


def head_path(path: Path) -> Path:
    """Where the log's head file lies."""
    return path.with_name(path.name + ".head")


def repaired_path(path: Path) -> Path:
    """Where a finished repair waits for the moment it takes the log's place."""
    return path.with_name(path.name + ".repaired")


def check_kind(path: Path) -> None:
    """Refuse what is no SQLite database, without changing it or waiting on it.

    A file shorter than a header passes: a creation may have been cut short.

    Raises:
        FormatError: a folder, a device, a FIFO, or another kind of file.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise FormatError(f"{str(path)!r} is not a regular file, so it is no commit log")
    # Nobody has it open: the caller holds the lock on the head file, or there is none.
    with path.open("rb") as file:
        header = file.read(len(_SQLITE_HEADER))
    if header and header != _SQLITE_HEADER:
        raise FormatError(
            f"{str(path)!r} is not a livedb commit log (no SQLite file)", code=NOT_A_LOG
        )


def connect(path: Path) -> sqlite3.Connection:
    """A connection that appends: exclusive, write-ahead, synced at every commit."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        # Exclusive before WAL: then the WAL index is in memory, and no -shm file is made.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        if sys.platform == "darwin":  # Elsewhere fsync reaches the disk by itself.
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
    except BaseException:  # a Ctrl-C too: nobody else could close it
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes no byte; the caller sees to it that nobody writes meanwhile.

    Closing it, SQLite deletes a `-wal` in which it found no whole commit, read-only or not. So the
    file gets a second name first, and its own name back afterwards.
    """
    _restore_wal(path)  # A process may have died in here.
    _keep_wal(path)
    address = f"file:{quote(str(path))}?mode=ro&vfs={_UNLOCKED_VFS}"
    try:
        with contextlib.closing(
            sqlite3.connect(
                address, uri=True, timeout=0, isolation_level=None, check_same_thread=False
            )
        ) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            yield connection
    finally:
        _restore_wal(path)


def _kept_wal_path(path: Path) -> Path:
    return path.with_name(path.name + "-wal.kept")


def _keep_wal(path: Path) -> None:
    wal, kept = wal_path(path), _kept_wal_path(path)
    if not wal.exists():
        return
    try:
        kept.hardlink_to(wal)
    except OSError:  # A file system without hard links.
        draft = kept.with_name(kept.name + ".new")
        shutil.copy2(wal, draft)
        draft.replace(kept)


def _restore_wal(path: Path) -> None:
    wal, kept = wal_path(path), _kept_wal_path(path)
    if not kept.exists():
        return
    if wal.exists():
        kept.unlink()
    else:
        kept.rename(wal)


def create_schema(connection: sqlite3.Connection, anchor: Head) -> None:
    """Make an empty log that continues after `anchor`, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(
        "INSERT INTO meta VALUES (?, ?, ?, ?)",
        (FORMAT_VERSION, anchor.number, anchor.ts, anchor.chain),
    )
    connection.execute("COMMIT")


def is_blank(connection: sqlite3.Connection) -> bool:
    """Whether the database has no table yet."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is no log, or a log of a newer livedb.

    Raises:
        FormatError: as said.
        DamagedError: a log whose tables are not the ones we made.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    statements = {sql for (sql,) in rows}
    if application_id != APPLICATION_ID and _META not in statements:
        raise FormatError(f"{str(path)!r} is a SQLite database, but not a livedb commit log")
    if _META not in statements:
        raise damaged(path, "its tables are not a commit log's")
    versions = connection.execute("SELECT format FROM meta").fetchall()
    if len(versions) != 1 or type(versions[0][0]) is not int:
        raise damaged(path, "its format version cannot be read")
    if versions[0][0] > FORMAT_VERSION:
        raise FormatError(
            f"{str(path)!r} is of log format {versions[0][0]}, and this livedb reads up to"
            f" {FORMAT_VERSION}; open it with a newer livedb"
        )
    if application_id != APPLICATION_ID:
        raise damaged(path, "its header was changed")
    # Nothing but our own statements: a trigger or view in a file from elsewhere would run.
    if len(rows) != len(_SCHEMA) or statements != set(_SCHEMA):
        raise damaged(path, "its tables are not a commit log's")


def read_contents(connection: sqlite3.Connection, path: Path) -> Contents:
    """Where the log starts and ends; its last commit is checked against the chain."""
    anchor = read_anchor(connection, path)
    first, last = connection.execute("SELECT min(number), max(number) FROM commits").fetchone()
    if last is None:
        return Contents(anchor, anchor)
    if first != anchor.number + 1:
        raise damaged(path, f"commit {first} follows commit {anchor.number}")
    link = read_link(connection, last, anchor, path)
    assert link is not None
    return Contents(anchor, Head(number=last, ts=link.commit.ts, chain=link.chain))


def read_anchor(connection: sqlite3.Connection, path: Path) -> Head:
    """What the first commit of the log continues."""
    number, ts, chain = connection.execute(
        "SELECT anchor_number, anchor_ts, anchor_chain FROM meta"
    ).fetchone()
    if (type(number), type(ts), type(chain)) != (int, int, bytes) or number < 0:
        raise damaged(path, "its anchor cannot be read")
    return Head(number=number, ts=ts, chain=chain)


def read_link(connection: sqlite3.Connection, number: int, anchor: Head, path: Path) -> Link | None:
    """One commit, checked against the chain before it; None when it is not in the log."""
    row = connection.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()
    if row is None:
        return None
    before = read_chain(connection, number - 1, anchor)
    if before is None:
        raise damaged(path, f"commit {number - 1} is missing")
    return checked_link(row, before, path)


def checked_link(row: Row, chain_before: bytes, path: Path) -> Link:
    """The commit in `row`, if its chain says that it is what was appended."""
    commit = Commit._make(row[:-1])
    if next_chain(chain_before, commit) != row[-1]:
        raise damaged(path, f"commit {commit.number} is not what was written")
    return Link(commit, row[-1])


def read_chain(connection: sqlite3.Connection, number: int, anchor: Head) -> bytes | None:
    """The chain up to `number`, as stored; None when it is not in the log."""
    if number == anchor.number:
        return anchor.chain
    row = connection.execute("SELECT chain FROM commits WHERE number = ?", (number,)).fetchone()
    if row is None:
        return None
    return row[0] if type(row[0]) is bytes else b""  # Damaged: it must not look like any chain.


def newest_request(connection: sqlite3.Connection, session: str) -> int | None:
    """The highest number of the ids `session:number`; -1 for none, None for too many to look at."""
    begin, end = f"{session}:", f"{session};"  # the next character behind the colon
    # Compared here: SQLite orders the ids as text, and its functions stop at a NUL in one.
    rows = connection.execute(
        "SELECT mutation_id FROM commits WHERE mutation_id >= ? AND mutation_id < ? LIMIT ?",
        (begin, end, SESSION_ROWS_MAX + 1),
    ).fetchall()
    if len(rows) > SESSION_ROWS_MAX:
        return None
    return max((request_of(mutation_id) for (mutation_id,) in rows), default=-1)


def has_ts(connection: sqlite3.Connection, anchor: Head, head: Head, ts: int, path: Path) -> bool:
    """Whether one of the commits behind `anchor` has a timestamp. Cost: O(log commits) reads."""
    number = number_at(connection, anchor, head, ts, path)
    return number > anchor.number and read_ts(connection, number, path) == ts


def number_at(connection: sqlite3.Connection, anchor: Head, head: Head, ts: int, path: Path) -> int:
    """The last commit not later than `ts`, `anchor` if none behind it is.

    Cost: O(log commits) reads.
    """
    low, high = anchor.number, head.number
    while low < high:  # timestamps grow with numbers
        middle = (low + high + 1) // 2
        if read_ts(connection, middle, path) <= ts:
            low = middle
        else:
            high = middle - 1
    return low


def read_ts(connection: sqlite3.Connection, number: int, path: Path) -> int:
    """The timestamp of a commit that is in the log."""
    found = connection.execute("SELECT ts FROM commits WHERE number = ?", (number,)).fetchone()
    if found is None:
        raise damaged(path, f"commit {number} is missing")
    ts: int = found[0]
    return ts


def request_of(mutation_id: str) -> int:
    """The number at the end of a mutation id, 0 if there is none."""
    number = mutation_id.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def read_rows(connection: sqlite3.Connection, after: int, until: int) -> list[Row]:
    """Up to `BLOCK_ROWS` stored rows with after < number <= until, in order.

    Rows before one that cannot be read are handed out; the next call meets that one first.
    """
    cursor = connection.execute(
        f"{_SELECT} WHERE number > ? AND number <= ? ORDER BY number LIMIT {BLOCK_ROWS}",
        (after, until),
    )
    rows: list[Row] = []
    try:
        rows.extend(cursor)
    except sqlite3.Error:
        if not rows:
            raise
    return rows


def iterate_rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """Every stored row in order, one by one, so that those before a damaged page come out."""
    return connection.execute(f"{_SELECT} ORDER BY number")


def check_rows(rows: Sequence[Row], after: int, chain: bytes, path: Path) -> Iterator[Link]:
    """The commits of `rows`, which must follow commit `after` and its `chain` without a gap."""
    for row in rows:
        if row[0] != after + 1:
            raise damaged(path, f"commit {after + 1} is missing")
        link = checked_link(row, chain, path)
        after, chain = after + 1, link.chain
        yield link


def insert_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert commits with their chains, inside the caller's transaction."""
    connection.executemany(_INSERT, rows)


def insert_at_once(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert a few commits with one statement, which is a transaction where none is open."""
    connection.execute(_insert_many(len(rows)), list(chained.from_iterable(rows)))


@lru_cache(STATEMENT_ROWS_MAX)
def _insert_many(count: int) -> str:
    return _INSERT + _ANOTHER_ROW * (count - 1)


def link_rows(commits: Sequence[Commit], head: Head) -> tuple[list[Row], Head]:
    """The rows of `commits`, which continue `head`, and the head after them."""
    link, ts = head.chain, head.ts
    rows: list[Row] = []
    for number, commit in enumerate(commits, head.number + 1):
        assert commit.number == number, f"commit {commit.number} appended in place of {number}"
        assert commit.ts > ts, "commit timestamps must increase"
        ts = commit.ts
        link = next_chain(link, commit)
        rows.append((*commit, link))
    return rows, Head(number=head.number + len(rows), ts=ts, chain=link)


def check_mark(
    connection: sqlite3.Connection, contents: Contents, mark: HeadMark, path: Path
) -> None:
    """Compare a log with what its head file remembers.

    Raises:
        DamagedError: the log ends before the head, or holds other commits.
    """
    if mark.number > contents.head.number:
        raise damaged(
            path,
            f"it ends at commit {contents.head.number}, but commit {mark.number} was acknowledged",
        )
    if read_chain(connection, mark.number, contents.anchor) != mark.chain:
        raise damaged(path, f"its commits up to {mark.number} are not the acknowledged ones")


def damaged(path: Path, what: str) -> DamagedError:
    """The error for a log whose files do not agree."""
    return DamagedError(
        f"the commit log {str(path)!r} is damaged: {what}. Nothing was changed; livedb.repair()"
        " backs up the workspace, keeps the longest exact beginning and reports what is lost",
        reason=what,
    )


def translated(error: Exception, path: Path, action: str) -> LivedbError:
    """The livedb error for one raised by SQLite or the operating system during `action`."""
    if isinstance(error, OSError):
        code = DISK_FULL if is_disk_full(error) else "LogFailed"
        return LogError(f"cannot {action} {str(path)!r}: {error.strerror}", code=code)
    match primary_code(error):
        case sqlite3.SQLITE_FULL:
            return LogError(
                f"cannot {action} {str(path)!r}: the disk is full. Nothing was written; make room"
                " and try again",
                code=DISK_FULL,
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return WorkspaceLockedError(f"{str(path)!r} is open in another process; close it there")
        case sqlite3.SQLITE_NOTADB:
            return FormatError(f"{str(path)!r} is not a livedb commit log", code=NOT_A_LOG)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            if action != "read":
                return LogError(f"cannot {action} {str(path)!r}: {error}")
    return damaged(path, str(error))


def primary_code(error: Exception) -> int | None:
    """SQLite's primary result code; None for errors raised by the Python module itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def last_to_truncate(connection: sqlite3.Connection, until: int, before_ts: int) -> Head | None:
    """The newest commit that may be dropped, as the anchor it becomes; None for none."""
    row = connection.execute(
        "SELECT number, ts, chain FROM commits WHERE number <= ? AND ts < ?"
        " ORDER BY number DESC LIMIT 1",
        (until, before_ts),
    ).fetchone()
    return None if row is None else Head(number=row[0], ts=row[1], chain=row[2])


def truncate(connection: sqlite3.Connection, anchor: Head) -> None:
    """Drop the commits up to `anchor` and start the log there, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "UPDATE meta SET anchor_number = ?, anchor_ts = ?, anchor_chain = ?",
        (anchor.number, anchor.ts, anchor.chain),
    )
    connection.execute("DELETE FROM commits WHERE number <= ?", (anchor.number,))
    connection.execute("COMMIT")
