"""The commit log of a workspace without a path: a list, gone with the process."""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

from livedb.commitlog.chain import next_chain
from livedb.commitlog.contract import Commit, Head
from livedb.commitlog.head import HeadFile
from livedb.commitlog.sqlite import create_log
from livedb.commitlog.sqlite_file import EMPTY_HEAD, head_path, request_of, translated
from livedb.errors import ClosedError, DuplicateMutationError, LoadError, SnapshotTooOldError


class MemoryCommitLog:
    """A `CommitLog` in memory. Durable means appended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards every field below; taken alone."""
        self._anchor = EMPTY_HEAD
        self._last = (EMPTY_HEAD.number, EMPTY_HEAD.ts)
        self._first_ts: int | None = None
        """Of the first commit that there ever was: nothing before it was truncated either."""
        self._commits: list[Commit] = []
        self._chains: list[bytes] = []
        """As far as somebody asked: a fold or a backup, not each commit, needs the running hash."""
        self._numbers: dict[str, int] = {}
        self._sessions: dict[str, tuple[int, int]] = {}
        """How many of those each session has, and the highest number that it ever had."""
        self._is_closed = False

    @property
    def head(self) -> Head:
        """The last commit. Cost: hashes the commits since it was asked for last."""
        with self._lock:
            number, ts = self._last
            return Head(number=number, ts=ts, chain=self._chain_up_to(number))

    def append(self, commits: Sequence[Commit]) -> None:
        """Append `commits`, all or none; see `CommitLog.append`."""
        with self._lock:
            if self._is_closed:
                raise _closed()
            last, ts = self._last
            identified: list[Commit] = []
            for commit in commits:
                assert commit[0] == last + 1, f"commit {commit[0]} in place of {last + 1}"
                assert commit[1] > ts, "commit timestamps must increase"
                last, ts = commit[0], commit[1]
                if commit[2] is not None:
                    identified.append(commit)
            if identified:
                self._remember(identified)
            if self._first_ts is None and commits:
                self._first_ts = commits[0].ts
            self._commits += commits
            self._last = (last, ts)

    def read(self, *, after: int, until: int | None = None) -> Iterator[Commit]:
        """The commits with `after < number <= until`; see `CommitLog.read`."""
        with self._lock:
            self._check_open()
            end = self._last[0] if until is None else min(until, self._last[0])
            start = self._anchor.number
            if after < end and after < start:
                raise SnapshotTooOldError(
                    f"commits after {after} were asked for, but those up to {start} are no longer"
                    " in the log"
                )
            commits = self._commits[max(after - start, 0) : max(end - start, 0)]
        yield from commits

    @property
    def anchor_number(self) -> int:
        return self._anchor.number

    def chain_at(self, number: int) -> bytes | None:
        """The running hash up to `number`; None when it was truncated or never written."""
        with self._lock:
            self._check_open()
            if self._anchor.number <= number <= self._last[0]:
                return self._chain_up_to(number)
            return None

    def find(self, mutation_id: str) -> Commit | None:
        """The commit that carries `mutation_id`, if it is still remembered."""
        with self._lock:
            self._check_open()
            number = self._numbers.get(mutation_id)
            return None if number is None else self._commits[number - self._anchor.number - 1]

    def newest_request(self, session: str) -> int | None:
        """The highest number of a session's mutation ids; see `CommitLog.newest_request`."""
        with self._lock:
            self._check_open()
            known = self._sessions.get(session)
            return -1 if known is None else known[1]

    def holds(self, ts: int) -> bool:
        """Whether a commit of timestamp `ts` is or was in the log; see `CommitLog.holds`."""
        with self._lock:
            self._check_open()
            if ts <= self._anchor.ts:
                return ts == 0 or (self._first_ts is not None and ts >= self._first_ts)
            at = bisect_left(self._commits, ts, key=lambda commit: commit.ts)
            return at < len(self._commits) and self._commits[at].ts == ts

    def number_at(self, ts: int) -> int | None:
        """The last commit at timestamp `ts`; see `CommitLog.number_at`."""
        with self._lock:
            self._check_open()
            if ts < self._anchor.ts:
                return None
            later = bisect_right(self._commits, ts, key=lambda commit: commit.ts)
            return self._anchor.number + later

    def ts_of(self, number: int) -> int | None:
        """The timestamp of a commit; see `CommitLog.ts_of`."""
        with self._lock:
            self._check_open()
            at = number - self._anchor.number - 1
            if at == -1:
                return self._anchor.ts
            return self._commits[at].ts if 0 <= at < len(self._commits) else None

    def truncate(self, *, until: int, before_ts: int) -> int:
        """Drop commits numbered `until` or less and older than `before_ts`; returns how many."""
        with self._lock:
            self._check_open()
            count = 0
            for commit in self._commits:
                if commit.number > until or commit.ts >= before_ts:
                    break
                count += 1
            if count:
                self._drop(count)
            return count

    def backup(self, path: str) -> None:
        """Write the commits as a log that `SqliteCommitLog` opens to `path`, a new file."""
        target = Path(path)
        if target.exists() or head_path(target).exists():
            raise LoadError(f"the backup {path!r} exists already; choose another name")
        with self._lock:
            self._check_open()
            anchor, commits = self._anchor, list(self._commits)
        try:
            head = create_log(target, anchor, iter(commits))
            HeadFile.create(head_path(target), head.number, head.chain).close()
        except (sqlite3.Error, OSError) as error:
            target.unlink(missing_ok=True)
            raise translated(error, target, "write") from error

    def close(self) -> None:
        """Refuse further calls; closing twice is harmless."""
        self._is_closed = True

    def _chain_up_to(self, number: int) -> bytes:
        chains, start = self._chains, self._anchor.number
        chain = chains[-1] if chains else self._anchor.chain
        for commit in self._commits[len(chains) : number - start]:
            chain = next_chain(chain, commit)
            chains.append(chain)
        return self._anchor.chain if number == start else chains[number - start - 1]

    def _remember(self, identified: Sequence[Commit]) -> None:
        added = {commit.mutation_id: commit.number for commit in identified}
        if len(added) < len(identified) or not self._numbers.keys().isdisjoint(added):
            raise DuplicateMutationError(
                "a commit with the same mutation id is in the log already; find() returns it"
            )
        self._numbers.update(added)  # type: ignore[arg-type]  # None was left out
        for commit in identified:
            session, request = _parted(commit)
            count, newest = self._sessions.get(session, (0, -1))
            self._sessions[session] = count + 1, max(newest, request)

    def _drop(self, count: int) -> None:
        for commit in self._commits[:count]:
            if commit.mutation_id is not None:
                del self._numbers[commit.mutation_id]
                session, _ = _parted(commit)
                remembered, newest = self._sessions.pop(session)
                if remembered > 1:
                    self._sessions[session] = remembered - 1, newest
        last = self._commits[count - 1]
        chain = self._chain_up_to(last.number)
        self._anchor = Head(number=last.number, ts=last.ts, chain=chain)
        del self._commits[:count], self._chains[:count]

    def _check_open(self) -> None:
        if self._is_closed:
            raise _closed()


def _parted(commit: Commit) -> tuple[str, int]:
    """Session and number of a mutation id."""
    assert commit.mutation_id is not None, "only identified commits have a session"
    session, _, _ = commit.mutation_id.rpartition(":")
    return session, request_of(commit.mutation_id)


def _closed() -> ClosedError:
    return ClosedError("the log is closed")
