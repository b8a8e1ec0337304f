"""`db["tasks"]`: a table with reads and one-step writes, without writing a function."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from livedb.errors import ClosedError, InvalidValueError
from livedb.functions.context import MutationContext, QueryContext
from livedb.functions.definition import FunctionDefinition, FunctionKind
from livedb.functions.index_range import IndexRangeBuilder
from livedb.functions.query_builder import DocumentQuery
from livedb.interchange.frames import FrameMixin, fields_of
from livedb.schema.annotations import signature_validators
from livedb.schema.tables import TableDefinition
from livedb.values import Document

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.client.database import Database
    from livedb.interchange.arrow import FieldType
    from livedb.notebook.handles import Handle

R = TypeVar("R")

Step = Callable[[DocumentQuery[Document]], DocumentQuery[Document]]


def _any_arguments(ctx: Any, **arguments: Any) -> Any:
    """Only for its signature: a one-step function checks its arguments itself."""


_SIGNATURE = replace(signature_validators(_any_arguments), returns=None)


def _one_step(name: str, kind: FunctionKind, handler: Callable[[Any], Any]) -> FunctionDefinition:
    return FunctionDefinition(
        name=name, kind=kind, visibility="internal", handler=handler, signature=_SIGNATURE
    )


class TableQuery:
    """Documents of one table, narrowed and ordered; each verb is one query."""

    def __init__(
        self, database: Database, table: str, steps: tuple[Step, ...] = (), text: str = ""
    ) -> None:
        self._database = database
        self.name = table
        self._steps = steps
        self._text = text

    def with_index(
        self,
        name: str,
        range: Callable[[IndexRangeBuilder], IndexRangeBuilder] | None = None,  # noqa: A002  # Convex's word
        /,
        **equalities: Any,
    ) -> TableQuery:
        """Read by an index: see `DocumentQuery.with_index`."""
        # Two ranges built by code cannot be compared, so each is a live query of its own.
        shown = "" if range is None else f", <range {id(range)}>"
        given = "".join(f", {key}={value!r}" for key, value in equalities.items())
        return self._then(
            lambda query: query.with_index(name, range, **equalities),
            f".with_index({name!r}{shown}{given})",
        )

    def order(self, order: Literal["asc", "desc"]) -> TableQuery:
        """Read in index order or backwards."""
        return self._then(lambda query: query.order(order), f".order({order!r})")

    def filter(self, build: Callable[[Any], Any]) -> TableQuery:
        """Keep documents for which an expression holds: see `DocumentQuery.filter`."""
        return self._then(lambda query: query.filter(build), f".filter(<{id(build)}>)")

    def collect(self) -> list[Document]:
        """All documents."""
        return self._read("collect", lambda query: query.collect())

    def take(self, count: int) -> list[Document]:
        """The first `count` documents."""
        return self._read(f"take({count})", lambda query: query.take(count))

    def first(self) -> Document | None:
        """The first document, or None."""
        return self._read("first", lambda query: query.first())

    def unique(self) -> Document | None:
        """The only document, or None; an error when there are more."""
        return self._read("unique", lambda query: query.unique())

    def paginate(self, options: Mapping[str, Any] | None = None, **given: Any) -> Document:
        """One page: see `DocumentQuery.paginate`."""
        return self._read("paginate", lambda query: query.paginate(options, **given))

    def __iter__(self) -> Iterator[Document]:
        return iter(self.collect())

    def live(self) -> Handle[list[Document]]:
        """A handle that follows these documents."""
        return self._database.live_function(self._function("", lambda query: query.collect()), {})

    def __repr__(self) -> str:
        return f"db[{self.name!r}]{self._text}"

    def _then(self, step: Step, text: str) -> TableQuery:
        return TableQuery(self._database, self.name, (*self._steps, step), self._text + text)

    def _function(
        self, verb: str, read: Callable[[DocumentQuery[Document]], Any]
    ) -> FunctionDefinition:
        steps, table = self._steps, self.name

        def handler(ctx: QueryContext) -> Any:
            query: DocumentQuery[Document] = ctx.db.query(table)
            for step in steps:
                query = step(query)
            return read(query)

        suffix = f".{verb}" if verb else ""
        return replace(_one_step(f"{table}{self._text}{suffix}", "query", handler), table=table)

    def _read(self, verb: str, read: Callable[[DocumentQuery[Document]], R]) -> R:
        found: R = self._database.backend.run(self._function(verb, read), {})
        return found


class Table(TableQuery, FrameMixin):
    """A table of the workspace, existing or not yet.

    Writes are mutations of one step, named `<table>:insert` and so on; each returns when it is
    durable. As a frame or a file it is the whole table as SQL sees it: a value that does not fit
    its field's column stands in `<field>__json`. Frames have lists and objects as the schema types
    them, files as JSON text, which loads again exactly. Fields that have no column (beyond 256, or
    names that SQL cannot tell apart, such as `a` and `A`) are left out with a `UserWarning` that
    names them; `collect` and `paginate` read documents whole.
    """

    def __init__(self, database: Database, name: str) -> None:
        super().__init__(database, name)

    # -- writes --------------------------------------------------------------------------------

    def insert(self, document: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
        """Insert one document, or several in one transaction; returns its id, or their ids."""
        if isinstance(document, Mapping):
            return self._write("insert", lambda ctx: ctx.db.insert(self.name, document))
        documents = _documents(self.name, document)
        return self._write("insert", lambda ctx: _insert_each(ctx, self.name, documents))

    def patch(self, document_id: str, changes: Mapping[str, Any]) -> None:
        """Change some fields; `livedb.UNSET` removes one."""
        self._write("patch", lambda ctx: ctx.db.patch(self.name, document_id, changes))

    def replace(self, document_id: str, document: Mapping[str, Any]) -> None:
        """Replace a document but for `_id` and `_creationTime`."""
        self._write("replace", lambda ctx: ctx.db.replace(self.name, document_id, document))

    def delete(self, document_id: str) -> None:
        """Delete a document."""
        self._write("delete", lambda ctx: ctx.db.delete(self.name, document_id))

    def _write(self, verb: str, handler: Callable[[MutationContext], Any]) -> Any:
        step = _one_step(f"{self.name}:{verb}", "mutation", handler)
        return self._database.backend.run(step, {})

    # -- reads ---------------------------------------------------------------------------------

    def get(self, document_id: str) -> Document | None:
        """The document with this id, or None."""
        name = self.name
        step = _one_step(f"{name}:get", "query", lambda ctx: ctx.db.get(name, document_id))
        found: Document | None = self._database.backend.run(step, {})
        return found

    def count(self) -> int:
        """How many documents there are. Cost: does not grow with the table."""
        name = self.name

        def handler(ctx: QueryContext) -> int:
            return ctx.db.count(name)

        counted: int = self._database.backend.run(_one_step(f"{name}:count", "query", handler), {})
        return counted

    def live(self) -> Handle[Any]:
        """A handle that follows the whole table, of any size, as SQL sees it."""
        return self._database.live_table(self.name)

    @property
    def schema(self) -> TableDefinition | None:
        """The table's definition; None when there is no such table."""
        found = self._database.backend.catalog().get(self.name)
        return None if found is None else found.definition

    # -- bulk ----------------------------------------------------------------------------------

    def load(self, source: Any, /, **options: Any) -> Any:
        """Add all rows of a file, frame or list, or none: see `Database.load`."""
        return self._database.load(self.name, source, **options)

    def drop(self) -> None:
        """Drop the table with all its documents."""
        self._database.backend.drop_table(self.name)

    # -- frames --------------------------------------------------------------------------------

    def _to_arrow(self) -> pa.Table:
        from livedb.interchange.arrow import typed_containers

        return typed_containers(self._frame_snapshot()[0], self._frame_fields() or {})

    def _frame_fields(self) -> Mapping[str, FieldType] | None:
        return fields_of(self.schema)

    def _frame_snapshot(self) -> tuple[pa.Table, int]:
        from livedb.interchange.arrow import mark_int64

        rows, number = self._database.backend.sql(whole_table_sql(self.name), None)
        hidden = self._database.backend.hidden_fields(self.name)
        if hidden:
            warnings.warn(_hidden_message(self.name, hidden), UserWarning, user_level())
        return mark_int64(rows, self._frame_fields() or {}), number

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        try:
            is_there = self.schema is not None
            self._database.backend.require_open()
        except ClosedError:
            is_there = False
        return self._database.table_rows(self.name) if is_there else {"text/plain": repr(self)}

    def __repr__(self) -> str:
        try:
            self._database.backend.require_open()
        except ClosedError:
            return f"db[{self.name!r}] (its workspace is closed)"
        schema = self.schema
        if schema is None:
            return f"db[{self.name!r}] (no such table yet; the first insert creates it)"
        fields, count = ", ".join(schema.fields) or "any fields", self.count()
        return f"db[{self.name!r}]: {count:,} document{'' if count == 1 else 's'} of {fields}"


