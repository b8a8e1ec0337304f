"""What commits changed, document by document: one document's history, and all changes in order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from livedb.errors import InvalidIdError, SchemaDefinitionError
from livedb.functions.definition import did_you_mean
from livedb.ids import table_number_of
from livedb.past.pasts import datetime_of
from livedb.schema.tables import SYSTEM_TABLES
from livedb.store import past
from livedb.store.connection import CtrlC
from livedb.store.marks import marked
from livedb.store.position import Position

if TYPE_CHECKING:
    from livedb.commitlog.contract import CommitLog
    from livedb.past.pasts import Pasts
    from livedb.schema.catalog import Catalog
    from livedb.store.history import Version
    from livedb.store.snapshot import SqlSnapshot
    from livedb.transactions.folder import Folder

PAGE_CHANGES = 10_000
"""Changes that are read at once; bounds the memory of whoever streams them."""

_COMMIT_FIELDS: list[pa.Field[Any]] = [
    pa.field("number", pa.int64()),
    pa.field("time", pa.timestamp("us", tz="UTC")),
    pa.field("function", pa.string()),
    pa.field("author", pa.string()),
]

CHANGES_SCHEMA = pa.schema(
    [
        *_COMMIT_FIELDS,
        pa.field("table", pa.string()),
        pa.field("_id", pa.string()),
        pa.field("_creationTime", pa.float64()),
        pa.field("operation", pa.string()),
        marked(pa.field("before", pa.large_string()), "json"),
        marked(pa.field("after", pa.large_string()), "json"),
    ]
)
"""The columns of a stream of changes."""

HISTORY_SCHEMA = pa.schema(
    [
        *_COMMIT_FIELDS,
        pa.field("operation", pa.string()),
        marked(pa.field("document", pa.large_string()), "json"),
    ]
)
"""The columns of a document's history."""


class _Commit(NamedTuple):
    """What the log says of a commit."""

    time: datetime | None = None
    function: str | None = None
    author: str | None = None


_UNKNOWN = _Commit()


