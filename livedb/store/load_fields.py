"""The fields of a bulk load's source, and how each becomes a field of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn

import pyarrow as pa

from livedb.canonical import prepare_fields
from livedb.errors import InvalidValueError, LoadError, SchemaEnforcementError
from livedb.limits import OBJECT_FIELDS_MAX
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import ObjectValidator, TableNumbers
from livedb.store.load_columns import FieldPlan, plan_field
from livedb.store.marks import absent_name
from livedb.values import path_step


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceField:
    """One field of a source: the positions of its values, and of the marks of its absence."""

    name: str
    position: int
    absent: int | None


def source_fields(schema: pa.Schema) -> list[SourceField]:
    """The fields of a source with this schema, its system fields left out.

    Raises:
        LoadError: a column's name cannot be a field's, or is there twice.
    """
    absent = {
        name: position
        for position, column in enumerate(schema)
        if (name := absent_name(column)) is not None
    }
    fields = [
        SourceField(name=column.name, position=position, absent=absent.get(column.name))
        for position, column in enumerate(schema)
        if position not in absent.values() and column.name not in ("_id", "_creationTime")
    ]
    _check_names([each.name for each in fields])
    return fields


def _check_names(names: Sequence[str]) -> None:
    if len(names) > OBJECT_FIELDS_MAX:
        raise LoadError(f"The source has {len(names)} columns; a document has at most 1024 fields.")
    for name in names:
        try:
            prepare_fields({name: None})
        except InvalidValueError as error:
            raise LoadError(f"The source has a column that is no field: {error.message}") from None
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise LoadError(f"Two columns are named {twice!r}; rename one of them.")


def plan_fields(
    definition: TableDefinition, fields: Sequence[SourceField], tables: TableNumbers | None
) -> dict[str, FieldPlan]:
    """How each column of the source becomes a field; infers those that no schema names later."""
    document = definition.document
    if not isinstance(document, ObjectValidator):
        return {}
    for name in {each.name for each in fields} - document.fields.keys():
        _refuse_unknown(name, definition)
    if fields:
        require_fields(definition, fields)
    return {
        name: plan_field(definition, name, validator, tables) for name, validator in document.items
    }


def require_fields(definition: TableDefinition, fields: Sequence[SourceField]) -> None:
    """Refuse a source of rows without what each must have.

    A source without any columns may be one without rows: an empty table of a snapshot says nothing.

    Raises:
        SchemaEnforcementError: the table requires a field that the source has not.
    """
    document = definition.document
    if not isinstance(document, ObjectValidator):
        return
    given = {each.name for each in fields}
    for name, validator in document.items:
        if name not in given and not validator.is_optional and name not in definition.defaults:
            raise SchemaEnforcementError(
                f"The source has no column {name!r}, which table {definition.name!r} requires.",
                path=path_step(name),
                kind="MissingRequiredField",
            )


def _refuse_unknown(name: str, definition: TableDefinition) -> NoReturn:
    near = get_close_matches(name, list(definition.fields), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SchemaEnforcementError(
        f"The source has a column {name!r}, which table {definition.name!r} does not{hint}",
        path=path_step(name),
        kind="ExtraField",
    )
