"""A value as its column's format draws it, in static HTML and in text.

`widgets/src/model/looks.ts` draws the same on a page; `widgets/test/looks.json` holds cases that
both must agree on. Each works on the exact text of the cell, so that neither knows more of a value
than the other. What a format does not fit has no drawing, and is shown as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from math import isfinite
from typing import Any, NamedTuple

from livedb.notebook.cells import (
    CELL_CHARACTERS_MAX,
    NUMERIC_KINDS,
    CellText,
    Column,
    Kind,
    text_of_cell,
    visible,
)
from livedb.notebook.figures import image_address, points_of
from livedb.notebook.formats import (
    NUMBER_FORMAT,
    Badge,
    Date,
    Image,
    Link,
    Number,
    Progress,
    Sparkline,
)

BLOCKS = "▁▂▃▄▅▆▇█"
BLOCKS_MAX = 24
"""Characters of a line in text."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")

_LINK = re.compile(
    r"(https?://[^\x00-\x20\x7f/?#\\]|mailto:)[^\x00-\x20\x7f\u2400-\u2421\u23ce]+", re.IGNORECASE
)

_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?(?:Z|\+00:?00)?)?"
)

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
"""Not the locale's: a page has another one than its kernel."""


class Drawing(NamedTuple):
    """What stands in a cell.

    Attributes:
        href: where it leads.
        badges: its labels, each with its colour.
    """

    text: str
    href: str | None = None
    badges: tuple[tuple[str, str], ...] = ()


def drawing_of(value: Any, column: Column) -> Drawing | None:
    """How the format of `column` draws a value; None where it draws it as it is."""
    look = None if column.format is None else column.format.look
    if look is None or value is None or column.kind == "id":
        return None
    cell = text_of_cell(value, column.kind)
    match look:
        case Number():
            return _with_unit(_number_text(cell, column.kind, look.format), look.unit)
        case Progress():
            return _with_unit(_number_text(cell, column.kind, look.format), "")
        case Date():
            return _date(cell, look.format)
        case Link():
            return _link(cell, look.text)
        case Badge():
            return _badges(cell, column.kind, value, dict(look.colors))
        case Sparkline():
            return _blocks(value, look)
        case Image():
            return _picture(value)


def _number_text(cell: CellText, kind: Kind, written: str) -> str | None:
    """A number as Python's `format` writes it; without a type, its plain text."""
    exact = cell.title or cell.text
    found = NUMBER_FORMAT.fullmatch(written)
    if kind not in NUMERIC_KINDS or found is None or not _NUMBER.fullmatch(exact):
        return None
    if found["type"]:
        return format(float(exact), written) if isfinite(float(exact)) else None
    sign = "+" if found["sign"] and not cell.text.startswith("-") else ""
    whole, point, fraction = cell.text.partition(".")
    grouped = format(int(whole), ",") if found["group"] and "e" not in whole else whole
    return f"{sign}{grouped}{point}{fraction}"


def _with_unit(text: str | None, unit: str) -> Drawing | None:
    return None if text is None else Drawing(f"{text} {unit}" if unit else text)


def _date(cell: CellText, written: str) -> Drawing | None:
    found = _INSTANT.fullmatch(cell.title or cell.text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(each or 0) for each in found.groups()[:6])
    microsecond = int((found[7] or "").ljust(6, "0"))
    try:
        instant = datetime(year, month, day, hour, minute, second, microsecond)  # noqa: DTZ001 - UTC
    except ValueError:
        return None
    return Drawing(re.sub("%(.)", lambda code: _CODES[code[1]](instant), written))


_CODES: Mapping[str, Callable[[datetime], str]] = {
    "Y": lambda at: f"{at.year:04}",
    "y": lambda at: f"{at.year % 100:02}",
    "m": lambda at: f"{at.month:02}",
    "d": lambda at: f"{at.day:02}",
    "B": lambda at: _MONTHS[at.month - 1],
    "b": lambda at: _MONTHS[at.month - 1][:3],
    "A": lambda at: _DAYS[at.weekday()],
    "a": lambda at: _DAYS[at.weekday()][:3],
    "H": lambda at: f"{at.hour:02}",
    "I": lambda at: f"{at.hour % 12 or 12:02}",
    "M": lambda at: f"{at.minute:02}",
    "S": lambda at: f"{at.second:02}",
    "f": lambda at: f"{at.microsecond:06}",
    "p": lambda at: "AM" if at.hour < 12 else "PM",
    "j": lambda at: f"{at.timetuple().tm_yday:03}",
    "%": lambda _: "%",
}


def _link(cell: CellText, text: str | None) -> Drawing | None:
    is_cut = len(cell.text) == CELL_CHARACTERS_MAX and cell.text.endswith("…")
    if cell.dim or is_cut or not _LINK.fullmatch(cell.text):
        return None
    return Drawing(text or cell.text, href=cell.text)


def _badges(cell: CellText, kind: Kind, value: Any, colors: Mapping[str, str]) -> Drawing | None:
    if kind in {"datetime", "bytes"} or (cell.dim and kind != "boolean"):
        return None
    labels = _labels(value, cell.text, is_json=kind == "json")
    if not labels:
        return None
    badges = tuple((visible(label), colors.get(label, "gray")) for label in labels)
    return Drawing(", ".join(label for label, _ in badges), badges=badges)


def _labels(value: Any, text: str, *, is_json: bool) -> list[str]:
    """The texts of a list, or of one in JSON; a text, number or truth value as it is drawn."""
    if isinstance(value, str) and value[:1] in {"[", "{"} and len(value) <= CELL_CHARACTERS_MAX:
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, list):
        return value if all(isinstance(each, str) for each in value) else []
    return [text] if isinstance(value, str | bool | int | float) and not is_json else []


def _picture(value: Any) -> Drawing | None:
    """In words: a picture would have to be stored, or fetched by whoever opens the page."""
    address = image_address(value)
    if address is None:
        return None
    if (kind := re.match("data:image/([a-z]+)", address, re.IGNORECASE)) is not None:
        return Drawing(f"{kind[1].upper()} picture")
    return Drawing(address, href=address) if re.match("https?:", address, re.IGNORECASE) else None


def _blocks(value: Any, look: Sparkline) -> Drawing | None:
    """A line of characters."""
    points = points_of(value)
    if points is None:
        return None
    known = [each for each in points if each is not None]
    low = min(known) if look.low is None else look.low
    high = max(known) if look.high is None else look.high
    every = -(-len(points) // BLOCKS_MAX)
    return Drawing("".join(_block(each, low, high) for each in points[::every]))


def _block(value: float | None, low: float, high: float) -> str:
    if value is None:
        return " "
    share = (value - low) / (high - low) if high > low else 0.5
    return BLOCKS[max(0, min(int(share * len(BLOCKS)), len(BLOCKS) - 1))]
