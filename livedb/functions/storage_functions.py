"""livedb's own functions for files: what actions, services and `db.files` ask of documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livedb.functions.context import MutationContext, QueryContext
from livedb.functions.database import SystemDatabase
from livedb.functions.definition import FunctionKind, define
from livedb.functions.storage import (
    CHECK_UPLOAD,
    COUNT_FILES,
    DELETE_FILE,
    FIND_FILE,
    GENERATE_UPLOAD_URL,
    GET_METADATA,
    GET_URL,
    KEEP_FILE,
    KNOWN_FILES,
    LIST_CONTENTS,
    LIST_FILES,
    NAME_OF_FILE,
    Content,
)
from livedb.schema.tables import FILES_TABLE, STORAGE_TABLE


def generate_upload_url(ctx: MutationContext, bytesMax: int | None = None) -> str:  # noqa: N803
    """A URL for one upload."""
    return ctx.storage.generate_upload_url(bytes_max=bytesMax)


def keep(
    ctx: MutationContext,
    name: str,
    sha256: str,
    size: int,
    contentType: str | None = None,  # noqa: N803
    token: str | None = None,
) -> str:
    """Make the document of a content that is on the disk."""
    return ctx.storage.keep(Content(name, sha256, size), contentType, token)


def delete(ctx: MutationContext, storageId: str) -> None:  # noqa: N803
    """Delete a file."""
    ctx.storage.delete(storageId)


def check_upload(ctx: MutationContext, token: str) -> int | None:
    """How large a file may be that an upload URL is for, as far as it says; raises if it is bad.

    A mutation, as that reads the newest commit and may look at the time.
    """
    most: int | None = ctx.storage.upload_of(token).get("bytesMax")
    return most


def get_url(ctx: QueryContext, storageId: str) -> str | None:  # noqa: N803
    """Where a file can be fetched."""
    return ctx.storage.get_url(storageId)


def get_metadata(ctx: QueryContext, storageId: str) -> dict[str, Any] | None:  # noqa: N803
    """A file's document."""
    return ctx.storage.get_metadata(storageId)


def name_of(ctx: QueryContext, storageId: str) -> str | None:  # noqa: N803
    """The name of a file's content."""
    return ctx.storage.name_of(storageId)


def find(ctx: QueryContext, name: str) -> dict[str, Any] | None:
    """The document of the file whose content has a name."""
    db = SystemDatabase.of(ctx.db)
    row = db.query(FILES_TABLE).with_index("by_name", name=name).first()
    found: dict[str, Any] | None = None if row is None else db.get(row["file"])
    return found


def known(ctx: QueryContext, names: list[str]) -> list[str]:
    """Those of the names that are of a file's content."""
    rows = SystemDatabase.of(ctx.db).query
    return [
        name
        for name in names
        if rows(FILES_TABLE).with_index("by_name", name=name).first() is not None
    ]


def count(ctx: QueryContext) -> int:
    """How many contents have a document."""
    return SystemDatabase.of(ctx.db).count(FILES_TABLE)


def list_files(ctx: QueryContext, paginationOpts: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
    """A page of the documents of files, oldest first."""
    return ctx.db.system.query(STORAGE_TABLE).paginate(paginationOpts)


def list_contents(ctx: QueryContext, paginationOpts: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
    """A page of files with the names of their contents."""
    db = SystemDatabase.of(ctx.db)
    found: dict[str, Any] = db.query(FILES_TABLE).paginate(paginationOpts)
    named = [(row["name"], db.get(row["file"])) for row in found["page"]]
    return {**found, "page": [{"name": name, **file} for name, file in named if file is not None]}


_FUNCTIONS: tuple[tuple[FunctionKind, str, Callable[..., Any]], ...] = (
    ("mutation", GENERATE_UPLOAD_URL, generate_upload_url),
    ("mutation", KEEP_FILE, keep),
    ("mutation", DELETE_FILE, delete),
    ("mutation", CHECK_UPLOAD, check_upload),
    ("query", GET_URL, get_url),
    ("query", GET_METADATA, get_metadata),
    ("query", NAME_OF_FILE, name_of),
    ("query", FIND_FILE, find),
    ("query", KNOWN_FILES, known),
    ("query", COUNT_FILES, count),
    ("query", LIST_CONTENTS, list_contents),
    ("query", LIST_FILES, list_files),
)

STORAGE_FUNCTIONS = tuple(
    define(function, kind=kind, visibility="internal", name=name)
    for kind, name, function in _FUNCTIONS
)
"""What every workspace has; made once, as reading a signature takes 0.3 ms."""
