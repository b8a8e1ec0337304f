"""Many commits as one change per table: the pure half of a fold.

DuckDB pays per statement, not per row, so the commits since the last fold become, for each table,
one set of rows to delete and one set to insert. Of several writes to one document the last one
reaches the table; the versions in between go to the history, as does the one found in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from livedb.ids import sequence_of
from livedb.store.contract import StoredDocument, Write

SLICE_ROWS = 50_000
"""Rows of a delta that become one Arrow table; bounds a fold's memory beside the documents."""

SLICE_BYTES = 64 << 20
"""Bytes of text of such a slice, a single larger document excepted; far below Arrow's 2 GiB."""


class Superseded(NamedTuple):
    """A version that was replaced within the fold: it never reaches the table itself."""

    id: str
    valid_from: int
    valid_to: int
    document: StoredDocument


class Row(NamedTuple):
    """A document as it is after the fold, and the commit that wrote it."""

    id: str
    sequence: int
    number: int
    document: StoredDocument


@dataclass(slots=True)
class _Newest:
    first_number: int
    number: int
    document: StoredDocument | None


@dataclass(slots=True)
class TableDelta:
    """What a fold changes in one table.

    `_newest` maps each id written to its last version; `superseded` keeps those in between.
    """

    superseded: list[Superseded] = field(default_factory=list)
    _newest: dict[str, _Newest] = field(default_factory=dict)

    def add(self, number: int, document_id: str, document: StoredDocument | None) -> None:
        """Take one write; numbers never decrease."""
        before = self._newest.get(document_id)
        if before is None:
            self._newest[document_id] = _Newest(number, number, document)
            return
        assert before.number <= number, "commits are folded in order"
        # Two writes of one commit make one version: the commit is atomic for history too.
        if before.document is not None and before.number < number:
            old = Superseded(document_id, before.number, number, before.document)
            self.superseded.append(old)
        before.number = number
        before.document = document

    def rows(self) -> list[Row]:
        """The documents to insert, by `_seq`, so that DuckDB's zone maps stay narrow."""
        rows = [
            Row(document_id, sequence_of(document_id), newest.number, newest.document)
            for document_id, newest in self._newest.items()
            if newest.document is not None
        ]
        rows.sort(key=lambda row: row.sequence)
        return rows

    def touched(self, *, sequence_max: int) -> pa.Table:
        """Every id that may be in the table already: `_id`, `_seq`, and `_to`, its first write.

        Args:
            sequence_max: the highest `_seq` in the table; an id above it cannot be there.
        """
        found = [
            (document_id, sequence, newest.first_number)
            for document_id, newest in self._newest.items()
            if (sequence := sequence_of(document_id)) <= sequence_max
        ]
        return pa.table(
            {
                "_id": pa.array([entry[0] for entry in found], pa.string()),
                "_seq": pa.array([entry[1] for entry in found], pa.uint64()),
                "_to": pa.array([entry[2] for entry in found], pa.uint64()),
            }
        )


def compact(
    entries: Iterable[tuple[int, Sequence[Write]]], *, after: int, until: int
) -> dict[int, TableDelta]:
    """The commits `after < number <= until` as one delta per table number.

    Cost: about 1 us per write.
    """
    deltas: dict[int, TableDelta] = {}
    for number, writes in entries:
        if not after < number <= until:
            continue
        for write in writes:
            delta = deltas.get(write.table)
            if delta is None:
                delta = deltas[write.table] = TableDelta()
            delta.add(number, write.id, write.new)
    return deltas


def slices(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """`rows` in pieces of at most `SLICE_ROWS` and about `SLICE_BYTES`."""
    start = size = 0
    for at, row in enumerate(rows):
        size += len(row.document.text)
        if at + 1 - start >= SLICE_ROWS or size >= SLICE_BYTES:
            yield rows[start : at + 1]
            start, size = at + 1, 0
    if start < len(rows):
        yield rows[start:]


def system_arrays(rows: Sequence[Row]) -> dict[str, pa.Array]:
    """The columns every table has, for `rows`."""
    return {
        "_id": pa.array([row.id for row in rows], pa.string()),
        "_creationTime": pa.array([row.document.creation_time for row in rows], pa.float64()),
        "_seq": pa.array([row.sequence for row in rows], pa.uint64()),
        "_number": pa.array([row.number for row in rows], pa.uint64()),
        "_doc": pa.array([row.document.text for row in rows], pa.binary()),
    }
