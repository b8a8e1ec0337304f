"""`@db.table`, `@db.query`, `@db.mutation`, `@db.action`, and `db.push` for what modules decorate.

Where a class or function is taken apart, its annotations mean what they mean to whoever decorates
it: the names of the caller's frame.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import ModuleType
from typing import (
    Any,
    Concatenate,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeVar,
    dataclass_transform,
    overload,
)

from livedb.client.backend import Backend, Origin
from livedb.client.functions import Action, Mutation, Query, names_of_functions, plain_function
from livedb.errors import FunctionTypeError, SchemaChangeError, SchemaDefinitionError
from livedb.functions.action_context import ActionContext, AsyncActionContext
from livedb.functions.context import MutationContext, QueryContext
from livedb.functions.definition import (
    MARK,
    FunctionKind,
    FunctionMark,
    Visibility,
    define,
    marked_function,
)
from livedb.functions.http_routes import HttpRouter
from livedb.functions.purity import warn_of_impurity
from livedb.schema.annotations import table_from_class
from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.schema.tables import SchemaDefinition
from livedb.schema.validators import Validator

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ActionDecorator(Protocol):
    """What `@db.action(...)` with options is, for plain functions and `async def` ones."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[AsyncActionContext, P], Coroutine[Any, Any, R]], /
    ) -> Action[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[ActionContext, P], R], /) -> Action[P, R]: ...


class _Options(NamedTuple):
    """The options of `@db.query(...)`."""

    name: str | None
    args: Mapping[str, Validator] | None
    returns: Validator | None
    alias: Mapping[str, str] | None
    visibility: Visibility


