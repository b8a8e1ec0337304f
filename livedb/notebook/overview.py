"""What `db` displays: its tables, functions and live results, as HTML and as text.

A plain picture of one moment, as of one commit; it does not follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING

from livedb.client.table import whole_table_sql
from livedb.errors import ClosedError
from livedb.notebook.cells import cut, visible
from livedb.notebook.display import framed
from livedb.schema.validators import (
    ArrayValidator,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
)

if TYPE_CHECKING:
    from livedb.client.database import Database
    from livedb.notebook.handles import Handle
    from livedb.schema.tables import TableDefinition

LINES_MAX = 50
"""Tables, functions or live results that are listed of each."""

TEXT_CHARACTERS_MAX = 110
"""Characters of a line of the text form."""

_TYPES = {
    "string": "str",
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "bigint": "Int64",
    "null": "None",
}


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under one heading; a cell's column is set right where `numeric` says so."""

    heads: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]
    numeric: int | None = None


def overview_of(database: Database, handles: Sequence[Handle[object]]) -> dict[str, str]:
    """The mime bundle of `database`; `handles` are its live results.

    Cost: one SQL statement that counts; no table is loaded for it.
    """
    try:
        database.backend.require_open()
    except ClosedError:
        return {"text/plain": repr(database)}
    counts, number = _counts(database)
    sections = [
        _tables(database, counts),
        _functions(database),
        Section(
            ("live result", "as of"),
            [
                (
                    handle.title,
                    f"commit {handle.version:,}" + (" · error" if handle.error else ""),
                )
                for handle in handles
            ],
        ),
    ]
    # Not the whole path: a notebook that is shared should not tell where it lay.
    title = f"livedb {PurePath(database.backend.name).name}"
    return {
        "text/html": _html(title, number, sections),
        "text/plain": _text(title, number, sections),
    }


def type_text(validator: Validator) -> str:
    """A type as an annotation would say it: `int | None`."""
    match validator:
        case IdValidator():
            return f"Id[{validator.table}]"
        case LiteralValidator():
            return repr(validator.value)
        case ArrayValidator():
            return f"list[{type_text(validator.element)}]"
        case RecordValidator():
            return f"dict[str, {type_text(validator.values)}]"
        case UnionValidator():
            return " | ".join(map(type_text, validator.members))
        case ObjectValidator():
            return "{" + ", ".join(f"{name}: {type_text(of)}" for name, of in validator.items) + "}"
        case _:
            return _TYPES.get(validator.kind, validator.kind)


def _counts(database: Database) -> tuple[dict[str, int], int]:
    """Documents of each table, at one commit."""
    names = database.tables
    if not names:
        return {}, database.number
    columns = ", ".join(f"(select count(*) from ({whole_table_sql(name)}))" for name in names)  # noqa: S608  # quoted
    rows, number = database.backend.sql(f"select {columns}", None)
    return dict(zip(names, (column[0].as_py() for column in rows.columns), strict=True)), number


def _tables(database: Database, counts: dict[str, int]) -> Section:
    lines = []
    for name, count in counts.items():
        schema = database[name].schema
        if schema is not None:
            fields = _fields(schema) or _columns(database, name)
            lines.append((name, f"{count:,}", fields, _indexes(schema)))
    return Section(("table", "documents", "fields", "indexes"), lines, numeric=1)


def _fields(schema: TableDefinition) -> str:
    if not isinstance(schema.document, ObjectValidator):
        return "" if schema.document is None else type_text(schema.document)
    return ", ".join(
        f"{name}{'?' if of.is_optional else ''}: {type_text(of)}"
        for name, of in schema.document.items
    )


def _columns(database: Database, name: str) -> str:
    """The fields seen in a table without a schema."""
    rows, _ = database.backend.sql(f"select * from ({whole_table_sql(name)}) limit 0", None)  # noqa: S608  # quoted
    return ", ".join(each for each in rows.column_names if each not in {"_id", "_creationTime"})


def _indexes(schema: TableDefinition) -> str:
    return ", ".join(
        f"{'unique ' if index.is_unique else ''}{index.name}({', '.join(index.fields)})"
        for index in schema.indexes
    )


def _functions(database: Database) -> Section:
    lines = []
    for name in database.functions:
        function = database.function(name)
        kind, _, signature = repr(function)[1:-1].partition(" ")
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        lines.append((kind, signature, summary))
    return Section(("function", "signature", ""), lines)


def _html(title: str, number: int, sections: Sequence[Section]) -> str:
    tables = "".join(_html_section(section) for section in sections if section.lines)
    return framed(title, tables or "<table></table>", [f"commit {number:,}"])


def _html_section(section: Section) -> str:
    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if at == section.numeric else ''}"
            f' title="{_safe(text)}">{_safe(cut(text, 200))}</{tag}>'
            for at, text in enumerate(texts)
        )

    lines = "".join(f"<tr>{cells('td', line)}</tr>" for line in section.lines[:LINES_MAX])
    more = len(section.lines) - LINES_MAX
    rest = f"<tr><td>and {more:,} more</td></tr>" if more > 0 else ""
    head = f"<thead><tr>{cells('th', section.heads)}</tr></thead>"
    return f"<table>{head}<tbody>{lines}{rest}</tbody></table>"


def _safe(text: str) -> str:
    return escape(cut(visible(text)).encode("utf-8", "replace").decode(), quote=True)


def _text(title: str, number: int, sections: Sequence[Section]) -> str:
    blocks = [f"{title} · commit {number:,}"]
    blocks += ["\n".join(_text_lines(section)) for section in sections if section.lines]
    if len(blocks) == 1:
        blocks.append("no tables yet: @db.table defines one, or db[name].insert(document)")
    return "\n\n".join(blocks)


def _text_lines(section: Section) -> list[str]:
    grid = [section.heads, *section.lines[:LINES_MAX]]
    grid = [tuple(visible(text) for text in line) for line in grid]
    widths = [min(60, max(map(len, texts))) for texts in zip(*grid, strict=True)]
    lines = [
        "  ".join(
            cut(text, width).rjust(width)
            if at == section.numeric
            else cut(text, width).ljust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in grid
    ]
    more = len(section.lines) - LINES_MAX
    rest = [f"and {more:,} more"] if more > 0 else []
    return [cut(line.rstrip(), TEXT_CHARACTERS_MAX) for line in lines] + rest
