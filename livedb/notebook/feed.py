"""What the open views of one table have been sent, and what each still needs. No comm, no thread.

Theory of operation. A *view* is one table on one page; it asks for a window of rows
`[start, stop)` and gets it whole, as Arrow. From then on the feed remembers the rows that this view
holds, and every `take_update` reads the newest state and describes the new window as *runs* over
the old one: "rows 0-11 as before, one new row, rows 12-48 as before", with only new and changed
rows beside them. Which rows changed is seen by comparing, so it holds for any source whose rows
have keys, and a patch is always of one whole commit.

Each update has a sequence number; each patch names the number of the window it is based on. A view
that holds another one has missed something and asks again: no message is ever needed twice, and a
lost or late one costs one round trip. What seldom changes (title, columns) is the *head* of a
state; it has a number, too, and travels with the update that changes it and with every answer.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from livedb.notebook.arrangement import PLAIN, Arrangement, Arranger
from livedb.notebook.cells import (
    Column,
    changed_rows,
    columns_of,
    cut,
    encode_rows,
    json_rows,
    plain_rows,
)

if TYPE_CHECKING:
    from livedb.notebook.rows import RowSource, RowState

WINDOW_ROWS_MAX = 1_000
"""Rows of one window; a request for more gets its beginning."""

VIEWS_MAX = 32
"""Views a table remembers; the oldest is forgotten, and asks again by itself."""

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
    """The window a view holds: `keys` name its `rows`, None when they cannot.

    Attributes:
        base: what its page has once it has all that was sent: the update, or minus the request
            whose answer it is. An answer that is lost leaves the page with another.
    """

    realm: str
    start: int
    stop: int
    base: int
    number: int
    keys: list[str] | None
    rows: pa.RecordBatch
    columns: list[Column]
    heard_s: float
    arrangement: Arrangement


class TableFeed:
    """The views of one `RowSource` and the messages that keep them right.

    Any thread may call its methods. They exclude each other, as a reply and an update must not both
    extend the same window.
    """

    def __init__(self, source: RowSource) -> None:
        self.source = source
        self._views: dict[str, _View] = {}
        self._sequence = 0
        self._head: dict[str, Any] = {}
        self._head_number = 0
        self._sent_head_number = 0
        """The head that the last update had; views since then have it from their answer."""
        self._told: RowState | None = None
        """The state of the last update, before the first one that of the first answer."""
        self.arranger = Arranger()
        self._lock = threading.Lock()
        """Guards all; taken before any lock of the source."""

    def open_window(
        self,
        view: str,
        realm: str,
        start: int,
        stop: int,
        *,
        now_s: float,
        arrangement: Arrangement = PLAIN,
        request: int = 1,
    ) -> Message:
        """Answer a view's request for rows, and follow that window from now on.

        It gets the state that was told last: while commits come, the newest one may be a run of
        seconds away, and what comes of it follows as an update.

        Args:
            request: a number above 0 that its page gives once.
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
            keys, rows = _keys_of(window, state.key), plain_rows(window, columns)
            self._views[view] = _View(
                realm,
                start,
                stop,
                -request,
                whole.number,
                keys,
                rows,
                columns,
                now_s,
                arrangement,
            )
            while len(self._views) > VIEWS_MAX:
                del self._views[next(iter(self._views))]
            content = {"sequence": self._sequence} | _news_of(whole)
            content |= self._numbered_head(whole, columns)
            if self._told is None:
                self._told, self._sent_head_number = whole, self._head_number
            content |= {"start": start, "rows": rows.num_rows, "keys": keys}
            if arrangement != PLAIN:
                content["count"] = state.row_count
            return Message(content, [encode_rows(rows)])

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

    def take_update(self, state: RowState) -> Message | None:
        """A state, as one patch per open view; None when nothing changed or nobody looks.

        Cost: O(rows of the open windows), however large the result is; a view that is arranged
        costs a sort or a filter of all rows.
        """
        with self._lock:
            if not self._views or self._is_told(state):
                return None
            if any(view.number > state.number for view in self._views.values()):
                return None  # it was scrolled meanwhile: the update that follows has all
            try:
                return self._update(state)
            except Exception:
                self._sequence += 1  # the next beat makes every view ask again
                raise

    def _is_told(self, state: RowState) -> bool:
        """Whether it is the one of the last update but for its number, which alone is no news."""
        told = self._told
        if told is None or told.identity is not state.identity:
            return False
        return told == replace(state, number=told.number, window=told.window)

    def _update(self, state: RowState) -> Message | None:
        patches: list[dict[str, Any]] = []
        buffers: list[bytes] = []
        is_changed = False
        for name, view in self._views.items():
            shown = self.arranger.arranged(state, view.arrangement)
            window = shown.window(*_clipped(view.start, view.stop, shown.row_count))
            old_rows = view.rows
            patch = {"view": name} | self._patch(view, window, state, buffers)
            is_changed |= patch.get("runs") != _all_rows(old_rows)
            if view.arrangement != PLAIN:
                patch["count"] = shown.row_count
            patches.append(patch)
        head, news = self._numbered_head(state, view.columns), _news_of(state)
        is_known = head["head"] == self._sent_head_number
        told, self._told = self._told, state
        if is_known and told is not None and news == _news_of(told) and not is_changed:
            return None
        self._sent_head_number = head["head"]
        self._sequence += 1
        for view in self._views.values():
            view.base, view.number = self._sequence, state.number
        content = {"sequence": self._sequence, "views": patches} | news
        content |= {"head": head["head"]} if is_known else head
        return Message(content, buffers)

    def _patch(
        self, view: _View, window: pa.Table, state: RowState, buffers: list[bytes]
    ) -> dict[str, Any]:
        """One view's patch; its fresh rows may be appended to `buffers`, and the view moves on."""
        columns = columns_of(window.schema, state.fields, state.formats)
        keys, rows = _keys_of(window, state.key), plain_rows(window, columns)
        old_keys, old_rows = view.keys, view.rows
        patch: dict[str, Any] = {"start": view.start, "base": view.base}
        is_alike = columns == view.columns and rows.schema == old_rows.schema
        view.keys, view.rows, view.columns = keys, rows, columns
        if is_alike and keys is None and _are_same(old_rows, rows):
            return patch | {"runs": _all_rows(rows)}
        if keys is None or old_keys is None or not is_alike:
            patch |= {"rows": rows.num_rows, "keys": keys, "buffer": len(buffers)}
            buffers.append(encode_rows(rows))
            return patch
        touched = _touched_keys(old_keys, old_rows, keys, rows)
        runs, positions = diff_window(old_keys, keys, touched)
        patch["runs"] = runs
        if positions:
            fresh = rows.take(pa.array(positions))
            patch["keys"] = [keys[at] for at in positions]
            if (cells := json_rows(fresh, columns)) is not None:
                patch["cells"] = cells
            else:
                patch["buffer"] = len(buffers)
                buffers.append(encode_rows(fresh))
        return patch

    def _numbered_head(self, state: RowState, columns: Sequence[Column]) -> dict[str, Any]:
        head = _head_of(self.source.title, state, columns)
        if head != self._head:
            self._head = head
            self._head_number += 1
        return {"head": self._head_number} | head


