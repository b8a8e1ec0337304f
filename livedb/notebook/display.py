"""A table as static HTML and as plain text: what is left when there is no kernel.

At most `STATIC_ROWS_MAX` rows and `STATIC_COLUMNS_MAX` columns, every text escaped and cut, colours
inherited from the host, so that the same HTML is readable on a light page, a dark one and on paper.
It is also the place of the live table: where there is a kernel, `widgets/src/view/places.ts` finds
it by its class and puts the live table there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livedb.notebook.cells import NUMERIC_KINDS, Column, columns_of, cut, text_of_cell, visible
from livedb.notebook.drawings import Drawing, drawing_of
from livedb.notebook.formats import Sparkline
from livedb.wording import counted

if TYPE_CHECKING:
    from livedb.notebook.rows import RowState, Shape

STATIC_ROWS_MAX = 50
"""Rows stored in a notebook's output."""

STATIC_COLUMNS_MAX = 40
"""Columns stored in a notebook's output."""

STATIC_CHARACTERS_MAX = 200
"""Characters of a cell stored in a notebook's output."""

TEXT_ROWS_MAX = 10
"""Rows of the plain-text form."""

TEXT_CHARACTERS_MAX = 110
"""Characters of its lines: a terminal breaks longer ones, and nobody reads a broken table."""

_STYLE = re.sub(
    r"\s+", " ", (Path(__file__).parent / "stored_table.css").read_text(encoding="utf-8")
).strip()
"""How it looks; nearly as the live table does, so that one replaces the other without a jump. A
host that drops it (an untrusted notebook's) draws the same table its own way."""


def html_of_table(title: str, state: RowState, *, address: str = "") -> str:
    """The first rows of `state` as an HTML table.

    Args:
        address: of the live table that a page with a kernel puts in its place; "" if there is none.
    """
    columns, rows, column_count = _first_rows(state, STATIC_ROWS_MAX)
    head = "" if state.shape == "value" else f"<thead><tr>{_head(columns)}</tr></thead>"
    body = "".join(f"<tr>{_row(columns, row, state.shape)}</tr>" for row in rows)
    wrong = "".join(
        f'<div class="wrong" role="alert">{_text(cut(f"{sign} {words}"))}</div>'
        for sign, words in (("▲", state.error), ("◌", state.ended))
        if words
    )
    label = _text(cut(title, 200))
    table = f'<table aria-label="{label}">{head}<tbody>{body}</tbody></table>'
    notes = _size(state, len(rows), len(columns), column_count)
    return framed(title, table, notes, wrong=wrong, address=address)


def framed(
    title: str, tables: str, notes: Sequence[str], *, wrong: str = "", address: str = ""
) -> str:
    """HTML tables in the frame of a live table.

    Args:
        tables, wrong: HTML.
        notes: texts for the line under them.
    """
    name = _text(cut(title, 200))
    shown_notes = "".join(f"<span>{_text(each)}</span>" for each in notes)
    return (
        f'<div class="livedb-static{address and f" livedb-at-{address}"}"><style>{_STYLE}</style>'
        f'<div class="livedb-stored">{name and f"""<div class="name">{name}</div>"""}{wrong}'
        f'<div class="box">{tables}</div><div class="note">{shown_notes}</div></div></div>'
    )


def framed_rows(
    title: str,
    heads: Sequence[str],
    lines: Sequence[Sequence[str]],
    notes: Sequence[str],
    address: str,
) -> str:
    """A small table of texts in the same frame."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}>{_text(cut(visible(text), 200))}</{tag}>" for text in texts)

    body = "".join(f"<tr>{cells('td', line)}</tr>" for line in lines)
    table = f"<table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>"
    return framed(title, table, notes, address=address)


def text_of_table(title: str, state: RowState) -> str:
    """The first rows of `state` as aligned plain text."""
    columns, rows, column_count = _first_rows(state, TEXT_ROWS_MAX)
    texts = [[cut(text, 30) for text in _row_texts(columns, row)] for row in rows]
    if state.shape == "rows":
        texts = _points_in_line(texts, columns)
    heads = [cut(visible(_label(column)), 30) for column in columns]
    grid = [heads, *texts] if state.shape == "rows" else texts
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    shown = _fitting(widths)
    lines = ["  ".join(map(_aligned, line[:shown], widths, columns)).rstrip() for line in grid]
    if shown < len(columns):
        lines = [f"{line}  …" for line in lines]
    wrong = [f"error: {cut(visible(state.error))}"] if state.error else []
    wrong += [state.ended] if state.ended else []
    name = [cut(visible(title), 60)] if title else []
    summary = " · ".join([*name, *_size(state, len(rows), len(columns), column_count)])
    return "\n".join([*wrong, *lines, summary])


def static_bundle(title: str, state: RowState) -> dict[str, str]:
    """What is displayed of rows that will not change."""
    return {"text/html": html_of_table(title, state), "text/plain": text_of_table(title, state)}


def _fitting(widths: Sequence[int]) -> int:
    """How many columns of these widths fit on a line; at least one."""
    ends = accumulate(width + 2 for width in widths)
    return max(1, sum(end <= TEXT_CHARACTERS_MAX for end in ends))


def _points_in_line(rows: list[list[str]], columns: Sequence[Column]) -> list[list[str]]:
    """The texts with room to the right of floats, so that the points of a column stand in line."""
    tails = [
        max((len(_fraction(row[at])) for row in rows), default=0) if column.kind == "float" else 0
        for at, column in enumerate(columns)
    ]
    return [
        [
            text + " " * (tail - len(_fraction(text))) if tail and _NUMBER.match(text) else text
            for text, tail in zip(row, tails, strict=True)
        ]
        for row in rows
    ]


_NUMBER = re.compile(r"-?\d+(\.\d+)?$")


def _fraction(text: str) -> str:
    """A number's point and the digits after it; "" for any other text."""
    found = _NUMBER.match(text)
    return (found[1] or "") if found else ""


