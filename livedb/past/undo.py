"""Undoing a commit: another commit that makes its documents what they were before.

Tables that it dropped come back with their numbers, so that ids mean what they meant. Refused is
what would undo more than that commit, or leave something of it: documents that later commits wrote,
tables that it defined anew, what livedb itself keeps (a scheduled function may have run).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from livedb.changes.exclusive import judged, run_exclusively
from livedb.errors import InvalidValueError, SchemaEnforcementError, UndoError, UniqueError
from livedb.schema.check import check_document
from livedb.schema.tables import SYSTEM_TABLES
from livedb.store import past
from livedb.store.connection import CtrlC
from livedb.store.contract import StoredDocument
from livedb.store.past import too_old
from livedb.store.position import Position
from livedb.text import decode_fields, encode_fields
from livedb.transactions.commit_request import CommitDetails, CommitRequest
from livedb.wording import counted, listed

if TYPE_CHECKING:
    from livedb.changes.parts import Parts
    from livedb.past.pasts import Pasts
    from livedb.schema.catalog import Catalog, CatalogTable
    from livedb.store.snapshot import SqlSnapshot
    from livedb.transactions.transaction import Transaction
    from livedb.transactions.turn import TurnHolder

DOCUMENTS_MAX = 100_000
"""Documents of one commit that can be undone: the commit that does it writes each one."""

COMPARED_MAX = 1_000
"""Documents written since of which it is seen whether they are again what the commit left."""

_NAMED_MAX = 10
"""Documents that a refusal names."""


class Undoing:
    """Undoes commits of one workspace.

    Args:
        begin: makes a transaction of livedb's own at a commit.
    """

    def __init__(
        self, parts: Parts, *, pasts: Pasts, begin: Callable[[int, Catalog], Transaction]
    ) -> None:
        self._parts = parts
        self._pasts = pasts
        self._begin = begin

    def undo(self, number: int, *, author: str | None = None) -> int:
        """Make the documents of commit `number` what they were before; returns the new commit.

        An undo is a commit like any other, so it can be undone.

        Raises:
            UndoError: it cannot be undone; nothing was changed.
            PastTooOldError: what was before is no longer kept.
            InvalidValueError: there is no such commit.
        Cost: 10 us and more for each document.
        """
        if self._pasts.number_of(number) == 0:
            raise InvalidValueError("Commit 0 is the time before the first one: nothing to undo")
        if number <= self._pasts.oldest:
            raise too_old(f"What was before commit {number}", self._pasts.oldest)
        return run_exclusively(
            self._parts, lambda holder: self._undo_in_turn(number, holder, author)
        )

    def _undo_in_turn(self, number: int, holder: TurnHolder, author: str | None) -> int:
        begin, epoch, catalog = self._parts.committer.begin()
        with CtrlC(), self._parts.folder.snapshot() as snapshot:
            restored, changed = self._changed(snapshot, number, catalog)
        transaction = self._begin(begin, catalog)
        for table in restored:
            transaction.catalog = transaction.catalog.with_table(begin + 1, table)
        reads = judged(*{row["table_number"] for row in changed})
        reads.names.update(table.definition.name for table in restored)
        try:
            _restore(transaction, changed)
        except (SchemaEnforcementError, UniqueError) as error:
            raise UndoError(
                f"Commit {number} cannot be undone: its documents of before do not fit what is "
                f"there now. {error.message}",
                code="DoesNotFit",
            ) from error
        reads.merge(transaction.reads)
        return self._parts.committer.commit(
            CommitRequest(
                begin=begin,
                epoch=epoch,
                reads=reads,
                change=transaction.write_set(),
                catalog=transaction.catalog if restored else None,
                details=CommitDetails(function=f"undo:{number}", author=author),
                holder=holder,
            )
        )

    def _changed(
        self, snapshot: SqlSnapshot, number: int, now: Catalog
    ) -> tuple[list[CatalogTable], list[dict[str, Any]]]:
        """The tables that the commit dropped and what it did to documents, if it can be undone."""
        before = past.catalog_at(snapshot, number - 1)
        after = past.catalog_at(snapshot, number)
        restored = _restored(number, before, after, now)
        tables = {table.number for table in (*before, *after)}
        rows = past.changes_after(
            snapshot, Position(number - 1), until=number, limit=DOCUMENTS_MAX + 1, tables=tables
        ).rows
        if not rows.num_rows and not restored:
            raise UndoError(
                f"Commit {number} changed no documents, so there is nothing to undo",
                code="NothingToUndo",
            )
        if rows.num_rows > DOCUMENTS_MAX:
            raise UndoError(
                f"Commit {number} changed more than {DOCUMENTS_MAX:,} documents, which is the most "
                f"that can be undone. What was before is db.at({number - 1}), and its tables can "
                "be loaded again.",
                code="TooManyDocuments",
            )
        changed = rows.to_pylist()
        own = {after.name_of(row["table_number"]) for row in changed} & SYSTEM_TABLES
        if own:
            named = listed(sorted(map(str, own)))
            raise UndoError(
                f"Commit {number} also wrote what livedb keeps itself ({named}), such as scheduled "
                "functions or files, which may have had effects since",
                code="SystemDocuments",
            )
        known = {table.number for table in (*now, *restored)}
        dropped = {row["table_number"] for row in changed} - known
        if dropped:
            named = listed(sorted(repr(after.name_of(each)) for each in dropped))
            raise UndoError(
                f"The table of documents that commit {number} changed has been dropped since: "
                f"{named}. Load it from db.at({number - 1}).",
                code="TablesChanged",
            )
        touched = past.changed_since(snapshot, number, limit=DOCUMENTS_MAX)
        if len(touched) <= COMPARED_MAX:
            left = {row["_id"]: row for row in changed}
            touched = [each for each in touched if not _is_as_left(snapshot, left[each])]
        if touched:
            shown = ", ".join(touched[:_NAMED_MAX]) + (", .." if len(touched) > _NAMED_MAX else "")
            raise UndoError(
                f"Later commits changed {counted(len(touched), 'document')} that commit {number} "
                f"changed: {shown}. Undo those commits first, or patch the documents.",
                code="ChangedSince",
                ids=touched[:_NAMED_MAX],
            )
        return restored, changed


def _is_as_left(snapshot: SqlSnapshot, row: dict[str, Any]) -> bool:
    """Whether a document is again what the commit left, whatever was written since."""
    versions = snapshot.history(row["table_number"], row["_id"])
    text = next((each.document.text for each in versions if each.valid_to is None), None)
    return _ordered(text) == _ordered(row["after"])


def _ordered(text: bytes | None) -> bytes | None:
    """A document's text, its fields by name: a patch may have put them in another order."""
    return None if text is None else encode_fields(dict(sorted(decode_fields(text).items())))


