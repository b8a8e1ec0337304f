"""In place of a service: holds a workspace's lock, listens at its door, and tells what it hears."""

from __future__ import annotations

from pathlib import Path

from livedb import __version__
from livedb.commitlog.lock import WorkspaceLock
from livedb.service.local_door import LocalDoor

_held = []


def hold(path):
    lock = WorkspaceLock(Path(path))
    lock.acquire()
    door = LocalDoor(Path(path))
    lock.announce(door.address, __version__)
    _held.extend([lock, door])


def heard_one():
    """The head of one request, which is answered with nothing."""
    connection, _ = _held[1].listener.accept()
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    connection.sendall(b"HTTP/1.1 204 Gone\r\nConnection: close\r\n\r\n")
    connection.close()
    return data
