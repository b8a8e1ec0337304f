"""Contents of files in a folder: each a file under its name.

A content is written under another name first, brought to the disk, and then renamed. A large one
goes past the kernel's cache of the disk where that can be (`O_DIRECT`): a new page for each 4 KiB
costs more processor time than to hash them, and at the end there is nothing left to wait for.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from livedb.durable import sync_folder
from livedb.errors import DISK_FULL, FileError, is_disk_full
from livedb.files.pieces import PIECE_BYTES, Piece

_UNFINISHED = ".part"

DIRECT_FROM_BYTES = 2 * PIECE_BYTES
"""Bytes of a content after which it counts as large."""

_DIRECT = getattr(os, "O_DIRECT", 0)
"""Linux has it."""


class Disk:
    """A `ContentPlace` that is a folder of its own.

    Args:
        is_durable: whether contents are to outlive a loss of power.
    """

    def __init__(self, folder: Path, *, is_durable: bool) -> None:
        self.folder = folder
        self._is_durable = is_durable

    def begin(self, name: str, *, bytes_max: int) -> _DiskSink:
        del bytes_max  # a file takes any
        return _DiskSink(self.path(name), is_durable=self._is_durable)

    def path(self, name: str) -> Path:
        """Where the content of a name lies."""
        return self.folder / name

    def open(self, name: str) -> BinaryIO:
        return self.path(name).open("rb")

    def names(self) -> list[str]:
        try:
            found = [entry.name for entry in os.scandir(self.folder)]
        except FileNotFoundError:  # somebody deleted the folder of the open workspace
            return []
        return list(dict.fromkeys(name.removesuffix(_UNFINISHED) for name in found))

    def copy(self, target: Path) -> None:
        for entry in os.scandir(self.folder):
            if not entry.name.endswith(_UNFINISHED):
                with suppress(FileNotFoundError):  # its commit has just been refused
                    shutil.copyfile(entry.path, target / entry.name)

    def remove(self, names: Sequence[str]) -> None:
        """Remove contents; one that is open stays readable, or is removed another time."""
        for name in names:
            for file in (name, f"{name}{_UNFINISHED}"):
                with suppress(PermissionError):  # Windows, while somebody reads it
                    (self.folder / file).unlink(missing_ok=True)

    def address(self, name: str) -> str:
        return self.path(name).absolute().as_uri()


class _DiskSink:
    def __init__(self, path: Path, *, is_durable: bool) -> None:
        self._is_durable = is_durable
        self._path = path
        self._unfinished = path.with_name(f"{path.name}{_UNFINISHED}")
        with naming_disk():
            self._file = self._unfinished.open("xb", buffering=0)
        self._size = 0
        self._may_be_direct = is_durable and bool(_DIRECT)

    def write(self, piece: Piece) -> None:
        with naming_disk():
            if self._is_large(piece):
                self._write_directly(piece)
            else:
                self._write(piece)
            self._size += len(piece)

    def _is_large(self, piece: Piece) -> bool:
        """Whether it is for the disk itself, which takes whole blocks."""
        is_whole = len(piece) == PIECE_BYTES and self._size % PIECE_BYTES == 0
        return self._may_be_direct and is_whole and self._size >= DIRECT_FROM_BYTES

    def _write(self, piece: Piece) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _write_directly(self, piece: Piece) -> None:
        try:
            with self._past_the_cache():
                count = self._file.write(piece)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            count = 0  # not this file system, or not from this memory
            self._may_be_direct = False
        if count < len(piece):
            self._write(memoryview(piece)[count:])

    @contextmanager
    def _past_the_cache(self) -> Iterator[None]:
        import fcntl

        file = self._file.fileno()
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        fcntl.fcntl(file, fcntl.F_SETFL, flags | _DIRECT)
        try:
            yield
        finally:
            fcntl.fcntl(file, fcntl.F_SETFL, flags)

    def finish(self) -> None:
        with naming_disk():
            if self._is_durable:
                os.fsync(self._file.fileno())
            self._file.close()
            self._unfinished.rename(self._path)
            if self._is_durable:
                sync_folder(self._path.parent)

    def abandon(self) -> None:
        with suppress(OSError):  # what it still held finds no room either
            self._file.close()
        self._unfinished.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)  # the sync of its folder failed


@contextmanager
def naming_disk() -> Iterator[None]:
    """What the disk refuses, as livedb's own error."""
    try:
        yield
    except OSError as error:
        is_full = is_disk_full(error)
        advice = "Make room" if is_full else "Look at the disk, and who may write to the folder"
        raise FileError(
            f"The content of a file could not be written ({error.strerror}); nothing of it was "
            f"kept. {advice}, and store it again.",
            code=DISK_FULL if is_full else None,
        ) from error
