"""What a user's function receives: `ctx`, with the database, the time and randomness of its run.

It hands out what the run has (`functions.run`) and keeps nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from livedb.functions.absent import absent
from livedb.functions.call import NO_ARGUMENTS, run_arguments
from livedb.functions.crons import Crons
from livedb.functions.database import (
    DatabaseReader,
    DatabaseWriter,
    SqlReads,
    SystemDatabase,
    SystemWriter,
)
from livedb.functions.definition import FunctionDefinition, FunctionKind
from livedb.functions.environment import PLACES_KEY, Environment
from livedb.functions.meta import Commits, MutationMeta, QueryMeta
from livedb.functions.run import Run
from livedb.functions.scheduling import Scheduler, cancel_job, insert_job
from livedb.functions.storage import Contents, StorageReader, StorageWriter
from livedb.identity import Identity
from livedb.transactions.transaction import Transaction
from livedb.values import Document, Value

if TYPE_CHECKING:
    import random

R = TypeVar("R")


class IdentityAsker(Protocol):
    """Knows who calls."""

    def ask_identity(self) -> Identity | None: ...


class Caller(IdentityAsker, SqlReads, Commits, Protocol):
    """How a context calls other functions; `functions.calling` implements it.

    Attributes:
        workspace: its name.
        places: environment variables that say where the workspace is served.
        contents: where the contents of files lie.
    """

    workspace: str
    places: Mapping[str, str]
    contents: Contents

    def name_of(self, function: Any) -> str: ...

    def call_nested(self, kind: FunctionKind, function: Any, args: Mapping[str, Any]) -> Any: ...

    def to_schedule(self, function: Any, args: Mapping[str, Any]) -> tuple[str, list[Value]]: ...


class Auth:
    """`ctx.auth`: who calls."""

    __slots__ = ("_caller",)

    def __init__(self, caller: IdentityAsker) -> None:
        self._caller = caller

    def get_user_identity(self) -> Document | None:
        """The verified caller; None when the call is anonymous, as one from a cell is.

        A dict with Convex's fields, `tokenIdentifier`, `subject`, `issuer` and the claims, which
        are read as attributes, too. A live query whose function asks is run for each caller.
        """
        identity = self._caller.ask_identity()
        return None if identity is None else Document(identity.to_document())


class _Context:
    """What queries and mutations share."""

    def __init__(
        self, db: DatabaseReader, caller: Caller, run: Run, function: FunctionDefinition
    ) -> None:
        self.db = db
        self._caller = caller
        self._run = run
        self._function = function

    @property
    def auth(self) -> Auth:
        """Who calls."""
        return Auth(self._caller)

    @property
    def now(self) -> datetime:
        """When this run began, in UTC; the same on every read of it."""
        return self._run.now

    @property
    def random(self) -> random.Random:
        """Random numbers of this run."""
        return self._run.random

    def run_query(
        self,
        function: Callable[..., R] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a query inside this transaction: it sees what this run has written.

        Args:
            function: a function of this workspace, or its name.
            arguments: by name, in one dict, as in Convex; or give each by its keyword.
        """
        return self._caller.call_nested("query", function, run_arguments(arguments, args))


class QueryContext(_Context):
    """`ctx` of a query.

    Attributes:
        db: the documents at this query's commit.
    """

    db: DatabaseReader

    if not TYPE_CHECKING:  # else no misspelt attribute would be found

        def __getattr__(self, name: str) -> Any:
            raise absent("query", name)

    @property
    def meta(self) -> QueryMeta:
        """What this run is, and what it has used of its limits."""
        return QueryMeta(self._function, self._caller.workspace, self._run, self._caller)

    @property
    def env(self) -> Environment:
        """The environment variables."""
        # Another face of the same snapshot.
        return Environment(self.db._snapshot, self._caller.places)  # noqa: SLF001

    @property
    def storage(self) -> StorageReader:
        """The files."""
        caller = self._caller
        return StorageReader(SystemDatabase.of(self.db), caller.places, caller.contents, PLACES_KEY)


class RunScheduling:
    """Schedules in the transaction of a mutation."""

    def __init__(self, transaction: Transaction, caller: Caller, run: Run) -> None:
        self._transaction = transaction
        self._caller = caller
        self._run = run

    def now_ms(self) -> float:
        return self._run.now_ns / 1e6

    def schedule(self, function: Any, args: Mapping[str, Any], due_ms: float) -> Any:
        name, given = self._caller.to_schedule(function, args)
        return insert_job(
            self._transaction,
            name=name,
            args=given,
            due_ms=due_ms,
            now_ms=self.now_ms(),
            parent=self._parent(),
        )

    def cancel(self, document_id: str) -> None:
        cancel_job(self._transaction, document_id, now_ms=self.now_ms(), parent=self._parent())

    def _parent(self) -> str | None:
        return None if self._run.call is None else self._run.call.job


class MutationContext(_Context):
    """`ctx` of a mutation.

    Attributes:
        db: the documents, with this mutation's own writes.
    """

    db: DatabaseWriter

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise absent("mutation", name)

    @property
    def meta(self) -> MutationMeta:
        """What this run is, what it has used of its limits, and who asked."""
        return MutationMeta(self._function, self._caller.workspace, self._run, self._caller)

    @property
    def scheduler(self) -> Scheduler:
        """Runs functions later; what is scheduled is part of this mutation's commit."""
        transaction = self.db._snapshot  # noqa: SLF001  # another face of it
        return Scheduler(RunScheduling(transaction, self._caller, self._run))

    @property
    def crons(self) -> Crons:
        """Functions that run again and again; what is said of them is part of this commit."""
        return Crons(self._caller.call_nested, self._caller.name_of)

    @property
    def env(self) -> Environment:
        """The environment variables."""
        # Another face of the same snapshot.
        return Environment(self.db._snapshot, self._caller.places)  # noqa: SLF001

    @property
    def storage(self) -> StorageWriter:
        """The files."""
        caller = self._caller
        db = SystemWriter.of(self.db)
        return StorageWriter(db, caller.places, caller.contents, PLACES_KEY, self._run)

    def run_mutation(
        self,
        function: Callable[..., R] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a mutation inside this one: when it raises, only its own writes are undone.

        Args: as `run_query`.
        """
        return self._caller.call_nested("mutation", function, run_arguments(arguments, args))
