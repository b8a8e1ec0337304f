"""A table as static HTML and as plain text: what is left when there is no kernel.

At most `STATIC_ROWS_MAX` rows and `STATIC_COLUMNS_MAX` columns, every text escaped and cut, colours
inherited from the host, so that the same HTML is readable on a light page, a dark one and on paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import accumulate
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

if TYPE_CHECKING:
    from livedb.notebook.rows import RowState

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

_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:12px;color:inherit"
_HEAD = "padding:3px 10px;border-bottom:1px solid #8888;font-weight:600;white-space:nowrap"
_CELL = (
    "padding:3px 10px;border-bottom:1px solid #8883;white-space:pre;max-width:28em;"
    "overflow:hidden;text-overflow:ellipsis;unicode-bidi:isolate"
)
_MONOSPACE = ";font-family:ui-monospace,Menlo,Consolas,monospace"
_DIM = ";opacity:.55"


def html_of_table(title: str, state: RowState) -> str:
    """The first rows of `state` as an HTML table."""
    columns, rows = _first_rows(state, STATIC_ROWS_MAX)
    head = "" if state.shape == "value" else f"<thead><tr>{_head(columns)}</tr></thead>"
    body = "".join(f"<tr>{_row(columns, row)}</tr>" for row in rows)
    error = (
        f'<div role="alert" style="white-space:pre-wrap">▲ {_text(cut(state.error))}</div>'
        if state.error
        else ""
    )
    label, summary = cut(title, 100), _summary(title, state, len(rows), len(columns))
    return (
        f'<div style="overflow-x:auto;color:inherit">{error}'
        f'<table style="{_TABLE}" aria-label="{_text(label)}">{head}<tbody>{body}</tbody></table>'
        f'<div style="font-size:11px;opacity:.7;padding:4px 0">{_text(summary)}</div></div>'
    )


def text_of_table(title: str, state: RowState) -> str:
    """The first rows of `state` as aligned plain text."""
    columns, rows = _first_rows(state, TEXT_ROWS_MAX)
    grid = [[cut(visible(column.name), 30) for column in columns]]
    grid += [[cut(text, 30) for text in _row_texts(columns, row)] for row in rows]
    widths = [max(map(len, texts)) for texts in zip(*grid, strict=True)]
    shown = _fitting(widths)
    lines = ["  ".join(map(_aligned, line[:shown], widths, columns)).rstrip() for line in grid]
    if shown < len(columns):
        lines = [f"{line}  …" for line in lines]
    error = [f"error: {cut(visible(state.error))}"] if state.error else []
    return "\n".join([*error, *lines, _summary(title, state, len(rows), len(columns))])


def _fitting(widths: Sequence[int]) -> int:
    """How many columns of these widths fit on a line; at least one."""
    ends = accumulate(width + 2 for width in widths)
    return max(1, sum(end <= TEXT_CHARACTERS_MAX for end in ends))


def _row_texts(columns: Sequence[Column], row: Sequence[Any]) -> list[str]:
    return [_cell_text(value, column).text for value, column in zip(row, columns, strict=True)]


def _first_rows(state: RowState, row_count: int) -> tuple[list[Column], list[Sequence[Any]]]:
    """The first columns and rows, as values by position: column names may repeat."""
    window = state.window(0, min(state.row_count, row_count))
    columns = columns_of(window.schema, state.fields)[:STATIC_COLUMNS_MAX]
    values = [window.column(at).to_pylist() for at in range(len(columns))]
    return columns, list(zip(*values, strict=True))


def _head(columns: Sequence[Column]) -> str:
    return "".join(map(_head_cell, columns))


def _head_cell(column: Column) -> str:
    style = f"{_HEAD};text-align:{_side(column)}"
    return f'<th scope="col" style="{style}">{_text(cut(column.name, 100))}</th>'


def _row(columns: Sequence[Column], row: Sequence[Any]) -> str:
    return "".join(_cell(value, column) for value, column in zip(row, columns, strict=True))


def _cell(value: Any, column: Column) -> str:
    cell = _cell_text(value, column)
    style = _CELL + f";text-align:{_side(column)}"
    style += _MONOSPACE if column.kind in {"id", "json", "bytes"} else ""
    style += _DIM if cell.dim else ""
    title = f' title="{_text(cut(cell.title, STATIC_CHARACTERS_MAX))}"' if cell.title else ""
    return (
        f'<td dir="auto" style="{style}"{title}>{_text(cut(cell.text, STATIC_CHARACTERS_MAX))}</td>'
    )


def _cell_text(value: Any, column: Column) -> CellText:
    return text_of_cell(value, column.kind)


def _side(column: Column) -> str:
    return "right" if column.kind in NUMERIC_KINDS else "left"


def _aligned(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.kind in NUMERIC_KINDS else text.ljust(width)


def _summary(title: str, state: RowState, shown_rows: int, shown_columns: int) -> str:
    parts = [cut(visible(title), 100)] if title else []
    if state.shape == "rows":
        rows = f"{state.row_count:,} row{'' if state.row_count == 1 else 's'}"
        parts.append(rows if shown_rows == state.row_count else f"first {shown_rows} of {rows}")
        if (columns := len(state.fields)) > shown_columns:
            parts.append(f"first {shown_columns} of {columns:,} columns")
    parts.append(f"commit {state.number:,}")
    return " · ".join(parts)


def _text(text: str) -> str:
    """`text` for HTML: escaped, and without the lone surrogates and NUL that no file can hold."""
    return escape(text.encode("utf-8", "replace").decode().replace("\0", "\u2400"), quote=True)
