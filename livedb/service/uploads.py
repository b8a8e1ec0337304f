"""Loads and files that arrive over the network: kept in temporary files until all is here.

A part has a number, so one that is sent again after a lost connection is taken once; and the load
itself remembers its result for as long, so that a client who lost the answer gets it. Whoever stays
silent for `IDLE_S_MAX` seconds is forgotten with all that it sent.

Blocking: called on the hub's threads.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from livedb.clock import Clock
from livedb.errors import DisconnectedError, LimitError

UPLOAD_BYTES_MAX = 4 << 30
"""Bytes of one load that arrive before it is begun; more are refused."""

UPLOADS_MAX = 8
"""Loads whose rows are arriving at once; a further one is refused."""

IDLE_S_MAX = 120.0
"""Seconds after its last part until a load that is not begun is forgotten."""

T = TypeVar("T")


class _Upload:
    def __init__(self, now_s: float) -> None:
        self.file = tempfile.TemporaryFile(  # noqa: SIM115  # until all is here
            prefix="livedb-upload-"
        )
        self.parts = 0
        self.size_bytes = 0
        self.heard_s = now_s
        self.loaded: Any = None
        self.is_loading = False
        self.lock = threading.Lock()
        """Guards the file, and is held while it is loaded: who asks again waits for the result."""


class Uploads:
    """The loads of one service that arrive, or have arrived a moment ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        """Guards `_uploads`; taken before no other lock."""
        self._uploads: dict[str, _Upload] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    def add(self, name: str, part: int, pieces: Sequence[bytes]) -> int:
        """Keep the part of that number, the first being 0; returns how many are here.

        Raises:
            LimitError: it is too large, or too many arrive already.
            DisconnectedError: parts before it are not here any more.
        """
        upload = self._begun(name) if part == 0 else self._known(name)
        with upload.lock:
            upload.heard_s = self._clock.monotonic_s()
            if part < upload.parts:
                return upload.parts  # it came already, and the answer was lost
            if part > upload.parts:
                raise _forgotten()
            upload.size_bytes += sum(map(len, pieces))
            if upload.size_bytes > UPLOAD_BYTES_MAX:
                self.drop(name)
                raise LimitError(
                    f"The load is larger than the {UPLOAD_BYTES_MAX:,} bytes that a service takes "
                    "over the network; load it in several steps, or on the machine of the service",
                    code="UploadTooLarge",
                )
            upload.file.writelines(pieces)
            upload.parts += 1
            return upload.parts

    def load(self, name: str, work: Callable[[Any], T]) -> T:
        """The result of `work` with what has arrived, done once however often it is asked."""
        upload = self._known(name)
        upload.is_loading = True
        with upload.lock:
            if upload.loaded is None:
                upload.file.seek(0)
                try:
                    upload.loaded = work(upload.file)
                except BaseException:
                    self.drop(name)
                    raise
                finally:
                    upload.file.close()
                    upload.is_loading = False
                    upload.heard_s = self._clock.monotonic_s()
            loaded: T = upload.loaded
            return loaded

    def drop(self, name: str) -> None:
        """Forget a load."""
        with self._lock:
            dropped = self._uploads.pop(name, None)
        if dropped is not None:
            dropped.file.close()

    def close(self) -> None:
        """Forget all."""
        for name in list(self._uploads):
            self.drop(name)

    def _begun(self, name: str) -> _Upload:
        now_s = self._clock.monotonic_s()
        with self._lock:
            for known, each in list(self._uploads.items()):
                if not each.is_loading and now_s - each.heard_s > IDLE_S_MAX:
                    self._uploads.pop(known).file.close()
            if name in self._uploads:
                return self._uploads[name]
            arriving = sum(1 for each in self._uploads.values() if each.loaded is None)
            if arriving >= UPLOADS_MAX:
                raise LimitError(
                    f"{UPLOADS_MAX} loads are arriving already; try again when one is done",
                    code="TooManyUploads",
                )
            upload = self._uploads[name] = _Upload(now_s)
            return upload

    def _known(self, name: str) -> _Upload:
        with self._lock:
            upload = self._uploads.get(name)
        if upload is None:
            raise _forgotten()
        return upload


def _forgotten() -> DisconnectedError:
    return DisconnectedError(
        "The service has forgotten this load: it was restarted, or nothing came for long. Look "
        "whether the rows are there, and load again if not"
    )
