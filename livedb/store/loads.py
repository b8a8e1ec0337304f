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

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from math import nextafter
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from livedb.clock import Clock
from livedb.errors import LoadError
from livedb.ids import IdFactory
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import AnyValidator, ObjectValidator, TableNumbers
from livedb.store.connection import scratch_connection
from livedb.store.id_columns import (
    decode_ids,
    first_sequence,
    has_duplicates,
    new_ids,
    random_of,
    sequences_of,
)
from livedb.store.load_fields import SourceField, plan_fields, require_fields, source_fields
from livedb.store.load_writers import RowWriter, SetWriter
from livedb.store.marks import HIDDEN_MARK
from livedb.store.packed import Bytes
from livedb.store.staged_file import StagedFile, file_name

SLAB_ROWS = 1 << 17
"""Rows converted and written at once, a Parquet row group; bounds a load's memory."""
SLAB_BYTES = 128 << 20
"""Bytes of source columns after which a slab is closed early."""


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
        staged_file = StagedFile(folder, clock, group_rows=SLAB_ROWS, on_name=on_name)
        with closing(staged_file) as file, stager:
            file.open()
            for slab in _iter_slabs(source):
                file.write(stager.staged(slab))
                if progress is not None:
                    progress(stager.rows)
            if not stager.rows:
                file.write(stager.empty())
            stager.finish()
            return stager.load(file.publish())
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
    _fields: list[SourceField] = field(default_factory=list)
    _writer: SetWriter | RowWriter | None = None
    _kept_ids: list[Bytes] = field(default_factory=list)
    _connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Self:
        self._check_system_columns()
        self._fields = source_fields(self.schema)
        self._connection = scratch_connection()
        document = self.definition.document
        if document is None or isinstance(document, ObjectValidator | AnyValidator):
            plans = plan_fields(self.definition, self._fields, self.tables)
            self._writer = SetWriter(self.definition, self._fields, plans, self._connection)
        else:
            self._writer = RowWriter(self.definition, self._fields, self.tables)
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def staged(self, slab: pa.RecordBatch) -> pa.Table:
        """The rows of `slab` as rows of the staged file."""
        assert self._writer is not None
        if slab.num_rows and not self._fields:
            require_fields(self.definition, self._fields)
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

    def load(self, sha256: bytes) -> StagedLoad:
        """What was staged, in the file of this hash."""
        return StagedLoad(
            file=file_name(sha256),
            sha256=sha256,
            rows=self.rows,
            last_creation_time=self.last_time,
            has_own_ids=self.keep_ids,
        )

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
