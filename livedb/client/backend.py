"""What `db` needs of a workspace, whether it is in this process or across a network.

A handle cannot tell which: the contract suite runs over every backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from livedb.errors import ClosedError
from livedb.functions.definition import FunctionDefinition, FunctionKind
from livedb.live.live_query import LiveState, Work
from livedb.schema.catalog import Catalog
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import Validator

if TYPE_CHECKING:
    from datetime import datetime
    from os import PathLike
    from pathlib import Path

    import pyarrow as pa

    from livedb.activity import ActivityReport, CommitChanges
    from livedb.client.files import FileAccess
    from livedb.client.optimistic import OptimisticUpdate
    from livedb.client.past_backend import PastBackend
    from livedb.interchange.exports import ExportResult, Format
    from livedb.interchange.sources import Source
    from livedb.store.position import Position

SNAPSHOT_TRIES_MAX = 8
"""Times a snapshot is taken anew because the tables were folded beyond it meanwhile."""

Params = Mapping[str, Any] | Iterable[Any] | None


@dataclass(frozen=True, slots=True)
class Status:
    """How a workspace can be reached.

    Attributes:
        state: "open" in this process; "connecting", "connected" or "reconnecting" on a service;
            "closed".
        detail: why it cannot be reached now; empty otherwise.
    """

    state: Literal["open", "connecting", "connected", "reconnecting", "closed"]
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.detail}" if self.detail else self.state


class ChangeNotice(NamedTuple):
    """What followers of one live result are told of a change."""

    number: int
    """The commit that all live results stand at now."""
    state: LiveState
    """The new state."""
    turn: int = 0
    """That of the subscription."""


OnChange = Callable[[ChangeNotice | None], None]
"""Told of each change, and of None once when the workspace is closed: nothing will follow."""


class Subscription(Protocol):
    """One follower of a live query.

    Attributes:
        turn: raised when it follows another live query than before, whose states outweigh those of
            the earlier ones.
    """

    turn: int

    @property
    def title(self) -> str:
        """What it follows, for people."""

    def pull(self) -> int:
        """Bring every live result of this client to the newest commit; returns its number."""

    def state(self) -> LiveState:
        """The newest state, without pulling."""

    def definition(self) -> FunctionDefinition | None:
        """The function followed, None for SQL and tables."""

    @property
    def runs(self) -> int:
        """How often the live query behind it was computed."""

    def work(self) -> Work:
        """What the live query behind it costs."""

    def invalidate(self) -> None:
        """Run it again although no data it read has changed."""

    def close(self) -> None:
        """Stop following; twice is harmless, from any thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a decorator was given of a function, for a backend that sends it away.

    Attributes:
        namespace: the names its annotations may use.
        reference: tells the functions of the same workspace, which travel as their names.
    """

    args: Mapping[str, Validator] | None
    returns: Validator | None
    alias: Mapping[str, str] | None
    namespace: Mapping[str, Any]
    reference: Callable[[object], str | None]


class SnapshotReads(Protocol):
    """A commit that stays readable.

    Attributes:
        number: the commit.
        states: what each subscription showed there.
    """

    number: int
    states: Mapping[Subscription, LiveState]

    def here(self) -> AbstractContextManager[None]:
        """Within it queries and SQL of this thread or task read that commit; mutations do not."""


class Backend(Protocol):
    """A workspace as `db` uses it."""

    def require_open(self) -> None: ...

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> Status:
        """How the workspace can be reached."""

    def watch_status(self, hear: Callable[[], None]) -> None:
        """Call `hear` whenever `status` is another, on the thread that tells followers."""

    @property
    def number(self) -> int:
        """The newest published commit."""

    def catalog(self) -> Catalog: ...

    def known_catalog(self) -> Catalog:
        """The same; as it was last heard of where it cannot be asked for."""

    def define(
        self, definition: FunctionDefinition, origin: Origin | None = None
    ) -> FunctionDefinition: ...

    def push(self, functions: Sequence[FunctionDefinition]) -> None:
        """Define functions, and log those that changed."""

    def definition(self, name: str) -> FunctionDefinition: ...

    def function_names(self) -> list[str]: ...

    def follow_code(self, is_changed: Callable[[FunctionDefinition], bool]) -> None:
        """Make what code has changed without a redefinition count: a helper, a global; after cells.

        Args:
            is_changed: whether the names that a function uses mean something else than before.
        """

    def apply_tables(self, definitions: Sequence[TableDefinition]) -> int: ...

    def drop_table(self, name: str) -> int: ...

    def call(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        update: OptimisticUpdate | None = None,
        *,
        kind: FunctionKind | None = None,
    ) -> Any:
        """Run the function of that name on the arguments of a Python call; see `run`.

        Args:
            update: shows what it will probably change until it has.
            kind: as which it is called; None is any.
        """

    def run(self, function: FunctionDefinition, args: Mapping[str, Any]) -> Any:
        """Run a function, inside the run in progress if there is one."""

    async def run_async(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        update: OptimisticUpdate | None = None,
    ) -> Any: ...

    def follow_function(
        self,
        function: FunctionDefinition,
        args: Mapping[str, Any],
        on_change: OnChange,
    ) -> Subscription: ...

    def follow_sql(self, text: str, params: Params, on_change: OnChange) -> Subscription: ...

    def follow_presence(self, on_change: OnChange) -> Subscription:
        """Follow who is connected."""

    def states(
        self, subscriptions: Iterable[Subscription]
    ) -> tuple[int, Mapping[Subscription, LiveState]]:
        """The newest states here of subscriptions that are open, all of one commit; its number.

        Cost: of the runs that they are behind; no round trip.
        """

    def snapshot(
        self, subscriptions: Iterable[Subscription]
    ) -> AbstractContextManager[SnapshotReads]:
        """Keep the newest commit readable, with the states of subscriptions that are open."""

    def sql(self, text: str, params: Params) -> tuple[pa.Table, int]: ...

    def past(self, when: int | datetime) -> PastBackend:
        """An earlier commit. Raises: as `Pasts.number_of`."""

    def commit_number(self, when: int | datetime) -> int:
        """The commit that a number or time means. Raises: as `Pasts.number_of`."""

    def history(self, table: str, document_id: str) -> pa.Table:
        """Every kept version of a document. Raises: as `Changes.history`."""

    def change_page(
        self, position: Position, *, until: int, table: str | None
    ) -> tuple[pa.Table, Position]:
        """The next changes behind `position`. Raises: as `Changes.page`."""

    def undo(self, number: int) -> int:
        """Undo a commit; returns the number of the one that does it. Raises: as `Undoing.undo`."""

    def documents(self, table: str, *, limit: int | None) -> list[dict[str, Any]]:
        """The fields of a table's documents, oldest first, without the limits of functions."""

    def counts(self) -> dict[str, int]:
        """The number of documents of every table, all at one commit."""

    def page(self, table: str, *, limit: int, is_descending: bool) -> list[dict[str, Any]] | None:
        """Up to `limit` whole documents of a table by creation time; None without such a table."""

    def hidden_fields(self, table: str) -> tuple[str, ...]:
        """The fields of a table that SQL does not show, or not with every value."""

    def load(
        self,
        table: str,
        source: Source,
        *,
        keep_ids: bool,
        progress: Callable[[int], None] | None,
    ) -> tuple[int, int]: ...

    def export(
        self,
        table: str,
        path: str | PathLike[str],
        *,
        format: Format | None,  # noqa: A002  # the word users know
        overwrite: bool,
    ) -> tuple[ExportResult, tuple[str, ...]]:
        """Write a table as a file here; returns the fields that SQL does not show as well."""

    @property
    def files(self) -> FileAccess:
        """The files."""

    def backup(self, target: Path) -> int: ...

    def statistics(self) -> Any: ...

    def activity(self) -> ActivityReport:
        """What goes on in the workspace."""

    def commit_changes(self, number: int) -> CommitChanges:
        """What one commit did, document by document. Raises: as `Activity.changes`."""

    def close(self) -> None: ...


def open_states(subscriptions: Iterable[Subscription]) -> dict[Subscription, LiveState]:
    """The states of those that no other thread has closed meanwhile."""
    states: dict[Subscription, LiveState] = {}
    for each in subscriptions:
        with suppress(ClosedError):
            states[each] = each.state()
    return states
