"""A Python module with the types of a workspace's functions and documents.

from shop_api import Api

api = Api(livedb.connect(url))
api.tasks.list(userId=me)                   # checked by mypy and pyright
api.tasks.list.live(userId=me)
"""

from __future__ import annotations

import json
import keyword
import re
from typing import NamedTuple

from livedb.codegen.api import Api, Module, arguments_of
from livedb.functions.definition import FunctionDefinition
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import (
    ArrayValidator,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
)
from livedb.values import Document, Int64

_PLAIN = {
    "any": "Any",
    "null": "None",
    "number": "float",
    "integer": "int",
    "datetime": "datetime",
    "bigint": "Int64",
    "boolean": "bool",
    "string": "str",
    "bytes": "bytes",
}

_HEAD = '''\
"""The functions and documents of a workspace, with their types.

Made by `livedb codegen`; changes are lost when it is made again.
"""

# ruff: noqa
# pyright: reportUnusedImport=false

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Concatenate, Literal, NotRequired, ParamSpec, TypedDict, TypeVar, cast

from livedb import Action, Database, Document, Id, Int64, Missing, Mutation, Query

P = ParamSpec("P")
R = TypeVar("R")

_given: Any = None  # a default that the function itself has
'''

_FACES = """

def _query(db: Database, name: str, like: Callable[Concatenate[Any, P], R]) -> Query[P, R]:
    return cast("Query[P, R]", db.function(name))


def _mutation(db: Database, name: str, like: Callable[Concatenate[Any, P], R]) -> Mutation[P, R]:
    return cast("Mutation[P, R]", db.function(name))


def _action(db: Database, name: str, like: Callable[Concatenate[Any, P], R]) -> Action[P, R]:
    return cast("Action[P, R]", db.function(name))
"""


def python_files(api: Api) -> dict[str, str]:
    """The files by name: `api.py`."""
    return {"api.py": _Writer(api).module()}


class _Line(NamedTuple):
    """A function: what its module's class sets, and the signature that it is like."""

    name: str
    face: str
    signature: str


