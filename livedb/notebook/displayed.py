"""What a live handle is on screen: its tables, how they show columns, and what they ask of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from livedb.client.backend import Backend
from livedb.client.table import user_level
from livedb.notebook.formats import NO_FORMATS, ColumnFormat, formats_of, missing_columns

if TYPE_CHECKING:
    from livedb.notebook.downloads import PageFile
    from livedb.notebook.editing import TableEditor
    from livedb.notebook.followers import Followers
    from livedb.notebook.references import Reference
    from livedb.notebook.rows import RowSource, RowState
    from livedb.notebook.widgets import LiveTable

_OF_WIDGETS = frozenset({"comm", "_model_id", "get_state", "set_state"})


class Displayed:
    """The half of a handle that is shown; what it follows and reads is the other (`handles.py`)."""

    _backend: Backend
    _table: str | None
    followers: Followers

    _formats: Mapping[str, ColumnFormat] = NO_FORMATS
    """How its tables on screen show columns."""

    _widgets: tuple[LiveTable, ...] = ()
    """Its tables on screen: its own, and those of handles that it replaced."""

    _why_ended: str | None = None

    if TYPE_CHECKING:  # of the other half

        @property
        def title(self) -> str: ...
        def gather(self, sources: Sequence[RowSource]) -> list[tuple[RowSource, RowState]]: ...
        def select(self, keys: Sequence[str], cell: tuple[str, str] | None) -> None: ...
        def current(self) -> RowState: ...
        def shown(self) -> RowState: ...

    def format(
        self, columns: Mapping[str, ColumnFormat] = NO_FORMATS, /, **named: ColumnFormat
    ) -> Self:
        """Show columns as told, in place of what was told before; returns this handle.

            worst.live(origin="JFK").format(delay=livedb.column.number("+.1f", unit="min"))

        Only what a reader sees is other: values, sorting, filters, edits, copies and files stay as
        they are. A name that no argument of Python's can have goes into a dict.

        Raises:
            FunctionTypeError: something else than what `livedb.column` makes.
        """
        self._formats = formats_of(columns, named)
        state = self.current()
        names = state.window(0, 0).column_names
        missing = missing_columns(self._formats, names) if names else None
        if missing is not None:
            warnings.warn(missing, UserWarning, user_level())
        for widget in self._widgets:
            widget.follow(self)
        return self

    @cached_property
    def editor(self) -> TableEditor | None:
        """Edits what a table on screen shows, if that is the documents of a table."""
        from livedb.notebook.editing import TableEditor

        return None if self._table is None else TableEditor(self._backend, self._table)

    def reference(self, key: str) -> Reference:
        """The document that an id names: see `livedb.notebook.rows.RowSource`."""
        from livedb.notebook.references import reference_of

        return reference_of(self._backend, key)

    def file(self, name: str, *, is_picture: bool) -> PageFile:
        """A file that a cell names: see `livedb.notebook.rows.RowSource`."""
        from livedb.notebook.stored_files import stored_file

        return stored_file(self._backend, name, is_picture=is_picture)

    @property
    def widget(self) -> LiveTable:
        """The table on screen; made when it is first asked for."""
        if not self._widgets:
            from livedb.notebook.widgets import LiveTable

            self._widgets = (LiveTable(self),)
        return self._widgets[0]

    if not TYPE_CHECKING:  # else no misspelt attribute would be found

        def __getattr__(self, name: str) -> Any:
            """What `mo.ui.anywidget(handle)` asks of a widget; a handle is none, but has one."""
            if name in _OF_WIDGETS:
                return getattr(self.widget, name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def view_count(self) -> int:
        """Views of it that are open on some page."""
        return sum(widget.view_count for widget in self._widgets)

    def close_widget(self) -> None:
        """Drop its tables on screen, which hold this handle; the next display makes another."""
        widgets, self._widgets = self._widgets, ()
        for widget in widgets:
            widget.close(**({"ended": self._why_ended} if self._why_ended else {}))

    def _display_(self) -> Any:
        """What marimo shows of it."""
        return self.widget

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if self.followers.is_ended and not self._widgets:
            from livedb.notebook.display import static_bundle

            return static_bundle(self.title, self.current())
        return self.widget._repr_mimebundle_(**kwargs)
