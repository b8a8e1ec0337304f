"""How columns of a live table are shown: what `livedb.column` makes and `handle.format` takes.

A format says how a person reads a column; the values stay what they are, and sorting, filters,
edits, copies and files have them. It travels to pages as JSON (`to_content`), never as code.
`drawings.py` draws by it for static HTML, `widgets/src/model/looks.ts` on a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from types import MappingProxyType
from typing import Any, TypedDict, Unpack

from livedb.errors import FunctionTypeError

COLORS = ("gray", "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
"""Colours of badges: each has a shade for light pages and one for dark ones."""

WIDTH_PX_LEAST = 36
WIDTH_PX_MOST = 2_000
"""Pixels of a column, as in widgets/src/model/placement.ts."""

TEXT_CHARACTERS_MAX = 300
"""Characters of any text of a format; each update carries them."""

BADGES_MAX = 100
"""Values with a colour of their own in one column."""

NUMBER_FORMAT = re.compile(
    r"(?P<sign>\+?)(?P<group>,?)(?:(?:\.(?P<digits>1\d|20|\d))?(?P<type>[fe%]))?"
)
"""What of Python's format language a page knows too."""

DATE_CODES = "YymdBbAaHIMSfpj%"
"""The codes of `strftime` that a page knows too."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number with digits by `format` and a unit after it."""

    format: str
    unit: str

    def __post_init__(self) -> None:
        _require_number_format(self.format)
        _require_text("unit", self.unit)

    def to_content(self) -> dict[str, Any]:
        """As a page reads it."""
        return {"type": "number", "format": self.format, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Progress:
    """A bar from `low` to `high`, with the number beside it."""

    low: float
    high: float
    format: str

    def __post_init__(self) -> None:
        _require_range(self.low, self.high)
        _require_number_format(self.format)

    def to_content(self) -> dict[str, Any]:
        """As a page reads it."""
        return {"type": "progress", "low": self.low, "high": self.high, "format": self.format}


@dataclass(frozen=True, slots=True)
class Date:
    """An instant in UTC, or a day, by codes of `strftime`."""

    format: str

    def __post_init__(self) -> None:
        _require_text("format", self.format)
        codes = re.findall(r"%(.?)", self.format, re.DOTALL)
        wrong = [code for code in codes if not code or code not in DATE_CODES]
        if wrong or not set(codes) - {"%"}:
            known = " ".join(f"%{code}" for code in DATE_CODES)
            found = f"%{wrong[0]} in {self.format!r}" if wrong else f"none in {self.format!r}"
            raise FunctionTypeError(
                f"A date's format has codes such as '%d.%m.%Y'; known are {known}, and there is "
                f"{found}"
            )

    def to_content(self) -> dict[str, Any]:
        """As a page reads it."""
        return {"type": "date", "format": self.format}


@dataclass(frozen=True, slots=True)
class Link:
    """A web or mail address that opens in a page of its own."""

    text: str | None

    def __post_init__(self) -> None:
        _require_text_or_none("text", self.text)

    def to_content(self) -> dict[str, Any]:
        """As a page reads it."""
        return {"type": "link", "text": self.text}


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as high as a row."""

    def to_content(self) -> dict[str, Any]:
        """As a page reads it."""
        return {"type": "image"}


@dataclass(frozen=True, slots=True)
class Badge:
    """A value, or each text of a list, as a label; some have a colour of their own."""

    colors: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if len(self.colors) > BADGES_MAX:
            raise FunctionTypeError(
                f"At most {BADGES_MAX} values of a column have a colour of their own, not "
                f"{len(self.colors)}"
            )
        for value, color in self.colors:
            _require_text("value", value)
            if color not in COLORS:
                near = get_close_matches(str(color), COLORS, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise FunctionTypeError(
                    f"A badge is {', '.join(COLORS)}; for {value!r} it is {color!r}{hint}"
                )

    def to_content(self) -> dict[str, Any]:
        """As a page reads it."""
        return {"type": "badge", "colors": dict(self.colors)}


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A list of numbers as a line; its ends are the list's unless they are given."""

    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, may_lack=True)

    def to_content(self) -> dict[str, Any]:
        """As a page reads it."""
        return {"type": "sparkline", "low": self.low, "high": self.high}


