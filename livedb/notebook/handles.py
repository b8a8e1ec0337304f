"""Live handles: what a notebook user holds, reads and displays.

A handle has two faces that never disagree. Reading it *pulls*: `.value`, `.df` and `.version` are
the newest published commit at that instant, and a pull brings every handle of the workspace to one
number. Watching it *pushes*: observers and widgets hear of each change on their own thread.

A handle holds its subscription; dropping the last reference to it drops the subscription, and the
widget's view keeps it alive while it is on screen.
"""

from __future__ import annotations

import logging
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

import traitlets

from livedb.client.backend import Backend, ChangeNotice, OnChange, Subscription
from livedb.client.table import user_level
from livedb.errors import ClosedError, ForkedError, HandleError, WorkspaceError, WorkspaceGoneError
from livedb.functions.calling import is_running
from livedb.interchange.arrow import FieldType
from livedb.interchange.frames import FrameMixin
from livedb.live.live_query import LiveState, Work
from livedb.live.result import Result, TableResult, ValueResult
from livedb.notebook.displayed import Displayed
from livedb.notebook.documents import RowDocuments
from livedb.notebook.followers import Followers, deliver
from livedb.notebook.freezes import freeze_of
from livedb.notebook.gathering import Held, gathered
from livedb.notebook.handle_frames import HandleFrames, require_result
from livedb.notebook.live_arguments import ArgumentSubscription
from livedb.notebook.raised import raised_to_one
from livedb.notebook.rows import (
    RowSource,
    RowState,
    state_of_nothing,
    state_of_table,
    state_of_value,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.notebook.selection import Selection

logger = logging.getLogger("livedb")

R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)


class _TraitChange(NamedTuple):
    name: str
    before: Any
    now: Any


class _Pulled(traitlets.Any):
    """A trait that is brought up to date before it is read."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        obj._pull()
        obj._decode()
        return super().get(obj, cls)


class _PulledValue(_Pulled):
    """The value, or the error of a handle that never had one."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        value = super().get(obj, cls)
        require_result(obj._shown)
        return value


_handles: weakref.WeakSet[Handle[Any]] = weakref.WeakSet()


