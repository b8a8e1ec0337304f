"""What the notebook makes for a `Database`: handles, results, what is displayed, snapshots."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from livedb.client.backend import Backend, Params
from livedb.client.table import whole_table_sql
from livedb.functions.definition import FunctionDefinition
from livedb.interchange.frames import fields_of
from livedb.notebook.freezes import frozen
from livedb.notebook.handles import Handle, open_handles
from livedb.notebook.rows import state_of_table
from livedb.notebook.sql_result import SqlResult

if TYPE_CHECKING:
    from livedb.client.database import Database

SHOWN_ROWS_MAX = 50
"""Rows read to display a table that is not followed."""


class NotebookFaces:
    """Makes handles and results for a `Database`: see `livedb.client.database.Faces`."""

    def attach(self, backend: Backend) -> None:
        """A workspace was opened: in an IPython shell, mind what happens after each cell."""
        ipython = sys.modules.get("IPython")
        shell = None if ipython is None else ipython.get_ipython()
        known = weakref.ref(backend)
        backend.watch_status(lambda: _tell_pages(known()))
        if shell is not None:
            from livedb.notebook.manners import install

            install(shell, backend)

    def function_handle(
        self, backend: Backend, function: FunctionDefinition, args: Mapping[str, Any]
    ) -> Handle[Any]:
        return Handle(backend, lambda hear: backend.follow_function(function, args, hear))

    def sql_handle(self, backend: Backend, text: str, params: Params, title: str) -> Handle[Any]:
        return Handle(backend, lambda hear: backend.follow_sql(text, params, hear), title=title)

    def table_handle(self, backend: Backend, name: str) -> Handle[Any]:
        text = whole_table_sql(name)
        return Handle(
            backend, lambda hear: backend.follow_sql(text, None, hear), title=name, table=name
        )

    def presence_handle(self, backend: Backend) -> Handle[Any]:
        return Handle(backend, backend.follow_presence, title="who")

    def overview(self, database: Database) -> dict[str, str]:
        from livedb.notebook.overview import overview_of

        return overview_of(database, _handles_of(database.backend))

    def table_rows(self, database: Database, name: str) -> dict[str, str]:
        """What is displayed of a table: its first rows, without reading the others."""
        from livedb.notebook.display import static_bundle

        whole = whole_table_sql(name)
        counted = f"(select count(*) from ({whole}))"  # noqa: S608  # quoted
        text = f"select {counted} as _count, * from ({whole} limit {SHOWN_ROWS_MAX})"  # noqa: S608
        rows, number = database.backend.sql(text, None)
        shown = rows.remove_column(0)
        fields = fields_of(database[name].schema)
        state = state_of_table(shown, fields, number, None)
        count = rows.column(0)[0].as_py() if rows.num_rows else 0
        return static_bundle(name, replace(state, row_count=count))

    def sql_result(self, database: Database, text: str, params: Params) -> SqlResult:
        return SqlResult(database, text, params)

    @contextmanager
    def snapshot(self, backend: Backend) -> Iterator[int]:
        """Freeze every open handle of `backend`, and what this thread or task reads."""
        with frozen(backend, lambda: _handles_of(backend)) as number:
            yield number


def _handles_of(backend: Backend) -> list[Handle[Any]]:
    return [handle for handle in open_handles() if handle._backend is backend]


def _tell_pages(backend: Backend | None) -> None:
    """Show on every page how the workspace stands now."""
    for handle in open_handles():
        if handle._backend is backend:
            handle.tell_pages()
