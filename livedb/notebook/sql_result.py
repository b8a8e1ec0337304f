"""What `db.sql` gives: the rows of a statement at one commit; and other rows that were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, overload

from livedb.client.backend import Params
from livedb.interchange.frames import FrameMixin
from livedb.notebook.documents import RowDocuments
from livedb.notebook.live_arguments import params_now
from livedb.notebook.rows import RowState, state_of_table
from livedb.values import Document

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.client.database import Database
    from livedb.notebook.handles import Handle


class Rows(FrameMixin):
    """Rows that were read, as a frame and to look at.

    Attributes:
        title: what they are, on one line.
        number: the commit they are of.
    """

    def __init__(self, title: str, table: pa.Table, number: int) -> None:
        self.title = title
        self._table = table
        self.number = number

    def _to_arrow(self) -> pa.Table:
        return self._table

    def _frame_snapshot(self) -> tuple[pa.Table, int | None]:
        return self._table, self.number

    def __len__(self) -> int:
        return self._table.num_rows

    def __iter__(self) -> Iterator[Document]:
        return iter(RowDocuments(self._table))

    @overload
    def __getitem__(self, at: int) -> Document: ...
    @overload
    def __getitem__(self, at: slice) -> list[Document]: ...

    def __getitem__(self, at: int | slice) -> Document | list[Document]:
        return RowDocuments(self._table)[at]

    def current(self) -> RowState:
        """What is displayed: see `livedb.notebook.rows.RowSource`."""
        return state_of_table(self._table, None, self.number, None)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from livedb.notebook.display import static_bundle

        return static_bundle(self.title, self.current())

    def __repr__(self) -> str:
        from livedb.notebook.display import text_of_table

        return text_of_table(self.title, self.current())


class SqlResult(Rows):
    """The rows of a SQL statement at one commit.

    The types are SQL's: lists and objects are JSON text, also when they come from a table whose
    schema says more. A column taken as it is keeps its mark, so that a file of it loads again.

    Attributes:
        number: the commit.
    """

    def __init__(self, database: Database, text: str, params: Params) -> None:
        self._database = database
        self._text = text
        self._params = params if params is None or isinstance(params, Mapping) else list(params)
        table, number = database.backend.sql(text, params_now(self._params))
        super().__init__(" ".join(text.split()), table, number)

    def live(self) -> Handle[Any]:
        """A handle that follows the statement: it is run again when a table it reads changes."""
        return self._database.live_sql(self._text, self._params)
