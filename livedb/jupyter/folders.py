"""Which folders of a Jupyter server are workspaces: by a URL's path, and all of them in a list.

A path is taken apart before it is decoded, so an encoded slash is no slash. What leads out of the
server's folder, by `..` or by a link, and what the server hides is not there, like what is not.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from livedb.workspace_files import MARK_NAME

ENTRIES_MAX = 20_000
"""Entries of folders that one list looks at; in a larger tree it is not complete, and says so."""

_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})
"""Large folders that nobody keeps a workspace in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A workspace of the server's folder.

    Attributes:
        folder: without symbolic links.
        name: its path below the server's folder, with slashes.
        rest: of a URL's path, what stands behind the workspace; still encoded, with its slash.
    """

    folder: Path
    name: str
    rest: str = "/"

    @property
    def url_path(self) -> str:
        """Its name as it stands in a URL."""
        return quote(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The workspaces below a folder; some are missing when it was not looked through whole."""

    places: tuple[Place, ...]
    is_complete: bool


def find_workspace(root: Path, raw_path: str, *, shows_hidden: bool) -> Place | None:
    """The workspace that a URL's path leads to; None when there is none.

    Args:
        root: the server's folder.
        raw_path: encoded, from below the server's folder on.
    """
    parts = [part for part in raw_path.split("/") if part]
    names: list[str] = []
    folder = root
    for at, part in enumerate(parts, 1):
        name = _name_of(part)
        if name is None or (name.startswith(".") and not shows_hidden):
            return None
        folder /= name
        names.append(name)
        try:
            if (folder / MARK_NAME).is_file():
                rest = "/" + "/".join(parts[at:])
                return _inside(root, folder, "/".join(names), rest, shows_hidden=shows_hidden)
            if not folder.is_dir():
                return None
        except OSError:  # a name that is too long, a folder that may not be entered
            return None
    return None


def _name_of(part: str) -> str | None:
    """The name that one part of a path stands for; None when it can be no folder's."""
    try:
        name = unquote(part, errors="strict")
    except UnicodeDecodeError:
        return None
    is_name = name not in {"", ".", ".."} and not {"/", "\\", "\x00"} & set(name)
    return name if is_name else None


def _inside(root: Path, folder: Path, name: str, rest: str, *, shows_hidden: bool) -> Place | None:
    real = folder.resolve()
    if not real.is_relative_to(root.resolve()):
        return None
    below = real.relative_to(root.resolve()).parts
    if not shows_hidden and any(each.startswith(".") for each in below):
        return None
    return Place(folder=real, name=name, rest=rest)


def list_workspaces(root: Path, *, shows_hidden: bool) -> Found:
    """The workspaces below a folder, by name; those nearest are looked for first."""
    places: list[Place] = []
    left = ENTRIES_MAX
    folders = deque([root.resolve()])
    while folders:
        folder = folders.popleft()
        try:
            entries = os.scandir(folder)
        except OSError:
            continue
        with entries:
            for entry in entries:
                left -= 1
                if left < 0:
                    return Found(places=_by_name(places), is_complete=False)
                is_hidden = entry.name.startswith(".") and not shows_hidden
                if is_hidden or entry.name in _SKIPPED or not _is_folder(entry):
                    continue
                path = Path(entry.path)
                if (path / MARK_NAME).is_file():
                    name = path.relative_to(root.resolve()).as_posix()
                    places.append(Place(folder=path, name=name))
                else:
                    folders.append(path)
    return Found(places=_by_name(places), is_complete=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _by_name(places: list[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: place.name))
