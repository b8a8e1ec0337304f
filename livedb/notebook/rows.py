"""What a table on screen reads: the seam between live results and the notebook.

A query handle and an SQL result are `RowSource`s. The widget, the static HTML and the publisher
know nothing else of them: they *pull* the newest state when they need it, and are only told that
there is something to pull. So a notice that is lost, late or doubled can never put a wrong row on
the screen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.interchange.arrow import FieldType
    from livedb.notebook.downloads import PageFile
    from livedb.notebook.editing import TableEditor
    from livedb.notebook.formats import ColumnFormat
    from livedb.notebook.references import Reference

Shape = Literal["rows", "record", "value"]
"""`rows`: a table; `record`: one dict, drawn as names and values; `value`: one scalar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowState:
    """One published state of a result.

    Attributes:
        number: the commit number this state is exact at.
        row_count: rows in the whole result.
        fields: column name -> field type (`livedb.interchange.frames.FieldType`), in column order;
            a column it does not name is drawn by its Arrow type.
        error: message of the last run if it failed; the rows are then the last good ones.
        key: name of the column whose values name the rows ("_id"), None if there is none.
        window: `window(start, stop)` -> the rows [start, stop) in result order, columns in `fields`
            order; cheap, callable from any thread, the same rows for as long as this state lives.
        shape: how to draw it.
        ended: why it follows nothing any more; None while it is live.
        formats: how columns are shown, by name; the others as they are.
        identity: stands for the rows: while it is the same object, so are they; None is unknown.
    """

    number: int
    row_count: int
    fields: Mapping[str, str]
    error: str | None
    key: str | None
    window: Callable[[int, int], pa.Table]
    shape: Shape = "rows"
    ended: str | None = None
    formats: Mapping[str, ColumnFormat] = field(default_factory=dict)
    identity: object = None


class RowSource(Protocol):
    """A live result that can be shown as a table."""

    @property
    def title(self) -> str:
        """What the result is, such as `open_tasks(user='ann')`; any text."""
        ...

    @property
    def editor(self) -> TableEditor | None:
        """Edits what it shows; None where that is no table's documents."""

    def select(self, keys: Sequence[str], cell: tuple[str, str] | None) -> None:
        """A reader selected rows by their keys, and is at a cell: key and column; any thread."""

    def reference(self, key: str) -> Reference | None:
        """The document that an id in some cell names; None where ids name nothing."""

    def file(self, name: str, *, is_picture: bool) -> PageFile:
        """The file that some cell names, by its id or a URL; any thread.

        Raises:
            LivedbError: why a page is not given it.
        """

    def gather(self, sources: Sequence[RowSource]) -> Sequence[tuple[RowSource, RowState]]:
        """The states of it and those of `sources` that read its workspace, at one newest commit.

        Cost: of the runs that they are behind.
        """

    def current(self) -> RowState:
        """The newest published state; callable from any thread, never waits for the turn.

        Cost: of the runs that it is behind.
        """
        ...

    def shown(self) -> RowState:
        """The state that was last read or told of; cheap, callable from any thread."""
        ...


def state_of_nothing(*, number: int, error: str | None) -> RowState:
    """The state of a result that never was: its first run failed."""
    import pyarrow as pa

    table = pa.table({})
    return RowState(
        number=number,
        row_count=0,
        fields={},
        error=error,
        key=None,
        window=lambda start, stop: table.slice(start, max(stop - start, 0)),
    )


def state_of_table(
    table: pa.Table, fields: Mapping[str, FieldType] | None, number: int, error: str | None
) -> RowState:
    """The state of a result of rows; the columns of whole documents are put in another order."""
    known = fields or {}
    names = {"_id": "id", "_creationTime": "datetime"}
    if table.column_names[:2] == list(names):
        # Whole documents: when each was made interests last.
        table = table.select([*table.column_names[:1], *table.column_names[2:], "_creationTime"])
    return RowState(
        number=number,
        row_count=table.num_rows,
        fields={
            name: known.get(name) or names[name]
            for name in table.column_names
            if name in known or name in names
        },
        error=error,
        key="_id" if "_id" in table.column_names else None,
        window=lambda start, stop: table.slice(start, max(stop - start, 0)),
    )


def state_of_value(value: Any, *, number: int, error: str | None = None) -> RowState:
    """The state of a result that is no table: a scalar, a dict, or a list of scalars.

    A dict becomes two columns, names and values; anything else one column, `value`. Nested values
    are shown as JSON.
    """
    import pyarrow as pa

    if isinstance(value, Mapping):
        names, texts = list(map(str, value)), [_cell_text(each) for each in value.values()]
        table = pa.table(
            {"field": pa.array(names, pa.string()), "value": pa.array(texts, pa.string())}
        )
        fields, shape = {"field": "name", "value": "any"}, "record"
    else:
        many = isinstance(value, list | tuple)
        table = pa.table({"value": _value_column(list(value) if many else [value])})
        fields, shape = {}, "rows" if many else "value"
    return RowState(
        number=number,
        row_count=table.num_rows,
        fields=fields,
        error=error,
        key=None,
        window=lambda start, stop: table.slice(start, max(stop - start, 0)),
        shape=shape,  # type: ignore[arg-type]  # one of two literals each way
    )


def _value_column(values: list[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array([_cell_text(each) for each in values], pa.string())  # mixed types


def _cell_text(value: Any) -> str | None:
    """The text of a value in a column that holds values of many types; None stays null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
