"""What livedb knows of a user's function, and the module-level decorators that mark one.

A definition is immutable; redefining a function makes a new one with a higher version, and every
live handle follows by its name.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, overload

# Used at the first call, and loaded here: a Ctrl-C within an import of the first call would leave
# Python's import lock taken, and the next thread that imports something waits for ever.
import livedb.schema.compile
import livedb.schema.explain  # noqa: F401
from livedb.canonical import canonical, canonical_arguments
from livedb.clock import Clock, SystemClock
from livedb.errors import (
    FunctionNotFoundError,
    FunctionTypeError,
    InvalidValueError,
    SchemaDefinitionError,
)
from livedb.functions.cors import Cors
from livedb.schema.annotations import FunctionSignature, signature_validators
from livedb.schema.namespace import v
from livedb.schema.substitute import substitute
from livedb.schema.validators import ObjectValidator, TableNumbers, Validator
from livedb.values import Document, Value

FunctionKind = Literal["query", "mutation", "action", "http_action"]
Visibility = Literal["public", "internal"]

F = TypeVar("F", bound=Callable[..., Any])

OWN = "_system/"
"""How the names of livedb's own functions begin."""

_NAMES_SHOWN_MAX = 5
"""Functions that are named to whoever asks for one that does not exist."""

MARK = "__livedb_function__"
"""The attribute by which `push` finds the functions of a module."""

