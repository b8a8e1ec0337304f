"""The commit log's contract: ordered, durable commits, wherever they are kept.

Everything above this interface is ignorant of where the log lives: a SQLite file beside the
workspace, memory for a workspace without a path, a PostgreSQL table when scaled out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Commit(NamedTuple):
    """One commit as it is logged.

    A NamedTuple, not a dataclass: the log writer hands thousands a second to SQLite as rows.
    """

    number: int
    """Dense, from 1: the order of commits inside."""
    ts: int
    """Nanoseconds since the epoch, greater than every earlier commit's: the order on the wire."""
    mutation_id: str | None
    """The caller's `session:request`, by which a retry finds this commit."""
    function: str | None
    args_hash: bytes | None
    result: bytes | None
    """Encoded result, kept only when there is a `mutation_id` to ask for it."""
    log_lines: bytes | None
    author: str | None
    payload: bytes
    """What the commit did: `commitlog.payload` reads and writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a log ends: the last number, its ts, and the running hash up to it."""

    number: int
    ts: int
    chain: bytes


class CommitLog(Protocol):
    """An append-only sequence of commits. One thread appends; any thread reads."""

    @property
    def head(self) -> Head:
        """The last durable commit; number 0, ts 0 for an empty log."""

    def append(self, commits: Sequence[Commit]) -> None:
        """Make `commits`, numbered densely from `head.number + 1`, durable: all or none.

        Raises:
            LogError: nothing was appended, and the same call may be made again; unless its `code`
                is "LogDeleted": then there is no log any more; or "LogUnknown": then opening the
                log again shows whether the commits are kept, and until then it takes no more.
            DuplicateMutationError: another commit carries one of the mutation ids; nothing was
                appended, and `find` gives that commit.
        """

    def read(self, *, after: int, until: int | None = None) -> Iterator[Commit]:
        """The commits with `after < number <= until`, in order, checked against the chain.

        Raises:
            SnapshotTooOldError: commits after `after` were truncated.
            DamagedError: the next commit is not the one that was appended.
        """

    @property
    def anchor_number(self) -> int:
        """The last commit that was truncated; 0 when the log has all of them."""
        ...

    def chain_at(self, number: int) -> bytes | None:
        """The running hash up to `number` (`chain.EMPTY_CHAIN` at 0).

        None when it was truncated or never written; the last truncated number still has its
        chain, since the log continues from there.
        """

    def find(self, mutation_id: str) -> Commit | None:
        """The commit that carries `mutation_id`, if it is still remembered."""

    def newest_request(self, session: str) -> int | None:
        """The highest number of the mutation ids `session:number` that are still remembered.

        -1 when there are none, None when there are too many to tell.
        """

    def holds(self, ts: int) -> bool:
        """Whether a commit of timestamp `ts` is in the log, or may have been and was truncated.

        0 stands for the state before all commits, which every log has.
        """

    def number_at(self, ts: int) -> int | None:
        """The last commit that was there at timestamp `ts`; None when it may have been truncated.

        0 when there was none yet. Cost: O(log commits) reads.
        """

    def ts_of(self, number: int) -> int | None:
        """The timestamp of a commit, 0 of commit 0; None when it was truncated or never written."""

    def truncate(self, *, until: int, before_ts: int) -> int:
        """Drop commits numbered `until` or less and older than `before_ts`; returns how many.

        The head stays where it is, even when no commit is left.
        """

    def backup(self, path: str) -> None:
        """Write a copy that opens by itself to `path`, through this log's own connection.

        Raises:
            LoadError: something is at `path` already.
            LogError: the copy could not be written; nothing of it is left.
        """

    def close(self) -> None:
        """Flush and release; closing twice is harmless."""
