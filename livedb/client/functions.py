"""What a decorator gives back: a function that is called without its context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from livedb.errors import ArgumentValidationError, FunctionTypeError
from livedb.functions.definition import FunctionDefinition, FunctionKind, require_kind
from livedb.functions.signatures import call_signature, signature_text
from livedb.travel.parcel import THE_WORKSPACE

if TYPE_CHECKING:
    from livedb.client.database import Database
    from livedb.client.optimistic import OptimisticUpdate
    from livedb.notebook.forms import Form
    from livedb.notebook.handles import Handle

P = ParamSpec("P")
R = TypeVar("R")


class _Function(Generic[P, R]):
    """A function of one workspace, by name: who redefines it as what it is redefines this."""

    _kind: ClassVar[FunctionKind]

    def __init__(self, database: Database, definition: FunctionDefinition) -> None:
        self._database = database
        self._update: OptimisticUpdate | None = None
        self.name = definition.name
        self.__name__ = definition.name.rpartition(":")[2]
        self.__qualname__ = self.__name__
        self.__doc__ = definition.handler.__doc__
        self.__module__ = definition.handler.__module__
        self.__wrapped__: Callable[Concatenate[Any, P], R] = definition.handler
        self.__signature__ = call_signature(definition.handler)

    @property
    def database(self) -> Database:
        """The workspace that has it."""
        return self._database

    @property
    def definition(self) -> FunctionDefinition:
        """The newest definition of this name."""
        return self._database.backend.definition(self.name)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            backend = self._database.backend
            result: R = backend.call(self.name, args, kwargs, self._update, kind=self._kind)
        except Exception as error:  # whatever it is, it loses livedb's own frames
            error.__traceback__ = frames_from(self.definition, error.__traceback__)
            self._explain(error)
            raise
        return result

    async def aio(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same call for asyncio: it runs on a worker thread."""
        definition = self.definition
        require_kind(definition, self._kind)
        try:
            bound = definition.bind(args, kwargs, tables=self._database.backend.catalog())
            result: R = await self._database.backend.run_async(definition, bound, self._update)
        except Exception as error:
            error.__traceback__ = frames_from(definition, error.__traceback__)
            self._explain(error)
            raise
        return result

    def _explain(self, error: Exception) -> None:
        """Say of refused arguments when they fit what stands here, and not what is called."""
        refusals = (f"{self.name}: ", f"{self.name}() ")
        if not isinstance(error, ArgumentValidationError | TypeError):
            return
        there = self.definition.handler
        if there is self.__wrapped__ or not str(error).startswith(refusals):
            return
        here, now = signature_text(self.__signature__), signature_text(call_signature(there))
        if here == now:
            return
        message = (
            f"{error}\n\n{self.name} was defined anew since, by another kernel or another cell: it "
            f"takes {now} now, and this one took {here}. Call it so, or define this one again."
        )
        error.args = (message,)
        if isinstance(error, ArgumentValidationError):
            error.message = message

    def __repr__(self) -> str:
        kind = type(self).__name__.lower()
        return f"<{kind} {self.name}{signature_text(self.__signature__)}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} cannot be pickled: it belongs to a workspace open in this process"
        )


def names_of_functions(database: object) -> Callable[[object], str | None]:
    """Tells the name of a query or mutation of one workspace, or that it is the workspace itself.

    For `livedb.travel.capture`: a function that calls another one takes only its name along. None
    for everything else.
    """

    def name_of(value: object) -> str | None:
        if isinstance(value, _Function) and value._database is database:  # noqa: SLF001
            return value.name
        return THE_WORKSPACE if value is database else None

    return name_of


def frames_from(function: FunctionDefinition, frames: TracebackType | None) -> TracebackType | None:
    """The frames from the function called on, without those by which livedb got there.

    All of them when it was not reached: the error is livedb's, and its way is of interest.
    """
    code = getattr(function.handler, "__code__", None)
    first = frames
    while first is not None and first.tb_frame.f_code is not code:
        first = first.tb_next
    return frames if first is None else first


def plain_function(function: Any) -> Any:
    """What is decorated: where it is a function of a workspace, the one that this was made of."""
    return function.__wrapped__ if isinstance(function, _Function) else function


class Query(_Function[P, R]):
    """A query: reads only, runs at one commit, can be followed live."""

    _kind = "query"

    def live(self, /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """A handle whose value follows every commit that touches what the query reads.

        An argument may be a widget, whose `value` it follows, or a pair `(widget, "trait")`: the
        handle shows the result for the newest value there is. A value that does not fit is the
        handle's `error` until the next one.

        Raises:
            ArgumentValidationError: as a call would. What the query itself raises is in the
            handle's `error`.
            FunctionTypeError: a widget has no trait of that name.
        """
        definition = self.definition
        require_kind(definition, self._kind)
        try:
            handle: Handle[R] = self._database.live_call(definition, args, kwargs)
        except (ArgumentValidationError, TypeError) as error:
            self._explain(error)
            raise
        return handle


class _Submitted(_Function[P, R]):
    """A function that people may call by a form."""

    def form(
        self,
        *,
        preset: Mapping[str, Any] | None = None,
        on_submit: Callable[[R], object] | None = None,
    ) -> Form:
        """A form of the arguments, for the last line of a cell; its button makes the call.

        What is typed is checked by the validators of the arguments while it is typed. The call is
        made once, and what it gives, or raises, is shown and kept in `result` and `error`.

        Args:
            preset: what fields hold at first, by argument.
            on_submit: called with each result, on the kernel's event loop.

        Raises:
            FunctionTypeError: `preset` names no argument, or is no dict; `on_submit` is no
                function.
            ArgumentValidationError: a value of `preset` is none that the argument takes.
        """
        return self._database.form(self, preset, on_submit)


class Mutation(_Submitted[P, R]):
    """A mutation: one transaction, committed and durable when the call returns.

    It may run more than once, when others change meanwhile what it read; all of a run that does
    not commit is undone.
    """

    _kind = "mutation"

    def with_optimistic_update(self, update: OptimisticUpdate, /) -> Mutation[P, R]:
        """The same mutation, which shows at once in this kernel what it will probably change.

            def at_the_end(view, args):
                tasks = view.get(open_tasks, user=args.user)
                if tasks is not None:
                    view.set(open_tasks, [*tasks, {"title": args.title}], user=args.user)

            add_now = add_task.with_optimistic_update(at_the_end)

        `view.get` gives a result that a handle here follows, `view.get_all` one for each set of
        arguments, `view.set` shows another one. The update runs before the call is sent, where it
        may raise, and again over whatever arrives, until the mutation itself is shown or has
        failed. It may use its two arguments only. In the process of the workspace, where a commit
        is shown at once, it is not run.

        Raises:
            FunctionTypeError: `update` is no function.
        """
        if not callable(update):
            raise FunctionTypeError(
                "An optimistic update is a function of a view and the mutation's arguments, "
                f"update(view, args), not {update!r}"
            )
        changed: Mutation[P, R] = Mutation.__new__(Mutation)
        vars(changed).update(vars(self), _update=update)
        return changed


class Action(_Submitted[P, R]):
    """An action: may do anything, runs once, and reaches the database through other functions.

    One that is `async def` is called like any other: the call returns when it is done. In
    asyncio, `await action.aio(...)`.
    """

    _kind = "action"
