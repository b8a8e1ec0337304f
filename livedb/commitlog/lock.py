"""One process at a time: advisory locks on files of our own, and the folder they live in.

SQLite's and DuckDB's own locks are POSIX record locks, which vanish as soon as the owning process
closes any other descriptor of the file. So a workspace is guarded by `flock` on a file that nobody
else opens: it belongs to the open descriptor, ends with the process, and a file left by a dead
process is simply free. A forked child shares the descriptor; it closes its copy at the fork and
never unlocks, which would take the lock from its parent.

Whoever is refused is told who holds the workspace. The name stands in the locked file, and taking
a lock and writing a name are two steps: in between, a reader finds nothing, or the name of a dead
process. So both happen behind a *door*, a second lock held only for a moment, and so does reading
the name: whoever finds the lock taken behind the door finds its holder's name written.

Network file systems are refused: their locks may be granted twice, and a sync may return before
the bytes are safe.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from livedb import limits
from livedb.errors import ForkedError, FormatError, LogError, WorkspaceLockedError

LOCK_NAME = "lock"
"""The lock file's name inside the workspace's folder."""

DOOR_NAME = "lock.door"
"""The file locked while somebody takes the lock, names itself in it, or reads who has it."""

_DOOR_PAUSE_S = 0.001

FOLDER_MODE = 0o700

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "afs",
        "9p",
        "coda",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "panfs",
        "orangefs",
        "pvfs2",
        "davfs",
        "ocfs2",
        "gfs2",
        "fuse.sshfs",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.glusterfs",
        "fuse.davfs2",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.drive",
        "fuse.goofys",
        "fuse.mount-s3",
        "fuse.blobfuse",
        "fuse.blobfuse2",
        "fuse.juicefs",
        "fuse.mfs",
    }
)
"""File system types, as the mount table names them, whose locks or syncs cannot be relied on."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a workspace, as written into its lock file."""

    pid: int
    host: str
    address: str | None = None
    """Where the holder serves the workspace, for others to attach; None if it does not."""
    version: str | None = None
    """Of livedb, in the process that serves."""
    is_background: bool = False
    """Whether that is a background service, in which nobody types."""