def _restored(number: int, before: Catalog, after: Catalog, now: Catalog) -> list[CatalogTable]:
    """The tables that commit `number` dropped, if it changed no others and they can come back."""
    touched = [table for table in before if after.by_number(table.number) != table]
    changed = [table for table in touched if after.by_number(table.number) is not None]
    names = {table.definition.name.lower() for table in now}
    taken = [
        table
        for table in touched
        if table.definition.name.lower() in names or now.by_number(table.number) is not None
    ]
    if changed or taken:
        named = listed([repr(table.definition.name) for table in changed or taken])
        what = "defined anew" if changed else "dropped"
        raise UndoError(
            f"Commit {number} {what} {named}, and there is a table of that name. Define it as it "
            f"was, or load what it had from db.at({number - 1}).",
            code="TablesChanged",
        )
    return touched


def _restore(transaction: Transaction, changed: Sequence[dict[str, Any]]) -> None:
    """Delete what the commit wrote, then put what was before: keys may have been swapped."""
    for row in changed:
        if row["after"] is not None:
            now = StoredDocument(row["after_time"], row["after"])
            transaction.delete(_table_of(transaction, row), row["_id"], now)
    for row in changed:
        if row["before"] is not None:
            table = _table_of(transaction, row)
            stored = StoredDocument(row["before_time"], row["before"])
            transaction.insert(table, row["_id"], *_checked(transaction, table, stored))


def _table_of(transaction: Transaction, row: dict[str, Any]) -> CatalogTable:
    table = transaction.catalog.by_number(row["table_number"])
    assert table is not None, "a commit of a dropped table is refused"
    return table


def _checked(
    transaction: Transaction, table: CatalogTable, stored: StoredDocument
) -> tuple[dict[str, Any], StoredDocument]:
    """A document as the schema of now has it."""
    fields = decode_fields(stored.text)
    checked = check_document(table.definition, fields, tables=transaction.catalog)
    if checked is fields:
        return fields, stored
    return checked, StoredDocument(stored.creation_time, encode_fields(checked))
