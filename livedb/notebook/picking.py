"""Finding a document by what people call it, for a field that wants its id."""

from __future__ import annotations

from dataclasses import dataclass

from livedb.client.backend import Backend
from livedb.client.table import whole_table_sql
from livedb.notebook.cells import cut, visible
from livedb.schema.validators import ObjectValidator, StringValidator, UnionValidator, Validator

FOUND_MAX = 20
"""Documents that are offered at once."""

NAMES = ("name", "title", "label", "display_name", "displayName", "username", "email", "subject")
"""Fields that people call documents by, the best first."""

LABEL_CHARACTERS_MAX = 80


@dataclass(frozen=True, slots=True)
class Found:
    """Documents: their ids, and what people call them ("" when they have no name)."""

    rows: list[tuple[str, str]]
    is_cut: bool


def pick(backend: Backend, table: str, text: str) -> Found:
    """The documents of a table whose name holds `text`, or whose id it begins.

    Cost: one SQL statement over two columns; it reads no document.
    """
    name = label_field(backend, table)
    if name is None and backend.known_catalog().get(table) is None:
        return Found([], is_cut=False)  # a table that nobody has made yet
    label = "''" if name is None else f"coalesce(\"{name.replace(chr(34), chr(34) * 2)}\", '')"
    rows, _ = backend.sql(
        f"select _id, {label} as label from ({whole_table_sql(table)}) "  # noqa: S608  # quoted
        f"where contains(lower({label}), lower($text)) or starts_with(_id, $text) "
        f"order by lower({label}), _id limit {FOUND_MAX + 1}",
        {"text": text},
    )
    found = [
        (str(each), cut(visible(str(called)), LABEL_CHARACTERS_MAX))
        for each, called in zip(*(column.to_pylist() for column in rows.columns), strict=True)
    ]
    return Found(found[:FOUND_MAX], is_cut=len(found) > FOUND_MAX)


def label_field(backend: Backend, table: str) -> str | None:
    """The field of a table's documents that people call them by, if one looks like it."""
    entry = backend.known_catalog().get(table)
    if entry is None:
        return None
    document = entry.definition.document
    if isinstance(document, ObjectValidator):
        texts = [name for name, of in document.items if _is_text(of)]
    else:
        rows, _ = backend.sql(f"select * from ({whole_table_sql(table)}) limit 0", None)  # noqa: S608
        texts = [
            each.name for each in rows.schema if str(each.type) == "string" and each.name != "_id"
        ]
    return next((name for name in NAMES if name in texts), texts[0] if texts else None)


def _is_text(validator: Validator) -> bool:
    if isinstance(validator, UnionValidator):
        return any(map(_is_text, validator.members))
    return isinstance(validator, StringValidator)