def _documents(name: str, given: Any) -> list[Any]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidValueError(
            f"db[{name!r}].insert takes a document, such as {{'n': 1}}, or a list of documents, "
            f"not {type(given).__name__}. For files and frames there is db[{name!r}].load(...)."
        )
    return list(given)


def _insert_each(
    ctx: MutationContext, name: str, documents: Sequence[Mapping[str, Any]]
) -> list[Any]:
    ids = []
    at = 0
    try:
        for at, document in enumerate(documents):  # noqa: B007  # the error says which it was
            ids.append(ctx.db.insert(name, document))
    except InvalidValueError as error:
        error.put_at(f"[{at}]")
        raise
    return ids


def _hidden_message(name: str, hidden: Sequence[str]) -> str:
    shown = ", ".join(map(repr, hidden[:10]))
    more = f" and {len(hidden) - 10:,} more" if len(hidden) > 10 else ""
    return (
        f"Table {name!r} as a frame or file lacks what SQL has no column for, in the "
        f"field{'' if len(hidden) == 1 else 's'} {shown}{more}. db[{name!r}].collect() has the "
        "documents whole; fields get columns by names that differ in more than case, or when they "
        "are among the 256 that come first in the table's schema."
    )


def user_level() -> int:
    """How far above the caller the first code stands that is not livedb's own."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001  # what `warnings` itself counts by
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("livedb."):
        level, frame = level + 1, frame.f_back
    return level


def whole_table_sql(name: str) -> str:
    """All rows of a table, oldest first."""
    quoted = name.replace('"', '""')
    return f'select * from "{quoted}" order by "_creationTime", "_id"'  # noqa: S608  # quoted
