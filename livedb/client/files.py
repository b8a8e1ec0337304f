"""`db.files`: the files of a workspace, from Python."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from livedb.client.verbs import Verbs
from livedb.clock import Clock
from livedb.errors import InvalidValueError
from livedb.functions.storage import FileSource
from livedb.ids import Id
from livedb.protocol.codecs import PACK
from livedb.values import Document

if TYPE_CHECKING:
    from livedb.files.storage import FileStorage

PART_BYTES = 4 << 20
"""Bytes of a file that travel in one message."""


class FileAccess(Protocol):
    """The files of a workspace, here or on a service."""

    def put(self, source: FileSource, *, content_type: str | None, sha256: str | None) -> str: ...

    def open(self, storage_id: str) -> BinaryIO: ...

    def get(self, file: str) -> Document | None: ...

    def url(self, storage_id: str) -> str | None: ...

    def delete(self, storage_id: str) -> None: ...

    def page(self, cursor: str | None) -> tuple[list[Document], str | None]: ...


class Files:
    """The files of a workspace; iterating gives their documents, oldest first."""

    def __init__(self, access: FileAccess) -> None:
        self._access = access

    def put(
        self, source: FileSource, /, *, content_type: str | None = None, sha256: str | None = None
    ) -> Id[Any]:
        """Store a file; returns its id, to be kept in a document.

        Args:
            source: bytes, the path of a file, or a file opened for reading bytes.
            content_type: its media type, such as "image/png"; by default what the ending of a
                path says.
            sha256: what its content must have, in hex.

        Raises:
            InvalidValueError: its content has another; nothing is stored.
            LimitError: it is larger than `Limits.file_bytes_max`.
        """
        if content_type is None and isinstance(source, str | os.PathLike):
            content_type, _ = mimetypes.guess_type(os.fsdecode(source))
        stored = self._access.put(source, content_type=content_type, sha256=sha256)
        return cast("Id[Any]", stored)

    def open(self, storage_id: str, /) -> BinaryIO:
        """A file, opened for reading bytes from anywhere in it; close it.

        Raises:
            NonexistentDocumentError: there is none.
        """
        return self._access.open(storage_id)

    def get(self, file: str, /) -> Document | None:
        """The document of a file: `contentType` if known, `sha256`, `size`; None if there is none.

        Args:
            file: its id, or a URL that `url` gave.
        """
        return self._access.get(file)

    def url(self, storage_id: str, /) -> str | None:
        """Where it can be fetched by whoever knows this URL; None when there is no such file.

        Where no service serves the workspace, it is a `file:` URL of this machine.
        """
        return self._access.url(storage_id)

    def delete(self, storage_id: str, /) -> None:
        """Delete a file.

        Raises:
            NonexistentDocumentError: there is none.
        """
        self._access.delete(storage_id)

    def __iter__(self) -> Iterator[Document]:
        cursor: str | None = None
        while True:
            found, cursor = self._access.page(cursor)
            yield from found
            if cursor is None:
                return

    def list(self) -> list[Document]:
        """The documents of all files, oldest first: `contentType` if known, `sha256`, `size`."""
        return [*self]

    def __repr__(self) -> str:
        return "db.files: put(path | bytes | file), open(id), get(id), url(id), delete(id), list()"


class LocalFiles:
    """The files of a workspace in this process.

    Args:
        refuse: raises inside a query or mutation, which may run again.
    """

    def __init__(self, storage: FileStorage, refuse: Callable[[], None]) -> None:
        self._storage = storage
        self._refuse = refuse

    def put(self, source: FileSource, *, content_type: str | None, sha256: str | None) -> str:
        self._refuse()
        return self._storage.put(source, content_type=content_type, sha256=sha256)

    def open(self, storage_id: str) -> BinaryIO:
        self._refuse()
        return self._storage.open_file(storage_id)

    def get(self, file: str) -> Document | None:
        self._refuse()
        return self._storage.get(file)

    def url(self, storage_id: str) -> str | None:
        self._refuse()
        return self._storage.url(storage_id)

    def delete(self, storage_id: str) -> None:
        self._refuse()
        self._storage.delete(storage_id)

    def page(self, cursor: str | None) -> tuple[list[Document], str | None]:
        self._refuse()
        return self._storage.page(cursor)


class RemoteFiles:
    """The files of a workspace on a service: their contents travel in parts, as loads do."""

    def __init__(self, verbs: Verbs, clock: Clock) -> None:
        self._verbs = verbs
        self._clock = clock

    def put(self, source: FileSource, *, content_type: str | None, sha256: str | None) -> str:
        from livedb.files.storage import opened

        upload = self._clock.random_bytes(16).hex()
        with opened(source) as file:
            number = 0
            part: Any
            while (part := file.read(PART_BYTES)) or not number:
                if not isinstance(part, bytes):
                    raise InvalidValueError("The file gives no bytes; open it with 'rb'")
                self._verbs.act("upload", {"upload": upload, "part": number}, [part])
                number += 1
        given = {"upload": upload, "content_type": content_type, "sha256": sha256}
        stored: str = self._ask("store_file", given)
        return stored

    def open(self, storage_id: str) -> BinaryIO:
        size = self._ask("file_size", {"id": storage_id})
        return io.BufferedReader(_RemoteFile(self._verbs, storage_id, size), PART_BYTES)

    def get(self, file: str) -> Document | None:
        found = self._ask("get_file", {"file": file})
        return None if found is None else Document(found)

    def url(self, storage_id: str) -> str | None:
        url: str | None = self._ask("file_url", {"id": storage_id})
        return url

    def delete(self, storage_id: str) -> None:
        self._ask("delete_file", {"id": storage_id})

    def page(self, cursor: str | None) -> tuple[list[Document], str | None]:
        found, following = self._ask("list_files", {"cursor": cursor})
        return [Document(each) for each in found], following

    def _ask(self, verb: str, given: dict[str, Any]) -> Any:
        return PACK.read(self._verbs.act(verb, given))


class _RemoteFile(io.RawIOBase):
    """A file on a service; each read is a message."""

    def __init__(self, verbs: Verbs, storage_id: str, size: int) -> None:
        self._verbs = verbs
        self._id = storage_id
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        wanted = min(len(buffer), PART_BYTES, max(0, self._size - self._at))
        if not wanted:
            return 0
        given = {"id": self._id, "start": self._at, "size": wanted}
        [part] = PACK.read_payload(self._verbs.act("read_file", given)).attachments
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)
