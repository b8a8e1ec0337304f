"""`ctx.storage`: files, as functions see them, and the documents that stand for them.

A file is a document of `_storage`, which says what it is, and a content, which lies on the disk
under a random name (`livedb.files`). Which name that is, `_files` says: it is also the secret part
of the file's URL, so it is no field of a document that functions hand out. An upload URL is a
document of `_uploads` until the upload takes it, in the transaction that makes the file: so it is
good for one, and one of a mutation that failed is good for none.

Source: spec features.md 9, sync-protocol.md 13.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from livedb.errors import (
    AuthenticationError,
    DamagedError,
    FunctionTypeError,
    InvalidIdError,
    InvalidValueError,
    LivedbError,
    NonexistentDocumentError,
    ReadOnlyError,
)
from livedb.schema.tables import FILES_TABLE, STORAGE_TABLE, UPLOADS_TABLE
from livedb.values import Document, whole
from livedb.wording import counted

if TYPE_CHECKING:
    from livedb.functions.actions import Acting
    from livedb.functions.database import DatabaseReader, SystemWriter
    from livedb.functions.run import Run

UPLOAD_S_MAX = 3600
"""Seconds that an upload URL is good for (Convex)."""

EXPIRED_MAX = 16
"""Upload URLs that nobody used and that one new one removes."""

CONTENT_TYPE_CHARACTERS_MAX = 255
"""Of a file's media type."""

UPLOAD_PATH = "/api/storage/upload"
DOWNLOAD_PATH = "/api/storage/"

CLOUD_URL_VARIABLE = "CONVEX_CLOUD_URL"
"""The environment variable that says where the workspace is served (Convex)."""

KEEP_FILE = "_system/storage:keep"
CHECK_UPLOAD = "_system/storage:checkUpload"
GENERATE_UPLOAD_URL = "_system/storage:generateUploadUrl"
GET_URL = "_system/storage:getUrl"
GET_METADATA = "_system/storage:getMetadata"
DELETE_FILE = "_system/storage:delete"
NAME_OF_FILE = "_system/storage:nameOf"
FIND_FILE = "_system/storage:find"
KNOWN_FILES = "_system/storage:known"
COUNT_FILES = "_system/storage:count"
LIST_CONTENTS = "_system/storage:contents"
LIST_FILES = "_system/storage:list"

FileSource = bytes | bytearray | memoryview | str | PathLike[str] | BinaryIO
"""What a file is stored from: bytes, the path of a file, or a file opened for reading bytes."""

ContentSource = bytes | bytearray | memoryview | PathLike[str] | BinaryIO
"""The same in a function, where a text may be anybody's: no path is made of it."""


class Content(NamedTuple):
    """The content of a file, as it lies on the disk."""

    name: str
    sha256: str
    size: int

    def described(self, content_type: str | None) -> dict[str, Any]:
        """The arguments of `KEEP_FILE`."""
        return {**self._asdict(), "contentType": content_type}


LOST_NAMED_MAX = 20
"""Files whose contents are lost that one message names."""


def contents_lost(damaged: Sequence[tuple[str, str]], instead: str) -> DamagedError:
    """The contents of these files, each with what is wrong with it, are lost.

    Args:
        instead: what was, or was not, done therefore.
    """
    named = [f"{file}: {wrong}" for file, wrong in damaged[:LOST_NAMED_MAX]]
    more = len(damaged) - len(named)
    return DamagedError(
        f"The contents of {counted(len(damaged), 'file')} are lost. {instead} Restore them from a "
        "backup (the workspace's folder `files`), or delete these files:"
        + "".join(f"\n  {each}" for each in named)
        + (f"\n  and {more:,} more" if more else ""),
        reason=named[0],
        code="ContentDamaged",
    )


