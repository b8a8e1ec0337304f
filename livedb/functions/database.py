"""`ctx.db`: the documents of a run's snapshot, read and, in a mutation, written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from livedb.canonical import prepare_fields
from livedb.errors import (
    InvalidIdError,
    InvalidValueError,
    LivedbError,
    NonexistentDocumentError,
    ReadOnlyError,
)
from livedb.functions.query_builder import DocumentQuery
from livedb.ids import Id, table_number_of
from livedb.limits import DOCUMENT_BYTES_MAX, OBJECT_FIELDS_MAX
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.check import check_document, check_patch
from livedb.schema.tables import CRON_LOGS_TABLE, CRONS_TABLE, SCHEDULED_TABLE, check_table_name
from livedb.sizes import measure, system_fields_size
from livedb.store.contract import StoredDocument
from livedb.text import PLAIN, decode_document, decode_fields, encode_fields
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.values import UNSET, Document, Value

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_SURELY_SMALL_BYTES = DOCUMENT_BYTES_MAX // 8
"""A document whose text is shorter is within its size: `1,` is the dearest text, 2 for 9 bytes."""

_new_tuple = tuple.__new__

SYSTEM_TABLES = ("_storage", SCHEDULED_TABLE, CRONS_TABLE, CRON_LOGS_TABLE)
"""Tables that functions read with `db.system`."""


def table_name(table: str | type[Any]) -> str:
    """The name of a table given by name or by its class."""
    if isinstance(table, str):
        return table
    name = getattr(table, "__livedb_table__", None)
    if not isinstance(name, str):
        raise InvalidValueError(
            f"{table!r} is not a table: give its name, or a class decorated with @db.table(...)"
        )
    return name


class SqlReads(Protocol):
    """Reads SQL for a run; `functions.calling` implements it."""

    def read_sql(
        self, snapshot: Snapshot, text: str, params: Mapping[str, Any] | Iterable[Any] | None
    ) -> pa.Table: ...


class SystemReader:
    """`ctx.db.system`: the system tables, read-only."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def query(self, table: str) -> DocumentQuery[Document]:
        """Documents of one of `SYSTEM_TABLES`, such as `_scheduled_functions`."""
        _check_system(table)
        return DocumentQuery(self._snapshot, table)

    def get(self, document_id: str) -> Document | None:
        """One document of a system table, or None."""
        table = self._snapshot.table_of(document_id)
        if table is None:
            return None
        _check_system(table.definition.name)
        stored = self._snapshot.get(table, document_id)
        return None if stored is None else decode_document(document_id, stored)


def _check_system(table: str) -> None:
    if table not in SYSTEM_TABLES:
        if type(table) is str and not table.startswith("_"):
            raise ReadOnlyError(
                f"User tables cannot be accessed with db.system. Use ctx.db.query({table!r}).",
                code="SystemTableError",
            )
        raise ReadOnlyError(
            f"There is no system table {table!r}; there are {', '.join(SYSTEM_TABLES)}",
            code="SystemTableError",
        )


class SqlRow(Document):
    """A row of `ctx.db.sql`: its values are SQL's, and become livedb's in a function's result."""

    __slots__ = ()


