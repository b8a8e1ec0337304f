"""The process that has a workspace open, as others find it by the lock file; light to import."""

from __future__ import annotations

import os
import socket

from livedb.errors import WorkspaceError, WorkspaceLockedError
from livedb.service.local_door import SCHEME, peer_user

PAUSE_S = 0.02
"""Between two looks at who has a workspace."""


ANSWER_S_MAX = 1.0
"""Seconds that whoever has a workspace may take to answer; a busy one is asked again."""

_QUESTION = b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def answers(address: str) -> bool:
    """Whether a process of this user serves at a local door, or any on a port of this machine.

    It has to answer: the sockets of one that was killed accept until the system has taken the
    process apart, which comes after its memory.
    """
    try:
        with _connected(address) as connection:
            if address.startswith(SCHEME) and not _is_own(connection):
                return False
            connection.sendall(_QUESTION)
            return bool(connection.recv(1))
    except OSError:
        return False


def _connected(address: str) -> socket.socket:
    if not address.startswith(SCHEME):
        host, _, port = address.removeprefix("http://").rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S_MAX)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_S_MAX)
        connection.connect(address.removeprefix(SCHEME))
    except BaseException:
        connection.close()
        raise
    return connection


def _is_own(connection: socket.socket) -> bool:
    return peer_user(connection) in {None, os.getuid()}


def require_same_version(real: str, holder: WorkspaceLockedError) -> None:
    """Refuse a process of another livedb, which may understand something else by what we say.

    Raises:
        WorkspaceError.
    """
    from livedb import __version__  # the package may be half imported here

    if holder.version != __version__:
        raise WorkspaceError(
            f"{real!r} is served by process {holder.pid}, which runs livedb {holder.version}, and "
            f"this one runs {__version__}. Close it there, or use the same version here.",
            code="VersionMismatch",
        )


def with_advice(error: WorkspaceLockedError) -> WorkspaceLockedError:
    """The same error, and how to use the workspace all the same."""
    if error.pid in {None, os.getpid()}:
        return error
    return WorkspaceLockedError(
        f"{error.message}. To use it from both, call db.serve() there and open it again here, or "
        "open it with livedb.open(path, shared=True) in both, or run `livedb serve`.",
        pid=error.pid,
        host=error.host,
        address=error.address,
        version=error.version,
    )
