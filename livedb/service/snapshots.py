"""Commits that stay readable for clients: what `with db.snapshot()` of a connected `db` holds.

A snapshot is a read-only transaction of DuckDB and a claim on the documents in memory, both at the
commit that the client's live results are at. It costs what it keeps others from forgetting, so a
connection has at most `CONNECTION_SNAPSHOTS_MAX` and the service `SNAPSHOTS_MAX`, each for
`SNAPSHOT_S_MAX` seconds; it ends with its connection at the latest.

Blocking: called on the hub's threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from livedb.errors import (
    ClosedError,
    FunctionTimeoutError,
    InvalidValueError,
    LimitError,
    SnapshotTooOldError,
)
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.store.snapshot import SqlSnapshot

SNAPSHOTS_MAX = 64
"""Snapshots of all connections; a further one is refused."""

CONNECTION_SNAPSHOTS_MAX = 4
"""Snapshots of one connection; a further one is refused."""

SNAPSHOT_S_MAX = 600.0
"""Seconds until a snapshot ends by itself."""


class _Pinned:
    """A commit that is readable until it is ended."""

    def __init__(self, workspace: Workspace, number: int | None, owner: object) -> None:
        self.owner = owner
        self.is_ended = False
        with ExitStack() as undo:
            kept = workspace.committer.published if number is None else number
            undo.enter_context(workspace.runner.keeping(kept))
            folder = workspace.folder
            self.sql: SqlSnapshot = (
                folder.snapshot() if number is None else folder.snapshot_at(number)
            )
            undo.callback(self.sql.end)
            self._kept = undo.pop_all()
        self.timer: threading.Timer | None = None

    def end(self) -> None:
        self.is_ended = True
        if self.timer is not None:
            self.timer.cancel()
        self._kept.close()


class Snapshots:
    """The snapshots of one service's connections."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        """Guards `_pinned`; taken alone."""
        self._pinned: dict[str, _Pinned] = {}

    def __len__(self) -> int:
        return len(self._pinned)

    def pin(self, name: str, number: int | None, owner: object) -> int:
        """Keep a commit readable for a connection; again by the same name is harmless.

        Args:
            number: the commit; None for the newest, whichever it is: that is always there.

        Returns: the commit.

        Raises:
            SnapshotTooOldError: the tables have gone beyond it; a newer one may do.
            LimitError: there are too many.
            InvalidValueError: there is no such commit yet.
        """
        published = self._workspace.committer.published
        if number is not None and number > published:
            raise InvalidValueError(f"Commit {number} is not there; the newest is {published}")
        with self._lock:
            known = self._pinned.get(name)
            if known is not None:
                return known.sql.number
            self._require_room(owner)
        pinned = _Pinned(self._workspace, number, owner)
        with self._lock:
            try:
                self._require_room(owner)
            except LimitError:
                pinned.end()
                raise
            self._pinned[name] = pinned
        pinned.timer = threading.Timer(SNAPSHOT_S_MAX, self.unpin, [name])
        pinned.timer.name = "livedb-snapshot"
        pinned.timer.daemon = True
        pinned.timer.start()
        return pinned.sql.number

    def _require_room(self, owner: object) -> None:
        own = sum(1 for each in self._pinned.values() if each.owner is owner)
        if own >= CONNECTION_SNAPSHOTS_MAX or len(self._pinned) >= SNAPSHOTS_MAX:
            raise LimitError(
                f"A service holds at most {CONNECTION_SNAPSHOTS_MAX} snapshots for one connection "
                f"and {SNAPSHOTS_MAX} for all; leave a `with db.snapshot()` first",
                code="TooManySnapshots",
            )

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Within it this thread reads by a snapshot.

        Raises:
            SnapshotTooOldError: it has ended, or ends meanwhile.
        """
        with self._lock:
            pinned = self._pinned.get(name)
        if pinned is None:
            raise _ended()
        try:
            with self._workspace.folded_sql.holding(pinned.sql):
                yield
        except (ClosedError, FunctionTimeoutError):
            if pinned.is_ended and not self._workspace.is_closed:
                raise _ended() from None
            raise

    def unpin(self, name: str) -> None:
        """End a snapshot; twice is harmless."""
        with self._lock:
            pinned = self._pinned.pop(name, None)
        if pinned is not None:
            pinned.end()

    def leave(self, owner: object) -> None:
        """A connection has ended, and with it its snapshots."""
        self._end_all(lambda each: each.owner is owner)

    def close(self) -> None:
        """End all."""
        self._end_all(lambda _: True)

    def _end_all(self, is_meant: Callable[[_Pinned], bool]) -> None:
        with self._lock:
            names = [name for name, each in self._pinned.items() if is_meant(each)]
        for name in names:
            self.unpin(name)


def _ended() -> SnapshotTooOldError:
    return SnapshotTooOldError(
        f"This db.snapshot() has ended: a service holds one for {SNAPSHOT_S_MAX / 60:.0f} minutes "
        "at most, and only as long as the connection it was made on. Take a new one."
    )
