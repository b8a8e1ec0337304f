"""`db`: a workspace as its user holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from livedb.client.backend import Backend, Params, Status
from livedb.client.crons import crons_of
from livedb.client.decorators import Decorators
from livedb.client.environment import EnvironmentVariables
from livedb.client.files import Files
from livedb.client.functions import Action, Mutation, Query
from livedb.client.http_routes import HttpRoutes
from livedb.client.table import Table
from livedb.errors import FunctionTypeError, LivedbError, LoadError, SqlError, WorkspaceError
from livedb.functions.calling import name_of
from livedb.functions.crons import Crons
from livedb.functions.database import table_name
from livedb.functions.definition import FunctionDefinition
from livedb.ids import table_number_of
from livedb.past.when import checked_number, checked_when
from livedb.schema.tables import check_table_name
from livedb.wording import counted

if TYPE_CHECKING:
    from os import PathLike

    import pyarrow as pa

    from livedb.client.past import ChangeStream, PastDatabase
    from livedb.interchange.exports import ExportResult
    from livedb.notebook.forms import Form
    from livedb.notebook.handles import Handle
    from livedb.notebook.sql_result import Rows, SqlResult
    from livedb.sharing.invitations import Invitation, InvitationList, NewInvitation
    from livedb.sharing.serving import Serving
    from livedb.store.position import Position


class Faces(Protocol):
    """Makes what users see of live results; the notebook floor implements it."""

    def function_handle(
        self, backend: Backend, function: FunctionDefinition, args: Mapping[str, Any]
    ) -> Handle[Any]: ...

    def call_handle(
        self,
        backend: Backend,
        function: FunctionDefinition,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Handle[Any]: ...

    def sql_handle(
        self, backend: Backend, text: str, params: Params, title: str
    ) -> Handle[Any]: ...

    def table_handle(self, backend: Backend, name: str) -> Handle[Any]: ...

    def presence_handle(self, backend: Backend) -> Handle[Any]: ...

    def sql_result(self, database: Database, text: str, params: Params) -> SqlResult: ...

    def rows(self, title: str, table: pa.Table, number: int) -> Rows: ...

    def snapshot(self, backend: Backend) -> AbstractContextManager[int]: ...

    def form(
        self,
        function: Any,
        preset: Mapping[str, Any] | None,
        on_submit: Callable[[Any], object] | None,
    ) -> Form: ...

    def overview(self, database: Database) -> Any: ...

    def explorer(self, database: Database) -> Any: ...

    def table_rows(self, database: Database, name: str) -> dict[str, str]: ...


class Sharing(Protocol):
    """How a workspace is shared; the sharing floor implements it."""

    def serve(self, **asked: Any) -> Serving: ...

    def invite(
        self, role: str, *, name: str, expires: timedelta | datetime | float | None
    ) -> NewInvitation: ...

    def invitations(self) -> InvitationList: ...

    def revoke(self, token_id: str) -> Invitation: ...


class Database(Decorators):
    """A workspace: tables, functions, SQL, live results.

    Get one from `livedb.open(path)`. It is a context manager; leaving it closes the workspace.
    """

    def __init__(self, backend: Backend, faces: Faces, sharing: Sharing | None = None) -> None:
        super().__init__(backend)
        self._sharing = sharing
        self._faces = faces

    # -- tables --------------------------------------------------------------------------------

    def __getitem__(self, table: str | type[Any]) -> Table:
        """The table of that name, which need not exist yet."""
        name = table_name(table)
        check_table_name(name)
        return Table(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __contains__(self, table: object) -> bool:
        return table in self.tables

    def _ipython_key_completions_(self) -> list[str]:
        return self.tables

    @property
    def tables(self) -> list[str]:
        """The names of the tables."""
        return self.backend.catalog().names()

    def drop_table(self, table: str | type[Any]) -> None:
        """Drop a table with all its documents."""
        self.backend.drop_table(table_name(table))

    def infer_schema(self, table: str | type[Any], *, sample: int | None = None) -> Any:
        """Propose a schema for a table from its documents; printing it shows source for a cell.

        Args:
            sample: how many documents to look at; None for all.
        """
        from livedb.client.inference import infer_table

        return infer_table(self.backend, table_name(table), sample=sample)

    # -- functions -----------------------------------------------------------------------------

    @property
    def functions(self) -> list[str]:
        """The names of the functions; `db.http.routes` lists HTTP actions."""
        names = self.backend.function_names()
        return [name for name in names if self.backend.definition(name).kind != "http_action"]

    @property
    def http(self) -> HttpRoutes:
        """The HTTP actions, which the workspace answers while it is served; `.route` adds one."""
        return HttpRoutes(self)

    @property
    def crons(self) -> Crons:
        """Functions that run again and again; `.daily("name", hour_utc=2, fn=f)` adds one."""
        return crons_of(self)

    @property
    def env(self) -> EnvironmentVariables:
        """The environment variables, which functions read as `ctx.env`."""
        return EnvironmentVariables(self)

    def function(
        self, name: str | Callable[..., Any], /
    ) -> Query[..., Any] | Mutation[..., Any] | Action[..., Any]:
        """The function of that name, to call, or to follow if it is a query.

        Given what a decorator returned, it is that function, of this `db`: of `db.at(5)`, say.

        Raises:
            FunctionNotFoundError: there is none.
        """
        definition = self.backend.definition(name_of(name))
        if definition.kind == "http_action":
            raise FunctionTypeError(
                f"{name!r} is an HTTP action: it answers requests, and nothing calls it"
            )
        faces: dict[str, type[Any]] = {"query": Query, "mutation": Mutation, "action": Action}
        face = faces[definition.kind]
        found: Query[..., Any] | Mutation[..., Any] | Action[..., Any] = face(self, definition)
        return found

    # -- SQL and live results ------------------------------------------------------------------

    def sql(self, text: str, params: Params = None) -> SqlResult:
        """The rows of one SQL statement over everything committed before the call.

        The result is a frame (`.df`, `.to_arrow()`, ...); `.live()` follows it.

        Args:
            params: values for `$name` (a dict) or `?` (a list). One may be a widget, as for
                `Query.live`: the result is that of its value now, `.live()` follows it.

        Raises:
            SqlError: the statement is wrong or not allowed.
        """
        try:
            return self._faces.sql_result(self, text, params)
        except SqlError as error:  # its message says all, and livedb's own way there nothing
            error.__traceback__ = None
            raise

    def live_sql(
        self, text: str, params: Params = None, *, title: str | None = None
    ) -> Handle[Any]:
        """A handle that follows a SQL statement."""
        return self._faces.sql_handle(self.backend, text, params, title or " ".join(text.split()))

    def live_table(self, name: str) -> Handle[Any]:
        """A handle that follows a whole table."""
        return self._faces.table_handle(self.backend, name)

    def live_call(
        self, function: FunctionDefinition, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Handle[Any]:
        """A handle that follows a query with the arguments of a call; some may be widgets."""
        return self._faces.call_handle(self.backend, function, args, kwargs)

    def live_function(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Handle[Any]:
        """A handle that follows a query with checked arguments."""
        return self._faces.function_handle(self.backend, function, args)

    def form(
        self,
        function: Any,
        preset: Mapping[str, Any] | None,
        on_submit: Callable[[Any], object] | None,
    ) -> Form:
        """A form that calls a mutation or action: see its `form`."""
        return self._faces.form(function, preset, on_submit)

    def snapshot(self) -> AbstractContextManager[int]:
        """Within it all reads agree: they are of one commit, whose number it gives.

        Every handle of this workspace stays there. So do the queries called, the SQL and the tables
        read by the thread or task that is inside, which see nothing of what is written meanwhile,
        not even by themselves; a mutation reads and writes at the newest commit as always.

        Raises:
            SnapshotTooOldError: by a query, when the block took longer than `snapshot_s_max`, or
                its table was filled, loaded or dropped meanwhile, or nothing had read it before.
        Cost: a fold of what SQL has not seen yet, as of one `db.sql`. Meanwhile DuckDB keeps what
            later commits replace: do not stay inside for hours.
        """
        return self._faces.snapshot(self.backend)

    # -- the past ------------------------------------------------------------------------------

    def at(self, when: int | datetime, /) -> PastDatabase:
        """The workspace as it was, to be read as `db` is: tables, SQL, and the queries of now.

        Args:
            when: the number of a commit, such as one of `db.number`, 0 being before the first; or a
                datetime with a time zone: what was there then.

        Raises:
            PastTooOldError: that is no longer kept; `number` is the oldest commit that is.
            InvalidValueError: it has not come yet, or is no commit and no moment.
        Cost: for each table when a query first reads it there, what its first read of now costs;
            when SQL does, 1 to 4 us per document, and 0.1 s once. Then what reads cost now.
        """
        from livedb.client.past import PastDatabase

        return PastDatabase(self.backend.past(checked_when(when)), self._faces)

    def history(self, table: str | type[Any], document_id: str, /) -> Rows:
        """Every kept version of a document, oldest first, as a frame.

        A row is a commit that wrote or deleted it: `number`, `time`, `function`, `author`,
        `operation` ("insert", "update", "delete"; null for the oldest version kept, when what was
        before is forgotten) and `document`, its fields as JSON, null when it was deleted.

        Raises:
            InvalidIdError: it is no id, or one of another table.
            SchemaDefinitionError: there is, and was, no such table.
        """
        name = table_name(table)
        table_number_of(document_id)  # refuses what is no id
        title = f"history of {document_id} in {name}"
        return self._faces.rows(title, self.backend.history(name, document_id), self.number)

    def changes(
        self, since: int | datetime, /, table: str | type[Any] | None = None
    ) -> ChangeStream:
        """What commits after `since` changed in the tables of users, as an Arrow stream.

        A row is a document that a commit wrote or deleted: `number`, `time`, `function`, `author`,
        `table`, `_id`, `_creationTime`, `operation` ("insert", "update", "delete"), and its fields
        `before` and `after` as JSON text. Rows are in the order of commits, within one by table
        and id. The stream covers what was committed before the call: process it, keep its
        `.number`, and go on with `db.changes(number)`, without gaps and doubles.

        Args:
            since: the number of the last commit known, 0 for all; or a datetime.
            table: whose changes; all when not given. One that was dropped counts by its name.

        Raises:
            PastTooOldError: they are no longer kept: begin anew from the tables themselves.
            InvalidValueError: `since` has not come yet, or is no commit and no moment.
            SchemaDefinitionError: there is, and was, no such table.
        """
        from livedb.client.past import ChangeStream
        from livedb.store.position import Position

        name = None if table is None else table_name(table)
        after, backend = self.backend.commit_number(checked_when(since)), self.backend
        until = self.number

        def read(position: Position) -> tuple[pa.Table, Position]:
            return backend.change_page(position, until=until, table=name)

        if name is not None:
            read(Position(max(after, until)))  # refuses a table that never was, and reads nothing
        return ChangeStream(read, since=after, number=max(after, until))

    def undo(self, number: int, /) -> int:
        """Make the documents that commit `number` changed what they were before it.

        It is a new commit, whose number is returned and which can be undone too.

        Raises:
            UndoError: it cannot be undone, and nothing was changed: later commits changed the same
                documents, it defined a table anew, or wrote what livedb keeps itself, say; `code`
                and message say why.
            PastTooOldError: what was before is no longer kept.
            InvalidValueError: it is no number of a commit.
        """
        return self.backend.undo(checked_number(number))

    # -- in and out ----------------------------------------------------------------------------

    def load(
        self,
        table: str | type[Any],
        source: Any,
        /,
        *,
        nan: Any = None,
        tz: str | None = None,
        index: Any = None,
        format: Any = None,  # noqa: A002  # the word users know from pandas and DuckDB
        null_values: str | Sequence[str] = (),
        ids: str | None = None,
        progress: bool | None = None,
    ) -> LoadResult:
        """Add every row of `source` to a table, in one commit, or none of them.

        Args:
            source: a Parquet, CSV or JSONL path (or several), an Arrow table, reader or dataset,
                a pandas or polars frame, or dicts.
            nan: "null" or "keep": what NaN of a float column means (default: null for numpy-backed
                pandas columns, else keep).
            tz: the zone of naive datetimes, which are refused without it.
            index: "column" or "drop" for a named pandas index.
            format: "parquet", "csv" or "jsonl" when the path does not say.
            null_values: what a CSV file writes for null besides nothing at all, such as "NA".
            ids: what becomes of `_id` and `_creationTime` columns, which must be said when there
                are some: "new" leaves them out, and each row gets its own as always, so that rows
                of one table can be loaded into another; "keep" keeps them.
            progress: show a progress bar; by default when the source is large.

        Raises:
            LoadError, ValidationError: names the column, the row and the value that do not fit.
        Cost: set-wise; a table new to livedb and one with a schema cost about the same.
        """
        from livedb.client.progress import progress_of
        from livedb.interchange.frames import fields_of
        from livedb.interchange.sources import open_source, without_system_fields

        if ids not in (None, "new", "keep"):
            raise LoadError(f'ids is "new" or "keep", not {ids!r}')
        name = table_name(table)
        check_table_name(name)
        known = self.backend.catalog().get(name)
        fields = fields_of(known.definition) if known is not None else None
        opened = open_source(
            source,
            nan=nan,
            tz=tz,
            index=index,
            format=format,
            null_values=null_values,
            fields=fields,
        )
        if ids == "new":
            opened = without_system_fields(opened)
        with progress_of(name, opened.rows, wanted=progress) as report:
            rows, number = self.backend.load(name, opened, keep_ids=ids == "keep", progress=report)
        return LoadResult(name, rows, number)

    @property
    def files(self) -> Files:
        """The files: `put`, `open`, `url`, `delete`, `list`."""
        return Files(self.backend.files)

    def export(
        self, table: str | type[Any], path: str | PathLike[str], /, *, overwrite: bool = False
    ) -> ExportResult:
        """Write a whole table to a Parquet, CSV or JSONL file, by the path's ending."""
        return self[table_name(table)]._export(path, None, overwrite=overwrite)  # noqa: SLF001

    def backup(self, target: str | PathLike[str], /) -> int:
        """Write a copy of the workspace to a new folder; returns the commit it opens at."""
        return self.backend.backup(Path(target))

    # -- sharing -------------------------------------------------------------------------------

    def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        site_port: int | None = None,
        auth: Mapping[str, Any] | str | PathLike[str] | None = None,
        anonymous: bool | str = False,
        allow_origins: Sequence[str] = (),
        public_url: str | None = None,
        show_errors: bool | None = None,
    ) -> Serving:
        """Serve the workspace from this process, until it is closed; calling again changes nothing.

        Other processes of yours that open the same path then use it together with this one.
        Everybody else brings a token: see `invite`.

        Args:
            host: on which address; others than this machine's own need somebody invited first.
            port: 0 for the one that the workspace was last served at, which links name; when that
                is taken, or on the first time, any that is free.
            site_port: where HTTP actions are answered; without one the port after `port`, or any
                that is free.
            auth: who may vouch for users, `{"providers": [...]}` or a JSON file of that.
            anonymous: True lets programs of this machine without a token call public functions; a
                role, "member" or "viewer", says so of everybody who can reach `host`.
            allow_origins: web pages that may call, such as "https://shop.example".
            public_url: where clients find it, if not where it listens, such as
                "https://live.example" behind a proxy: URLs of files name it.
            show_errors: whether clients read what functions raise, which may quote anything the
                function knows; without it on this machine's own address alone. `ApplicationError`
                is always shown.

        Raises:
            WorkspaceError: the port is taken, the host is not safe that way, or it is served with
                other settings; the message says what to do.
        """
        return self._shared().serve(
            host=host,
            port=port,
            site_port=site_port,
            auth=auth,
            anonymous=anonymous,
            allow_origins=allow_origins,
            public_url=public_url,
            show_errors=show_errors,
        )

    def invite(
        self,
        role: str = "editor",
        *,
        name: str | None = None,
        expires: timedelta | datetime | float | None = timedelta(days=30),
    ) -> NewInvitation:
        """Give somebody access; what is returned has the secret link, and does not show it.

        Args:
            role: "editor" (functions, SQL, schema: as in this notebook), "member" (public
                functions), "viewer" (public queries), or "owner" (everything, `invite` too).
            name: whom it is for, as `db.who()` shows it.
            expires: how long or until when it holds, a number being seconds; None for ever.

        Raises:
            PermissionDeniedError: you are no owner.
        """
        called = name or f"an invited {role}"
        return self._shared().invite(role, name=called, expires=expires)

    @property
    def invitations(self) -> InvitationList:
        """Who has been given access, without their secrets."""
        return self._shared().invitations()

    def revoke(self, invitation: str | Invitation, /) -> Invitation:
        """End an access, by its id or by what `invite` gave; who is connected with it is put out.

        Raises:
            InvalidValueError: there is none of that id.
            PermissionDeniedError: you are no owner.
        """
        return self._shared().revoke(invitation if isinstance(invitation, str) else invitation.id)

    def who(self) -> Handle[Any]:
        """Who is connected now, as a live handle: name, role, client, since when, last active.

        "seen" is the time somebody was last active, told to half a minute. This process itself is
        not listed when it is the one that has the workspace.
        """
        return self._faces.presence_handle(self.backend)

    def _shared(self) -> Sharing:
        if self._sharing is None:
            raise WorkspaceError("This workspace cannot be shared: open it with livedb.open")
        return self._sharing

    # -- life ----------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How the workspace can be reached: "open" in this process, "connected" on a service."""
        return self.backend.status

    @property
    def number(self) -> int:
        """The newest commit."""
        return self.backend.number

    def statistics(self) -> Any:
        """Where the numbers stand and how much work was done."""
        return self.backend.statistics()

    def close(self) -> None:
        """Close the workspace for everybody in this process; twice is harmless."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_mimebundle_(self, **_: Any) -> Any:
        if self.status.state in ("connecting", "reconnecting"):
            return {"text/plain": repr(self)}  # no cell waits to show what is not here
        return self._faces.overview(self)

    def _display_(self) -> Any:
        """What marimo shows of it."""
        return self._faces.explorer(self)

    def table_rows(self, name: str) -> dict[str, str]:
        """What a notebook displays of a table: the mime types and their texts."""
        return self._faces.table_rows(self, name)

    def __repr__(self) -> str:
        try:
            self.backend.require_open()
        except LivedbError as error:
            return f"<livedb {self.backend.name}: {error.code.lower()}>"
        if self.status.state not in ("open", "connected"):
            return f"<livedb {self.backend.name} {self.status}>"
        tables = ", ".join(self.tables) or "no tables"
        return f"<livedb {self.backend.name} at commit {self.number}: {tables}>"

    def __reduce__(self) -> Any:
        raise TypeError("db cannot be pickled: it belongs to this process; open it where needed")


class LoadResult:
    """What a load added."""

    __slots__ = ("number", "rows", "table")

    def __init__(self, table: str, rows: int, number: int) -> None:
        self.table = table
        self.rows = rows
        self.number = number

    def __repr__(self) -> str:
        return f"loaded {counted(self.rows, 'row')} into {self.table!r} (commit {self.number})"