class Changes:
    """Reads what commits of one workspace changed in the tables of users."""

    def __init__(self, *, folder: Folder, log: CommitLog, pasts: Pasts) -> None:
        self._folder = folder
        self._log = log
        self._pasts = pasts
        self._catalogs: dict[int, Catalog] = {}
        """Those that were read, by the commit they are of: that never changes."""

    def page(
        self, position: Position, *, until: int, table: str | None = None, limit: int = PAGE_CHANGES
    ) -> tuple[pa.Table, Position]:
        """The next changes behind `position`, up to commit `until`, and how far they go.

        Args:
            table: whose; None for every table of users. One that was dropped counts by its name.

        Raises:
            PastTooOldError: they are no longer kept.
            SchemaDefinitionError: no such table is, or was, there.
        Cost: set-wise; 1 us and more for each change.
        """
        with CtrlC(), self._folder.snapshot() as snapshot:
            names = self._names(snapshot)
            found = past.changes_after(
                snapshot, position, until=until, limit=limit, tables=_chosen(names, table)
            )
        rows = self._described(found.rows, names)
        if table is not None:  # a number may have passed from one table to another
            rows = rows.filter(pc.equal(rows.column("table"), pa.scalar(table)))
        return rows, found.end

    def history(self, table: str, document_id: str) -> pa.Table:
        """Every kept version of a document, oldest first, and its deletions.

        Raises:
            InvalidIdError: it is no id, or one of another table.
            SchemaDefinitionError: no such table is, or was, there.
        """
        number = table_number_of(document_id)
        with CtrlC(), self._folder.snapshot() as snapshot:
            names = self._names(snapshot)
            if number not in _chosen(names, table):
                raise InvalidIdError(f"{document_id!r} is no id of a document of {table!r}")
            versions = snapshot.history(number, document_id)
            oldest = self._pasts.oldest
        return self._history_of(versions, oldest)

    def _history_of(self, versions: Sequence[Version], oldest: int) -> pa.Table:
        rows: list[tuple[int, str | None, bytes | None]] = []
        ended: int | None = None
        for version in versions:
            if ended is not None and ended != version.valid_from:
                rows.append((ended, "delete", None))
            operation: str | None = "update" if ended == version.valid_from else "insert"
            if ended is None and version.valid_from <= oldest:
                operation = None  # what was before is forgotten, if there was something
            rows.append((version.valid_from, operation, version.document.text))
            ended = version.valid_to
        if ended is not None:
            rows.append((ended, "delete", None))
        numbers = [number for number, _, _ in rows]
        known = {number: self._commit(number) for number in numbers}
        texts = [None if text is None else text[1:].decode() for _, _, text in rows]
        return pa.table(
            [
                *_commit_columns(numbers, known),
                pa.array([operation for _, operation, _ in rows], pa.string()),
                pa.array(texts, pa.large_string()),
            ],
            schema=HISTORY_SCHEMA,
        )

    def _described(self, rows: pa.Table, names: Mapping[int, _Names]) -> pa.Table:
        numbers: list[Any] = rows.column("number").to_pylist()
        tables: list[Any] = rows.column("table_number").to_pylist()
        known = self._commits(numbers)
        before, after = rows.column("before"), rows.column("after")
        operations = pc.if_else(
            pc.is_null(before), "insert", pc.if_else(pc.is_null(after), "delete", "update")
        )
        gone: list[Any] = pc.is_null(after).to_pylist()
        # What was deleted was in the table of before: its commit may have given the number away.
        lasts = [number - is_gone for number, is_gone in zip(numbers, gone, strict=True)]
        named = [names[table].at(number) for number, table in zip(lasts, tables, strict=True)]
        return pa.table(
            [
                *_commit_columns(numbers, known),
                pa.array(named, pa.string()),
                rows.column("_id"),
                pc.coalesce(rows.column("after_time"), rows.column("before_time")),
                operations.cast(pa.string()),
                _json(before),
                _json(after),
            ],
            schema=CHANGES_SCHEMA,
        )

    def _commits(self, numbers: Sequence[int]) -> dict[int, _Commit]:
        """What the log says of commits, which are in order; nothing of those it has no more."""
        if not numbers:
            return {}
        wanted = set(numbers)
        if len(wanted) * 8 < numbers[-1] - numbers[0]:  # few, far apart
            return {number: self._commit(number) for number in wanted}
        after = max(numbers[0] - 1, self._log.anchor_number)
        return {
            commit.number: _Commit(datetime_of(commit.ts), commit.function, commit.author)
            for commit in self._log.read(after=after, until=numbers[-1])
            if commit.number in wanted
        }

    def _commit(self, number: int) -> _Commit:
        if number <= self._log.anchor_number:
            return _Commit(self._pasts.time_of(number))
        for commit in self._log.read(after=number - 1, until=number):
            return _Commit(datetime_of(commit.ts), commit.function, commit.author)
        return _UNKNOWN

    def _names(self, snapshot: SqlSnapshot) -> dict[int, _Names]:
        """What the tables of users are and were called, by number."""
        names: dict[int, _Names] = {}
        for number, catalog in past.catalogs(snapshot, self._catalogs):
            for table in catalog:
                name = table.definition.name
                if name not in SYSTEM_TABLES:
                    names.setdefault(table.number, _Names()).add(number, name)
        return names


class _Names:
    """What one table was called from which commit on."""

    def __init__(self) -> None:
        self._since: list[int] = []
        self.names: list[str] = []

    def add(self, number: int, name: str) -> None:
        """Commits come in order."""
        if not self.names or self.names[-1] != name:
            self._since.append(number)
            self.names.append(name)

    def at(self, number: int) -> str:
        """Its name at commit `number`, or before, where it has none any more."""
        return self.names[max(bisect_right(self._since, number) - 1, 0)]


def _chosen(names: Mapping[int, _Names], table: str | None) -> set[int]:
    if table is None:
        return set(names)
    if table in SYSTEM_TABLES:
        raise SchemaDefinitionError(
            f"{table!r} is livedb's own: changes and histories are of tables of users"
        )
    chosen = {number for number, each in names.items() if table in each.names}
    if not chosen:
        advice = did_you_mean(table, {name for each in names.values() for name in each.names})
        raise SchemaDefinitionError(
            f"There is no table {table!r}, and none was of that name. {advice}".rstrip()
        )
    return chosen


def _commit_columns(numbers: Sequence[int], known: Mapping[int, _Commit]) -> list[pa.Array[Any]]:
    commits = [known.get(number, _UNKNOWN) for number in numbers]
    columns: Iterable[tuple[Any, Any]] = (
        (numbers, pa.int64()),
        ([each.time for each in commits], pa.timestamp("us", tz="UTC")),
        ([each.function for each in commits], pa.string()),
        ([each.author for each in commits], pa.string()),
    )
    return [pa.array(values, kind) for values, kind in columns]


def _json(texts: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """Stored texts without their flag: a column at a time Arrow fails on one of only nulls."""
    stored: list[Any] = texts.to_pylist()
    return pa.array(
        [None if text is None else text[1:].decode() for text in stored], pa.large_string()
    )
