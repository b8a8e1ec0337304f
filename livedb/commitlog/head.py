"""A small file that says how far the log has come, to notice a log that lost its end.

A prefix of a log is itself a flawless log: without a second witness, a deleted `-wal` file would
take every commit in it away unseen. After each append the last number and chain are written here,
before anybody is told that the commit is durable.

Two slots, each with its own checksum, lie in different sectors. Writes go to one of them until it
is synced, then to the other: at any moment at most one slot differs from the disk, so a torn write
or a power cut never takes both. A process that is killed loses nothing at all, since the page cache
outlives it.

The descriptor also carries the log's lock (`flock`), so that one log is never open twice.
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Self

from livedb.commitlog.chain import CHAIN_BYTES, EMPTY_CHAIN
from livedb.commitlog.lock import locked_error, try_lock, unlock
from livedb.durable import sync_folder
from livedb.errors import DamagedError, FormatError

_MAGIC = b"livedbhd"
_VERSION = 1
_BODY = struct.Struct(f"<8sIIQ{CHAIN_BYTES}s")
"""Magic, version, unused, number, chain."""
_CHECKSUM_BYTES = 16
_SLOT_BYTES = _BODY.size + _CHECKSUM_BYTES
_SLOT_OFFSETS = (0, 4096)
"""Different sectors of any disk, so that one torn sector spoils one slot."""


class HeadMark(NamedTuple):
    """A commit that was durable once: a log that ends before it, or disagrees, is damaged."""

    number: int
    chain: bytes


class HeadFile:
    """The open head file of one log. One thread writes."""

    def __init__(self, path: Path | str) -> None:
        """Open an existing head file and lock it.

        Raises:
            FileNotFoundError: there is none; `HeadFile.create` makes one.
            WorkspaceLockedError: the log is open already, here or in another process.
            DamagedError: neither slot can be read.
            FormatError: it is no head file, or one of a newer livedb.
        """
        self.path = Path(path)
        self._descriptor = _open_regular(self.path)
        self._is_locked = False
        try:
            self._lock()
            slots = [_read_slot(self._descriptor, offset) for offset in _SLOT_OFFSETS]
            self._mark, newest = _newest(slots, self.path)
            os.fsync(self._descriptor)  # Its last writer may have been killed before a sync.
        except BaseException:  # a Ctrl-C too: nobody else could close it
            self.close()
            raise
        self._slot = 1 - newest
        self._is_synced = True

    @classmethod
    def create(cls, path: Path | str, number: int = 0, chain: bytes = EMPTY_CHAIN) -> Self:
        """Make a head file, whole or not at all, in place of one that may be there."""
        path = Path(path)
        draft = path.with_name(path.name + ".new")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for offset in _SLOT_OFFSETS:
                _write_at(descriptor, _encode_slot(number, chain), offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
        sync_folder(path.parent)
        return cls(path)

    def read(self) -> HeadMark:
        """The last mark written. Cost: none, it is kept in memory."""
        return self._mark

    def write(self, number: int, chain: bytes) -> None:
        """Note that commit `number` is durable. Cost: 2 us; not synced."""
        _write_at(self._descriptor, _encode_slot(number, chain), _SLOT_OFFSETS[self._slot])
        self._mark = HeadMark(number, chain)
        self._is_synced = False

    def sync(self) -> None:
        """Bring the last mark to the disk; the next write goes to the other slot."""
        if self._is_synced:
            return
        os.fsync(self._descriptor)
        self._is_synced = True
        self._slot = 1 - self._slot

    def is_deleted(self) -> bool:
        """Whether the file has lost its name: what is written to it is of nobody any more.

        Moved with its folder it keeps a name. Cost: 0.5 us.
        """
        found = os.fstat(self._descriptor)
        if found.st_nlink:
            return False
        try:  # a file system that counts no links has the file all the same
            return not os.path.samestat(found, self.path.stat())
        except OSError:
            return True

    def close(self) -> None:
        """Release the file and the lock, without a sync; closing twice is harmless."""
        if self._descriptor >= 0:
            if self._is_locked:
                unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def forget(self) -> None:
        """In a forked child: let go of the file without taking the lock from the parent."""
        self._is_locked = False
        self.close()

    def _lock(self) -> None:
        if not try_lock(self._descriptor):
            raise locked_error(self.path, None)
        self._is_locked = True


def read_mark(path: Path | str) -> HeadMark | None:
    """The mark in a head file that nobody has to lock; None when neither slot can be read."""
    try:
        descriptor = _open_regular(Path(path))
    except (FileNotFoundError, FormatError):
        return None
    try:
        slots = [_read_slot(descriptor, offset) for offset in _SLOT_OFFSETS]
    finally:
        os.close(descriptor)
    return max((slot for slot in slots if slot is not None), default=None)


def _encode_slot(number: int, chain: bytes) -> bytes:
    body = _BODY.pack(_MAGIC, _VERSION, 0, number, chain)
    return body + blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _read_slot(descriptor: int, offset: int) -> HeadMark | None:
    data = _read_at(descriptor, _SLOT_BYTES, offset)
    body, checksum = data[: _BODY.size], data[_BODY.size :]
    if blake2b(body, digest_size=_CHECKSUM_BYTES).digest() != checksum:
        return None
    magic, version, _, number, chain = _BODY.unpack(body)
    if magic != _MAGIC:
        return None
    if version > _VERSION:
        raise FormatError(
            f"the head file is of version {version}, this livedb reads up to {_VERSION};"
            " open the workspace with a newer livedb"
        )
    return HeadMark(number, chain)


def _newest(slots: list[HeadMark | None], path: Path) -> tuple[HeadMark, int]:
    whole = [(mark, slot) for slot, mark in enumerate(slots) if mark is not None]
    if not whole:
        raise DamagedError(
            f"the head file {str(path)!r} cannot be read; run livedb.repair(path) to make a new"
            " one from the log"
        )
    return max(whole, key=lambda pair: pair[0].number)


def _open_regular(path: Path) -> int:
    if path.exists() and not path.is_file():
        raise FormatError(f"{str(path)!r} is not a regular file")
    return os.open(path, os.O_RDWR)


if hasattr(os, "pwrite"):

    def _write_at(descriptor: int, data: bytes, offset: int) -> None:
        os.pwrite(descriptor, data, offset)

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)

else:  # Windows has no pwrite; one thread writes, so a seek in between is safe.

    def _write_at(descriptor: int, data: bytes, offset: int) -> None:
        os.lseek(descriptor, offset, os.SEEK_SET)
        os.write(descriptor, data)

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
