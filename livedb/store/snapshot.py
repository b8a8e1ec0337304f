"""Reads of DuckDB at one commit number."""

# ruff: noqa: S608 - names in SQL are quoted, numbers our own, values parameters.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import ceil
from threading import Event, Lock, Timer
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from livedb.errors import ClosedError, FunctionTimeoutError, LoadError, SnapshotTooOldError
from livedb.store import history, sql
from livedb.store.columns import columns_from_json
from livedb.store.connection import quote
from livedb.store.hidden import hidden_fields
from livedb.store.history import Version
from livedb.store.loaded import LoadedTable

if TYPE_CHECKING:
    from livedb.schema.catalog import Catalog

R = TypeVar("R")

_AGAIN_S = 0.05
"""Between two interrupts of a read: one that comes just before a statement begins is lost."""

_END_S = 10.0
"""Seconds that a statement which is running has to end in when its snapshot must."""


class SqlSnapshot:
    """One read-only transaction of DuckDB, for several reads at one number. Close it soon.

    While it is open, DuckDB keeps what later folds replace and cannot checkpoint. Results are
    materialised, so nothing of them depends on the snapshot. One thread at a time.

    Attributes:
        number: the commit everything is read at.
        limit_s: seconds after which a statement of a user is interrupted; None for never.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        *,
        on_close: Callable[[SqlSnapshot], None],
        on_failure: Callable[[BaseException], None],
        limit_s: float | None = None,
    ) -> None:
        self._cursor = cursor
        self._on_close = on_close
        self._on_failure = on_failure
        self.limit_s = limit_s
        self._is_open = True
        self._is_left = False
        self._reading = Lock()  # held while a statement runs; taken before `_closing`
        self._closing = Lock()  # guards `_is_open`: no cursor is interrupted after its close
        # Parsing and binding a wrong text would abort the transaction, so the gate has its own.
        self._gate = cursor.cursor()
        self._is_aborted = False
        self.number = self._begin()

    def query(self, text: str, parameters: sql.Parameters = None) -> pa.Table:
        """The rows of livedb's own SQL: no gate, every schema.

        Raises:
            SqlError, LimitError, FunctionTimeoutError: as `sql.run`.
            SnapshotTooOldError: an earlier statement failed, which ends DuckDB's transaction, and
                newer commits have been folded since.
        """
        with self._statement():
            return self._query(text, parameters)

    def _query(self, text: str, parameters: sql.Parameters) -> pa.Table:
        self._require_open()
        if self._is_aborted:
            self._begin_again()
        try:
            return sql.run(self._cursor, text, parameters)
        except BaseException:  # a Ctrl-C too aborts the transaction
            self._is_aborted = True
            raise

    def run_sql(
        self, text: str, parameters: sql.Parameters = None, *, catalog: Catalog
    ) -> tuple[pa.Table, set[str]]:
        """The rows of a user's SQL, and the names of the tables it reads.

        Raises:
            SqlError: the gate refused it (code "SqlRefused"), or it is wrong.
            LimitError: as `sql.run`.
            FunctionTimeoutError: it was interrupted, or ran longer than `Limits.sql_s_max`.
        """
        with self._statement():
            self._require_open()
            admitted = sql.admit(self._gate, text, names=catalog.names())
            with self._deadline():
                return self._query(admitted.text, parameters), set(admitted.tables)

    def stream_sql(self, text: str, use: Callable[[sql.RowStream], R], *, catalog: Catalog) -> R:
        """What `use` makes of the rows of a user's SQL, which it takes a batch at a time.

        Raises: as `run_sql`; whatever `use` does.
        """
        with self._statement():
            self._require_open()
            admitted = sql.admit(self._gate, text, names=catalog.names())
            if self._is_aborted:
                self._begin_again()
            try:
                with self._deadline(), sql.stream(self._cursor, admitted.text) as rows:
                    return use(rows)
            except LoadError:  # of `use`: a file that cannot be written
                raise
            except BaseException:  # it may have been the statement's
                self._is_aborted = True
                raise

    def tables_read(self, text: str, *, catalog: Catalog) -> set[str]:
        """The names of the tables a user's SQL reads; nothing is run. Raises: as `run_sql`."""
        self._require_open()
        return set(sql.admit(self._gate, text, names=catalog.names()).tables)

    def stream(self, text: str, use: Callable[[sql.RowStream], R]) -> R:
        """What `use` makes of the rows of livedb's own SQL, a batch at a time.

        Raises: as `query`; whatever `use` does.
        """
        with self._statement():
            self._require_open()
            if self._is_aborted:
                self._begin_again()
            try:
                with sql.stream(self._cursor, text) as rows:
                    return use(rows)
            except BaseException:  # it may have been the statement's
                self._is_aborted = True
                raise

    def load_table(self, table_number: int, fields: Collection[str] = ()) -> LoadedTable:
        """Every document of a table; none when the table is not there.

        Args:
            table_number: the livedb table's.
            fields: whose columns to read as well, if they hold strings or numbers.
        Cost: about 0.3 us per document, and a sort when imported documents are out of order.
        """
        name = self._table_name(table_number)
        if name is None:
            return loaded_table(self.number, _NO_DOCUMENTS)
        found = self.query("select columns from meta.tables where number = ?", [table_number])
        columns = {
            column.field: column.name
            for column in columns_from_json(found.column(0)[0].as_py())
            if column.field in fields and not column.is_spill and column.type in _KEY_TYPES
        }
        names = "".join(f", {quote(column)}" for column in columns.values())
        rows = self.query(f"select _id, _creationTime, _doc{names} from data.{quote(name)}")
        return loaded_table(self.number, rows, columns)

    def count(self, table_number: int) -> int:
        """How many documents a table has."""
        name = self._table_name(table_number)
        if name is None:
            return 0
        counted = self.query(f"select count(*) from data.{quote(name)}")
        count: int = counted.column(0)[0].as_py()
        return count

    def hidden_fields(self, table_number: int) -> tuple[str, ...]:
        """The fields of a table that SQL does not show: see `store.hidden`."""
        name = self._table_name(table_number)
        return () if name is None else hidden_fields(self.query, table_number, name)

    def history(self, table_number: int, document_id: str) -> list[Version]:
        """Every kept version of one document, oldest first."""
        name = self._table_name(table_number)
        return history.read_versions(self.query, table_number, name, document_id)

    def interrupt(self) -> None:
        """End the read that is running, from another thread: a FunctionTimeoutError there."""
        with self._closing:
            if self._is_open:
                self._cursor.interrupt()

    def end(self) -> bool:
        """Interrupt what is running, and close; from another thread.

        Returns whether it has ended; if not, it is left.
        """
        for _ in range(ceil(_END_S / _AGAIN_S)):
            if self._reading.acquire(timeout=_AGAIN_S):
                try:
                    self._close()
                finally:
                    self._reading.release()
                return True
            self.interrupt()
        return not self.leave()

    def leave(self) -> bool:
        """Give up the statement that is running, from another thread: its own closes the snapshot.

        Returns whether there was one.
        """
        with self._closing:
            self._is_left = self._reading.locked()
            return self._is_left

    def close(self) -> None:
        """End the transaction; closing twice is harmless, as is closing what was left."""
        if not self._is_left:
            self._close()

    def _close(self) -> None:
        with self._closing:
            if not self._is_open:
                return
            self._is_open = False
        self._on_close(self)
        self._gate.close()
        self._cursor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _statement(self) -> Iterator[None]:
        self._require_open()  # what is left may hold the lock below for minutes
        try:
            with self._reading:
                yield
        except BaseException as error:  # the listener judges which it minds
            self._on_failure(error)  # it may end every reader, this one too
            raise
        finally:
            with self._closing:  # whoever leaves it now finds nothing running
                is_left = self._is_left
            if is_left:
                self._close()

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        if self.limit_s is None:
            yield
            return
        is_over = Event()

        def expire() -> None:
            is_over.set()
            self.interrupt()

        timer = Timer(self.limit_s, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except FunctionTimeoutError as error:
            if not is_over.is_set():
                raise
            raise FunctionTimeoutError(
                f"the SQL statement ran longer than Limits.sql_s_max ({self.limit_s:g} s) allows; "
                "select less, or raise the limit"
            ) from error
        finally:
            timer.cancel()

    def _begin(self) -> int:
        self._cursor.execute("begin transaction read only")
        # The first read, not BEGIN, is what pins the snapshot.
        state = self._cursor.sql("select folded_number from meta.state").to_arrow_table()
        number: int = state.column(0)[0].as_py()
        return number

    def _begin_again(self) -> None:
        with suppress(duckdb.TransactionException):  # A failing bind leaves it as it was.
            self._cursor.rollback()
        if self._begin() != self.number:
            raise SnapshotTooOldError(
                f"the snapshot at commit {self.number} ended with the statement that failed in "
                "it, and newer commits have come since; take a new snapshot"
            )
        self._is_aborted = False

    def _require_open(self) -> None:
        if not self._is_open or self._is_left:
            raise ClosedError("this snapshot has been closed; take a new one")

    def _table_name(self, table_number: int) -> str | None:
        names = self.query("select name from meta.tables where number = ?", [table_number])
        return names.column(0)[0].as_py() if names.num_rows else None


_SCHEMA: Final = pa.schema(
    cast(
        "list[tuple[str, pa.DataType]]",
        [("_id", pa.string()), ("_creationTime", pa.float64()), ("_doc", pa.large_binary())],
    )
)
_KEY_TYPES: Final = frozenset({"varchar", "double", "bigint"})
"""Types of columns from which index keys are made as from the documents."""
# `empty_table` of pyarrow loads pandas, half a second of each process that serves or opens.
_NO_DOCUMENTS = pa.Table.from_arrays(
    [pa.nulls(0, pa.string()), pa.nulls(0, pa.float64()), pa.nulls(0, pa.large_binary())],
    schema=_SCHEMA,
)
_ORDER: Final[list[tuple[str, Literal["ascending", "descending"]]]] = [
    ("_creationTime", "ascending"),
    ("_id", "ascending"),
]


def loaded_table(
    number: int, rows: pa.Table, columns: Mapping[str, str] = MappingProxyType({})
) -> LoadedTable:
    """Documents as they leave for memory: `_id`, `_creationTime`, `_doc`, in any order."""
    # Offsets of 64 bits first: the texts of one table may pass Arrow's 2 GiB per array.
    for position, field in enumerate(_SCHEMA):
        rows = rows.set_column(position, field, rows.column(position).cast(field.type))
    if not _is_ordered(rows.column("_creationTime")):
        rows = rows.take(pc.sort_indices(rows, sort_keys=_ORDER))
    # The stubs know an array's type only where a literal made it.
    ids, times = cast("Any", [column.combine_chunks() for column in rows.columns[:2]])
    return LoadedTable(
        number=number,
        ids=ids,
        creation_times=times,
        texts=rows.column("_doc"),  # in chunks: putting them together would double them
        columns={field: rows.column(name) for field, name in columns.items()},
    )


def _is_ordered(times: pa.ChunkedArray[Any]) -> bool:
    """Whether every time is above the one before: then it is the order, and no tie is left."""
    if len(times) < 2:
        return True
    is_above = pc.greater(times.slice(1), times.slice(0, len(times) - 1))
    return bool(pc.all(is_above).as_py())
