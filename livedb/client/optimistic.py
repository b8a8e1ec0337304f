"""Optimistic updates: what a mutation will probably do, shown before the service has done it.

An update is a function of the user's, `update(view, args)`, that sets results of queries followed
here. It is run again over every newer state of the service until the mutation itself is shown;
then, or when the mutation fails, what it set is gone. So nothing has to be undone, and a wrong
guess lasts for one round trip.

Pure: states in, states out.

Source: Convex's `withOptimisticUpdate` (features.md 20).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from livedb.canonical import canonical
from livedb.errors import HandleError
from livedb.functions.definition import as_documents
from livedb.live.live_query import LiveState
from livedb.live.result import Result, result_of
from livedb.text import decode_value, encode_value
from livedb.values import Document, Value

if TYPE_CHECKING:
    from livedb.client.functions import Query

logger = logging.getLogger("livedb.client")


class QueryKey(NamedTuple):
    """A query followed with certain arguments, in their text form."""

    name: str
    args: bytes


def query_key(name: str, args: Mapping[str, Value]) -> QueryKey:
    """The key of a query with canonical arguments."""
    return QueryKey(name, encode_value({each: args[each] for each in sorted(args)}))


Bind = Callable[[str, tuple[Any, ...], Mapping[str, Any]], Mapping[str, Value]]
"""The arguments of a query, by its name, as those of a Python call."""


class OptimisticView:
    """The results of the queries that this client follows, as they are to be shown meanwhile.

    Values given out are copies: set what is to be shown.
    """

    def __init__(
        self, states: Mapping[QueryKey, LiveState], made: dict[QueryKey, Result], bind: Bind
    ) -> None:
        self._states = states
        self._made = made
        self._bind = bind

    def get(self, query: Query[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """The result of a query with these arguments; None when no handle here follows it."""
        return self._value(self._key(query, args, kwargs))

    def get_all(self, query: Query[..., Any] | str, /) -> list[tuple[Document, Any]]:
        """(arguments, result) of each set of arguments with which a query is followed here."""
        name = _name_of(query)
        return [
            (_arguments(decode_value(key.args)), self._value(key))
            for key in self._states
            if key.name == name
        ]

    def set(self, query: Query[..., Any] | str, value: Any, /, *args: Any, **kwargs: Any) -> None:
        """Show `value` as the result of a query with these arguments, if it is followed here.

        Raises:
            InvalidValueError: it is no value that a query can return.
        """
        key = self._key(query, args, kwargs)
        if key in self._states:
            self._made[key] = result_of(value)

    def _key(
        self, query: Query[..., Any] | str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> QueryKey:
        name = _name_of(query)
        return query_key(name, self._bind(name, args, kwargs))

    def _value(self, key: QueryKey) -> Any:
        made = self._made.get(key)
        if made is None:
            state = self._states.get(key)
            made = None if state is None or state.error is not None else state.result
        return None if made is None else as_documents(made.value())


OptimisticUpdate = Callable[[OptimisticView, Document], None]
"""Sets in the view what a mutation with these arguments, by wire name, will probably change."""


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """An update whose mutation is not shown yet."""

    update: OptimisticUpdate
    args: Mapping[str, Value]


class OptimisticUpdates:
    """The updates of one client, in the order of their mutations. Not thread-safe."""

    def __init__(self, bind: Bind) -> None:
        self._bind = bind
        self._pending: dict[Pending, None] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, pending: Pending, states: Mapping[QueryKey, LiveState]) -> None:
        """Show an update from now on.

        Raises: what it raises; it is not shown then.
        """
        made = self._run_all(states)
        pending.update(OptimisticView(states, made, self._bind), _arguments(pending.args))
        self._pending[pending] = None

    def remove(self, pending: Pending) -> None:
        """Show it no longer; twice is harmless."""
        self._pending.pop(pending, None)

    def over(self, states: Mapping[QueryKey, LiveState]) -> dict[QueryKey, LiveState]:
        """The states that the updates make of the service's; those they leave are not in it."""
        return {
            key: replace(states[key], result=result, error=None)
            for key, result in self._run_all(states).items()
        }

    def _run_all(self, states: Mapping[QueryKey, LiveState]) -> dict[QueryKey, Result]:
        made: dict[QueryKey, Result] = {}
        for pending in list(self._pending):
            before = dict(made)
            try:
                pending.update(OptimisticView(states, made, self._bind), _arguments(pending.args))
            except Exception:  # the user's; what it would have shown is shown when it is there
                logger.exception("an optimistic update failed and is shown no longer")
                self.remove(pending)
                made = before
        return made


class _Arguments(Document):
    """Read as a document is; what it has not is no field of one."""

    __slots__ = ()

    _lacks = "there is no argument"


def _arguments(args: Any) -> Document:
    return _Arguments(canonical(dict(args)))


def _name_of(query: Any) -> str:
    if isinstance(query, str):
        return query
    name = getattr(query, "name", None)
    if not isinstance(name, str) or not hasattr(query, "definition"):
        raise HandleError(
            "An optimistic update reads and sets results of queries, not of a "
            f"{type(query).__name__}. Give the decorated function, or its name."
        )
    return name
