"""The committer: the one order of commits.

Three numbers say how far a commit has come: `applied` (in the store, seen only by the next
mutation) >= `durable` (in the log) >= `published` (seen by queries, handles, SQL, answers).

    caller's thread        runs the user's function, then the commit step: it validates, numbers
                           and applies what the function did        (under `_lock`); a caller who
                           is alone also does what follows
    log writer's thread    appends in batches, then publishes in number order, then answers
                                                                    (under `_append_lock`)

Only the main thread gets signals, and a KeyboardInterrupt inside the commit step would leave half a
commit in memory: there the step runs with every signal handler held back (`transactions.signals`).

What is above `durable` is a speculative suffix. When the log fails, the whole suffix is undone
newest first and each of its callers gets the typed error; a run that began on top of it finds
`epoch` changed and runs again.

An exception that nobody foresaw, in the commit step or while the log is written, closes the
workspace for writes: whoever waits and whoever comes gets a typed error, reads and handles go on.

Source: Kung and Robinson 1981 for validation; DeWitt et al. 1984 for group commit.
"""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from livedb.clock import Clock
from livedb.commitlog.contract import Commit, CommitLog
from livedb.commitlog.payload import DocumentsPart, DocumentWrite, Part, encode_payload, schema_part
from livedb.errors import ClosedError, ConflictError, LivedbError, LogError, SnapshotTooOldError
from livedb.schema.catalog import Catalog
from livedb.store.backlog import Backlog
from livedb.store.contract import DocumentStore, Write
from livedb.transactions.commit_request import CommitRequest, Reply
from livedb.transactions.reads import WriteSet
from livedb.transactions.signals import run_undisturbed
from livedb.transactions.turn import Turn
from livedb.transactions.write_log import WriteLog

logger = logging.getLogger("livedb")

BATCH_COMMITS_MAX = 1024
"""Commits in one log append; bounds how long the first of a batch waits for the last."""

_new_tuple = tuple.__new__


