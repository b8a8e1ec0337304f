"""Functions that follow their files: a folder loaded anew whenever one of its modules is saved.

Saves that come close together are one reload. A load that fails changes nothing: the functions
before stay, and whoever watches is told why. The watcher is one thread, and ends with `close`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import watchfiles

from livedb.errors import LivedbError
from livedb.functions.loader import FunctionFolder, LoadedFunctions

logger = logging.getLogger("livedb")

DEBOUNCE_MS = 100
"""Milliseconds without another save after which a folder is loaded."""
DEBOUNCE_MS_MAX = 1_000
"""Milliseconds of saves without a pause after which it is loaded all the same."""
STOP_S_MAX = 10.0
"""Seconds that `close` waits for a load that is running."""
_POLL_MS = 200
"""Milliseconds after which the watching thread looks whether it shall end."""


class FunctionWatcher:
    """Loads a folder of functions after each save. `close()` it; a context manager.

    Args:
        folder: what to load.
        pushed: the load of it that is in use.
        push: makes a load the functions of a workspace; told also what was pushed before. What it
            raises counts as a load that failed.
        on_error: told why a load failed.
    """

    def __init__(
        self,
        folder: FunctionFolder,
        pushed: LoadedFunctions,
        push: Callable[[LoadedFunctions, LoadedFunctions], None],
        *,
        on_error: Callable[[LivedbError], None],
    ) -> None:
        self._folder = folder
        self._push = push
        self._on_error = on_error
        self._pushed = pushed
        self._stop = threading.Event()
        self._is_watching = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="livedb-functions", daemon=True)
        self._thread.start()
        # A save from here on is seen: the operating system tells of it.
        self._is_watching.wait(STOP_S_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching; the functions stay as they are. Twice is harmless."""
        self._stop.set()
        self._thread.join(STOP_S_MAX)

    def _load(self) -> None:
        loaded = self._folder.load()
        self._push(loaded, self._pushed)
        self._pushed = loaded

    def _watch(self) -> None:
        changes = watchfiles.watch(
            self._folder.path,
            watch_filter=_is_of_interest,
            debounce=DEBOUNCE_MS_MAX,
            step=DEBOUNCE_MS,
            rust_timeout=_POLL_MS,
            yield_on_timeout=True,
            stop_event=self._stop,
            raise_interrupt=False,
        )
        for batch in changes:
            self._is_watching.set()
            if batch and not self._stop.is_set():
                self._reload()

    def _reload(self) -> None:
        try:
            self._load()
        except LivedbError as error:
            self._on_error(error)
        except Exception:  # a bug of ours, or the disk: the next save tries again
            logger.exception("the functions of %s could not be loaded", self._folder.path)


def _is_of_interest(change: watchfiles.Change, path: str) -> bool:
    """A module, or a folder that came or went; not what editors and Python write beside them."""
    del change
    file = Path(path)
    if any(part == "__pycache__" or part.startswith(".") for part in file.parts[-3:]):
        return False
    return file.suffix in (".py", "")
