"""What the open views of one table have been sent, and what each still needs. No comm, no thread.

Theory of operation. A *view* is one table on one page; it asks for a window of rows `[start, stop)`
and gets it whole, as Arrow. From then on the feed remembers which window that view holds, and every
`take_update` reads the newest state and describes the new window as *runs* over the old one:
"rows 0-11 as before, one new row, rows 12-48 as before", with only new and changed rows as Arrow.

Each update has a sequence number; each patch names the number of the window it is based on. A view
that holds another one has missed something and asks again: no message is ever needed twice, and a
lost or late one costs one round trip.

A patch sends only the rows that a `RowChange` named when the state read is exactly the last
change's; otherwise (unknown change, newer state, other columns, no keys) every row of the window
travels. So the picture is always one whole commit, never a mixture of two.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from livedb.notebook.arrangement import PLAIN, Arrangement, Arranger
from livedb.notebook.cells import Column, columns_of, cut, encode_window

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.notebook.rows import RowChange, RowSource, RowState

WINDOW_ROWS_MAX = 1_000
"""Rows of one window; a request for more gets its beginning."""

VIEWS_MAX = 32
"""Views a table remembers; the oldest is forgotten, and asks again by itself."""

PENDING_KEYS_MAX = 10_000
"""Keys of changes not yet sent; beyond it the change counts as unknown: windows travel whole."""

VIEW_KEEP_S = 60.0
"""Seconds a view that does not answer is kept, while others do answer."""

Run = tuple[int, int]
"""(from, count): from >= 0 is a row of the old window, from < 0 is row -1-from of the new rows."""


@dataclass(slots=True)
class Message:
    """One part of a comm message: JSON content and the Arrow buffers it refers to by position."""

    content: dict[str, Any]
    buffers: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _View:
    """The window a view holds: `keys` are its rows' keys, None when they cannot name rows."""

    realm: str
    start: int
    stop: int
    sequence: int
    keys: list[str] | None
    columns: list[Column]
    heard_s: float
    arrangement: Arrangement


@dataclass(slots=True)
class _Pending:
    """The changes since the last update, as one; `keys` None is unknown."""

    number: int = -1
    keys: set[str] | None = field(default_factory=set)
    is_empty: bool = True

    def add(self, change: RowChange) -> None:
        self.is_empty = False
        self.number = max(self.number, change.number)
        parts = (change.changed, change.added, change.removed)
        if self.keys is None or any(part is None for part in parts):
            self.keys = None
            return
        for part in parts:
            self.keys.update(part or ())
        if len(self.keys) > PENDING_KEYS_MAX:
            self.keys = None


