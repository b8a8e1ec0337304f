"""Which column each field of a table gets in DuckDB, and documents turned into those columns.

A column is a projection of `_doc`, never the truth: a value that its column cannot hold is NULL
there, exact in `_doc`, and readable as JSON in a column `<field>__json` that appears when the
first such value does. So `project` is total: every stored document has a projection.

    declared by the schema    the schema's type, for good
    not declared              the type of the first value seen that is not null
    ... and a float comes     BIGINT widens to DOUBLE, which holds the Int64 that are exact there
    ... only nulls so far     a column of NULLs, which takes the first value's type later

Names that DuckDB could confuse (equal but for case, empty, control characters, a leading `_`) and
fields beyond `COLUMNS_MAX` have no column.
Everything here is pure; `store.tables` turns the difference of two `Columns` into ALTERs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from math import isnan
from types import MappingProxyType, NoneType
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa

from livedb.limits import COLUMNS_MAX
from livedb.text import encode_value
from livedb.values import Int64, Value

ColumnType = Literal[
    "null", "boolean", "bigint", "double", "varchar", "blob", "json", "timestamptz"
]
"""How a column holds its values; "null" until a value that is not null says more."""

SQL_TYPES: Final[Mapping[ColumnType, str]] = MappingProxyType(
    {
        "null": "VARCHAR",
        "boolean": "BOOLEAN",
        "bigint": "BIGINT",
        "double": "DOUBLE",
        "varchar": "VARCHAR",
        "blob": "BLOB",
        "json": "JSON",
        "timestamptz": "TIMESTAMPTZ",
    }
)

_ARROW_TYPES: Final[Mapping[ColumnType, pa.DataType]] = MappingProxyType(
    {
        "null": pa.string(),
        "boolean": pa.bool_(),
        "bigint": pa.int64(),
        "double": pa.float64(),
        "varchar": pa.string(),
        "blob": pa.binary(),
        "json": pa.string(),
        "timestamptz": pa.timestamp("us", tz="UTC"),
    }
)

_TYPE_OF: Final[Mapping[type, ColumnType]] = MappingProxyType(
    {
        bool: "boolean",
        int: "bigint",
        Int64: "bigint",
        float: "double",
        str: "varchar",
        bytes: "blob",
        list: "json",
        dict: "json",
        datetime: "timestamptz",
    }
)

_UNCONVERTED: Final[Mapping[ColumnType, frozenset[type]]] = MappingProxyType(
    {
        "null": frozenset({NoneType}),
        "boolean": frozenset({NoneType, bool}),
        "bigint": frozenset({NoneType, int, Int64}),
        "double": frozenset({NoneType, float}),
        "varchar": frozenset({NoneType, str}),
        "blob": frozenset({NoneType, bytes}),
        "json": frozenset({NoneType}),
        "timestamptz": frozenset({NoneType, datetime}),
    }
)
# Python types that Arrow takes into a column of the type as they are: the fast path.

_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f]|^_|^$")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table beside `_id`, `_creationTime`, `_seq`, `_number` and `_doc`.

    Attributes:
        field: the field whose values it holds.
        name: its name in SQL: the field's, or `<field>__json` when `is_spill`.
        is_declared: the schema fixes its type.
        is_spill: it holds, as JSON, the values that the field's own column cannot.
    """

    field: str
    name: str
    type: ColumnType
    is_declared: bool = False
    is_spill: bool = False


Columns = tuple[Column, ...]
"""A table's columns in the order SQL shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Documents as columns.

    Attributes:
        columns: those given, grown by what the documents brought.
        arrays: one per column of `columns` that has a value or was there before.
        has_hidden: some field has no column.
    """

    columns: Columns
    arrays: Mapping[str, pa.Array[Any]]
    has_hidden: bool


class Namer:
    """Hands out column names that DuckDB keeps apart, each once."""

    def __init__(self, columns: Columns) -> None:
        # casefold() equates at least what DuckDB does, which folds ASCII letters only.
        self._taken = {column.name.casefold() for column in columns}
        self._fields = sum(not column.is_spill for column in columns)

    def take(self, name: str, *, is_spill: bool = False) -> bool:
        """Reserve `name`; False when it cannot be a column here."""
        key = name.casefold()
        if _UNNAMEABLE.search(name) or key in self._taken:
            return False
        if not is_spill:
            if self._fields >= COLUMNS_MAX:
                return False
            self._fields += 1
        self._taken.add(key)
        return True


def columns_to_json(columns: Columns) -> str:
    """`columns` as text for the catalog inside DuckDB."""
    return msgspec.json.encode(columns).decode()


