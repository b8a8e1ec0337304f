"""What the notebook makes for a `Database`: handles, results, what is displayed, snapshots."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from livedb.client.backend import Backend, ChangeNotice, OnChange, Params, Subscription
from livedb.client.table import whole_table_sql
from livedb.errors import WorkspaceError
from livedb.functions.definition import FunctionDefinition
from livedb.interchange.frames import fields_of
from livedb.notebook.freezes import freeze_of, frozen
from livedb.notebook.gathering import gathered
from livedb.notebook.handles import Handle, open_handles
from livedb.notebook.live_arguments import ArgumentSubscription, Follow, Given, given_params
from livedb.notebook.rows import state_of_table
from livedb.notebook.sql_result import Rows, SqlResult

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.client.database import Database
    from livedb.notebook.forms import Form

SHOWN_ROWS_MAX = 50
"""Rows read to display a table that is not followed."""


class NotebookFaces:
    """Makes handles and results for a `Database`: see `livedb.client.database.Faces`."""

    def attach(self, backend: Backend) -> None:
        """A workspace was opened: in an IPython shell, mind its cells and offer it SQL."""
        ipython = sys.modules.get("IPython")
        shell = None if ipython is None else ipython.get_ipython()
        known = weakref.ref(backend)
        backend.watch_status(lambda: _tell_pages(known()))
        if shell is not None:
            from livedb.notebook.magics import offer
            from livedb.notebook.manners import install

            install(shell, backend)
            offer(shell)

    def function_handle(
        self, backend: Backend, function: FunctionDefinition, args: Mapping[str, Any]
    ) -> Handle[Any]:
        return Handle(
            backend, lambda hear: backend.follow_function(function, args, hear), args=args
        )

    def call_handle(
        self,
        backend: Backend,
        function: FunctionDefinition,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Handle[Any]:
        given = Given(args, kwargs)

        def bind(read: Sequence[Any]) -> Mapping[str, Any]:
            now_args, now_kwargs = given.values(read)
            newest = backend.definition(function.name)
            return newest.bind(now_args, now_kwargs, tables=backend.catalog())

        if not given.traits:
            return self.function_handle(backend, function, bind(()))

        def follow(bound: Mapping[str, Any], hear: OnChange) -> Subscription:
            return backend.follow_function(function, bound, hear)

        return _handle_of_traits(backend, given, bind, follow, function.name)

    def sql_handle(self, backend: Backend, text: str, params: Params, title: str) -> Handle[Any]:
        given = given_params(params)
        is_named = isinstance(params, Mapping)

        def bind(read: Sequence[Any]) -> Mapping[str, Any]:
            args, kwargs = given.values(read)
            return kwargs if is_named else {str(at + 1): each for at, each in enumerate(args)}

        def follow(bound: Mapping[str, Any], hear: OnChange) -> Subscription:
            now = None if params is None else bound if is_named else list(bound.values())
            return backend.follow_sql(text, now, hear)

        if given.traits:
            return _handle_of_traits(backend, given, bind, follow, text, title=title)
        bound = bind(())
        return Handle(backend, lambda hear: follow(bound, hear), title=title, args=bound)

    def table_handle(self, backend: Backend, name: str) -> Handle[Any]:
        text = whole_table_sql(name)
        return Handle(
            backend, lambda hear: backend.follow_sql(text, None, hear), title=name, table=name
        )

    def presence_handle(self, backend: Backend) -> Handle[Any]:
        return Handle(backend, backend.follow_presence, title="who")

    def form(
        self,
        function: Any,
        preset: Mapping[str, Any] | None,
        on_submit: Callable[[Any], object] | None,
    ) -> Form:
        from livedb.notebook.forms import Form

        return Form(function, preset=preset, on_submit=on_submit)

    def overview(self, database: Database) -> Any:
        """What is displayed of it: an explorer, one for each `db`."""
        from livedb.notebook.explorer import displayed

        return displayed(database)

    def explorer(self, database: Database) -> Any:
        """The same as a widget."""
        from livedb.notebook.explorer import explorer_of

        return explorer_of(database)

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

    def rows(self, title: str, table: pa.Table, number: int) -> Rows:
        return Rows(title, table, number)

    @contextmanager
    def snapshot(self, backend: Backend) -> Iterator[int]:
        """Freeze every open handle of `backend`, and what this thread or task reads."""
        try:
            with frozen(backend, lambda: _handles_of(backend)) as number:
                yield number
        finally:
            if freeze_of(backend) is None:
                _thaw(backend)


def _thaw(backend: Backend) -> None:
    """Bring handles on, and tell of what changed while they were held at a commit."""
    try:
        backend.require_open()
    except WorkspaceError:  # closed; or a forked child, where a lock may be held for ever
        return
    handles = _handles_of(backend)
    before = {handle: handle.held()[0] for handle in handles}
    for handle, (state, number) in gathered(backend, handles):
        if state is not None and state is not before[handle]:
            handle.tell(ChangeNotice(number, state))


def _handle_of_traits(
    backend: Backend,
    given: Given,
    bind: Callable[[Sequence[Any]], Mapping[str, Any]],
    follow: Follow,
    name: str,
    *,
    title: str | None = None,
) -> Handle[Any]:
    """A handle some of whose arguments are traits of widgets."""

    def begin(hear: OnChange) -> ArgumentSubscription:
        return ArgumentSubscription(
            given.traits,
            bind=bind,
            follow=follow,
            number=lambda: backend.number,
            name=name,
            on_change=hear,
        )

    return Handle(backend, begin, title=title)


def _handles_of(backend: Backend) -> list[Handle[Any]]:
    return [handle for handle in open_handles() if handle._backend is backend]


def _tell_pages(backend: Backend | None) -> None:
    """Show on every page how the workspace stands now."""
    for handle in open_handles():
        if handle._backend is backend:
            handle.tell_pages()
