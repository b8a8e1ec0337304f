"""What a page needs to draw a picture or a line: it travels beside the column's values.

Values themselves travel as text that is cut (`cells.py`), which is what a reader copies. Of a
picture that leaves no bytes, and of a list no numbers; so a column of pictures has one more column
of addresses in each window, and one of lines a column of numbers.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from math import isfinite
from typing import Any

import pyarrow as pa

from livedb.notebook.formats import Image, Look, Sparkline

IMAGE_BYTES_MAX = 32 * 1024
"""Bytes of a picture that travel to a page; a larger one is shown as its value."""

POINTS_MAX = 200
"""Numbers of a line that travel to a page; of more, the ends of each stretch."""

LIST_CHARACTERS_MAX = 200_000
"""Characters of a list in JSON that are read for its line."""

_SIGNS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
)
"""How the bytes of a picture begin."""

_ADDRESS = re.compile(
    # the web, the bytes themselves, a file of the workspace by its id or by where it lies
    r"https?://[^\x00-\x20\x7f]+|data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+=*"
    r"|[0-9a-hjkmnp-tv-z]{31,37}"
    r"|[a-z0-9]+://[^\x00-\x20\x7f]+/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.IGNORECASE,
)

_BYTES = re.compile(r'\{"\$bytes":"([A-Za-z0-9+/=]*)"\}')
"""Bytes in a column of any values, as `livedb.text` writes them."""


def figures_of(array: Any, look: Look | None) -> Any:
    """The column that travels beside an Arrow array; None when none does."""
    if isinstance(look, Image):
        return pa.array(map(image_address, array.to_pylist()), pa.string())
    if isinstance(look, Sparkline):
        return pa.array(map(points_of, array.to_pylist()), pa.list_(pa.float64()))
    return None


def image_address(value: object) -> str | None:
    """The URL of a picture, as it is or of its bytes; None for what is no picture.

    Of a file of the workspace its id, or the URL of where it lies: a page asks for it
    (`stored_files.py`), and only then anybody knows whether it is a picture.
    """
    if isinstance(value, str) and (tagged := _BYTES.fullmatch(value)) is not None:
        try:
            value = b64decode(tagged[1], validate=True)
        except Base64Error:
            return None
    if isinstance(value, bytes):
        kind = kind_of_picture(value)
        if kind is None or len(value) > IMAGE_BYTES_MAX:
            return None
        return f"data:image/{kind};base64,{b64encode(value).decode()}"
    if not isinstance(value, str) or len(value) > IMAGE_BYTES_MAX * 4 // 3 + 100:
        return None
    return value if _ADDRESS.fullmatch(value) else None


def kind_of_picture(begin: bytes) -> str | None:
    """What kind of picture begins so; None for all that pages do not draw."""
    return next((kind for sign, kind in _SIGNS if sign.match(begin)), None)


def points_of(value: object) -> list[float | None] | None:
    """The numbers of a list, None where there is a gap; None for what is no list of numbers.

    Of more than `POINTS_MAX` numbers the first, the last, and the least and the greatest of each
    stretch, in their order.
    """
    if isinstance(value, str) and value.startswith("[") and len(value) <= LIST_CHARACTERS_MAX:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list | tuple):
        return None
    try:
        points = [_point(each) for each in value]
    except (TypeError, ValueError, OverflowError):
        return None
    if all(each is None for each in points):
        return None
    return points if len(points) <= POINTS_MAX else _thinned(points)


def _point(value: Any) -> float | None:
    """A number, None for a gap; raises for anything else."""
    if isinstance(value, dict) and len(value) == 1:  # as `livedb.text` writes them
        value = float(value.get("$float") or value.get("$int64") or "")
    if value is None:
        return None
    if isinstance(value, bool | str | bytes | list | dict):
        raise TypeError
    number = float(value)
    return number if isfinite(number) else None


def _thinned(points: Sequence[float | None]) -> list[float | None]:
    stretches = POINTS_MAX // 2 - 1
    kept = [points[0]]
    for at in range(stretches):
        start, stop = (1 + (len(points) - 2) * each // stretches for each in (at, at + 1))
        kept += _ends(points[start:stop])
    return [*kept, points[-1]]


def _ends(points: Sequence[float | None]) -> list[float | None]:
    """The least and the greatest, in their order; a gap as wide for a stretch without numbers."""
    known = [(value, at) for at, value in enumerate(points) if value is not None]
    if not known:
        return [None, None]
    return [points[at] for at in sorted((min(known)[1], max(known)[1]))]