class TableFeed:
    """The views of one `RowSource` and the messages that keep them right.

    `add_change` may be called by any thread and never waits for a window being read. The other
    methods exclude each other, as a reply and an update must not both extend the same window.
    """

    def __init__(self, source: RowSource) -> None:
        self.source = source
        self._pending = _Pending()
        self._pending_lock = (
            threading.Lock()
        )  # guards `_pending`; the innermost lock, held for a moment
        self._views: dict[str, _View] = {}
        self._sequence = 0
        self.arranger = Arranger()
        self._lock = (
            threading.Lock()
        )  # guards `_views`, `_sequence`; taken before any lock of the source

    def add_change(self, change: RowChange) -> None:
        """Note that the result changed. Cost: O(keys of the change)."""
        with self._pending_lock:
            self._pending.add(change)

    def open_window(
        self,
        view: str,
        realm: str,
        start: int,
        stop: int,
        *,
        now_s: float,
        arrangement: Arrangement = PLAIN,
    ) -> Message:
        """Answer a view's request for rows, and follow that window from now on.

        It gets the state that was told last: while commits come, the newest one may be a run of
        seconds away, and what comes of it follows as an update.
        """
        with self._lock:
            whole = self.source.shown()
            state = self.arranger.arranged(whole, arrangement)
            start = _clipped(start, stop, state.row_count)[0]
            # Rows that are yet to come are followed too.
            stop = max(start, min(stop, start + WINDOW_ROWS_MAX))
            window = state.window(*_clipped(start, stop, state.row_count))
            self._views.pop(view, None)
            columns = columns_of(window.schema, state.fields, state.formats)
            keys = _keys_of(window, state.key)
            self._views[view] = _View(
                realm, start, stop, self._sequence, keys, columns, now_s, arrangement
            )
            while len(self._views) > VIEWS_MAX:
                del self._views[next(iter(self._views))]
            content = self._state_content(whole, window.schema)
            content |= {"start": start, "rows": window.num_rows, "keys": keys}
            if arrangement != PLAIN:
                content["count"] = state.row_count
            return Message(content, [encode_window(window, columns)])

    def keys_in(self, view: str, start: int, stop: int) -> list[str]:
        """The keys of rows as a view arranges them; none where rows have no keys."""
        state = self._arranged(view)
        return _keys_of(state.window(*_clipped(start, stop, state.row_count)), state.key) or []

    def rows_in(self, view: str) -> tuple[pa.Table, str | None]:
        """All rows as a view arranges them, and the column that names them."""
        state = self._arranged(view)
        return state.window(0, state.row_count), state.key

    def _arranged(self, view: str) -> RowState:
        with self._lock:
            known = self._views.get(view)
            arrangement = PLAIN if known is None else known.arrangement
            return self.arranger.arranged(self.source.current(), arrangement)

    def arrangements(self) -> dict[str, Arrangement]:
        """The open views, and how each is arranged."""
        with self._lock:
            return {name: view.arrangement for name, view in self._views.items()}

    def close_view(self, view: str) -> None:
        """Forget a view that left its page."""
        with self._lock:
            self._views.pop(view, None)

    def hear(self, realm: str, *, now_s: float) -> None:
        """Note that a page is there; views of other pages long silent are forgotten."""
        with self._lock:
            for name, view in list(self._views.items()):
                if view.realm == realm:
                    view.heard_s = now_s
                elif now_s - view.heard_s > VIEW_KEEP_S:
                    del self._views[name]

    @property
    def view_count(self) -> int:
        """Views that are open on some page, as far as is known."""
        return len(self._views)

    def realms(self) -> frozenset[str]:
        """The pages that hold a view of this table."""
        with self._lock:
            return frozenset(view.realm for view in self._views.values())

    def beat(self) -> Message:
        """A message without news: it says that the kernel lives, and what a page has missed."""
        with self._lock:
            return Message({"sequence": self._sequence, "beat": True})

    def take_update(self) -> Message | None:
        """The newest state, as one patch per open view; None when nothing changed or nobody looks.

        Cost: O(rows of the open windows), however large the result is; a view that is arranged
        costs a sort or a filter of all rows.
        """
        with self._pending_lock:
            pending, self._pending = self._pending, _Pending()
        if pending.is_empty or not self._views:
            return None
        try:
            self.source.current()  # may take its time; requests are answered meanwhile
        except Exception:
            with self._lock:
                self._sequence += 1  # the next beat makes every view ask again
            raise
        with self._lock:
            if not self._views:
                return None
            self._sequence += 1
            state = self.source.shown()
            touched = pending.keys if state.number == pending.number else None
            return self._update(state, touched)

    def _update(self, state: RowState, touched: set[str] | None) -> Message:
        patches: list[dict[str, Any]] = []
        message = Message({"views": patches})
        schema = None
        for name, view in self._views.items():
            shown = self.arranger.arranged(state, view.arrangement)
            window = shown.window(*_clipped(view.start, view.stop, shown.row_count))
            schema = window.schema
            patch = self._patch(name, view, window, state, touched, message.buffers)
            if view.arrangement != PLAIN:
                patch["count"] = shown.row_count
            patches.append(patch)
        assert schema is not None, "an update is made only when a view is open"
        message.content |= self._state_content(state, schema)
        return message

    def _patch(
        self,
        name: str,
        view: _View,
        window: pa.Table,
        state: RowState,
        touched: set[str] | None,
        buffers: list[bytes],
    ) -> dict[str, Any]:
        """One view's patch; its fresh rows are appended to `buffers`, and the view moves on."""
        keys = _keys_of(window, state.key)
        base, view.sequence = view.sequence, self._sequence
        old_keys, view.keys = view.keys, keys
        columns = columns_of(window.schema, state.fields, state.formats)
        has_same_columns, view.columns = columns == view.columns, columns
        patch: dict[str, Any] = {"view": name, "start": view.start, "base": base}
        if keys is None or old_keys is None or touched is None or not has_same_columns:
            patch |= {"rows": window.num_rows, "keys": keys}
            fresh = window
        else:
            runs, positions = diff_window(old_keys, keys, touched)
            patch |= {"runs": runs, "keys": [keys[at] for at in positions]}
            fresh = window.take(positions) if positions else window.slice(0, 0)
        if fresh.num_rows:
            patch["buffer"] = len(buffers)
            buffers.append(encode_window(fresh, columns))
        return patch

    def _state_content(self, state: RowState, schema: pa.Schema) -> dict[str, Any]:
        return {"sequence": self._sequence} | state_content(self.source.title, state, schema)


