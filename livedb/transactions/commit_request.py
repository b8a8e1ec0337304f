"""A finished transaction on its way through the committer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from livedb.commitlog.payload import Part
from livedb.errors import LivedbError
from livedb.schema.catalog import Catalog
from livedb.transactions.reads import ReadSet, WriteSet
from livedb.transactions.signals import is_main_thread
from livedb.transactions.turn import TurnHolder

_LOOK_S = 0.5
"""Between two looks of a waiting caller at whether it was answered unseen."""

Reply = Callable[[Sequence["CommitRequest"]], None]
"""Is told of requests whose outcome is known, all of a batch at once. It runs on the thread that
answers, under its locks: it may not wait, ask the committer for anything, or raise."""


class CommitDetails(NamedTuple):
    """What the log keeps of the call that led to a commit."""

    function: str | None = None
    author: str | None = None
    mutation_id: str | None = None
    args_hash: bytes | None = None
    result: bytes | None = None
    log_lines: bytes | None = None


NO_DETAILS = CommitDetails()


class CommitRequest:
    """One finished transaction on its way; immutable but for its outcome.

    `done` is locked until the outcome is known: then `number` is the commit's, or `error` is set.
    Of a request that was handed over `reply` is told instead.
    """

    __slots__ = (
        "_claim",
        "about",
        "begin",
        "catalog",
        "change",
        "details",
        "done",
        "epoch",
        "error",
        "extra_parts",
        "following",
        "holder",
        "is_answered",
        "is_in_line",
        "is_next_in_log",
        "is_refused",
        "is_waited_for",
        "is_write",
        "number",
        "on_publish",
        "reads",
        "reply",
        "ts",
    )

    def __init__(
        self,
        *,
        begin: int,
        epoch: int,
        reads: ReadSet,
        change: WriteSet,
        catalog: Catalog | None,
        details: CommitDetails = NO_DETAILS,
        extra_parts: Sequence[Part] = (),
        holder: TurnHolder | None = None,
        on_publish: Callable[[int], None] | None = None,
    ) -> None:
        self.begin = begin
        self.epoch = epoch
        self.reads = reads
        self.change = change
        self.catalog = catalog
        self.details = details
        self.extra_parts = extra_parts
        self.holder = holder
        self.on_publish = on_publish
        """Runs on the publishing thread just before the commit becomes visible; must not fail:
        the workspace would take no more writes."""
        self.is_write = bool(
            change.writes
            or change.names
            or change.whole_tables
            or extra_parts
            or details.mutation_id is not None
        )
        """Whether it gets a number: it wrote, or its outcome must be remembered."""
        self.number = 0
        self.ts = 0
        """Of the commit, once it is logged."""
        self.error: LivedbError | None = None
        self.is_answered = False
        self.is_refused = False
        """The commit step itself said no: nothing of it was applied."""
        self.reply: Reply | None = None
        self.about: object = None
        """What the reply knows it by."""
        self.done = Lock()
        self.done.acquire()
        self.is_in_line = False
        """Its caller wakes the next of a batch; see `stand_in_line`."""
        self.following: CommitRequest | None = None
        self.is_waited_for = False
        """Its caller has nothing else to do, and so may write it to the log as well."""
        self.is_next_in_log = False
        self._claim = Lock()

    @classmethod
    def empty(cls, *, begin: int, epoch: int) -> CommitRequest:
        """A request without writes: it answers once everything up to `begin` is durable."""
        nothing = WriteSet((), frozenset(), frozenset())
        return cls(begin=begin, epoch=epoch, reads=ReadSet(), change=nothing, catalog=None)

    def claim(self) -> bool:
        """Take the request for committing, or for giving it up: whoever asks first has it."""
        return self._claim.acquire(blocking=False)

    cancel = claim

    def stand_in_line(self) -> None:
        """Let the callers of a batch wake each other, one after the other.

        Woken all at once, sixty threads wait for the interpreter, and each looks at it again every
        half millisecond. Not for the main thread: a signal might strike before it wakes the next.
        """
        self.is_in_line = not is_main_thread()

    def wait(self) -> None:
        """Wait for the outcome."""
        if not self.is_in_line:
            # Not `acquire()`: after a signal behind it there were nothing left to wait for.
            with self.done:
                return
        while not self.done.acquire(timeout=_LOOK_S):
            if self.is_answered:  # who should have woken this one was lost
                break
        if self.following is not None:
            self.following.done.release()
