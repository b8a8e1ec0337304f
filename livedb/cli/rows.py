"""`data` and `sql`: the documents of a table, the rows of a statement."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livedb.cli.commands import command
from livedb.cli.health import JsonOption
from livedb.cli.opening import AdminKeyOption, Place, PlaceCommand, UrlOption, backend_at
from livedb.cli.terminal import cell, note, say, say_json, say_table
from livedb.errors import LoadError
from livedb.schema.tables import SYSTEM_TABLES
from livedb.text import encode_value
from livedb.values import UNSET

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.client.backend import Backend


class Order(StrEnum):
    """Of creation."""

    ASC = "asc"
    DESC = "desc"


class DataFormat(StrEnum):
    """How documents are printed."""

    PRETTY = "pretty"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(
        app,
        "data",
        cls=PlaceCommand,
        examples=[
            "data shop.livedb",
            "data shop.livedb tasks --limit 20",
            "data shop.livedb tasks --order asc --format jsonl > tasks.jsonl",
            "data --url http://127.0.0.1:3210 tasks",
        ],
    )
    def data(
        place: Place,
        table: Annotated[
            str | None,
            typer.Argument(
                metavar="[TABLE]", help="The table; without one, the tables are listed."
            ),
        ] = None,
        *,
        limit: Annotated[int, typer.Option(min=1, help="Documents to show at most.")] = 100,
        order: Annotated[Order, typer.Option(help="By creation time.")] = Order.DESC,
        output: Annotated[
            DataFormat, typer.Option("--format", help="JSON lines can be imported again.")
        ] = DataFormat.PRETTY,
        as_json: JsonOption = False,
        url: UrlOption = None,
        admin_key: AdminKeyOption = None,
    ) -> None:
        """List the tables, or show the documents of one."""
        with backend_at(place, url, admin_key) as backend:
            if table is None:
                _say_tables(backend, as_json=as_json or output is DataFormat.JSONL)
                return
            documents = _documents(backend, table, limit, order)
        if as_json:
            _say_array(encode_value(each).decode() for each in documents)
        elif output is DataFormat.JSONL:
            for each in documents:
                say(encode_value(each).decode())
        else:
            names = list(dict.fromkeys(name for each in documents for name in each))
            ordered = ["_id", *(each for each in names if each not in _SYSTEM), "_creationTime"]
            rows = [[cell(each.get(name, UNSET)) for name in ordered] for each in documents]
            say_table(ordered, rows) if rows else note(f"Table {table!r} has no documents.")

    @command(
        app,
        "sql",
        cls=PlaceCommand,
        examples=[
            "sql shop.livedb 'select status, count(*) from tasks group by 1'",
            "sql shop.livedb 'from tasks' --csv > tasks.csv",
            "sql shop.livedb 'from tasks' --parquet tasks.parquet",
        ],
    )
    def sql(
        place: Place,
        statement: Annotated[str, typer.Argument(help="One SQL statement that reads.")],
        *,
        as_json: JsonOption = False,
        as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
        parquet: Annotated[
            Path | None, typer.Option(help="Write the rows to a Parquet file.")
        ] = None,
        overwrite: Annotated[bool, typer.Option(help="Replace the Parquet file.")] = False,
        url: UrlOption = None,
        admin_key: AdminKeyOption = None,
    ) -> None:
        """Run a SQL statement over every commit so far."""
        if as_json + as_csv + (parquet is not None) > 1:
            raise typer.BadParameter("--json, --csv and --parquet exclude each other")
        with backend_at(place, url, admin_key) as backend:
            table, number = backend.sql(statement, None)
        if parquet is not None:
            from livedb.interchange.exports import export

            say(repr(export(table, parquet, format="parquet", number=number, overwrite=overwrite)))
        elif as_csv or as_json:
            _write(table, "csv" if as_csv else "jsonl")
        else:
            say_table(table.column_names, [*_rows_of(table)])


_SYSTEM = ("_id", "_creationTime")


def _say_tables(backend: Backend, *, as_json: bool) -> None:
    counts = backend.counts()
    if as_json:
        say_json([{"name": name, "documents": count} for name, count in counts.items()])
    elif counts:
        say_table(["table", "documents"], [[name, f"{count:,}"] for name, count in counts.items()])
    else:
        note("There are no tables yet.")


def _documents(backend: Backend, table: str, limit: int, order: Order) -> Sequence[dict[str, Any]]:
    found = backend.page(table, limit=limit, is_descending=order is Order.DESC)
    if found is None and table in SYSTEM_TABLES:
        return []  # nothing was ever in it
    if found is None:
        names = backend.catalog().names()
        from livedb.functions.definition import did_you_mean

        advice = did_you_mean(table, names) or f"There are: {', '.join(names) or 'none yet'}."
        raise LoadError(f"There is no table {table!r}. {advice}")
    return found


def _say_array(items: Iterable[str]) -> None:
    """Print JSON texts as one array, a line each."""
    waiting = "["
    for item in items:
        say(f"{waiting},") if waiting != "[" else say("[")
        waiting = f"  {item}"
    if waiting == "[":
        say("[]")
    else:
        say(f"{waiting}\n]")


def _write(table: pa.Table, form: str) -> None:
    """Rows as text on stdout; JSON is one array."""
    import io

    from livedb.interchange.exports import write_rows

    sys.stdout.flush()
    if form == "csv":
        write_rows(table, sys.stdout.buffer, format="csv")
        sys.stdout.buffer.flush()
        return
    buffer = io.BytesIO()
    write_rows(table, buffer, format="jsonl")
    _say_array(line.decode() for line in buffer.getvalue().splitlines())


def _rows_of(table: pa.Table) -> Iterator[list[str]]:
    for row in table.to_pylist():
        yield [_sql_cell(value) for value in row.values()]


def _sql_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)
