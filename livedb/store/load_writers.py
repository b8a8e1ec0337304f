"""The documents of a bulk load: a slab of source rows as stored texts and typed columns.

`SetWriter` works column by column, `RowWriter` one document at a time; which of them a table needs
is decided by its schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from livedb.canonical import prepare_fields
from livedb.errors import InvalidValueError, LoadError, SchemaEnforcementError
from livedb.limits import DOCUMENT_BYTES_MAX
from livedb.schema.check import check_document
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import ObjectValidator, TableNumbers, UnionValidator
from livedb.sizes import measure
from livedb.store.arrow_types import is_bytes, is_text
from livedb.store.columns import Column, ColumnType, Namer, project
from livedb.store.layout import declared_columns
from livedb.store.load_columns import (
    ARROW_TYPES,
    JSON,
    Converted,
    FieldPlan,
    convert_column,
    infer_plan,
    nulls,
    plan_field,
)
from livedb.store.load_fields import SourceField
from livedb.store.load_text import (
    SMALL_TEXT_BYTES,
    Piece,
    document_sql,
    has_odd_floats,
    needs_escapes,
)
from livedb.store.marks import has_mark
from livedb.store.packed import packed_texts
from livedb.text import decode_fields, decode_value, encode_fields, encode_value
from livedb.values import Value

_SCAN_ROWS = 1 << 15
"""Rows of a slab that one DuckDB thread takes at a time."""


class SetWriter:
    """Rows of a table whose fields are known one by one, or not at all: column by column."""

    def __init__(
        self,
        definition: TableDefinition,
        fields: Sequence[SourceField],
        plans: Mapping[str, FieldPlan],
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self._definition = definition
        self._fields = fields
        self._plans = plans
        self._connection = connection
        namer = Namer(())
        ordered = [*plans, *(each.name for each in fields if each.name not in plans)]
        self._shown = [name for name in ordered if namer.take(name)]
        self.has_hidden = len(self._shown) < len(ordered)

    def columns(self, slab: pa.RecordBatch, first_row: int) -> dict[str, pa.Array[Any]]:
        """`_doc` and the typed columns of `slab`."""
        scan = _Scan(slab.num_rows)
        typed: dict[str, pa.Array[Any]] = {}
        absent: dict[str, pa.Array[Any]] = {}
        for each in self._fields:
            source = slab.schema.field(each.position)
            plan = self._plans.get(each.name) or infer_plan(source)
            marks = None if each.absent is None else slab.column(each.absent)
            column = slab.column(each.position)
            _check_lengths(column, each.name, first_row)
            converted = convert_column(column, source, plan, marks, first_row=first_row)
            missing = _missing(converted.values, plan, marks)
            if missing is not None:
                absent[each.name] = missing
            scan.add(each.name, converted, missing)
            typed[each.name] = converted.values
        for name, value in self._definition.defaults.items():
            if name in self._plans and (name not in typed or name in absent):
                scan.add_default(name, value, absent.get(name))
                filled = _repeated(value, self._plans[name], slab.num_rows)
                if name in typed:
                    filled = pc.if_else(absent[name], filled, typed[name])
                typed[name] = filled
        texts = scan.texts(self._connection)
        _check_sizes(texts, first_row)
        return {"_doc": texts, **self._shown_columns(typed, slab)}

    def _shown_columns(
        self, typed: Mapping[str, pa.Array[Any]], slab: pa.RecordBatch
    ) -> dict[str, pa.Array[Any]]:
        """The columns of the file, each always of the same type."""
        kinds = {name: plan.kind for name, plan in self._plans.items()} | {
            each.name: infer_plan(slab.schema.field(each.position)).kind
            for each in self._fields
            if each.name not in self._plans
        }
        shown = {}
        for name in self._shown:
            column = typed.get(name)
            if column is None:
                column = nulls(slab.num_rows, kinds[name])
            is_json = kinds[name] == "json"
            shown[name] = pa.ExtensionArray.from_storage(JSON, column) if is_json else column
        return shown


class _Scan:
    """A slab as DuckDB sees it, while its texts are made. Its columns are c0, c1, ..."""

    def __init__(self, rows: int) -> None:
        # One column that is always there: even documents without fields need rows.
        self._columns: dict[str, pa.Array[Any]] = {"c0": pa.nulls(rows, pa.bool_())}
        self._pieces: list[Piece] = []

    def add(self, name: str, converted: Converted, missing: pa.Array[Any] | None) -> None:
        """A field of the source."""
        self._pieces.append(
            Piece(
                name=name,
                kind=converted.kind,
                column=self._put(converted.values),
                present=None if missing is None else self._put(pc.invert(missing)),
                tagged=None if converted.tagged is None else self._put(converted.tagged),
                needs_escapes=converted.kind == "string" and needs_escapes(converted.values),
                has_nulls=converted.values.null_count > 0,
                has_odd_floats=converted.kind == "float" and has_odd_floats(converted.values),
            )
        )

    def add_default(self, name: str, value: Value, missing: pa.Array[Any] | None) -> None:
        """The default of the rows that lack a field, behind the fields they came with."""
        self._pieces.append(
            Piece(
                name=name,
                kind="json",
                constant=encode_value(value).decode(),
                is_constant_tagged=not measure(value)[1],
                present=None if missing is None else self._put(missing),
            )
        )

    def texts(self, connection: duckdb.DuckDBPyConnection) -> pa.Array[Any]:
        """The stored text of each row."""
        table = pa.table(self._columns)
        rows = pa.Table.from_batches(table.to_batches(max_chunksize=_SCAN_ROWS), table.schema)
        connection.register("slab", rows)
        try:
            made = connection.sql(f"SELECT {document_sql(self._pieces)} FROM slab")  # noqa: S608  # quoted
            texts = made.to_arrow_table().column(0).cast(pa.large_string()).combine_chunks()
        finally:
            connection.unregister("slab")
        joined = pa.concat_arrays(texts.chunks) if isinstance(texts, pa.ChunkedArray) else texts
        return joined.cast(pa.large_binary())

    def _put(self, column: pa.Array[Any]) -> str:
        name = f"c{len(self._columns)}"
        self._columns[name] = column
        return name


def _missing(
    values: pa.Array[Any], plan: FieldPlan, marks: pa.Array[Any] | None
) -> pa.Array[Any] | None:
    """The rows that lack the field; None when all have it."""
    if marks is not None:
        return marks if plan.is_null_allowed else pc.or_(marks, values.is_null())
    if plan.is_null_allowed or not values.null_count:
        return None
    return values.is_null()


def _repeated(value: Value, plan: FieldPlan, count: int) -> pa.Array[Any]:
    shown = encode_value(value).decode() if plan.kind == "json" and value is not None else value
    return pa.array([shown] * count, ARROW_TYPES[plan.kind])


def _check_lengths(column: Any, name: str, first_row: int) -> None:
    """Refuse values above `DOCUMENT_BYTES_MAX` before anything is made of them.

    A file of a few kilobytes may hold one that memory has no room for twice.
    """
    if column.nbytes <= DOCUMENT_BYTES_MAX or not (is_text(column.type) or is_bytes(column.type)):
        return
    lengths = pc.binary_length(column)
    longest = pc.max(lengths).as_py()
    if longest is not None and longest > DOCUMENT_BYTES_MAX:
        raise LoadError(
            f"Column {name!r}, row {first_row + pc.index(lengths, longest).as_py()}: the value has "
            f"{longest:,} bytes; a document has at most {DOCUMENT_BYTES_MAX:,}",
            code="ValueTooLarge",
        )


def _check_sizes(texts: pa.Array[Any], first_row: int) -> None:
    """Refuse documents above `DOCUMENT_BYTES_MAX`; only long texts can be such."""
    _, offsets = packed_texts(texts)
    for position in np.flatnonzero(np.diff(offsets) > SMALL_TEXT_BYTES):
        try:
            prepare_fields(decode_fields(texts[int(position)].as_py()))
        except InvalidValueError as error:
            raise LoadError(
                f"Row {first_row + int(position)}: {error.message}", code=error.code
            ) from None


class RowWriter:
    """Rows of a table whose documents are a union or a record: one by one, as inserts would be."""

    def __init__(
        self,
        definition: TableDefinition,
        fields: Sequence[SourceField],
        tables: TableNumbers | None,
    ) -> None:
        self._definition = definition
        self._fields = fields
        self._tables = tables
        declared = declared_columns(definition)
        self._columns = tuple(
            Column(name, name, self._staged_type(name, kind), is_declared=True)
            for namer in [Namer(())]
            for name, kind in declared
            if namer.take(name)
        )
        document = definition.document
        members = document.members if isinstance(document, UnionValidator) else (document,)
        has_others = not all(isinstance(member, ObjectValidator) for member in members)
        self.has_hidden = has_others or len(self._columns) < len(declared)

    def _staged_type(self, name: str, kind: ColumnType) -> ColumnType:
        """JSON where a number may be an Int64: the fold tells those that no DOUBLE holds."""
        if kind != "double":
            return kind
        plan = plan_field(self._definition, name, self._definition.fields[name], self._tables)
        return "json" if plan.kind == "json" else kind

    def columns(self, slab: pa.RecordBatch, first_row: int) -> dict[str, pa.Array[Any]]:
        """`_doc` and the declared columns of `slab`."""
        documents = [
            self._document(row, slab.schema, first_row + position)
            for position, row in enumerate(slab.to_pylist())
        ]
        projection = project(
            self._columns, documents, only=frozenset(column.field for column in self._columns)
        )
        arrays = {
            column.name: pa.ExtensionArray.from_storage(JSON, array.cast(pa.large_string()))
            if column.type == "json"
            else array
            for column in self._columns
            for array in [projection.arrays[column.name]]
        }
        texts = pa.array([encode_fields(each) for each in documents], pa.large_binary())
        return {"_doc": texts, **arrays}

    def _document(self, row: Mapping[str, Any], schema: pa.Schema, number: int) -> dict[str, Value]:
        fields: dict[str, Value] = {}
        for each in self._fields:
            if each.absent is not None and row[schema.field(each.absent).name]:
                continue
            value = row[each.name]
            if value is not None and has_mark(schema.field(each.position), "json"):
                value = decode_value(value.encode())
            fields[each.name] = value
        try:
            prepared = prepare_fields(fields)[0]
            return check_document(self._definition, prepared, tables=self._tables)
        except InvalidValueError as error:
            raise SchemaEnforcementError(
                f"Row {number}: {error.message}", path=error.path
            ) from None
