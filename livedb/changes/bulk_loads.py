"""Bulk loads: all rows of a source into one table, in one commit, or none.

The rows are checked, converted and staged as a Parquet file before the turn is taken; the commit
names the file, which is part of the log until a fold has brought it to the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from livedb.changes.exclusive import ExclusiveTurns, judged
from livedb.clock import Clock
from livedb.commitlog.payload import LoadPart
from livedb.errors import LivedbError, SchemaChangeError
from livedb.functions.runner import Runner
from livedb.ids import IdFactory
from livedb.schema.catalog import CatalogTable
from livedb.schema.tables import TableDefinition
from livedb.store.connection import CtrlC
from livedb.store.rows import RowStore
from livedb.transactions.committer import CommitRequest, Committer
from livedb.transactions.folder import Folder
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
        loads_folder: where staged files lie until they are folded.
    """

    def __init__(
        self,
        *,
        turns: ExclusiveTurns,
        committer: Committer,
        runner: Runner,
        folder: Folder,
        rows: RowStore,
        clock: Clock,
        ids: IdFactory,
        loads_folder: Path,
    ) -> None:
        self._turns = turns
        self._committer = committer
        self._runner = runner
        self._folder = folder
        self._rows = rows
        self._clock = clock
        self._ids = ids
        self._loads_folder = loads_folder

    def load(
        self,
        table_name: str,
        source: Source,
        *,
        keep_ids: bool,
        progress: Callable[[int], None] | None,
    ) -> tuple[int, int]:
        """Add all rows of a source to a table, or none; returns (rows, commit number).

        A table that does not exist is made by the load's own commit.

        Raises:
            LoadError, ValidationError: something in the source does not fit; nothing was changed.
            SchemaChangeError: the table changed meanwhile, and the source cannot be read again.
        Cost: set-wise; no Python object per row for columnar sources.
        """
        tries_left = PREPARATIONS_MAX if source.is_repeatable else 1
        while True:
            try:
                return self._load_once(table_name, source, keep_ids=keep_ids, progress=progress)
            except SchemaChangeError:
                tries_left -= 1
                if not tries_left:
                    raise

    def _load_once(
        self,
        table_name: str,
        source: Source,
        *,
        keep_ids: bool,
        progress: Callable[[int], None] | None,
    ) -> tuple[int, int]:
        from livedb.store.loads import stage_load

        table = self._table(table_name)
        names: list[str] = []
        request: CommitRequest | None = None
        try:
            with CtrlC():
                staged = stage_load(
                    source.reader(),
                    table.definition,
                    table.number,
                    catalog=self._committer.catalog,
                    clock=self._clock,
                    ids=self._ids,
                    folder=self._loads_folder,
                    start_ms=max(self._committer.last_ts + 1, self._clock.now_ns()) / 1e6,
                    keep_ids=keep_ids,
                    progress=progress,
                    on_name=names.append,
                )
            if not keep_ids:
                self._committer.raise_ts(int(staged.last_creation_time * 1e6) + 1)

            def commit(holder: TurnHolder) -> int:
                nonlocal request
                request = None
                request = self._request(table, staged, holder)
                return self._runner.commit(request)

            return staged.rows, self._turns.run(commit)
        except BaseException as error:
            # No commit names the file if none took it, or that one was refused. When it is unknown
            # what the log kept, one may: the next open sees.
            is_refused = isinstance(error, LivedbError) and error.code != "LogUnknown"
            if is_refused or request is None or request.number == 0:
                self._remove(names)
            raise

    def _remove(self, names: list[str]) -> None:
        for name in names:
            if not self._folder.names_load(name):
                (self._loads_folder / name).unlink(missing_ok=True)

    def _table(self, name: str) -> CatalogTable:
        """The table of that name, or the one that the load's own commit will make."""
        catalog = self._committer.catalog
        known = catalog.get(name)
        if known is not None:
            return known
        table = CatalogTable(catalog.next_table_number(), TableDefinition(name=name))
        catalog.with_table(catalog.number + 1, table)  # refuses a name that is taken, early
        return table

    def _request(
        self, table: CatalogTable, staged: StagedLoad, holder: TurnHolder
    ) -> CommitRequest:
        """The commit of a staged load. Raises: what refuses it."""
        from livedb.store.check_rows import load_clashes

        begin, epoch, before = self._committer.begin()
        name = table.definition.name
        now = before.get(name)
        is_new = now is None and before.next_table_number() == table.number
        if now != table and not is_new:
            raise SchemaChangeError(
                f"Table {name!r} was defined or redefined while the load was prepared; load again",
                table=name,
                ids=(),
                count=0,
            )
        with CtrlC(), self._folder.snapshot() as snapshot:
            load_clashes(snapshot, table, self._loads_folder / staged.file, staged)
        part = LoadPart(table.number, staged.file, staged.rows, staged.sha256)

        def before_visible(number: int) -> None:
            # Not before it is published: were it refused, another commit would have its number.
            self._folder.expect(number, (part,))
            self._rows.reset(table.number, number)

        return CommitRequest(
            begin=begin,
            epoch=epoch,
            reads=judged(table.number),
            change=WriteSet((), frozenset({name} if is_new else ()), frozenset({table.number})),
            catalog=before.with_table(begin + 1, table) if is_new else None,
            extra_parts=(part,),
            holder=holder,
            on_publish=before_visible,
        )