class _Writer:
    """Writes one module; the types of objects inside become classes before what names them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._objects: dict[str, str] = {}
        """The name of the class of an object's fields, as they are written."""
        self._signatures: list[str] = []
        self._classes: list[str] = []
        self._documents = {table.name: name for table, name in _class_names(api)}

    def module(self) -> str:
        documents = [self._document(table) for table in self._api.tables]
        self._module(self._api.modules(), ())
        objects = [f"{name} = TypedDict({name!r}, {fields})" for fields, name in self._objects_()]
        parts = [
            _HEAD,
            *(f"\n\n{text}" for text in documents),
            *(f"\n\n{text}\n" for text in objects),
            _FACES,
            *(f"\n\n{text}" for text in (*self._signatures, *self._classes)),
        ]
        return "".join(parts)

    def _objects_(self) -> list[tuple[str, str]]:
        return list(self._objects.items())

    # -- documents and types -------------------------------------------------------------------

    def _document(self, table: TableDefinition) -> str:
        lines = [f"class {self._documents[table.name]}(Document):\n"]
        lines.append(f'    """A document of the table `{table.name}`."""\n\n')
        lines.append(f"    _id: Id[{self._documents[table.name]}]\n    _creationTime: float\n")
        for name, validator in table.fields.items():
            if not _is_name(name) or hasattr(Document, name):
                continue  # read as document["name"]
            missing = " | Missing" if validator.is_optional else ""
            lines.append(f"    {name}: {self._type(validator)}{missing}\n")
        return "".join(lines)

    def _type(self, validator: Validator) -> str:
        table = self._api.table_of(validator)
        if table is not None:
            return self._documents[table]
        match validator:
            case IdValidator():
                return f"Id[{self._documents.get(validator.table, 'Any')}]"
            case LiteralValidator():
                return _literal(validator.value)
            case ArrayValidator():
                return f"list[{self._type(validator.element)}]"
            case RecordValidator():
                return f"dict[str, {self._type(validator.values)}]"
            case UnionValidator():
                members = dict.fromkeys(self._type(each) for each in validator.members)
                return " | ".join(members) or "Any"
            case ObjectValidator():
                return self._object(validator)
            case _:
                return _PLAIN[validator.kind]

    def _object(self, validator: ObjectValidator) -> str:
        """The name of a class for an object; equal objects have one."""
        fields = ", ".join(
            f"{json.dumps(name)}: {_quoted(self._type(field), is_optional=field.is_optional)}"
            for name, field in validator.fields.items()
        )
        return self._objects.setdefault(f"{{{fields}}}", f"Object{len(self._objects) + 1}")

    # -- functions -----------------------------------------------------------------------------

    def _module(self, module: Module, path: tuple[str, ...]) -> str:
        """The name of the class of a module; those inside it come before."""
        name = "".join(_capitalised(part) for part in path)
        lines: list[str] = []
        for part, inner in sorted(module.modules.items()):
            attribute = _attribute(part, is_taken=part in module.functions)
            lines.append(f"        self.{attribute} = {self._module(inner, (*path, part))}(db)\n")
        for export, function in sorted(module.functions.items()):
            lines.append(self._function(export, function))
        title = f"Functions of `{'/'.join(path)}`." if path else "The functions of the workspace."
        self._classes.append(
            f'class {f"_{name}" if path else "Api"}:\n    """{title}"""\n\n'
            f"    def __init__(self, db: Database) -> None:\n{''.join(lines) or '        del db'}"
        )
        return f"_{name}"

    def _function(self, export: str, function: FunctionDefinition) -> str:
        like = f"_like_{len(self._signatures) + 1}"
        returns = function.signature.returns
        result = "Any" if returns is None else self._type(returns)
        parameters = self._parameters(function)
        self._signatures.append(
            f"def {like}(ctx: Any{parameters}) -> {result}:\n    raise NotImplementedError\n"
        )
        call = f"_{function.kind}(db, {json.dumps(function.name)}, {like})"
        return f"        self.{_attribute(export)} = {call}\n"

    def _parameters(self, function: FunctionDefinition) -> str:
        arguments = arguments_of(function)
        if arguments is None or not all(map(_is_wire_name, arguments.fields)):
            return ", **arguments: Any"
        # Those that must be given come first, for whoever reads; they are all given by name.
        fields = sorted(arguments.fields.items(), key=lambda item: item[1].is_optional)
        named = [
            f"{_attribute(name)}: {self._type(field)}{' = _given' if field.is_optional else ''}"
            for name, field in fields
        ]
        return f", *, {', '.join(named)}" if named else ""


def _class_names(api: Api) -> list[tuple[TableDefinition, str]]:
    names: dict[str, TableDefinition] = {}
    for table in api.tables:
        name = f"{_capitalised(table.name)}Document"
        names[name if name not in names else f"{table.name}_Document"] = table
    return [(table, name) for name, table in names.items()]


def _capitalised(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[\W_]", name))


def _literal(value: object) -> str:
    """A float cannot be in a Literal, an Int64 neither."""
    if isinstance(value, Int64):
        return "Int64"
    return "float" if isinstance(value, float) else f"Literal[{value!r}]"


def _quoted(annotation: str, *, is_optional: bool) -> str:
    """In a TypedDict that is a call annotations are read at once, so they are texts."""
    quoted = json.dumps(annotation)
    return f"NotRequired[{quoted}]" if is_optional else quoted


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


def _is_wire_name(name: str) -> bool:
    """Whether a parameter can have it, with a trailing underscore where Python wants one."""
    return name.isidentifier() and not name.startswith("__")


def _attribute(name: str, *, is_taken: bool = False) -> str:
    """A name of the wire in Python: what no name may have is an underscore, also at the end."""
    word = re.sub(r"\W", "_", name if name[:1].isidentifier() else f"_{name}")
    if is_taken:
        return f"{word}_module"
    return f"{word}_" if keyword.iskeyword(word) else word
