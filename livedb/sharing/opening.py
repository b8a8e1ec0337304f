"""`livedb.open`: the workspace itself, or a way into the process that has it open.

One process at a time has a workspace open; whoever opens it after that comes in by the local door
of that process, if it serves. When that process dies, its lock is free, and the next to open the
path has the workspace: so there is never a second writer, and never none for long.
"""

from __future__ import annotations

import os
import socket
import threading
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from livedb.client.database import Database
from livedb.client.local import LocalBackend
from livedb.clock import SystemClock
from livedb.commitlog.lock import WorkspaceLock
from livedb.errors import DisconnectedError, LivedbError, WorkspaceError, WorkspaceLockedError
from livedb.limits import Limits
from livedb.notebook.faces import NotebookFaces
from livedb.sharing.local import LocalSharing
from livedb.workspace import Workspace
from livedb.workspaces import open_workspace, real_path

if TYPE_CHECKING:
    from livedb.client.connection import Place
    from livedb.client.remote import RemoteBackend

ATTACH_S_MAX = 30.0
"""Seconds until a process that says where it serves must be reached there, or have died."""

PAUSE_S = 0.02
"""Between two looks at who has a workspace."""

_attached: weakref.WeakValueDictionary[str, Database] = weakref.WeakValueDictionary()
"""By real path: what this process has that another one has open."""


def open_database(path: str | os.PathLike[str] | None, *, limits: Limits | None) -> Database:
    """What `livedb.open` gives; see there."""
    real = None if path is None else real_path(path)
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + ATTACH_S_MAX
    while True:
        try:
            workspace = open_workspace(path, limits=limits)
        except WorkspaceLockedError as error:
            if real is None or error.address is None or error.pid == os.getpid():
                raise with_advice(error) from None
            if limits is not None:
                raise WorkspaceError(
                    f"{real!r} is open in process {error.pid}, whose limits hold; open it here "
                    "without limits",
                    code="OtherLimits",
                ) from None
            attached = attach(real, error)
            if attached is not None:
                return attached
            if clock.monotonic_s() > deadline_s:
                raise
            # It is just ending, or has died between the two looks: look again.
            threading.Event().wait(PAUSE_S)
        else:
            if real is not None:
                _leave(real)
            return database_of(workspace)


def database_of(workspace: Workspace) -> Database:
    """The `db` of a workspace of this process, which there is one of."""
    known: Database | None = workspace.database
    if known is None:
        backend, faces = LocalBackend(workspace), NotebookFaces()
        known = workspace.database = Database(backend, faces, LocalSharing(workspace))
        faces.attach(backend)
    return known


def connected(url: str, *, token: str | None) -> Database:
    """What `livedb.connect` gives; see there."""
    from livedb.client.remote import RemoteBackend

    address, _, in_link = str(url).partition("#token=")
    given = in_link if token is None else str(token)  # a text, not a `Secret`
    return _database_of_remote(RemoteBackend(address, token=given or None))


def _database_of_remote(backend: RemoteBackend) -> Database:
    from livedb.sharing.remote import RemoteSharing

    faces = NotebookFaces()
    database = Database(backend, faces, RemoteSharing(backend))
    faces.attach(backend)
    return database


def attach(real: str, holder: WorkspaceLockedError) -> Database | None:
    """The workspace by the door of who has it; None when nobody answers there."""
    address = holder.address
    assert address is not None, "it is served somewhere"
    known = _attached.get(real)
    if known is not None:
        with suppress(LivedbError):
            known.backend.require_open()
            if known.backend.name == address and _answers(address):
                return known
    if not _answers(address):
        return None
    _require_same_version(real, holder)
    from livedb.client.remote import RemoteBackend

    try:
        key, find = _key_of(real, address), partial(_place_of, real)
        database = _database_of_remote(RemoteBackend(address, token=key, find=find))
    except (DisconnectedError, FileNotFoundError):
        return None  # it has just died
    _leave(real)
    _attached[real] = database
    return database


def _leave(real: str) -> None:
    """Close what this process had of a path by another one, which has it no more."""
    left = _attached.pop(real, None)
    if left is not None:
        left.close()


def _answers(address: str) -> bool:
    """Whether a process of this user listens at a local door, or any on a port of this machine."""
    from livedb.service.local_door import SCHEME, peer_user

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


def _key_of(real: str, address: str) -> str | None:
    """The key to a door that has no other proof of who comes in."""
    from livedb.service.local_door import SCHEME
    from livedb.sharing.serving import KEY_NAME

    return None if address.startswith(SCHEME) else (Path(real) / KEY_NAME).read_text()


def _place_of(real: str) -> Place | None:
    """Where a workspace is served now; None when nobody can say."""
    from livedb.client.connection import Place

    with suppress(LivedbError, OSError):
        holder = WorkspaceLock(real).holder()
        if holder is not None and holder.address is not None:
            return Place(holder.address, _key_of(real, holder.address))
    return None


def _require_same_version(real: str, holder: WorkspaceLockedError) -> None:
    from livedb import __version__

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
