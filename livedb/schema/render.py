"""A validator as the source text of an annotated class.

The text is a cell: executed, `table_from_class` reads the same validator back from it. Objects
inside become classes of their own, above. A class cannot have fields such as "Unit price" or
"class"; an object with one becomes a TypedDict, whose keys may be any text.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Mapping, Sequence

from livedb.schema.search_indexes import SearchIndexDefinition, VectorIndexDefinition
from livedb.schema.tables import AnyIndex, IndexDefinition
from livedb.schema.validators import (
    ArrayValidator,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    UnionValidator,
    Validator,
    iter_nested,
)
from livedb.values import Int64

_ANNOTATIONS = {
    "any": "Any",
    "null": "None",
    "number": "float",
    "integer": "int",
    "bigint": "Int64",
    "boolean": "bool",
    "string": "str",
    "bytes": "bytes",
    "datetime": "datetime",
}

_IMPORTS = {
    "Any": "from typing import Any",
    "Literal": "from typing import Literal",
    "NotRequired": "from typing import NotRequired",
    "TypedDict": "from typing import TypedDict",
    "datetime": "from datetime import datetime",
    "Int64": "from livedb import Int64",
    "Id": "from livedb import Id",
    "Missing": "from livedb import Missing",
    "UNSET": "from livedb import UNSET",
    "search_index": "from livedb import search_index",
    "vector_index": "from livedb import vector_index",
}
"""Where each name comes from."""


def render_class(
    validator: ObjectValidator,
    *,
    table: str,
    class_name: str,
    notes: Mapping[str, str] | None = None,
    indexes: Sequence[AnyIndex] = (),
) -> str:
    """The source of a table whose documents fit `validator`.

    Args:
        validator: of the documents, without `_id` and `_creationTime`.
        table: the table's name.
        class_name: of the class; an underscore is added when the name is taken.
        notes: a comment for some of the fields: the `Literal` that each might be, which is
            imported so that the comment can be followed.
        indexes: those the table has; running the cell keeps them.
    """
    used = {"Literal"} if notes else set()
    arguments = _index_arguments([i for i in indexes if isinstance(i, IndexDefinition)])
    for keyword_name, kind, maker in _SEARCHED:
        chosen = [each for each in indexes if isinstance(each, kind)]
        if chosen:
            used.add(maker)
            arguments.append(f"{keyword_name}={{{', '.join(map(_searched, chosen))}}}")
    source = _Source(validator, used=used)
    name = source.free_name(class_name)
    body = source.class_text(name, validator, notes or {})
    call = f"db.table({', '.join([json.dumps(table), *arguments])})"
    decorated = f"@{call}\n{body}"
    if not body.startswith("class"):  # a TypedDict of any keys is made by a call
        decorated = f"{body}\n{call}({name})"
    blocks = ["\n".join(source.import_lines()), *source.classes, decorated]
    return "\n\n\n".join(block for block in blocks if block) + "\n"


def _index_arguments(indexes: Sequence[IndexDefinition]) -> list[str]:
    """The `indexes=` and `unique=` of a table, where it has some."""
    arguments = []
    for keyword_name, is_unique in (("indexes", False), ("unique", True)):
        chosen = {each.name: list(each.fields) for each in indexes if each.is_unique is is_unique}
        if chosen:
            arguments.append(f"{keyword_name}={json.dumps(chosen)}")
    return arguments


_SEARCHED = (
    ("search_indexes", SearchIndexDefinition, "search_index"),
    ("vector_indexes", VectorIndexDefinition, "vector_index"),
)


def _searched(index: SearchIndexDefinition | VectorIndexDefinition) -> str:
    """One entry of `search_indexes=` or `vector_indexes=`."""
    arguments = [json.dumps(index.field)]
    if isinstance(index, VectorIndexDefinition):
        arguments.append(f"dimensions={index.dimensions}")
    if index.filters:
        arguments.append(f"filters={json.dumps(index.filters)}")
    maker = "vector_index" if isinstance(index, VectorIndexDefinition) else "search_index"
    return f"{json.dumps(index.name)}: {maker}({', '.join(arguments)})"


class _Source:
    """The text under construction: classes made so far, and the names they use."""

    def __init__(self, validator: ObjectValidator, *, used: set[str]) -> None:
        self.classes: list[str] = []
        # A field that is set in a class hides a class of that name from the annotations below it.
        fields = {
            name
            for inner in iter_nested(validator)
            if isinstance(inner, ObjectValidator)
            for name in inner.fields
        }
        self._names: set[str] = fields | _RESERVED
        self._used = used

    def free_name(self, wanted: str) -> str:
        """`wanted`, or something like it that is not taken yet."""
        name = wanted
        while name in self._names or keyword.iskeyword(name):
            name += "_"
        self._names.add(name)
        return name

    def import_lines(self) -> list[str]:
        """The imports for all names used, merged by module."""
        by_module: dict[str, list[str]] = {}
        for name in sorted(self._used):
            module, _, imported = _IMPORTS[name].partition(" import ")
            by_module.setdefault(module, []).append(imported)
        return [
            f"{module} import {', '.join(names)}" for module, names in sorted(by_module.items())
        ]

    def class_text(self, name: str, validator: ObjectValidator, notes: Mapping[str, str]) -> str:
        """The class for an object; classes of inner objects go to `classes` first."""
        if not all(map(_can_be_attribute, validator.fields)):
            return self._typed_dict_text(name, validator)
        lines = [f"class {name}:"]
        for field, inner in validator.items:
            note = f"  # {notes[field]}" if field in notes else ""
            lines.append(f"    {field}: {self._field_annotation(field, inner)}{note}")
        return "\n".join(lines if validator.items else [*lines, "    pass"])

    def _field_annotation(self, field: str, inner: Validator) -> str:
        text = self.annotation(inner, field)
        if not inner.is_optional:
            return text
        return f"{text} | {self._use('Missing')} = {self._use('UNSET')}"

    def _typed_dict_text(self, name: str, validator: ObjectValidator) -> str:
        lines = [f'{name} = {self._use("TypedDict")}("{name}", {{']
        for field, inner in validator.items:
            text = self.annotation(inner, field)
            if inner.is_optional:
                text = f"{self._use('NotRequired')}[{text}]"
            lines.append(f"    {field!a}: {text},")
        return "\n".join([*lines, "})"])

    def annotation(self, validator: Validator, field: str) -> str:
        """The annotation for a validator; `field` names the class of an object."""
        match validator:
            case IdValidator():
                return f'{self._use("Id")}["{validator.table}"]'
            case LiteralValidator():
                return self._literal(validator)
            case ArrayValidator():
                return f"list[{self.annotation(validator.element, field)}]"
            case RecordValidator():
                keys = self.annotation(validator.keys, field)
                return f"dict[{keys}, {self.annotation(validator.values, field)}]"
            case UnionValidator():
                members = [self.annotation(member, field) for member in validator.members]
                return " | ".join(dict.fromkeys(members))
            case ObjectValidator():
                return self._object(validator, field)
        text = _ANNOTATIONS[validator.kind]
        return self._use(text) if text in _IMPORTS else text

    def _literal(self, validator: LiteralValidator) -> str:
        value = validator.value
        if isinstance(value, float | Int64):  # Python's Literal has neither
            return self._use("Int64") if isinstance(value, Int64) else "float"
        return f"{self._use('Literal')}[{value!a}]"

    def _object(self, validator: ObjectValidator, field: str) -> str:
        if not validator.items:  # a class needs a field
            return f"dict[str, {self._use('Any')}]"
        words = [word for word in re.split(r"[^A-Za-z0-9]+", field) if word]
        wanted = "".join(word[0].upper() + word[1:] for word in words)
        name = self.free_name(wanted if wanted.isidentifier() else f"Object{wanted}")
        self.classes.append(self.class_text(name, validator, {}))
        return name

    def _use(self, name: str) -> str:
        self._used.add(name)
        return name


_RESERVED = frozenset((*_IMPORTS, *_ANNOTATIONS.values(), "list", "dict"))
"""Names that annotations use: no class and no attribute may take them."""


def _can_be_attribute(field: str) -> bool:
    # A name that begins with two underscores would be mangled by the class around it.
    is_name = field.isidentifier() and not keyword.iskeyword(field) and not field.startswith("__")
    return is_name and field not in _RESERVED
