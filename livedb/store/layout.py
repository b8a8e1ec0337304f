"""The tables inside DuckDB: their shape, where the shape is written down, and how it changes.

    data."<table>"    one row per document: system columns, then a column per field
    main."<table>"    the view that a user's SQL reads: _id, _creationTime and the fields
    main.<function>   what stands before a function of DuckDB in that SQL (`store.bounds`)
    meta.*            format, folded number and chain, the tables' columns, the history, settings

All of it changes inside the transaction of a fold, so a reader's snapshot has the shape and the
rows of one commit.
"""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pyarrow as pa

from livedb.errors import FormatError
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.validators import ObjectValidator, UnionValidator, Validator
from livedb.store import history
from livedb.store.bounds import create_bounds
from livedb.store.columns import (
    SQL_TYPES,
    Column,
    Columns,
    ColumnType,
    Namer,
    columns_from_json,
    columns_to_json,
    plan_columns,
    project,
)
from livedb.store.connection import has_rows, quote, quote_text, registered
from livedb.text import decode_fields

if TYPE_CHECKING:
    from livedb.schema.tables import TableDefinition

FORMAT_NUMBER = 3
"""Of what is said above; a file with a higher one is refused, one with a lower one brought to it.

    2: the macros of `store.bounds`
    3: the catalogs of the past, and how far back it can be read (`store.history`)
"""

SYSTEM_COLUMNS = ("_id", "_creationTime", "_seq", "_number", "_doc")

_REPROJECTED_ROWS = 100_000
"""Rows filled anew from `_doc` at once; bounds the memory of a schema change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One table as DuckDB has it.

    Attributes:
        number: the livedb table's number.
        name: the livedb table's name, and the DuckDB table's.
        has_hidden: some field of some document has no column.
    """

    number: int
    name: str
    columns: Columns = ()
    has_hidden: bool = False


Declared = tuple[tuple[str, ColumnType], ...]


def declared_columns(definition: TableDefinition) -> Declared:
    """The fields a schema declares and their column types, in schema order."""
    document = definition.document
    if isinstance(document, ObjectValidator):
        return tuple((name, field.column_type) for name, field in document.items)
    if isinstance(document, UnionValidator):
        return _shared_columns(document)
    return ()


def _shared_columns(union: UnionValidator) -> Declared:
    """One column per field of any member: the type its members share, JSON when they differ."""
    fields: dict[str, list[Validator]] = {}
    for member in union.members:
        if isinstance(member, ObjectValidator):
            for name, field in member.items:
                fields.setdefault(name, []).append(field.required())
    return tuple(
        (name, UnionValidator(tuple(members)).column_type) for name, members in fields.items()
    )


_SETTINGS = "create table if not exists meta.settings (name varchar, json varchar)"
"""Older workspaces get it with their first setting."""


def prepare(connection: duckdb.DuckDBPyConnection, *, is_new: bool) -> None:
    """Lay out a new database, or bring one of an older livedb up to date.

    Args:
        is_new: whether it was not there before; one that was may be empty as well.

    Raises:
        FormatError: it is another program's, or a newer livedb's.
    """
    number = None if is_new else _format_of(connection)
    if number == FORMAT_NUMBER:
        return
    connection.begin()
    if number is None:
        _create_meta(connection)
    else:
        history.begin(connection, _no_tables())
    create_bounds(connection)
    connection.execute("update meta.format set number = ?", [FORMAT_NUMBER])
    connection.commit()


def _create_meta(connection: duckdb.DuckDBPyConnection) -> None:
    for statement in (
        "create schema data",
        "create schema meta",
        f"create table meta.format as select {FORMAT_NUMBER} as number",
        "create table meta.state (folded_number ubigint, folded_chain blob)",
        "insert into meta.state values (0, ''::blob)",
        # The whole catalog as of folded_number: the log may have dropped the commits that made it.
        "create table meta.catalog (json varchar)",
        """create table meta.tables (
            number ubigint, name varchar, columns varchar, has_hidden boolean
        )""",
        history.CREATE,
        *history.CREATE_PAST,
        f"insert into meta.catalogs values (0, {_no_tables()})",
        "insert into meta.past values (0)",
        # To be told that it is not there costs each open 9 ms: DuckDB looks for a similar name.
        _SETTINGS,
    ):
        connection.execute(statement)


def _no_tables() -> str:
    return quote_text(msgspec.json.encode(Catalog().to_json()).decode())


