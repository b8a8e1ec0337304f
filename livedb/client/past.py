"""`db.at(...)`: a workspace as it was; and what commits changed, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from livedb.client.database import Database
from livedb.errors import LivedbError
from livedb.interchange.frames import FrameMixin
from livedb.store.position import Position
from livedb.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.client.past_backend import PastBackend

TABLES_SHOWN = 50


class PastDatabase(Database):
    """A workspace as it was at one commit: its tables, SQL, and the queries of now on it.

    It is read as `db` is; everything that writes, defines or follows is refused. It needs no
    `close()`.
    """

    backend: PastBackend

    @property
    def time(self) -> datetime | None:
        """When the commit was made, in UTC; None of commit 0, before everything."""
        return self.backend.time

    def close(self) -> None:
        """Does nothing: the workspace stays open, and what was copied goes by itself."""

    def __repr__(self) -> str:
        try:
            self.backend.require_open()
            tables = ", ".join(self.tables) or "no tables"
        except LivedbError as error:
            return f"<livedb {self.backend.name} at commit {self.number}: {error.code}>"
        return f"<livedb {self.backend.name} as of commit {self.number}{self._when()}: {tables}>"

    def _when(self) -> str:
        return "" if self.time is None else f" ({self.time:%Y-%m-%d %H:%M:%S} UTC)"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        text = {"text/plain": repr(self)}
        try:
            counts = self.backend.counts()
        except LivedbError:
            return text
        shown = sorted(counts.items())[:TABLES_SHOWN]
        lines = "".join(
            f"<tr><td>{escape(name)}</td><td style='text-align:right'>{count:,}</td></tr>"
            for name, count in shown
        )
        more = len(counts) - len(shown)
        rest = f"<div>and {counted(more, 'table')} more</div>" if more else ""
        head = f"As of commit {self.number}{self._when()}, to be read only"
        return {
            **text,
            "text/html": f"<div><b>{escape(self.backend.name)}</b> {escape(head)}</div><table>"
            f"<tr><th>table</th><th>documents</th></tr>{lines}</table>{rest}",
        }

    def _display_(self) -> Any:
        return self


class ChangeStream(FrameMixin):
    """What the commits behind `since` changed, up to `number`, in order, as Arrow.

    Any library that reads Arrow streams takes it; `.reader()` is one of pyarrow's. It can be read
    again, and gives the same. Go on later with `db.changes(stream.number)`.

    Attributes:
        since: the commit whose changes are not in it any more.
        number: the last commit that it covers.
    """

    def __init__(
        self,
        read: Callable[[Position], tuple[pa.Table, Position]],
        *,
        since: int,
        number: int,
    ) -> None:
        self._read = read
        self.since = since
        self.number = number

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        from livedb.past.changes import CHANGES_SCHEMA

        return CHANGES_SCHEMA

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The changes in batches, each read when it is taken.

        Raises:
            PastTooOldError: they were forgotten meanwhile.
        """
        position, end = Position(self.since), Position(self.number)
        while position != end:
            rows, position = self._read(position)
            yield from rows.combine_chunks().to_batches()

    def reader(self) -> pa.RecordBatchReader:
        """The changes as a reader of pyarrow's, for what should not be in memory at once."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, iter(self))

    def _to_arrow(self) -> pa.Table:
        return self.reader().read_all()

    def _frame_snapshot(self) -> tuple[pa.Table, int | None]:
        return self._to_arrow(), self.number

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        stream: Any = self.reader()
        return stream.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        if self.number == self.since:
            return f"<no changes since commit {self.since}>"
        return f"<changes of commits {self.since + 1} to {self.number}; .df reads them>"
