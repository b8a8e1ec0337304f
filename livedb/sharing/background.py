"""A process of its own for a workspace, which outlives the notebooks that use it.

    opener    holds `service.start` while it looks whether somebody serves, and starts one
    service   holds `service.begins` until it listens, and `service.start` before it ends for want
              of visitors

So of two who open at once one starts the service and the other finds it; one that ends is never
taken for one that can be used; and when an opener is killed half way, whoever comes next waits for
the service that it has started. The service is `python -m livedb.sharing`: it says in one line on
its output how it came up, and everything else in `service.log`.

Whoever only starts one, as a Jupyter server does, loads no engine: this module stays light.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from livedb.clock import SystemClock
from livedb.commitlog.lock import WorkspaceLock, locked_error, try_lock, unlock
from livedb.errors import WorkspaceError, WorkspaceLockedError
from livedb.sharing.holders import PAUSE_S, with_advice
from livedb.workspace_files import SERVICE_BEGINS_NAME, SERVICE_LOG_NAME, SERVICE_START_NAME

T = TypeVar("T")

START_S_MAX = 60.0
"""Seconds a service may take until it listens, and others wait for whoever starts it."""

IDLE_S = 600.0
"""Seconds without a visitor after which a service ends; `LIVEDB_IDLE_S` in the environment."""

LOG_BYTES_MAX = 1 << 20
"""Bytes of a log that a new service still continues."""

_STARTS_MAX = 3

_LOOKED_AT_S_MAX = 1.0
"""Seconds that a service lets those finish who look whether one begins."""


def start_lock(folder: Path, *, wait_s: float = START_S_MAX) -> AbstractContextManager[None]:
    """Be the only one who starts or ends a service.

    Raises:
        WorkspaceLockedError: somebody else did not finish with that in time.
    """
    return _locked(folder, SERVICE_START_NAME, wait_s)


def begin_lock(folder: Path) -> AbstractContextManager[None]:
    """Be the only service that begins.

    Raises:
        WorkspaceLockedError: another one is beginning.
    """
    return _locked(folder, SERVICE_BEGINS_NAME, _LOOKED_AT_S_MAX)


def _is_beginning(folder: Path) -> bool:
    """Whether a service begins; whoever asks has the lock for a moment when there is none."""
    try:
        with _locked(folder, SERVICE_BEGINS_NAME, 0.0):
            return False
    except WorkspaceLockedError:
        return True


@contextmanager
def _locked(folder: Path, name: str, wait_s: float) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(folder / name, flags, 0o600)
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
            yield
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
    with start_lock(folder):
        return _reach_or_start(folder, reach, start_in)


def _reach_or_start(
    folder: Path, reach: Callable[[WorkspaceLockedError], T | None], start_in: Path | None
) -> T:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + START_S_MAX
    starts = 0
    while True:
        is_beginning = _is_beginning(folder)
        holder = WorkspaceLock(folder).holder()
        error = locked_error(folder, holder)
        if holder is None and not is_beginning:
            if starts == _STARTS_MAX:
                raise WorkspaceError(
                    f"The service of {str(folder)!r} ends as soon as it is started; "
                    f"{SERVICE_LOG_NAME} in there says why"
                )
            starts += 1
            _start(folder, start_in)
            continue
        if holder is not None and holder.address is not None:
            reached = reach(error)
            if reached is not None:
                return reached
        elif not is_beginning:
            raise with_advice(error)
        if clock.monotonic_s() > deadline_s:
            raise error
        # It has died or is ending, and its lock is free soon; or it begins.
        threading.Event().wait(PAUSE_S)


def _start(folder: Path, start_in: Path | None) -> None:
    """Start the service of a workspace that nobody has open, and wait until it listens."""
    log_path = folder / SERVICE_LOG_NAME
    is_long = log_path.exists() and log_path.stat().st_size > LOG_BYTES_MAX
    idle_s = os.environ.get("LIVEDB_IDLE_S", str(IDLE_S))
    with log_path.open("wb" if is_long else "ab") as log:
        log_path.chmod(0o600)
        process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "livedb.sharing", str(folder), "--idle-s", idle_s],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=start_in,
            **_APART,
        )
    assert process.stdout is not None, "it is a pipe"
    told: Future[bytes] = Future()
    # Somebody must take note of its end, for as long as this process lives.
    threading.Thread(
        target=_hear, args=(process, process.stdout, told), name="livedb-reaper", daemon=True
    ).start()
    _require_ready(folder, told)


if sys.platform == "win32":
    _APART: dict[str, Any] = {
        "creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    }
else:
    _APART: dict[str, Any] = {"start_new_session": True}
# A kernel's interrupts and its end are not for the service.


def _hear(process: subprocess.Popen[bytes], output: IO[bytes], told: Future[bytes]) -> None:
    with output:
        told.set_result(output.readline())
    process.wait()


def _require_ready(folder: Path, told: Future[bytes]) -> None:
    """Wait for the one line of a service that is starting.

    Raises:
        WorkspaceError: it says why it cannot, or says nothing.
    """
    try:
        said = told.result(START_S_MAX)
        answer = json.loads(said) if said else {"error": "it ended without a word"}
    except FutureTimeoutError:
        answer = {"error": f"it does not listen after {START_S_MAX:.0f} s"}
    if "error" in answer:
        raise WorkspaceError(
            f"The service of {str(folder)!r} could not be started: {answer['error']}. "
            f"{SERVICE_LOG_NAME} in there may say more.",
            code="ServiceNotStarted",
        )
