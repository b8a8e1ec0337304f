"""The document that an id in a table on screen names, as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from livedb.client.backend import Backend
from livedb.errors import InvalidIdError
from livedb.functions.table_functions import table_function
from livedb.ids import table_number_of
from livedb.notebook.cells import cut
from livedb.notebook.entries import text_of_entry
from livedb.schema.tables import STORAGE_TABLE
from livedb.schema.validators import AnyValidator
from livedb.values import Value

FIELDS_MAX = 64
"""Fields of a document that a page is told."""

_ANY = AnyValidator()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A document that an id names.

    Attributes:
        table: the name of its table; None for an id of none that is known.
        fields: (name, text, whether it is an id that can be followed); None if it is not there.
    """

    key: str
    table: str | None
    fields: list[tuple[str, str, bool]] | None

    def to_content(self) -> dict[str, Any]:
        """What a page is told of it."""
        return {"key": self.key, "table": self.table, "fields": self.fields}


def reference_of(backend: Backend, key: str) -> Reference:
    """The document that an id names. Cost: one read by id."""
    table = _table_of(backend, key)
    if table is None:
        return Reference(key=key, table=None, fields=None)
    if table == STORAGE_TABLE:
        found = backend.files.get(key)
    else:
        get = table_function("get", f"{table}:get")
        found = backend.run(get, {"table": table, "document_id": key})
    if found is None:
        return Reference(key=key, table=table, fields=None)
    fields = [
        (cut(name), cut(_text(name, value)), _is_followed(backend, value))
        for name, value in list(found.items())[:FIELDS_MAX]
    ]
    return Reference(key=key, table=table, fields=fields)


def _text(name: str, value: Value) -> str:
    if name == "_creationTime" and isinstance(value, float):
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(" ", "milliseconds")[:-6]
    return "null" if value is None else text_of_entry(value, _ANY)


def _table_of(backend: Backend, key: object) -> str | None:
    """The name of an id's table, unless it is livedb's own; files are what a reader knows."""
    try:
        name = backend.known_catalog().name_of(table_number_of(str(key)))
    except InvalidIdError:
        return None
    return None if name is None or (name.startswith("_") and name != STORAGE_TABLE) else name


def _is_followed(backend: Backend, value: object) -> bool:
    return isinstance(value, str) and _table_of(backend, value) is not None
