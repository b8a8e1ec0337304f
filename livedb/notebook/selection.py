"""The rows and the cell that a reader has selected in a table on screen, for code elsewhere."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import traitlets

from livedb.interchange.arrow import FieldType
from livedb.interchange.frames import FrameMixin

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.notebook.handles import Handle

SELECTED_MAX = 10_000
"""Rows that can be selected at once."""


class Selection(traitlets.HasTraits, FrameMixin):
    """What is selected of a live handle's rows; the active row where nothing else is.

    A frame of it has the rows as they are now, in the order of the result: one that was deleted
    meanwhile, or that the result no longer holds, is not among them. As of any trait,
    `observe(f, "keys")` hears of changes, and `(h.selection, "keys")` is a live argument.

    Attributes:
        keys: ids of the rows, in the order in which they stood on the page.
        cell: the active cell, as the id of its row and the name of its column; None if there is
            none. `value` has what it holds now.
    """

    if TYPE_CHECKING:

        @property
        def keys(self) -> list[str]: ...
        @property
        def cell(self) -> tuple[str, str] | None: ...

    else:
        keys = traitlets.List(traitlets.Unicode(), read_only=True)
        cell = traitlets.Tuple(default_value=None, allow_none=True, read_only=True)

    def __init__(self, handle: Handle[Any]) -> None:
        super().__init__()
        self._handle = weakref.ref(handle)

    def take(
        self,
        keys: Sequence[str],
        cell: tuple[str, str] | None,
        deliver: Callable[[Callable[[], None]], None],
    ) -> None:
        """Be these rows from now on, also while a cell runs; observers are told by `deliver`."""
        changes = [("keys", self.keys, list(keys)), ("cell", self.cell, cell)]
        for name, _, now in changes:
            self._trait_values[name] = now
        for name, before, now in changes:
            if before != now:
                deliver(partial(self._notify_trait, name, before, now))

    @property
    def value(self) -> Any:
        """What the active cell holds now; None without one, or when its row or column is gone."""
        if self.cell is None:
            return None
        key, column = self.cell
        table = self._owner().to_arrow()
        if "_id" not in table.column_names or column not in table.column_names:
            return None
        found = self._rows_of(table, [key])[column]
        return found[0].as_py() if len(found) else None

    def __len__(self) -> int:
        """How many of the rows are in the result now."""
        return self._to_arrow().num_rows

    def _to_arrow(self) -> pa.Table:
        return self._selected(self._owner().to_arrow())

    def _frame_fields(self) -> Mapping[str, FieldType] | None:
        return self._owner()._frame_fields()  # noqa: SLF001  # a face of the handle's own rows

    def _frame_snapshot(self) -> tuple[pa.Table, int | None]:
        table, number = self._owner()._frame_snapshot()  # noqa: SLF001  # the same
        return self._selected(table), number

    def _owner(self) -> Handle[Any]:
        handle = self._handle()
        if handle is None:
            raise ReferenceError("The live handle of this selection is gone")
        return handle

    def _selected(self, table: pa.Table) -> pa.Table:
        return self._rows_of(table, self.keys)

    @staticmethod
    def _rows_of(table: pa.Table, keys: Sequence[str]) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        if "_id" not in table.column_names:
            return table.slice(0, 0)
        return table.filter(pc.is_in(table["_id"], pa.array(keys, pa.string())))

    def __repr__(self) -> str:
        from livedb.wording import counted

        return f"<{counted(len(self.keys), 'selected row')}>"
