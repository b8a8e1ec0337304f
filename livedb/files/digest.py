"""The SHA-256 of a content that comes in pieces, worked out while the pieces are written."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

from livedb.files.pieces import Piece


class Digest:
    """A SHA-256; `close()` it.

    All but the first piece are hashed on a thread of its own, without the interpreter: what is done
    with a piece meanwhile costs no time of its own where there is a second processor.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread: ThreadPoolExecutor | None = None
        self._hashing: Future[None] | None = None
        """Of the last piece; None until there are two."""
        self._is_begun = False

    def update(self, piece: Piece) -> None:
        """Add a piece, which must stay as it is until the next call of any method."""
        self._catch_up()
        if not self._is_begun:
            self._is_begun = True
            self._hash.update(piece)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="livedb-digest")
        self._hashing = self._thread.submit(self._hash.update, piece)

    def hexdigest(self) -> str:
        """Of all pieces."""
        self._catch_up()
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the thread; twice is harmless."""
        if self._thread is not None:
            self._thread.shutdown()

    def _catch_up(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