def _row_texts(columns: Sequence[Column], row: Sequence[Any]) -> list[str]:
    return [_cell_text(value, column) for value, column in zip(row, columns, strict=True)]


def _cell_text(value: Any, column: Column) -> str:
    drawing = drawing_of(value, column)
    if drawing is None:
        return text_of_cell(value, column.kind).text
    return drawing.text if drawing.href is None else drawing.href


def _first_rows(state: RowState, row_count: int) -> tuple[list[Column], list[Sequence[Any]], int]:
    """The first columns and rows, as values by position: column names may repeat.

    Also how many columns there are to see.
    """
    window = state.window(0, min(state.row_count, row_count))
    columns = columns_of(window.schema, state.fields, state.formats)
    places = _places(columns)
    shown = places[:STATIC_COLUMNS_MAX]
    values = [window.column(at).to_pylist() for at in shown]
    return [columns[at] for at in shown], list(zip(*values, strict=True)), len(places)


def _places(columns: Sequence[Column]) -> list[int]:
    """Which columns are shown, in their order; all of them where none would be."""
    formats = {at: column.format for at, column in enumerate(columns) if column.format}
    shown = [at for at in range(len(columns)) if at not in formats or not formats[at].hidden]
    return sorted(
        shown or range(len(columns)), key=lambda at: at not in formats or not formats[at].pinned
    )


def _label(column: Column) -> str:
    return (column.format and column.format.label) or column.name


def _head(columns: Sequence[Column]) -> str:
    return "".join(_head_cell(column) for column in columns)


def _head_cell(column: Column) -> str:
    told = column.format and column.format.help
    title = f' title="{_text(told)}"' if told else ""
    return f"<th{_class(_side(column))}{title}>{_text(cut(_label(column), 100))}</th>"


def _row(columns: Sequence[Column], row: Sequence[Any], shape: Shape) -> str:
    return "".join(_cell(value, column, shape) for value, column in zip(row, columns, strict=True))


def _cell(value: Any, column: Column, shape: Shape) -> str:
    cell = text_of_cell(value, column.kind)
    drawing = drawing_of(value, column)
    side = _side(column) if shape != "value" else "v"
    if drawing is not None:
        exact = cell.title or cell.text
        title = _title(exact) if exact != drawing.text else ""
        line = "s" if column.format and isinstance(column.format.look, Sparkline) else ""
        return f"<td{_class(side, line)}{title}>{_drawing_html(drawing)}</td>"
    monospace = "m" if column.kind in {"id", "json", "bytes"} else ""
    classes = _class(side, monospace, "d" if cell.dim else "")
    title = _title(cell.title) if cell.title else ""
    return f"<td{classes}{title}>{_text(cut(cell.text, STATIC_CHARACTERS_MAX))}</td>"


def _title(text: str) -> str:
    return f' title="{_text(cut(text, STATIC_CHARACTERS_MAX))}"'


def _drawing_html(drawing: Drawing) -> str:
    text = _text(cut(drawing.text, STATIC_CHARACTERS_MAX))
    if drawing.href is not None:
        href = _text(drawing.href)
        return f'<a href="{href}" target="_blank" rel="noopener noreferrer">{text}</a>'
    if drawing.badges:
        return "".join(
            f'<span style="box-shadow:inset 0 0 0 1em {TINTS[color]}" class="b">'
            f"{_text(cut(label, STATIC_CHARACTERS_MAX))}</span>"
            for label, color in drawing.badges
        )
    return text


TINTS = {
    "gray": "#8883",
    "red": "#e535",
    "orange": "#f805",
    "yellow": "#fc05",
    "green": "#4a45",
    "teal": "#0995",
    "blue": "#29e5",
    "purple": "#94c5",
    "pink": "#e385",
}
"""Of badges, over whatever the host's background is: its text stays readable on them."""


def _class(*names: str) -> str:
    given = " ".join(filter(None, names))
    return f' class="{given}"' if given else ""


def _side(column: Column) -> str:
    return "n" if column.kind in NUMERIC_KINDS else ""


def _aligned(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.kind in NUMERIC_KINDS else text.ljust(width)


def _size(state: RowState, shown_rows: int, shown_columns: int, column_count: int) -> list[str]:
    """How much there is, how much of it is shown, and as of when."""
    parts = []
    if state.shape == "rows" and shown_columns:
        rows = counted(state.row_count, "row")
        parts.append(rows if shown_rows == state.row_count else f"first {shown_rows} of {rows}")
        if column_count > shown_columns:
            parts.append(f"first {shown_columns} of {column_count:,} columns")
    elif state.shape == "rows" and not state.error:
        parts.append("no rows")  # and no columns: nothing says what they would be
    return [*parts, f"commit {state.number:,}"]


def _text(text: str) -> str:
    """`text` for HTML: escaped, and without the lone surrogates and NUL that no file can hold."""
    return escape(text.encode("utf-8", "replace").decode().replace("\0", "\u2400"), quote=True)
