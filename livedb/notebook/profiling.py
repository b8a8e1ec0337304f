"""When columns are profiled, and what each view still needs to hear of it.

A page says which columns its views have in sight (`TableProfiles.want`); what their heads tell is
counted on one thread of the kernel (`Profiler`), never where updates leave or requests are
answered. After a change a table waits a moment, so that a burst is counted once, and rests nine
times as long as its last count took: however large the table and however many the commits, heads
take a tenth of a core at most.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from livedb.clock import Clock, SystemClock
from livedb.notebook.arrangement import Arrangement, places_of, whole_column
from livedb.notebook.cells import columns_of
from livedb.notebook.feed import VIEWS_MAX, TableFeed
from livedb.notebook.profiles import Profile, for_page, found_of, profile_of
from livedb.process_lock import ProcessLock

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.notebook.rows import RowState

COLUMNS_MAX = 64
"""Columns of a view that are profiled; a page has fewer in sight."""

QUIET_S = 0.3
"""Seconds from a change to the count, which then has the changes that came meanwhile too."""

REST_SHARE = 9
"""How many times as long as a count took a table then rests."""

logger = logging.getLogger("livedb")


class TableProfiles:
    """The profiles of one table's columns, for the views that have them in sight.

    `want` and `close_view` may be called by any thread; `messages` by one at a time.
    """

    def __init__(self, feed: TableFeed) -> None:
        self._feed = feed
        self._lock = threading.Lock()  # guards the two below; innermost, held for a moment
        self._wanted: dict[str, tuple[int, ...]] = {}
        self._told: dict[str, dict[int, Profile]] = {}
        self._counted_of: pa.Table | None = None
        self._counted: dict[int, Profile] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether any view shows heads."""
        return bool(self._wanted)

    def want(self, view: str, columns: tuple[int, ...]) -> None:
        """Note which columns a view has in sight; it is told of them anew."""
        with self._lock:
            self._wanted.pop(view, None)
            self._told.pop(view, None)
            if columns:
                self._wanted[view] = columns[:COLUMNS_MAX]
            while len(self._wanted) > VIEWS_MAX:
                self._told.pop(next(iter(self._wanted)), None)
                del self._wanted[next(iter(self._wanted))]

    def close_view(self, view: str) -> None:
        """Forget a view that left its page."""
        self.want(view, ())

    def messages(self) -> Iterator[dict[str, Any]]:
        """What each open view has not been told yet.

        Cost: that of counting (`profile_of`) every column in sight when the rows are other ones
        than at the last call, and once more the rows that a view's filters leave.
        """
        arrangements = self._feed.arrangements()
        with self._lock:
            wanted = {view: at for view, at in self._wanted.items() if view in arrangements}
        state = self._feed.source.current() if wanted else None
        if state is None or state.shape != "rows":
            return
        table = state.window(0, state.row_count)
        self._keep_counted(table)
        for view, columns in wanted.items():
            profiles = self._of_view(state, table, columns, arrangements[view])
            news = self._news(view, profiles)
            if news:
                yield {"kind": "profiles", "view": view, "columns": news}

    def _keep_counted(self, table: pa.Table) -> None:
        """Forget what was counted when the rows are others."""
        known = self._counted_of
        is_same = known is not None and (
            known is table
            or (known.schema == table.schema and places_of(known) == places_of(table))
        )
        if not is_same:
            self._counted_of, self._counted = table, {}

    def _of_view(
        self,
        state: RowState,
        table: pa.Table,
        positions: tuple[int, ...],
        arrangement: Arrangement,
    ) -> dict[int, Profile]:
        columns = columns_of(table.schema, state.fields)
        is_filtered = bool(arrangement.filters or arrangement.search)
        numbers = (
            self._feed.arranger.row_numbers(state, table, arrangement) if is_filtered else None
        )
        profiles = {}
        for at in positions:
            if at >= len(columns):
                continue
            array, column = whole_column(table, at), columns[at]
            if at not in self._counted:
                self._counted[at] = profile_of(array, column, is_key=column.name == state.key)
            profile = self._counted[at]
            profiles[at] = (
                for_page(profile)
                if numbers is None
                else found_of(profile, array.take(numbers), column)
            )
        return profiles

    def _news(self, view: str, profiles: dict[int, Profile]) -> list[tuple[int, Profile]]:
        with self._lock:
            if view not in self._wanted:
                return []
            told = self._told.get(view, {})
            self._told[view] = profiles
            return [(at, profile) for at, profile in profiles.items() if told.get(at) != profile]


class Profiled(Protocol):
    """A table whose heads a `Profiler` keeps true."""

    @property
    def address(self) -> str:
        """The name by which it is known."""
        ...

    def send_profiles(self) -> None:
        """Count, and tell the pages what they do not know."""
        ...


class Profiler:
    """Counts for the tables of a kernel, one after another, on a daemon thread of its own."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        # Guards the fields below. Held for a moment only and never while a table is called.
        self._condition = threading.Condition()
        self._due: dict[str, tuple[float, Profiled]] = {}
        self._rested_s: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def ask(self, table: Profiled) -> None:
        """Count for a page that waits for it; returns at once."""
        self._schedule(table, self._clock.monotonic_s())

    def note_change(self, table: Profiled) -> None:
        """Count in a while, as rows changed; returns at once."""
        now_s = self._clock.monotonic_s()
        with self._condition:
            if table.address in self._due:
                return
            due_s = max(now_s + QUIET_S, self._rested_s.get(table.address, now_s))
        self._schedule(table, due_s)

    def leave(self, address: str) -> None:
        """Forget a table."""
        with self._condition:
            self._due.pop(address, None)
            self._rested_s.pop(address, None)

    def _schedule(self, table: Profiled, due_s: float) -> None:
        with self._condition:
            known_s = self._due.get(table.address, (due_s, table))[0]
            self._due[table.address] = (min(due_s, known_s), table)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="livedb-profiler", daemon=True
                )
                self._thread.start()
            self._condition.notify()

    def _run(self) -> None:
        while True:
            self.count_next()

    def count_next(self, *, wait: bool = True) -> bool:
        """Count for the table whose time has come; without `wait`, False when there is none."""
        table = self._next(wait=wait)
        if table is None:
            return False
        begun_s = self._clock.monotonic_s()
        try:
            table.send_profiles()
        except Exception:  # the widget callback: heads are told with the next change
            logger.exception("livedb: the columns of a table could not be profiled")
        now_s = self._clock.monotonic_s()
        with self._condition:
            self._rested_s = {each: s for each, s in self._rested_s.items() if s > now_s}
            self._rested_s[table.address] = now_s + REST_SHARE * (now_s - begun_s)
        return True

    def _next(self, *, wait: bool) -> Profiled | None:
        with self._condition:
            while True:
                now_s = self._clock.monotonic_s()
                address = min(self._due, key=lambda each: self._due[each][0], default=None)
                if address is not None and self._due[address][0] <= now_s:
                    return self._due.pop(address)[1]
                if not wait:
                    return None
                self._condition.wait(None if address is None else self._due[address][0] - now_s)


_kernel_profiler: Profiler | None = None
_kernel_lock = ProcessLock()  # guards `_kernel_profiler`


def kernel_profiler() -> Profiler:
    """The profiler of this process, made at first use."""
    global _kernel_profiler  # noqa: PLW0603 - one per process is what it is for
    with _kernel_lock:
        if _kernel_profiler is None:
            _kernel_profiler = Profiler()
        return _kernel_profiler
