"""Files that a client fetches over its connection: made once, then read part by part.

The client names a download, so asking again after a lost connection makes nothing twice, and a part
is read by where it begins. The files lie in the workspace's `staging` folder until the client says
that it has them, or stays silent for `IDLE_S_MAX` seconds; none outlives the service.

Blocking: called on the hub's threads.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from livedb.clock import Clock
from livedb.errors import DisconnectedError, LimitError
from livedb.values import Value

DOWNLOADS_MAX = 8
"""Downloads that are made or fetched at once; a further one is refused."""

PART_BYTES_MAX = 4 << 20
"""Bytes of a file that one answer has."""

IDLE_S_MAX = 120.0
"""Seconds after its last part until a download is forgotten."""


class _Download:
    def __init__(self, folder: Path, now_s: float) -> None:
        self.folder = folder
        self.heard_s = now_s
        self.is_making = True
        self.made: Value = None
        self.files: list[Path] = []
        self.lock = threading.Lock()
        """Held while the files are made: who asks again waits for them."""


class Downloads:
    """What clients of one service fetch."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        """Guards `_downloads`; held for moments."""
        self._downloads: dict[str, _Download] = {}

    def __len__(self) -> int:
        return len(self._downloads)

    def make(self, name: str, work: Callable[[Path], Value]) -> tuple[Value, list[tuple[str, int]]]:
        """Have `work` write files into a folder, once; returns what it says, and them with sizes.

        Raises:
            LimitError: there are too many downloads already.
            Whatever `work` raises; then there is none.
        """
        download = self._begun(name)
        with download.lock:
            if download.is_making:
                try:
                    download.folder.mkdir(mode=0o700)
                    download.made = work(download.folder)
                except BaseException:
                    self.drop(name)
                    raise
                found = sorted(each for each in download.folder.rglob("*") if each.is_file())
                download.files = found
                download.is_making = False
            download.heard_s = self._clock.monotonic_s()
            root = download.folder
            return download.made, [
                (each.relative_to(root).as_posix(), each.stat().st_size) for each in download.files
            ]

    def read(self, name: str, file: int, start: int) -> bytes:
        """Up to `PART_BYTES_MAX` bytes of the file of that number, from `start` on.

        Raises:
            DisconnectedError: it is not here any more.
        """
        with self._lock:
            download = self._downloads.get(name)
        if download is None or not 0 <= file < len(download.files):
            raise _forgotten()
        download.heard_s = self._clock.monotonic_s()
        try:
            with download.files[file].open("rb") as opened:
                opened.seek(start)
                return opened.read(PART_BYTES_MAX)
        except FileNotFoundError:  # dropped just now
            raise _forgotten() from None

    def drop(self, name: str) -> None:
        """Remove a download; twice is harmless."""
        with self._lock:
            dropped = self._downloads.pop(name, None)
        if dropped is not None:
            shutil.rmtree(dropped.folder, ignore_errors=True)

    def close(self) -> None:
        """Remove all."""
        for name in list(self._downloads):
            self.drop(name)

    def _begun(self, name: str) -> _Download:
        now_s = self._clock.monotonic_s()
        late = [
            known
            for known, each in list(self._downloads.items())
            if not each.is_making and now_s - each.heard_s > IDLE_S_MAX
        ]
        for known in late:
            self.drop(known)
        with self._lock:
            found = self._downloads.get(name)
            if found is not None:
                return found
            if len(self._downloads) >= DOWNLOADS_MAX:
                raise LimitError(
                    f"{DOWNLOADS_MAX} exports are being fetched already; try again when one is "
                    "done",
                    code="TooManyDownloads",
                )
            folder = self._folder / f"download-{self._clock.random_bytes(8).hex()}"
            begun = self._downloads[name] = _Download(folder, now_s)
            return begun


def _forgotten() -> DisconnectedError:
    return DisconnectedError(
        "The service has forgotten what was being fetched: it was restarted, or nothing was asked "
        "for long. Nothing was written here; try again"
    )
