"""Contents of files in an object store: each an object under its name, below the store's URL.

obstore speaks with the store, and takes the credentials from where the store's own tools do: the
environment, the machine's role. None of them is kept, and no message holds what a store said at
length, which may name them.

A store is not asked what it has. In the workspace's folder lies a name for each content that was
begun, from before its first byte until after its removal: so nothing is ever removed but what this
workspace put there, whatever else lies below the URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from livedb.durable import sync_folder
from livedb.errors import DamagedError, FileError, InvalidValueError, WorkspaceError
from livedb.files.contents import STORE_FAILED, content_gone
from livedb.files.disk import naming_disk
from livedb.files.pieces import PIECE_BYTES, Piece

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

SCHEMES = ("s3", "gs", "az", "file", "memory")
"""Of URLs that name an object store."""

_PART_BYTES = 5 << 20
"""Bytes of a part of an upload, the least that S3 takes; a smaller content is one request."""

_PARTS_MAX = 9_000
"""Parts of an upload; S3 takes 10,000."""

_PARTS_AT_ONCE = 2
"""Parts of an upload that are sent at once; it has one more in memory, and many are under way."""

_FIRST_READ_BYTES = 256 << 10
_READ_BYTES_MAX = 4 << 20
"""Bytes that one request reads: few at first, twice as many each time while it goes on in order."""

_TIMEOUT_S = 60
_RETRIES = 6
_RETRY_S = 60
"""How long one request for a content may take, and how often and until when what a store refused
for the moment is asked again."""

_BRIEF_TIMEOUT_S = 10
_BRIEF_RETRIES = 3
_BRIEF_RETRY_S = 10
"""The same of requests without a content: upkeep waits for removals, which have another time."""

_REASONS = (
    (
        r"valid authentication credentials|401 Unauth",
        "it does not accept the credentials of the environment",
    ),
    (r"necessary privileges|403 Forb", "the credentials of the environment do not allow it"),
    (r"\bNoSuchBucket\b|\bContainerNotFound\b", "there is no such bucket or container"),
    (r"<Code>(\w{1,60})</Code>", "it answered {}"),
    (r"\b([45]\d\d) [A-Z][a-z]+", "it answered with the HTTP status {}"),
    (r"HTTP error|error sending request", "nothing answers there"),
    (r"os error 13\b", "its folder may not be written"),
    (r"No space left|os error 28|os error 122", "its disk is full"),
    (r"Header missing from response", "what answers there is no such store"),
    (r"\b(Missing[A-Z]\w{1,40})", "its settings are incomplete: {}"),
)
"""What a store's answer holds, and what is said of it; the first that fits."""

_ALLOW_HTTP = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")


