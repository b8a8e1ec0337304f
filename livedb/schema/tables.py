"""Tables and their indexes as they are declared: names, document types, defaults.

Every definition checks itself when it is made, so one that exists is sound. Codes and texts of the
errors are Convex's where Convex has the rule (features.md 5); unique indexes are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self, TypeAlias

from livedb.errors import SchemaDefinitionError
from livedb.limits import IDENTIFIER_LENGTH_MAX, TABLES_MAX
from livedb.schema.index_rules import check_indexes, is_identifier
from livedb.schema.namespace import v
from livedb.schema.search_indexes import (
    SearchIndexDefinition,
    VectorIndexDefinition,
    search_index,
    vector_index,
)
from livedb.schema.validators import (
    AnyValidator,
    IdValidator,
    Json,
    ObjectValidator,
    UnionValidator,
    Validator,
    iter_nested,
)
from livedb.text import decode_value, encode_value
from livedb.values import Value

SYSTEM_FIELDS = ("_id", "_creationTime")


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """One index: the documents of a table ordered by `fields`, then `_creationTime`, then `_id`.

    Attributes:
        fields: dotted paths; a document without one is in the index all the same.
        is_unique: whether two documents may not have equal `fields`. Documents that lack one of
            them, or have null there, are not compared (as in SQL).
    """

    name: str
    fields: tuple[str, ...]
    is_unique: bool = False

    def __str__(self) -> str:
        """The index as it is added to a table in Python."""
        unique = ", unique=True" if self.is_unique else ""
        return f".index({json.dumps(self.name)}, {json.dumps(self.fields)}{unique})"

    def to_json(self) -> Json:
        """Convex's index JSON, and `unique` where it is set."""
        data: dict[str, Json] = {"indexDescriptor": self.name, "fields": list(self.fields)}
        return data | {"unique": True} if self.is_unique else data

    @classmethod
    def from_json(cls, data: Json) -> IndexDefinition:
        """The definition that `to_json` wrote."""
        return cls(data["indexDescriptor"], tuple(data["fields"]), data.get("unique", False))


AnyIndex: TypeAlias = IndexDefinition | SearchIndexDefinition | VectorIndexDefinition


