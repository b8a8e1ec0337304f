"""`db["tasks"]`: a table with reads and one-step writes, without writing a function."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from livedb.client.functions import frames_from
from livedb.errors import ClosedError, InvalidValueError
from livedb.functions.definition import FunctionDefinition
from livedb.functions.filters import expression_from
from livedb.functions.index_range import IndexRangeBuilder
from livedb.functions.pagination import page_options
from livedb.functions.ranked_query import Scored
from livedb.functions.searches import (
    VECTOR_RESULTS,
    SearchFilterBuilder,
    VectorFilter,
    VectorFilterBuilder,
)
from livedb.functions.table_functions import (
    Step,
    check_steps,
    filter_step,
    index_step,
    search_step,
    table_function,
    vector_step,
)
from livedb.interchange.frames import FrameMixin, fields_of
from livedb.schema.tables import TableDefinition
from livedb.values import Document, Missing

if TYPE_CHECKING:
    from os import PathLike

    import pyarrow as pa

    from livedb.client.database import Database
    from livedb.interchange.arrow import FieldType
    from livedb.interchange.exports import ExportResult, Format
    from livedb.notebook.handles import Handle
    from livedb.notebook.sql_result import Rows


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
        step = index_step(name, range, equalities)
        built = step["range"][len(equalities) :]
        bounds = "".join(f", {verb} {field!r} {value!r}" for verb, field, value in built)
        given = "".join(f", {key}={value!r}" for key, value in equalities.items())
        return self._then(step, f".with_index({name!r}{given}{bounds})")

    def with_search_index(
        self,
        name: str,
        search: str | Callable[[SearchFilterBuilder], SearchFilterBuilder],
        /,
        **equalities: Any,
    ) -> TableQuery:
        """Search by words: see `DocumentQuery.with_search_index`."""
        step = search_step(name, search, equalities)
        given = "".join(f", {field}={packed[0]!r}" for field, packed in step["filters"] if packed)
        return self._then(step, f".with_search_index({name!r}, {step['text']!r}{given})")

    def with_vector_index(
        self,
        name: str,
        vector: Iterable[float],
        /,
        *,
        limit: int = VECTOR_RESULTS,
        filter: Callable[[VectorFilterBuilder], VectorFilter] | None = None,  # noqa: A002  # Convex's word
    ) -> TableQuery:
        """Search for the nearest vectors: see `DocumentQuery.with_vector_index`."""
        step = vector_step(name, vector, limit, filter)
        return self._then(step, f".with_vector_index({name!r}, ..., limit={limit})")

    def scored(self, count: int | None = None) -> list[Scored[Document]]:
        """What a search finds, with scores: see `RankedQuery.scored`."""
        options = [] if count is None else [count]
        return [Scored(document, score) for document, score in self._read("scored", *options)]

    def order(self, order: Literal["asc", "desc"]) -> TableQuery:
        """Read in index order or backwards."""
        return self._then({"order": order}, f".order({order!r})")

    def filter(self, build: Callable[[Any], Any]) -> TableQuery:
        """Keep documents for which an expression holds: see `DocumentQuery.filter`."""
        step = filter_step(build)
        return self._then(step, f".filter({expression_from(step['filter'])})")

    def collect(self) -> list[Document]:
        """All documents."""
        found: list[Document] = self._read("collect")
        return found

    def take(self, count: int) -> list[Document]:
        """The first `count` documents."""
        found: list[Document] = self._read("take", count)
        return found

    def first(self) -> Document | None:
        """The first document, or None."""
        found: Document | None = self._read("first")
        return found

    def unique(self) -> Document | None:
        """The only document, or None; an error when there are more."""
        found: Document | None = self._read("unique")
        return found

    def paginate(self, options: Mapping[str, Any] | None = None, **given: Any) -> Document:
        """One page: see `DocumentQuery.paginate`."""
        page: Document = self._read("paginate", page_options(options, **given))
        return page

    def __iter__(self) -> Iterator[Document]:
        return iter(self.collect())

    def live(self) -> Handle[list[Document]]:
        """A handle that follows these documents."""
        function = table_function("read", f"{self.name}{self._text}")
        documents = replace(function, table=self.name)
        return self._database.live_function(documents, self._arguments("collect"))

    def __repr__(self) -> str:
        return f"db[{self.name!r}]{self._text}"

    def _then(self, step: Step, text: str) -> TableQuery:
        steps = (*self._steps, step)
        check_steps(self.name, steps)
        return TableQuery(self._database, self.name, steps, self._text + text)

    def _arguments(self, verb: str, *options: Any) -> dict[str, Any]:
        return {
            "table": self.name,
            "steps": list(self._steps),
            "verb": verb,
            "options": list(options),
        }

    def _read(self, verb: str, *options: Any) -> Any:
        shown = ", ".join(map(repr, options)) if verb == "take" else ""
        function = table_function("read", f"{self.name}{self._text}.{verb}({shown})")
        return self._run(function, self._arguments(verb, *options))

    def _run(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        try:
            return self._database.backend.run(function, args)
        except InvalidValueError as error:  # of the document given, of which its message says all
            error.__traceback__ = None
            raise
        except Exception as error:
            error.__traceback__ = frames_from(function, error.__traceback__)
            raise


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
            return self._do("insert", document=document)
        documents = _documents(self.name, document)
        return self._do("insert_all", shown="insert", documents=documents)

    def patch(self, document_id: str, changes: Mapping[str, Any]) -> None:
        """Change some fields; `livedb.UNSET` removes one."""
        removed = [name for name, value in changes.items() if isinstance(value, Missing)]
        kept = {name: value for name, value in changes.items() if name not in removed}
        self._do("patch", document_id=document_id, changes=kept, removed=removed)

    def replace(self, document_id: str, document: Mapping[str, Any]) -> None:
        """Replace a document but for `_id` and `_creationTime`."""
        self._do("replace", document_id=document_id, document=document)

    def delete(self, document_id: str) -> None:
        """Delete a document."""
        self._do("delete", document_id=document_id)

    def _do(self, verb: str, *, shown: str | None = None, **args: Any) -> Any:
        function = table_function(verb, f"{self.name}:{shown or verb}")
        return self._run(function, {"table": self.name, **args})

    # -- reads ---------------------------------------------------------------------------------

    def get(self, document_id: str) -> Document | None:
        """The document with this id, or None."""
        found: Document | None = self._do("get", document_id=document_id)
        return found

    def count(self) -> int:
        """How many documents there are. Cost: does not grow with the table."""
        counted: int = self._do("count")
        return counted

    def history(self, document_id: str, /) -> Rows:
        """Every kept version of a document: see `Database.history`."""
        return self._database.history(self.name, document_id)

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
        self._warn_of(self._database.backend.hidden_fields(self.name))
        return mark_int64(rows, self._frame_fields() or {}), number

    def _export(
        self,
        path: str | PathLike[str],
        format: Format | None,  # noqa: A002 - the word users know
        *,
        overwrite: bool,
    ) -> ExportResult:
        export = self._database.backend.export
        result, hidden = export(self.name, path, format=format, overwrite=overwrite)
        self._warn_of(hidden)
        return result

    def _warn_of(self, hidden: Sequence[str]) -> None:
        if hidden:
            warnings.warn(_hidden_message(self.name, hidden), UserWarning, user_level())

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