HTTP_MARK = "_livedb_http_action"
"""The attribute of an HTTP action's handler: whether it is `async def`, below what wraps it. (Names
with two underscores do not travel.)"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FunctionDefinition:
    """One query, mutation, action or HTTP action.

    Attributes:
        name: how it is called: `f` from a cell, `folder/module:f` from a module. An HTTP action is
            named as its route, `POST /hooks/*`, and called by none.
        handler: the user's function; its first parameter is the context. A decorator of theirs
            below ours is part of it.
        signature: validators of its arguments and result, and the wire's names.
        version: raised by each redefinition under the same name; see `Registry`.
        takes_raw: its arguments are as the caller's Python has them: it converts, checks and bounds
            them itself.
        table: the table whose documents it gives, where livedb itself made it.
        cors: of an HTTP action: what pages of other origins may do; None leaves it to the handler.
    """

    name: str
    kind: FunctionKind
    visibility: Visibility
    handler: Callable[..., Any]
    signature: FunctionSignature
    version: int = 0
    takes_raw: bool = False
    table: str | None = None
    cors: Cors | None = None

    @property
    def innermost(self) -> Callable[..., Any]:
        """What the author wrote below all decorators that say what they wrap."""
        written: Callable[..., Any] = inspect.unwrap(self.handler)
        return written

    def bind(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        tables: TableNumbers | None = None,
    ) -> dict[str, Value]:
        """The arguments of a Python call: by wire name, canonical and validated.

        Args:
            tables: the catalog; with it, an id must belong to the table its annotation names.

        Raises:
            ArgumentValidationError: an argument is missing, unknown, or of the wrong type.
            TypeError: as a Python call raises it.
        """
        signature = self.signature
        if args or signature.renames:
            kwargs = signature.arguments(args, kwargs)
        return signature.check_arguments(canonical_arguments(kwargs), tables=tables)

    def check_arguments(
        self,
        given: Mapping[str, Value],
        *,
        tables: TableNumbers | None = None,
        from_wire: bool = False,
    ) -> dict[str, Value]:
        """Arguments by wire name, validated and converted; defaults are left to Python.

        Args:
            from_wire: they came as Convex's JSON, where every number is a float.
        """
        return self.signature.check_arguments(given, tables=tables, from_wire=from_wire)

    def call(self, context: Any, args: Mapping[str, Value]) -> Any:
        """Run the handler on checked arguments; its result checked when it declares one.

        Raises: whatever the handler raises; ReturnsValidationError; InvalidValueError when the
            result is no livedb value.
        """
        return self._checked(self.handler(context, **self.signature.python_arguments(args)))

    async def call_async(self, context: Any, args: Mapping[str, Value]) -> Any:
        """The same for a handler that is `async def`, or wraps one."""
        given = self.handler(context, **self.signature.python_arguments(args))
        return self._checked(await given if inspect.isawaitable(given) else given)

    def _checked(self, result: Any) -> Any:
        try:
            if self.signature.returns is None:
                return settled(result)
            given = canonical_result(result)
        except InvalidValueError as error:
            if inspect.iscoroutine(result):
                result.close()  # else Python warns of it, too
                raise InvalidValueError(
                    f"{self.name}: its result is `{result.__qualname__}(..)` that nobody awaited: "
                    "write `await` before the call, in an action that is `async def`",
                    code="InvalidReturnValue",
                ) from None
            raise self.no_value(error) from None
        return as_documents(self.signature.check_result(given))

    def no_value(self, error: InvalidValueError) -> InvalidValueError:
        """The refusal of a result, which names whose it is."""
        message = f"{self.name}: its result is no livedb value: {error.message}"
        # What says more than that it is no value, such as "ArrayTooLong", keeps its name.
        code = "InvalidReturnValue" if error.code == InvalidValueError.code else error.code
        return InvalidValueError(message, path=error.path, code=code)


def settled(result: Any) -> Value:
    """A result that no annotation checks: converted, or refused, as a live handle would do it.

    Documents stay as they were read: to make them again would cost half as much as reading them
    did. What a function has put into one of them, a live handle checks alone.
    """
    kind = type(result)
    if result is None or kind is Document or (kind is str and result.isascii()):
        return result  # what mutations give most often: nothing, or an id
    if kind is list and set(map(type, result)) == _DOCUMENTS_ONLY:
        return result
    return _all_documents(canonical_result(result))


_DOCUMENTS_ONLY = {Document}
_CONTAINERS = {list, dict}


def _all_documents(value: Value) -> Value:
    """A canonical value whose objects are documents: some of them were read, and stay so."""
    if type(value) is dict:
        return Document({name: _all_documents(each) for name, each in value.items()})
    if type(value) is list and not _CONTAINERS.isdisjoint(map(type, value)):
        return [_all_documents(each) for each in value]
    return value


def as_received(value: Value, function: FunctionDefinition) -> Value:
    """A result that came from elsewhere, with documents where a call here would have them."""
    return as_documents(value) if function.signature.returns is not None else _received(value)


def _received(value: Value) -> Value:
    if type(value) is dict:
        # One with an id was read, and what is in it stays as it was.
        is_read = "_id" in value
        return Document(value if is_read else {k: _received(each) for k, each in value.items()})
    if type(value) is list and not _CONTAINERS.isdisjoint(map(type, value)):
        return [_received(each) for each in value]
    return value


def canonical_result(result: Any) -> Value:
    """A result in canonical types; a list of it may be longer than an array in a document.

    Source: the limit is on documents read (`Limits.documents_read_max`), ours to set.
    """
    if isinstance(result, (list, tuple)):
        return [canonical(row, path=f"[{at}]") for at, row in enumerate(result)]
    return canonical(result)


def as_documents(value: Value) -> Value:
    """A result with its documents readable by attribute, as functions see them."""
    if isinstance(value, list):
        return [Document(row) if type(row) is dict else row for row in value]
    return Document(value) if type(value) is dict else value


def define(
    function: Callable[..., Any],
    *,
    kind: FunctionKind,
    visibility: Visibility = "public",
    name: str | None = None,
    args: Mapping[str, Validator] | None = None,
    returns: Validator | None = None,
    namespace: Mapping[str, Any] | None = None,
    alias: Mapping[str, str] | None = None,
    cors: Cors | None = None,
) -> FunctionDefinition:
    """The definition of `function`, its validators read from its annotations unless given.

    Raises:
        SchemaDefinitionError: it is no plain function, or its parameters contradict the rules.
    """
    require_plain(function, kind)
    if kind == "http_action":
        signature = _of_requests(function)
    else:
        signature = signature_validators(function, namespace=namespace, alias=alias)
    if args is not None or returns is not None:
        signature = replace(
            signature,
            args=signature.args if args is None else v.object(dict(args)),
            returns=signature.returns if returns is None else returns,
        )
    name = name or function.__name__
    return FunctionDefinition(
        name=name,
        kind=kind,
        visibility=visibility,
        handler=function,
        signature=replace(signature, name=name),
        cors=cors,
    )


def _of_requests(handler: Callable[..., Any]) -> FunctionSignature:
    """The signature of an HTTP action: it takes a request, which nobody gives as an argument."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(handler).parameters.values())
    takes_two = len(parameters) >= 2 and all(each.kind in positional for each in parameters[:2])
    if not takes_two or any(_is_wanted(each) for each in parameters[2:]):
        raise SchemaDefinitionError(
            f"function {handler.__name__}: an HTTP action is called with a context and a request, "
            f"as in `def {handler.__name__}(ctx, request)`"
        )
    return FunctionSignature(
        name=handler.__name__,
        args=v.object({}),
        extra=None,
        returns=None,
        defaults={},
        wire_names={},
        positional=(),
    )


