"""A file of the workspace that a cell on screen names, for the page that shows the cell.

A page cannot fetch it: the workspace may be embedded in the kernel, or its service be out of the
browser's reach. So the kernel reads it, as it would for a cell of Python: what its caller may not
read a page does not get, and no other file of the machine, whatever a document says.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, Final

from livedb.errors import InvalidValueError, LimitError, NonexistentDocumentError
from livedb.notebook.downloads import PART_BYTES, PageFile
from livedb.notebook.figures import kind_of_picture
from livedb.wording import size_text

if TYPE_CHECKING:
    from livedb.client.backend import Backend

FILE_BYTES_MAX: Final = 256 << 20
"""Of a file that a page is sent; a browser holds it in memory."""

PICTURE_BYTES_MAX: Final = 16 << 20
"""Of a picture in a cell: what a camera makes."""

_SIGN_BYTES = 16


def stored_file(backend: Backend, name: str, *, is_picture: bool) -> PageFile:
    """The file that `name` names, its id or a URL of it; a picture by how it begins.

    Raises:
        NonexistentDocumentError: there is no such file here.
        LimitError: it is too large for a page.
        InvalidValueError: a picture is asked for, and it is none that pages draw.
    Cost: its bytes, read while they travel.
    """
    found = backend.files.get(name)
    if found is None:
        raise NonexistentDocumentError("There is no such file in this workspace (any more).")
    size, most = int(found["size"]), PICTURE_BYTES_MAX if is_picture else FILE_BYTES_MAX
    if size > most:
        raise LimitError(
            f"This file has {size_text(size)}, and a page is sent {size_text(most)} at most: read "
            f"it in a cell, with db.files.open({found['_id']!r})."
        )
    with ExitStack() as stack:
        file = stack.enter_context(backend.files.open(found["_id"]))
        begin = file.read(_SIGN_BYTES)
        ending = mimetypes.guess_extension(str(found.get("contentType", ""))) or ""
        if is_picture:
            ending = _ending_of_picture(begin)
        stack.pop_all()  # who reads the parts closes it
        return PageFile(f"{found['_id']}{ending}", size, _parts(file, begin))


def _ending_of_picture(begin: bytes) -> str:
    kind = kind_of_picture(begin)
    if kind is None:
        raise InvalidValueError("This file is no PNG, JPEG, GIF or WebP picture.")
    return f".{kind}"


def _parts(file: BinaryIO, begin: bytes) -> Iterator[bytes]:
    with file:
        yield begin + file.read(PART_BYTES - len(begin))
        while part := file.read(PART_BYTES):
            yield part
