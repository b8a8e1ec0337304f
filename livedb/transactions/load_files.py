"""The files of bulk loads: each is there while somebody needs it, and no longer.

A file is needed by the load that stages it, and then by the commit that names it, until its rows
are in the tables. Two loads may need one file, since a file is named by its content.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Lock


class LoadFiles:
    """Counts who needs each file of the folder `loads/`; safe to use from every thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._needed: Counter[str] = Counter()
        self._lock = Lock()
        """Held while a file is deleted too: whoever makes it anew has said so before."""

    def need(self, name: str) -> None:
        """Keep a file, which may be yet to come; pair with `let_go`."""
        with self._lock:
            self._needed[name] += 1

    def let_go(self, name: str) -> None:
        """Say that a file is no longer needed here; whoever is the last deletes it."""
        with self._lock:
            self._needed[name] -= 1
            if self._needed[name] <= 0:
                del self._needed[name]
                with suppress(OSError):  # then the next open deletes it
                    (self.folder / name).unlink(missing_ok=True)