class DatabaseReader:
    """`ctx.db` in a query."""

    _is_system = False
    """Whether system tables are as others."""

    def __init__(self, snapshot: Snapshot, caller: SqlReads) -> None:
        self._snapshot = snapshot
        self._caller = caller

    @property
    def system(self) -> SystemReader:
        """The system tables, read-only."""
        return SystemReader(self._snapshot)

    @overload
    def get(self, id: Id[T], /) -> T | None: ...
    @overload
    def get(self, id: str, /) -> Any: ...
    @overload
    def get(self, table: str | type[T], id: str, /) -> Any: ...

    def get(self, *arguments: Any) -> Any:
        """The document with this id, or None: `get(id)` or `get(table, id)`.

        Raises:
            InvalidIdError: the text is no id, or the id of another table than the one named.
        Cost: one index range.
        """
        document_id, table = self._addressed(arguments)
        if table is None:
            return None
        stored = self._snapshot.get(table, document_id)
        return None if stored is None else decode_document(document_id, stored)

    @overload
    def query(self, table: type[T], /) -> DocumentQuery[T]: ...
    @overload
    def query(self, table: str, /) -> DocumentQuery[Document]: ...

    def query(self, table: Any, /) -> Any:
        """The documents of a table, to be narrowed, ordered and read.

        A table that does not exist is empty, not an error.
        """
        name = table_name(table)
        if name.startswith("_") and not self._is_system:
            raise ReadOnlyError(
                f"System tables can only be accessed with db.system: ctx.db.system.query({name!r})",
                code="SystemTableError",
            )
        return DocumentQuery(self._snapshot, name)

    def count(self, table: str | type[Any], /) -> int:
        """How many documents a table has.

        Cost: does not grow with the table; depends on the whole of it.
        """
        entry = self._snapshot.table(table_name(table))
        return 0 if entry is None else self._snapshot.count(entry)

    def normalize_id(self, table: str | type[Any], text: str) -> str | None:
        """`text` when it is an id of `table`, else None."""
        entry = self._snapshot.table(table_name(table))
        try:
            number = table_number_of(text)
        except InvalidIdError:
            return None
        return text if entry is not None and entry.number == number else None

    def sql(
        self, text: str, params: Mapping[str, Any] | Iterable[Any] | None = None
    ) -> list[Document]:
        """The rows of one SQL statement at this query's commit, as documents.

        Only in queries. Depends on the whole of each table read.

        Raises:
            SqlError: the statement is wrong or not allowed.
            ReadOnlyError: called in a mutation, whose own writes SQL would not see.
        """
        table = self._caller.read_sql(self._snapshot, text, params)
        return [SqlRow(row) for row in table.to_pylist()]

    def _addressed(self, arguments: tuple[Any, ...]) -> tuple[str, CatalogTable | None]:
        """The id, and the table it belongs to, of `(id)` or `(table, id)`."""
        if len(arguments) == 1:
            document_id = arguments[0]
            expected = None
        elif len(arguments) == 2:
            expected, document_id = arguments
            if type(expected) is not str:
                expected = table_name(expected)
        else:
            raise TypeError(f"expected (id) or (table, id), got {len(arguments)} arguments")
        table = self._snapshot.table_of(document_id)
        name = None if table is None else table.definition.name
        if expected is not None and name != expected:
            got = f'got Id<"{name}"> instead' if name else "and this is of no table that is there"
            raise InvalidIdError(f'expected to be an Id<"{expected}">, {got}: {document_id}')
        if name is not None and name[0] == "_" and not self._is_system:
            raise ReadOnlyError(
                "System tables can only be accessed with db.system.", code="SystemTableError"
            )
        return document_id, table

    # The verbs of DatabaseWriter, so that a query that writes is told what to do.

    def insert(self, *_: Any, **__: Any) -> Any:
        raise _read_only("insert")

    def patch(self, *_: Any, **__: Any) -> Any:
        raise _read_only("patch")

    def replace(self, *_: Any, **__: Any) -> Any:
        raise _read_only("replace")

    def delete(self, *_: Any, **__: Any) -> Any:
        raise _read_only("delete")


def _read_only(verb: str) -> ReadOnlyError:
    return ReadOnlyError(
        f"A query cannot {verb} documents; queries only read. Make the function a mutation.",
        code="ReadOnly",
    )


class DatabaseWriter(DatabaseReader):
    """`ctx.db` in a mutation: reads see the mutation's own writes."""

    _snapshot: Transaction

    def insert(self, table: str | type[Any], document: Mapping[str, Any], /) -> Any:
        """Insert a document; returns its id. A table that does not exist is created.

        Raises:
            SchemaEnforcementError: the document does not fit the table's schema.
            InvalidValueError: a value that cannot be stored.
            UniqueError: a unique index already has its key.
        """
        name = table_name(table)
        if not self._is_system:
            check_table_name(name)
        given = _mapping(document, "insert")
        transaction = self._snapshot
        before = transaction.catalog
        entry = transaction.writable_table(name)
        document_id = transaction.new_id(entry)
        time = transaction.next_creation_time()
        try:
            fields, stored = _stored(entry, time, document_id, given, transaction.catalog)
        except LivedbError:
            transaction.catalog = before  # a refused insert makes no table
            raise
        transaction.insert(entry, document_id, fields, stored)
        return document_id

    def patch(self, *arguments: Any) -> None:
        """Change the fields given: `patch(id, {...})` or `patch(table, id, {...})`.

        `livedb.UNSET` removes a field; nested objects are replaced whole.

        Raises: as `insert`, and NonexistentDocumentError.
        """
        changes = _mapping(arguments[-1], "patch") if arguments else {}
        table, document_id, old = self._existing("Update", arguments[:-1])
        if "_id" in changes or "_creationTime" in changes:
            changes = _user_fields(changes, document_id, old)
        changed, _, is_plain = prepare_fields(changes)
        removed: list[str] = []
        if len(changed) != len(changes):
            removed = [name for name, value in changes.items() if value is UNSET]
        before = decode_fields(old.text)
        fields = {**before, **changed}
        for name in removed:
            fields.pop(name, None)
        definition = table.definition
        if definition.document is not None:
            check_patch(
                definition,
                fields,
                changed,
                removed,
                tables=self._snapshot.catalog,
                document_id=document_id,
            )
        # Texts of what was tagged before are measured anew: the flag must be what an insert sets.
        is_plain = is_plain and old.text[:1] == PLAIN
        text = encode_fields(fields, is_plain=is_plain or None)
        if len(text) > _SURELY_SMALL_BYTES or len(fields) > OBJECT_FIELDS_MAX:
            _check_size(prepare_fields(fields)[1], document_id)
        stored = _new_tuple(StoredDocument, (old.creation_time, text))
        self._snapshot.replace(
            table, document_id, old, before, fields, stored, changed=(*changed, *removed)
        )

    def replace(self, *arguments: Any) -> None:
        """Replace the whole document but `_id` and `_creationTime`: as `patch`.

        Raises: as `patch`.
        """
        *address, document = arguments
        entry, document_id, old = self._existing("Replace", tuple(address))
        given = _user_fields(_mapping(document, "replace"), document_id, old)
        fields, stored = _stored(
            entry, old.creation_time, document_id, given, self._snapshot.catalog
        )
        self._snapshot.replace(entry, document_id, old, None, fields, stored)

    def delete(self, *arguments: Any) -> None:
        """Delete the document: `delete(id)` or `delete(table, id)`.

        Raises:
            NonexistentDocumentError: there is none, or it was deleted already.
        """
        entry, document_id, old = self._existing("Delete", arguments)
        self._snapshot.delete(entry, document_id, old)

    def _existing(
        self, verb: str, address: tuple[Any, ...]
    ) -> tuple[CatalogTable, str, StoredDocument]:
        document_id, table = self._addressed(address)
        old = None if table is None else self._snapshot.get(table, document_id)
        if table is None or old is None:
            raise NonexistentDocumentError(f"{verb} on nonexistent document ID {document_id}")
        return table, document_id, old


