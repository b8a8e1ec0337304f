"""`ctx` of actions: what an action is given to ask, and to run other functions by.

Every verb of it is a transaction of its own, as `actions` runs them.
"""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from livedb.clock import Clock
from livedb.functions.absent import absent
from livedb.functions.call import NO_ARGUMENTS, run_arguments
from livedb.functions.context import Auth
from livedb.functions.crons import AsyncCrons, Crons
from livedb.functions.database import table_name
from livedb.functions.definition import FunctionDefinition
from livedb.functions.environment import Variables
from livedb.functions.meta import ActionMeta
from livedb.functions.run import EPOCH
from livedb.functions.scheduling import CANCEL, SCHEDULE, AsyncScheduler, Scheduler
from livedb.functions.searches import (
    VECTOR_RESULTS,
    VECTOR_SEARCH,
    VectorFilter,
    VectorFilterBuilder,
    vector_arguments,
)
from livedb.functions.storage import ActionStorage, AsyncActionStorage
from livedb.functions.system_functions import READ_ENVIRONMENT

if TYPE_CHECKING:
    from livedb.functions.actions import Acting


class ActionScheduling:
    """Schedules for an action: each is a mutation of its own."""

    def __init__(self, caller: Acting, clock: Clock) -> None:
        self._caller = caller
        self._clock = clock

    def now_ms(self) -> float:
        return self._clock.now_ns() / 1e6

    def schedule(self, function: Any, args: Mapping[str, Any], due_ms: float) -> Any:
        name = self._caller.name_of(function)
        asked = {"name": name, "args": args, "time": due_ms}
        return self._caller.call_alone("mutation", SCHEDULE, asked)

    def cancel(self, document_id: str) -> None:
        self._caller.call_alone("mutation", CANCEL, {"id": document_id})


