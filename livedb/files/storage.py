"""The files of a workspace: contents joined with the documents that stand for them.

A content is in its place before its document is committed, and a document is deleted before its
content: so no document is ever seen without one. The other way around there may be contents
without a document, which `collect` removes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from typing import Any, BinaryIO

from livedb.errors import AuthenticationError, InvalidValueError, NonexistentDocumentError
from livedb.files.contents import Contents, Incoming, name_at
from livedb.files.pieces import pieces_of
from livedb.functions.definition import FunctionKind
from livedb.functions.storage import (
    CHECK_UPLOAD,
    COUNT_FILES,
    DELETE_FILE,
    FIND_FILE,
    GET_URL,
    KEEP_FILE,
    KNOWN_FILES,
    LIST_CONTENTS,
    LIST_FILES,
    NAME_OF_FILE,
    Content,
    FileSource,
    checked_content_type,
)
from livedb.values import Document

LISTED_MAX = 1000
"""Files of one page of a list."""

_LOOKED_UP_MAX = 100
"""Names that one query looks up."""

Run = Callable[[FunctionKind, str, Mapping[str, Any]], Any]
"""Runs one of livedb's own functions on its own."""


class FileStorage:
    """The files of one workspace; safe to use from every thread."""

    def __init__(self, contents: Contents, run: Run) -> None:
        self.contents = contents
        self._run = run
        self._uploading: set[str] = set()
        """The tokens of upload URLs that are being used."""
        self._lock = threading.Lock()
        """Guards `_uploading`; held for moments."""
        self._collecting = threading.Lock()
        """Held while orphans are removed, and while nothing may be; taken before all others."""
        self._collected: tuple[frozenset[str], int] | None = None
        """The contents that were looked up last, and how many files there were then."""

    # -- contents ------------------------------------------------------------------------------

    def store(
        self, source: FileSource, keep: Callable[[Content], str], *, sha256: str | None = None
    ) -> str:
        """Keep the content of a new file, and then have `keep` commit its document.

        Raises:
            LimitError: it is larger than `Limits.file_bytes_max`.
            InvalidValueError: its SHA-256 is another.
        """
        with self.contents.incoming() as incoming, opened(source) as file:
            for piece in pieces_of(file):
                incoming.write(piece)
            return keep(incoming.finish(sha256))

    def open(self, name: str) -> BinaryIO:
        """A content, to be read from anywhere in it.

        Raises:
            DamagedError: it is not there.
            FileError: its place cannot be reached.
        """
        return self.contents.open(name)

    def address(self, name: str) -> str:
        """Where a content is: a `file:` URL of this machine, or one of an object store."""
        return self.contents.place.address(name)

    # -- files ---------------------------------------------------------------------------------

    def keep(
        self, content: Content, content_type: str | None = None, token: str | None = None
    ) -> str:
        """Commit the document of a content; returns its id."""
        described = content.described(content_type)
        stored: str = self._run("mutation", KEEP_FILE, {**described, "token": token})
        return stored

    def put(
        self, source: FileSource, *, content_type: str | None = None, sha256: str | None = None
    ) -> str:
        """Store a file; returns its id."""
        kind = checked_content_type(content_type)
        return self.store(source, lambda content: self.keep(content, kind), sha256=sha256)

    def open_file(self, storage_id: str) -> BinaryIO:
        """The content of a file, to be read from anywhere in it.

        Raises:
            NonexistentDocumentError: there is no such file.
        """
        name = self._run("query", NAME_OF_FILE, {"storageId": storage_id})
        if name is None:
            raise NonexistentDocumentError(
                f"storage id {storage_id} not found", code="StorageIdNotFound"
            )
        return self.open(name)

    def get(self, file: str) -> Document | None:
        """The document of the file with this id, or that a URL of it leads to."""
        name = name_at(file)
        if name is None:
            name = self._run("query", NAME_OF_FILE, {"storageId": file})
        return None if name is None else self.find(name)

    def url(self, storage_id: str) -> str | None:
        """Where a file can be fetched."""
        url: str | None = self._run("query", GET_URL, {"storageId": storage_id})
        return url

    def delete(self, storage_id: str) -> None:
        """Delete a file.

        Raises:
            NonexistentDocumentError: there is no such file.
        """
        self._run("mutation", DELETE_FILE, {"storageId": storage_id})

    def page(self, cursor: str | None) -> tuple[list[Document], str | None]:
        """Documents of files from a cursor on, oldest first, and the cursor of the next page."""
        return self._page(LIST_FILES, cursor)

    def _page(self, function: str, cursor: str | None) -> tuple[list[Document], str | None]:
        options = {"numItems": LISTED_MAX, "cursor": cursor}
        page = self._run("query", function, {"paginationOpts": options})
        return page["page"], None if page["isDone"] else page["continueCursor"]

    def count(self) -> int:
        """How many files there are."""
        found: int = self._run("query", COUNT_FILES, {})
        return found

    def find(self, name: str) -> Document | None:
        """The document of the file whose content has this name."""
        found: Document | None = self._run("query", FIND_FILE, {"name": name})
        return found

    # -- uploads -------------------------------------------------------------------------------

    @contextmanager
    def uploading(self, token: str) -> Iterator[int | None]:
        """Within it the upload URL of that token is in use; gives how large its file may be.

        Raises:
            AuthenticationError: the URL is no good, or is being used.
        """
        with self._lock:
            if token in self._uploading:
                raise AuthenticationError(
                    "A file is being uploaded with this URL; ask for another one",
                    code="StorageTokenInvalid",
                )
            self._uploading.add(token)
        try:
            most: int | None = self._run("mutation", CHECK_UPLOAD, {"token": token})
            yield most
        finally:
            with self._lock:
                self._uploading.discard(token)

    def incoming(self, bytes_max: int | None = None) -> AbstractContextManager[Incoming]:
        """A content that arrives in pieces; see `Contents.incoming`."""
        return self.contents.incoming(bytes_max=bytes_max)

    # -- damage --------------------------------------------------------------------------------

    def damage(self) -> Iterator[tuple[str, str | None]]:
        """Each file's id, with what is wrong with its content; None when nothing is.

        Raises:
            FileError: their place cannot be reached, so nobody knows.
        Cost: reads every content.
        """
        cursor: str | None = None
        while True:
            files, cursor = self._page(LIST_CONTENTS, cursor)
            for file in files:
                wrong = self.contents.damage(
                    Content(file["name"], file["sha256"], int(file["size"]))
                )
                yield file["_id"], wrong
            if cursor is None:
                return

    # -- orphans -------------------------------------------------------------------------------

    def collect(self) -> int:
        """Remove contents that no document stands for; returns how many.

        Raises:
            FileError: their place cannot be reached; what is left is removed another time.
        Cost: a list of a folder; a look-up for each content, when something changed.
        """
        with self._collecting:
            names = self.contents.candidates()
            # Among the same contents a file can only go, and then there are fewer files.
            found = (frozenset(names), self.count())
            if found == self._collected:
                return 0
            removed = 0
            for start in range(0, len(names), _LOOKED_UP_MAX):
                asked = names[start : start + _LOOKED_UP_MAX]
                known = set(self._run("query", KNOWN_FILES, {"names": asked}))
                orphans = [name for name in asked if name not in known]
                if orphans:
                    self.contents.place.remove(orphans)
                    removed += len(orphans)
            self._collected = found
            return removed

    def paused(self) -> AbstractContextManager[Any]:
        """Within it no content is removed, whatever is deleted."""
        return self._collecting


@contextmanager
def opened(source: FileSource) -> Iterator[BinaryIO]:
    """What is to be stored, as a file to read; one that the caller has open stays open."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:  # noqa: PTH123  # a path of any kind
            yield file
    elif callable(getattr(source, "read", None)):
        yield source
    else:
        raise InvalidValueError(
            "A file is stored from bytes, from the path of a file, or from a file opened for "
            f"reading bytes, and this is {type(source).__name__}"
        )