class Contents(Protocol):
    """Where the contents of files lie; `livedb.files` implements it."""

    def store(
        self,
        source: FileSource,
        keep: Callable[[Content], str],
        *,
        sha256: str | None = None,
    ) -> str:
        """Keep the content of a new file, and then have `keep` commit its document."""

    def open(self, name: str) -> BinaryIO:
        """A content, to be read from anywhere in it."""

    def address(self, name: str) -> str:
        """Where a content is on this machine, as a `file:` URL."""


# -- in queries and mutations ----------------------------------------------------------------------


class StorageReader:
    """`ctx.storage` of a query."""

    def __init__(
        self, db: DatabaseReader, places: Mapping[str, str], contents: Contents, places_key: str
    ) -> None:
        self._db = db
        self._places = places
        self._contents = contents
        self._places_key = places_key

    def get_url(self, storage_id: str, /) -> str | None:
        """Where the file can be fetched, by whoever knows this URL; None when there is none.

        Where no service serves the workspace, it is a `file:` URL of this machine.
        """
        name = self.name_of(storage_id)
        if name is None:
            return None
        place = self._place()
        return self._contents.address(name) if place is None else f"{place}{DOWNLOAD_PATH}{name}"

    def get_metadata(self, storage_id: str, /) -> Document | None:
        """The file's document: `contentType` if it is known, `sha256` in hex, `size` in bytes."""
        self._check(storage_id)
        found: Document | None = self._db.get(storage_id)
        return found

    def name_of(self, storage_id: str) -> str | None:
        """The name of the file's content."""
        self._check(storage_id)
        row = self._db.query(FILES_TABLE).with_index("by_file", file=storage_id).first()
        return None if row is None else row["name"]

    def generate_upload_url(self, *_: Any, **__: Any) -> Any:
        """Refused: a query only reads."""
        raise _read_only("generate an upload URL")

    def delete(self, *_: Any, **__: Any) -> Any:
        """Refused: a query only reads."""
        raise _read_only("delete a file")

    def _place(self) -> str | None:
        """Where the workspace is served."""
        self._db._snapshot.reads.names.add(self._places_key)  # noqa: SLF001  # as `ctx.env` does
        place = self._places.get(CLOUD_URL_VARIABLE)
        return None if place is None else place.rstrip("/")

    def _check(self, storage_id: str) -> None:
        """Refuse the id of a document that is no file's."""
        try:
            table = self._db._snapshot.table_of(storage_id)  # noqa: SLF001  # another face of it
        except InvalidIdError as error:
            raise InvalidIdError(error.message, code="InvalidStorageId") from None
        name = None if table is None else table.definition.name
        if name not in {None, STORAGE_TABLE}:
            raise InvalidIdError(
                f'expected to be an Id<"{STORAGE_TABLE}">, got Id<"{name}"> instead: {storage_id}',
                code="InvalidStorageId",
            )