class WorkspaceLock:
    """The right to be the one process that has a workspace open.

    The holder is named in the lock file, so that whoever is refused knows whom to ask.
    """

    def __init__(self, folder: Path | str, *, mounts: Path | str = "/proc/self/mounts") -> None:
        """A lock on `folder`, not yet taken; `mounts` is the mount table to look it up in."""
        self.folder = Path(folder)
        self._mounts = Path(mounts)
        self._descriptor: int | None = None
        self._is_forked = False

    def acquire(self, *, address: str | None = None) -> None:
        """Make the folder, if missing, private to its user, and take the lock.

        Raises:
            WorkspaceLockedError: another process, or another workspace of this one, holds it.
            FormatError: `folder` is no folder, or lies on a network file system.
        """
        self._check_not_forked()
        assert self._descriptor is None, "the lock is held already"
        refuse_network_file_system(self.folder, self._mounts)
        _make_private_folder(self.folder)
        with self._door():
            self._descriptor = self._take()
            _held.add(self)
            try:
                self._write_holder(address)
            except BaseException:  # a full disk, say
                self.release()
                raise

    def announce(
        self, address: str | None, version: str | None = None, *, is_background: bool = False
    ) -> None:
        """Tell those who are refused where the workspace is served."""
        self._check_not_forked()
        assert self._descriptor is not None, "the lock is not held"
        with self._door():
            self._write_holder(address, version, is_background=is_background)

    def holder(self) -> Holder | None:
        """Who has the lock now; None when nobody has it, or nobody can say who.

        Raises:
            FormatError: `folder` is no folder, or its lock file cannot be opened.
        """
        self._check_not_forked()
        with self._door():
            descriptor = _open_lock_file(self.folder / LOCK_NAME)
            try:
                if try_lock(descriptor):
                    unlock(descriptor)
                    return None
                return _read_holder(descriptor)
            finally:
                os.close(descriptor)

    def _write_holder(
        self, address: str | None, version: str | None = None, *, is_background: bool = False
    ) -> None:
        assert self._descriptor is not None, "the lock is not held"
        holder = Holder(
            pid=os.getpid(),
            host=socket.gethostname(),
            address=address,
            version=version,
            is_background=is_background,
        )
        _overwrite(self._descriptor, msgspec.json.encode(holder))

    def release(self) -> None:
        """Give the lock back; a second time, or in a forked child, does nothing.

        The file stays: removing it would let two processes lock two files of one name. So does
        the name in it, which nobody reads unless the lock is taken.
        """
        if self._descriptor is None or self._is_forked:
            return
        unlock(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        _held.discard(self)

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock, in this process."""
        return self._descriptor is not None and not self._is_forked

    def __enter__(self) -> Self:
        if self._descriptor is None:
            self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    @contextlib.contextmanager
    def _door(self) -> Iterator[None]:
        """Be the only one who takes the lock, writes the holder's name or reads it."""
        descriptor = _open_lock_file(self.folder / DOOR_NAME)
        try:
            for _ in range(round(limits.LOCK_DOOR_S_MAX / _DOOR_PAUSE_S)):
                if try_lock(descriptor):
                    break
                threading.Event().wait(_DOOR_PAUSE_S)
            else:
                raise locked_error(self.folder, None)
            try:
                yield
            finally:
                unlock(descriptor)
        finally:
            os.close(descriptor)

    def _take(self) -> int:
        path = self.folder / LOCK_NAME
        while True:
            descriptor = _open_lock_file(path)
            if not try_lock(descriptor):
                holder = _read_holder(descriptor)
                os.close(descriptor)
                raise locked_error(self.folder, holder)
            if _is_same_file(descriptor, path):
                return descriptor
            os.close(descriptor)  # Somebody replaced the file between the open and the lock.

    def _check_not_forked(self) -> None:
        if self._is_forked:
            raise ForkedError(
                f"the lock of {str(self.folder)!r} belongs to the process this one was forked from"
            )

    def _forget_in_child(self) -> None:
        self._is_forked = True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def locked_error(path: Path, holder: Holder | None) -> WorkspaceLockedError:
    """The error for a workspace that `holder` has open; None when it could not be read."""
    if holder is None:
        return WorkspaceLockedError(
            f"{str(path)!r} is open already, here or in another process; close it there first"
        )
    here = holder.host == socket.gethostname()
    who, advice = f"process {holder.pid}", "close it there first"
    if not here:
        who += f" on {holder.host!r}"
    elif holder.pid == os.getpid():
        who, advice = f"this process ({holder.pid})", "close it first, with db.close()"
    if holder.address is not None:
        who += f", which serves it at {holder.address}"
    return WorkspaceLockedError(
        f"{str(path)!r} is already open in {who}; {advice}",
        pid=holder.pid,
        host=holder.host,
        address=holder.address,
        version=holder.version,
    )


def refuse_network_file_system(path: Path, mounts: Path) -> None:
    """Raise FormatError when `path` lies on a file system whose locks cannot be relied on."""
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # No mount table (macOS, Windows): nothing is known, so nothing is refused.
    kind = file_system_of(path.resolve(), table)
    if kind in NETWORK_FILE_SYSTEMS:
        raise FormatError(
            f"{str(path)!r} lies on a network file system ({kind}), where locks and syncs cannot"
            " be relied on; keep the workspace on a local disk and copy it there with db.backup()",
            code="NetworkFileSystem",
        )


def file_system_of(path: Path, mounts: str) -> str | None:
    """The type of the file system that holds `path`.

    Args:
        path: absolute, without symbolic links.
        mounts: the mount table in the form of /proc/self/mounts; a later line hides an earlier.
    """
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount = Path(_unescape(fields[1]))
        depth = len(mount.parts)
        if (path == mount or mount in path.parents) and (best is None or depth >= best[0]):
            best = depth, fields[2]
    return None if best is None else best[1]


def _unescape(field: str) -> str:
    """A mount table writes space, tab, newline and backslash as octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def _make_private_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise FormatError(f"{str(folder)!r} is a file; a workspace is a folder") from None
    except OSError as error:
        raise FormatError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error
    # An existing folder may have been made by hand or unpacked with a laxer mode. One that
    # belongs to another user cannot be changed, and its owner has decided who may enter.
    with contextlib.suppress(PermissionError):
        folder.chmod(FOLDER_MODE)


def _open_lock_file(path: Path) -> int:
    # O_NONBLOCK and O_NOFOLLOW: a FIFO or a link planted under this name neither hangs nor
    # leads the holder's JSON into another file.
    flags = os.O_RDWR | os.O_CREAT
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise FormatError(f"cannot open the lock file {str(path)!r}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError(f"the lock file {str(path)!r} is not a regular file; remove it")
    return descriptor


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _overwrite(descriptor: int, data: bytes) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, data)
    except OSError as error:
        raise LogError(f"cannot write the lock file: {error.strerror}") from error


def _read_holder(descriptor: int) -> Holder | None:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return msgspec.json.decode(os.read(descriptor, 4096), type=Holder)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None  # Overwritten by another hand: it is held, by whom is not known.


if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 30
    """Far behind the content: on Windows a locked range cannot be read by others."""

    def try_lock(descriptor: int) -> bool:
        """Take the lock of an open file until it is closed; False if another one has it."""
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back, in the process that took it."""
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the lock of an open file until it is closed; False if another one has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back, in the process that took it.

        Closing is not enough while a child is between its fork and closing its own copy.
        """
        fcntl.flock(descriptor, fcntl.LOCK_UN)


_held: weakref.WeakSet[WorkspaceLock] = weakref.WeakSet()
"""Locks held by this process, for the child of a fork to let go of."""


def _forget_all_in_child() -> None:
    for lock in list(_held):
        lock._forget_in_child()  # noqa: SLF001 - the fork hook is part of this class.
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all_in_child)
