"""A backup: a copy of a whole workspace, made while it is in use.

The tables are folded and copied first, then the log, which may have gone on; a bulk load beyond the
tables is a file that the log names, so those files come after it, and the contents of files last:
they are in their place before a commit names them, and none is removed meanwhile. A backup has them
itself, also when they lie in an object store: it is a workspace with files on the disk.
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
    with files.paused():
        with folder.paused():
            folded = folder.fold()
            tables.backup(copy.tables)
            log.backup(str(copy.log))
            mark = read_mark(copy.log_head)
            number = folded if mark is None else mark.number
            _copy_loads(log, loads, copy.loads, after=folded, until=number)
        files.contents.place.copy(copy.files)  # which may take long, and needs no fold to wait
    (target / MARK_NAME).write_text(MARK_TEXT)
    return number


def _copy_loads(log: CommitLog, loads: Path, target: Path, *, after: int, until: int) -> None:
    """Copy the files of bulk loads that the log of a backup names beyond its tables."""
    for commit in log.read(after=after, until=until):
        for part in decode_payload(commit.payload):
            if isinstance(part, LoadPart):
                shutil.copy2(loads / part.file, target / part.file)
