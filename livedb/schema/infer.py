"""A schema proposed from documents, and the annotated class that says it.

A `Shape` is what a set of values has in common. It only ever widens, so every document it has seen
fits the validator it gives (property test), and documents may arrive in any number of batches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from livedb.errors import InvalidIdError
from livedb.ids import table_number_of
from livedb.limits import IDENTIFIER_LENGTH_MAX, OBJECT_FIELDS_MAX
from livedb.schema.index_rules import is_identifier
from livedb.schema.namespace import v
from livedb.schema.render import render_class
from livedb.schema.tables import SYSTEM_FIELDS, AnyIndex
from livedb.schema.validators import ObjectValidator, TableNumbers, UnionValidator, Validator
from livedb.values import Int64, Value

SEEN_STRINGS_MAX = 12
"""Distinct strings of a field that are remembered, to propose a Literal; more and none are."""

RECORD_KEYS_MIN = 64
"""Distinct keys from which an object that is never twice the same is taken for a record."""


@dataclass
class Shape:
    """What the values seen so far have in common.

    Attributes:
        tables: a catalog; with it, strings that are all ids of one table become `v.id`.
    """

    tables: TableNumbers | None = None
    count: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """How many values were of each kind."""
    fields: dict[str, Shape] = field(default_factory=dict)
    element: Shape | None = None
    strings: dict[str, int] | None = field(default_factory=dict)
    """How often each string was seen; None once there were too many."""
    id_tables: set[str] = field(default_factory=set)
    """The tables that all strings so far were ids of; "" stands for text that is no id."""

    def add(self, value: Value) -> None:
        """Widen the shape to hold `value`, which is canonical. Cost: O(size of the value)."""
        kind = _kind_of(value)
        self.count += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if kind == "object":
            self._add_fields(value)
        elif kind == "array":
            self._add_elements(value)
        elif kind == "string":
            self._add_string(value)

    def add_document(self, document: Mapping[str, Value]) -> None:
        """Widen the shape to hold a document; `_id` and `_creationTime` are left out."""
        self.add({name: value for name, value in document.items() if name not in SYSTEM_FIELDS})

    def validator(self) -> Validator:
        """The narrowest proposal that holds all values seen."""
        members = [self._validator_of(kind) for kind in self.kinds if kind != "null"]
        if "number" in self.kinds and "integer" in self.kinds:
            members.remove(v.integer())  # int and float are one type, and number accepts both
        if "null" in self.kinds:
            members.append(v.null())
        if not members:
            return v.any()
        return members[0] if len(members) == 1 else UnionValidator(tuple(members))

    @property
    def literals(self) -> list[str]:
        """The strings seen, when they are few and each came back: perhaps a `Literal`."""
        strings = self.strings or {}
        total = self.kinds.get("string", 0)
        is_closed = 2 <= len(strings) <= SEEN_STRINGS_MAX and total >= 3 * len(strings)
        return sorted(strings) if is_closed and not self._id_table else []

    def _add_fields(self, value: Mapping[str, Value]) -> None:
        for name, item in value.items():
            shape = self.fields.get(name)
            if shape is None:
                shape = self.fields[name] = Shape(self.tables)
            shape.add(item)

    def _add_elements(self, value: list[Value]) -> None:
        if self.element is None:
            self.element = Shape(self.tables)
        for item in value:
            self.element.add(item)

    def _add_string(self, value: str) -> None:
        self.id_tables.add(self._table_of(value))
        if self.strings is None:
            return
        self.strings[value] = self.strings.get(value, 0) + 1
        if len(self.strings) > SEEN_STRINGS_MAX or len(value) > IDENTIFIER_LENGTH_MAX:
            self.strings = None

    def _table_of(self, value: str) -> str:
        # Once a string was no id, the rest need not be decoded.
        if self.tables is None or "" in self.id_tables:
            return ""
        try:
            return self.tables.name_of(table_number_of(value)) or ""
        except InvalidIdError:
            return ""

    @property
    def _id_table(self) -> str:
        return next(iter(self.id_tables)) if len(self.id_tables) == 1 else ""

    def _validator_of(self, kind: str) -> Validator:
        match kind:
            case "object":
                return self._object_validator()
            case "array":
                assert self.element is not None
                return v.array(self.element.validator())
            case "string":
                return v.id(self._id_table) if self._id_table else v.string()
        simple: Validator = getattr(v, kind)()
        return simple

    def _object_validator(self) -> Validator:
        if self.is_record:
            merged = Shape(self.tables)
            for shape in self.fields.values():
                merged.merge(shape)
            return v.record(v.string(), merged.validator())
        objects = self.kinds["object"]
        return v.object(
            {
                name: shape.validator().optional() if shape.count < objects else shape.validator()
                for name, shape in self.fields.items()
            }
        )

    @property
    def is_record(self) -> bool:
        """Whether the keys look like data: many, and most of them in few of the objects."""
        objects = self.kinds.get("object", 0)
        if len(self.fields) > OBJECT_FIELDS_MAX:
            return True
        if len(self.fields) < RECORD_KEYS_MIN:
            return False
        seen = sum(shape.count for shape in self.fields.values())
        return seen < len(self.fields) * objects / 4

    def merge(self, other: Shape) -> None:
        """Widen the shape to hold all that `other` has seen."""
        self.count += other.count
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        for name, shape in other.fields.items():
            self.fields.setdefault(name, Shape(self.tables)).merge(shape)
        if other.element is not None:
            self.element = self.element or Shape(self.tables)
            self.element.merge(other.element)
        self.id_tables |= other.id_tables
        self.strings = None


def infer_validator(
    documents: Iterable[Mapping[str, Value]], *, tables: TableNumbers | None = None
) -> ObjectValidator:
    """The narrowest schema that all these documents fit.

    A field that some lack is optional, one that is null in some is nullable, and one of several
    types is a union; numbers written both as int and as float are `v.number()`.

    Args:
        documents: canonical, with or without `_id` and `_creationTime`; read once.
        tables: a catalog; with it, strings that are all ids of one table become `v.id`.
    """
    return document_validator(infer_shape(documents, tables=tables))


def infer_shape(
    documents: Iterable[Mapping[str, Value]], *, tables: TableNumbers | None = None
) -> Shape:
    """What the documents have in common; give it to `document_validator` or `as_source`."""
    shape = Shape(tables)
    for document in documents:
        shape.add_document(document)
    return shape


def document_validator(shape: Shape) -> ObjectValidator:
    """The proposal of a shape of documents; a table's documents are never a record."""
    fields: dict[str, Validator] = {}
    for name, inner in shape.fields.items():
        validator = inner.validator()
        fields[name] = validator if inner.count == shape.count else validator.optional()
    return v.object(fields)


