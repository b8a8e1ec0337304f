"""Bulk loads: all rows of a source into one table, or of several into several, in one commit.

The rows are checked, converted and staged as Parquet files before the turn is taken; the commit
names the files, which are part of the log until a fold has brought them to the tables. A load may
replace what a table has: the same commit then deletes that first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from livedb.changes.exclusive import judged, run_exclusively
from livedb.changes.parts import Parts
from livedb.clock import Clock
from livedb.commitlog.payload import ClearPart, LoadPart
from livedb.errors import LivedbError, LoadError, SchemaChangeError
from livedb.ids import FIRST_TABLE_NUMBER, IdFactory
from livedb.limits import TABLE_NUMBER_MAX
from livedb.schema.catalog import Catalog, CatalogTable
from livedb.schema.tables import SYSTEM_DEFINITIONS, SYSTEM_TABLES, TableDefinition
from livedb.store.connection import CtrlC
from livedb.transactions.commit_request import CommitRequest
from livedb.transactions.load_files import LoadFiles
from livedb.transactions.reads import WriteSet
from livedb.transactions.turn import TurnHolder

if TYPE_CHECKING:
    from livedb.interchange.sources import Source
    from livedb.store.loads import StagedLoad


PREPARATIONS_MAX = 16
"""Times a load is prepared: again if its table or the number of a new one changed meanwhile."""


class BulkLoads:
    """Loads sources into the tables of one workspace.

    Args:
        files: where staged files lie until they are folded.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        clock: Clock,
        ids: IdFactory,
        files: LoadFiles,
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._ids = ids
        self._files = files

    def load(
        self,
        loads: Sequence[TableLoad],
        *,
        progress: Callable[[str, int], None] | None = None,
    ) -> tuple[dict[str, int], int]:
        """Bring all rows of each source to its table, or none; returns rows by table and commit.

        A table that does not exist is made by the load's own commit.

        Args:
            progress: told the table and its rows staged so far.

        Raises:
            LoadError, ValidationError: something in a source does not fit; nothing was changed.
            SchemaChangeError: a table changed meanwhile, and its source cannot be read again.
        Cost: set-wise; no Python object per row for columnar sources.
        """
        is_repeatable = all(each.source is None or each.source.is_repeatable for each in loads)
        tries_left = PREPARATIONS_MAX if is_repeatable else 1
        while True:
            try:
                return self._load_once(loads, progress)
            except SchemaChangeError:
                tries_left -= 1
                if not tries_left:
                    raise

    def _load_once(
        self, loads: Sequence[TableLoad], progress: Callable[[str, int], None] | None
    ) -> tuple[dict[str, int], int]:
        plan = plan_of(self._parts.committer.catalog, loads)
        staged: dict[int, StagedLoad] = {}
        names: list[str] = []
        request: CommitRequest | None = None

        def on_name(name: str) -> None:
            names.append(name)
            self._files.need(name)

        def commit(holder: TurnHolder) -> int:
            nonlocal request
            request = None
            request = self._request(loads, plan, staged, holder)
            return self._parts.committer.commit(request)

        try:
            for each in loads:
                if each.source is not None:
                    table = plan.tables[each.table]
                    staged[table.number] = self._stage(
                        each, table, plan.catalog, progress, on_name=on_name
                    )
            rows = {each.table: _rows_of(staged, plan.tables.get(each.table)) for each in loads}
            done = rows, run_exclusively(self._parts, commit)
        except BaseException as error:  # a Ctrl-C too: it must not leave an unnamed file
            # No commit names the files if none took them, or that one was refused; one that is
            # published needs them itself. When it is unknown what the log kept, one may: the next
            # open sees.
            is_refused = isinstance(error, LivedbError) and error.code != "LogUnknown"
            number = 0 if request is None else request.number
            if is_refused or number <= self._parts.committer.published:
                self._let_go(names)
            raise
        self._let_go(names)
        return done

    def _let_go(self, names: Iterable[str]) -> None:
        for name in names:
            self._files.let_go(name)

    def _stage(
        self,
        load: TableLoad,
        table: CatalogTable,
        catalog: Catalog,
        progress: Callable[[str, int], None] | None,
        *,
        on_name: Callable[[str], None],
    ) -> StagedLoad:
        from livedb.store.loads import stage_load

        assert load.source is not None, "only loads with rows are staged"
        with CtrlC():
            staged = stage_load(
                load.source.reader(),
                table.definition,
                table.number,
                catalog=catalog,
                clock=self._clock,
                ids=self._ids,
                folder=self._files.folder,
                start_ms=max(self._parts.committer.last_ts + 1, self._clock.now_ns()) / 1e6,
                keep_ids=load.keep_ids,
                progress=None if progress is None else partial(progress, load.table),
                on_name=on_name,
            )
        if not load.keep_ids:
            self._parts.committer.raise_ts(int(staged.last_creation_time * 1e6) + 1)
        return staged

    def _request(
        self,
        loads: Sequence[TableLoad],
        plan: LoadPlan,
        staged: Mapping[int, StagedLoad],
        holder: TurnHolder,
    ) -> CommitRequest:
        """The commit of staged loads. Raises: what refuses it."""
        from livedb.store.check_rows import load_clashes

        begin, epoch, before = self._parts.committer.begin()
        now = plan_of(before, loads)
        if now != plan:
            names = ", ".join(repr(each.table) for each in loads)
            raise SchemaChangeError(
                f"A table was defined or redefined while the load of {names} was prepared; load "
                "again",
                table=loads[0].table,
                ids=(),
                count=0,
            )
        for each in loads:
            if each.source is None:
                continue
            table = plan.tables[each.table]
            path, load = self._files.folder / staged[table.number].file, staged[table.number]
            with CtrlC(), self._parts.folder.snapshot() as snapshot:
                known = before.get(each.table)
                if each.must_be_empty and known is not None and snapshot.count(known.number):
                    raise LoadError(
                        f"Table {each.table!r} has documents already; append to it, or replace it",
                        code="TableNotEmpty",
                    )
                load_clashes(snapshot, table, path, load, is_cleared=each.is_replaced)
        parts: list[ClearPart | LoadPart] = [
            *(ClearPart(number) for number in sorted(plan.cleared)),
            *(
                LoadPart(number, each.file, each.rows, each.sha256)
                for number, each in staged.items()
            ),
        ]
        catalog = now.catalog.at(begin + 1)
        changed = catalog.changed_names(before)
        reset = plan.cleared | staged.keys()

        def before_visible(number: int) -> None:
            # Not before it is published: were it refused, another commit would have its number.
            self._parts.folder.expect(number, parts)
            for table in reset:
                self._parts.rows.reset(table, number)

        return CommitRequest(
            begin=begin,
            epoch=epoch,
            reads=judged(*reset, *plan.dropped),
            change=WriteSet((), changed, frozenset(reset | plan.dropped)),
            catalog=catalog if changed else None,
            extra_parts=parts,
            holder=holder,
            on_publish=before_visible,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLoad:
    """What becomes of one table.

    Attributes:
        source: rows to add; None adds none.
        keep_ids: the rows have ids of their own, which they keep.
        number: the table's number in those ids; None for the number that the table has or gets.
        is_replaced: the documents that the table has are deleted.
        must_be_empty: the table may have none.
    """

    table: str
    source: Source | None
    keep_ids: bool = False
    number: int | None = None
    is_replaced: bool = False
    must_be_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How loads change the catalog; two are equal if they do the same to the loaded tables.

    Attributes:
        catalog: all tables afterwards.
        tables: those that are loaded, by name.
        cleared: numbers of tables there were and are, whose documents are deleted.
        dropped: numbers that are gone, because a replaced table has another now.
    """

    catalog: Catalog = field(compare=False)
    tables: Mapping[str, CatalogTable]
    cleared: frozenset[int]
    dropped: frozenset[int]


def plan_of(before: Catalog, loads: Sequence[TableLoad]) -> LoadPlan:
    """What `loads` make of the tables there are. Pure.

    Raises:
        LoadError: a table would need the number of another one.
        SchemaDefinitionError: a name is taken.
    """
    catalog, number = before, before.number + 1
    wanted_numbers = {load.number: load.table for load in loads if load.number is not None}
    replaced = {}
    for load in loads:
        known = before.get(load.table)
        if known is not None and load.is_replaced:
            replaced[load.table] = known
            is_wanted = wanted_numbers.get(known.number, load.table) != load.table
            if is_wanted or load.number not in (None, known.number):
                catalog = catalog.without(number, load.table)
    for load in sorted(loads, key=lambda load: load.number is None):  # new numbers come last
        known = catalog.get(load.table)
        if known is None:
            definition = replaced[load.table].definition if load.table in replaced else None
            system = SYSTEM_DEFINITIONS.get(load.table)
            if system is not None:
                definition = system.definition
            made = catalog.next_table_number() if system is None else system.number
            wanted = made if load.number is None else load.number
            _check_number(catalog, load.table, wanted)
            table = CatalogTable(wanted, definition or TableDefinition(name=load.table))
            catalog = catalog.with_table(number, table)
        elif load.number not in (None, known.number):
            raise LoadError(
                f"The ids of table {load.table!r} are of table number {load.number}, and here it "
                f"has {known.number}; replace the table, or load it with new ids",
                code="TableNumberTaken",
            )
    numbers = {known.number for known in replaced.values()}
    cleared = frozenset(each for each in numbers if catalog.by_number(each) is not None)
    return LoadPlan(
        catalog=catalog,
        tables={load.table: _existing(catalog, load.table) for load in loads},
        cleared=cleared,
        dropped=frozenset(numbers) - cleared,
    )


def _check_number(catalog: Catalog, name: str, number: int) -> None:
    """Refuse a number that a new table cannot have."""
    first = 1 if name in SYSTEM_TABLES else FIRST_TABLE_NUMBER
    if not first <= number <= TABLE_NUMBER_MAX:
        raise LoadError(
            f"The ids of table {name!r} are of table number {number}, which no table of documents "
            "has; load it with new ids"
        )
    holder = catalog.by_number(number)
    if holder is not None:
        raise LoadError(
            f"The ids of table {name!r} are of table number {number}, which is here that of "
            f"{holder.definition.name!r}; replace that table too, or load {name!r} with new ids",
            code="TableNumberTaken",
        )


def _existing(catalog: Catalog, name: str) -> CatalogTable:
    table = catalog.get(name)
    assert table is not None, "the plan made it"
    return table


def _rows_of(staged: Mapping[int, StagedLoad], table: CatalogTable | None) -> int:
    load = None if table is None else staged.get(table.number)
    return 0 if load is None else load.rows
