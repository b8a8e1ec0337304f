"""`livedb.open`: the workspace itself, or a way into the process that has it open.

One process at a time has a workspace open; whoever opens it after that comes in by the local door
of that process, if it serves. When that process dies, its lock is free, and the next to open the
path has the workspace: so there is never a second writer, and never none for long.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from livedb.client.database import Database
from livedb.client.local import LocalBackend
from livedb.clock import SystemClock
from livedb.commitlog.lock import FOLDER_MODE, WorkspaceLock, refuse_network_file_system
from livedb.errors import DisconnectedError, LivedbError, WorkspaceError, WorkspaceLockedError
from livedb.files.choice import require_same
from livedb.limits import Limits
from livedb.notebook.faces import NotebookFaces
from livedb.sharing.background import reach_or_start
from livedb.sharing.holders import PAUSE_S, answers, require_same_version, with_advice
from livedb.sharing.local import LocalSharing
from livedb.workspace import Workspace
from livedb.workspace_files import WorkspaceFiles, check_is_workspace
from livedb.workspaces import has_open, open_workspace, real_path

if TYPE_CHECKING:
    from livedb.client.connection import Place
    from livedb.client.remote import RemoteBackend

ATTACH_S_MAX = 30.0
"""Seconds until a process that says where it serves must be reached there, or have died."""

_attached: weakref.WeakValueDictionary[str, Database] = weakref.WeakValueDictionary()
"""By real path: what this process has that another one has open."""


def open_database(
    path: str | os.PathLike[str] | None, *, limits: Limits | None, files: str | None = None
) -> Database:
    """What `livedb.open` gives; see there."""
    real = None if path is None else real_path(path)
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + ATTACH_S_MAX
    while True:
        try:
            workspace = open_workspace(path, limits=limits, files_url=files)
        except WorkspaceLockedError as error:
            if real is None or error.address is None or error.pid == os.getpid():
                raise with_advice(error) from None
            if limits is not None:
                raise WorkspaceError(
                    f"{real!r} is open in process {error.pid}, whose limits hold; open it here "
                    "without limits",
                    code="OtherLimits",
                ) from None
            require_same(WorkspaceFiles(Path(real)).objects, files)
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


def open_shared(
    path: str | os.PathLike[str] | None, *, limits: Limits | None, files: str | None = None
) -> Database:
    """What `livedb.open(path, shared=True)` gives; see there.

    Raises:
        WorkspaceError: the service could not be started; the message has what it said. Or the
            files of the workspace lie elsewhere.
    """
    if path is None or limits is not None:
        raise WorkspaceError(
            "shared=True leaves a workspace to a process of its own: it needs a path, and has its "
            "own limits"
        )
    real = real_path(path)
    if has_open(real):
        raise WorkspaceError(
            f"{real!r} is open in this process itself. Call close() on it first, and open it with "
            "shared=True everywhere; or call db.serve() on it."
        )
    folder = Path(real)
    check_is_workspace(folder)
    refuse_network_file_system(folder, Path("/proc/self/mounts"))
    require_same(WorkspaceFiles(folder).objects, files)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return reach_or_start(folder, lambda holder: attach(real, holder))


def database_of(workspace: Workspace) -> Database:
    """The `db` of a workspace of this process, which there is one of."""
    known: Database | None = workspace.database
    if known is None:
        backend, faces = LocalBackend(workspace), NotebookFaces()
        known = workspace.database = Database(backend, faces, LocalSharing(workspace))
        faces.attach(backend)
    return known


def connected(url: str, *, token: str | None, jupyter_token: str | None = None) -> Database:
    """What `livedb.connect` gives; see there."""
    from livedb.client.address import Address
    from livedb.client.remote import RemoteBackend

    given = None if token is None else str(token)  # a text, not a `Secret`
    address = Address.of(str(url), token=given, jupyter_token=jupyter_token)
    return _database_of_remote(RemoteBackend(address.with_login, token=address.token))


def _database_of_remote(backend: RemoteBackend, folder: str | None = None) -> Database:
    from livedb.sharing.remote import RemoteSharing

    faces = NotebookFaces()
    database = Database(backend, faces, RemoteSharing(backend, folder))
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
            if known.backend.name == address and answers(address):
                return known
    if not answers(address):
        return None
    require_same_version(real, holder)
    from livedb.client.remote import RemoteBackend

    try:
        key, find = _key_of(real, address), partial(_place_of, real)
        database = _database_of_remote(RemoteBackend(address, token=key, find=find), real)
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