def state_content(title: str, state: RowState, schema: pa.Schema) -> dict[str, Any]:
    """What a page is told of a state besides its rows."""
    columns = columns_of(schema, state.fields, state.formats)
    return {
        "title": cut(title),
        "number": state.number,
        "row_count": state.row_count,
        "columns": [_column_content(column) for column in columns],
        "error": None if state.error is None else cut(state.error),
        "ended": state.ended,
        "shape": state.shape,
    }


def _column_content(column: Column) -> list[Any]:
    name, kind, written = column
    return [cut(name), kind] if written is None else [cut(name), kind, written.to_content()]


def first_page_of(source: RowSource, row_count: int) -> dict[str, Any]:
    """The first rows and all a page needs to draw them, as one value of widget state."""
    state = source.current()
    window = state.window(0, min(state.row_count, row_count))
    return state_content(source.title, state, window.schema) | {
        "start": 0,
        "rows": window.num_rows,
        "keys": _keys_of(window, state.key),
        "arrow": encode_window(window, columns_of(window.schema, state.fields, state.formats)),
    }


def diff_window(
    old: Sequence[str], new: Sequence[str], touched: set[str]
) -> tuple[list[Run], list[int]]:
    """Describe `new` as runs over `old` and over fresh rows; also which rows of `new` are fresh.

    A row is fresh when it was not in the old window or is in `touched`.
    """
    old_at: Mapping[str, int] = {key: at for at, key in enumerate(old) if key not in touched}
    runs: list[Run] = []
    fresh: list[int] = []
    for at, key in enumerate(new):
        source = old_at.get(key)
        if source is None:
            source = -1 - len(fresh)
            fresh.append(at)
        _extend(runs, source)
    return runs, fresh


def _extend(runs: list[Run], source: int) -> None:
    """Append one row to `runs`, to its last run if it goes on there."""
    if runs:
        first, count = runs[-1]
        follows = first + count if first >= 0 else first - count
        if source == follows and (source >= 0) == (first >= 0):
            runs[-1] = (first, count + 1)
            return
    runs.append((source, 1))


def _keys_of(window: pa.Table, key: str | None) -> list[str] | None:
    """The row keys of a window; None without a key column, or when they do not tell rows apart."""
    if key is None or key not in window.column_names:
        return None
    keys = window.column(key).to_pylist()
    names = [each for each in keys if isinstance(each, str)]
    return names if len(set(names)) == len(keys) else None


def _clipped(start: int, stop: int, row_count: int) -> tuple[int, int]:
    start = max(0, min(start, row_count))
    return start, max(start, min(stop, row_count, start + WINDOW_ROWS_MAX))