def as_source(
    shape: Shape,
    *,
    table: str,
    class_name: str | None = None,
    indexes: Sequence[AnyIndex] = (),
) -> str:
    """A cell that declares the table as an annotated class, to be read, corrected and run.

    Fields whose strings come from a small set get a comment that proposes a `Literal`.

    Args:
        shape: of the table's documents.
        table: its name.
        class_name: made from `table` when not given: "line_items" becomes LineItem.
        indexes: those the table has.
    """
    notes = {
        name: "perhaps Literal[" + ", ".join(map(_quoted, inner.literals)) + "]"
        for name, inner in shape.fields.items()
        if inner.literals
    }
    validator = document_validator(shape)
    name = class_name or class_name_of(table)
    return render_class(validator, table=table, class_name=name, notes=notes, indexes=indexes)


def class_name_of(table: str) -> str:
    """A class name for one document of a table."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", table) if word]
    singular = _singular(words[-1]) if words else "Row"
    name = "".join(word[0].upper() + word[1:] for word in [*words[:-1], singular])
    return name if is_identifier(name) else "Row"


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1] or word
    return word


def _quoted(text: str) -> str:
    """A string literal that stays on its line, whatever the text holds."""
    return ascii(text)


_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    Int64: "int64",
    str: "string",
    bytes: "bytes",
    datetime: "datetime",
    list: "array",
}


def _kind_of(value: Value) -> str:
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    assert isinstance(value, dict), f"no canonical value: {type(value)}"
    return "object"