Look = Number | Progress | Date | Link | Image | Badge | Sparkline


@dataclass(frozen=True, slots=True)
class ColumnFormat:
    """How a column is shown; `livedb.column` makes it.

    Attributes:
        look: how its values are drawn; None for as they are.
        label: its name at the head.
        help: what the head tells who points at it.
        width: pixels, at first; a reader may change it.
        hidden: whether it is left out, until a reader shows it.
        pinned: whether it stays at the left while others scroll, until a reader lets it go.
    """

    look: Look | None
    label: str | None = None
    help: str | None = None
    width: int | None = None
    hidden: bool = False
    pinned: bool = False

    def __post_init__(self) -> None:
        _require_text_or_none("label", self.label)
        _require_text_or_none("help", self.help)
        widths = range(WIDTH_PX_LEAST, WIDTH_PX_MOST + 1)
        if self.width is not None and self.width not in widths:
            raise FunctionTypeError(
                f"A column's width is {widths[0]} to {widths[-1]} whole pixels, not {self.width!r}"
            )
        for name, value in (("hidden", self.hidden), ("pinned", self.pinned)):
            if not isinstance(value, bool):
                raise FunctionTypeError(f"{name} is True or False, not {value!r:.100}")

    def to_content(self) -> dict[str, Any]:
        """As a page reads it."""
        content: dict[str, Any] = {
            "label": self.label,
            "help": self.help,
            "width": self.width,
            "hidden": self.hidden or None,
            "pinned": self.pinned or None,
            "look": None if self.look is None else self.look.to_content(),
        }
        return {name: value for name, value in content.items() if value is not None}


NO_FORMATS: Mapping[str, ColumnFormat] = MappingProxyType({})


class _Common(TypedDict, total=False):
    """What every column may have, as in `ColumnFormat`."""

    label: str | None
    help: str | None
    width: int | None
    hidden: bool
    pinned: bool


class column:  # noqa: N801 - a namespace, as `v` is one
    """How columns of a live table are shown; `handle.format(delay=column.number("+.1f"))`.

    Each method also takes `label=`, the column's name at its head, `help=`, what the head tells who
    points at it, `width=` in pixels, `hidden=` and `pinned=`; readers may change the last three.
    A value that does not fit, such as a text in a column of numbers, is shown as it is.
    """

    @staticmethod
    def plain(**common: Unpack[_Common]) -> ColumnFormat:
        """The values as they are, for a label, a width and the like."""
        return ColumnFormat(None, **common)

    @staticmethod
    def number(
        format: str = "",  # noqa: A002 - the word of Python's own
        *,
        unit: str = "",
        **common: Unpack[_Common],
    ) -> ColumnFormat:
        """A number, as Python's `format(n, "+.1f")` writes it, with a unit after it.

        Args:
            format: `+`, `,` between thousands, then digits such as `.2f`, `.0%` or `.3e`; each part
                may be left out.
        """
        return ColumnFormat(Number(format, unit), **common)

    @staticmethod
    def progress(
        low: float = 0,
        high: float = 1,
        *,
        format: str | None = None,  # noqa: A002 - the word of Python's own
        **common: Unpack[_Common],
    ) -> ColumnFormat:
        """A bar from `low` to `high` with the number beside it, in percent if that is 0 to 1."""
        written = (".0%" if (low, high) == (0, 1) else "") if format is None else format
        return ColumnFormat(Progress(low, high, written), **common)

    @staticmethod
    def date(
        format: str = "%Y-%m-%d",  # noqa: A002 - the word of Python's own
        **common: Unpack[_Common],
    ) -> ColumnFormat:
        """A time in UTC, or a day, as `strftime` writes it in English.

        Also of texts such as 2026-03-01 and 2026-03-01T12:30.
        """
        return ColumnFormat(Date(format), **common)

    @staticmethod
    def link(*, text: str | None = None, **common: Unpack[_Common]) -> ColumnFormat:
        """An address that opens in a page of its own: `https:`, `http:` and `mailto:`.

        Args:
            text: what stands there instead of the address.
        """
        return ColumnFormat(Link(text), **common)

    @staticmethod
    def image(**common: Unpack[_Common]) -> ColumnFormat:
        """A picture as high as a row: its address, a `data:image/` URL, or its bytes.

        PNG, JPEG, GIF and WebP; bytes and `data:` URLs of at most 32 KiB.
        """
        return ColumnFormat(Image(), **common)

    @staticmethod
    def badge(colors: Mapping[Any, str] | None = None, **common: Unpack[_Common]) -> ColumnFormat:
        """A value, or each text of a list, as a label.

        Args:
            colors: a colour for some values, such as `{"open": "orange", True: "green"}`; the
                others are gray. There are gray, red, orange, yellow, green, teal, blue, purple and
                pink.
        """
        if not isinstance(colors, Mapping | None):
            raise FunctionTypeError(
                f"A badge takes colours by value, such as {{'open': 'orange'}}, not {colors!r:.100}"
            )
        pairs = tuple((_badge_text(value), color) for value, color in (colors or {}).items())
        return ColumnFormat(Badge(pairs), **common)

    @staticmethod
    def sparkline(
        *, low: float | None = None, high: float | None = None, **common: Unpack[_Common]
    ) -> ColumnFormat:
        """A list of numbers as a small line, with gaps where there is no number.

        Args:
            low, high: what the lower and the upper edge stand for; without them each line has all
                of the height.
        """
        return ColumnFormat(Sparkline(low, high), **common)


