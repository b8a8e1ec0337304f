"""Contents of files: each a run of bytes under a random name, which never changes.

Where they lie, a `ContentPlace` says: a folder (`files.disk`) or an object store (`files.objects`).
Under its name a content is there whole or not at all. What a place has and no document names is an
orphan: left by an upload whose process was killed, or of a file that was deleted. Names that are
under way, from before their first byte until their document is published, are no orphans.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from livedb.clock import Clock
from livedb.errors import DamagedError, FileError, InvalidValueError, LimitError, LivedbError
from livedb.files.aside import Aside
from livedb.files.pieces import PIECE_BYTES, Piece
from livedb.functions.storage import Content

_NAME = re.compile(r"[^/?#]+://[^?#]*/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
"""A URL that ends in the name of a content, as those of every place and every service do."""

STORE_FAILED = "StoreFailed"
"""The code of a `FileError` of an object store."""


class Sink(Protocol):
    """Takes the bytes of one new content."""

    def write(self, piece: Piece) -> None:
        """Add a piece, and keep none of its memory.

        Raises:
            FileError: the place did not take it.
        """

    def finish(self) -> None:
        """Put the content under its name, durably.

        Raises:
            FileError: the place did not take it.
        """

    def abandon(self) -> None:
        """Leave nothing of it. It is not finished, or may be and nobody knows."""


class ContentPlace(Protocol):
    """Where contents lie; safe to use from every thread."""

    def begin(self, name: str, *, bytes_max: int) -> Sink:
        """A new content of at most so many bytes; `names` has its name from now on.

        Raises:
            FileError: the place takes none.
        """

    def open(self, name: str) -> BinaryIO:
        """A content, to be read from anywhere in it; pieces are fetched as they are read.

        Raises:
            FileNotFoundError: it is not there.
            FileError: the place cannot be reached.
        """

    def names(self) -> list[str]:
        """The names of contents that were put here, unfinished ones included."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove contents; one that is not there is none to remove.

        Raises:
            FileError: the place cannot be reached; some may be removed.
        """

    def copy(self, target: Path) -> None:
        """Copy every content into the folder `target`, one that nobody knows of included.

        Raises:
            FileError: the place cannot be reached.
        """

    def address(self, name: str) -> str:
        """The URL of a content, for whoever may read the place."""


class Contents:
    """The contents of one workspace.

    Args:
        bytes_max: of one content.
    """

    def __init__(self, place: ContentPlace, clock: Clock, *, bytes_max: int) -> None:
        self.place = place
        self._clock = clock
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        """Guards `_under_way`; held for moments, and taken before no other lock."""
        self._under_way: set[str] = set()

    @contextmanager
    def incoming(self, *, bytes_max: int | None = None) -> Iterator[Incoming]:
        """A new content; it is under way until the block ends, which removes what is unfinished.

        Whoever names a finished one in a commit does so inside the block. When that is refused the
        content is removed; when nobody knows (the log broke under it, a Ctrl-C came while it was
        waited for) it stays, and is under way until the workspace is opened anew.
        """
        raw = self._clock.random_bytes(16).hex()
        name = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
        with self._lock:
            self._under_way.add(name)
        most = self._bytes_max if bytes_max is None else min(bytes_max, self._bytes_max)
        is_open = False  # whether a commit may still come to name it
        try:
            content = Incoming(
                name,
                self.place.begin(name, bytes_max=most),
                bytes_max=most,
                is_agreed=most < self._bytes_max,
            )
            try:
                yield content
            except BaseException as error:
                is_refused = isinstance(error, LivedbError) and error.code != "LogUnknown"
                is_open = content.is_finished and not is_refused
                if content.is_finished and not is_open:
                    with suppress(FileError):  # it is an orphan, then
                        self.place.remove([name])
                raise
            finally:
                content.close()
        finally:
            if not is_open:
                with self._lock:
                    self._under_way.discard(name)

    def open(self, name: str) -> BinaryIO:
        """A content, to be read from anywhere in it.

        Raises:
            DamagedError: it is not there.
            FileError: the place cannot be reached.
        """
        try:
            return self.place.open(name)
        except FileNotFoundError:
            raise content_gone(self.place.address(name)) from None

    def damage(
        self, content: Content, write: Callable[[memoryview], object] | None = None
    ) -> str | None:
        """What is wrong with a content that is to be there; None when nothing is.

        Args:
            write: is given the content meanwhile, piece by piece, each good until it returns.

        Raises:
            FileError: the place cannot be reached, so nobody knows.
        """
        digest = hashlib.sha256()
        size = 0
        piece = memoryview(bytearray(PIECE_BYTES))
        try:
            file = self.open(content.name)
        except DamagedError:
            return "it is missing"
        except OSError as error:
            return _unreadable(error)
        with file:
            while True:
                try:
                    count = file.readinto(piece)  # type: ignore[attr-defined]  # as binary files do
                except DamagedError:
                    return "it is missing"
                except OSError as error:
                    return _unreadable(error)
                if not count:
                    break
                size += count
                digest.update(piece[:count])
                if write is not None:
                    write(piece[:count])
        if size != content.size:
            return f"it has {size:,} bytes instead of {content.size:,}"
        return None if digest.hexdigest() == content.sha256 else "it is not what was stored"

    def candidates(self) -> list[str]:
        """Names of contents that are not under way, unfinished ones included.

        Those of them that no commit published after this call names are orphans.
        """
        found = self.place.names()
        # After the look: what came meanwhile is not in `found`, and what is no longer under way
        # was published before.
        with self._lock:
            return [name for name in found if name not in self._under_way]


class Incoming:
    """A content that arrives. `write` its pieces, then `finish` it.

    Args:
        is_agreed: `bytes_max` is of this content alone, less than any may have.
    """

    def __init__(self, name: str, sink: Sink, *, bytes_max: int, is_agreed: bool = False) -> None:
        self.name = name
        self.bytes_max = bytes_max
        self._is_agreed = is_agreed
        self._sink = sink
        self._sha256 = hashlib.sha256()
        self._hashing = Aside("livedb-digest")
        self._writing = Aside("livedb-write")
        self._lock = threading.Lock()
        """A step at a time: who gave up on an upload closes it while a piece is written."""
        self._is_closed = False
        self.size = 0
        self.is_finished = False

    def write(self, piece: Piece) -> None:
        """Add a piece, which must stay as it is until the next call of any method has returned.

        It is hashed and written on two threads, without the interpreter, while the next one is
        read: a content takes as long as the slowest of the three. Nothing is kept of what is
        closed.

        Raises:
            LimitError: the content is larger than it may be.
            FileError: this piece or the one before could not be written.
        """
        with self._lock:
            if self._is_closed:
                return
            self.size += len(piece)
            if self.size > self.bytes_max:
                raise self.too_large()
            self._hashing.begin(self._sha256.update, piece)
            self._writing.begin(self._sink.write, piece)

    def too_large(self) -> LimitError:
        """Why it is refused when it has more than `bytes_max` bytes."""
        if self._is_agreed:
            return LimitError(
                f"The file is larger than the {self.bytes_max:,} bytes that its upload URL is for: "
                "ask for another one, by generate_upload_url(bytes_max=..)",
                code="FileTooLarge",
            )
        return LimitError(
            f"The file is larger than the {self.bytes_max:,} bytes that a file may have here. "
            "Store it in parts; whoever runs this workspace sets the limit, file_bytes_max.",
            code="FileTooLarge",
        )

    def finish(self, sha256: str | None = None) -> Content:
        """Put the content under its name, durably.

        Args:
            sha256: what it must have, in hex.

        Raises:
            InvalidValueError: it has another.
            FileError: it could not be written.
        """
        self._hashing.wait()
        self._writing.wait()
        found = self._sha256.hexdigest()
        if sha256 is not None and sha256.lower() != found:
            raise InvalidValueError(
                f"The content has the SHA-256 {found}, and {sha256[:80]} was announced; nothing "
                "was stored",
                code="WrongDigest",
            )
        self._sink.finish()
        self.is_finished = True
        return Content(self.name, found, self.size)

    def close(self) -> None:
        """Remove it, if it is not finished."""
        with self._lock:
            self._is_closed = True
            self._hashing.close()
            self._writing.close()
            if not self.is_finished:
                self._sink.abandon()


def name_at(url: str) -> str | None:
    """The name of the content that a URL would lead to; None for any other text."""
    found = _NAME.fullmatch(url)
    return None if found is None else found[1]


def content_gone(address: str) -> DamagedError:
    """A document is there, and its content is not."""
    return DamagedError(
        f"The content of a file is gone: {address!r}. Look with livedb.check, and restore it from "
        "a backup.",
        code="ContentGone",
    )


def _unreadable(error: OSError) -> str:
    return f"it cannot be read ({error.strerror})"