@dataclass(frozen=True, eq=False, repr=False)
class TableDefinition:
    """One table: what its documents are, and its indexes.

    Attributes:
        document: the type of a document without `_id` and `_creationTime`; None is schemaless.
        indexes: the declared ones; `by_id` and `by_creation_time` are always there besides.
        search_indexes: those for the words of a text.
        vector_indexes: those for the direction of a vector.
        defaults: what `insert` fills in, by path: "status", "address.country", "lines[].unit".
    """

    name: str
    document: Validator | None = None
    indexes: tuple[IndexDefinition, ...] = ()
    defaults: Mapping[str, Value] = field(default_factory=dict)
    search_indexes: tuple[SearchIndexDefinition, ...] = ()
    vector_indexes: tuple[VectorIndexDefinition, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in SYSTEM_TABLES:
            check_table_name(self.name)
        if self.document is not None:
            stored = _stored_document(self.document, self.name)
            object.__setattr__(self, "document", stored)
        object.__setattr__(self, "defaults", MappingProxyType(dict(self.defaults)))
        check_indexes(self)

    @cached_property
    def _identity(self) -> tuple[object, ...]:
        """What equality and hash go by; made once, since a definition is a key in hot dicts."""
        defaults = tuple((path, encode_value(value)) for path, value in self.defaults.items())
        searched = (self.search_indexes, self.vector_indexes)
        return (self.name, self.document, self.indexes, searched, frozenset(defaults))

    @cached_property
    def _hash(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TableDefinition):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return (TableDefinition.from_json, (self.to_json(),))

    def __repr__(self) -> str:
        """The table as it is written in Python; what it cannot say there are its defaults."""
        lines = [f"define_table({self._document_notation()})", *map(str, self.every_index)]
        defaults = ", ".join(f"{path} = {value!r}" for path, value in self.defaults.items())
        return "".join(lines) + (f"  # defaults: {defaults}" if defaults else "")

    def _document_notation(self) -> str:
        match self.document:
            case None:
                return ""
            case ObjectValidator():
                fields = [f"    {json.dumps(name)}: {one},\n" for name, one in self.document.items]
                return "{\n" + "".join(fields) + "}" if fields else "{}"
        return str(self.document)

    def index(self, name: str) -> IndexDefinition | None:
        """The declared index of that name."""
        return next((index for index in self.indexes if index.name == name), None)

    @property
    def searched_indexes(self) -> tuple[SearchIndexDefinition | VectorIndexDefinition, ...]:
        """The search indexes and the vector indexes."""
        text: tuple[SearchIndexDefinition | VectorIndexDefinition, ...] = self.search_indexes
        return text + self.vector_indexes

    @property
    def every_index(self) -> tuple[AnyIndex, ...]:
        """The declared indexes of all kinds."""
        return (*self.indexes, *self.search_indexes, *self.vector_indexes)

    @property
    def fields(self) -> Mapping[str, Validator]:
        """The top-level fields, by name; empty for a schemaless table.

        A field of only some members of a union is optional; one of several types is their union.
        """
        if self.document is None:
            return {}
        return _fields_of(self.document)

    def whole_document(self) -> Validator:
        """The type of a document as it is read: with `_id` and `_creationTime`."""
        system = {"_id": v.id(self.name), "_creationTime": v.number()}
        return v.any() if self.document is None else _extended(self.document, system)

    def to_json(self) -> Json:
        """Convex's table JSON, with `defaults` where there are some."""
        data: dict[str, Json] = {
            "tableName": self.name,
            "indexes": [index.to_json() for index in self.indexes],
            "documentType": None if self.document is None else self.document.to_json(),
        }
        if self.search_indexes:
            data["searchIndexes"] = [index.to_json() for index in self.search_indexes]
        if self.vector_indexes:
            data["vectorIndexes"] = [index.to_json() for index in self.vector_indexes]
        if self.defaults:
            data["defaults"] = {
                path: json.loads(encode_value(value)) for path, value in self.defaults.items()
            }
        return data

    @classmethod
    def from_json(cls, data: Json) -> TableDefinition:
        """The definition that `to_json` wrote."""
        document = data.get("documentType")
        defaults = data.get("defaults", {})
        return cls(
            name=data["tableName"],
            document=None if document is None else Validator.from_json(document),
            indexes=tuple(map(IndexDefinition.from_json, data.get("indexes", ()))),
            defaults={
                path: decode_value(json.dumps(value).encode()) for path, value in defaults.items()
            },
            search_indexes=tuple(
                map(SearchIndexDefinition.from_json, data.get("searchIndexes", ()))
            ),
            vector_indexes=tuple(
                map(VectorIndexDefinition.from_json, data.get("vectorIndexes", ()))
            ),
        )


def fields_of(index: AnyIndex) -> tuple[str, ...]:
    """The fields of an index of any kind, those to filter by among them."""
    return index.fields if isinstance(index, IndexDefinition) else (index.field, *index.filters)


class TableBuilder:
    """A table that still lacks its name; `define_schema` or `db.push` gives it."""

    def __init__(self, document: Validator | None) -> None:
        self._document = document
        self._indexes: list[IndexDefinition] = []
        self._search_indexes: list[SearchIndexDefinition] = []
        self._vector_indexes: list[VectorIndexDefinition] = []

    def index(self, name: str, fields: Sequence[str], *, unique: bool = False) -> Self:
        """Add an index over `fields`, which may be dotted paths; returns the table, to chain."""
        self._indexes.append(index_definition(name, fields, unique=unique))
        return self

    def search_index(self, name: str, field: str, *, filters: Sequence[str] = ()) -> Self:
        """Add an index for searches by the words of a text field; see `livedb.search_index`."""
        self._search_indexes.append(replace(search_index(field, filters=filters), name=name))
        return self

    def vector_index(
        self, name: str, field: str, *, dimensions: int, filters: Sequence[str] = ()
    ) -> Self:
        """Add an index for searches by the direction of a vector; see `livedb.vector_index`."""
        made = vector_index(field, dimensions=dimensions, filters=filters)
        self._vector_indexes.append(replace(made, name=name))
        return self

    def build(self, name: str) -> TableDefinition:
        """The finished definition.

        Raises:
            SchemaDefinitionError: the table contradicts itself (`code` says how).
        """
        return TableDefinition(
            name,
            self._document,
            tuple(self._indexes),
            search_indexes=tuple(self._search_indexes),
            vector_indexes=tuple(self._vector_indexes),
        )


def index_definition(name: str, fields: Sequence[str], *, unique: bool = False) -> IndexDefinition:
    """An index definition from what users write; one str is not taken for its letters."""
    if not isinstance(name, str):
        raise SchemaDefinitionError(
            f"An index name must be a str and is {name!r}", code="InvalidIndexName"
        )
    if isinstance(fields, str) or not all(isinstance(part, str) for part in fields):
        raise SchemaDefinitionError(
            f"The fields of index {name!r} must be a list of field names and are {fields!r}",
            code="InvalidIndexField",
        )
    return IndexDefinition(name, tuple(fields), unique)


def define_table(document: Mapping[str, Validator] | Validator | None = None) -> TableBuilder:
    """A table of such documents: fields, `v.object`, a `v.union` of objects, `v.any()`, or None.

    Example:
        define_table({"title": v.string()}).index("by_title", ["title"])
    """
    if document is None or isinstance(document, Validator):
        return TableBuilder(document)
    if not isinstance(document, Mapping):
        raise SchemaDefinitionError(
            f"define_table takes the fields of a document or a validator, not {document!r}"
        )
    return TableBuilder(v.object(document))


@dataclass(frozen=True, slots=True)
class SchemaDefinition:
    """All tables of a workspace.

    Attributes:
        is_validated: whether documents are checked when written (Convex's `schemaValidation`);
            if not, a workspace is given the tables without a type of their documents.
        is_strict: whether code may name other tables (Convex's `strictTableNameTypes`); for type
            checkers only, at run time other tables exist either way.
    """

    tables: tuple[TableDefinition, ...]
    is_strict: bool = True
    is_validated: bool = True

    def __post_init__(self) -> None:
        if len(self.tables) > TABLES_MAX:
            raise SchemaDefinitionError(
                f"The schema has {len(self.tables)} tables; at most {TABLES_MAX} are allowed",
                code="TooManyTables",
            )
        refuse_names_alike(table.name for table in self.tables)

    def __iter__(self) -> Iterator[TableDefinition]:
        """The tables as a workspace is given them: what is not checked cannot be relied on."""
        if self.is_validated:
            return iter(self.tables)
        return (replace(table, document=None, defaults={}) for table in self.tables)

    def table(self, name: str) -> TableDefinition:
        """The table of that name.

        Raises:
            SchemaDefinitionError: there is none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        names = ", ".join(repr(table.name) for table in self.tables)
        raise SchemaDefinitionError(f"The schema has no table {name!r}; it has {names or 'none'}")

    def doc(self, name: str) -> Validator:
        """The type of a whole document of table `name`, with `_id` and `_creationTime`."""
        return self.table(name).whole_document()

    def id(self, name: str) -> IdValidator:
        """The type of an id of table `name`."""
        return v.id(self.table(name).name)

    def to_json(self) -> Json:
        """Convex's schema JSON."""
        return {
            "tables": [table.to_json() for table in self.tables],
            "schemaValidation": self.is_validated,
            "strictTableNameTypes": self.is_strict,
        }

    @classmethod
    def from_json(cls, data: Json) -> SchemaDefinition:
        """The schema that `to_json` wrote."""
        return cls(
            tuple(map(TableDefinition.from_json, data["tables"])),
            is_strict=data.get("strictTableNameTypes", True),
            is_validated=data.get("schemaValidation", True),
        )


def define_schema(
    tables: Mapping[str, TableBuilder | type],
    *,
    schema_validation: bool = True,
    strict_table_name_types: bool = True,
) -> SchemaDefinition:
    """A schema: tables by name. Tables that it does not list stay schemaless.

    With `schema_validation=False` those that it lists are schemaless too, with their indexes: their
    types only document what is meant, as `.doc(name)` gives it.

    Raises:
        SchemaDefinitionError: a name, a document type or an index is not allowed.
    """
    definitions = []
    for name, table in tables.items():
        if not isinstance(table, TableBuilder):
            raise SchemaDefinitionError(
                f"Table {name!r}: expected define_table(...) and got {table!r}"
            )
        definitions.append(table.build(name))
    return SchemaDefinition(
        tuple(definitions), is_strict=strict_table_name_types, is_validated=schema_validation
    )


# -- the rules -------------------------------------------------------------------------------------


ENVIRONMENT_TABLE = "_environment_variables"
"""One document `{name, value}` for each; read as `ctx.env`, written by livedb's own functions."""

STORAGE_TABLE = "_storage"
"""One document for each file, read by `ctx.db.system`."""

FILES_TABLE = "_files"
"""Under which name the content of a file lies: `{file, name}`; for livedb's own functions."""

UPLOADS_TABLE = "_uploads"
"""The upload URLs that are good: `{token, expires, bytesMax?}`, the token as its SHA-256."""

SCHEDULED_TABLE = "_scheduled_functions"
"""What `ctx.scheduler` schedules; see `functions.scheduling`."""

CRONS_TABLE = "_cron_jobs"
CRON_LOGS_TABLE = "_cron_job_logs"
"""Functions that run again and again, and the last runs of each; see `functions.cron_jobs`."""

SYSTEM_TABLES = frozenset(
    {
        ENVIRONMENT_TABLE, STORAGE_TABLE, FILES_TABLE, UPLOADS_TABLE,
        SCHEDULED_TABLE, CRONS_TABLE, CRON_LOGS_TABLE,
    }
)  # fmt: skip
"""Names of tables that are livedb's own, as no user's table can be named."""


def check_table_name(name: str) -> None:
    """Refuse what can be no name of a user's table.

    Raises:
        SchemaDefinitionError: `code` InvalidTableName.
    """
    if name in SYSTEM_TABLES:
        raise SchemaDefinitionError(
            f"{name} is a table of livedb's own: queries and mutations read it by "
            f'ctx.db.system.query("{name}")',
            code="InvalidTableName",
        )
    if not is_identifier(name):
        raise SchemaDefinitionError(
            f'Invalid table name: "{name!s:.80}". Identifiers must start with a letter and can '
            f"only contain letters, digits, and underscores, at most {IDENTIFIER_LENGTH_MAX}.",
            code="InvalidTableName",
        )


def refuse_names_alike(names: Iterable[str]) -> None:
    """Refuse names that differ only in case: SQL could not tell the tables apart.

    Raises:
        SchemaDefinitionError: `code` TableNamesNotUnique.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            raise SchemaDefinitionError(
                f"The tables {other!r} and {name!r} differ only in case; SQL could not tell them "
                f"apart. Rename one",
                code="TableNamesNotUnique",
            )


def _stored_document(document: Validator, table: str) -> Validator:
    """The document type without system fields, which may be declared but are never stored."""
    match document:
        case AnyValidator() if not document.is_optional:
            return document
        case ObjectValidator() if not document.is_optional:
            return _without_system_fields(document, table)
        case UnionValidator() if document.members and not document.is_optional:
            members = tuple(_stored_document(member, table) for member in document.members)
            return UnionValidator(members)
    raise SchemaDefinitionError(
        f"The documents of table {table!r} must be a v.object, a v.union of objects, or v.any(), "
        f"and are {document}"
    )


def _without_system_fields(document: ObjectValidator, table: str) -> ObjectValidator:
    for name, validator in document.items:
        if name in SYSTEM_FIELDS:
            expected = v.id(table) if name == "_id" else v.number()
            if validator != expected:
                raise SchemaDefinitionError(
                    f"Table {table!r}: the field `{name}` is {expected} and is declared {validator}"
                )
        elif name.startswith("_"):
            raise SchemaDefinitionError(
                f"Table {table!r}: the field {name!r} is not allowed; top-level fields that start "
                f"with '_' are reserved"
            )
    present = [name for name in SYSTEM_FIELDS if name in document.fields]
    return document.omit(*present) if present else document


def _fields_of(document: Validator) -> dict[str, Validator]:
    match document:
        case ObjectValidator():
            return document.fields
        case UnionValidator():
            return _merged_fields([_fields_of(member) for member in document.members])
    return {}


def _merged_fields(members: Sequence[Mapping[str, Validator]]) -> dict[str, Validator]:
    merged: dict[str, Validator] = {}
    for name in dict.fromkeys(name for member in members for name in member):
        found = [member[name] for member in members if name in member]
        types = tuple(dict.fromkeys(validator.required() for validator in found))
        validator = types[0] if len(types) == 1 else UnionValidator(types)
        is_always = len(found) == len(members) and not any(one.is_optional for one in found)
        merged[name] = validator if is_always else validator.optional()
    return merged


def _extended(document: Validator, fields: Mapping[str, Validator]) -> Validator:
    match document:
        case ObjectValidator():
            return v.object(dict(fields) | document.fields)
        case UnionValidator():
            return UnionValidator(tuple(_extended(one, fields) for one in document.members))
    return document


def tables_referenced(table: TableDefinition) -> frozenset[str]:
    """The tables whose ids the documents hold; such a table cannot be deleted."""
    if table.document is None:
        return frozenset()
    return frozenset(
        validator.table
        for validator in iter_nested(table.document)
        if isinstance(validator, IdValidator)
    )


@dataclass(frozen=True, slots=True)
class ReservedTable:
    """How a table of livedb's own is made: its definition, and the number that its ids get.

    The number is below those of users' tables, which may come from another workspace with theirs.
    """

    number: int
    definition: TableDefinition


def _reserved(number: int, name: str, *indexes: IndexDefinition) -> ReservedTable:
    return ReservedTable(number, TableDefinition(name=name, indexes=indexes))


SYSTEM_DEFINITIONS = {
    each.definition.name: each
    for each in (
        _reserved(9001, STORAGE_TABLE),
        _reserved(
            9002,
            FILES_TABLE,
            IndexDefinition("by_name", ("name",), is_unique=True),
            IndexDefinition("by_file", ("file",)),
        ),
        _reserved(
            9003,
            UPLOADS_TABLE,
            IndexDefinition("by_token", ("token",)),
            IndexDefinition("by_expiry", ("expires",)),
        ),
        _reserved(
            9004,
            SCHEDULED_TABLE,
            IndexDefinition("by_due", ("state.kind", "state.waitingFor", "scheduledTime")),
            IndexDefinition("by_completed", ("completedTime",)),
        ),
        _reserved(
            9005,
            CRONS_TABLE,
            IndexDefinition("by_due", ("state.kind", "state.waitingFor", "nextTime")),
            IndexDefinition("by_name", ("name",), is_unique=True),
        ),
        _reserved(9006, CRON_LOGS_TABLE, IndexDefinition("by_cron", ("cron",))),
    )
}
"""The tables of livedb's own that are made with indexes and a number of their own."""
