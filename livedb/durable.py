"""What brings files and the names of files to the disk."""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Bring a file that nobody has open to the disk."""
    _sync(path, os.O_RDWR)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can (not on Windows)."""
    if os.name != "nt":
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
