"""The door of a workspace for processes of its own user: a Unix socket, closed to all others.

It lies in the workspace's folder, which only its user may enter, and has mode 0600; where the
system tells who is at the other end, another user is turned away as well. So whoever comes in by it
may do what the owner may, and needs no token. A socket's path is short (104 bytes on some systems):
that of a workspace whose path is long lies in a private folder for running programs instead, and
the lock file says where.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import stat
import struct
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from livedb.errors import WorkspaceError

SOCKET_NAME = "socket"
"""Inside the workspace's folder."""

PATH_BYTES_MAX = 100
"""Bytes of the path of a Unix socket, with something to spare."""

SCHEME = "unix:"

LOOPBACK_SETTING = "LIVEDB_LOOPBACK"
"""Set to 1 in the environment of the process that serves: do as a system without Unix sockets."""

_PEER = struct.Struct("3i")
"""Process, user and group of who is at the other end (Linux)."""


class LocalListener(socket.socket):
    """A listening socket that lets in processes of this user only."""

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; one of another user is closed at once."""
        connection, address = super().accept()
        user = peer_user(connection)
        if user is not None and user != os.getuid():
            connection.close()
            raise ConnectionAbortedError("a process of another user")
        return connection, address


class LocalDoor:
    """The listening socket of one workspace, whose lock this process holds. `close()` it.

    Raises:
        WorkspaceError: it cannot be made there.
    """

    def __init__(self, folder: Path) -> None:
        self.path = socket_path(folder)
        self.listener = LocalListener(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # What lies there was left by a process that is dead: this one has the lock.
            self.path.unlink(missing_ok=True)
            self.listener.bind(str(self.path))
            self.path.chmod(0o600)  # before it listens
            self.listener.listen(1024)
        except OSError as error:
            self.listener.close()
            raise WorkspaceError(f"Cannot listen on {str(self.path)!r}: {error.strerror}") from None

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"{SCHEME}{self.path}"

    def close(self) -> None:
        """Let nobody in any more."""
        self.listener.close()
        self.path.unlink(missing_ok=True)


def has_local_door() -> bool:
    """Whether this system has such sockets, and they are wanted."""
    is_wanted = os.environ.get(LOOPBACK_SETTING, "0") in {"", "0"}
    return hasattr(socket, "AF_UNIX") and is_wanted


def socket_path(folder: Path) -> Path:
    """Where the socket of the workspace in `folder` lies.

    Raises:
        WorkspaceError: its path is too long, and there is no private folder for it.
    """
    beside = folder / SOCKET_NAME
    if len(os.fsencode(beside)) <= PATH_BYTES_MAX:
        return beside
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
    return _private_folder() / name


def _private_folder() -> Path:
    """A folder for running programs that nobody else can enter."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    parents = [Path(given)] if given else []
    for parent in (*parents, Path(tempfile.gettempdir())):
        folder = parent / f"livedb-{os.getuid()}"
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
            is_short = len(os.fsencode(folder)) + 30 <= PATH_BYTES_MAX
            if is_private and is_short and found.st_uid == os.getuid():
                return folder
    raise WorkspaceError(
        "There is no private folder for the workspace's socket: its own path is too long for one, "
        "and livedb's folder for running programs belongs to somebody else. Set XDG_RUNTIME_DIR to "
        "a folder of yours with mode 0700, or move the workspace to a shorter path."
    )


def peer_user(connection: socket.socket) -> int | None:
    """The user at the other end of a Unix socket; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _PEER.size))
    return int(user)


def came_by_it(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request came in by the local door: a TCP socket's address has a port."""
    server = scope.get("server")
    return server is not None and server[1] is None


def user_name() -> str:
    """The name of this process's user."""
    with suppress(Exception):  # no such user, as in a container
        return getpass.getuser()
    return "owner"
