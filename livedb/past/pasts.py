"""The pasts of a workspace that are readable now: which commit is meant, and its copy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from livedb.errors import ClosedError, InvalidValueError
from livedb.past.view import Past
from livedb.past.when import checked_when
from livedb.store.past import too_old

if TYPE_CHECKING:
    from livedb.clock import Clock
    from livedb.commitlog.contract import CommitLog
    from livedb.limits import Limits
    from livedb.transactions.committer import Committer
    from livedb.transactions.folder import Folder

PASTS_MAX = 4
"""Pasts whose copies are kept; of more, the one not read for the longest time is dropped, and made
again when somebody reads it. Those that are being read do not count."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Kept:
    """A past, or what stands for one that is being made."""

    def __init__(self) -> None:
        self.past: Past | None = None
        self.making = Lock()
        self.readers = 0


class Pasts:
    """The pasts of one workspace. `close()` it.

    Args:
        staging: a folder for their databases; None keeps them in memory.
        loads_folder: the workspace's.
    """

    def __init__(
        self,
        *,
        folder: Folder,
        committer: Committer,
        log: CommitLog,
        limits: Limits,
        clock: Clock,
        staging: Path | None,
        loads_folder: Path,
    ) -> None:
        self._folder = folder
        self._committer = committer
        self._log = log
        self._limits = limits
        self._clock = clock
        self._staging = staging
        self._loads_folder = loads_folder
        self._lock = Lock()
        """Guards `_kept` and its readers; nothing is taken inside it."""
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._is_closed = False

    @property
    def oldest(self) -> int:
        """The oldest commit that can be read."""
        return max(self._folder.oldest_kept, self._log.anchor_number)

    def number_of(self, when: int | datetime) -> int:
        """The commit that a number or a time means: of a time, the last one until then.

        Raises:
            InvalidValueError: it is none, or it has not come yet; a datetime without a time zone.
            PastTooOldError: it is no longer kept.
        """
        meant = checked_when(when)
        number = self._number_at(meant) if isinstance(meant, datetime) else self._made_by_now(meant)
        oldest = self.oldest
        if number is None or number < oldest:
            raise too_old(f"What was at {_shown(meant)}", oldest)
        return number

    def _made_by_now(self, number: int) -> int:
        published = self._committer.published
        if number > published:
            raise InvalidValueError(f"There is no commit {number} yet; the newest is {published}")
        return number

    def _number_at(self, moment: datetime) -> int | None:
        since = moment - EPOCH
        ts = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
        if ts > max(self._clock.now_ns(), self._log.head.ts):
            raise InvalidValueError(f"{moment.isoformat()} has not come yet: that is no past")
        # Of a microsecond all of it: what a commit's time is shown as means that commit.
        number = self._log.number_at(ts + 999) if ts >= 0 else 0
        return None if number is None else min(number, self._committer.published)

    def time_of(self, number: int) -> datetime | None:
        """When a commit was made; None of commit 0, and where nobody knows any more."""
        ts = self._log.ts_of(number)
        return datetime_of(ts) if ts else None

    @contextmanager
    def reading(self, number: int) -> Iterator[Past]:
        """A past to read, which stays until the end of the block.

        Raises:
            PastTooOldError: it is no longer kept.
        Cost: a few ms when it was not read before, and then per table: see `Past`.
        """
        with self._lock:
            if self._is_closed:
                raise ClosedError("The workspace is closed")
            kept = self._kept.setdefault(number, _Kept())
            self._kept.move_to_end(number)
            kept.readers += 1
        try:
            with kept.making:
                if kept.past is None:
                    kept.past = self._made(number)
            yield kept.past
        finally:
            with self._lock:
                kept.readers -= 1
                left = self._left_over(excess=len(self._kept) - PASTS_MAX)
            for each in left:
                each.close()

    def _made(self, number: int) -> Past:
        path = None
        if self._staging is not None:
            self._staging.mkdir(parents=True, exist_ok=True)
            path = self._staging / f"past-{self._clock.random_bytes(8).hex()}.duckdb"
        return Past(
            number,
            source=self._folder,
            limits=self._limits,
            clock=self._clock,
            path=path,
            loads_folder=self._loads_folder,
        )

    def _left_over(self, *, excess: int) -> list[Past]:
        """Take out `excess` of those that nobody reads, oldest first; all, once it is closed.

        One that could not be made is taken out too.
        """
        idle = [number for number, each in self._kept.items() if not each.readers]
        gone = idle if self._is_closed else idle[: max(0, excess)]
        gone = gone + [number for number in idle if self._kept[number].past is None]
        taken = [self._kept.pop(number).past for number in dict.fromkeys(gone)]
        return [each for each in taken if each is not None]

    def drop_idle(self) -> None:
        """Drop the copies that nobody reads; they are made again when somebody does."""
        with self._lock:
            left = self._left_over(excess=len(self._kept))
        for each in left:
            each.close()

    def close(self) -> None:
        """Drop every copy; one that is being read, when that ends."""
        with self._lock:
            self._is_closed = True
        self.drop_idle()


def datetime_of(ts: int) -> datetime:
    """A timestamp in nanoseconds as a moment, to the microsecond."""
    return datetime.fromtimestamp(ts // 10**9, tz=UTC).replace(microsecond=ts // 1000 % 10**6)


def _shown(when: int | datetime) -> str:
    return when.isoformat() if isinstance(when, datetime) else f"commit {when}"
