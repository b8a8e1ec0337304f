"""Type hints as validators: what `str | None` or `Id[User]` means for a stored value.

Hints are read without `typing.get_type_hints`: that would try to evaluate the "users" of
`Id["users"]`, which names a table and not a class. A hint that is still text (after
`from __future__ import annotations`, or a forward reference) is evaluated in the namespace of the
class or function that has it.
"""

from __future__ import annotations

import builtins
import collections.abc
import dataclasses
import enum
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, ClassVar, Final, ForwardRef, Literal, NotRequired, Required, Union

from livedb.canonical import canonical
from livedb.errors import InvalidValueError, SchemaDefinitionError
from livedb.ids import Id
from livedb.schema.check import compile_filler
from livedb.schema.namespace import v
from livedb.schema.validators import UnionValidator, Validator
from livedb.values import UNSET, Int64, Missing, Value, path_step

Namespace = Mapping[str, Any]

_SIMPLE: dict[Any, Callable[[], Validator]] = {
    str: v.string,
    int: v.integer,
    float: v.number,
    bool: v.boolean,
    bytes: v.bytes,
    datetime: v.datetime,
    None: v.null,
    type(None): v.null,
    Int64: v.int64,
    Any: v.any,
    object: v.any,
}

_LISTS = (list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

_ADVICE: dict[Any, str] = {
    date: "use datetime, or str for a calendar day",
    set: "use list",
    frozenset: "use list",
    tuple: "use list",
    complex: "use list[float]",
}


@dataclasses.dataclass(frozen=True, slots=True)
class HintReader:
    """Reads the hints of one class or function.

    Attributes:
        namespace: what names in hints mean, besides builtins; usually the module's globals.
        place: for messages, such as "class Task".
        wants_whole_documents: whether a class made by `db.table` stands for a document as it is
            read, with `_id` and `_creationTime`, as it does in a signature.
        open_classes: the classes being read around this hint; a second meeting is a recursion.
    """

    namespace: Namespace
    place: str
    wants_whole_documents: bool = False
    open_classes: tuple[type, ...] = ()

    def at(self, place: str) -> HintReader:
        """The same reader for another place."""
        return dataclasses.replace(self, place=place)

    def read(self, hint: Any) -> Validator:
        """The validator for a hint; optional when it allows `Missing`.

        Raises:
            SchemaDefinitionError: the hint names something unknown, or no type that can be stored.
        """
        hint = self.resolved(hint)
        if isinstance(hint, Validator):
            return hint
        if _is_hashable(hint) and hint in _SIMPLE:
            return _SIMPLE[hint]()
        origin = typing.get_origin(hint)
        if origin is not None:
            return self._read_generic(hint, origin)
        return self._read_plain(hint)

    def resolved(self, hint: Any) -> Any:
        """The hint itself where it is given as text, and without what says nothing of values."""
        return self.unwrapped(hint)[0]

    def unwrapped(self, hint: Any) -> tuple[Any, set[Any]]:
        """The hint as `resolved`, and the qualifiers taken off it, such as `NotRequired`."""
        qualifiers: set[Any] = set()
        while True:
            origin = typing.get_origin(hint)
            if isinstance(hint, ForwardRef):
                hint = self._evaluated(hint.__forward_arg__)
            elif isinstance(hint, str):
                hint = self._evaluated(hint)
            elif origin is typing.Annotated:
                hint = hint.__origin__
            elif origin in _QUALIFIERS:
                qualifiers.add(origin)
                hint = typing.get_args(hint)[0]
            elif hint in (ClassVar, Final) if _is_hashable(hint) else False:
                return Any, {hint}
            elif isinstance(hint, typing.NewType):
                hint = hint.__supertype__
            elif type(hint).__name__ == "TypeAliasType":  # `type Name = ...`, Python 3.12
                hint = hint.__value__
            else:
                return hint, qualifiers

    def _evaluated(self, text: str) -> Any:
        try:
            return eval(text, {"__builtins__": builtins}, self.namespace)  # noqa: S307 - the user's own source
        except NameError as error:
            raise SchemaDefinitionError(
                f"{self.place}: the annotation {text!r} uses {error.name!r}, which is not defined "
                f'here. Define it first; for the id of a table defined later, write Id["table"]'
            ) from error
        except Exception as error:  # the user's annotation may raise anything
            raise SchemaDefinitionError(
                f"{self.place}: the annotation {text!r} cannot be evaluated: {error}"
            ) from error

    def _read_generic(self, hint: Any, origin: Any) -> Validator:
        arguments = typing.get_args(hint)
        if origin is Union or origin is types.UnionType:
            return self._read_union(arguments)
        if origin is Literal:
            return _union([_literal(value, self.place) for value in arguments])
        if origin is Id:
            return v.id(self._table_name(arguments[0]))
        if origin in _LISTS:
            return v.array(self._read_present(arguments[0], hint))
        if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
            return v.array(self._read_present(arguments[0], hint))
        if origin in _DICTS:
            keys, values = arguments
            return v.record(self._read_present(keys, hint), self._read_present(values, hint))
        raise self._unusable(hint, _ADVICE.get(origin))

    def _read_union(self, members: tuple[Any, ...]) -> Validator:
        resolved = [self.resolved(member) for member in members]
        present = [member for member in resolved if member is not Missing]
        validators = [self.read(member) for member in present]
        is_optional = len(present) < len(members) or any(one.is_optional for one in validators)
        validator = _union([one.required() for one in validators])
        return validator.optional() if is_optional else validator

    def _read_present(self, hint: Any, around: Any) -> Validator:
        validator = self.read(hint)
        if validator.is_optional:
            raise SchemaDefinitionError(
                f"{self.place}: Missing says that a field may be absent; inside {around} nothing "
                f"can be. Use `| None`"
            )
        return validator

    def _read_plain(self, hint: Any) -> Validator:
        if hint in _LISTS:
            return v.array(v.any())
        if hint in _DICTS:
            return v.record(v.string(), v.any())
        if hint is Id:
            raise self._unusable(hint, 'write Id[User] or Id["users"]')
        if hint is Missing:
            raise self._unusable(hint, "write `... | Missing`")
        if not isinstance(hint, type) or hint in _ADVICE:
            raise self._unusable(hint, _ADVICE.get(hint) if _is_hashable(hint) else None)
        if issubclass(hint, enum.Enum):
            return _union([_literal(member, self.place) for member in hint])
        definition = document_definition(hint)
        if definition is not None and self.wants_whole_documents:
            whole: Validator = definition.whole_document()
            return whole
        return self._read_class(hint)

    def _read_class(self, hint: type) -> Validator:
        if hint in self.open_classes:
            raise SchemaDefinitionError(
                f"{self.place}: {hint.__name__} contains itself; a value cannot nest without end. "
                f"Refer by id: Id[{hint.__name__}]"
            )
        fields = class_fields(hint, self)
        if not fields:
            raise self._unusable(hint, "a class needs annotated fields")
        return v.object({field.name: field.validator for field in fields})

    def _table_name(self, hint: Any) -> str:
        """The table that an `Id[...]` names: by its class, the class's name, or its own name."""
        text = hint.__forward_arg__ if isinstance(hint, ForwardRef) else hint
        found = self.namespace.get(text) if isinstance(text, str) else text
        name = getattr(found, "__livedb_table__", None)
        if isinstance(name, str):
            return name
        if isinstance(text, str):
            return text
        raise SchemaDefinitionError(
            f"{self.place}: Id[{getattr(found, '__name__', found)}] names no table; decorate the "
            f'class with @db.table(...) first, or write Id["table"]'
        )

    def _unusable(self, hint: Any, advice: str | None) -> SchemaDefinitionError:
        name = hint.__name__ if isinstance(hint, type) else str(hint)
        return SchemaDefinitionError(
            f"{self.place}: a value of type {name} cannot be stored"
            + (f"; {advice}" if advice else "; see livedb's table of types, or use Any")
        )


_QUALIFIERS = tuple(
    getattr(typing, name)
    for name in ("ClassVar", "Final", "Required", "NotRequired", "ReadOnly")
    if hasattr(typing, name)  # ReadOnly came with Python 3.13
)


def _literal(value: Any, place: str) -> Validator:
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None:
        return v.null()
    try:
        return v.literal(value)
    except SchemaDefinitionError as error:
        raise SchemaDefinitionError(f"{place}: {error.message}") from None


def _union(members: list[Validator]) -> Validator:
    """One validator for several; nested unions are opened and repetitions dropped."""
    opened: list[Validator] = []
    for member in members:
        opened += member.members if isinstance(member, UnionValidator) else (member,)
    distinct = tuple(dict.fromkeys(opened))
    return distinct[0] if len(distinct) == 1 else UnionValidator(distinct)


def _is_hashable(hint: Any) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True


def document_definition(cls: type) -> Any:
    """The `TableDefinition` of a class made by `db.table`; None for any other class.

    Not inherited: a subclass of a document class is a table only when it is decorated itself.
    """
    return vars(cls).get("__livedb_definition__")


# -- classes ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class ClassField:
    """One annotated field of a class: its validator, and its default where it has one."""

    name: str
    validator: Validator
    default: Value | Missing
    inner_defaults: Mapping[str, Value]
    """Defaults of classes nested in this field, by path from the field."""


def class_fields(cls: type, reader: HintReader) -> list[ClassField]:
    """The annotated fields of a class and its bases, in the order declared.

    Plain classes, dataclasses and TypedDicts are read alike; `ClassVar`s are no fields.

    Raises:
        SchemaDefinitionError: an annotation cannot be stored, or a default does not fit it.
    """
    if issubclass(cls, tuple):
        raise SchemaDefinitionError(
            f"{reader.place}: {cls.__name__} is a NamedTuple, which is stored as a list without "
            f"names; use a plain class or a TypedDict"
        )
    inner = dataclasses.replace(
        reader,
        namespace=ChainMap(*_own_names(cls), dict(reader.namespace)),
        open_classes=(*reader.open_classes, cls),
    )
    fields: dict[str, ClassField] = {}
    for owner in reversed(_own_bases(cls)):
        for name, hint in _annotations_of(owner).items():
            field = _read_field(cls, name, hint, inner)
            if field is not None:
                fields[name] = field
    return list(fields.values())


def _own_names(cls: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """What annotations of a class may name first: the class itself, and its module's globals."""
    module = sys.modules.get(cls.__module__)
    return {cls.__name__: cls}, {} if module is None else vars(module)


def _own_bases(cls: type) -> list[type]:
    """The class and its bases without Python's own: a TypedDict's key "items" is no dict method."""
    return [owner for owner in cls.__mro__ if getattr(builtins, owner.__name__, None) is not owner]


def _annotations_of(cls: type) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):  # annotations are made when asked for, names may be missing
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    annotations: Mapping[str, Any] = vars(cls).get("__annotations__", {})
    return annotations


def _read_field(cls: type, name: str, hint: Any, reader: HintReader) -> ClassField | None:
    reader = dataclasses.replace(reader, place=f"{reader.place}, field {name!r}")
    resolved, qualifiers = reader.unwrapped(hint)
    if ClassVar in qualifiers or resolved is dataclasses.KW_ONLY:
        return None
    validator = reader.read(resolved)
    if _may_be_absent(cls, name, qualifiers):
        validator = validator.optional()
    default = _default_of(cls, name, reader.place)
    inner = dict(_inner_defaults(resolved, reader))
    if isinstance(default, Missing):
        return ClassField(name, validator, UNSET, inner)
    # A default is filled as a document that has it would be.
    fill = compile_filler((name + path, value) for path, value in inner.items())
    try:
        fitting = validator.check(fill({name: canonical(default)})[name], path_step(name))
    except InvalidValueError as error:
        raise SchemaDefinitionError(
            f"{reader.place}: its default does not fit its annotation. {error.message}"
        ) from error
    return ClassField(name, validator, fitting, inner)


def _may_be_absent(cls: type, name: str, qualifiers: set[Any]) -> bool:
    """Whether a TypedDict's key may be absent. What stands at the key beats the class's `total`."""
    if NotRequired in qualifiers:
        return True
    return Required not in qualifiers and name in getattr(cls, "__optional_keys__", ())


def _default_of(cls: type, name: str, place: str) -> Any:
    """What `name` is set to in the class; UNSET when it is set to nothing, or to UNSET."""
    dataclass_fields: dict[str, Any] = getattr(cls, "__dataclass_fields__", {})
    for owner in _own_bases(cls):
        if name in vars(owner):
            value = vars(owner)[name]
            break
    else:
        value = UNSET
    value = dataclass_fields.get(name, value)
    if not isinstance(value, dataclasses.Field):
        return UNSET if isinstance(value, _NO_DEFAULTS) else value
    if value.default is not dataclasses.MISSING:
        return value.default
    if value.default_factory is dataclasses.MISSING:
        return UNSET
    if value.default_factory in (list, dict):
        return value.default_factory()
    raise SchemaDefinitionError(
        f"{place}: a default_factory other than list or dict runs when a document is made, and a "
        f"stored default cannot; set the field in the mutation"
    )


_NO_DEFAULTS = (types.MemberDescriptorType, types.GetSetDescriptorType, property)
"""What a class attribute is for a field without a default, in classes with `__slots__`."""


def _inner_defaults(hint: Any, reader: HintReader) -> Iterator[tuple[str, Value]]:
    """Defaults of classes nested in a hint, by path from here: ".country", "[].unit".

    A union of several classes gives none: which one a value is meant for is known too late.
    """
    hint = reader.resolved(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Union or origin is types.UnionType:
        found = [list(_inner_defaults(member, reader)) for member in arguments]
        classes = [member for member in arguments if _is_class(reader.resolved(member))]
        if len(classes) <= 1:
            yield from (item for defaults in found for item in defaults)
    elif origin in _LISTS or origin in _DICTS or origin is tuple:
        position = 1 if origin in _DICTS else 0
        for path, value in _inner_defaults(arguments[position], reader):
            yield "[]" + path, value
    elif _is_class(hint):
        for field in class_fields(hint, reader):
            if not isinstance(field.default, Missing):
                yield f".{field.name}", field.default
            for path, value in field.inner_defaults.items():
                yield f".{field.name}{path}", value


def _is_class(hint: Any) -> bool:
    """Whether a hint is a class whose fields are an object's."""
    return (
        isinstance(hint, type)
        and hint not in _SIMPLE
        and hint not in _LISTS
        and hint not in _DICTS
        and not issubclass(hint, enum.Enum | Missing)
    )
