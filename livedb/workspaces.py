"""The workspaces of this process: opened once each, found again, closed at exit."""

from __future__ import annotations

import atexit
import errno
import os
import weakref
from dataclasses import fields
from pathlib import Path

from livedb.clock import Clock
from livedb.errors import FormatError, WorkspaceError
from livedb.files.choice import require_same
from livedb.files.objects import checked_url
from livedb.limits import Limits
from livedb.process_lock import ProcessLock
from livedb.workspace import Workspace, WrapLog

_SERVICES = ("http://", "https://", "ws://", "wss://")

_open: weakref.WeakValueDictionary[str, Workspace] = weakref.WeakValueDictionary()
_alive: weakref.WeakSet[Workspace] = weakref.WeakSet()
_open_lock = ProcessLock()


def open_workspace(
    path: str | os.PathLike[str] | None,
    *,
    limits: Limits | None,
    clock: Clock | None = None,
    wrap_log: WrapLog | None = None,
    files_url: str | None = None,
) -> Workspace:
    """The workspace at `path`: the one this process has open already, or newly opened."""
    if files_url is not None:
        checked_url(files_url)  # before a folder is made
    if path is None or path == ":memory:":  # as users of DuckDB and SQLite write it
        return _new_workspace(None, limits, clock, wrap_log, files_url)
    real = real_path(path)
    with _open_lock:
        found = _open.get(real)
        if found is not None and not found.is_closed:
            found.require_open()
            _refuse_other_limits(found, limits)
            require_same(found.files.objects, files_url)
            return found
        opened = _new_workspace(Path(real), limits, clock, wrap_log, files_url)
        _open[real] = opened
        return opened


def real_path(path: str | os.PathLike[str]) -> str:
    """What names a workspace however its path is written.

    Raises:
        FormatError: it is no path, or the address of a service.
    """
    if isinstance(path, str) and "\x00" in path:
        raise FormatError("A path cannot hold a NUL character")
    if isinstance(path, str) and path.startswith(_SERVICES):
        shown = path.partition("#")[0].partition("?")[0]  # no token
        raise FormatError(
            f"{shown!r} is the address of a service, and no path: livedb.connect(url) opens the "
            "workspace there"
        )
    if not os.fspath(path):
        raise FormatError('"" is no path of a workspace; livedb.open() makes one in memory')
    try:
        real = os.path.realpath(Path(path).expanduser())
    except RuntimeError as error:
        raise FormatError(f"{os.fspath(path)!r} is in the home of nobody here") from error
    try:
        os.lstat(real)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            shown = f"{os.fspath(path)!s:.60}"
            raise FormatError(f"{shown!r}.. has a longer name than this system takes") from None
    return real


def has_open(path: str) -> bool:
    """Whether this process has the workspace at a real path open."""
    found = _open.get(path)
    return found is not None and not found.is_closed


def _new_workspace(
    path: Path | None,
    limits: Limits | None,
    clock: Clock | None,
    wrap_log: WrapLog | None,
    files_url: str | None,
) -> Workspace:
    workspace = Workspace(path, limits=limits, clock=clock, wrap_log=wrap_log, files_url=files_url)
    _alive.add(workspace)
    return workspace


def _refuse_other_limits(workspace: Workspace, limits: Limits | None) -> None:
    """An open workspace keeps its limits: whoever asks for others shall not think they hold."""
    if limits is None or limits == workspace.limits:
        return
    others = [
        f"{field.name}={wanted!r} (now {known!r})"
        for field in fields(limits)
        if (wanted := getattr(limits, field.name))
        != (known := getattr(workspace.limits, field.name))
    ]
    raise WorkspaceError(
        f"The workspace {workspace.name} is open in this process with other limits, which cannot "
        f"change meanwhile: asked for were {', '.join(others)}. Call close() on it and open it "
        "again, or open it without limits to get it as it is.",
        code="OtherLimits",
    )


def _close_all() -> None:
    for workspace in list(_alive):
        workspace.close()


atexit.register(_close_all)