class Decorators:
    """Defines tables and functions of a workspace; the part of `db` that does."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._warned: set[str] = set()

    # -- tables --------------------------------------------------------------------------------

    @dataclass_transform(kw_only_default=True)
    def table(
        self,
        name: str | None = None,
        /,
        *,
        indexes: Mapping[str, Sequence[str]] | None = None,
        unique: Mapping[str, Sequence[str]] | None = None,
        search_indexes: Mapping[str, SearchIndexDefinition] | None = None,
        vector_indexes: Mapping[str, VectorIndexDefinition] | None = None,
    ) -> Callable[[type[T]], type[T]]:
        """Define a table by an annotated class.

        Existing documents are checked first; when some do not fit, nothing changes. Defining a
        table again as it is costs nothing.

        Args:
            name: the table's name; without one, the class's name in lower case with an "s".
            indexes: index name -> fields, `"a.b"` for nested ones.
            unique: the same, and no two documents may have the same values.
            search_indexes: index name -> `livedb.search_index(...)`, for `.with_search_index`.
            vector_indexes: index name -> `livedb.vector_index(...)`, for `.with_vector_index`.

        Raises:
            SchemaDefinitionError: the class or an index contradicts the rules.
            SchemaChangeError: existing documents do not fit.
        """
        if name is not None and not isinstance(name, str):
            raise TypeError('use it as @db.table("tasks") or @db.table()')
        frame = sys._getframe(1)  # noqa: SLF001  # the only way to the names a class body may use
        namespace = {**frame.f_globals, **frame.f_locals}

        def decorate(cls: type[T]) -> type[T]:
            chosen = name or f"{cls.__name__.lower()}s"
            try:
                definition = table_from_class(
                    cls,
                    name=chosen,
                    indexes=indexes,
                    unique=unique,
                    search_indexes=search_indexes,
                    vector_indexes=vector_indexes,
                    namespace=namespace,
                )
                self.backend.apply_tables([definition])
            except (SchemaDefinitionError, SchemaChangeError) as error:
                error.__traceback__ = None  # the message says all, and livedb's way there nothing
                raise
            return cls

        return decorate

    # -- functions -----------------------------------------------------------------------------

    @overload
    def query(self, function: Callable[Concatenate[QueryContext, P], R], /) -> Query[P, R]: ...
    @overload
    def query(
        self,
        /,
        *,
        name: str | None = None,
        args: Mapping[str, Validator] | None = None,
        returns: Validator | None = None,
        alias: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> Callable[[Callable[Concatenate[QueryContext, P], R]], Query[P, R]]: ...

    def query(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        args: Mapping[str, Validator] | None = None,
        returns: Validator | None = None,
        alias: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> Any:
        """Define a query: a function that reads, `@db.query` above it.

        Running the cell again redefines it, and every live handle follows.

        Args:
            name: how it is called; without one, as the function is.
            args: validators of its arguments, instead of the annotations.
            returns: the validator of its result, instead of the annotation.
            alias: wire name by Python name, where dropping a trailing underscore does not do.
            internal: it is not for callers on the network.
        """
        if isinstance(function, (str, type)):
            shown = function if isinstance(function, str) else function.__name__
            raise TypeError(
                f"db.query decorates functions. To read the table, use db[{shown!r}], as in "
                f"db[{shown!r}].collect()"
            )
        options = _Options(name, args, returns, alias, "internal" if internal else "public")
        return self._decorate("query", Query, function, options)

    @overload
    def mutation(
        self, function: Callable[Concatenate[MutationContext, P], R], /
    ) -> Mutation[P, R]: ...
    @overload
    def mutation(
        self,
        /,
        *,
        name: str | None = None,
        args: Mapping[str, Validator] | None = None,
        returns: Validator | None = None,
        alias: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> Callable[[Callable[Concatenate[MutationContext, P], R]], Mutation[P, R]]: ...

    def mutation(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        args: Mapping[str, Validator] | None = None,
        returns: Validator | None = None,
        alias: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> Any:
        """Define a mutation: a function that reads and writes, one transaction.

        Args: as `query`.
        """
        options = _Options(name, args, returns, alias, "internal" if internal else "public")
        return self._decorate("mutation", Mutation, function, options)

    @overload
    def action(
        self, function: Callable[Concatenate[AsyncActionContext, P], Coroutine[Any, Any, R]], /
    ) -> Action[P, R]: ...
    @overload
    def action(self, function: Callable[Concatenate[ActionContext, P], R], /) -> Action[P, R]: ...
    @overload
    def action(
        self,
        /,
        *,
        name: str | None = None,
        args: Mapping[str, Validator] | None = None,
        returns: Validator | None = None,
        alias: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> ActionDecorator: ...

    def action(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        args: Mapping[str, Validator] | None = None,
        returns: Validator | None = None,
        alias: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> Any:
        """Define an action: a function that may do anything, and is no transaction.

        It reads and writes through `ctx.run_query` and `ctx.run_mutation`, each a transaction of
        its own. An `async def` awaits them.

        Args: as `query`.
        """
        options = _Options(name, args, returns, alias, "internal" if internal else "public")
        return self._decorate("action", Action, function, options)

    def _decorate(
        self, kind: FunctionKind, face: type[Any], function: Any, options: _Options
    ) -> Any:
        frame = sys._getframe(2)  # noqa: SLF001  # the names its annotations may use
        namespace = {**frame.f_globals, **frame.f_locals}

        def decorate(decorated: Callable[..., Any]) -> Any:
            definition = define(
                plain_function(decorated),
                kind=kind,
                visibility=options.visibility,
                name=options.name,
                args=options.args,
                returns=options.returns,
                alias=options.alias,
                namespace=namespace,
            )
            origin = Origin(
                args=options.args,
                returns=options.returns,
                alias=options.alias,
                namespace=namespace,
                reference=names_of_functions(self),
            )
            defined = self.backend.define(definition, origin)
            if kind != "action":  # when it was not refused for the same thing
                warn_of_impurity(definition, self._warned)
            return face(self, defined)

        return decorate if function is None else decorate(function)

    # -- modules -------------------------------------------------------------------------------

    def push(self, source: ModuleType | SchemaDefinition, /) -> list[str]:
        """Apply a schema, or a module's schema, functions and routes; returns the names.

        A function `f` of module `pkg.tasks` is named `pkg/tasks:f`, and a cell calls
        `db.function("pkg/tasks:f")`. `tasks.f` itself stays the plain function, whose first
        parameter is the context.

        Raises:
            FunctionTypeError: `source` is neither, or a module with nothing to push.
        """
        if isinstance(source, SchemaDefinition):
            self.backend.apply_tables(list(source))
            return []
        if not isinstance(source, ModuleType):
            raise FunctionTypeError(
                "db.push takes an imported module, as in `import tasks; db.push(tasks)`, or what "
                f"livedb.define_schema made, not {source!r}"
            )
        members = list(vars(source).values())
        functions = [
            marked_function(member)
            for member in members
            if isinstance(getattr(member, MARK, None), FunctionMark)
            and member.__module__ == source.__name__
        ]
        for member in members:
            functions += member.definitions() if isinstance(member, HttpRouter) else ()
        schemas = [member for member in members if isinstance(member, SchemaDefinition)]
        if not functions and not schemas:
            raise FunctionTypeError(
                f"Module {source.__name__!r} has nothing to push: it makes no schema with "
                "livedb.define_schema, no routes with livedb.HttpRouter, and no function of its "
                "own is decorated with @livedb.query, @livedb.mutation, @livedb.action or their "
                "internal_ forms"
            )
        for schema in schemas:
            self.backend.apply_tables(list(schema))
        self.backend.push(functions)
        return [function.name for function in functions]