def columns_from_json(text: str) -> Columns:
    """What `columns_to_json` wrote."""
    return msgspec.json.decode(text, type=tuple[Column, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a schema asks of a table's columns.

    Attributes:
        columns: the columns under the new schema.
        stale: fields whose column must be filled anew from `_doc`.
        dropped_if_empty: columns no longer declared, which go once all their values are NULL.
    """

    columns: Columns
    stale: frozenset[str]
    dropped_if_empty: frozenset[str]


def plan_columns(
    existing: Columns, declared: Sequence[tuple[str, ColumnType]], *, has_hidden: bool
) -> Plan:
    """The columns of a table whose schema declares `declared`, in that order.

    A column keeps its values when its type stays. Fields that are no longer declared keep their
    column, as long as it holds any value, with the type it has.
    """
    by_field = {column.field: column for column in existing if not column.is_spill}
    namer = Namer(())
    first = [
        Column(field, field, column_type, is_declared=True)
        for field, column_type in declared
        if namer.take(field)
    ]
    # A spill says that the field has values its column does not show; the column itself may be
    # gone, if all it had were such.
    spilled = {column.field for column in existing if column.is_spill}
    stale = {
        column.field
        for column in first
        if column.field in spilled or _is_stale(column, by_field, has_hidden=has_hidden)
    }
    ours = {column.field for column in first}
    rest = [
        replace(column, is_declared=False)
        for column in existing
        if not (column.field in stale or (column.field in ours and not column.is_spill))
        and namer.take(column.name, is_spill=column.is_spill)
    ]
    was_declared = {column.name for column in existing if column.is_declared or column.is_spill}
    return Plan(
        columns=(*first, *rest),
        stale=frozenset(stale),
        dropped_if_empty=frozenset(c.name for c in rest if c.name in was_declared),
    )


def _is_stale(column: Column, by_field: Mapping[str, Column], *, has_hidden: bool) -> bool:
    before = by_field.get(column.field)
    if before is None:
        return has_hidden
    return before.type not in (column.type, "null")


def project(
    columns: Columns,
    documents: Sequence[Mapping[str, Value]],
    *,
    only: frozenset[str] | None = None,
) -> Projection:
    """The values of `documents` column by column; total. `only` names the fields, if not all.

    Cost: about 0.2 us per value, 1 us where it becomes JSON.
    """
    grown = list(columns)
    namer = Namer(columns)
    arrays: dict[str, pa.Array[Any]] = {}
    seen = dict.fromkeys(chain.from_iterable(documents))
    known = {column.field: at for at, column in enumerate(columns) if not column.is_spill}
    spills = {column.field: column for column in columns if column.is_spill}
    has_hidden = False
    for field in [*known, *(field for field in seen if field not in known)]:
        if only is not None and field not in only:
            continue
        at = known.get(field)
        if at is None:
            if not namer.take(field):
                has_hidden = True
                continue
            at = len(grown)
            grown.append(Column(field, field, "null"))
        values = [document.get(field) for document in documents]
        column = grown[at] = _typed(grown[at], values)
        arrays[column.name], misfits = _column_array(column.type, values)
        spill = spills.get(field)
        if misfits and spill is None:
            spill = Column(field, f"{field}__json", "json", is_spill=True)
            if not namer.take(spill.name, is_spill=True):
                continue
            grown.append(spill)
        if spill is not None:
            arrays[spill.name] = _spill_array(len(values), misfits)
    return Projection(columns=tuple(grown), arrays=arrays, has_hidden=has_hidden)


def _typed(column: Column, values: Sequence[Value]) -> Column:
    """`column` with the type that `values` give it, if the schema does not fix it."""
    if column.is_declared or column.type not in ("null", "bigint"):
        return column
    kinds = set(map(type, values))
    column_type: ColumnType = column.type
    if column_type == "null":
        column_type = next((_TYPE_OF[type(value)] for value in values if value is not None), "null")
    if column_type == "bigint" and float in kinds:
        column_type = "double"
    return column if column_type == column.type else replace(column, type=column_type)


def _column_array(
    column_type: ColumnType, values: Sequence[Value]
) -> tuple[pa.Array[Any], dict[int, Value]]:
    """The values that fit a column of the type, and those that do not, by position."""
    arrow_type = _ARROW_TYPES[column_type]
    if set(map(type, values)) <= _UNCONVERTED[column_type]:
        return pa.array(values, type=arrow_type), {}
    convert = _CONVERT[column_type]
    fitting = [None if value is None else convert(value) for value in values]
    misfits = {
        at: value for at, value in enumerate(values) if value is not None and fitting[at] is None
    }
    return pa.array(fitting, type=arrow_type), misfits


def _spill_array(length: int, misfits: Mapping[int, Value]) -> pa.Array[Any]:
    texts: list[str | None] = [None] * length
    for at, value in misfits.items():
        texts[at] = json_text(value)
    return pa.array(texts, type=pa.string())


def json_text(value: Value) -> str:
    """`value` as a JSON column holds it: livedb's text form, so tags stay (`{"$datetime":..}`)."""
    return encode_value(value).decode()


def _only(kind: type) -> Callable[[Any], Any]:
    return lambda value: value if type(value) is kind else None


def _to_bigint(value: Value) -> int | None:
    if isinstance(value, int):
        return None if isinstance(value, bool) else int(value)
    if isinstance(value, float) and value.is_integer() and -(2.0**63) <= value < 2.0**63:
        return int(value)
    return None


def _to_double(value: Value) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
        return number if number == value or isnan(number) else None  # no rounded Int64
    return None


_CONVERT: Final[Mapping[ColumnType, Callable[[Any], Any]]] = MappingProxyType(
    {
        "null": lambda _: None,
        "boolean": _only(bool),
        "bigint": _to_bigint,
        "double": _to_double,
        "varchar": _only(str),
        "blob": _only(bytes),
        "json": json_text,
        "timestamptz": _only(datetime),
    }
)
