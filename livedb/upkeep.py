"""Upkeep of an open workspace: folds, old versions, the past, the log, packed tables, orphans."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from livedb.clock import Clock
from livedb.commitlog.contract import CommitLog
from livedb.errors import LivedbError
from livedb.files.storage import FileStorage
from livedb.limits import Limits
from livedb.past.retention import Retention
from livedb.store.rows import RowStore
from livedb.transactions.committer import Committer
from livedb.transactions.folder import Folder

logger = logging.getLogger("livedb")

_MAINTENANCE_S = 0.25
_TRUNCATE_S = 60.0
_COLLECT_S = 60.0
_KEPT_COMMITS_MAX = 50_000
"""Superseded commits kept readable at most, however young: memory has a bound."""


class Upkeep:
    """The thread `livedb-upkeep` of one workspace, started at once. `close()` it.

    Args:
        name: the workspace's, for messages.
        oldest_active: the oldest number a run in progress reads at; None when nothing runs.
        retry_window_s: how long a mutation id is remembered.
        retention: how far back the past is kept, and the log with it.
    """

    def __init__(
        self,
        *,
        name: str,
        committer: Committer,
        folder: Folder,
        rows: RowStore,
        log: CommitLog,
        oldest_active: Callable[[], int | None],
        clock: Clock,
        limits: Limits,
        retry_window_s: float,
        retention: Retention,
        files: FileStorage,
    ) -> None:
        self._name = name
        self._committer = committer
        self._folder = folder
        self._rows = rows
        self._log = log
        self._oldest_active = oldest_active
        self._clock = clock
        self._limits = limits
        self._retry_window_s = retry_window_s
        self._retention = retention
        self._files = files
        self._kept = [(clock.monotonic_s(), committer.published)]
        """When a published number was first seen; the first has all that came before it."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._maintain, name="livedb-upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; what it was doing is finished first."""
        self._stop.set()
        self._thread.join()

    def _maintain(self) -> None:
        idle_since = self._clock.monotonic_s()
        seen = self._committer.published
        truncated = idle_since - _TRUNCATE_S
        collected, collected_at = idle_since - _COLLECT_S, -1
        while not self._stop.wait(_MAINTENANCE_S):
            try:
                now = self._clock.monotonic_s()
                self._release(now)
                if self._committer.published != seen:
                    seen, idle_since = self._committer.published, now
                pending = self._folder.pending
                is_idle = now - idle_since >= self._limits.fold_idle_s
                if pending and (is_idle or pending >= self._limits.fold_backlog_max):
                    self._folder.fold()
                if now - truncated >= _TRUNCATE_S:
                    truncated = now
                    self._truncate_log()
                if now - collected >= _COLLECT_S and collected_at != seen:
                    collected = now
                    self._files.collect()
                    collected_at = seen  # one that failed is tried again without a commit
                for table in self._rows.repack_wanted():
                    self._rows.repack(table)
            except LivedbError as error:
                logger.warning("upkeep of %s failed and will be tried again: %s", self._name, error)
            except Exception:  # the job worker: log it and go on
                logger.exception("upkeep of %s failed", self._name)

    def _release(self, now: float) -> None:
        """Forget versions that no run reads and that are older than `snapshot_keep_s`."""
        published = self._committer.published
        if self._kept[-1][1] != published:
            self._kept.append((now, published))
        horizon = now - self._limits.snapshot_keep_s
        while len(self._kept) > 1 and self._kept[1][0] <= horizon:
            self._kept.pop(0)
        oldest = max(self._kept[0][1], published - _KEPT_COMMITS_MAX)
        active = self._oldest_active()
        if active is not None:
            oldest = min(oldest, active)
        # Live results pin nothing: they are kept as text, and run again at the newest commit.
        folded = self._folder.folded_number
        self._committer.release(min(oldest, published), folded=folded)

    def _truncate_log(self) -> None:
        """Drop commits that no past has, and so the tables hold, and that no retry can ask for."""
        before_ts = self._clock.now_ns() - int(self._retry_window_s * 1e9)
        self._log.truncate(until=self._retention.forget(), before_ts=before_ts)
