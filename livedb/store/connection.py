"""Opening DuckDB, and locking it down before any text of a user reaches it.

The order of the settings is the point: folders that may be used are named first, then everything
else outside the database is closed, then the settings themselves are locked, so that no later
statement of anyone can undo a line above it. Locked down, DuckDB still lets SQL write: the gate in
`store.sql` and a read-only transaction stop that.

DuckDB holds a POSIX lock that any `open()` and `close()` of its file in this process would drop.
So nothing here looks into the file: a path is judged by `stat` and by what DuckDB says of it.

Source: `reliability.md` 1.3 (d) and 2.2, tried on DuckDB 2.0.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from livedb.errors import (
    DISK_FULL,
    DamagedError,
    FoldError,
    FormatError,
    LivedbError,
    WorkspaceLockedError,
)
from livedb.limits import Limits

NOT_A_DATABASE: Final = "NotADatabase"
"""Code of the FormatError for a file in which DuckDB finds no database: foreign, or damaged."""

_CONNECT: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
# These two are given at connect: DuckDB would download an extension to open a SQLite file.

_EVERYWHERE: Final = (
    "SET GLOBAL TimeZone = 'UTC'",
    # In a notebook DuckDB shows a widget beside a statement of two seconds, folds included.
    "SET enable_progress_bar = false",
)


def open_connection(
    path: Path | None, *, limits: Limits, folders: Sequence[Path]
) -> duckdb.DuckDBPyConnection:
    """A locked-down connection to the database at `path`, created if absent; None is in memory.

    `folders` are the only ones whose files SQL may read or write.

    Raises:
        FormatError: `path` is something else than a DuckDB database this version reads.
        WorkspaceLockedError: another process has it open.
    """
    if path is not None:
        _refuse_what_is_no_file(path)
    try:
        connection = _connect(path)
    except duckdb.Error as error:
        raise _opening_error(path, error) from error
    try:
        for setting in _settings(path, limits, folders):
            connection.execute(setting)
    except BaseException:  # a Ctrl-C too: nobody else could close it
        connection.close()
        raise
    return connection


def _connect(path: Path | None) -> duckdb.DuckDBPyConnection:
    if path is None:
        return duckdb.connect(":memory:", config=_CONNECT)
    try:
        return duckdb.connect(str(path), config=_CONNECT)
    except duckdb.CatalogException as error:
        if "replaying WAL" not in str(error):
            raise
    # An earlier livedb, killed, left a change of a type with JSON in its expression, which DuckDB
    # replays only where it has its extension already: in an instance that is there before the file.
    with duckdb.connect(":memory:", config=_CONNECT) as replaying:
        replaying.execute(f"attach {quote_text(str(path))} as killed")
        replaying.execute("checkpoint killed")
        replaying.execute("detach killed")
    return duckdb.connect(str(path), config=_CONNECT)


def scratch_connection() -> duckdb.DuckDBPyConnection:
    """A database in memory of our own, for work on files; no text of a user reaches it."""
    connection = duckdb.connect(":memory:")
    for setting in _EVERYWHERE:
        connection.execute(setting)
    return connection


def has_rows(connection: duckdb.DuckDBPyConnection, query: str, params: object = None) -> bool:
    """Whether a query finds anything.

    Its rows are read to their end, so it should find few: after one row of a result that has more,
    or may have, DuckDB refuses the connection's next `sql`.
    """
    return bool(connection.execute(query, params).fetchall())


def quote(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """`text` as a SQL string constant."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> Iterator[None]:
    """`rows` as a table called `name` in the SQL of this connection."""
    connection.register(name, rows)
    try:
        yield
    except BaseException:  # a Ctrl-C too must not leave the name behind
        # In an aborted transaction this fails too, and must not hide why.
        with suppress(duckdb.Error):
            connection.unregister(name)
        raise
    connection.unregister(name)


class CtrlC:
    """A context in which what DuckDB makes of Ctrl-C is the KeyboardInterrupt that it was.

    Its wait loop sees the signal first, takes it, and raises a RuntimeError; where it calls back
    into Python it wraps the KeyboardInterrupt into an error of its own.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        text = str(error)
        is_wait = kind is RuntimeError and "interrupted" in text.lower()
        if is_wait or (isinstance(error, Exception) and "failed: KeyboardInterrupt" in text):
            raise KeyboardInterrupt from error


def damage_error(error: Exception) -> DamagedError | None:
    """The DamagedError that `error` is: DuckDB checks each block it reads by its checksum."""
    text = str(error)
    if "Corrupt database file" not in text and "stored checksum" not in text:
        return None
    return DamagedError(
        f"the tables of the workspace are damaged ({first_line(text)}); what is read elsewhere is "
        "right. Close the workspace, and livedb.repair(path) says what is left",
        reason=first_line(text),
    )


def fold_error(error: Exception) -> LivedbError:
    """What a failed write to DuckDB means for whoever asked for it."""
    text = str(error)
    damage = damage_error(error)
    if damage is not None:
        return damage
    if "No space left" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return FoldError(
            "the disk is full: DuckDB could not take the newest commits; they are safe in the "
            "commit log, and SQL sees them once there is space again",
            code=DISK_FULL,
        )
    return FoldError(
        f"DuckDB could not take the newest commits ({first_line(text)}); they are safe in the "
        "commit log and are tried again with the next read by SQL"
    )


def _settings(path: Path | None, limits: Limits, folders: Sequence[Path]) -> list[str]:
    allowed = ", ".join(quote_text(str(folder)) for folder in folders)
    # A database in memory would otherwise spill into `.tmp` of the current folder.
    in_memory = ["SET temp_directory = ''"] if path is None else []
    return [
        *_EVERYWHERE,
        "SET allow_community_extensions = false",
        "SET allow_persistent_secrets = false",
        "SET python_enable_replacements = false",
        f"SET memory_limit = '{limits.sql_memory_bytes_max} bytes'",
        *in_memory,
        f"SET allowed_directories = [{allowed}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ]


def _refuse_what_is_no_file(path: Path) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise FormatError(f"{str(path)!r} is not a regular file; no database can be opened there")


def _opening_error(path: Path | None, error: Exception) -> LivedbError:
    text = str(error)
    if "lock" in text.lower() and "conflicting" in text.lower():
        return WorkspaceLockedError(f"another process has {str(path)!r} open: {first_line(text)}")
    if "newer version" in text or "version number" in text:
        return FormatError(
            f"{str(path)!r} was written by a newer DuckDB than {duckdb.__version__}; "
            f"update livedb to open it ({first_line(text)})"
        )
    return FormatError(
        f"{str(path)!r} is not a database of livedb, or it is damaged; a file of another program "
        f"is loaded with db[table].load(path) instead ({first_line(text)})",
        code=NOT_A_DATABASE,
    )


def first_line(text: str) -> str:
    """The part of DuckDB's message that says what happened."""
    return text.strip().partition("\n")[0]


def copy_database(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write a copy of the database, which opens by itself, to a new file."""
    current = connection.sql("select current_database()").to_arrow_table().column(0)[0].as_py()
    connection.execute(f"attach {quote_text(str(path))} as livedb_backup")
    try:
        connection.execute(f"copy from database {quote(current)} to livedb_backup")
    finally:
        connection.execute("detach livedb_backup")
