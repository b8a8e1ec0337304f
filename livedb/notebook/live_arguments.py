"""Arguments of a live result that are traits of widgets: a slider moves a query.

An argument is *live* when it is a widget, which stands for its trait `value`, or a pair
`(widget, "trait")`. What follows such a result, an `ArgumentSubscription`, always has one inner
subscription, that of the values read last; another value makes another one. Each is one *turn*.

Two ways lead to the next turn, and both take the newest values there are. Reading the handle
compares the traits with what is followed (pull). A trait that changes starts a thread, unless one
is at work, which follows and tells until nothing has changed meanwhile (push): values that come
while a query runs are passed over, so a slider is as fast as the query. Handles show no state of
an earlier turn once they have shown a later one's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import traitlets

from livedb.client.backend import ChangeNotice, OnChange, Params, Subscription
from livedb.errors import ClosedError, FunctionTypeError, ValidationError
from livedb.functions.definition import FunctionDefinition
from livedb.live.live_query import NO_WORK, LiveState, Work

logger = logging.getLogger("livedb")

Follow = Callable[[Mapping[str, Any], OnChange], Subscription]
"""Follows a result with these arguments."""


class Trait(NamedTuple):
    """A trait of a widget, in place of an argument."""

    owner: traitlets.HasTraits
    name: str

    def read(self) -> Any:
        """What it is now."""
        return getattr(self.owner, self.name)


class Given:
    """Arguments as a caller gave them, by position and by name; `traits` are the live ones."""

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._args = [_argument(value, f"argument {at + 1}") for at, value in enumerate(args)]
        self._kwargs = {name: _argument(value, repr(name)) for name, value in kwargs.items()}
        everything = (*self._args, *self._kwargs.values())
        self.traits = tuple(each for each in everything if isinstance(each, Trait))

    def values(self, read: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with what was read of `traits` in their places."""
        left = iter(read)

        def value_of(each: Any) -> Any:
            return next(left) if isinstance(each, Trait) else each

        args = tuple(map(value_of, self._args))
        return args, {name: value_of(each) for name, each in self._kwargs.items()}


def given_params(params: Params) -> Given:
    """The parameters of a SQL statement."""
    return Given((), params) if isinstance(params, Mapping) else Given(tuple(params or ()), {})


def params_now(params: Params) -> Params:
    """The parameters of a SQL statement with what widgets say now."""
    if params is None:
        return None
    given = given_params(params)
    args, kwargs = given.values([trait.read() for trait in given.traits])
    return kwargs if isinstance(params, Mapping) else list(args)


def _argument(value: Any, place: str) -> Any:
    """A live argument as its trait, any other as it is."""
    if isinstance(value, traitlets.HasTraits):
        owner, name = value, "value"
    elif _is_pair(value):
        owner, name = value
    else:
        return value
    if owner.has_trait(name):
        return Trait(owner, name)
    names = ", ".join(sorted(each for each in owner.trait_names() if not each.startswith("_")))
    raise FunctionTypeError(
        f"{place} is a {type(owner).__name__}, which has no trait {name!r} to follow; say which "
        f'one as (widget, "trait"). It has {names or "none"}.'
    )


def _is_pair(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 2
        and isinstance(value[0], traitlets.HasTraits)
        and isinstance(value[1], str)
    )