class Handle(Displayed, traitlets.HasTraits, FrameMixin, Generic[T_co]):
    """The live result of a query, of SQL or of a table.

    Attributes:
        value: the newest result, a private copy for this handle.
        version: the commit number that `value` is exact at, or `error` when there is one.
        error: what the newest run raised; `value` is then the last good result, and a frame or a
            file of it warns once. While this handle has had no good result, both raise the error.
    """

    if TYPE_CHECKING:

        @property
        def value(self) -> T_co: ...
        @property
        def version(self) -> int: ...
        @property
        def error(self) -> Exception | None: ...

    else:
        value = _PulledValue(allow_none=True, read_only=True)
        version = _Pulled(read_only=True)
        error = _Pulled(allow_none=True, read_only=True)

    def __init__(
        self,
        backend: Backend,
        follow: Callable[[OnChange], Subscription],
        *,
        title: str | None = None,
        table: str | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._backend = backend
        self._table = table
        self._taken: LiveState | None = None
        """The newest state; `_shown` is what of it is this handle's own, see `_own_state`."""
        self._shown: LiveState | None = None
        self._earlier: Result | None = None
        """The last good result of those who followed the failing query before this handle did."""
        self._shown_number = 0
        self._shown_turn = 0
        """The turn of the subscription that the shown state is of."""
        self._given_args = args or {}
        self._given_title = title
        self._rows_number: int | None = None
        """The newest commit that the shown rows are known to be of; not that of an error."""
        self._warned_of: LiveState | None = None
        self._lock = threading.RLock()
        """Guards the shown state; nothing else is locked while it is held."""
        self._is_decoded = True
        """Whether the `value` trait holds the value of the shown state; see `_decode`."""
        self.followers = Followers()
        """They end when this handle or its workspace is closed."""
        mine = weakref.ref(self)
        is_ready = False

        def hear(notice: ChangeNotice | None) -> None:
            # The first change may come before `follow` has returned; the pull below has it.
            handle = mine() if is_ready else None
            if handle is None:
                return
            if notice is None:
                handle._end_with(backend)
            else:
                handle._hear(notice)

        self._subscription = follow(hear)
        self._frames = HandleFrames(backend, self._subscription, table)
        self._closing = weakref.finalize(self, self._subscription.close)
        self._closing.atexit = False
        _handles.add(self)
        is_ready = True
        self._pull()

    # -- reading -------------------------------------------------------------------------------

    def _pull(self) -> None:
        """Bring this handle to the newest commit, or to the one it is frozen at."""
        if is_running():
            raise HandleError(
                f"The live handle {self.title} cannot be read inside a query or mutation: its "
                "value would not be part of the run. Call the query itself."
            )
        if not self._closing.alive:
            return
        freeze = freeze_of(self._backend)
        if freeze is not None:
            frozen = freeze.states.get(self)
            if frozen is not None:
                self._show(*frozen, is_frozen=True)
                return
        try:
            number = self._subscription.pull()
            turn = self._subscription.turn  # before the state, which may be of a later one
            state = self._subscription.state()
        except ClosedError:
            return  # the workspace, or this handle just now: the last value stays readable
        if freeze is not None:
            state, number = freeze.add(self, state, number)
        self._show(state, number, turn, is_frozen=freeze is not None)

    def _show(
        self, state: LiveState, number: int, turn: int = 0, *, is_frozen: bool = False
    ) -> None:
        """Take a state, unless a newer one is shown already: several threads bring them."""
        with self._lock:
            changes = self._take(state, number, turn, is_frozen=is_frozen)
        self._tell_traits(changes or ())

    def _take(
        self, state: LiveState, number: int, turn: int, *, is_frozen: bool = False
    ) -> Sequence[_TraitChange] | None:
        """The same, under the lock: the changes to tell, None when a newer state is shown.

        One of other arguments is newer by its turn; and since the number must not go back, it is
        left to the next pull when the old arguments are shown at a later commit.
        """
        number = max(number, state.number)
        is_older = number < self._shown_number or turn < self._shown_turn
        if (is_older or freeze_of(self._backend) is not None) and not is_frozen:
            return None
        is_begun_anew = turn > self._shown_turn
        self._shown_turn = max(turn, self._shown_turn)
        self._shown_number = number
        self._trait_values["version"] = number
        if state is self._taken:
            if state.error is None:
                self._rows_number = number
            return ()
        self._taken, state = state, self._own_state(state, is_begun_anew=is_begun_anew)
        if state.error is None:
            self._rows_number = number
        elif self._shown is None or state.result is not self._shown.result:
            self._rows_number = None  # good rows that this handle never showed
        old, self._shown = self._shown, state
        changes = [_TraitChange("error", self._trait_values.get("error"), state.error)]
        self._trait_values["error"] = state.error
        if old is None or state.result is not old.result:
            self._is_decoded = False
            if self._trait_notifiers:
                before = self._trait_values.get("value")
                self._decode()
                changes.append(_TraitChange("value", before, self._trait_values["value"]))
        return changes

    def _tell_traits(self, changes: Iterable[_TraitChange]) -> None:
        if self._trait_notifiers:
            for change in changes:
                if change.before is not change.now:
                    deliver(partial(self._notify_trait, *change))

    def _own_state(self, state: LiveState, *, is_begun_anew: bool) -> LiveState:
        """The state without rows that were good only before this handle, or its turn, began."""
        if state.error is None:
            return state
        if self._shown is None or is_begun_anew:
            self._earlier = state.result
        is_own = state.result is None or state.result is not self._earlier
        return state if is_own else replace(state, result=None)

    def _decode(self) -> None:
        """Make the value of the shown state, which frames, widgets and most changes never need."""
        if self._is_decoded:
            return
        with self._lock:
            result = None if self._shown is None else self._shown.result
            self._trait_values["value"] = None if result is None else result.value()
            self._is_decoded = True

    def __len__(self) -> int:
        """How many rows it has now."""
        return len(self._rows())

    @overload
    def __iter__(self: Handle[list[R]]) -> Iterator[R]: ...
    @overload
    def __iter__(self: Handle[Any]) -> Iterator[Any]: ...

    def __iter__(self) -> Iterator[Any]:
        """Its rows now: all of one commit, whatever changes during the iteration.

        The rows of a query are as it returned them; those of SQL and of a table are documents,
        in which a field that is absent is None.

        Raises:
            TypeError: the query returned something else than a list; read `value`.
            whatever the newest run raised, when none has succeeded yet.
        """
        return iter(self._rows())

    @overload
    def __getitem__(self: Handle[list[R]], at: int) -> R: ...
    @overload
    def __getitem__(self: Handle[list[R]], at: slice) -> list[R]: ...
    @overload
    def __getitem__(self: Handle[Any], at: Any) -> Any: ...

    def __getitem__(self, at: Any) -> Any:
        """One row, or a list of several, now; as iteration gives them."""
        return self._rows()[at]

    def __bool__(self) -> bool:
        """False when it has no rows, as of a list; a result that is no list is not looked at."""
        state = self._pulled()
        if state is None or state.result is None:
            return True
        rows = self._rows_of(state.result)
        return rows is None or len(rows) > 0

    def _rows(self) -> Sequence[Any]:
        state = self._pulled()
        self._warn_of_error()
        require_result(state)
        result = None if state is None else state.result
        rows = None if result is None else self._rows_of(result)
        if rows is None:
            raise TypeError(
                f"The live handle {self.title} shows one value, not a list of rows; read .value"
            )
        return rows

    def _pulled(self) -> LiveState | None:
        self._pull()
        return self._shown

    def _rows_of(self, result: Result) -> Sequence[Any] | None:
        if isinstance(result, TableResult):
            return RowDocuments(result.table, self._frames.document_fields_of(self._shown))
        self._decode()
        value = self._trait_values["value"]
        return value if isinstance(value, list) else None

    def raise_error(self) -> None:
        """Raise what the newest run raised, if it did."""
        error = self.error
        if error is not None:
            raise raised_to_one(error)

    # -- following -----------------------------------------------------------------------------

    def _hear(self, notice: ChangeNotice) -> None:
        """A change was published; called on the refresher's thread."""
        if self._closing.alive:
            self._show(notice.state, notice.number, notice.turn)
            if notice.turn != self._shown_turn:
                self._pull()
        self.tell(notice)

    def tell(self, notice: ChangeNotice) -> None:
        """Tell everybody who follows this handle of a change that it shows."""
        for widget in self._widgets:
            widget.notify()
        self.followers.tell(notice)

    def observe(self, handler: Any, names: Any = traitlets.All, type: Any = "change") -> None:  # noqa: A002  # traitlets' signature
        """Call `handler` after every change.

        `observe(callback)` calls `callback(handle)`, on the kernel's event loop in a notebook and
        on livedb's own thread in a script, with no lock held: it may run mutations. With `names`
        it is traitlets' own `observe`, and the handler gets a change dict.

        Raises:
            HandleError: `handler` cannot be called, or `names` names no trait of a handle.
        """
        self._require_following()
        if not callable(handler):
            raise HandleError(f"observe() calls what it is given, and {handler!r} is no function")
        if names is not traitlets.All:
            given = [names] if isinstance(names, str) else names
            if unknown := [each for each in given if not self.has_trait(each)]:
                there = ", ".join(sorted(self.trait_names()))
                raise HandleError(f"A live handle has no trait {unknown[0]!r}; it has {there}")
            self._decode()  # what the first change calls `old`
            super().observe(handler, names, type)
            return
        mine = weakref.ref(self)

        def tell(_: ChangeNotice) -> None:
            handle = mine()
            if handle is not None:
                handler(handle)

        self.followers.add(handler, tell)

    def unobserve(self, handler: Any, names: Any = traitlets.All, type: Any = "change") -> None:  # noqa: A002
        """Stop calling `handler`."""
        if names is not traitlets.All:
            super().unobserve(handler, names, type)
            return
        self.followers.remove(handler)

    def wait(self, timeout: float | None = None, *, after: int | None = None) -> bool:
        """Wait for the next change; returns whether one came within `timeout` seconds.

        Args:
            after: a version: return at once when the value changed after it.
        """
        seen = self._changed_number() if after is None else after
        return self.followers.wait_until(
            lambda: self._changed_number() > seen, timeout, self._require_following
        )

    def _require_following(self) -> None:
        if self.followers.is_ended:
            raise ClosedError(f"The live handle {self.title} is closed")

    def _changed_number(self) -> int:
        """The commit that last changed the result."""
        return self._subscription.state().number

    async def aio(self) -> AsyncIterator[T_co]:
        """The value now and after each change, for `async for value in handle.aio():`.

        A reader slower than the changes sees the newest value, not every one. It ends when the
        handle or its workspace is closed, and with the run's error while there is no value at all.
        """
        given: LiveState | None = None
        async with aclosing(self.followers.turns()) as turns:
            async for _ in turns:
                self._pull()
                # Reading pulls, so it may be ahead of what wakes.
                if given is None or self._shown is not given:
                    given = self._shown
                    yield self.value

    def refresh(self) -> None:
        """Run the query again although no document it read has changed."""
        self._require_following()
        self._subscription.invalidate()
        self._pull()

    @property
    def args(self) -> dict[str, Any]:
        """The arguments it follows, by the names of the wire; those of widgets as they are now."""
        self._pull()
        subscription = self._subscription
        if isinstance(subscription, ArgumentSubscription):
            return dict(subscription.args)
        return dict(self._given_args)

    @property
    def title(self) -> str:
        """What it follows, for people."""
        return self._given_title or self._subscription.title

    def followed(self) -> tuple[Subscription, int]:
        """What the backend knows of it, and the turn that it is of."""
        subscription = self._subscription
        turn = subscription.turn  # before the inner one, which may be of a later turn
        if isinstance(subscription, ArgumentSubscription):
            return subscription.inner, turn
        return subscription, turn

    @property
    def runs(self) -> int:
        """How often the live query behind this handle was run."""
        return self._subscription.runs

    def work(self) -> Work:
        """What the live query behind this handle costs: its runs, their time, what it reads."""
        return self._subscription.work()

    def tell_pages(self) -> None:
        """Have its tables on screen drawn again: the rows are the same, how they stand is not."""
        for widget in self._widgets:
            widget.notify()

    def close(self) -> None:
        """Stop following. The last value stays readable. In a forked child it does nothing."""
        try:
            self._backend.require_open()
        except ForkedError:
            return  # a thread of the parent may have a lock of it, for ever in this process
        except WorkspaceError:
            pass
        self._closing()
        self._end("This handle is closed; these are its last rows.")
        self.close_widget()

    def hand_over(self, successor: Handle[Any]) -> None:
        """Close, and let `successor` have the views that pages have open of this handle."""
        open_views = tuple(widget for widget in self._widgets if widget.view_count)
        self._widgets = tuple(widget for widget in self._widgets if not widget.view_count)
        successor._widgets += open_views
        for widget in open_views:
            widget.follow(successor)
        self.close()

    def _end(self, why: str) -> None:
        """Let everybody who waits for a change go, and tell the pages."""
        self._why_ended = self._why_ended or why
        self.tell_pages()
        self.followers.end()

    def _end_with(self, backend: Backend) -> None:
        """The workspace is closed; or gone, which is an error for who reads the last rows."""
        why = "The workspace is closed;"
        try:
            backend.require_open()
        except WorkspaceGoneError as error:
            with self._lock:
                shown = self._shown or LiveState(result=None, error=None, number=0)
                self._show(replace(shown, error=error), self._shown_number)
            why = error.message
        except WorkspaceError:  # closed, or used in a forked child
            pass
        self._end(f"{why} these are its last rows.")

    @property
    def is_closed(self) -> bool:
        """Whether this handle has stopped following."""
        return not self._closing.alive

    # -- frames --------------------------------------------------------------------------------

    def _to_arrow(self) -> pa.Table:
        self._pull()
        self._warn_of_error()
        return self._frames.typed_arrow_of(self._shown)

    def _frame_fields(self) -> Mapping[str, FieldType] | None:
        return self._frames.fields_of(self._shown)

    def _frame_snapshot(self) -> tuple[pa.Table, int | None]:
        self._pull()
        self._warn_of_error()
        with self._lock:
            state, number, rows_number = self._shown, self._shown_number, self._rows_number
        is_stale = state is not None and state.error is not None
        return self._frames.arrow_of(state), rows_number if is_stale else number

    def _warn_of_error(self) -> None:
        """Say once of each error that the rows are older than it."""
        with self._lock:
            state, rows_number = self._shown, self._rows_number
            if state is None or state.error is None or state.result is None:
                return
            if state is self._warned_of:
                return
            self._warned_of = state
        before = f"a commit before {state.number}"
        rows_of = before if rows_number is None else f"commit {rows_number}"
        message = (
            f"The newest run of {self.title} failed ({_error_text(state.error)}); these are the "
            f"last good rows, of {rows_of}."
        )
        warnings.warn(message, UserWarning, user_level())

    # -- display -------------------------------------------------------------------------------

    def gather(self, sources: Sequence[RowSource]) -> list[tuple[RowSource, RowState]]:
        """Bring it and those of its workspace to one commit: see `RowSource`."""
        here = [
            each for each in sources if isinstance(each, Handle) and each._backend is self._backend
        ]
        return [
            (handle, handle._row_state(state, number))
            for handle, (state, number) in gathered(self._backend, here)
        ]

    def take(self, state: LiveState, number: int, turn: int) -> Held | None:
        """Take a state, and say what is shown then; None when that is a newer one."""
        with self._lock:
            changes = self._take(state, number, turn)
            held = None if changes is None else (self._shown, self._shown_number)
        self._tell_traits(changes or ())
        return held

    def held(self) -> Held:
        """What is shown, and its number."""
        with self._lock:
            return self._shown, self._shown_number

    def current(self) -> RowState:
        """What a table on screen shows: see `livedb.notebook.rows.RowSource`."""
        self._pull()
        return self.shown()

    def shown(self) -> RowState:
        """The same, without bringing it up to date."""
        return self._row_state(*self.held())

    def _row_state(self, state: LiveState | None, number: int) -> RowState:
        error = None if state is None or state.error is None else _error_text(state.error)
        ended = self._why_ended or _why_away(self._backend)
        rows = self._rows_state(state, number, error)
        return replace(rows, ended=ended, formats=self._formats, identity=state)

    def _rows_state(self, state: LiveState | None, number: int, error: str | None) -> RowState:
        if state is None or state.result is None:
            return state_of_nothing(number=number, error=error)
        if isinstance(state.result, ValueResult):
            return state_of_value(state.result.value(), number=number, error=error)
        table = self._frames.arrow_of(state)
        return state_of_table(table, self._frames.fields_of(state), number, error)

    @cached_property
    def selection(self) -> Selection:
        """What a reader has selected in its table on screen; `.df` has these rows as they are."""
        from livedb.notebook.selection import Selection

        return Selection(self)

    def select(self, keys: Sequence[str], cell: tuple[str, str] | None) -> None:
        """Rows were selected on a page: see `livedb.notebook.rows.RowSource`."""
        self.selection.take(keys, cell, deliver)

    def __repr__(self) -> str:
        """The rows, as a plain REPL shows them; inside a query or mutation only what it follows."""
        if is_running():
            return f"<live {self.title}>"
        from livedb.notebook.display import text_of_table

        return text_of_table(self.title, self.current())

    def __reduce__(self) -> Any:
        raise TypeError("A live handle cannot be pickled; take its .value or .to_arrow()")


def open_handles() -> list[Handle[Any]]:
    """Every handle of this process that still follows."""
    return [handle for handle in list(_handles) if not handle.is_closed]


def _why_away(backend: Backend) -> str | None:
    """What to say of rows that follow nothing for now."""
    status = backend.status
    if status.state != "reconnecting":
        return None
    return f"Reconnecting: these are the last rows ({status.detail})."


def _error_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