def _head_of(title: str, state: RowState, columns: Sequence[Column]) -> dict[str, Any]:
    """What of a state seldom changes."""
    return {
        "title": cut(title),
        "columns": [_column_content(column) for column in columns],
        "shape": state.shape,
    }


def _news_of(state: RowState) -> dict[str, Any]:
    """What of a state changes with every commit, besides its rows."""
    news = {"number": state.number, "row_count": state.row_count}
    error = None if state.error is None else cut(state.error)
    said = {"error": error, "ended": state.ended}
    return news | {name: text for name, text in said.items() if text is not None}


def _all_rows(rows: pa.RecordBatch) -> list[Run]:
    """The runs that keep a window as it is."""
    return [(0, rows.num_rows)] if rows.num_rows else []


def _are_same(old: pa.RecordBatch, new: pa.RecordBatch) -> bool:
    return old.num_rows == new.num_rows and not any(changed_rows(old, new))


def _column_content(column: Column) -> list[Any]:
    name, kind, written = column
    return [cut(name), kind] if written is None else [cut(name), kind, written.to_content()]


def first_page_of(source: RowSource, row_count: int) -> dict[str, Any]:
    """The first rows and all a page needs to draw them, as one value of widget state."""
    state = source.current()
    window = state.window(0, min(state.row_count, row_count))
    columns = columns_of(window.schema, state.fields, state.formats)
    return {
        **_head_of(source.title, state, columns),
        **_news_of(state),
        "start": 0,
        "rows": window.num_rows,
        "keys": _keys_of(window, state.key),
        "arrow": encode_rows(plain_rows(window, columns)),
    }


def _touched_keys(
    old_keys: Sequence[str], old: pa.RecordBatch, keys: Sequence[str], new: pa.RecordBatch
) -> set[str]:
    """The keys of rows that both windows have, and that differ."""
    if old_keys != keys:
        old_at = {key: at for at, key in enumerate(old_keys)}
        both = [at for at, key in enumerate(keys) if key in old_at]
        old = old.take(pa.array([old_at[keys[at]] for at in both], pa.int64()))
        new = new.take(pa.array(both, pa.int64()))
        keys = [keys[at] for at in both]
    return {key for key, differs in zip(keys, changed_rows(old, new), strict=True) if differs}


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
