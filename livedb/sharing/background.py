"""A process of its own for a workspace, which outlives the notebooks that use it.

    opener            holds `service.start` while it looks whether somebody serves, and starts one
    service           holds it too until it listens, and again before it ends for want of visitors

So of two who open at once one starts the service and the other finds it; one that ends is never
taken for one that can be used; and when an opener is killed half way, its service still is either
there or not. The service is `python -m livedb.sharing`; what it says goes to `service.log`.

Whoever only starts one, as a Jupyter server does, loads no engine: this module stays light.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from livedb.clock import SystemClock
from livedb.commitlog.lock import WorkspaceLock, locked_error, try_lock, unlock
from livedb.errors import WorkspaceError, WorkspaceLockedError
from livedb.sharing.holders import PAUSE_S, with_advice
from livedb.workspace_files import SERVICE_LOG_NAME, SERVICE_START_NAME

T = TypeVar("T")

START_S_MAX = 60.0
"""Seconds a service may take until it listens, and others wait for whoever starts it."""

IDLE_S = 600.0
"""Seconds without a visitor after which a service ends; `LIVEDB_IDLE_S` in the environment."""

LOG_BYTES_MAX = 1 << 20
"""Bytes of a log that a new service still continues."""

_STARTS_MAX = 3


@contextmanager
def start_lock(folder: Path, *, wait_s: float = START_S_MAX) -> Iterator[int]:
    """Be the only one who starts or ends a service; gives the locked file's descriptor.

    Raises:
        WorkspaceLockedError: somebody else did not finish with that in time.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(folder / SERVICE_START_NAME, flags, 0o600)
    try:
        waited_s = 0.0
        while not try_lock(descriptor):
            if waited_s >= wait_s:
                raise WorkspaceLockedError(
                    f"Another process is starting or ending the service of {str(folder)!r}, and "
                    "is not done yet; try again"
                )
            threading.Event().wait(PAUSE_S)
            waited_s += PAUSE_S
        try:
            yield descriptor
        finally:
            unlock(descriptor)
    finally:
        os.close(descriptor)


def reach_or_start(
    folder: Path, reach: Callable[[WorkspaceLockedError], T | None], *, start_in: Path | None = None
) -> T:
    """What `reach` makes of the process that serves a workspace, which is started if there is none.

    Args:
        reach: is told who serves it and where; gives None when nobody answers there.
        start_in: the folder that a process which is started runs in; by default that of this one.

    Raises:
        WorkspaceLockedError: a process has the workspace open and does not serve it.
        WorkspaceError: the service could not be started; the message has what it said.
    """
    with start_lock(folder) as descriptor:
        return _reach_or_start(folder, reach, descriptor, start_in)


def _reach_or_start(
    folder: Path,
    reach: Callable[[WorkspaceLockedError], T | None],
    descriptor: int,
    start_in: Path | None,
) -> T:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + START_S_MAX
    starts = 0
    while True:
        holder = WorkspaceLock(folder).holder()
        if holder is None:
            if starts == _STARTS_MAX:
                raise WorkspaceError(
                    f"The service of {str(folder)!r} ends as soon as it is started; "
                    f"{SERVICE_LOG_NAME} in there says why"
                )
            starts += 1
            _start(folder, descriptor, start_in)
            continue
        error = locked_error(folder, holder)
        if holder.address is None:
            raise with_advice(error)
        reached = reach(error)
        if reached is not None:
            return reached
        if clock.monotonic_s() > deadline_s:
            raise error
        threading.Event().wait(PAUSE_S)  # it has died or is ending: its lock is free soon


def _start(folder: Path, descriptor: int, start_in: Path | None) -> None:
    """Start the service of a workspace that nobody has open, and wait until it listens."""
    log_path = folder / SERVICE_LOG_NAME
    is_long = log_path.exists() and log_path.stat().st_size > LOG_BYTES_MAX
    reader, writer = os.pipe()
    inherited = (writer, descriptor)
    command = [
        sys.executable, "-m", "livedb.sharing", str(folder),
        "--ready-descriptor", str(writer), "--start-descriptor", str(descriptor),
        "--idle-s", os.environ.get("LIVEDB_IDLE_S", str(IDLE_S)),
    ]  # fmt: skip
    with log_path.open("wb" if is_long else "ab") as log, os.fdopen(reader, "rb") as ready:
        log_path.chmod(0o600)
        try:
            process = subprocess.Popen(  # noqa: S603  # our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=inherited,
                cwd=start_in,
                start_new_session=True,  # a kernel's interrupts and its end are not for it
            )
        finally:
            os.close(writer)
        # Somebody must take note of its end, for as long as this process lives.
        threading.Thread(target=process.wait, name="livedb-reaper", daemon=True).start()
        _require_ready(folder, ready.fileno())


def _require_ready(folder: Path, descriptor: int) -> None:
    """Wait for the one line of a service that is starting.

    Raises:
        WorkspaceError: it says why it cannot, or says nothing.
    """
    readable, _, _ = select.select([descriptor], [], [], START_S_MAX)
    said = os.read(descriptor, 65536) if readable else b""
    answer = json.loads(said) if said else {"error": "it ended without a word"}
    if not readable:
        answer = {"error": f"it does not listen after {START_S_MAX:.0f} s"}
    if "error" in answer:
        raise WorkspaceError(
            f"The service of {str(folder)!r} could not be started: {answer['error']}. "
            f"{SERVICE_LOG_NAME} in there may say more.",
            code="ServiceNotStarted",
        )