class ActionContext:
    """`ctx` of an action: no `db`, but other functions to run, each a transaction of its own.

    It may be used on any thread, until the action ends.
    """

    def __init__(self, caller: Acting, function: FunctionDefinition, clock: Clock) -> None:
        self._caller = caller
        self._function = function
        self._clock = clock
        self._call = caller.call
        self._random: random_module.Random | None = None

    if not TYPE_CHECKING:  # else no misspelt attribute would be found

        def __getattr__(self, name: str) -> Any:
            raise absent("action", name)

    @property
    def auth(self) -> Auth:
        """Who calls."""
        return Auth(self._call)

    @property
    def meta(self) -> ActionMeta:
        """What this run is, and who asked."""
        return ActionMeta(self._function, self._caller.workspace, self._call)

    @property
    def now(self) -> datetime:
        """The time now, in UTC; it goes on while the action runs."""
        return EPOCH + timedelta(microseconds=self._clock.now_ns() // 1000)

    @property
    def random(self) -> random_module.Random:
        """Random numbers of this run."""
        if self._random is None:
            self._random = self._clock.random()
        return self._random

    @property
    def scheduler(self) -> Scheduler:
        """Runs functions later; each call is committed when it returns."""
        return Scheduler(ActionScheduling(self._caller, self._clock))

    @property
    def crons(self) -> Crons:
        """Functions that run again and again; each call is committed when it returns."""
        return Crons(self._caller.call_alone, self._caller.name_of)

    @property
    def env(self) -> Mapping[str, str]:
        """The environment variables, as they are now."""
        values: dict[str, str] = self._caller.call_alone("query", READ_ENVIRONMENT, {})
        return Variables({**values, **self._caller.places})

    @property
    def storage(self) -> ActionStorage:
        """The files."""
        return ActionStorage(self._caller)

    def is_cancelled(self) -> bool:
        """Whether nobody wants the action any more, so that it may as well stop.

        So it is when its caller was cancelled; when it runs as a scheduled function, or for one,
        and `ctx.scheduler.cancel` has cancelled that; and once it has ended, for the threads that
        it left behind.

        Cost: a read in memory, if it is scheduled.
        """
        return self._caller.is_cancelled()

    def run_query(
        self,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a query on the newest commit.

        Args:
            function: a function of this workspace, or its name.
            arguments: by name, in one dict, as in Convex; or give each by its keyword.
        """
        return self._caller.call_alone("query", function, run_arguments(arguments, args))

    def run_mutation(
        self,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a mutation; it is committed when this returns, and stays when the action fails.

        Args: as `run_query`.
        """
        return self._caller.call_alone("mutation", function, run_arguments(arguments, args))

    def run_action(
        self,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run another action.

        Args: as `run_query`.
        """
        return self._caller.call_alone("action", function, run_arguments(arguments, args))

    def vector_search(
        self,
        table: str | type[Any],
        index: str,
        *,
        vector: Iterable[float],
        limit: int = VECTOR_RESULTS,
        filter: Callable[[VectorFilterBuilder], VectorFilter] | None = None,  # noqa: A002  # Convex's word
    ) -> Any:
        """The documents with the vectors nearest to `vector`: `[{"_id", "_score"}, ...]`.

        Nearest first, by the cosine of the angle; ties by id. What is found is of the newest
        commit; read the documents in a query, where others may have changed them meanwhile.

        Args:
            table: its name, or its class.
            index: the name of a vector index of it.
            vector: as many numbers as the index has dimensions.
            limit: how many documents to find, 1 to 256.
            filter: narrows the search by filter fields of the index, as in
                `lambda q: q.or_(q.eq("author", me), q.eq("is_public", True))`.

        Raises:
            SearchError: the search contradicts the rules or the index (`code` says how).
        """
        asked = vector_arguments(table_name(table), index, vector, limit, filter)
        return self._caller.call_alone("query", VECTOR_SEARCH, asked)


class AsyncActionContext(ActionContext):
    """`ctx` of an `async def` action: what runs other functions is awaited."""

    @property
    def storage(self) -> AsyncActionStorage:
        """The files; its methods are awaited."""
        return AsyncActionStorage(self._caller)

    @property
    def scheduler(self) -> AsyncScheduler:
        """Runs functions later; its methods are awaited."""
        return AsyncScheduler(ActionScheduling(self._caller, self._clock))

    @property
    def crons(self) -> AsyncCrons:  # type: ignore[override]
        """Functions that run again and again; its methods are awaited."""
        return AsyncCrons(self._caller.call_alone, self._caller.name_of)

    async def is_cancelled(self) -> bool:  # type: ignore[override]
        """Whether nobody wants the action any more; see `ActionContext`."""
        return await asyncio.to_thread(super().is_cancelled)

    async def run_query(
        self,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a query on the newest commit; see `ActionContext`."""
        return await asyncio.to_thread(super().run_query, function, arguments, **args)

    async def run_mutation(
        self,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run a mutation; see `ActionContext`."""
        return await asyncio.to_thread(super().run_mutation, function, arguments, **args)

    async def run_action(
        self,
        function: Callable[..., Any] | str,
        arguments: Mapping[str, Any] = NO_ARGUMENTS,
        /,
        **args: Any,
    ) -> Any:
        """Run another action, which is cancelled when this is; see `ActionContext`."""
        return await self._caller.run_action(function, run_arguments(arguments, args))

    async def vector_search(
        self,
        table: str | type[Any],
        index: str,
        *,
        vector: Iterable[float],
        limit: int = VECTOR_RESULTS,
        filter: Callable[[VectorFilterBuilder], VectorFilter] | None = None,  # noqa: A002  # Convex's word
    ) -> Any:
        """The documents with the nearest vectors; see `ActionContext`."""
        asked = vector_arguments(table_name(table), index, vector, limit, filter)
        return await asyncio.to_thread(self._caller.call_alone, "query", VECTOR_SEARCH, asked)