class ArgumentSubscription:
    """A `Subscription` whose arguments are read from traits; see the module's docstring.

    Args:
        bind: checks and converts what was read of `traits`; a value that it refuses is an error of
            the result, until the next one.
        follow: follows the result of what `bind` gave.
        number: the newest commit.
        name: what to call it while no value has fitted.

    Raises:
        whatever `bind` raises now that is not the fault of a value.
    """

    def __init__(
        self,
        traits: Sequence[Trait],
        *,
        bind: Callable[[Sequence[Any]], Mapping[str, Any]],
        follow: Follow,
        number: Callable[[], int],
        name: str,
        on_change: OnChange,
    ) -> None:
        self._traits = tuple(traits)
        self._bind = bind
        self._follow = follow
        self._number = number
        self._on_change = on_change
        self._is_closed = False
        self._switching = threading.Lock()
        """Held while the next turn begins, by a reader or the thread; a query runs meanwhile."""
        self._working = threading.Lock()
        """Guards the two below; innermost."""
        self._is_working = False
        self._is_asked = False
        self._told = 0
        self.turn = 0
        """How many arguments came before those followed now."""
        self.args: Mapping[str, Any] = {}
        """The arguments in use."""
        self._read: tuple[Any, ...] = ()
        self.inner: Subscription = _Refused(name, None, 0)
        """What is followed now."""
        for trait in self._traits:
            trait.owner.observe(self._changed, names=trait.name)
        try:
            self._switch(self._read_traits(), is_first=True)
        except BaseException:
            self.close()
            raise

    # -- what a handle asks --------------------------------------------------------------------

    @property
    def title(self) -> str:
        return self.inner.title

    def pull(self) -> int:
        self._catch_up()
        return self.inner.pull()

    def state(self) -> LiveState:
        while True:
            inner = self.inner
            try:
                return inner.state()
            except ClosedError:
                if inner is self.inner:
                    raise

    def definition(self) -> FunctionDefinition | None:
        return self.inner.definition()

    @property
    def runs(self) -> int:
        return self.inner.runs

    def work(self) -> Work:
        return self.inner.work()

    def invalidate(self) -> None:
        with self._switching:
            if isinstance(self.inner, _Refused):
                self._switch(self._read_traits())
        self.inner.invalidate()

    def close(self) -> None:
        # Takes no lock: the garbage collector calls this, on any thread and under any lock.
        self._is_closed = True
        for trait in self._traits:
            with suppress(ValueError):  # the widget forgot its observers
                trait.owner.unobserve(self._changed, names=trait.name)
        self.inner.close()

    # -- turns ---------------------------------------------------------------------------------

    def _changed(self, _: Any) -> None:
        """A trait changed; on its widget's thread, which does not wait for the query."""
        with self._working:
            self._is_asked = True
            if self._is_working or self._is_closed:
                return
            self._is_working = True
        threading.Thread(target=self._work, name="livedb-arguments", daemon=True).start()

    def _work(self) -> None:
        while self._is_more_to_do():
            try:
                self._catch_up()
                self._tell()
            except Exception:  # the job worker: log it and go on with the next value
                logger.exception("livedb: the new arguments of a live result were not followed")

    def _is_more_to_do(self) -> bool:
        with self._working:
            self._is_working = self._is_asked and not self._is_closed
            self._is_asked = False
            return self._is_working

    def _catch_up(self) -> None:
        with self._switching:
            read = self._read_traits()
            if not self._is_closed and not _are_same(read, self._read):
                self._switch(read)

    def _read_traits(self) -> tuple[Any, ...]:
        return tuple(trait.read() for trait in self._traits)

    def _switch(self, read: tuple[Any, ...], *, is_first: bool = False) -> None:
        """Follow what was read; the number of the turn is raised last, so that it is never early.

        Whoever reads the number and then the state may have a state of a later turn, which is
        harmless; the other way round would show an earlier one's.
        """
        turn = 0 if is_first else self.turn + 1
        args: Mapping[str, Any] = {}
        inner: Subscription
        try:
            args = self._bind(read)
            inner = self._follow(args, partial(self._hear, turn))
        except ClosedError:
            if is_first:
                raise
            return  # the workspace: the last result stays
        except Exception as error:
            if is_first and not _is_of_a_value(error):
                raise
            inner = _Refused(self.inner.title, error, self._number())
        before, self.inner = self.inner, inner
        self.args, self._read, self.turn = args, read, turn
        before.close()
        if self._is_closed:
            inner.close()

    # -- telling -------------------------------------------------------------------------------

    def _hear(self, turn: int, notice: ChangeNotice | None) -> None:
        """A followed result changed; one of an earlier turn is nobody's business any more."""
        if notice is None:
            self._on_change(None)
        elif turn == self.turn:
            self._on_change(notice._replace(turn=turn))

    def _tell(self) -> None:
        """Tell of the turn, whoever made it."""
        turn = self.turn
        if turn == self._told or self._is_closed:
            return
        self._told = turn
        with suppress(ClosedError):
            number, state = self.inner.pull(), self.state()
            self._on_change(ChangeNotice(number, state, turn))


class _Refused:
    """What is followed of arguments that do not fit: their error."""

    turn = 0
    runs = 0

    def __init__(self, title: str, error: Exception | None, number: int) -> None:
        self.title = title
        self._state = LiveState(result=None, error=error, number=number)

    def pull(self) -> int:
        return self._state.number

    def state(self) -> LiveState:
        return self._state

    def definition(self) -> None:
        return None

    def work(self) -> Work:
        return NO_WORK

    def invalidate(self) -> None:
        """There is nothing to run."""

    def close(self) -> None:
        """There is nothing to stop."""


def _is_of_a_value(error: Exception) -> bool:
    """Whether an argument is there, and its value does not fit."""
    return isinstance(error, ValidationError) and bool(error.path)


def _are_same(read: Sequence[Any], before: Sequence[Any]) -> bool:
    """By identity: a trait keeps its object until it is set, and `==` says that 1 is True."""
    return all(new is old for new, old in zip(read, before, strict=True))
