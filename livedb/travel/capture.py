"""Captures a function of a cell as data that a service can rebuild.

What a function needs is found by the names its code looks up around it, functions nested in it and
the source of its helpers included. Each name travels by what it means at this moment:

*   a livedb value, or a container of such, as that value;
*   a module, or what an installed package defines, as the name to import it by;
*   a function or class of a cell or of a file beside the notebook, as source with its own names;
*   a query or mutation of the same workspace, by its name.

Everything else (a DataFrame, a file, a lock) belongs to the process it is in, and is named in the
error with the line that uses it.
"""

from __future__ import annotations

import ast
import builtins
import enum
import inspect
import sys
import types
import typing
from collections import ChainMap, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from livedb.errors import TravelError
from livedb.functions.cors import Cors
from livedb.functions.definition import FunctionKind, Visibility, a_kind, require_plain
from livedb.limits import INT_SAFE_MAX, VALUE_NESTING_MAX
from livedb.schema.namespace import v
from livedb.schema.validators import Validator
from livedb.text import encode_value
from livedb.travel.imports import attribute_of, import_name, is_builtin
from livedb.travel.made import KINDS, kind_of
from livedb.travel.parcel import (
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
from livedb.travel.pieces import (
    annotation_names,
    annotations_of,
    assigned_globals,
    compile_piece,
    names_needed,
)
from livedb.travel.sources import NoSourceError, source_of_class, source_of_function
from livedb.values import UNSET, Int64

Names = Mapping[str, Any]
Reference = Callable[[object], str | None]
"""The name of a query or mutation of the workspace that the function is for, or THE_WORKSPACE; None
for all else."""


def _no_reference(_: object) -> str | None:
    return None


def capture(
    function: Callable[..., Any],
    *,
    kind: FunctionKind,
    name: str | None = None,
    visibility: Visibility = "public",
    args: Mapping[str, Validator] | None = None,
    returns: Validator | None = None,
    alias: Mapping[str, str] | None = None,
    cors: Cors | None = None,
    namespace: Names | None = None,
    reference: Reference = _no_reference,
) -> TravellingFunction:
    """The function as data; the arguments are those of `livedb.functions.definition.define`.

    Args:
        namespace: further names its annotations may use, such as the locals of the caller.
        reference: tells the queries and mutations of the same workspace from everything else.

    Raises:
        TravelError: something it needs cannot travel; the message names it and its line.
        SchemaDefinitionError: it is no plain function.
    Cost: about a millisecond; the texts of cells and files are compiled once.
    """
    handler: Any = function
    chosen: str = name or getattr(handler, "__name__", None) or "function"
    _require_source(handler, kind, chosen)
    capturing = _Capture(chosen, handler, namespace or {}, reference)
    root = capturing.run()
    captured = TravellingFunction(
        name=chosen,
        kind=kind,
        visibility=visibility,
        root=root,
        things=tuple(capturing.things),
        args=None if args is None else v.object(dict(args)).to_json(),
        returns=None if returns is None else returns.to_json(),
        alias=None if alias is None else dict(alias),
        cors=cors,
    )
    check_bounds(captured)
    return captured


def _require_source(handler: Any, kind: FunctionKind, name: str) -> None:
    """Refuse what is no function that its source says all about."""
    if isinstance(handler, types.MethodType) or _is_method(handler):
        raise TravelError(
            f"{name} cannot travel to the service: it is a method, and its object would have to "
            "travel too. Write a function beside the class"
        )
    if not isinstance(handler, FunctionType):
        raise TravelError(
            f"{name} cannot travel to the service: it is of type {_type_name(handler)}, and "
            f"{a_kind(kind)} is a plain `def`"
        )
    require_plain(handler, kind)


def _is_method(function: Any) -> bool:
    """Whether a function stands in the body of a class."""
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    return bool(owner) and not owner.endswith("<locals>")


class _Place(NamedTuple):
    """Where a name is used, for messages."""

    line: int
    source: Source | None
    use: str
    is_helper: bool = False

    def __str__(self) -> str:
        if self.source is None:
            return f"it {self.use}"
        helper = f", in {self.source.name!r}," if self.is_helper else ""
        return f"line {self.line} of {self.source.place}{helper} {self.use}"

    def inside(self, step: str) -> _Place:
        """The same place for a part of what is used there."""
        return self._replace(use=f"{self.use}{step}")


class _Task(NamedTuple):
    """A function or class that has its place among the things, to be captured there."""

    thing: int
    value: Any
    place: _Place


class _Capture:
    """The things of one function, found from the function outwards."""

    def __init__(
        self, name: str, handler: FunctionType, namespace: Names, reference: Reference
    ) -> None:
        self.things: list[Thing] = []
        self._name = name
        self._handler = handler
        self._written = inspect.unwrap(handler)
        """The function below all decorators, whose annotations count."""
        self._namespace = namespace
        self._reference = reference
        self._known: dict[int, tuple[int, object]] = {}
        """By identity: the index of a thing, and the object, which so keeps its identity."""
        self._tasks: deque[_Task] = deque()
        self._self_reference: int | None = None

    def run(self) -> int:
        """Capture everything; the index of the function itself."""
        root = self._later(self._handler, _Place(1, None, "is that function"))
        while self._tasks:
            task = self._tasks.popleft()
            take = self._function if isinstance(task.value, FunctionType) else self._class
            self.things[task.thing] = take(task)
        return root

    # -- functions and classes -----------------------------------------------------------------

    def _later(self, value: Any, place: _Place) -> int:
        """The index of a function or class; a queue, because helpers may call one another."""
        index = self._new(_UNFINISHED, value)
        self._tasks.append(_Task(index, value, place))
        return index

    def _function(self, task: _Task) -> FunctionThing:
        function: FunctionType = task.value
        is_root = function in {self._handler, self._written}
        try:
            source = source_of_function(function)
        except NoSourceError as error:
            raise self._refusal(task.place, function, str(error)) from None
        names = ChainMap(_closure_of(function), function.__globals__)
        found = self._names(source, names, is_root=is_root)
        if function is self._written:
            self._annotations(source, names, found)
        first = _Place(source.line, source, "has", is_helper=not is_root)
        return FunctionThing(
            source=source,
            names=dict(sorted(found.items())),
            defaults=self._defaults(function, first),
            keyword_defaults=self._mapping(function.__kwdefaults__, first, "a default of {!r}"),
            attributes=self._mapping(_attributes_of(function), first, "the attribute {!r}") or {},
        )

    def _defaults(self, function: FunctionType, place: _Place) -> tuple[int, ...] | None:
        defaults = function.__defaults__
        if defaults is None:
            return None
        code = function.__code__
        parameters = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        named = dict(zip(parameters, defaults, strict=True))
        found = self._mapping(named, place, "a default of {!r}")
        return tuple((found or {}).values())

    def _mapping(
        self, named: Mapping[str, Any] | None, place: _Place, what: str
    ) -> dict[str, int] | None:
        if named is None:
            return None
        return {
            name: self._thing(value, name, place.inside(f" {what.format(name)}"))
            for name, value in named.items()
        }

    def _class(self, task: _Task) -> ClassThing:
        cls: type = task.value
        names = ChainMap(*_namespaces_of(cls), dict(self._namespace))
        try:
            source = source_of_class(
                cls, is_ours=lambda each: _is_table_decorator(each, names, cls)
            )
        except NoSourceError as error:
            raise self._refusal(task.place, cls, str(error)) from None
        older = next(_older_bases(cls, names), None)
        if older is not None:
            raise self._failure(
                task.place,
                f", made from a {older!r} that was defined anew since. Run its cell again",
            )
        found = self._names(source, names, is_root=False, own=cls)
        return ClassThing(
            source=source,
            names=dict(sorted(found.items())),
            table=vars(cls).get("__livedb_table__"),
        )

    def _names(
        self, source: Source, names: Names, *, is_root: bool, own: type | None = None
    ) -> dict[str, int]:
        place = _Place(source.line, source, "", is_helper=not is_root)
        try:
            code = compile_piece(source, source.place)
        except SyntaxError as error:
            line = error.lineno or source.line
            raise self._failure(
                place._replace(line=line, use="assigns a variable of the function around it"),
                " (`nonlocal`), which would not be there. Return the value instead",
            ) from None
        for assigned in assigned_globals(code):
            place = place._replace(line=assigned.line)
            raise self._failure(
                place.inside(f"assigns the global {assigned.name!r}"),
                ", which the notebook would not see. Write it to a table",
            )
        found: dict[str, int] = {}
        for name, use in names_needed(code).items():
            if name == source.name and own is not None and name not in names:
                continue  # the class itself, by the name its scope gives it
            where = place._replace(line=use.line, use=f"uses {name!r}")
            if is_root and name == source.name and names.get(name) is not self._handler:
                # A decorator binds the name to the query only after this; it may still mean the
                # one that an earlier run of the cell made.
                found[name] = self._itself()
            elif name in names:
                found[name] = self._thing(names[name], name, where)
            elif not hasattr(builtins, name):
                raise self._failure(
                    where, ", which is not defined. Define it in a cell that runs before this one"
                )
            elif not is_builtin(name, getattr(builtins, name)):
                raise self._failure(where, ", which belongs to the notebook and to no service")
        return found

    def _itself(self) -> int:
        if self._self_reference is None:
            self._self_reference = len(self.things)
            self.things.append(ReferenceThing(self._name))
        return self._self_reference

    def _annotations(self, source: Source, names: Names, found: dict[str, int]) -> None:
        """Names of the annotations, which the service reads to know the function's arguments."""
        names = ChainMap(dict(names), dict(self._namespace))
        place = _Place(source.line, source, "")
        for annotation in annotations_of(source).values():
            for name, line, is_text in annotation_names(annotation):
                value = names.get(name, _NOTHING)
                if name in found or value is _NOTHING or (is_text and not _is_hint(value)):
                    continue  # a name for type checkers alone, or the name of a table
                use = place._replace(line=line, use=f"uses {name!r} in an annotation")
                found[name] = self._thing(value, name, use)

    # -- things --------------------------------------------------------------------------------

    def _new(self, thing: Thing, value: object) -> int:
        index = len(self.things)
        self.things.append(thing)
        self._known[id(value)] = index, value
        return index

    def _thing(self, value: Any, name: str, place: _Place, depth: int = 0) -> int:
        """The index of what a name means."""
        known = self._known.get(id(value))
        if known is not None:
            return known[0]
        if depth > VALUE_NESTING_MAX:
            raise self._failure(place, ", which contains itself or is nested too deeply")
        if isinstance(value, FunctionType | type) and import_name(value, name) is None:
            return self._own_definition(value, place)
        thing = self._simple(value, name)
        if thing is None:
            thing = self._compound(value, name, place, depth)
        if thing is None:
            raise self._refusal(place, value)
        return self._new(thing, value)

    def _own_definition(self, value: Any, place: _Place) -> int:
        """A function or class that no installed package defines."""
        if not _is_method(value):
            return self._later(value, place)
        if isinstance(value, FunctionType):
            raise self._failure(
                place, ", a function of a class; use it through the class, or move it out"
            )
        owner = _owner_of_class(value)
        if owner is None:
            raise self._failure(place, ", a class inside another that cannot be found")
        outer = self._thing(owner, owner.__name__, place)
        return self._new(MemberThing(outer, value.__name__), value)

    def _simple(self, value: Any, name: str) -> Thing | None:
        """The thing for a value that needs no other."""
        reference = self._reference(value)
        if reference is not None:
            return ReferenceThing(reference)
        if value is UNSET:
            return AttributeThing("livedb", "UNSET")
        if _is_numpy_scalar(value):
            value = value.item()
        if _is_value(value):
            try:
                return ValueThing(encode_value(value).decode())
            except UnicodeEncodeError:
                return None
        if isinstance(value, ModuleType):
            return _module_thing(value)
        if isinstance(value, Validator):
            return ValidatorThing(value.to_json(), value.is_optional)
        if kind_of(value) is None and type(value) is not list:
            imported = import_name(value, name)
            return None if imported is None else AttributeThing(*imported)
        return None

    def _compound(self, value: Any, name: str, place: _Place, depth: int) -> Thing | None:
        """The thing for a value that is made of others."""
        if type(value) is list:
            return ListThing(
                tuple(
                    self._thing(item, name, place.inside(f"[{at}]"), depth + 1)
                    for at, item in enumerate(value)
                )
            )
        owner, member = _member(value)
        if owner is not None:
            return MemberThing(self._thing(owner, owner.__name__, place, depth + 1), member)
        origin = typing.get_origin(value)
        if origin is not None:
            return self._hint(value, origin, name, place, depth)
        kind = kind_of(value)
        parts = None if kind is None else KINDS[kind].take(value)
        if kind is None or parts is None:
            return None
        return MadeThing(kind, self._thing(parts, name, place, depth + 1))

    def _hint(self, value: Any, origin: Any, name: str, place: _Place, depth: int) -> HintThing:
        head = typing.Union if origin is types.UnionType else origin
        return HintThing(
            self._thing(head, name, place, depth + 1),
            tuple(self._thing(each, name, place, depth + 1) for each in _hint_arguments(value)),
        )

    # -- refusals ------------------------------------------------------------------------------

    def _refusal(self, place: _Place, value: object, advice: str | None = None) -> TravelError:
        found = f" of type {_type_name(value)}" if advice is None else f", and {advice}"
        more = f". {_advice(value)}" if advice is None else ""
        return self._failure(place, f"{found}{more}")

    def _failure(self, place: _Place, found: str) -> TravelError:
        return TravelError(f"{self._name} cannot travel to the service: {place}{found}.")


_NOTHING = object()
_UNFINISHED = ValueThing("null")


# -- what is what ----------------------------------------------------------------------------------


def _closure_of(function: FunctionType) -> dict[str, Any]:
    """What a function sees of the functions around it; a variable not set yet is left out."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _attributes_of(function: FunctionType) -> dict[str, Any]:
    """What a user set on a function, and the name that it took over from another."""
    found = {name: each for name, each in vars(function).items() if not name.startswith("__")}
    if function.__name__ != function.__code__.co_name:  # as `functools.wraps` leaves it
        found |= {name: getattr(function, name) for name in ("__name__", "__qualname__", "__doc__")}
    if hasattr(function, "__wrapped__"):  # whose parameters `inspect` shows as its own
        found["__wrapped__"] = function.__wrapped__
    return dict(sorted(found.items()))


def _namespaces_of(cls: type) -> list[dict[str, Any]]:
    """Where the names of a class body and of its methods are looked up."""
    closures: dict[str, Any] = {}
    for member in vars(cls).values():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(function, FunctionType):
            closures |= _closure_of(function)
    closures.pop("__class__", None)
    module = sys.modules.get(cls.__module__)
    return [closures, {} if module is None else vars(module)]


def _older_bases(cls: type, names: Names) -> Iterator[str]:
    """Bases whose name means another class by now: the source would make another class of it."""
    for base in cls.__bases__:
        now = names.get(base.__name__)
        if isinstance(now, type) and now is not base and _full_name(now) == _full_name(base):
            yield base.__name__


def _is_table_decorator(decorator: ast.expr, names: Names, cls: type) -> bool:
    """Whether a decorator is `db.table(...)`: the service has the table already.

    In a class of a function around it `db` may be a variable that nothing keeps.
    """
    match decorator:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="table")):
            if name not in names:
                return "__livedb_table__" in vars(cls)
            return _full_name(type(names[name])) == _DATABASE
    return False


_DATABASE = "livedb.client.database.Database"


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_hint(value: object) -> bool:
    """Whether a text in an annotation means this object when it names it."""
    is_named = isinstance(value, type | typing.NewType | typing.TypeVar | Validator)
    return is_named or typing.get_origin(value) is not None


def _hint_arguments(hint: Any) -> Iterator[Any]:
    """What a type is subscripted with; the null type by its usual name."""
    for argument in typing.get_args(hint):
        yield None if argument is types.NoneType else argument


def _owner_of_class(cls: type) -> type | None:
    """The class whose body defines `cls`."""
    path = cls.__qualname__.rpartition(".")[0]
    owner = attribute_of(sys.modules.get(cls.__module__), path)
    return owner if isinstance(owner, type) and getattr(owner, cls.__name__, None) is cls else None


def _member(value: Any) -> tuple[type | None, str]:
    """The class that has an object as its attribute, and the attribute's name."""
    is_member = isinstance(value, enum.Enum)
    owner: Any = type(value) if is_member else getattr(value, "__self__", None)
    if owner is None:
        owner = getattr(value, "__objclass__", None)  # of `str.upper`
    name = value.name if is_member else getattr(value, "__name__", None)
    # Flags put together have a name that is no attribute.
    if isinstance(owner, type) and isinstance(name, str) and getattr(owner, name, None) == value:
        return owner, name
    return None, ""


def _module_thing(module: ModuleType) -> ModuleThing | None:
    """The name to import a module by; a notebook's own, or one made by hand, has none."""
    name = module.__name__
    is_imported = sys.modules.get(name) is module and name not in {"__main__", "__mp_main__"}
    return ModuleThing(name) if is_imported else None


def _is_numpy_scalar(value: object) -> bool:
    names = [cls.__name__ for cls in type(value).__mro__ if cls.__module__ == "numpy"]
    return "generic" in names and type(value).__name__ not in {"datetime64", "timedelta64", "void"}


def _is_value(value: object, depth: int = 0) -> bool:
    """Whether livedb's text form gives back the very same, types included."""
    kind = type(value)
    if kind in _EXACT:
        return True
    if kind is int:
        return abs(value) <= INT_SAFE_MAX  # type: ignore[arg-type]
    if kind is datetime:
        return value.tzinfo is UTC and not value.fold  # type: ignore[attr-defined]
    if depth > VALUE_NESTING_MAX:
        return False
    if kind is list:
        return all(_is_value(item, depth + 1) for item in value)  # type: ignore[attr-defined]
    if kind is dict:
        return all(
            type(name) is str and not name.startswith("$") and _is_value(item, depth + 1)
            for name, item in value.items()  # type: ignore[attr-defined]
        )
    return False


_EXACT = frozenset({type(None), bool, float, str, bytes, Int64})


def _type_name(value: object) -> str:
    """`pandas.DataFrame`: the package and the name."""
    cls = type(value)
    package = cls.__module__.partition(".")[0]
    return cls.__qualname__ if package in {"builtins", "__main__"} else f"{package}.{cls.__name__}"


def _advice(value: object) -> str:
    """What to do instead of using an object inside a function."""
    names = {_full_name(cls) for cls in type(value).__mro__}
    for name, advice in _ADVICE.items():
        if name in names:
            return advice
    if type(value).__name__ in _DATA:
        return "Load it into a table, or pass what is needed of it as an argument"
    return (
        "Livedb values, modules, functions and classes of cells and what installed packages define "
        "can; pass what is needed of it as an argument"
    )


_DATA = frozenset({"DataFrame", "Series", "LazyFrame", "Table", "ndarray", "RecordBatch"})
_ADVICE = {
    _DATABASE: "It is another workspace; inside a function the one that it is of is ctx.db",
    "livedb.client.table.TableQuery": "Inside a function read tables with ctx.db.query",
    "livedb.notebook.handles.Handle": "It is a live handle; call the query itself",
    "livedb.client.functions._Function": "It belongs to another workspace",
    "_io._IOBase": "Read the file outside of the function, and pass what it says as an argument",
    "builtins.generator": "Make a list of it",
}
