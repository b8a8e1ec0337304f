"""What `db` displays: its tables, functions, live results and newest commits.

A look at one moment: as HTML and as text it stays as it was, and `explorer` looks again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from livedb.client.table import whole_table_sql
from livedb.errors import AuthenticationError, ClosedError, PermissionDeniedError
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
    from livedb.activity import ActivityReport, CommitLine, FunctionRuns, Person
    from livedb.client.database import Database
    from livedb.notebook.handles import Handle
from livedb.schema.search_indexes import SearchIndexDefinition
from livedb.schema.tables import AnyIndex, IndexDefinition, TableDefinition, fields_of

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
class Line:
    """One line of a section.

    Attributes:
        opens: what a click opens, if anything: see `Explorer`.
    """

    cells: tuple[str, ...]
    opens: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under one heading; the cells of columns in `numeric` are set right."""

    heads: tuple[str, ...]
    lines: Sequence[Line]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Overview:
    """A workspace at one moment."""

    title: str
    number: int
    sections: tuple[Section, ...]


def overview_of(
    database: Database, handles: Sequence[Handle[object]], *, address: str = ""
) -> dict[str, str]:
    """The mime bundle of `database`; `handles` are its live results.

    Args:
        address: of the explorer that a page with a kernel puts in its place; "" if there is none.

    Cost: a count of each table, and what each live result costs; no table is loaded for it.
    """
    try:
        database.backend.require_open()
    except ClosedError:
        return {"text/plain": repr(database)}
    seen = look_at(database, handles)
    return {"text/html": _html(seen, address), "text/plain": _text(seen)}


def state_of(database: Database, handles: Sequence[Handle[object]]) -> dict[str, Any]:
    """What a page draws of it: `State` in `widgets/src/model/explorer.ts`."""
    seen = look_at(database, handles)
    return {
        "title": visible(cut(seen.title, 200)),
        "status": str(database.status),
        "number": seen.number,
        "sections": [
            {
                "heads": section.heads,
                "numeric": sorted(section.numeric),
                "lines": [
                    {"cells": [visible(cut(cell, 300)) for cell in line.cells], "opens": line.opens}
                    for line in section.lines[:LINES_MAX]
                ],
                "more": max(0, len(section.lines) - LINES_MAX),
            }
            for section in seen.sections
        ],
    }


def look_at(database: Database, handles: Sequence[Handle[object]]) -> Overview:
    """How a workspace is now; without what its caller may not see."""
    report = _report(database)
    # Not the whole path: a notebook that is shared should not tell where it lay.
    return Overview(
        f"livedb {PurePath(database.backend.name).name}",
        database.number if report is None else report.number,
        (
            _tables(database, None if report is None else report.counts),
            _functions(database, {} if report is None else report.runs),
            _handles(handles),
            _people(() if report is None else report.people),
            _commits(() if report is None else report.commits),
        ),
    )


def _report(database: Database) -> ActivityReport | None:
    try:
        return database.backend.activity()
    except (AuthenticationError, PermissionDeniedError):
        return None


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


def _tables(database: Database, counts: Mapping[str, int] | None) -> Section:
    lines = []
    for name in database.tables if counts is None else counts:
        schema = database[name].schema
        if schema is not None:
            fields = _fields(schema) or _columns(database, name)
            count = "" if counts is None else f"{counts[name]:,}"
            lines.append(Line((name, count, fields, _indexes(schema)), ("table", name)))
    return Section(("table", "documents", "fields", "indexes"), lines, frozenset({1}))


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
        f"{_index_kind(index)}{index.name}({', '.join(fields_of(index))})"
        for index in schema.every_index
    )


def _index_kind(index: AnyIndex) -> str:
    if isinstance(index, IndexDefinition):
        return "unique " if index.is_unique else ""
    return "text " if isinstance(index, SearchIndexDefinition) else "vector "


def _functions(database: Database, runs: Mapping[str, FunctionRuns]) -> Section:
    lines = []
    for name in database.functions:
        function = database.function(name)
        kind, _, signature = repr(function)[1:-1].partition(" ")
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        cells = (kind, signature, summary, *_of_runs(runs.get(name)))
        lines.append(Line(cells, _opens(function)))
    heads = ("function", "signature", "", "runs", "took", "failed")
    return Section(heads, lines, frozenset({3, 4}))