class StorageWriter(StorageReader):
    """`ctx.storage` of a mutation: what it does is part of the transaction."""

    _db: SystemWriter

    def __init__(
        self,
        db: SystemWriter,
        places: Mapping[str, str],
        contents: Contents,
        places_key: str,
        run: Run,
    ) -> None:
        super().__init__(db, places, contents, places_key)
        self._run = run

    def generate_upload_url(self, *, bytes_max: int | None = None) -> str:
        """A URL to which one file can be POSTed, once and within an hour.

        Args:
            bytes_max: refuse a file that is larger; None leaves it to `Limits.file_bytes_max`.

        Raises:
            LivedbError: no service serves the workspace, so there is nothing to post to.
        """
        size_max = whole(bytes_max)
        if bytes_max is not None and (size_max is None or size_max < 0):
            raise InvalidValueError(f"bytes_max is a number of bytes, not {bytes_max!r}")
        place = self._place()
        if place is None:
            raise LivedbError(
                "An upload URL leads to a service, and none serves this workspace. Use db.serve() "
                "or `livedb serve`, or store files from Python with db.files.put(...).",
                code="NotServed",
            )
        token = self._run.secret(32).hex()
        now_s = self._run.now_ns / 1e9
        self._forget_expired(now_s)
        upload = {"token": _hashed(token), "expires": now_s + UPLOAD_S_MAX}
        if size_max is not None:
            upload["bytesMax"] = size_max
        self._db.insert(UPLOADS_TABLE, upload)
        return f"{place}{UPLOAD_PATH}?token={token}"

    def delete(self, storage_id: str, /) -> None:
        """Delete a file: its URL is none any more, and its content goes when this is committed.

        Raises:
            NonexistentDocumentError: there is no such file.
        """
        if self.get_metadata(storage_id) is None:
            raise NonexistentDocumentError(
                f"storage id {storage_id} not found", code="StorageIdNotFound"
            )
        self._db.delete(storage_id)
        for row in self._db.query(FILES_TABLE).with_index("by_file", file=storage_id).collect():
            self._db.delete(row["_id"])

    def store(self, *_: Any, **__: Any) -> Any:
        """Refused: a mutation may run more than once, and a content is no part of it."""
        raise _outside("store a file", "an upload URL (ctx.storage.generate_upload_url)")

    def get(self, *_: Any, **__: Any) -> Any:
        """Refused: a mutation reads documents."""
        raise _outside("read a file", "the file's URL (ctx.storage.get_url)")

    def keep(self, content: Content, content_type: str | None, token: str | None) -> str:
        """Make the document of a content that is on the disk; returns its id.

        Args:
            token: of the upload URL by which it came, which is used up with it.
        """
        if token is not None:
            self._db.delete(self.upload_of(token)["_id"])
        fields: dict[str, Any] = {"sha256": content.sha256, "size": content.size}
        if content_type is not None:
            fields["contentType"] = content_type
        storage_id: str = self._db.insert(STORAGE_TABLE, fields)
        self._db.insert(FILES_TABLE, {"name": content.name, "file": storage_id})
        return storage_id

    def upload_of(self, token: str) -> Document:
        """The document of an upload URL that is good.

        Raises:
            AuthenticationError: it is none, used, or too old.
        """
        digest = _hashed(token)
        row = self._db.query(UPLOADS_TABLE).with_index("by_token", token=digest).first()
        if row is None:
            raise AuthenticationError(
                "This upload URL is none of this workspace's, or a file was uploaded with it "
                "already; ask for a new one",
                code="StorageTokenInvalid",
            )
        if row["expires"] < self._run.now_ns / 1e9:
            raise AuthenticationError(
                f"This upload URL is older than {UPLOAD_S_MAX} s; ask for a new one",
                code="StorageTokenExpired",
            )
        return row

    def _forget_expired(self, now_s: float) -> None:
        uploads = self._db.query(UPLOADS_TABLE)
        expired = uploads.with_index("by_expiry", lambda q: q.lt("expires", now_s))
        for row in expired.take(EXPIRED_MAX):
            self._db.delete(row["_id"])


