"""Bulk load, first step: rows of any source as one staged Parquet file, ready to be committed.

    source batches -> columns of the table -> ids, times, texts -> loads/<sha256>.parquet

Everything is checked against the table before anything is visible, so a load is all or nothing; the
commit is the log entry that names the file (`commitlog.payload.LoadPart`). The file holds `_id`,
`_creationTime`, `_seq`, `_doc` (stored text with its flag byte) and one typed column per field. It
and its folder are synced before `stage_load` returns; one that no entry names is deleted at open.

Work is set-wise: no Python object per row, unless a column holds what only Python can check. Texts
are made by a DuckDB of our own, in memory and apart from the workspace's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import nextafter
from pathlib import Path
from typing import Any, NoReturn, Self

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from livedb.clock import Clock
from livedb.errors import InvalidValueError, LoadError, SchemaEnforcementError
from livedb.ids import IdFactory
from livedb.limits import DOCUMENT_BYTES_MAX, OBJECT_FIELDS_MAX
from livedb.schema.check import check_document
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import AnyValidator, ObjectValidator, TableNumbers, UnionValidator
from livedb.store.columns import Column, Namer, project
from livedb.store.connection import scratch_connection
from livedb.store.id_columns import (
    decode_ids,
    first_sequence,
    has_duplicates,
    new_ids,
    random_of,
    sequences_of,
)
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
from livedb.store.load_text import Piece, document_sql, has_odd_floats, needs_escapes
from livedb.store.marks import HIDDEN_MARK, absent_name, has_mark
from livedb.store.packed import Bytes, packed_texts
from livedb.text import decode_fields, decode_value, encode_fields, encode_value
from livedb.values import Value, measure, path_step, prepare_fields

SLAB_ROWS = 1 << 17
"""Rows converted and written at once, a Parquet row group; bounds a load's memory."""
SLAB_BYTES = 128 << 20
"""Bytes of source columns after which a slab is closed early."""

