"""Where the files of a workspace lie: chosen when it has none yet, remembered from then on."""

from __future__ import annotations

from pathlib import Path

from livedb.clock import Clock
from livedb.durable import sync_folder
from livedb.errors import FileError, InvalidValueError, WorkspaceError
from livedb.files.contents import STORE_FAILED, ContentPlace, Contents
from livedb.files.disk import Disk
from livedb.files.objects import Objects, checked_url

URL_NAME = "url"
NAMES_NAME = "names"

_TRIAL = b"livedb was here"
"""The content that is put into a store, read and removed, before it is chosen."""


def content_place(
    folder: Path, objects: Path, url: str | None, clock: Clock, *, is_temporary: bool
) -> ContentPlace:
    """Where a workspace's contents lie; a store that is named first is tried and remembered.

    Args:
        folder: for contents on the disk.
        objects: for what is known of a store.
        url: of a store; None for what is remembered, by default the disk.

    Raises:
        InvalidValueError: no such URL can be used here.
        WorkspaceError: it has files, and they are elsewhere; or obstore is not installed.
        FileError: the store cannot be used; nothing is remembered.
    """
    known = remembered_url(objects)
    if known is not None:
        require_same(objects, url)
        return Objects(known, objects / NAMES_NAME)
    if url is None:
        return Disk(folder, is_durable=not is_temporary)
    wanted = checked_url(url)
    if wanted.startswith("memory:") != is_temporary:
        raise InvalidValueError(
            "files='memory:///' is for a workspace in memory, and a workspace in memory has no "
            "other store: what it knew of its contents would be gone before them",
            code="StoreUrl",
        )
    if any(folder.iterdir()):
        raise WorkspaceError(
            "This workspace has files on the disk already. To move them, export it (`livedb "
            "export`), and import that into a new workspace that is opened with files=.",
            code="OtherFiles",
        )
    place = Objects(wanted, objects / NAMES_NAME)
    _try(place, clock)
    _remember(objects, wanted)
    return place


def remembered_url(objects: Path) -> str | None:
    """The URL of the store that a workspace's files lie in; None when they are on the disk."""
    try:
        return (objects / URL_NAME).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def require_same(objects: Path, url: str | None) -> None:
    """Refuse another place than a workspace has that is in use; without a URL nothing is refused.

    Raises:
        InvalidValueError: the URL is none of a store.
        WorkspaceError: its files lie elsewhere.
    """
    wanted = None if url is None else checked_url(url)
    known = remembered_url(objects)
    if wanted is None or wanted == known:
        return
    raise WorkspaceError(
        f"The files of this workspace lie {'on the disk' if known is None else f'in {known!r}'}, "
        f"and files={wanted!r} was asked for. Open it without files= to use it as it is; where "
        "files lie is chosen before there are any, by the process that opens the workspace alone: "
        "livedb.open(path, files=..).",
        code="OtherFiles",
    )


def _try(place: Objects, clock: Clock) -> None:
    """Prove that contents can be put, read and removed."""
    contents = Contents(place, clock, bytes_max=len(_TRIAL))
    with contents.incoming() as incoming:
        incoming.write(_TRIAL)
        content = incoming.finish()
        wrong = contents.damage(content)
        place.remove([content.name])
    if wrong is not None:
        raise FileError(
            f"The object store {place.url!r} does not keep what is put there: of a first content "
            f"it was found that {wrong}",
            code=STORE_FAILED,
        )


def _remember(objects: Path, url: str) -> None:
    temporary = objects / f"{URL_NAME}.new"
    temporary.write_text(f"{url}\n", encoding="utf-8")
    temporary.replace(objects / URL_NAME)
    sync_folder(objects)
    sync_folder(objects.parent)
