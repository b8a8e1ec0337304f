"""What a workspace keeps its commits and tables in: opened, and held against each other."""

from __future__ import annotations

from pathlib import Path

from livedb.clock import Clock
from livedb.commitlog.contract import CommitLog
from livedb.commitlog.memory import MemoryCommitLog
from livedb.commitlog.sqlite import SqliteCommitLog
from livedb.commitlog.sqlite_file import NOT_A_LOG
from livedb.errors import DamagedError, FormatError
from livedb.limits import Limits
from livedb.store.connection import NOT_A_DATABASE, first_line
from livedb.store.tables import TableStore
from livedb.workspace_files import WorkspaceFiles


def open_log(path: Path | None, files: WorkspaceFiles, clock: Clock) -> CommitLog:
    """The commit log, made where there is none; in memory when `path` is None.

    Raises:
        DamagedError: it is gone, or cannot be read.
    """
    if path is None:
        return MemoryCommitLog()
    if files.tables.exists() and not (files.log.exists() or files.log_head.exists()):
        # The log is made first. An empty one made now would say that nothing was ever lost.
        raise DamagedError(
            f"The commit log of {str(path)!r} is gone, and its tables are there. Use "
            "livedb.repair(path) to see what is left."
        )
    try:
        return SqliteCommitLog(files.log, clock=clock)
    except FormatError as error:
        if error.code != NOT_A_LOG:
            raise
        raise _damaged(path, "commit log is", error.message) from error


def open_tables(
    path: Path | None, files: WorkspaceFiles, *, limits: Limits, clock: Clock
) -> TableStore:
    """The tables as of the last fold, made where there are none; in memory when `path` is None.

    Raises:
        DamagedError: they cannot be read.
    """
    try:
        return TableStore(
            None if path is None else files.tables,
            limits=limits,
            clock=clock,
            loads_folder=files.loads,
            staging_folder=files.staging,
        )
    except FormatError as error:
        if error.code != NOT_A_DATABASE:
            raise
        what = first_line(str(error.__cause__))
        raise _damaged(path, "tables are", what) from error


def check_tables_against_log(path: Path | None, tables: TableStore, log: CommitLog) -> None:
    """Refuse tables that end where the log does not go on.

    Raises:
        DamagedError: it does not continue them.
    """
    folded = tables.folded_number
    chain = log.chain_at(folded) if folded <= log.head.number else None
    if chain is None or (folded > 0 and chain != tables.folded_chain):
        raise DamagedError(
            f"The tables of {str(path)!r} end at commit {folded}, where the commit log, "
            f"which ends at {log.head.number}, does not continue them. Use "
            "livedb.repair(path) to see what is left."
        )


def _damaged(path: Path | None, part: str, what: str) -> DamagedError:
    return DamagedError(
        f"The workspace {str(path)!r} is damaged: its {part} not readable ({what}). "
        "Use livedb.repair(path) to see what is left.",
        reason=what,
    )