def _is_wanted(parameter: inspect.Parameter) -> bool:
    """Whether a call must give it."""
    is_variable = parameter.kind in {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }
    return parameter.default is inspect.Parameter.empty and not is_variable


def require_plain(handler: Callable[..., Any], kind: FunctionKind) -> None:
    """Refuse what a call would only prepare: its body would never run inside the transaction."""
    may_await = kind in {"action", "http_action"}
    # What a decorator makes of an `async def` is a coroutine still, whatever it looks like.
    is_async = inspect.iscoroutinefunction(inspect.unwrap(handler))
    if is_async and may_await:
        return
    advice = "await outside of it, and pass what came as an argument"
    if kind == "http_action":
        advice = "return a StreamingResponse of an inner generator"
    if is_async:
        found = "`async def`"
    elif inspect.isasyncgenfunction(handler):
        found = "an `async def` with `yield`" if may_await else "`async def`"
    elif inspect.isgeneratorfunction(handler):
        found = "a generator (it has `yield`)"
        advice = advice if kind == "http_action" else "return a list"
    else:
        return
    plain = "a `def` or an `async def` without `yield`" if may_await else "a plain `def`"
    raise SchemaDefinitionError(
        f"function {handler.__name__}: {a_kind(kind)} is {plain}, and this is {found}; {advice}"
    )


def require_kind(function: FunctionDefinition, kind: FunctionKind | None) -> None:
    """Refuse a function that is of another kind than it is called as; None is any.

    Raises:
        FunctionTypeError.
    """
    if kind is not None and function.kind != kind:
        raise FunctionTypeError(
            f"{function.name!r} was redefined as {a_kind(function.kind)}, and is called here as "
            f"the {kind} that it was: take db.function({function.name!r}) anew"
        )


def a_kind(kind: FunctionKind) -> str:
    """`a query`, `an HTTP action`."""
    return {"action": "an action", "http_action": "an HTTP action"}.get(kind, f"a {kind}")


def wire_kind(kind: str) -> str:
    """`Query`, `HttpAction`: as Convex writes a kind."""
    return "".join(word.capitalize() for word in kind.split("_"))


LOADED_PACKAGE = "livedb_functions_"
"""How the name of the package begins that each load of a folder of functions makes of it."""

_LOADED = re.compile(rf"{LOADED_PACKAGE}\d+\.")


def pushed_name(function: Callable[..., Any]) -> str:
    """How a marked function of a module is called once it is pushed: `folder/module:f`."""
    module = _LOADED.sub("", function.__module__, count=1)
    return f"{module.replace('.', '/')}:{function.__name__}"


def marked_function(function: Callable[..., Any], *, name: str | None = None) -> FunctionDefinition:
    """The definition of a function that a module-level decorator marked.

    Args:
        name: how it is called; without one, by its module and its own name.
    """
    mark: FunctionMark = getattr(function, MARK)
    return define(
        function,
        kind=mark.kind,
        visibility=mark.visibility,
        name=name or pushed_name(function),
        args=mark.args,
        returns=mark.returns,
        alias=mark.alias,
    )


@dataclass(frozen=True, slots=True)
class FunctionMark:
    """What a module-level decorator leaves on a function for `push` to find."""

    kind: FunctionKind
    visibility: Visibility
    args: Mapping[str, Validator] | None
    returns: Validator | None
    alias: Mapping[str, str] | None


