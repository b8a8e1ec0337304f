"""Rebuilds a function that travelled, as the definition a service runs.

Each piece of source gets a module of its own, which holds what its names mean, and keeps its lines
where `linecache` finds them: a traceback on the service shows the line of the cell. Values are
decoded, modules imported, and nothing is unpickled. Rebuilding runs the class bodies that came
along, so only those who may run code on the service may send functions.

A function is made before the names that it uses when called, a class after those that its body
uses: so helpers may call one another.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import linecache
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, cast

from livedb.errors import FunctionTypeError, LivedbError, TravelError
from livedb.functions.definition import FunctionDefinition, define
from livedb.schema.annotations import table_from_class
from livedb.schema.catalog import Catalog
from livedb.schema.validators import ObjectValidator, Validator, validator_from_json
from livedb.text import decode_value
from livedb.travel.made import KINDS
from livedb.travel.parcel import (
    THE_WORKSPACE,
    AttributeThing,
    ClassThing,
    FunctionThing,
    HintThing,
    ListThing,
    MadeThing,
    MemberThing,
    ModuleThing,
    ReferenceThing,
    Source,
    Thing,
    TravellingFunction,
    ValidatorThing,
    ValueThing,
    check_bounds,
)
from livedb.travel.pieces import annotations_of, compile_piece, names_needed

Call = Callable[[str, tuple[Any, ...], Mapping[str, Any]], Any]
"""Runs the query or mutation of a name on the arguments of a Python call."""


def rebuild(
    travelling: TravellingFunction, *, tables: Catalog, call: Call, workspace: object = None
) -> FunctionDefinition:
    """The function as the service defines it.

    Args:
        tables: those of the workspace; a class that describes one of them means that table.
        call: runs other functions of the workspace, inside the run in progress.
        workspace: what stands for `db` in functions; None where there is no such thing.

    Raises:
        TravelError: a module is missing here ("ModuleMissing"), a class body raises, or what came
            is no function ("BadParcel"); the message names it.
        SchemaDefinitionError: as `define` raises it.
    """
    check_bounds(travelling)
    rebuilding = _Rebuilding(travelling, tables, call, workspace)
    try:
        return _defined(travelling, rebuilding.run())
    except LivedbError:
        raise
    except Exception as error:  # code of the user's ran, and anything may have come
        raise TravelError(
            f"{travelling.name} cannot be rebuilt on the service: {type(error).__name__}: {error}",
            code="BadParcel",
        ) from error
    finally:
        rebuilding.close()


def _defined(travelling: TravellingFunction, handler: FunctionType) -> FunctionDefinition:
    return define(
        handler,
        kind=travelling.kind,
        visibility=travelling.visibility,
        name=travelling.name,
        args=_fields_of(travelling.args),
        returns=None if travelling.returns is None else validator_from_json(travelling.returns),
        alias=travelling.alias,
        cors=travelling.cors,
    )


def _fields_of(json: Any) -> dict[str, Validator] | None:
    if json is None:
        return None
    validator = validator_from_json(json)
    if not isinstance(validator, ObjectValidator):
        raise TravelError("The arguments of a function are an object", code="BadParcel")
    return validator.fields


class _Waiting(NamedTuple):
    """A name that is bound once its thing is built."""

    scope: dict[str, Any]
    name: str
    thing: int


class _Reference:
    """A query or mutation of the workspace, as the functions that call it see it."""

    def __init__(self, name: str, call: Call) -> None:
        self.name = name
        self.__name__ = name.rpartition(":")[2]
        self._call = call

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._call(self.name, args, kwargs)

    def live(self, /, *_: Any, **__: Any) -> Any:
        """Refused, as in a notebook."""
        raise FunctionTypeError(
            ".live() cannot be called inside a query or mutation; call the function itself"
        )

    async def aio(self, /, *_: Any, **__: Any) -> Any:
        """Refused, as in a notebook."""
        raise FunctionTypeError(".aio() is for callers outside of queries and mutations")

    def __repr__(self) -> str:
        return f"<function {self.name} of the workspace>"


class _Rebuilding:
    """One function under construction."""

    def __init__(
        self, travelling: TravellingFunction, tables: Catalog, call: Call, workspace: object
    ) -> None:
        self._travelling = travelling
        self._things = travelling.things
        self._tables = tables
        self._call = call
        self._workspace = workspace
        self._built: dict[int, Any] = {}
        self._needed: dict[int, tuple[int, ...]] = {}
        self._open: set[int] = set()
        """Things that are being built, which nothing can use yet."""
        self._waiting: deque[_Waiting] = deque()
        self._files: list[str] = []
        self._modules: list[str] = []
        self._unmarked: list[tuple[type, str, dict[str, Any]]] = []

    def run(self) -> FunctionType:
        root = self._thing(self._travelling.root)
        if not isinstance(root, FunctionType) or not isinstance(
            self._things[self._travelling.root], FunctionThing
        ):
            raise TravelError(f"{self._travelling.name} is no function", code="BadParcel")
        self._build(self._travelling.root)
        self._bind_names()
        self._mark_tables()
        weakref.finalize(root, _forget_lines, self._files).atexit = False
        return root

    def close(self) -> None:
        """Take the modules of the pieces away: nothing looks a class's module up from now on."""
        for name in self._modules:
            sys.modules.pop(name, None)

    # -- order ---------------------------------------------------------------------------------

    def _thing(self, index: int) -> Any:
        """What a thing is, built now unless it was."""
        if index not in self._built:
            self._build(index)
        return self._built[index]

    def _build(self, index: int) -> None:
        if index in self._built:
            return
        if index in self._open or index < 0:
            raise TravelError(
                f"{self._travelling.name} cannot be rebuilt on the service: "
                f"{_title(self._things[index])} is needed to define itself",
                code="BadParcel",
            )
        self._open.add(index)
        try:
            self._built[index] = self._made(index, self._things[index])
        finally:
            self._open.discard(index)

    def _bind_names(self) -> None:
        """Give scopes the names that wait, as far as these can be built now."""
        blocked = []
        while self._waiting:
            waiting = self._waiting.popleft()
            if self._is_blocked(waiting.thing, set()):
                blocked.append(waiting)
            else:
                waiting.scope[waiting.name] = self._thing(waiting.thing)
        self._waiting.extend(blocked)

    def _is_blocked(self, index: int, seen: set[int]) -> bool:
        """Whether a thing needs another, to be built, that is just being built."""
        if index in self._open:
            return True
        if index in self._built or index in seen:
            return False
        seen.add(index)
        return any(self._is_blocked(each, seen) for each in self._needed_first(index))

    def _needed_first(self, index: int) -> tuple[int, ...]:
        """What must be there before a thing can be made. Cost: a compilation of a class, once."""
        found = self._needed.get(index)
        if found is None:
            found = self._needed[index] = tuple(_needed_first(self._things[index]))
        return found

    # -- things --------------------------------------------------------------------------------

    def _made(self, index: int, thing: Thing) -> Any:
        match thing:
            case ValueThing():
                return decode_value(thing.text.encode())
            case ListThing():
                return [self._thing(item) for item in thing.items]
            case MadeThing():
                return KINDS[thing.kind].make(self._thing(thing.of))
            case ModuleThing():
                return self._module(thing.module)
            case AttributeThing():
                return self._attribute(thing)
            case MemberThing():
                return getattr(self._thing(thing.of), thing.name)
            case HintThing():
                return self._hint(thing)
            case ValidatorThing():
                validator = validator_from_json(thing.json)
                return validator.optional() if thing.is_optional else validator
            case ReferenceThing():
                return self._reference(thing.name)
            case FunctionThing():
                return self._function(index, thing)
            case ClassThing():
                return self._class(index, thing)

    def _reference(self, name: str) -> object:
        if name != THE_WORKSPACE:
            return _Reference(name, self._call)
        if self._workspace is None:
            raise TravelError(
                f"{self._travelling.name} cannot run on the service, which has no `db` for its "
                "functions; inside a function the workspace is ctx.db"
            )
        return self._workspace

    def _module(self, name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except Exception as error:
            is_missing = isinstance(error, ModuleNotFoundError)
            found = "is not installed there" if is_missing else f"cannot be imported there: {error}"
            raise TravelError(
                f"{self._travelling.name} cannot run on the service: it uses the module {name!r}, "
                f"which {found}. Install it on the service; a function of a file of yours travels "
                f"when it is imported by itself, `from {name} import ...`",
                code="ModuleMissing",
            ) from error

    def _attribute(self, thing: AttributeThing) -> Any:
        found: Any = self._module(thing.module)
        for step in thing.path.split("."):
            if not hasattr(found, step):
                raise TravelError(
                    f"{self._travelling.name} cannot run on the service: the module "
                    f"{thing.module!r} there has no {thing.path!r}. Install the version of your "
                    "kernel",
                    code="ModuleMissing",
                )
            found = getattr(found, step)
        return found

    def _hint(self, thing: HintThing) -> Any:
        arguments = tuple(map(self._thing, thing.arguments))
        head = self._thing(thing.head)
        return head[arguments[0] if len(arguments) == 1 else arguments]

    # -- source --------------------------------------------------------------------------------

    def _function(self, index: int, thing: FunctionThing) -> FunctionType:
        code = self._compiled(thing.source)
        scope = self._scope(thing.names)
        if thing.source.form == "lambda":
            function = eval(code, scope)  # noqa: S307 - a user's lambda is made, not run
        else:
            exec(code, scope)  # noqa: S102 - a user's function is made, not run
            function = scope[thing.source.name]
        made = cast("FunctionType", function)
        if thing.defaults is not None:
            made.__defaults__ = tuple(map(self._thing, thing.defaults))
        if thing.keyword_defaults is not None:
            items = thing.keyword_defaults.items()
            made.__kwdefaults__ = {name: self._thing(each) for name, each in items}
        for name, each in thing.attributes.items():
            setattr(made, name, self._thing(each))
        if index == self._written():
            made.__annotations__ = {
                name: ast.unparse(annotation)
                for name, annotation in annotations_of(thing.source).items()
            }
        return made

    def _written(self) -> int:
        """The function below all of the root's decorators, whose annotations count."""
        index, seen = self._travelling.root, set[int]()
        while index not in seen:
            seen.add(index)
            thing = self._things[index]
            if isinstance(thing, FunctionThing):
                index = thing.attributes.get("__wrapped__", index)
        return index

    def _class(self, index: int, thing: ClassThing) -> Any:
        for needed in self._needed_first(index):
            self._thing(needed)
        code = self._compiled(thing.source)
        scope = self._scope(thing.names)
        self._bind_names()
        try:
            exec(code, scope)  # noqa: S102 - the user's own class body
        except Exception as error:
            raise TravelError(
                f"{self._travelling.name} cannot be rebuilt on the service: {_title(thing)} raises "
                f"{type(error).__name__}: {error}"
            ) from error
        made = scope[thing.source.name]
        if thing.table is not None:
            self._mark(made, thing.table, scope)
        return made

    def _mark(self, cls: Any, table: str, scope: dict[str, Any]) -> None:
        """Let the class stand for the table's documents, as the workspace defines them."""
        known = self._tables.get(table)
        if known is None:
            self._unmarked.append((cls, table, scope))
            return
        cls.__livedb_table__ = table
        cls.__livedb_definition__ = known.definition

    def _mark_tables(self) -> None:
        """A class of a table that was dropped stands for what it says itself."""
        for cls, table, scope in self._unmarked:
            table_from_class(cls, name=table, namespace=scope)

    def _scope(self, names: Mapping[str, int]) -> dict[str, Any]:
        """A module for one piece: dataclasses and others look a class's module up by name."""
        module = ModuleType(f"travelled_{next(_numbers)}")
        sys.modules[module.__name__] = module
        self._modules.append(module.__name__)
        scope = vars(module)
        self._waiting.extend(_Waiting(scope, name, each) for name, each in names.items())
        return scope

    def _compiled(self, source: Source) -> CodeType:
        """The code of a piece, under a file name by which tracebacks find its lines."""
        file = f"<{source.name.strip('<>')} of {source.place} #{next(_numbers)}>"
        code = compile_piece(source, file)
        lines = ["\n"] * (source.line - 1) + source.text.splitlines(keepends=True)
        self._files.append(file)
        linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
        return code


_numbers = itertools.count(1)
"""Tells the pieces of one process apart; `next` is atomic."""


def _needed_first(thing: Thing) -> Iterator[int]:
    """What must be there before a thing can be made."""
    match thing:
        case ListThing():
            yield from thing.items
        case MadeThing() | MemberThing():
            yield thing.of
        case HintThing():
            yield thing.head
            yield from thing.arguments
        case FunctionThing():
            yield from thing.defaults or ()
            yield from (thing.keyword_defaults or {}).values()
            yield from thing.attributes.values()
        case ClassThing():
            code = compile_piece(thing.source, thing.source.place)
            for name, use in names_needed(code).items():
                if use.at_definition and name in thing.names:
                    yield thing.names[name]


def _title(thing: Thing) -> str:
    if isinstance(thing, FunctionThing | ClassThing):
        return f"{thing.source.name!r}, line {thing.source.line} of {thing.source.place},"
    return f"a {type(thing).__name__}"


def _forget_lines(files: Sequence[str]) -> None:
    """Drop the lines of a function that is gone."""
    for file in files:
        linecache.cache.pop(file, None)
