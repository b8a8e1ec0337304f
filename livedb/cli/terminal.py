"""What commands print: results on stdout, all else on stderr; colours only on a terminal.

Values of documents are shown as text: nothing in them is a style, a control sequence or a
direction of writing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from livedb.text import encode_value
from livedb.values import UNSET, Value

_ID_LENGTH = 32
_WIDE = 100_000
"""Columns of what is no terminal: nothing is cut for whoever reads the lines of a pipe."""


def say(text: str) -> None:
    """Print a line of a command's result."""
    typer.echo(text)


def note(text: str) -> None:
    """Print what a person should know beside the result."""
    _errors().print(Text(shown(text), style="dim"))


def complain(text: str) -> None:
    """Print what went wrong."""
    _errors().print(Text.assemble(("error: ", "bold red"), _lines(text)))


def say_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns' names."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        # An id is there to be copied: other columns make room for it.
        width = _ID_LENGTH if column == "_id" else None
        table.add_column(Text(shown(column)), overflow="ellipsis", no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    _console().print(table)


def cell(value: Value) -> str:
    """A value as a cell of a table: text as it is, all else as livedb's text form."""
    if value is UNSET:
        return ""
    return value if type(value) is str else encode_value(value).decode()


def shown(text: str) -> str:
    """Text that a terminal cannot take for anything else."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


@contextmanager
def progress_bar(totals: Mapping[str, int | None]) -> Iterator[Callable[[str, int], None] | None]:
    """What long work reports its rows to, by table; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_errors(), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(name: str, rows: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(shown(name), total=totals.get(name))
            bar.update(tasks[name], completed=rows)

        yield report


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask before what cannot be undone; only a person at a terminal is asked."""
    if not is_sure and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


def _lines(text: str) -> str:
    return "\n".join(shown(line) for line in text.splitlines())


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def _errors() -> Console:
    return Console(
        stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else _WIDE
    )