def checked_url(url: str) -> str:
    """The URL of an object store, as it is remembered.

    Raises:
        InvalidValueError: it is none, or holds a secret; the message does not have it.
    """
    text = str(url)
    parts = None
    with suppress(ValueError):  # brackets, say
        parts = None if re.search(r"[\x00-\x20\x7f]", text) else urlsplit(text)
    if parts is None or parts.scheme not in SCHEMES:
        raise InvalidValueError(
            "files= is the URL of an object store: s3://bucket/prefix, gs://bucket/prefix, "
            "az://container/prefix, or file:///folder",
            code="StoreUrl",
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidValueError(
            "The URL of an object store names a bucket and a prefix, and nothing else: credentials "
            "come from the environment, such as AWS_ACCESS_KEY_ID, and are kept nowhere",
            code="StoreUrl",
        )
    if parts.scheme == "file":
        folder = url2pathname(parts.path)
        if parts.netloc or not Path(folder).is_absolute() or len(Path(folder).parts) < 2:
            raise InvalidValueError("A folder is named as file:///absolute/folder", code="StoreUrl")
        return Path(folder).as_uri()
    if parts.scheme == "memory":
        return "memory:///"
    if not parts.netloc:
        raise InvalidValueError(
            f"The URL names no bucket: {parts.scheme}://bucket/prefix", code="StoreUrl"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


class Objects:
    """A `ContentPlace` that is an object store.

    Args:
        url: as `checked_url` gave it.
        names: a folder of this machine for the names of what was put there; made if absent.

    Raises:
        WorkspaceError: obstore is not installed.
        FileError: the store cannot be used as the environment describes it.
    """

    def __init__(self, url: str, names: Path) -> None:
        self.url = url
        self._names = names
        names.mkdir(parents=True, exist_ok=True)
        with self._naming_store():
            self.store = _store_of(url, _TIMEOUT_S, retries=_RETRIES, retry_s=_RETRY_S)
            self._brief = (
                self.store
                if url.startswith("memory:")  # another one would be empty
                else _store_of(
                    url, _BRIEF_TIMEOUT_S, retries=_BRIEF_RETRIES, retry_s=_BRIEF_RETRY_S
                )
            )

    def begin(self, name: str, *, bytes_max: int) -> _ObjectSink:
        import obstore

        with naming_disk():
            (self._names / name).touch()
            sync_folder(self._names)
        part = max(_PART_BYTES, bytes_max // _PARTS_MAX)
        with self._naming_store():
            writer = obstore.open_writer(
                self.store, name, buffer_size=part, max_concurrency=_PARTS_AT_ONCE
            )
        return _ObjectSink(self, name, writer)

    def open(self, name: str) -> BinaryIO:
        import obstore

        try:
            with self._naming_store(may_be_absent=True):
                size = obstore.head(self._brief, name)["size"]
        except FileNotFoundError:
            self._require_bucket()
            raise
        return cast("BinaryIO", BufferedReader(_Reader(self, name, size), 64 << 10))

    def read(self, name: str, start: int, length: int) -> memoryview:
        """Some bytes of a content.

        Raises:
            FileNotFoundError: it is not there.
            FileError: the store cannot be reached.
        """
        import obstore

        with self._naming_store(may_be_absent=True):
            found = obstore.get_range(self.store, name, start=start, length=length)
        return memoryview(cast("bytes", found))

    def names(self) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self._names)]
        except FileNotFoundError:  # somebody deleted the folder of the open workspace
            return []

    def remove(self, names: Sequence[str]) -> None:
        import obstore

        with self._naming_store(may_be_absent=True):
            try:
                obstore.delete(self._brief, list(names))  # S3 takes many in one request
            except FileNotFoundError:
                self._require_bucket()
                for name in names:
                    with suppress(FileNotFoundError):
                        obstore.delete(self._brief, name)
        for name in names:
            (self._names / name).unlink(missing_ok=True)

    def copy(self, target: Path) -> None:
        for name in self.names():
            try:
                self._copy(name, target / name)
            except (FileNotFoundError, DamagedError):  # under way, or its commit was refused
                (target / name).unlink(missing_ok=True)

    def _copy(self, name: str, target: Path) -> None:
        with self.open(name) as file, naming_disk(), target.open("xb") as copy:
            while piece := file.read(PIECE_BYTES):
                copy.write(piece)

    def _require_bucket(self) -> None:
        """Tell an object that is not there from a bucket that is not: then nothing is gone.

        Raises:
            FileError: there is no such bucket.
        """
        import obstore

        with self._naming_store():
            next(iter(obstore.list(self._brief, chunk_size=1)), None)

    def address(self, name: str) -> str:
        return f"{self.url}{'' if self.url.endswith('/') else '/'}{name}"

    @contextmanager
    def _naming_store(self, *, may_be_absent: bool = False) -> Iterator[None]:
        """What the store refuses, as livedb's own error.

        Args:
            may_be_absent: whether FileNotFoundError says that an object is not there.
        """
        try:
            yield
        except FileNotFoundError:
            if may_be_absent:
                raise
            raise _store_failed(self.url, "there is no such bucket or container") from None
        except _errors_of_obstore() as error:
            # `from None`: a store's answer may name credentials.
            raise _store_failed(self.url, _reason(error)) from None


class _ObjectSink:
    def __init__(self, place: Objects, name: str, writer: WritableFile) -> None:
        self._place = place
        self._name = name
        self._writer = writer

    def write(self, piece: Piece) -> None:
        with self._place._naming_store():  # noqa: SLF001  # a place and its sink are two halves
            self._writer.write(piece)

    def finish(self) -> None:
        with self._place._naming_store():  # noqa: SLF001
            self._writer.close()

    def abandon(self) -> None:
        with suppress(FileError), self._place._naming_store():  # noqa: SLF001  # failed before
            self._writer.__exit__(InterruptedError, None, None)  # which drops its parts
        with suppress(FileError):  # it is an orphan, then
            self._place.remove([self._name])


class _Reader(RawIOBase):
    """A content, of which one piece is in memory."""

    def __init__(self, place: Objects, name: str, size: int) -> None:
        self._place = place
        self._name = name
        self._size = size
        self._at = 0
        self._held = memoryview(b"")
        self._held_from = 0
        self._ahead = _FIRST_READ_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"There is nothing before the first byte: {origin + offset}")
        self._at = origin + offset
        return self._at

    def readinto(self, target: Any) -> int:
        into = memoryview(target).cast("B")
        if self._at >= self._size or not into:
            return 0
        found = self._piece()[: len(into)]
        into[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _piece(self) -> memoryview:
        """What is in memory from here on, fetched if nothing is."""
        end = self._held_from + len(self._held)
        if not self._held_from <= self._at < end:
            is_next = self._at == end and end > 0
            self._ahead = min(self._ahead * 2, _READ_BYTES_MAX) if is_next else _FIRST_READ_BYTES
            length = min(self._ahead, self._size - self._at)
            self._held = memoryview(b"")  # before there is another
            try:
                self._held = self._place.read(self._name, self._at, length)
            except FileNotFoundError:
                raise content_gone(self._place.address(self._name)) from None
            self._held_from = self._at
        return self._held[self._at - self._held_from :]


def _store_of(url: str, timeout_s: int, *, retries: int, retry_s: int) -> ObjectStore:
    try:
        from obstore.store import LocalStore, MemoryStore, from_url
    except ImportError:
        raise WorkspaceError(
            "Files in an object store need obstore: pip install 'livedb[objects]'",
            code="ObstoreMissing",
        ) from None
    if url.startswith("memory:"):
        return MemoryStore()
    if url.startswith("file:"):
        return LocalStore(url2pathname(urlsplit(url).path), mkdir=True)
    client: ClientConfig = {
        "connect_timeout": "5s",
        "timeout": timedelta(seconds=timeout_s),
        # What is given here hides what obstore would read itself.
        "allow_http": any(os.environ.get(name, "").lower() == "true" for name in _ALLOW_HTTP),
    }
    retry: RetryConfig = {"max_retries": retries, "retry_timeout": timedelta(seconds=retry_s)}
    return from_url(url, client_options=client, retry_config=retry)


def _errors_of_obstore() -> tuple[type[Exception], ...]:
    try:
        from obstore.exceptions import BaseError
    except ImportError:
        return (OSError,)
    return (BaseError, OSError)  # of a request, and of a part of an upload


def _reason(error: Exception) -> str:
    """Why a store refused, in words that hold nothing secret.

    The same refusal is of one class from a request, and an OSError from a part of an upload: so the
    text is looked at, and nothing of it is passed on but codes.
    """
    text = str(error)
    for pattern, reason in _REASONS:
        found = re.search(pattern, text)
        if found is not None:
            return reason.format(*found.groups())
    return "it cannot be used"


def _store_failed(url: str, reason: str) -> FileError:
    return FileError(
        f"The object store of this workspace's files, {url!r}, failed: {reason}. Nothing that was "
        "stored is lost. Look whether it can be reached and what the environment says of it "
        "(AWS_.., GOOGLE_.., AZURE_..), and try again.",
        code=STORE_FAILED,
    )
