"""The background service of one workspace: `python -m livedb.sharing FOLDER`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from livedb.errors import LivedbError, WorkspaceLockedError
from livedb.sharing.background import begin_lock, start_lock
from livedb.sharing.local import LocalSharing
from livedb.sharing.opening import database_of
from livedb.sharing.serving import ServeOptions
from livedb.sharing.vigil import Vigil
from livedb.workspaces import open_workspace

logger = logging.getLogger("livedb.service")


def main() -> int:
    """Serve until nobody is left; the exit code."""
    asked = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("uvicorn", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        # The lock of the start, when it is taken at the end, is given back after the workspace.
        with ExitStack() as ending, ExitStack() as beginning:
            beginning.enter_context(begin_lock(asked.folder))
            with open_workspace(asked.folder, limits=None) as workspace:
                vigil = Vigil(
                    workspace.presence,
                    idle_s=asked.idle_s,
                    has_work=workspace.scheduler.has_work,
                )
                database_of(workspace)  # what functions of notebooks call `db`
                serving = LocalSharing(workspace).serve_as(ServeOptions(is_background=True))
                logger.info("process %d serves %s at %s", os.getpid(), asked.folder, serving.url)
                beginning.close()
                _tell({"url": serving.url})
                _keep(asked.folder, vigil, ending)
                logger.info("process %d ends", os.getpid())
    except WorkspaceLockedError as error:
        # Somebody else was faster: whoever started this looks again.
        logger.info("process %d is not needed: %s", os.getpid(), error.message)
        _tell({"busy": True})
    except LivedbError as error:
        logger.error("%s", error.message)  # noqa: TRY400  # what a user can mend needs no traceback
        _tell({"error": error.message[:1000]})
        return 1
    return 0


def _keep(folder: Path, vigil: Vigil, ending: ExitStack) -> None:
    """Wait for the end, which no opener is in the middle of."""
    while not vigil.keep():
        # Whoever is opening it now has this lock, and will be a visitor.
        with suppress(WorkspaceLockedError), ExitStack() as lock:
            lock.enter_context(start_lock(folder, wait_s=0.0))
            if not vigil.is_needed:
                ending.push(lock.pop_all())
                return


def _tell(answer: dict[str, Any]) -> None:
    """Tell who started this that it is ready, or why not; all further output is for the log."""
    with suppress(OSError):  # who started it is gone
        os.write(_OUTPUT, json.dumps(answer).encode() + b"\n")
    os.dup2(_LOG, _OUTPUT)


_OUTPUT, _LOG = 1, 2
"""Descriptors."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m livedb.sharing", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--idle-s", type=float, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
