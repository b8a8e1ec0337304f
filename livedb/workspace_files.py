"""The folder of a workspace: what lies in it, whose it is, and whether a path is one.

    lock, lock.door who holds it, and where it serves the workspace
    socket          where it does, for processes of the same user
    port            the TCP ports of it and of its site when it was last served, which links name
    service.start, service.begins, service.log    of the background service
    workspace.json  the format's number
    log, log-wal, log.head    the commit log
    tables.duckdb   the tables as of the last fold
    loads/          files of bulk loads, part of the log until they are folded
    files/          the contents of files, each under a random name
    objects/        where they lie in an object store: its URL, and the name of each content there
    staging/        scratch space of exports and backups

A workspace in memory keeps no files beyond its life; it has a temporary folder for the last four.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

from livedb.commitlog.lock import DOOR_NAME, LOCK_NAME, WorkspaceLock
from livedb.errors import DamagedError, FormatError

FORMAT_NUMBER = 1
"""Of the folder; one with a higher number is refused."""

MARK_NAME = "workspace.json"
MARK_TEXT = json.dumps({"application": "livedb", "format": FORMAT_NUMBER})

PORT_NAME = "port"

PORT_MAX = 65535

SERVICE_START_NAME = "service.start"
"""Locked while a background service is started or stops."""

SERVICE_BEGINS_NAME = "service.begins"
"""Locked by a background service until it listens."""

SERVICE_LOG_NAME = "service.log"

_BEFORE_THE_MARK = frozenset(
    {
        LOCK_NAME,
        DOOR_NAME,
        f"{MARK_NAME}.new",
        SERVICE_START_NAME,
        SERVICE_BEGINS_NAME,
        SERVICE_LOG_NAME,
    }
)
"""What a workspace killed while it was made may have left; all else is somebody's."""


class WorkspaceFiles:
    """The files of one workspace. `claim()` them before anything else, `release()` them at last.

    Args:
        path: the workspace's folder; None for a workspace in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.is_temporary = path is None
        self._lock: WorkspaceLock | None = None
        if path is None:
            scratch = tempfile.mkdtemp(prefix="livedb-")
            self.folder = Path(scratch)
            removal = weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
            removal.atexit = False  # at exit the workspace is closed first
        else:
            self.folder = path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def log_head(self) -> Path:
        return self.folder / "log.head"

    @property
    def tables(self) -> Path:
        return self.folder / "tables.duckdb"

    @property
    def loads(self) -> Path:
        return self.folder / "loads"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def objects(self) -> Path:
        return self.folder / "objects"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    def claim(self) -> None:
        """Take the lock of the folder, which is made if absent, and mark it as a workspace.

        Raises:
            WorkspaceLockedError: another process has it open.
            FormatError: the path is something else, or a newer livedb made it.
        """
        if not self.is_temporary:
            check_is_workspace(self.folder)
            self._lock = WorkspaceLock(self.folder)
            self._lock.acquire()
            mark = self.folder / MARK_NAME
            if not mark.exists():
                temporary = self.folder / f"{MARK_NAME}.new"
                temporary.write_text(MARK_TEXT)
                temporary.replace(mark)
        # What a process left there when it was killed.
        shutil.rmtree(self.staging, ignore_errors=True)
        for each in (self.loads, self.files, self.staging):
            each.mkdir(exist_ok=True)

    def announce(
        self, address: str | None, version: str | None = None, *, is_background: bool = False
    ) -> None:
        """Tell other processes of this user where the workspace is served; None: nowhere."""
        if self._lock is not None and self._lock.is_held:
            self._lock.announce(address, version, is_background=is_background)

    def last_ports(self) -> tuple[int | None, int | None]:
        """The TCP ports at which it and its site were last served; None when nobody knows."""
        with suppress(OSError, ValueError):  # as good as none: then any port is taken
            ports = [int(each) for each in (self.folder / PORT_NAME).read_bytes().split()]
            if ports and all(0 < each <= PORT_MAX for each in ports):
                return ports[0], ports[1] if len(ports) > 1 else None
        return None, None

    def keep_ports(self, port: int, site_port: int) -> None:
        """Remember the TCP ports at which it and its site are served."""
        with suppress(OSError):  # it is served all the same
            (self.folder / PORT_NAME).write_text(f"{port} {site_port}")

    def release(self) -> None:
        """Let go of the folder; one of a workspace in memory is removed. Twice is harmless."""
        if self.is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif self._lock is not None:
            self._lock.release()


def check_is_workspace(folder: Path) -> None:
    """Refuse a path that is something else, without touching it.

    Raises:
        FormatError: it is no workspace and no place for one, or a newer livedb made it.
        DamagedError: all is there but the mark.
    """
    if not folder.exists() and not folder.is_symlink():
        if not folder.parent.is_dir():
            raise FormatError(f"The folder {str(folder.parent)!r} does not exist; make it first")
        return
    if not folder.is_dir():
        raise FormatError(
            f"{str(folder)!r} is a file, and a workspace is a folder. Give another path, or load "
            "the file into a workspace with db.load."
        )
    # Before the mark, which another process may be making now: it comes before everything else.
    others = {entry.name for entry in folder.iterdir()} - _BEFORE_THE_MARK
    mark = folder / MARK_NAME
    found = format_of(mark) if mark.is_file() else None
    if found is None and {"log.head", "tables.duckdb"} <= others:
        raise DamagedError(
            f"{str(folder)!r} holds a workspace's log and tables, and its {MARK_NAME!r} is missing "
            "or cannot be read; livedb.repair(path) writes it again"
        )
    if mark.is_file():
        if found is None:
            raise FormatError(f"{str(mark)!r} is not livedb's; is this another folder?")
        if found > FORMAT_NUMBER:
            raise FormatError(
                f"{str(folder)!r} was made by a newer livedb (format {found}, this one "
                f"reads up to {FORMAT_NUMBER}); update livedb"
            )
        return
    if others:
        raise FormatError(
            f"The folder {str(folder)!r} is not a livedb workspace and not empty; give a new path"
        )


def format_of(mark: Path) -> int | None:
    """The format's number that a mark states; None when it is not livedb's."""
    try:
        return int(json.loads(mark.read_bytes())["format"])
    except (ValueError, TypeError, KeyError):
        return None
