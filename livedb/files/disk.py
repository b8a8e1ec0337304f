"""A folder of contents: each a file under a random name that never changes.

A content is written under another name first, brought to the disk, and then renamed: so under its
name it is there whole or not at all. What the folder has and no document names is an orphan: left
by an upload whose process was killed, or of a file that was deleted. Names that are under way,
from before their first byte until their document is published, are no orphans.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from livedb.clock import Clock
from livedb.durable import sync_folder
from livedb.errors import FileError, InvalidValueError, LimitError, LivedbError
from livedb.functions.storage import Content

PIECE_BYTES = 1 << 20
"""Bytes of a content that are in memory at once."""

_UNFINISHED = ".part"


class Disk:
    """The contents of one workspace, in a folder of its own.

    Args:
        bytes_max: of one content.
        is_durable: whether contents are to outlive a loss of power.
    """

    def __init__(self, folder: Path, clock: Clock, *, bytes_max: int, is_durable: bool) -> None:
        self.folder = folder
        self._clock = clock
        self._bytes_max = bytes_max
        self._is_durable = is_durable
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
            content = Incoming(self.folder, name, bytes_max=most, is_durable=self._is_durable)
            try:
                yield content
            except BaseException as error:
                is_refused = isinstance(error, LivedbError) and error.code != "LogUnknown"
                is_open = content.is_finished and not is_refused
                if not is_open:
                    self.remove(name)
                raise
            finally:
                content.close()
        finally:
            if not is_open:
                with self._lock:
                    self._under_way.discard(name)

    def path(self, name: str) -> Path:
        """Where the content of a name lies."""
        return self.folder / name

    def open(self, name: str) -> BinaryIO:
        """A content, to be read from anywhere in it.

        Raises:
            FileNotFoundError: it is not there.
        """
        return self.path(name).open("rb")

    def damage(
        self, content: Content, write: Callable[[memoryview], object] | None = None
    ) -> str | None:
        """What is wrong with a content that is to be there; None when nothing is.

        Args:
            write: is given the content meanwhile, piece by piece, each good until it returns.
        """
        digest = hashlib.sha256()
        size = 0
        piece = memoryview(bytearray(PIECE_BYTES))
        try:
            file = self.path(content.name).open("rb", buffering=0)
        except FileNotFoundError:
            return "it is missing"
        except OSError as error:
            return _unreadable(error)
        with file:
            while True:
                try:
                    count = file.readinto(piece)
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
        """Names of files of the folder that are not under way, unfinished ones included.

        Those of them that no commit published after this call names are orphans.
        """
        try:
            found = [entry.name for entry in os.scandir(self.folder)]
        except FileNotFoundError:  # somebody deleted the folder of the open workspace
            return []
        # After the folder: what came into it meanwhile is not in `found`, and what is no longer
        # under way was published before.
        with self._lock:
            return [name for name in found if name.removesuffix(_UNFINISHED) not in self._under_way]

    def copy(self, target: Path) -> None:
        """Copy every content into the folder `target`, one that nobody knows of included."""
        for entry in os.scandir(self.folder):
            if not entry.name.endswith(_UNFINISHED):
                with suppress(FileNotFoundError):  # its commit has just been refused
                    shutil.copyfile(entry.path, target / entry.name)

    def remove(self, name: str) -> None:
        """Remove a content; one that is open stays readable, or is removed another time."""
        try:
            self.path(name).unlink(missing_ok=True)
        except PermissionError:  # Windows, while somebody reads it
            return


class Incoming:
    """A content that arrives. `write` its pieces, then `finish` it."""

    def __init__(self, folder: Path, name: str, *, bytes_max: int, is_durable: bool) -> None:
        self.name = name
        self.bytes_max = bytes_max
        self._is_durable = is_durable
        self._path = folder / name
        self._unfinished = folder / f"{name}{_UNFINISHED}"
        with _naming_disk():
            self._file = self._unfinished.open("xb")
        self._hash = hashlib.sha256()
        self.size = 0
        self.is_finished = False

    def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            LimitError: the content is larger than it may be.
        """
        self.size += len(piece)
        if self.size > self.bytes_max:
            raise too_large(self.bytes_max)
        self._hash.update(piece)
        with _naming_disk():
            self._file.write(piece)

    def finish(self, sha256: str | None = None) -> Content:
        """Bring the content to the disk, under its name.

        Args:
            sha256: what it must have, in hex.

        Raises:
            InvalidValueError: it has another.
        """
        found = self._hash.hexdigest()
        if sha256 is not None and sha256.lower() != found:
            raise InvalidValueError(
                f"The content has the SHA-256 {found}, and {sha256[:80]} was announced; nothing "
                "was stored",
                code="WrongDigest",
            )
        with _naming_disk():
            self._file.flush()
            if self._is_durable:
                os.fsync(self._file.fileno())
            self._file.close()
            self._unfinished.rename(self._path)
            self.is_finished = True
            if self._is_durable:
                sync_folder(self._path.parent)
        return Content(self.name, found, self.size)

    def close(self) -> None:
        """Remove it, if it is not finished."""
        with suppress(OSError):  # what it still held finds no room either
            self._file.close()
        self._unfinished.unlink(missing_ok=True)


@contextmanager
def _naming_disk() -> Iterator[None]:
    """What the disk refuses, as livedb's own error."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise FileError(
            f"The content of a file could not be written ({error.strerror}); nothing of it was "
            "kept. Make room, and store it again.",
            code="DiskFull" if is_full else None,
        ) from error


def _unreadable(error: OSError) -> str:
    return f"it cannot be read ({error.strerror})"


def too_large(bytes_max: int) -> LimitError:
    """Why a content is refused."""
    return LimitError(
        f"The file is larger than the {bytes_max:,} bytes that a file may have here. Store it in "
        "parts; whoever runs this workspace sets the limit, file_bytes_max.",
        code="FileTooLarge",
    )
