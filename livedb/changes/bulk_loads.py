"""Bulk loads: all rows of a source into one table, in one commit, or none.

The rows are checked, converted and staged as a Parquet file before the turn is taken; the commit
names the file, which is part of the log until a fold has brought it to the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from livedb.changes.exclusive import judged, run_exclusively
from livedb.changes.parts import Parts
from livedb.clock import Clock
from livedb.commitlog.payload import LoadPart
from livedb.errors import LivedbError, SchemaChangeError
from livedb.ids import IdFactory
from livedb.schema.catalog import CatalogTable
from livedb.schema.tables import TableDefinition
from livedb.store.connection import CtrlC
from livedb.transactions.committer import CommitRequest
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
        parts: Parts,
        *,
        clock: Clock,
        ids: IdFactory,
        loads_folder: Path,
    ) -> None:
        self._parts = parts
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
        with CtrlC():
            staged = stage_load(
                source.reader(),
                table.definition,
                table.number,
                catalog=self._parts.committer.catalog,
                clock=self._clock,
                ids=self._ids,
                folder=self._loads_folder,
                start_ms=max(self._parts.committer.last_ts + 1, self._clock.now_ns()) / 1e6,
                keep_ids=keep_ids,
                progress=progress,
            )
        if not keep_ids:
            self._parts.committer.raise_ts(int(staged.last_creation_time * 1e6) + 1)
        is_asked_for = False

        def commit(holder: TurnHolder) -> int:
            nonlocal is_asked_for
            is_asked_for = False
            request = self._request(table, staged, holder)
            is_asked_for = True
            return self._parts.runner.commit(request)

        try:
            return staged.rows, run_exclusively(self._parts, commit)
        except BaseException as error:  # a Ctrl-C too: it must not leave an unnamed file
            # No commit names the file if none was asked for, or it was refused. After an interrupt,
            # or when it is unknown what the log kept, one may: the next open sees.
            is_refused = isinstance(error, LivedbError) and error.code != "LogUnknown"
            is_named = self._parts.folder.names_load(staged.file)
            if (is_refused or not is_asked_for) and not is_named:
                (self._loads_folder / staged.file).unlink(missing_ok=True)
            raise

    def _table(self, name: str) -> CatalogTable:
        """The table of that name, or the one that the load's own commit will make."""
        catalog = self._parts.committer.catalog
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

        begin, epoch, before = self._parts.committer.begin()
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
        with CtrlC(), self._parts.folder.snapshot() as snapshot:
            load_clashes(snapshot, table, self._loads_folder / staged.file, staged)
        part = LoadPart(table.number, staged.file, staged.rows, staged.sha256)

        def before_visible(number: int) -> None:
            # Not before it is published: were it refused, another commit would have its number.
            self._parts.folder.expect(number, (part,))
            self._parts.rows.reset(table.number, number)

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
