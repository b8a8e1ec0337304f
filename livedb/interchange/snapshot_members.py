"""The members of a snapshot zip that comes from anywhere, and what refuses the hostile ones.

No name becomes a path; counts, sizes and the ratio of compression have bounds.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from dataclasses import dataclass, field
from typing import BinaryIO

from livedb.errors import LoadError, SchemaDefinitionError
from livedb.limits import TABLES_MAX
from livedb.schema.tables import STORAGE_TABLE, check_table_name

MEMBERS_MAX = 200_000
"""Members of a zip that is read; beyond them it is refused before its directory is."""
DIRECTORY_BYTES_MAX = 32 << 20
"""Bytes of its directory, which `zipfile` reads into memory as a whole."""
UNPACKED_BYTES_MAX = 1 << 40
"""Bytes that its members may be together."""
RATIO_MAX = 200
"""Times that the members may be larger than the zip. Ids alone, which no one can compress, keep
lines of JSON below it; ten gigabytes of zeros are at 1,000."""
RATIO_FREE_BYTES = 64 << 20
"""Members that are together no larger may have any ratio."""


@dataclass(slots=True)
class Members:
    """The members of a zip, each known to be harmless."""

    tables: zipfile.ZipInfo | None = None
    documents: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    schemas: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    files: zipfile.ZipInfo | None = None
    contents: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, infos: list[zipfile.ZipInfo], zip_bytes: int) -> Members:
        """Sort `infos`. Raises: LoadError."""
        if len(infos) > MEMBERS_MAX:  # its directory may say less than it holds
            raise LoadError(f"it has more than {MEMBERS_MAX:,} members")
        _check_sizes(infos, zip_bytes)
        members = cls()
        seen: set[str] = set()
        # A zip that was packed again by hand has everything in one folder.
        prefix = _prefix_of(infos)
        for info in infos:
            _check_member(info)
            if info.is_dir():
                continue
            if info.filename.lower() in seen:
                raise LoadError(f"the member {info.filename!r} is there twice")
            seen.add(info.filename.lower())
            folder, _, file = info.filename.removeprefix(prefix).rpartition("/")
            members._take(info, folder, file)
        if len(members.documents) > TABLES_MAX:
            raise LoadError(f"more than {TABLES_MAX:,} tables, the most a workspace can have")
        if not members.documents and members.tables is None and members.files is None:
            raise LoadError("there is no <table>/documents.jsonl in it, so it is no snapshot")
        return members

    def _take(self, info: zipfile.ZipInfo, folder: str, file: str) -> None:
        if (folder, file) == ("", "README.md"):
            return
        if folder.startswith("_components/") or folder == "_components":
            raise LoadError(f"{info.filename!r} is of a Convex component, which livedb has not")
        if (folder, file) == ("_tables", "documents.jsonl"):
            self.tables = info
        elif (folder, file) == (STORAGE_TABLE, "documents.jsonl"):
            self.files = info
        elif (folder, file) == (STORAGE_TABLE, "generated_schema.jsonl"):
            self.schemas[folder] = info
        elif folder == STORAGE_TABLE:
            self.contents[file.partition(".")[0]] = info
        elif folder.startswith("_") and "/" not in folder and file in _TABLE_FILES:
            return  # a system table: Convex does not import them either
        elif file == "documents.jsonl" and _is_table_name(folder):
            self.documents[folder] = info
        elif file == "generated_schema.jsonl" and _is_table_name(folder):
            self.schemas[folder] = info
        else:
            raise LoadError(f"the member {info.filename!r} is none of a snapshot; remove it")


_TABLE_FILES = ("documents.jsonl", "generated_schema.jsonl")


def _is_table_name(name: str) -> bool:
    try:
        check_table_name(name)
    except SchemaDefinitionError:
        return False
    return True


def _prefix_of(infos: list[zipfile.ZipInfo]) -> str:
    for info in infos:
        folder, _, rest = info.filename.partition("_tables/documents.jsonl")
        if not rest and folder != info.filename and folder.count("/") <= 1:
            return folder
    return ""


def _check_sizes(infos: list[zipfile.ZipInfo], zip_bytes: int) -> None:
    unpacked = sum(info.file_size for info in infos)
    if unpacked > UNPACKED_BYTES_MAX:
        raise LoadError(f"it would unpack to {unpacked:,} bytes, more than is allowed")
    if unpacked > max(RATIO_FREE_BYTES, RATIO_MAX * zip_bytes):
        raise LoadError(
            f"it would unpack to {unpacked:,} bytes, more than {RATIO_MAX} times its own size, "
            "which no snapshot does"
        )


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.filename
    parts = name.removesuffix("/").split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or set(name) & set("\\\0:")
        or name != info.orig_filename
    ):
        raise LoadError(f"the member {name!r} has a name that no snapshot has")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise LoadError(f"the member {name!r} is no plain file")
    if info.flag_bits & 0x1:
        raise LoadError(f"the member {name!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise LoadError(f"the member {name!r} is compressed in a way that no snapshot is")


_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")


def check_directory(file: BinaryIO) -> None:
    """Refuse a directory that is too large, before `zipfile` makes an object of each entry."""
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - _END.size - 0xFFFF)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise zipfile.BadZipFile("it has no directory")
    _, _, _, _, count, directory_bytes, *_ = _END.unpack_from(tail, at)
    locator = at - _LOCATOR_64.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        _, _, offset, _ = _LOCATOR_64.unpack_from(tail, locator)
        file.seek(min(offset, size))
        record = file.read(_END_64.size)
        if len(record) == _END_64.size and record.startswith(b"PK\x06\x06"):
            *_, count, directory_bytes, _ = _END_64.unpack(record)
    if count > MEMBERS_MAX or directory_bytes > DIRECTORY_BYTES_MAX:
        raise LoadError(
            f"it has {count:,} members ({directory_bytes:,} bytes of directory), and a snapshot "
            f"that is read has at most {MEMBERS_MAX:,}"
        )
    file.seek(0)