_SCAN_ROWS = 1 << 15
"""Rows of a slab that one DuckDB thread takes at a time."""
SMALL_TEXT_BYTES = DOCUMENT_BYTES_MAX // 16
"""A text below it cannot be a document that is too large: a byte of text counts at most nine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedLoad:
    """A file ready to be named by a commit.

    Attributes:
        file: its name inside the loads folder.
        sha256: of its bytes.
        rows: documents in it.
        last_creation_time: the highest `_creationTime` in it; later documents must be above.
        has_own_ids: whether the ids are the source's, so that the table may have them already.
    """

    file: str
    sha256: bytes
    rows: int
    last_creation_time: float
    has_own_ids: bool = False


def stage_load(
    source: pa.RecordBatchReader,
    definition: TableDefinition,
    table_number: int,
    *,
    clock: Clock,
    ids: IdFactory,
    folder: Path,
    catalog: TableNumbers | None = None,
    start_ms: float = 0.0,
    keep_ids: bool = False,
    progress: Callable[[int], None] | None = None,
    on_name: Callable[[str], None] = lambda _: None,
) -> StagedLoad:
    """Check `source` against `definition` and write it to a staged file.

    Args:
        folder: the workspace's `loads/`.
        catalog: with it an id must belong to the table its field names.
        start_ms: new creation times are above it, and above the clock.
        keep_ids: keep the source's `_id`, and its `_creationTime` if it has one; else a source
            with such columns is refused.
        progress: told the rows staged so far, after each slab.
        on_name: told each name that the file is about to have in `folder`. Nothing is left there
            when this raises, but an interrupt may strike while it is removed, or after all.

    Raises:
        SchemaEnforcementError: a row does not fit the schema; names column, row and value.
        LoadError: the source has rows no table can hold; or the folder cannot be written.
    Cost: about 0.3 us per value; see `bench/`.
    """
    stager = _Stager(
        schema=source.schema,
        definition=definition,
        table_number=table_number,
        keep_ids=keep_ids,
        tables=catalog,
        clock=clock,
        next_sequence=first_sequence(ids, table_number),
        next_time=max(start_ms, clock.now_ns() / 1e6),
    )
    try:
        with _StagedFile(folder, clock, on_name) as file, stager:
            for slab in _iter_slabs(source):
                file.write(stager.staged(slab))
                if progress is not None:
                    progress(stager.rows)
            stager.finish()
            return file.publish(stager)
    except (pa.ArrowException, duckdb.Error) as error:
        raise LoadError(f"The source cannot be read: {error}") from error
    except OSError as error:
        raise LoadError(f"The load cannot be staged in {str(folder)!r}: {error}") from error


def _iter_slabs(source: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The rows of `source` in batches of about `SLAB_ROWS`."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in _iter_batches(source):
        for start in range(0, batch.num_rows, SLAB_ROWS):
            piece = batch.slice(start, SLAB_ROWS)
            waiting.append(piece)
            rows += piece.num_rows
            size += piece.get_total_buffer_size() if start == 0 else 0
            if rows >= SLAB_ROWS or size >= SLAB_BYTES:
                yield _joined(waiting)
                waiting, rows, size = [], 0, 0
    if rows:
        yield _joined(waiting)


def _iter_batches(source: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        yield from source
    except OSError as error:  # else it would be taken for one of the folder written to
        raise LoadError(f"The source cannot be read: {error}") from error


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return (
        batches[0] if len(batches) == 1 else pa.concat_batches(batches)  # type: ignore[attr-defined]  # missing in the stubs
    )


# --- one slab at a time ---------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Stager:
    """Turns slabs of a source into slabs of the staged file."""

    schema: pa.Schema
    definition: TableDefinition
    table_number: int
    keep_ids: bool
    tables: TableNumbers | None
    clock: Clock
    next_sequence: int
    next_time: float
    rows: int = 0
    last_time: float = 0.0
    _fields: list[_SourceField] = field(default_factory=list)
    _writer: _SetWriter | _RowWriter | None = None
    _kept_ids: list[Bytes] = field(default_factory=list)
    _connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Self:
        self._check_system_columns()
        self._fields = _source_fields(self.schema)
        _check_names(self._fields)
        self._connection = scratch_connection()
        document = self.definition.document
        if document is None or isinstance(document, ObjectValidator | AnyValidator):
            plans = _plan(self.definition, self._fields, self.tables)
            self._writer = _SetWriter(self.definition, self._fields, plans, self._connection)
        else:
            self._writer = _RowWriter(self.definition, self._fields, self.tables)
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def staged(self, slab: pa.RecordBatch) -> pa.Table:
        """The rows of `slab` as rows of the staged file."""
        assert self._writer is not None
        columns = self._writer.columns(slab, self.rows)
        system = self._system_columns(slab)
        self.rows += slab.num_rows
        staged = pa.table({**system, **columns})
        return staged.replace_schema_metadata(HIDDEN_MARK) if self._writer.has_hidden else staged

    def finish(self) -> None:
        """What can only be checked once all rows were seen."""
        if self._kept_ids and has_duplicates(np.concatenate(self._kept_ids)):
            raise LoadError("The source holds two rows with the same `_id`.", code="DuplicateId")

    def empty(self) -> pa.Table:
        """The staged file of a source without rows."""
        return self.staged(pa.RecordBatch.from_pylist([], schema=self.schema))

    def _check_system_columns(self) -> None:
        names = set(self.schema.names)
        if not self.keep_ids and names & {"_id", "_creationTime"}:
            raise LoadError(
                "The source has system fields of its own (`_id`, `_creationTime`): pass "
                'ids="new" to leave them out and give every row a new id, or ids="keep" to keep '
                "them, when they are ids of this very table."
            )
        if self.keep_ids and "_id" not in names:
            raise LoadError('ids="keep" needs a column `_id`, and the source has none.')

    def _system_columns(self, slab: pa.RecordBatch) -> dict[str, pa.Array[Any]]:
        count = slab.num_rows
        if self.keep_ids:
            ids, sequences = self._own_ids(slab.column("_id"))
        else:
            made = new_ids(
                self.table_number,
                count,
                first_sequence=self.next_sequence,
                random=random_of(self.clock, count),
            )
            ids, sequences = made.ids, made.sequences
            self.next_sequence += count
        return {"_id": ids, "_creationTime": self._times(slab), "_seq": sequences}

    def _own_ids(self, column: pa.Array[Any]) -> tuple[pa.Array[Any], pa.Array[Any]]:
        texts = column.cast(pa.string())
        decoded = decode_ids(texts)
        wrong = np.flatnonzero(decoded.table_numbers != self.table_number)
        if len(wrong):
            position = int(wrong[0])
            raise LoadError(
                f"Column '_id', row {self.rows + position}: {texts[position].as_py()!r} is no id "
                f'of table {self.definition.name!r}; pass ids="new" to give every row a new id.',
                code="InvalidIdError",
            )
        self._kept_ids.append(decoded.internals)
        return texts, sequences_of(decoded)

    def _times(self, slab: pa.RecordBatch) -> pa.Array[Any]:
        if self.keep_ids and "_creationTime" in slab.schema.names:
            times = self._own_times(slab.column("_creationTime"))
        else:
            times = _times_above(self.next_time, slab.num_rows)
            self.next_time = float(times[-1]) if len(times) else self.next_time
        if len(times):
            self.last_time = max(self.last_time, float(times.max()))
        return pa.array(times)

    def _own_times(self, column: pa.Array[Any]) -> npt.NDArray[np.float64]:
        if not pa.types.is_floating(column.type) and not pa.types.is_integer(column.type):
            raise LoadError(f"Column '_creationTime' is of type {column.type}, not float64.")
        times = np.array(column.cast(pa.float64()).fill_null(0.0), np.float64)
        wrong = np.flatnonzero(~((times > 0) & np.isfinite(times)))
        if len(wrong):
            position = int(wrong[0])
            raise LoadError(
                f"Column '_creationTime', row {self.rows + position}: {column[position].as_py()!r} "
                f"is no time in milliseconds.",
                code="InvalidCreationTimeError",
            )
        return times


def _times_above(start: float, count: int) -> npt.NDArray[np.float64]:
    """`count` increasing floats, each the next one a float64 can hold."""
    # The bits of positive floats count up as the floats do.
    first = np.array([nextafter(start, np.inf)]).view(np.int64)[0]
    times: npt.NDArray[np.float64] = (np.arange(count, dtype=np.int64) + first).view(np.float64)
    return times


# --- plans ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceField:
    """One field of a source: the positions of its values, and of the marks of its absence."""

    name: str
    position: int
    absent: int | None


def _source_fields(schema: pa.Schema) -> list[_SourceField]:
    absent = {
        name: position
        for position, column in enumerate(schema)
        if (name := absent_name(column)) is not None
    }
    return [
        _SourceField(name=column.name, position=position, absent=absent.get(column.name))
        for position, column in enumerate(schema)
        if position not in absent.values() and column.name not in ("_id", "_creationTime")
    ]


def _check_names(fields: Sequence[_SourceField]) -> None:
    names = [each.name for each in fields]
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


def _plan(
    definition: TableDefinition, fields: Sequence[_SourceField], tables: TableNumbers | None
) -> dict[str, FieldPlan]:
    """How each column of the source becomes a field; infers those that no schema names later."""
    document = definition.document
    if not isinstance(document, ObjectValidator):
        return {}
    given = {each.name for each in fields}
    for name in given - document.fields.keys():
        _refuse_unknown(name, definition)
    for name, validator in document.items:
        if name not in given and not validator.is_optional and name not in definition.defaults:
            raise SchemaEnforcementError(
                f"The source has no column {name!r}, which table {definition.name!r} requires.",
                path=path_step(name),
                kind="MissingRequiredField",
            )
    return {
        name: plan_field(definition, name, validator, tables) for name, validator in document.items
    }


def _refuse_unknown(name: str, definition: TableDefinition) -> NoReturn:
    near = get_close_matches(name, list(definition.fields), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SchemaEnforcementError(
        f"The source has a column {name!r}, which table {definition.name!r} does not{hint}",
        path=path_step(name),
        kind="ExtraField",
    )


# --- set-wise -------------------------------------------------------------------------------------


class _SetWriter:
    """Rows of a table whose fields are known one by one, or not at all: column by column."""

    def __init__(
        self,
        definition: TableDefinition,
        fields: Sequence[_SourceField],
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


# --- row by row -----------------------------------------------------------------------------------


class _RowWriter:
    """Rows of a table whose documents are a union or a record: one by one, as inserts would be."""

    def __init__(
        self,
        definition: TableDefinition,
        fields: Sequence[_SourceField],
        tables: TableNumbers | None,
    ) -> None:
        self._definition = definition
        self._fields = fields
        self._tables = tables
        declared = declared_columns(definition)
        self._columns = tuple(
            Column(name, name, kind, is_declared=True)
            for namer in [Namer(())]
            for name, kind in declared
            if namer.take(name)
        )
        document = definition.document
        members = document.members if isinstance(document, UnionValidator) else (document,)
        has_others = not all(isinstance(member, ObjectValidator) for member in members)
        self.has_hidden = has_others or len(self._columns) < len(declared)

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


# --- the file -------------------------------------------------------------------------------------


class _StagedFile:
    """A Parquet file under a temporary name, hashed while it is written, published by renaming."""

    def __init__(self, folder: Path, clock: Clock, on_name: Callable[[str], None]) -> None:
        self._folder = folder
        self._path = folder / f".staging-{clock.random_bytes(8).hex()}"
        self._on_name = on_name
        self._sink: _HashingSink | None = None
        self._writer: pyarrow.parquet.ParquetWriter | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="livedb-load")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        # Started before there is work: a Ctrl-C while the executor starts its thread makes it
        # forget the thread, and then the file would be closed under a write.
        self._thread.submit(_nothing).result()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._on_name(self._path.name)
        self._sink = _HashingSink(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._thread.shutdown(wait=True)
        except BaseException:
            self._thread.shutdown(wait=True)  # no file is closed while it is written
            raise
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with suppress(OSError, pa.ArrowException):
            # After a failure: the writer must let go of the sink before the sink is closed.
            if self._writer is not None:
                self._writer.close()
        if self._sink is not None:
            self._sink.close()
        self._path.unlink(missing_ok=True)

    def write(self, rows: pa.Table) -> None:
        """Append `rows`; they are encoded beside whatever the caller does next."""
        self._wait()
        self._pending = self._thread.submit(self._write, rows)

    def publish(self, stager: _Stager) -> StagedLoad:
        """Sync the file, give it its name, sync the folder."""
        self._wait()
        if self._writer is None:
            self._write(stager.empty())
        assert self._writer is not None
        assert self._sink is not None
        self._writer.close()  # closing again is harmless
        digest = self._sink.sync()
        name = f"{digest.hex()}.parquet"
        self._on_name(name)
        self._path.replace(self._folder / name)
        _sync_folder(self._folder)
        return StagedLoad(
            file=name,
            sha256=digest,
            rows=stager.rows,
            last_creation_time=stager.last_time,
            has_own_ids=stager.keep_ids,
        )

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, rows: pa.Table) -> None:
        if self._writer is None:
            texts = [each.name for each in rows.schema if pa.types.is_large_string(each.type)]
            sink: Any = self._sink  # any object with `write` will do, whatever the stubs say
            options: Any = {"use_dictionary": texts}  # columns may be named, which the stubs lack
            self._writer = pyarrow.parquet.ParquetWriter(
                sink, rows.schema, compression="snappy", **options
            )
        self._writer.write_table(rows, row_group_size=SLAB_ROWS)


def _nothing() -> None:
    """The first work of a thread."""


class _HashingSink:
    """A file that is written once, front to back, and knows the hash of what went in."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._hash = hashlib.sha256()

    @property
    def closed(self) -> bool:
        """For pyarrow, which asks."""
        return self._file.closed

    def write(self, data: Any) -> int:
        """Append `data`, all of it."""
        self._hash.update(data)
        left = memoryview(data).cast("B")
        written = 0
        while written < len(left):
            written += self._file.write(left[written:])
        return written

    def flush(self) -> None:
        """Nothing is kept back."""

    def sync(self) -> bytes:
        """Make what was written durable and close; returns its SHA-256."""
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.digest()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