class Marker(Protocol):
    """A module-level decorator, bare or with options; `internal=True` makes an `internal_` one."""

    @overload
    def __call__(self, function: F, /) -> F: ...
    @overload
    def __call__(
        self,
        *,
        args: Mapping[str, Validator] | None = None,
        returns: Validator | None = None,
        alias: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> Callable[[F], F]: ...


def _marker(kind: FunctionKind, visibility: Visibility) -> Marker:
    def decorate(
        function: Any = None,
        /,
        *,
        args: Mapping[str, Validator] | None = None,
        returns: Validator | None = None,
        alias: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> Any:
        seen: Visibility = "internal" if internal else visibility
        mark = FunctionMark(kind, seen, args, returns, alias)

        def marked(function: Any) -> Any:
            setattr(function, MARK, mark)
            return function

        return marked if function is None else marked(function)

    article = "a" if visibility == "public" else "an"
    decorate.__name__ = kind if visibility == "public" else f"internal_{kind}"
    decorate.__doc__ = (
        f"Mark a function of a module as {article} {visibility} {kind}; `db.push(module)` defines "
        "it."
    )
    return decorate


query = _marker("query", "public")
mutation = _marker("mutation", "public")
action = _marker("action", "public")
internal_query = _marker("query", "internal")
internal_mutation = _marker("mutation", "internal")
internal_action = _marker("action", "internal")


class Registry:
    """The functions of a workspace by name.

    A version says when a function was defined, in microseconds since the Unix epoch, and is above
    all that were given before. So versions of two processes compare as well: a kernel that brings
    its functions to a service that was started anew does not replace what was defined later.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._functions: dict[str, FunctionDefinition] = {}
        self._version = 0

    def define(
        self, definition: FunctionDefinition, *, version: int | None = None
    ) -> FunctionDefinition:
        """Put or replace a function; returns what is there by its name from now on.

        Args:
            version: the one it had in a process that has ended; a later one that is here stays.
        """
        found = self._functions.get(definition.name)
        if version is not None and found is not None and found.version >= version:
            return found
        newest = self._next_version()
        # A clock that was ahead over there must not outrank what is defined from now on.
        numbered = replace(definition, version=min(newest, version or newest))
        self._functions[definition.name] = numbered
        return numbered

    def _next_version(self) -> int:
        self._version = max(self._version + 1, self._clock.now_ns() // 1000)
        return self._version

    def replace(
        self, definitions: Iterable[FunctionDefinition], *, gone: Iterable[str] = ()
    ) -> frozenset[str]:
        """Put or replace functions and drop those named `gone`, in one step.

        Returns the names whose function is another one now, or none.
        """
        functions = dict(self._functions)
        removed = {name for name in gone if functions.pop(name, None) is not None}
        self._version += len(removed)
        defined = set()
        for definition in definitions:
            functions[definition.name] = replace(definition, version=self._next_version())
            defined.add(definition.name)
        self._functions = functions
        return frozenset(removed | defined)

    @property
    def version(self) -> int:
        """Differs when a function was defined or dropped since."""
        return self._version

    def get(self, name: str) -> FunctionDefinition:
        """The function of that name.

        Raises:
            FunctionNotFoundError: there is none; near misses are named.
        """
        found = self._functions.get(name)
        if found is None:
            raise FunctionNotFoundError(f"Could not find function {name!r}. {self._advice(name)}")
        return found

    def _advice(self, name: str) -> str:
        if not self.names():
            return "None is defined yet: decorate one with @db.query or @db.mutation."
        names = self.names()
        near = did_you_mean(name, names)
        if near:
            return near
        shown = ", ".join(map(repr, names[:_NAMES_SHOWN_MAX]))
        if len(names) > _NAMES_SHOWN_MAX:
            return f"There are {len(names):,}, such as {shown}; db.functions lists them."
        return f"There {'is' if len(names) == 1 else 'are'} {shown}."

    def find(self, name: str) -> FunctionDefinition | None:
        return self._functions.get(name)

    def names(self) -> list[str]:
        """Of all functions but livedb's own, sorted."""
        return sorted(name for name in self._functions if not name.startswith(OWN))

    def named_in_module(self, qualified_name: str) -> list[FunctionDefinition]:
        """Those that a module defines under this name of Python's."""
        return [
            each
            for each in list(self._functions.values())
            if ":" in each.name and getattr(each.handler, "__qualname__", None) == qualified_name
        ]

    def of_kind(self, kind: FunctionKind) -> list[FunctionDefinition]:
        """All functions of a kind, livedb's own included."""
        return [each for each in list(self._functions.values()) if each.kind == kind]

    def follow_table(self, old: Validator, new: Validator) -> None:
        """A table's documents are `new` from now on: so are those that signatures speak of.

        A class in an annotation stands for the documents of its table, and a cell that defines
        the table anew does not run the cells of the functions again.
        """
        for name, definition in list(self._functions.items()):
            signature = definition.signature
            args = substitute(signature.args, old, new)
            returns = signature.returns and substitute(signature.returns, old, new)
            if args is not signature.args or returns is not signature.returns:
                assert isinstance(args, ObjectValidator)
                followed = replace(signature, args=args, returns=returns)
                self._functions[name] = replace(definition, signature=followed)


def did_you_mean(name: str, known: Any) -> str:
    """`Did you mean 'x'?`, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
