"""The backend of an earlier commit: reads of then, and a refusal of everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from livedb.client.backend import OnChange, Params, Status
from livedb.errors import FunctionTypeError, HandleError, ReadOnlyError
from livedb.functions.calling import is_running
from livedb.functions.definition import FunctionDefinition, FunctionKind, require_kind

if TYPE_CHECKING:
    from os import PathLike

    import pyarrow as pa

    from livedb.activity import ActivityReport, CommitChanges
    from livedb.client.backend import Backend
    from livedb.client.files import FileAccess
    from livedb.client.local import LocalBackend
    from livedb.interchange.exports import ExportResult, Format
    from livedb.past.view import Past
    from livedb.schema.catalog import Catalog
    from livedb.store.position import Position


class PastBackend(ABC):
    """A `Backend` that reads one earlier commit of another, which stays open without it.

    Attributes:
        time: when the commit was made; None of commit 0.
    """

    def __init__(self, now: Backend, number: int, time: datetime | None) -> None:
        self.now = now
        self._number = number
        self.time = time

    # -- reads -----------------------------------------------------------------------------------

    @abstractmethod
    def catalog(self) -> Catalog:
        """The tables of then."""

    @abstractmethod
    def run(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        """The result of a query on the documents of then."""

    @abstractmethod
    def sql(self, text: str, params: Params) -> tuple[pa.Table, int]: ...

    @abstractmethod
    def documents(self, table: str, *, limit: int | None) -> list[dict[str, Any]]: ...

    @abstractmethod
    def counts(self) -> dict[str, int]: ...

    @abstractmethod
    def page(
        self, table: str, *, limit: int, is_descending: bool
    ) -> list[dict[str, Any]] | None: ...

    @abstractmethod
    def hidden_fields(self, table: str) -> tuple[str, ...]: ...

    @abstractmethod
    def export(
        self,
        table: str,
        path: str | PathLike[str],
        *,
        format: Format | None,  # noqa: A002  # the word users know
        overwrite: bool,
    ) -> tuple[ExportResult, tuple[str, ...]]: ...

    @property
    def number(self) -> int:
        return self._number

    @property
    def name(self) -> str:
        return self.now.name

    @property
    def status(self) -> Status:
        return self.now.status

    @property
    def files(self) -> FileAccess:
        raise _read_only(self._number, "files are read and written as they are now, by db.files")

    def require_open(self) -> None:
        self.now.require_open()

    def watch_status(self, hear: Callable[[], None]) -> None:
        self.now.watch_status(hear)

    def known_catalog(self) -> Catalog:
        return self.catalog()

    def definition(self, name: str) -> FunctionDefinition:
        return self.now.definition(name)

    def function_names(self) -> list[str]:
        return self.now.function_names()

    def call(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        update: object = None,  # noqa: ARG002  # nothing is written
        *,
        kind: FunctionKind | None = None,
    ) -> Any:
        function = self.definition(name)
        require_kind(function, kind)
        return self.run(function, function.bind(args, kwargs, tables=self.catalog()))

    async def run_async(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: object = None,  # noqa: ARG002  # nothing is written
    ) -> Any:
        import asyncio

        return await asyncio.to_thread(self.run, function, args)

    def require_query(self, function: FunctionDefinition) -> None:
        """Refuse what is no query, and calls inside of other functions."""
        if function.kind != "query":
            raise _read_only(
                self._number, f"the {function.kind} {function.name!r} cannot be called there"
            )
        self.refuse_in_function()

    def refuse_in_function(self) -> None:
        """Refuse a read inside a query or mutation, which may run elsewhere, and again."""
        if is_running():
            raise FunctionTypeError(
                "The past cannot be read inside a query or mutation; read it outside, and pass "
                "what was found as an argument"
            )

    # -- other commits ---------------------------------------------------------------------------

    def past(self, when: int | datetime) -> PastBackend:
        return self.now.past(when)

    def commit_number(self, when: int | datetime) -> int:
        return self.now.commit_number(when)

    def history(self, table: str, document_id: str) -> pa.Table:
        found = self.now.history(table, document_id)
        numbers: list[Any] = found.column("number").to_pylist()
        return found.slice(0, sum(number <= self._number for number in numbers))

    def change_page(
        self, position: Position, *, until: int, table: str | None
    ) -> tuple[pa.Table, Position]:
        return self.now.change_page(position, until=until, table=table)

    def activity(self) -> ActivityReport:
        return self.now.activity()

    def commit_changes(self, number: int) -> CommitChanges:
        return self.now.commit_changes(number)

    def statistics(self) -> Any:
        return self.now.statistics()

    # -- refused ---------------------------------------------------------------------------------

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise _read_only(self._number, "nothing can be written or defined there")

    define = push = apply_tables = drop_table = load = undo = _refuse

    def backup(self, target: Path) -> int:
        raise _read_only(self._number, f"a backup is of the newest commit: {str(target)!r}")

    def follow_code(self, is_changed: Callable[[FunctionDefinition], bool]) -> None:
        del is_changed  # nothing of a past is followed

    def _refuse_live(self, *_: Any) -> NoReturn:
        raise HandleError(
            f"Commit {self._number} is past and does not change, so there is nothing to follow: "
            "call the query, or read the table or the SQL, without .live()"
        )

    def follow_function(
        self, function: FunctionDefinition, args: Mapping[str, Any], on_change: OnChange
    ) -> NoReturn:
        self._refuse_live(function, args, on_change)

    def follow_sql(self, text: str, params: Params, on_change: OnChange) -> NoReturn:
        self._refuse_live(text, params, on_change)

    def follow_presence(self, on_change: OnChange) -> NoReturn:
        self._refuse_live(on_change)

    def states(self, subscriptions: Iterable[Any]) -> tuple[int, Mapping[Any, Any]]:
        return self._refuse_live(subscriptions)

    def snapshot(self, subscriptions: Iterable[Any]) -> AbstractContextManager[Any]:
        return self._refuse_live(subscriptions)

    def close(self) -> None:
        del self  # the workspace stays open, and what was copied for the past goes by itself


class LocalPast(PastBackend):
    """An earlier commit of a workspace in this process."""

    now: LocalBackend

    def __init__(self, now: LocalBackend, when: int | datetime) -> None:
        pasts = now.workspace.pasts
        number = pasts.number_of(when)
        super().__init__(now, number, pasts.time_of(number))
        self._workspace = now.workspace

    @contextmanager
    def _reading(self) -> Iterator[Past]:
        self.require_open()
        self.refuse_in_function()
        with self._workspace.pasts.reading(self._number) as past:
            yield past

    def catalog(self) -> Catalog:
        with self._reading() as past:
            return past.catalog

    def run(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        self.require_query(function)
        with self._reading() as past:
            return self._workspace.runner.run_past(function, args, past)

    def sql(self, text: str, params: Params) -> tuple[pa.Table, int]:
        with self._reading() as past:
            return past.sql.read(text, params)

    def documents(self, table: str, *, limit: int | None) -> list[dict[str, Any]]:
        with self._reading() as past:
            return past.sql.documents(table, limit=limit)

    def counts(self) -> dict[str, int]:
        with self._reading() as past:
            return past.counts()

    def page(self, table: str, *, limit: int, is_descending: bool) -> list[dict[str, Any]] | None:
        with self._reading() as past:
            return past.sql.page(table, limit=limit, is_descending=is_descending)

    def hidden_fields(self, table: str) -> tuple[str, ...]:
        with self._reading() as past:
            return past.sql.hidden_fields(table)

    def export(
        self,
        table: str,
        path: str | PathLike[str],
        *,
        format: Format | None,  # noqa: A002  # the word users know
        overwrite: bool,
    ) -> tuple[ExportResult, tuple[str, ...]]:
        from livedb.transfer import export_table

        target = Path(path).expanduser()
        with self._reading() as past:
            return export_table(
                self._workspace, table, target, format=format, overwrite=overwrite, sql=past.sql
            )


def _read_only(number: int, why: str) -> ReadOnlyError:
    return ReadOnlyError(f"db.at({number}) is the past, and only read: {why}")