def _of_runs(runs: FunctionRuns | None) -> tuple[str, str, str]:
    if runs is None:
        return "", "", ""
    failed = f"{runs.errors:,} times; last: {runs.error}" if runs.errors > 1 else runs.error
    return f"{runs.runs:,}", "" if runs.mean_s is None else _duration(runs.mean_s), failed


def _opens(function: Any) -> tuple[str, str]:
    """A form calls a mutation or an action; a query is followed, once it has what it needs."""
    kind = function.definition.kind
    if kind in ("mutation", "action"):
        return "form", function.name
    signature = function.definition.signature
    needed = set(signature.wire_names) - set(signature.defaults)
    return ("arguments" if needed else "query"), function.name


def _handles(handles: Sequence[Handle[object]]) -> Section:
    lines = []
    for handle in handles:
        work = handle.work()
        as_of = f"commit {handle.version:,}" + (" · error" if handle.error else "")
        took = _duration(work.run_s) if work.runs else ""
        cells = (handle.title, as_of, f"{work.runs:,}", took, "; ".join(work.reads))
        lines.append(Line(cells, ("handle", str(id(handle)))))
    return Section(("live result", "as of", "runs", "took", "reads"), lines, frozenset({2, 3}))


def _people(people: Sequence[Person]) -> Section:
    lines = [
        Line((each.name or "not known yet", each.role, each.client, _time(each.since_s)))
        for each in people
    ]
    return Section(("here now", "role", "with", "since (UTC)"), lines)


def _commits(commits: Sequence[CommitLine]) -> Section:
    lines = [
        Line(
            (f"{each.number:,}", _time(each.at_s), each.function or "", each.author or "",
             ", ".join(each.changes)),
            ("commit", str(each.number)),
        )
        for each in commits
    ]  # fmt: skip
    return Section(("commit", "at (UTC)", "function", "by", "what"), lines)


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: float) -> str:
    """`85 us`, `1.2 ms`, `340 ms`, `2.4 s`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def _html(seen: Overview, address: str) -> str:
    tables = "".join(_html_section(section) for section in seen.sections if section.lines)
    shown = tables or "<table></table>"
    return framed(seen.title, shown, [f"commit {seen.number:,}"], address=address)


def _html_section(section: Section) -> str:
    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if at in section.numeric else ''}"
            f' title="{_safe(text)}">{_safe(cut(text, 200))}</{tag}>'
            for at, text in enumerate(texts)
        )

    lines = "".join(f"<tr>{cells('td', line.cells)}</tr>" for line in section.lines[:LINES_MAX])
    more = len(section.lines) - LINES_MAX
    rest = f"<tr><td>and {more:,} more</td></tr>" if more > 0 else ""
    head = f"<thead><tr>{cells('th', section.heads)}</tr></thead>"
    return f"<table>{head}<tbody>{lines}{rest}</tbody></table>"


def _safe(text: str) -> str:
    return escape(cut(visible(text)).encode("utf-8", "replace").decode(), quote=True)


def _text(seen: Overview) -> str:
    blocks = [f"{seen.title} · commit {seen.number:,}"]
    blocks += ["\n".join(_text_lines(section)) for section in seen.sections if section.lines]
    if len(blocks) == 1:
        blocks.append("no tables yet: @db.table defines one, or db[name].insert(document)")
    return "\n\n".join(blocks)


def _text_lines(section: Section) -> list[str]:
    grid = [section.heads, *(line.cells for line in section.lines[:LINES_MAX])]
    grid = [tuple(visible(text) for text in line) for line in grid]
    widths = [min(60, max(map(len, texts))) for texts in zip(*grid, strict=True)]
    lines = [
        "  ".join(
            cut(text, width).rjust(width)
            if at in section.numeric
            else cut(text, width).ljust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in grid
    ]
    more = len(section.lines) - LINES_MAX
    rest = [f"and {more:,} more"] if more > 0 else []
    return [cut(line.rstrip(), TEXT_CHARACTERS_MAX) for line in lines] + rest
