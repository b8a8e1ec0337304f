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

from livedb.notebook.cells import (
    NUMERIC_KINDS,
    CellText,
    Column,
    columns_of,
    cut,
    text_of_cell,
    visible,
)
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
    columns, rows = _first_rows(state, STATIC_ROWS_MAX)
    head = "" if state.shape == "value" else f"<thead><tr>{_head(columns)}</tr></thead>"
    body = "".join(f"<tr>{_row(columns, row, state.shape)}</tr>" for row in rows)
    wrong = "".join(
        f'<div class="wrong" role="alert">{_text(cut(f"{sign} {words}"))}</div>'
        for sign, words in (("▲", state.error), ("◌", state.ended))
        if words
    )
    label = _text(cut(title, 200))
    table = f'<table aria-label="{label}">{head}<tbody>{body}</tbody></table>'
    notes = _size(state, len(rows), len(columns))
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


def text_of_table(title: str, state: RowState) -> str:
    """The first rows of `state` as aligned plain text."""
    columns, rows = _first_rows(state, TEXT_ROWS_MAX)
    texts = [[cut(text, 30) for text in _row_texts(columns, row)] for row in rows]
    if state.shape == "rows":
        texts = _points_in_line(texts, columns)
    heads = [cut(visible(column.name), 30) for column in columns]
    grid = [heads, *texts] if state.shape == "rows" else texts
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    shown = _fitting(widths)
    lines = ["  ".join(map(_aligned, line[:shown], widths, columns)).rstrip() for line in grid]
    if shown < len(columns):
        lines = [f"{line}  …" for line in lines]
    wrong = [f"error: {cut(visible(state.error))}"] if state.error else []
    wrong += [state.ended] if state.ended else []
    name = [cut(visible(title), 60)] if title else []
    summary = " · ".join([*name, *_size(state, len(rows), len(columns))])
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
    return [_cell_text(value, column).text for value, column in zip(row, columns, strict=True)]


def _first_rows(state: RowState, row_count: int) -> tuple[list[Column], list[Sequence[Any]]]:
    """The first columns and rows, as values by position: column names may repeat."""
    window = state.window(0, min(state.row_count, row_count))
    columns = columns_of(window.schema, state.fields)[:STATIC_COLUMNS_MAX]
    values = [window.column(at).to_pylist() for at in range(len(columns))]
    return columns, list(zip(*values, strict=True))


def _head(columns: Sequence[Column]) -> str:
    return "".join(
        f"<th{_class(_side(column))}>{_text(cut(column.name, 100))}</th>" for column in columns
    )


def _row(columns: Sequence[Column], row: Sequence[Any], shape: Shape) -> str:
    return "".join(_cell(value, column, shape) for value, column in zip(row, columns, strict=True))


def _cell(value: Any, column: Column, shape: Shape) -> str:
    cell = _cell_text(value, column)
    classes = (
        _side(column) if shape != "value" else "v",
        "m" if column.kind in {"id", "json", "bytes"} else "",
        "d" if cell.dim else "",
    )
    title = f' title="{_text(cut(cell.title, STATIC_CHARACTERS_MAX))}"' if cell.title else ""
    text = _text(cut(cell.text, STATIC_CHARACTERS_MAX))
    return f"<td{_class(*classes)}{title}>{text}</td>"


def _class(*names: str) -> str:
    given = " ".join(filter(None, names))
    return f' class="{given}"' if given else ""


def _cell_text(value: Any, column: Column) -> CellText:
    return text_of_cell(value, column.kind)


def _side(column: Column) -> str:
    return "n" if column.kind in NUMERIC_KINDS else ""


def _aligned(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.kind in NUMERIC_KINDS else text.ljust(width)


def _size(state: RowState, shown_rows: int, shown_columns: int) -> list[str]:
    """How much there is, how much of it is shown, and as of when."""
    parts = []
    if state.shape == "rows" and shown_columns:
        rows = counted(state.row_count, "row")
        parts.append(rows if shown_rows == state.row_count else f"first {shown_rows} of {rows}")
        if (columns := len(state.fields)) > shown_columns:
            parts.append(f"first {shown_columns} of {columns:,} columns")
    return [*parts, f"commit {state.number:,}"]


def _text(text: str) -> str:
    """`text` for HTML: escaped, and without the lone surrogates and NUL that no file can hold."""
    return escape(text.encode("utf-8", "replace").decode().replace("\0", "\u2400"), quote=True)