def _format_of(connection: duckdb.DuckDBPyConnection) -> int | None:
    """The format of the database; None when it is new and empty."""
    try:
        found = connection.sql("select number from meta.format").to_arrow_table()
    except duckdb.CatalogException:
        # Looking through the whole catalog takes DuckDB 10 ms, so only what is not ours pays it.
        if not connection.sql("select 1 from information_schema.tables").to_arrow_table().num_rows:
            return None
        raise FormatError(
            "this DuckDB database was not made by livedb; load its tables instead"
        ) from None
    number: int
    [number] = found.column(0).to_pylist()
    if number > FORMAT_NUMBER:
        raise FormatError(
            f"the workspace's tables have format {number}, this livedb knows {FORMAT_NUMBER}; "
            "update livedb to open it"
        )
    return number


def write_settings(
    connection: duckdb.DuckDBPyConnection, changed: Iterable[Mapping[str, Any]]
) -> None:
    """Keep what commits that are being folded made of settings, given in order."""
    newest = {name: value for settings in changed for name, value in settings.items()}
    if newest:
        connection.execute(_SETTINGS)
    for name, value in newest.items():
        connection.execute("delete from meta.settings where name = ?", [name])
        text = msgspec.json.encode(value).decode()
        connection.execute("insert into meta.settings values (?, ?)", [name, text])


