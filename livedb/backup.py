"""A backup: a copy of a whole workspace, made while it is in use.

The tables are folded and copied first, then the log, which may have gone on; a bulk load beyond the
tables is a file that the log names, so those files come last, as do the contents of files, which
lie on the disk before a commit names them; none of them is removed meanwhile.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from livedb.commitlog.contract import CommitLog
from livedb.commitlog.head import read_mark
from livedb.commitlog.payload import LoadPart, decode_payload
from livedb.errors import FormatError
from livedb.files.storage import FileStorage
from livedb.store.tables import TableStore
from livedb.transactions.folder import Folder
from livedb.workspace_files import MARK_NAME, MARK_TEXT, WorkspaceFiles


def write_backup(
    target: Path,
    *,
    log: CommitLog,
    tables: TableStore,
    folder: Folder,
    loads: Path,
    files: FileStorage,
) -> int:
    """Write the workspace of these parts to the new folder `target`; returns its commit."""
    if target.exists() and any(target.iterdir()):
        raise FormatError(f"{str(target)!r} is not empty; give a new folder for the backup")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = WorkspaceFiles(target)
    copy.loads.mkdir(exist_ok=True)
    copy.files.mkdir(exist_ok=True)
    with files.paused(), folder.paused():
        folded = folder.fold()
        tables.backup(copy.tables)
        log.backup(str(copy.log))
        mark = read_mark(copy.log_head)
        number = folded if mark is None else mark.number
        _copy_loads(log, loads, copy.loads, after=folded, until=number)
        files.disk.copy(copy.files)
    (target / MARK_NAME).write_text(MARK_TEXT)
    return number


def _copy_loads(log: CommitLog, loads: Path, target: Path, *, after: int, until: int) -> None:
    """Copy the files of bulk loads that the log of a backup names beyond its tables."""
    for commit in log.read(after=after, until=until):
        for part in decode_payload(commit.payload):
            if isinstance(part, LoadPart):
                shutil.copy2(loads / part.file, target / part.file)