def _hashed(token: str) -> str:
    """What is kept of a token: who reads the workspace's files cannot use it."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def checked_content_type(given: str | None) -> str | None:
    """A media type as it can stand in a header; None when nothing is given.

    Raises:
        InvalidValueError: it cannot.
    """
    if given is not None and not isinstance(given, str):
        raise InvalidValueError(
            f"A media type is a text such as image/png, not {given!r}", code="InvalidContentType"
        )
    kind = "" if given is None else given.strip()
    if not kind:
        return None
    is_fit = kind.isascii() and kind.isprintable() and len(kind) <= CONTENT_TYPE_CHARACTERS_MAX
    if not is_fit or "/" not in kind:
        raise InvalidValueError(
            f"{kind[:80]!r} is no media type such as image/png, of at most "
            f"{CONTENT_TYPE_CHARACTERS_MAX} characters",
            code="InvalidContentType",
        )
    return kind


def _outside(verb: str, instead: str) -> FunctionTypeError:
    return FunctionTypeError(
        f"A mutation cannot {verb}: it may run more than once, and the bytes of files are outside "
        f"of it. Do that in an action, whose ctx.storage has store and get, and pass the id to a "
        f"mutation; or in Python with db.files; or hand out {instead}.",
        code="StorageInAction",
    )


def _read_only(verb: str) -> ReadOnlyError:
    return ReadOnlyError(
        f"A query cannot {verb}; queries only read. Make the function a mutation.", code="ReadOnly"
    )


# -- in actions ------------------------------------------------------------------------------------


class ActionStorage:
    """`ctx.storage` of an action: each call is a transaction of its own."""

    def __init__(self, caller: Acting) -> None:
        self._caller = caller

    def generate_upload_url(self, *, bytes_max: int | None = None) -> Any:
        """A URL to which one file can be POSTed; as in a mutation."""
        args = {"bytesMax": bytes_max}
        return self._caller.call_alone("mutation", GENERATE_UPLOAD_URL, args)

    def get_url(self, storage_id: str, /) -> Any:
        """Where the file can be fetched; None when there is none."""
        return self._caller.call_alone("query", GET_URL, {"storageId": storage_id})

    def get_metadata(self, storage_id: str, /) -> Any:
        """The file's document, or None."""
        return self._caller.call_alone("query", GET_METADATA, {"storageId": storage_id})

    def delete(self, storage_id: str, /) -> Any:
        """Delete a file.

        Raises:
            NonexistentDocumentError: there is no such file.
        """
        return self._caller.call_alone("mutation", DELETE_FILE, {"storageId": storage_id})

    def store(
        self,
        source: ContentSource,
        /,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
    ) -> Any:
        """Store a file; returns its id.

        Args:
            source: bytes, a file opened for reading bytes, or the `pathlib.Path` of one on the
                machine where the function runs.
            sha256: what its content must have, in hex.

        Raises:
            InvalidValueError: it is a `str`, or its content has another SHA-256; nothing is stored.
        """
        if isinstance(source, str):
            raise InvalidValueError(
                "ctx.storage.store takes no str. Give a text's bytes, `text.encode()`; a file of "
                "the machine where this runs is `pathlib.Path(..)`."
            )
        kind = checked_content_type(content_type)

        def keep(content: Content) -> str:
            kept: str = self._caller.call_alone("mutation", KEEP_FILE, content.described(kind))
            return kept

        return self._caller.contents.store(source, keep, sha256=sha256)

    def get(self, storage_id: str, /) -> Any:
        """The file opened for reading bytes, or None when there is none; close it."""
        name = self._caller.call_alone("query", NAME_OF_FILE, {"storageId": storage_id})
        return None if name is None else self._caller.contents.open(name)


class AsyncActionStorage(ActionStorage):
    """`ctx.storage` of an `async def` action: its methods are awaited."""

    async def generate_upload_url(self, *, bytes_max: int | None = None) -> str:
        """A URL to which one file can be POSTed; see `ActionStorage`."""
        url: str = await asyncio.to_thread(super().generate_upload_url, bytes_max=bytes_max)
        return url

    async def get_url(self, storage_id: str, /) -> str | None:
        """Where the file can be fetched; see `ActionStorage`."""
        url: str | None = await asyncio.to_thread(super().get_url, storage_id)
        return url

    async def get_metadata(self, storage_id: str, /) -> Document | None:
        """The file's document; see `ActionStorage`."""
        found: Document | None = await asyncio.to_thread(super().get_metadata, storage_id)
        return found

    async def delete(self, storage_id: str, /) -> None:
        """Delete a file; see `ActionStorage`."""
        await asyncio.to_thread(super().delete, storage_id)

    async def store(
        self,
        source: ContentSource,
        /,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
    ) -> str:
        """Store a file; see `ActionStorage`."""
        stored: str = await asyncio.to_thread(
            super().store, source, content_type=content_type, sha256=sha256
        )
        return stored

    async def get(self, storage_id: str, /) -> BinaryIO | None:
        """The file opened for reading bytes; see `ActionStorage`."""
        opened: BinaryIO | None = await asyncio.to_thread(super().get, storage_id)
        return opened