def read_settings(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The settings at the folded number."""
    try:
        rows = connection.sql("from meta.settings").to_arrow_table().to_pylist()
    except duckdb.CatalogException:
        return {}  # an older workspace, in which none was ever set
    return {row["name"]: msgspec.json.decode(row["json"]) for row in rows}


def read_layouts(connection: duckdb.DuckDBPyConnection) -> dict[int, Layout]:
    """Every table of the database by number."""
    rows = connection.sql("from meta.tables").to_arrow_table().to_pylist()
    return {
        row["number"]: Layout(
            number=row["number"],
            name=row["name"],
            columns=columns_from_json(row["columns"]),
            has_hidden=row["has_hidden"],
        )
        for row in rows
    }


def write_catalog(connection: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """Keep the catalog of the commit being folded."""
    connection.execute("delete from meta.catalog")
    text = msgspec.json.encode(catalog.to_json()).decode()
    connection.execute("insert into meta.catalog values (?)", [text])


def read_catalog(connection: duckdb.DuckDBPyConnection) -> Catalog | None:
    """The catalog at the folded number; None before the first fold."""
    texts = connection.sql("select json from meta.catalog").to_arrow_table().column(0).to_pylist()
    return Catalog.from_json(msgspec.json.decode(texts[0])) if texts else None


def create_table(connection: duckdb.DuckDBPyConnection, layout: Layout) -> None:
    """Make an empty table and its view."""
    _create_data(connection, layout)
    connection.execute(
        "insert into meta.tables values ($number, $name, $columns, $has_hidden)",
        {
            "number": layout.number,
            "name": layout.name,
            "columns": columns_to_json(layout.columns),
            "has_hidden": layout.has_hidden,
        },
    )
    _replace_view(connection, layout)


def drop_table(connection: duckdb.DuckDBPyConnection, layout: Layout, number: int) -> None:
    """Remove a table and its view, as commit `number` did; its documents become history."""
    history.move_out_all(connection, layout.number, layout.name, number)
    connection.execute(f"drop view main.{quote(layout.name)}")
    connection.execute(f"drop table data.{quote(layout.name)}")
    connection.execute(f"delete from meta.tables where number = {layout.number}")


def rename_tables(
    connection: duckdb.DuckDBPyConnection, layouts: dict[int, Layout], names: Mapping[int, str]
) -> dict[int, Layout]:
    """`layouts` with the tables of other names renamed.

    By way of a name no table can have, so that two tables may swap theirs.
    """
    changed = [each for number, each in layouts.items() if each.name != names[number]]
    for before in changed:
        connection.execute(f"drop view main.{quote(before.name)}")
        _alter(connection, before, f"rename to {quote(f'{before.number} renamed')}")
    renamed = dict(layouts)
    for before in changed:
        after = replace(before, name=names[before.number])
        aside = replace(before, name=f"{before.number} renamed")
        _alter(connection, aside, f"rename to {quote(after.name)}")
        _write_layout(connection, after)
        _replace_view(connection, after)
        renamed[before.number] = after
    return renamed


def change_table(connection: duckdb.DuckDBPyConnection, before: Layout, after: Layout) -> Layout:
    """Bring a table from one shape to another; columns of the same name keep their values.

    A column of only NULLs is replaced, BIGINT is widened in place; other changes of type belong to
    `reproject`. Returns `after`, with a spill for each widened column that had values which are
    none of DOUBLE's.
    """
    if before == after:
        return after
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    widened = []
    for name, column in old.items():
        if name not in new or (column.type == "null" and new[name].type != "null"):
            _alter(connection, after, f"drop column {quote(name)}")
    for name, column in new.items():
        previous = old.get(name)
        if previous is None or (previous.type == "null" and column.type != "null"):
            _alter(connection, after, f"add column {_column_sql(column)}")
        elif previous.type != column.type:
            assert (previous.type, column.type) == ("bigint", "double"), "only widened in place"
            widened.append(column)
    for column in widened:
        after = _widen(connection, after, column)
    _write_layout(connection, after)
    _replace_view(connection, after)
    return after


def _widen(connection: duckdb.DuckDBPyConnection, table: Layout, column: Column) -> Layout:
    """Make a column of BIGINT one of DOUBLE; values that would be rounded go into its spill.

    Cost: reads the column, and writes it again.
    """
    name = quote(column.name)
    is_exact = is_exact_as_double(name)
    query = f"select 1 from data.{quote(table.name)} where not ({is_exact}) limit 1"
    if has_rows(connection, query):
        table, spill = _with_spill(connection, table, column.field)
        if spill is not None:
            # Of whole numbers only an Int64 is too large for a double.
            text = f"""('{{"$int64":"' || {name} || '"}}')::json"""
            # Not by altering the type: DuckDB would log the expression, and cannot replay one that
            # has JSON in it after a kill, since its extension comes after the replay.
            connection.execute(
                f"update data.{quote(table.name)} set {quote(spill.name)} = {text} "
                f"where {is_exact} is false"
            )
    _alter(
        connection,
        table,
        f"alter column {name} set data type double using case when {is_exact} then {name} end",
    )
    return table


def _with_spill(
    connection: duckdb.DuckDBPyConnection, table: Layout, field: str
) -> tuple[Layout, Column | None]:
    """The table with a spill of `field`; None when another field has the name."""
    for column in table.columns:
        if column.field == field and column.is_spill:
            return table, column
    spill = Column(field, f"{field}__json", "json", is_spill=True)
    if not Namer(table.columns).take(spill.name, is_spill=True):
        return table, None
    _alter(connection, table, f"add column {_column_sql(spill)}")
    return replace(table, columns=(*table.columns, spill)), spill


def is_exact_as_double(number: str) -> str:
    """Whether a DOUBLE holds the whole number `number`, in SQL; NULL for NULL."""
    # HUGEINT, because the DOUBLE next to the largest BIGINT is beyond it.
    return f"try_cast({number} as double)::hugeint = try_cast({number} as hugeint)"


def synchronize(
    connection: duckdb.DuckDBPyConnection, before: Layout | None, table: CatalogTable
) -> Layout:
    """Bring a table, which may not be there yet, to what the catalog says of it."""
    if before is None:
        before = Layout(number=table.number, name=table.definition.name)
        create_table(connection, before)
    declared = declared_columns(table.definition)
    existing = tuple((each.field, each.type) for each in before.columns if each.is_declared)
    return before if declared == existing else declare(connection, before, declared)


def declare(connection: duckdb.DuckDBPyConnection, before: Layout, declared: Declared) -> Layout:
    """Bring a table under a new schema: columns are a projection of `_doc`, documents stay.

    Cost: nothing per row, unless a column changes its type: then about 2 us per document.
    """
    plan = plan_columns(before.columns, declared, has_hidden=before.has_hidden)
    fields = {column.field for column in plan.columns}
    # Declared fields may take all the room for columns there is.
    has_lost = any(column.field not in fields for column in before.columns)
    after = replace(before, columns=plan.columns, has_hidden=before.has_hidden or has_lost)
    if plan.stale:
        after = reproject(connection, before, after, plan.stale)
    else:
        after = change_table(connection, before, after)
    return _drop_empty(connection, after, plan.dropped_if_empty)


def reproject(
    connection: duckdb.DuckDBPyConnection, before: Layout, after: Layout, stale: frozenset[str]
) -> Layout:
    """Make the table anew with the columns of `stale` filled from `_doc`, the others copied.

    DuckDB's `UPDATE .. FROM` costs far more than writing the table again.
    """
    source = replace(before, name=f"{before.name} before")
    _alter(connection, before, f"rename to {quote(source.name)}")
    fresh = {column.name for column in after.columns if column.field in stale}
    old = {column.name: column.type for column in before.columns}
    kept = [
        column.name
        for column in after.columns
        if column.name in old and column.name not in fresh and old[column.name] != "null"
    ]
    _create_data(connection, after)
    for chunk in iter_chunks(connection, source, (*SYSTEM_COLUMNS, *kept)):
        texts: list[Any] = chunk.column("_doc").to_pylist()
        documents = [decode_fields(text) for text in texts]
        projection = project(after.columns, documents, only=stale)
        grown = replace(
            after,
            columns=projection.columns,
            has_hidden=after.has_hidden or projection.has_hidden,
        )
        after = change_table(connection, after, grown)
        filled: dict[str, Any] = {name: chunk.column(name) for name in chunk.column_names}
        insert(connection, after, pa.table({**filled, **projection.arrays}))
    connection.execute(f"drop table data.{quote(source.name)}")
    _write_layout(connection, after)
    _replace_view(connection, after)
    return after


def insert(connection: duckdb.DuckDBPyConnection, layout: Layout, rows: pa.Table) -> None:
    """Append `rows`, whose columns are named as the table's; a column not there is NULL."""
    json_columns = {column.name for column in layout.columns if column.type == "json"}
    names = ", ".join(quote(name) for name in rows.column_names)
    values = ", ".join(
        f"try_cast({quote(name)} as json)" if name in json_columns else quote(name)
        for name in rows.column_names
    )
    with registered(connection, "livedb_rows", rows):
        connection.execute(
            f"insert into data.{quote(layout.name)} ({names}) select {values} from livedb_rows"
        )


def iter_chunks(
    connection: duckdb.DuckDBPyConnection, layout: Layout, names: tuple[str, ...]
) -> Iterator[pa.Table]:
    """The rows a table has now, these columns of them, in blocks."""
    table = f"data.{quote(layout.name)}"
    bounds = connection.sql(f"select max(rowid) as last from {table}").to_arrow_table()
    last = bounds.column(0)[0].as_py()
    selected = ", ".join(quote(name) for name in names)
    for start in range(0, 0 if last is None else last + 1, _REPROJECTED_ROWS):
        chunk = connection.sql(
            f"select {selected} from {table} "
            f"where rowid >= {start} and rowid < {start + _REPROJECTED_ROWS}"
        ).to_arrow_table()
        if chunk.num_rows:
            yield chunk


def _drop_empty(
    connection: duckdb.DuckDBPyConnection, layout: Layout, names: frozenset[str]
) -> Layout:
    if not names:
        return layout
    ordered = sorted(names)
    counts = connection.sql(
        f"select {', '.join(f'count({quote(name)})' for name in ordered)} "
        f"from data.{quote(layout.name)}"
    ).to_arrow_table()
    empty = {name for at, name in enumerate(ordered) if counts.column(at)[0].as_py() == 0}
    after = replace(
        layout, columns=tuple(column for column in layout.columns if column.name not in empty)
    )
    return change_table(connection, layout, after)


def _create_data(connection: duckdb.DuckDBPyConnection, layout: Layout) -> None:
    columns = "".join(f", {_column_sql(column)}" for column in layout.columns)
    connection.execute(
        f"create table data.{quote(layout.name)} (_id varchar, _creationTime double, "
        f"_seq ubigint, _number ubigint, _doc blob{columns})"
    )


def _column_sql(column: Column) -> str:
    return f"{quote(column.name)} {SQL_TYPES[column.type]}"


def _alter(connection: duckdb.DuckDBPyConnection, layout: Layout, action: str) -> None:
    connection.execute(f"alter table data.{quote(layout.name)} {action}")


def _replace_view(connection: duckdb.DuckDBPyConnection, layout: Layout) -> None:
    fields = "".join(f", {quote(column.name)}" for column in layout.columns)
    connection.execute(
        f"create or replace view main.{quote(layout.name)} as "
        f"select _id, _creationTime{fields} from data.{quote(layout.name)}"
    )


def _write_layout(connection: duckdb.DuckDBPyConnection, layout: Layout) -> None:
    connection.execute(
        "update meta.tables set name = $name, columns = $columns, has_hidden = $has_hidden "
        "where number = $number",
        {
            "name": layout.name,
            "columns": columns_to_json(layout.columns),
            "has_hidden": layout.has_hidden,
            "number": layout.number,
        },
    )
