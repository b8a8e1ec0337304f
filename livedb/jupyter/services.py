"""The services of workspaces, as a Jupyter server finds them: none is opened in its own process.

A workspace that a process serves is reached there. One that nobody has open is given to the
background service that `livedb.open(path, shared=True)` uses, which is started. One that a notebook
has open without serving it can be reached by nobody, and the error says what to do there.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from livedb.commitlog.lock import Holder, WorkspaceLock, locked_error
from livedb.errors import SERVICE_STARTING, WorkspaceError, WorkspaceLockedError
from livedb.jupyter.folders import Place
from livedb.jupyter.upstream import Upstream
from livedb.service.local_door import SCHEME, has_local_door
from livedb.sharing.background import reach_or_start
from livedb.sharing.holders import answers, require_same_version


class Services:
    """The services of one Jupyter server's workspaces. Used on its event loop only."""

    def __init__(self) -> None:
        self._starting: dict[Path, asyncio.Task[str]] = {}
        """One start at a time for a folder, however many ask: each takes a thread."""

    async def connect(self, place: Place, *, patience_s: float | None = None) -> Upstream:
        """A connection to the service of a workspace, which is started if there is none.

        Args:
            patience_s: how long to wait for a service that starts; None for as long as it may take.

        Raises:
            WorkspaceLockedError: a process has it open and does not serve it.
            WorkspaceError: the service cannot be started, is of another livedb, or takes longer.
        """
        if not has_local_door():
            raise WorkspaceError(
                "This system has no Unix sockets, by which a Jupyter server reaches a workspace. "
                "Serve it with a port of its own: `livedb serve`",
                code="NoLocalDoor",
            )
        holder = await asyncio.to_thread(holder_of, place.folder)
        if holder is not None and holder.address is not None:
            _require_usable(place.folder, locked_error(place.folder, holder))
            with suppress(OSError):
                return await Upstream.connect(holder.address)
        # It has died, is ending or starting, or there is none: whoever starts one knows.
        try:
            async with asyncio.timeout(patience_s):
                return await Upstream.connect(await self._started(place))
        except TimeoutError:
            raise WorkspaceError(
                f"The service of {place.name!r} is being started; come again in a moment",
                code=SERVICE_STARTING,
            ) from None
        except WorkspaceLockedError as error:
            raise _held_elsewhere(place, error) from None
        except OSError as error:
            raise WorkspaceError(
                f"The service of {place.name!r} ended as soon as it was reached ({error}); try "
                "again",
                code="ServiceGone",
            ) from None

    async def _started(self, place: Place) -> str:
        """The address of a service that answers."""
        task = self._starting.get(place.folder)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(_reach_or_start, place.folder))
            self._starting[place.folder] = task
            task.add_done_callback(lambda done: self._has_started(place.folder, done))
        return await asyncio.shield(task)  # one who no longer waits takes it from nobody

    def _has_started(self, folder: Path, done: asyncio.Task[str]) -> None:
        del self._starting[folder]
        if not done.cancelled():
            done.exception()  # taken note of, though nobody may wait for it any more


def holder_of(folder: Path) -> Holder | None:
    """Who has a workspace open; may block."""
    return WorkspaceLock(folder).holder()


def _reach_or_start(folder: Path) -> str:
    def reach(holder: WorkspaceLockedError) -> str | None:
        _require_usable(folder, holder)
        address = holder.address
        return address if address is not None and answers(address) else None

    # Notebooks beside the workspace import modules from there, and so do functions of theirs.
    return reach_or_start(folder, reach, start_in=folder.parent)


def _require_usable(folder: Path, holder: WorkspaceLockedError) -> None:
    """Refuse a service that might not understand for whom a request is."""
    require_same_version(str(folder), holder)
    assert holder.address is None or holder.address.startswith(SCHEME), "this system has doors"


def _held_elsewhere(place: Place, error: WorkspaceLockedError) -> WorkspaceLockedError:
    if error.address is not None:
        return error
    who = "another process" if error.pid is None else f"process {error.pid}"
    return WorkspaceLockedError(
        f"{place.name!r} is open in {who}, which does not serve it. Call db.serve() in the "
        "notebook that has it open, or open it there with livedb.open(path, shared=True).",
        pid=error.pid,
        host=error.host,
    )