def formats_of(
    given: Mapping[str, ColumnFormat], named: Mapping[str, ColumnFormat]
) -> dict[str, ColumnFormat]:
    """The formats of `handle.format`, checked.

    Raises:
        FunctionTypeError: something else than a format, or two of one column.
    """
    if not isinstance(given, Mapping):
        raise FunctionTypeError(
            f"format takes columns by name, such as format(delay=livedb.column.number()), not "
            f"{given!r:.100}"
        )
    for name in given.keys() & named.keys():
        raise FunctionTypeError(f"format was told of column {name!r} twice")
    formats = {**given, **named}
    for name, each in formats.items():
        if not isinstance(each, ColumnFormat):
            raise FunctionTypeError(
                f"Column {name!r} is formatted by what livedb.column makes, such as "
                f"livedb.column.number('.1f'), not by {each!r:.100}"
            )
    return formats


def missing_columns(formats: Mapping[str, ColumnFormat], names: list[str]) -> str | None:
    """What to say of formats for columns that there are not; None when there are none."""
    said = []
    for name in formats:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            said.append(f"{name!r} (did you mean {near[0]!r}?)" if near else repr(name))
    if not said:
        return None
    return (
        f"format() names {', '.join(said)}, which the result does not have now; that counts from "
        "when it has"
    )


def _badge_text(value: object) -> str:
    """A value as it is drawn."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise FunctionTypeError(
        f"Colours of badges are for texts, whole numbers, True and False, not for {value!r:.100}"
    )


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
        raise FunctionTypeError(
            f"{name} is a text of at most {TEXT_CHARACTERS_MAX} characters, not {value!r:.100}"
        )


def _require_text_or_none(name: str, value: object) -> None:
    if value is not None:
        _require_text(name, value)
        if value == "":
            raise FunctionTypeError(f"{name} is an empty text; leave it out")


def _require_number_format(written: object) -> None:
    if not isinstance(written, str) or NUMBER_FORMAT.fullmatch(written) is None:
        raise FunctionTypeError(
            "A number's format is of Python's format language: '+', ',' and digits, such as ',', "
            f"'+.1f', ',.2f', '.0%' or '.3e'; it is {written!r:.100}"
        )


def _require_range(low: float | None, high: float | None, *, may_lack: bool = False) -> None:
    for end in (low, high):
        if not (may_lack and end is None) and not _is_finite(end):
            raise FunctionTypeError(f"low and high are numbers, not {end!r:.100}")
    if low is not None and high is not None and low >= high:
        raise FunctionTypeError(f"low is below high, and they are {low!r} and {high!r}")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
