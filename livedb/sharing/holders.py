"""The process that has a workspace open, as others find it by the lock file; light to import."""

from __future__ import annotations

import os
import socket

from livedb.errors import WorkspaceError, WorkspaceLockedError
from livedb.service.local_door import SCHEME, peer_user

PAUSE_S = 0.02
"""Between two looks at who has a workspace."""


def answers(address: str) -> bool:
    """Whether a process of this user listens at a local door, or any on a port of this machine."""
    try:
        if not address.startswith(SCHEME):
            host, _, port = address.removeprefix("http://").rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
                return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(address.removeprefix(SCHEME))
            return peer_user(connection) in {None, os.getuid()}
    except OSError:
        return False


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