class Committer:
    """Numbers, applies, logs and publishes commits. `close()` it.

    Args:
        log: where commits become durable.
        catalogs: the tables at the last fold, and those from each later commit on.
        log_deadline_s: how long an interrupted caller waits to learn what became of its commit.
        publish: called with each published batch, on the publishing thread, under `publish_lock`.
    """

    def __init__(
        self,
        *,
        log: CommitLog,
        store: DocumentStore,
        backlog: Backlog,
        catalogs: Sequence[tuple[int, Catalog]],
        turn: Turn,
        clock: Clock,
        log_deadline_s: float,
        publish: Callable[[Sequence[CommitRequest]], None],
        is_volatile: bool = False,
    ) -> None:
        head = log.head
        self._log = log
        self._store = store
        self._backlog = backlog
        self._turn = turn
        self._clock = clock
        self._log_deadline_s = log_deadline_s
        self._publish = publish
        self._is_volatile = is_volatile
        """The log is memory: append and publish within the commit step, no log writer."""
        self._lock = Lock()
        """Guards everything the commit step changes. Taken before `publish_lock`."""
        self._append_lock = Lock()
        """Guards the log's end and `durable`. Taken by whoever appends, before `_lock`; the commit
        step, which holds `_lock`, takes it without waiting."""
        self.publish_lock = Lock()
        """Guards `published` and the subscription index. Nothing is taken inside it."""
        self.write_log = WriteLog(head.number)
        self.applied = head.number
        self.durable = head.number
        self.published = head.number
        self._identified: OrderedDict[str, int] = OrderedDict()
        """Mutation ids by commit, oldest first: those that a run still going on cannot have found
        in the log when it looked for its own."""
        self.epoch = 0
        """Raised when a speculative suffix is undone."""
        self._last_ts = head.ts
        self._ts_of_published: dict[int, int] = {head.number: head.ts}
        """Of commits that were the newest published ones, oldest first."""
        self._catalogs: list[tuple[int, Catalog]] = list(catalogs)
        self._tip = (head.number, 0, self.catalog)
        self._unlogged: SimpleQueue[CommitRequest | None] = SimpleQueue()
        self._is_closed = False
        self._fault: BaseException | None = None
        """The bug of ours after which nothing more is committed."""
        self._writer: Thread | None = None
        if not is_volatile:
            self._writer = Thread(target=self._log_loop, name="livedb-log", daemon=True)
            self._writer.start()

    # -- state ---------------------------------------------------------------------------------

    @property
    def last_ts(self) -> int:
        """The ts of the last commit that was given one."""
        return self._last_ts

    def ts_of(self, published: int) -> int:
        """The ts of a commit that was `published` not long ago, as clients are told it."""
        found = self._ts_of_published.get(published)
        if found is None:
            raise SnapshotTooOldError(f"The timestamp of commit {published} is no longer kept")
        return found

    def logged_ts_of(self, number: int) -> int:
        """The ts of any durable commit.

        Raises:
            SnapshotTooOldError: the log no longer has it.
        """
        found = self._ts_of_published.get(number)
        if found is None:  # one in the middle of a batch, or of long ago
            found = self._log.ts_of(number)
        if found is None:
            raise SnapshotTooOldError(f"The log no longer has the timestamp of commit {number}")
        return found

    def number_at(self, ts: int) -> int:
        """The commit that was the newest published one at timestamp `ts`, not long ago.

        Raises:
            SnapshotTooOldError: what was then is no longer known.
        """
        known = [number for number, at in list(self._ts_of_published.items()) if at <= ts]
        if not known:
            raise SnapshotTooOldError("What was at that timestamp is no longer kept")
        return max(known)

    def raise_ts(self, ts: int) -> None:
        """Make later commits, and the creation times that follow from them, come after `ts`."""
        with self._lock:
            self._last_ts = max(self._last_ts, ts)

    @property
    def catalog(self) -> Catalog:
        """The tables at `applied`."""
        return self._catalogs[-1][1]

    def begin(self) -> tuple[int, int, Catalog]:
        """(number, epoch, catalog) for a mutation to begin at: one moment's."""
        return self._tip

    def identified(self, mutation_id: str) -> int | None:
        """The commit with this id, if it is so new that the log may not have it yet."""
        return self._identified.get(mutation_id)

    def catalog_at(self, number: int) -> Catalog:
        """The tables at commit `number`."""
        for since, catalog in reversed(self._catalogs):
            if since <= number:
                return catalog
        return self._catalogs[0][1]

    def catalogs(self, *, after: int, until: int) -> list[tuple[int, Catalog]]:
        """The tables from each commit on that changed them, of commits that are not folded."""
        return [(since, each) for since, each in list(self._catalogs) if after < since <= until]

    def dropping(self, *, after: int, until: int) -> set[int]:
        """The commits between that dropped tables, of commits that are not folded."""
        pairs = itertools.pairwise(list(self._catalogs))
        return {
            since
            for (_, before), (since, new) in pairs
            if after < since <= until
            and any(new.by_number(table.number) is None for table in before)
        }

    # -- committing ----------------------------------------------------------------------------

    def submit(self, request: CommitRequest) -> None:
        """Send a request on its way; wait for `request.done` to learn its outcome."""
        run_undisturbed(self._commit, request)

    def commit(self, request: CommitRequest) -> int:
        """Send a request on its way and wait for its outcome; returns the commit number.

        When nothing else is on its way to the log, the caller's thread writes it: to wake another
        one and be woken by it can take longer than a sync of the disk.

        Raises: what it was refused for; KeyboardInterrupt when Ctrl-C came meanwhile: before the
            commit step began nothing was committed, after that the call waits for the outcome, at
            most `log_deadline_s`.
        """
        try:
            request.stand_in_line()
            request.is_waited_for = True
            run_undisturbed(self._commit, request)
            request.wait()
        except KeyboardInterrupt:
            if request.cancel():
                raise
            if not request.done.acquire(timeout=self._log_deadline_s):
                raise KeyboardInterrupt(
                    "interrupted while the commit was being written; whether it is durable is "
                    "not known yet"
                ) from None
            if request.error is None:
                raise KeyboardInterrupt(f"committed as number {request.number}") from None
            raise
        if request.error is not None:
            raise request.error
        return request.number

    def settle(self, number: int, epoch: int) -> None:
        """Wait until what a run without writes, begun at `number`, has read is durable.

        Raises:
            ConflictError: it was undone, because the log failed; the mutation runs again.
        """
        if number <= self.published:
            return
        try:
            self.commit(CommitRequest.empty(begin=number, epoch=epoch))
        except LogError:
            raise ConflictError("What this mutation read was undone: the log failed") from None

    def hand_over(
        self, request: CommitRequest, reply: Reply, about: object, *, is_last: bool
    ) -> None:
        """Send a request on its way; `reply` is told what becomes of it, perhaps before this ends.

        Args:
            about: what `reply` knows the request by, as `request.about`.
            is_last: the caller has nothing else to do, so its thread may write to the log.

        Raises:
            ConflictError, ClosedError: the commit step refused it, and `reply` is told nothing.
        """
        request.reply, request.about = reply, about
        request.is_waited_for = is_last
        run_undisturbed(self._commit, request)
        if request.is_refused:
            assert request.error is not None, "a refusal says why"
            raise request.error

    def _commit(self, request: CommitRequest) -> None:
        if not request.claim():
            return  # its caller was interrupted before this step began, and gave it up
        self._apply(request)
        if request.is_next_in_log:
            try:
                self._append([request])
            finally:
                self._append_lock.release()

    def _apply(self, request: CommitRequest) -> None:
        try:
            with self._lock:
                self._apply_locked(request)
        except BaseException as fault:  # noqa: BLE001  # told to everybody who commits
            self._stop_writing(fault)
            self._refuse(request, self._stopped())  # the log never got it
        finally:
            if request.holder is not None:
                self._turn.give(request.holder)

    def _apply_locked(self, request: CommitRequest) -> None:
        refusal = self._refusal(request)
        if refusal is not None:
            self._refuse(request, refusal)
            return
        number = self.applied
        if request.is_write:
            number += 1
            change = request.change
            # The backlog first: a table that loads meanwhile must find there what it may miss.
            self._backlog.append(number, change.writes)
            if request.catalog is not None:
                self._change_catalog(number, request.catalog)
            self._store.apply(number, change.writes)
            self.write_log.append(change)
            if request.details.mutation_id is not None:
                self._identified[request.details.mutation_id] = number
            self._move_to(number)
        request.number = number
        if self._is_volatile:
            self._append_now([request])
        elif not self._is_next_in_log(request):
            self._unlogged.put(request)

    def _is_next_in_log(self, request: CommitRequest) -> bool:
        """Whether the caller may append the request itself; then it has the append lock."""
        before = request.number - 1
        if not (request.is_waited_for and request.is_write and self.durable == before):
            return False
        if not self._append_lock.acquire(blocking=False):
            return False
        # Asked again: what was on its way to the log may have been undone meanwhile.
        request.is_next_in_log = self.durable == before and request.epoch == self.epoch
        if not request.is_next_in_log:
            self._append_lock.release()
        return request.is_next_in_log

    def _move_to(self, number: int) -> None:
        """Make `number` the commit that the next mutation begins at."""
        self.applied = number
        self._tip = (number, self.epoch, self._catalogs[-1][1])

    def _change_catalog(self, number: int, catalog: Catalog) -> None:
        before = self.catalog
        self._catalogs.append((number, catalog.at(number)))
        for table in catalog:
            if before.by_number(table.number) is None:
                self._store.create(table.number, number)

    def _refusal(self, request: CommitRequest) -> LivedbError | None:
        if self._fault is not None:
            return self._stopped()
        if self._is_closed:
            return ClosedError("The workspace is closed")
        if request.epoch != self.epoch:
            return ConflictError("What this mutation read was undone: the commit log failed")
        if request.details.mutation_id in self._identified:
            return ConflictError("The same mutation id was committed by another caller meanwhile")
        if request.begin == self.applied:
            return None
        if request.catalog is not None and self._catalogs[-1][0] > request.begin:
            # Its catalog was made from another one than it would replace.
            return ConflictError("Tables were made or changed while this one was being made")
        if not self.write_log.covers(request.begin):
            return ConflictError("This mutation ran longer than the write log is kept")
        found = self.write_log.first_conflict(request.reads, after=request.begin)
        if found is None:
            return None
        number, conflict = found
        table = self.catalog.by_number(conflict.table)
        name = "" if table is None else table.definition.name
        return ConflictError(
            f"Documents read from or written to the {name!r} table changed (commit {number}, index "
            f"{conflict.index!r}) while this mutation was being run",
            table=name,
            index=conflict.index,
            number=number,
        )

    # -- log and publication -------------------------------------------------------------------

    def _log_loop(self) -> None:
        while (request := self._unlogged.get()) is not None:
            with self._append_lock:
                self._append(self._batch_from(request))

    def _batch_from(self, request: CommitRequest) -> list[CommitRequest]:
        """`request` and what was handed over behind it."""
        batch = [request]
        try:
            while len(batch) < BATCH_COMMITS_MAX:
                following = self._unlogged.get_nowait()
                if following is None:
                    self._unlogged.put(None)  # there is nothing behind it
                    break
                batch.append(following)
        except Empty:
            pass
        return batch

    def _append(self, batch: list[CommitRequest]) -> None:
        """Make a batch durable, publish it, answer its callers; under the append lock."""
        if self._fault is not None:
            for request in batch:
                self._answer(request, self._stopped())
            return
        try:
            self._append_now(self._not_undone(batch))
        except BaseException as fault:  # noqa: BLE001  # told to everybody who commits
            self._stop_writing(fault)
            self._answer_unknown(batch)

    def _not_undone(self, batch: list[CommitRequest]) -> list[CommitRequest]:
        """`batch` without what was queued behind one that failed; that is answered."""
        epoch = self.epoch
        for request in batch:
            if request.epoch != epoch:
                self._answer(request, ConflictError("Undone: the commit log failed before it"))
        return [request for request in batch if request.epoch == epoch]

    def _append_now(self, batch: list[CommitRequest]) -> None:
        try:
            rows = self._rows(batch)
            if rows:
                self._log.append(rows)
        except LivedbError as error:
            self._undo(batch, error)
            return
        if rows:
            self.durable = rows[-1].number
            self._make_visible(batch)
        _wake(batch)

    def _make_visible(self, batch: list[CommitRequest]) -> None:
        with self.publish_lock:
            for request in batch:
                if request.on_publish is not None:
                    request.on_publish(request.number)
            self._ts_of_published[self.durable] = self._last_ts
            self.published = self.durable
            self._publish(batch)

    def _rows(self, batch: list[CommitRequest]) -> list[Commit]:
        """The log's rows of what wrote in a batch, their timestamps given now."""
        ts = max(self._last_ts + 1, self._clock.now_ns())
        rows: list[Commit] = []
        for request in batch:
            if not request.is_write:
                continue
            request.ts = ts
            payload = encode_payload(_parts(request.change, request.catalog, request.extra_parts))
            function, author, mutation_id, args_hash, result, log_lines = request.details
            row = (
                request.number, ts, mutation_id, function, args_hash, result, log_lines, author,
                payload,
            )  # fmt: skip
            rows.append(_new_tuple(Commit, row))
            ts += 1
        if rows:
            self._last_ts = max(self._last_ts, ts - 1)
        return rows

    def _undo(self, batch: list[CommitRequest], error: LivedbError) -> None:
        """The log failed: take back everything above `durable`, newest first."""
        if self._is_volatile:
            self._undo_locked()
        else:
            with self._lock:
                self._undo_locked()
        for request in batch:
            self._answer(request, _log_error(error))

    def _undo_locked(self) -> None:
        self._backlog.undo(self.durable)
        self._store.undo(self.durable)
        self.write_log.undo(self.durable)
        while self._catalogs[-1][0] > self.durable:
            self._catalogs.pop()
        while self._identified and next(reversed(self._identified.values())) > self.durable:
            self._identified.popitem()
        self.epoch += 1
        self._move_to(self.durable)

    # -- after a bug of ours -------------------------------------------------------------------

    def _stop_writing(self, fault: BaseException) -> None:
        """Commit nothing from here on: memory can no longer be trusted to continue the log.

        It is left as it is. What is published stays right, so reads and handles go on there.
        """
        self._fault = fault
        logger.critical("%s", self._stopped(), exc_info=fault)

    def _stopped(self) -> ClosedError:
        error = ClosedError(
            f"The workspace stopped taking writes after an internal error ({self._told_fault()}); "
            "reads go on. Close it and open it again."
        )
        error.__cause__ = self._fault
        return error

    def _answer_unknown(self, batch: Sequence[CommitRequest]) -> None:
        """Answer callers whose commits may be in the log or not."""
        for request in batch:
            if not request.is_answered:
                error = LogError(
                    f"An internal error ({self._told_fault()}) came while the commit was being "
                    "made; whether it is kept shows when the workspace is closed and opened again",
                    code="LogUnknown",
                )
                error.__cause__ = self._fault
                self._answer(request, error)

    def _told_fault(self) -> str:
        return f"{type(self._fault).__name__}: {self._fault}"

    @staticmethod
    def _refuse(request: CommitRequest, error: LivedbError) -> None:
        """Say no within the commit step; who handed it over sees it when the step is over."""
        request.error = error
        request.is_answered = request.is_refused = True
        request.done.release()

    @staticmethod
    def _answer(request: CommitRequest, error: LivedbError) -> None:
        request.error = error
        request.is_answered = True
        if request.reply is None:
            request.done.release()
        else:
            request.reply((request,))

    # -- upkeep --------------------------------------------------------------------------------

    def release(self, number: int, *, folded: int) -> None:
        """Forget versions, write sets and catalogs that nobody at `number` or later needs.

        Args:
            folded: the last commit that is in the tables; the fold needs the catalogs since.
        """
        with self._lock:
            self._store.release(number)
            self.write_log.release(number)
            while len(self._catalogs) > 1 and self._catalogs[1][0] <= min(number, folded):
                self._catalogs.pop(0)
            while self._identified and next(iter(self._identified.values())) <= number:
                self._identified.popitem(last=False)
        self._forget_timestamps(number)

    def _forget_timestamps(self, number: int) -> None:
        """Forget those before the commit that was the newest published one at `number`."""
        known = list(self._ts_of_published)
        for each, following in itertools.pairwise(known):
            if following > number:
                break
            self._ts_of_published.pop(each, None)

    def close(self) -> None:
        """Finish what was handed over, then stop. Later requests get ClosedError."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._unlogged.put(None)
        if self._writer is not None:
            self._writer.join()
        with self._append_lock:  # a caller may be writing the last one itself
            pass


def _wake(batch: Sequence[CommitRequest]) -> None:
    """Tell the callers of a batch that it is durable and published."""
    following: CommitRequest | None = None
    handed_over: dict[Reply, list[CommitRequest]] = {}
    for request in reversed(batch):
        request.is_answered = True
        if request.reply is not None:
            handed_over.setdefault(request.reply, []).append(request)
        elif request.is_in_line:
            request.following = following
            following = request
        else:
            request.done.release()
    if following is not None:
        following.done.release()
    for reply, requests in handed_over.items():
        requests.reverse()
        reply(requests)


def _parts(change: WriteSet, catalog: Catalog | None, extra_parts: Sequence[Part]) -> list[Part]:
    parts: list[Part] = []
    if catalog is not None:
        parts.append(schema_part(catalog.to_json()))
    parts.extend(extra_parts)
    if change.writes:
        parts.append(DocumentsPart([_document_write(write) for write in change.writes]))
    return parts


def _document_write(write: Write) -> DocumentWrite:
    table, document_id, old, new = write[:4]
    if new is not None:
        return _new_tuple(DocumentWrite, (table, document_id, *new))
    assert old is not None, "a write that deletes nothing is no write"
    return DocumentWrite(table, document_id, old[0], None)


def _log_error(error: LivedbError) -> LivedbError:
    if isinstance(error, LogError):
        return LogError(error.message, code=error.code)
    return LogError(f"The commit log could not be written: {error}")
