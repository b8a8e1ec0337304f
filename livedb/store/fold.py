"""Many commits as one change per table: the pure half of a fold.

DuckDB pays per statement, not per row, so the commits since the last fold become, for each table,
one set of rows to delete and one set to insert. Of several writes to one document the last one
reaches the table; the versions in between go to the history, as does the one found in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

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


class TableDelta:
    """What a fold changes in one table: parallel lists, one position per document written.

    Lists and not one object per document: twenty thousand new objects would wake the garbage
    collector, which then walks the row store's million.

    Attributes:
        ids: each document once, in the order first written.
        sequences: its `_seq`.
        first_numbers: the first commit that wrote it.
        numbers: the last commit that wrote it.
        documents: what that commit made of it; None is deleted.
        replaced: what it was before the first of them; None when not known, or when it was not.
        superseded: the versions in between.
    """

    __slots__ = (
        "_at",
        "documents",
        "first_numbers",
        "ids",
        "numbers",
        "replaced",
        "sequences",
        "superseded",
    )

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.sequences: list[int] = []
        self.first_numbers: list[int] = []
        self.numbers: list[int] = []
        self.documents: list[StoredDocument | None] = []
        self.replaced: list[StoredDocument | None] = []
        self.superseded: list[Superseded] = []
        self._at: dict[str, int] = {}

    def add(self, number: int, write: Write) -> None:
        """Take one write; numbers never decrease."""
        document_id, document = write.id, write.new
        at = self._at.setdefault(document_id, len(self.ids))
        if at == len(self.ids):
            self.ids.append(document_id)
            self.sequences.append(_sequence(document_id))
            self.first_numbers.append(number)
            self.numbers.append(number)
            self.documents.append(document)
            self.replaced.append(write.old)
            return
        before, before_number = self.documents[at], self.numbers[at]
        assert before_number <= number, "commits are folded in order"
        # Two writes of one commit make one version: the commit is atomic for history too.
        if before is not None and before_number < number:
            self.superseded.append(Superseded(document_id, before_number, number, before))
        self.numbers[at] = number
        self.documents[at] = document

    def slices(self) -> Iterator[list[int]]:
        """The positions to insert, by `_seq` so that DuckDB's zone maps stay narrow.

        In pieces of at most `SLICE_ROWS` and about `SLICE_BYTES`.
        """
        documents = self.documents
        positions = [at for at, document in enumerate(documents) if document is not None]
        positions.sort(key=self.sequences.__getitem__)
        piece: list[int] = []
        size = 0
        for at in positions:
            piece.append(at)
            size += len(documents[at].text)  # type: ignore[union-attr]  # filtered above
            if len(piece) >= SLICE_ROWS or size >= SLICE_BYTES:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece

    def texts(self, positions: Sequence[int]) -> list[bytes]:
        """The stored texts at `positions`, all of them documents to insert."""
        return [self.documents[at].text for at in positions]  # type: ignore[union-attr]

    def system_arrays(self, positions: Sequence[int]) -> dict[str, pa.Array[Any]]:
        """The columns that every table has, for the documents at `positions`."""
        documents = [self.documents[at] for at in positions]
        times = [document.creation_time for document in documents if document is not None]
        return {
            "_id": pa.array([self.ids[at] for at in positions], pa.string()),
            "_creationTime": pa.array(times, pa.float64()),
            "_seq": pa.array([self.sequences[at] for at in positions], pa.uint64()),
            "_number": pa.array([self.numbers[at] for at in positions], pa.uint64()),
            "_doc": pa.array(self.texts(positions), pa.binary()),
        }

    def touched(self, *, sequence_max: int) -> pa.Table:
        """What may be in the table already, as `history.move_out` takes it.

        `sequence_max` is the highest `_seq` of the table: an id above it cannot be there.
        """
        positions = [at for at, sequence in enumerate(self.sequences) if sequence <= sequence_max]
        replaced = [self.replaced[at] for at in positions]
        times = [None if each is None else each.creation_time for each in replaced]
        texts = [None if each is None else each.text for each in replaced]
        return pa.table(
            {
                "_id": pa.array([self.ids[at] for at in positions], pa.string()),
                "_seq": pa.array([self.sequences[at] for at in positions], pa.uint64()),
                "_to": pa.array([self.first_numbers[at] for at in positions], pa.uint64()),
                "_creationTime": pa.array(times, pa.float64()),
                "_doc": pa.array(texts, pa.large_binary()),
            }
        )


def _sequence(document_id: str) -> int:
    """As `sequence_of`, a third of its cost: the ids of stored documents need no checking again.

    The usual 160 bits are 16 of table number, 64 of sequence, 64 random, 16 of checksum.
    """
    if len(document_id) != 32:
        return sequence_of(document_id)
    digits = document_id.encode().translate(_CROCKFORD_TO_DIGITS)
    return int(digits, 32) >> 80 & 0xFFFF_FFFF_FFFF_FFFF


_CROCKFORD_TO_DIGITS = bytes.maketrans(
    b"0123456789abcdefghjkmnpqrstvwxyz", b"0123456789abcdefghijklmnopqrstuv"
)


def compact(
    entries: Iterable[tuple[int, Sequence[Write]]], *, after: int, until: int
) -> dict[int, TableDelta]:
    """The commits `after < number <= until` as one delta per table number.

    Cost: about 2 us per write.
    """
    deltas: dict[int, TableDelta] = {}
    for number, writes in entries:
        if not after < number <= until:
            continue
        for write in writes:
            delta = deltas.get(write.table)
            if delta is None:
                delta = deltas[write.table] = TableDelta()
            delta.add(number, write)
    return deltas
