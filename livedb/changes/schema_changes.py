"""Schema changes: tables defined, redefined and dropped, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from livedb.changes.exclusive import judged, run_exclusively
from livedb.changes.parts import Parts
from livedb.commitlog.payload import FillPart, FunctionsPart
from livedb.errors import SchemaChangeError, SchemaDefinitionError
from livedb.functions.definition import Registry
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.filling import Filling
from livedb.schema.tables import TableDefinition
from livedb.schema.validators import ObjectValidator
from livedb.store.connection import CtrlC
from livedb.text import encode_value
from livedb.transactions.commit_request import CommitDetails, CommitRequest
from livedb.transactions.reads import WriteSet
from livedb.transactions.transaction import Transaction
from livedb.transactions.turn import TurnHolder

Documents = Callable[[Transaction], None]
"""Writes documents in a transaction that becomes part of a change."""


class SchemaChanges:
    """Changes the tables of one workspace.

    Args:
        begin: a transaction on a commit, with these tables.
    """

    def __init__(
        self, parts: Parts, *, registry: Registry, begin: Callable[[int, Catalog], Transaction]
    ) -> None:
        self._parts = parts
        self._registry = registry
        self._begin = begin

    def apply(
        self,
        definitions: Sequence[TableDefinition],
        *,
        author: str | None = None,
        functions: FunctionsPart | None = None,
        documents: Documents | None = None,
        before_visible: Callable[[], None] | None = None,
    ) -> int:
        """Define or redefine tables, all or none; returns the commit number they hold from.

        Costs nothing when every table is already defined so. Existing documents are checked
        set-wise first; those that lack a required field with a default get it in the same commit.

        Args:
            functions: functions that are pushed by the same commit.
            documents: writes documents of livedb's own in the same commit.
            before_visible: called once it is certain, before anybody sees the commit.

        Raises:
            SchemaChangeError: existing documents do not fit; nothing was changed.
            SchemaDefinitionError: a definition contradicts itself or another table.
        """
        catalog = self._parts.committer.catalog_at(self._parts.committer.published)
        is_all = functions is None and documents is None
        if is_all and all(_is_defined_so(catalog, each) for each in definitions):
            if before_visible is not None:
                before_visible()
            return self._parts.committer.published
        return run_exclusively(
            self._parts,
            lambda holder: self._apply_in_turn(
                definitions, holder, author, functions, documents, before_visible
            ),
        )

    def _apply_in_turn(
        self,
        definitions: Sequence[TableDefinition],
        holder: TurnHolder,
        author: str | None,
        functions: FunctionsPart | None,
        documents: Documents | None,
        call_before_visible: Callable[[], None] | None,
    ) -> int:
        begin, epoch, before = self._parts.committer.begin()
        catalog = before
        changed: list[tuple[CatalogTable, CatalogTable]] = []
        for definition in definitions:
            known = catalog.get(definition.name)
            if known is not None and known.definition == definition:
                continue
            number = catalog.next_table_number() if known is None else known.number
            table = CatalogTable(number, definition)
            catalog = catalog.with_table(begin + 1, table)
            if known is not None:
                changed.append((known, table))
        transaction = self._begin(begin, catalog)
        if documents is not None:
            documents(transaction)
            catalog = transaction.catalog
        written = transaction.write_set()
        if catalog is before and functions is None and not written.writes:
            if call_before_visible is not None:
                call_before_visible()
            return begin
        self._refuse_misfits(changed, catalog)
        fills = self._fills(changed)
        filled = frozenset(fill.table for fill in fills)
        reindexed = [
            new.number for old, new in changed if old.definition.indexes != new.definition.indexes
        ]

        def before_visible(number: int) -> None:
            for table in reindexed:
                self._parts.rows.reset(table, number, load_from=0)
            for table in filled:
                self._parts.rows.reset(table, number)
            if fills:
                self._parts.folder.expect(number, fills)
            for old, new in changed:
                self._parts.rows.keep_searches(new.number, new.definition.searched_indexes)
                if old.definition.document not in (None, new.definition.document):
                    self._registry.follow_table(
                        old.definition.whole_document(), new.definition.whole_document()
                    )
            if call_before_visible is not None:
                call_before_visible()

        reads = judged(*[table.number for _, table in changed])
        reads.merge(transaction.reads)
        request = CommitRequest(
            begin=begin,
            epoch=epoch,
            reads=reads,
            change=WriteSet(written.writes, catalog.changed_names(before), filled),
            catalog=None if catalog is before else catalog,
            extra_parts=fills if functions is None else (*fills, functions),
            details=CommitDetails(author=author),
            holder=holder,
            on_publish=before_visible,
        )
        return self._parts.committer.commit(request)

    def _fills(self, changed: Sequence[tuple[CatalogTable, CatalogTable]]) -> list[FillPart]:
        """The defaults that existing documents get with this change, table by table."""
        from livedb.store.check_rows import needed_defaults, outgrown

        fills = []
        for old, new in changed:
            filling = Filling(new.definition)
            if not filling.defaults or _accepts_subset(old, new):
                continue
            with CtrlC(), self._parts.folder.snapshot() as snapshot:
                needed = needed_defaults(snapshot, old, filling)
                large = outgrown(snapshot, old, filling, needed) if needed else None
            if large is not None and large.count:
                raise SchemaChangeError(
                    f"The defaults of table {new.definition.name!r} make {large.count:,} of its "
                    f"documents too large, so nothing was changed:\n{large.listed()}\n"
                    "Patch or delete them, or let the new field be absent (`| Missing`).",
                    table=new.definition.name,
                    ids=large.ids,
                    count=large.count,
                )
            if needed:
                texts = {path: encode_value(value) for path, value in needed.items()}
                fills.append(FillPart(new.number, texts))
        return fills

    def _refuse_misfits(
        self, changed: Sequence[tuple[CatalogTable, CatalogTable]], catalog: Catalog
    ) -> None:
        from livedb.store.check_rows import misfits, unique_clashes

        for old, new in changed:
            if new.definition.document is not None and not _accepts_subset(old, new):
                with CtrlC(), self._parts.folder.snapshot() as snapshot:
                    found = misfits(snapshot, old, new.definition, catalog=catalog)
                if found.count:
                    raise SchemaChangeError(
                        f"The new schema of table {new.definition.name!r} does not fit "
                        f"{found.count:,} of its documents, so nothing was changed:\n"
                        f"{found.listed()}\n{_advice(old, new)}",
                        table=new.definition.name,
                        ids=found.ids,
                        count=found.count,
                    )
            known = set(old.definition.indexes)
            added = [i for i in new.definition.indexes if i.is_unique and i not in known]
            for index in added:
                with CtrlC(), self._parts.folder.snapshot() as snapshot:
                    clash = unique_clashes(snapshot, old, index, filling=Filling(new.definition))
                if clash.count:
                    raise SchemaChangeError(
                        f"Unique index {index.name!r} of table {new.definition.name!r} cannot be "
                        f"made, so nothing was changed:\n{clash.listed()}\n"
                        "Patch or delete them, or make it an index that is not unique.",
                        table=new.definition.name,
                        ids=clash.ids,
                        count=clash.count,
                    )

    def drop(self, name: str) -> int:
        """Drop a table with all its documents; returns the commit number."""
        return run_exclusively(self._parts, lambda holder: self._drop_in_turn(name, holder))

    def _drop_in_turn(self, name: str, holder: TurnHolder) -> int:
        begin, epoch, before = self._parts.committer.begin()
        table = before.get(name)
        if table is None:
            raise SchemaDefinitionError(f"There is no table {name!r} to drop")
        request = CommitRequest(
            begin=begin,
            epoch=epoch,
            reads=judged(),
            change=WriteSet((), frozenset({name}), frozenset({table.number})),
            catalog=before.without(begin + 1, name),
            holder=holder,
        )
        return self._parts.committer.commit(request)


def _is_defined_so(catalog: Catalog, definition: TableDefinition) -> bool:
    known = catalog.get(definition.name)
    return known is not None and known.definition == definition


def _advice(old: CatalogTable, new: CatalogTable) -> str:
    """What to do with documents that the new schema refuses."""
    general = "Patch or delete them, give a new field a default, or widen the schema."
    before, after = old.definition.document, new.definition.document
    if not isinstance(after, ObjectValidator):
        return general
    if before is None:
        return f"{general} Patching a field to livedb.UNSET removes it."
    if not isinstance(before, ObjectValidator):
        return general
    dropped = [name for name in before.fields if name not in after.fields]
    if not dropped:
        return general
    names, one = ", ".join(map(repr, dropped)), dropped[0]
    first = (
        ""
        if all(before.fields[name].is_optional for name in dropped)
        else "let it be absent (`| Missing = UNSET`), "
    )
    return (
        f"To drop a field ({names}), {first}patch it to UNSET in every document "
        f"(`db[{old.definition.name!r}].patch(id, {{{one!r}: UNSET}})`), and define the table "
        f"without it then. For anything else: {general[0].lower()}{general[1:]}"
    )


def _accepts_subset(old: CatalogTable, new: CatalogTable) -> bool:
    """Whether the old schema proves that every document fits the new one."""
    before, after = old.definition.document, new.definition.document
    return before is not None and after is not None and before.accepts_subset_of(after)