class SystemDatabase(DatabaseReader):
    """`ctx.db` of livedb's own queries."""

    _is_system = True

    @classmethod
    def of(cls, db: DatabaseReader) -> SystemDatabase:
        """The same snapshot, system tables included."""
        return cls(db._snapshot, db._caller)  # noqa: SLF001  # two faces of one snapshot


class SystemWriter(DatabaseWriter):
    """`ctx.db` of livedb's own functions."""

    _is_system = True

    @classmethod
    def of(cls, db: DatabaseWriter) -> SystemWriter:
        """The same transaction, system tables included."""
        return cls(db._snapshot, db._caller)  # noqa: SLF001  # two faces of one transaction


def _mapping(document: Any, verb: str) -> Mapping[str, Any]:
    # An exact dict is asked first: `isinstance` of an abstract class is slow.
    if type(document) is not dict and not isinstance(document, Mapping):
        raise InvalidValueError(
            f"Invalid argument `value` for `db.{verb}`: Value must be an Object, "
            f"not {type(document).__name__}",
            code="InvalidArgument",
        )
    return document


def _user_fields(
    changes: Mapping[str, Any], document_id: str, old: StoredDocument
) -> dict[str, Any]:
    """`changes` without system fields, which may be given only as they are."""
    fields = dict(changes)
    if fields.pop("_id", document_id) != document_id:
        raise InvalidIdError(
            f"Provided document ID {changes['_id']} doesn't match '_id' field {document_id}"
        )
    if fields.pop("_creationTime", old.creation_time) != old.creation_time:
        raise InvalidValueError(
            f"Provided creation time {changes['_creationTime']} doesn't match '_creationTime' "
            f"field {old.creation_time}",
            path="._creationTime",
            code="InvalidCreationTimeError",
        )
    return fields


def _stored(
    entry: CatalogTable,
    creation_time: float,
    document_id: str,
    given: Mapping[str, Any],
    catalog: Catalog,
) -> tuple[dict[str, Value], StoredDocument]:
    """A document's fields, canonical and checked by its table's schema, and as they are stored."""
    fields, size, is_plain = prepare_fields(given)
    definition = entry.definition
    if definition.document is not None:
        checked = check_document(definition, fields, tables=catalog)
        if checked is not fields:
            fields = checked
            size, is_plain = measure(fields)
    _check_size(size, document_id)
    text = encode_fields(fields, is_plain=is_plain)
    return fields, _new_tuple(StoredDocument, (creation_time, text))


def _check_size(size: int, document_id: str) -> None:
    """Refuse a document whose fields have a Convex size of `size` bytes, if it is too large."""
    size += system_fields_size(document_id)
    if size > DOCUMENT_BYTES_MAX:
        raise InvalidValueError(
            f"Document is too large ({size:,} bytes, limit: {DOCUMENT_BYTES_MAX:,}). Keep large "
            "values in several documents or in files."
        )
