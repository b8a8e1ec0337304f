"""The scheduler of an open workspace: runs what is due, and says what became of it.

One thread (`livedb-scheduler`) looks what is due and sleeps until the next thing is; commits that
touch the ledgers, functions that are defined, and runs that end wake it. Runs are made on a few
threads of their own (`livedb-job`).

    mutation   its entry "success" is part of its own commit: exactly once, through any kill
    action     "inProgress" is committed before it begins: at most once; what an earlier process
               left so has failed

A mutation that fails is undone, and the failure entered by a commit of its own. What cannot be
committed just now, because of a conflict or a log that fails, is run again after a while.

A function that is not defined is waited for: the cell of a notebook was perhaps not run yet. Only
where a folder of functions was pushed without it, a name of a module fails. Before the first
function is defined nothing is looked at, so who opens a workspace for its data alone changes none.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from livedb.clock import Clock
from livedb.errors import (
    ClosedError,
    ConflictError,
    FunctionNotFoundError,
    LivedbError,
    SnapshotTooOldError,
    TransientError,
)
from livedb.functions.call import Call
from livedb.functions.definition import FunctionDefinition, FunctionKind, Registry, define
from livedb.functions.runner import SNAPSHOT_EXPIRED, SNAPSHOT_RETRIES_MAX, Runner
from livedb.functions.scheduling import UNBOUNDED, require_schedulable, unbounded
from livedb.limits import SCHEDULED_KEPT_S, Limits
from livedb.scheduler.cron_runs import CronRuns
from livedb.scheduler.jobs import Jobs, forget_ended, oldest_ended_ms
from livedb.scheduler.tasks import (
    BATCH,
    Ledger,
    Outcome,
    Task,
    iter_due,
    let_go_on,
    let_wait,
    names_waited_for,
    waiting_for,
)
from livedb.store.contract import DocumentStore
from livedb.transactions.commit_request import CommitRequest
from livedb.transactions.committer import Committer
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.values import Value
from livedb.wording import counted

logger = logging.getLogger("livedb")

R = TypeVar("R")

LOOK_S_MAX = 60.0
"""Seconds after which it looks all the same, since somebody may have set the machine's clock."""

RETRY_S_MIN = 0.1
RETRY_S_MAX = 60.0
"""Seconds between two tries of what cannot be committed just now; each waits twice as long."""

CONFLICTS_MAX = 16
"""Calls of a mutation, each with its reruns, that may conflict before it waits."""

CLOSE_S_MAX = 5.0
"""Seconds that `close` waits for runs; an action that takes longer is entered as failed by the
next who opens the workspace."""


class _Due(NamedTuple):
    """What a look finds.

    Attributes:
        ready: what can run.
        missing: what has no function.
        next_ms: when the next thing is due, if all that is due was found.
    """

    ready: list[Task]
    missing: list[Task]
    next_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that has ended.

    Attributes:
        name: the function's.
    """

    name: str
    kind: FunctionKind
    outcome: Outcome


class _NoLongerDueError(Exception):
    """Ends the run of a mutation that was cancelled, or has run, since it was found due."""


def _step(ctx: Any) -> None:
    """Stands for what the scheduler does in a transaction."""


_STEP = define(_step, kind="mutation", visibility="internal", name="_system/scheduler:step")


class Scheduler:
    """Runs the scheduled functions and crons of one workspace. `close()` it.

    Args:
        name: the workspace's, for messages.
    """

    def __init__(
        self,
        *,
        name: str,
        runner: Runner,
        registry: Registry,
        committer: Committer,
        store: DocumentStore,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._name = name
        self._runner = runner
        self._registry = registry
        self._committer = committer
        self._store = store
        self._clock = clock
        self._limits = limits
        self._jobs = Jobs()
        self._ledgers: Sequence[Ledger] = (self._jobs, CronRuns())
        self._tables = frozenset[int]()
        """The numbers of the ledgers' tables that exist."""
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._state = threading.Condition()
        """Guards all below. Taken inside `publish_lock` too, and nothing inside it."""
        self._thread: threading.Thread | None = None
        self._job_threads: list[threading.Thread] = []
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        """Found due, in that order. Nothing is looked for until the last of it has begun."""
        self._running: set[str] = set()
        """What is in the queue, or runs."""
        self._held: dict[str, tuple[float, int]] = {}
        """What is tried again: when, on the monotonic clock, and how often it was tried."""
        self._begun_ms: float | None = None
        """When the first function was defined; what was due before was an earlier process's."""
        self._has_folder = False
        self._is_function_new = False
        self._asked = 0
        self._settled = 0
        """Up to which request to `settle` nothing was left to do."""
        self._listeners: tuple[Callable[[EndedRun], None], ...] = ()
        self._note_tables()

    def listen(self, hear: Callable[[EndedRun], None]) -> Callable[[], None]:
        """Have `hear` told of each run that has ended, on its thread; returns what ends that."""
        self._listeners = (*self._listeners, hear)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each != hear)

        return stop

    # -- what others tell it -------------------------------------------------------------------

    def notice(self, batch: Iterable[CommitRequest]) -> None:
        """These commits are published: look, if one of them is of what runs here."""
        # Every mutation comes by here: plain loops, and none where nothing was ever scheduled.
        for request in batch:
            if request.catalog is not None:
                self._note_tables()
        tables = self._tables
        if not tables or not self._queue.empty():  # whoever empties it wakes
            return
        for request in batch:
            for write in request.change.writes:
                if write.table in tables:
                    self._wake()
                    return

    def functions_changed(self, now_ms: float, *, has_folder: bool = False) -> None:
        """Functions were defined or dropped.

        Args:
            now_ms: when that began; the crons that came with them are not due before.
            has_folder: they are those of a folder, which has all that its names speak of.
        """
        with self._state:
            if self._begun_ms is None:
                self._begun_ms = now_ms
            self._has_folder = self._has_folder or has_folder
            self._is_function_new = True
        if self._tables:
            self._wake()

    def has_work(self) -> bool:
        """Whether something runs here, or will without anybody's doing: crons, and what is due.

        What waits for a function that is not defined here does not count: nobody would bring it.
        Cost: a read of the first entries, microseconds.
        """
        with self._state:
            if self._running:
                return True
        return self._read(self._will_run)

    def _will_run(self, snapshot: Snapshot) -> bool:
        return any(
            self._registry.find(task.name) is not None
            for ledger in self._ledgers
            for task in iter_due(ledger, snapshot)
        )

    def settle(self, timeout_s: float) -> bool:
        """Wait until nothing runs, and nothing is due by the clock; whether it came to that."""
        with self._state:
            if self._thread is None:
                return True
            self._asked += 1
            asked = self._asked
            self._woken.set()
            return self._state.wait_for(lambda: self._settled >= asked, timeout_s)

    def close(self) -> None:
        """Begin nothing more, and wait a little for what runs; twice is harmless."""
        self._stop.set()
        with self._state:
            threads = [] if self._thread is None else [self._thread]
            threads += self._job_threads
            for _ in self._job_threads:
                self._queue.put(None)
        self._woken.set()
        deadline_s = self._clock.monotonic_s() + CLOSE_S_MAX
        for thread in threads:
            if thread is not threading.current_thread():
                # By the clock only if it moves: a test's stands still.
                left_s = min(CLOSE_S_MAX, deadline_s - self._clock.monotonic_s())
                thread.join(max(0.0, left_s))

    def _note_tables(self) -> None:
        catalog = self._committer.catalog_at(self._committer.published)
        numbers = [catalog.number_of(ledger.table.name) for ledger in self._ledgers]
        self._tables = frozenset(number for number in numbers if number is not None)

    def _wake(self) -> None:
        self._woken.set()
        with self._state:
            if self._thread is None and self._begun_ms is not None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=self._work, name="livedb-scheduler", daemon=True
                )
                self._thread.start()

    # -- looking -------------------------------------------------------------------------------

    def _work(self) -> None:
        is_begun = False
        while not self._stop.is_set():
            self._woken.clear()
            with self._state:
                asked = self._asked
            try:
                if not is_begun:
                    self._abandon()
                    is_begun = True
                pause_s = self._look()
            except ClosedError:
                return
            except LivedbError as error:
                logger.warning("the scheduler of %s waits: %s", self._name, error)
                pause_s = RETRY_S_MIN
            except Exception:  # the job worker: log it and go on
                logger.exception("the scheduler of %s failed", self._name)
                pause_s = RETRY_S_MAX
            if pause_s > 0:
                self._rest(asked)
                self._clock.wait(self._woken, pause_s)

    def _rest(self, asked: int) -> None:
        with self._state:
            if not (self._running or self._woken.is_set()):
                self._settled = asked
                self._state.notify_all()

    def _abandon(self) -> None:
        """What an earlier process had begun has failed; what crons missed is skipped."""
        assert self._begun_ms is not None, "the thread starts after that"
        for ledger in self._ledgers:
            self._repeat(partial(ledger.abandon, now_ms=self._begun_ms))

    def _look(self) -> float:
        """Begin what is due; returns the seconds until the next look, 0 for at once."""
        self._find_functions()
        if not self._queue.empty():
            return LOOK_S_MAX
        now_ms, now_s = self._now_ms(), self._clock.monotonic_s()
        with self._state:
            held_s = {each: at for each, (at, _) in self._held.items() if at > now_s}
            passed = self._running | held_s.keys()
        found = self._read(lambda snapshot: self._due(snapshot, now_ms, passed))
        if found.missing:
            self._miss(found.missing)
        for task in found.ready:
            self._begin(task)
        if found.ready or found.missing:
            return 0
        oldest_ms = self._read(oldest_ended_ms)
        if oldest_ms is not None and oldest_ms <= now_ms - SCHEDULED_KEPT_S * 1000:
            self._commit(lambda work: forget_ended(work, now_ms))
            return 0
        waits = [LOOK_S_MAX, *(at - now_s for at in held_s.values())]
        if found.next_ms is not None:
            waits.append((found.next_ms - now_ms) / 1000)
        return max(min(waits), 0.001)

    def _due(self, snapshot: Snapshot, now_ms: float, passed: set[str]) -> _Due:
        """The first of what is due and not passed over.

        More than can run at once: what has become of it meanwhile, its run finds out.
        """
        due = _Due([], [], None)
        ordered = heapq.merge(
            *(iter_due(ledger, snapshot) for ledger in self._ledgers), key=lambda task: task.due_ms
        )
        for task in ordered:
            if task.due_ms > now_ms:
                return due._replace(next_ms=task.due_ms)
            if task.id in passed:
                continue
            is_there = self._registry.find(task.name) is not None
            (due.ready if is_there else due.missing).append(task)
            if len(due.ready) == BATCH or len(due.missing) == BATCH:
                break
        return due

    def _find_functions(self) -> None:
        """Let go on what waits for functions that are there now."""
        with self._state:
            is_new, self._is_function_new = self._is_function_new, False
            has_folder = self._has_folder
        if not is_new:
            return
        for ledger in self._ledgers:
            for name in self._read(partial(names_waited_for, ledger)):
                if self._registry.find(name) is not None:
                    self._repeat(partial(let_go_on, ledger, name, self._now_ms()))
                elif has_folder and ":" in name:
                    self._fail_waiting(ledger, name)

    def _fail_waiting(self, ledger: Ledger, name: str) -> None:
        while found := self._commit(
            lambda work: [ledger.task_of(each) for each in waiting_for(ledger, work, name)]
        ):
            for task in found:
                self._end(task, self._failed(_no_function(name), self._now_ms()))

    def _miss(self, tasks: Sequence[Task]) -> None:
        """The functions of what is due are not there."""
        waiting = []
        for task in tasks:
            if self._has_folder and ":" in task.name:
                self._end(task, self._failed(_no_function(task.name), self._now_ms()))
            else:
                waiting.append(task)
        self._commit(lambda work: let_wait(waiting, work))
        for name, count in Counter(task.name for task in waiting).items():
            logger.warning(
                "%r is due %s and not defined. It runs once the cell that defines it has.",
                name,
                counted(count, "time"),
            )

    # -- running -------------------------------------------------------------------------------

    def _begin(self, task: Task) -> None:
        with self._state:
            self._running.add(task.id)
            threads_max = min(len(self._running), self._limits.scheduled_parallel_max)
            if len(self._job_threads) < threads_max:
                thread = threading.Thread(target=self._serve, name="livedb-job", daemon=True)
                self._job_threads.append(thread)
                thread.start()
        self._queue.put(task)

    def _serve(self) -> None:
        while (task := self._queue.get()) is not None:
            self._wake_when_empty()
            try:
                if not self._stop.is_set():
                    self._run(task)
            finally:
                with self._state:
                    self._running.discard(task.id)
                self._wake_when_empty()

    def _wake_when_empty(self) -> None:
        if self._queue.empty():
            self._woken.set()

    def _run(self, task: Task) -> None:
        try:
            ended = self._attempt(task)
            with self._state:
                self._held.pop(task.id, None)
            if ended is not None:
                for hear in self._listeners:
                    hear(ended)
        except ClosedError:
            if not self._stop.is_set():
                logger.exception("%s could not be run", task.title)
                self._hold(task)
        except TransientError as error:
            logger.info("%s is tried again: %s", task.title, error)
            self._hold(task)
        except Exception:  # the job worker: log it and go on
            logger.exception("%s could not be run", task.title)
            self._hold(task)

    def _hold(self, task: Task) -> None:
        with self._state:
            _, tries = self._held.get(task.id, (0.0, 0))
            pause_s = min(RETRY_S_MIN * 2**tries, RETRY_S_MAX)
            self._held[task.id] = (self._clock.monotonic_s() + pause_s, tries + 1)

    def _attempt(self, task: Task) -> EndedRun | None:
        began_ms = self._now_ms()
        try:
            function = self._registry.get(task.name)
            require_schedulable(function)
            tables = self._committer.catalog_at(self._committer.published)
            args = function.check_arguments(task.args, tables=tables)
        except LivedbError as error:
            self._end(task, self._failed(error, began_ms))
            return None
        run = self._run_mutation if function.kind == "mutation" else self._run_action
        outcome = run(task, function, args, Call(job=task.job), began_ms)
        if outcome is None:
            return None
        return EndedRun(name=function.name, kind=function.kind, outcome=outcome)

    def _run_mutation(
        self,
        task: Task,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call,
        began_ms: float,
    ) -> Outcome | None:
        """Run a mutation, its entry with it; None when it was not to run any more."""
        ledger = task.ledger
        outcome: Outcome | None = None

        def handler(ctx: Any, **given: Any) -> Any:
            nonlocal outcome
            transaction: Transaction = ctx.db._snapshot  # noqa: SLF001  # livedb's own function
            with unbounded(transaction):
                if not ledger.begin(transaction, task):
                    raise _NoLongerDueError
            result = function.handler(ctx, **given)
            outcome = Outcome(began_ms=began_ms, ended_ms=self._now_ms(), lines=call.log_lines)
            with unbounded(transaction):
                ledger.end(transaction, task, outcome)
            return result

        entered = replace(function, handler=handler)
        try:
            self._run_through_conflicts(lambda: self._runner.run_mutation(entered, args, call))
        except _NoLongerDueError:
            return None
        except Exception as error:
            if self._is_passing(error):
                raise
            outcome = self._failed(error, began_ms, call.log_lines)
            self._end(task, outcome)
        return outcome

    def _is_passing(self, error: Exception) -> bool:
        """Whether the same run may succeed later; what else is closed is the function's affair."""
        if isinstance(error, TransientError):
            return error.code != SNAPSHOT_EXPIRED
        return isinstance(error, ClosedError) and self._stop.is_set()

    def _run_through_conflicts(self, run: Callable[[], object]) -> None:
        """Run until it conflicts no more; give up for a while when that does not come soon."""
        for _ in range(CONFLICTS_MAX):
            try:
                run()
            except ConflictError:
                if self._stop.is_set():
                    raise
            else:
                return
        run()

    def _run_action(
        self,
        task: Task,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call,
        began_ms: float,
    ) -> Outcome | None:
        """Enter that an action runs, run it, enter how it ended; None when it did not run."""
        if not self._commit(lambda work: task.ledger.begin(work, task)):
            return None
        try:
            self._runner.run_action(function, args, call)
            outcome = Outcome(began_ms=began_ms, ended_ms=self._now_ms(), lines=call.log_lines)
        except BaseException as error:  # noqa: BLE001  # whatever it raises ends this run alone
            if self._stop.is_set() and isinstance(error, ClosedError):
                return None  # closed under it: the next who opens the workspace says so
            outcome = self._failed(error, began_ms, call.log_lines)
        self._end(task, outcome)
        return outcome

    def _end(self, task: Task, outcome: Outcome) -> None:
        """Enter how something ended, however often it has to be tried."""
        if outcome.error is not None:
            logger.warning("%s failed: %s", task.title, outcome.error)
        pause_s = RETRY_S_MIN
        while True:
            try:
                self._commit(lambda work: task.ledger.end(work, task, outcome))
            except TransientError:
                if self._stop.wait(pause_s):
                    raise
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            else:
                return

    def _failed(self, error: BaseException, began_ms: float, lines: Sequence[str] = ()) -> Outcome:
        said = error.message if isinstance(error, LivedbError) else str(error)
        text = f"{type(error).__name__}: {said}" if said else type(error).__name__
        return Outcome(error=text, began_ms=began_ms, ended_ms=self._now_ms(), lines=lines)

    # -- transactions of its own ---------------------------------------------------------------

    def _read(self, look: Callable[[Snapshot], R]) -> R:
        """What `look` finds at the newest published commit."""
        for _ in range(SNAPSHOT_RETRIES_MAX):
            # Another one where a table was read for the first time, as of a later commit.
            with self._runner.keeping(0), suppress(SnapshotTooOldError):
                number = self._committer.published
                catalog = self._committer.catalog_at(number)
                return look(Snapshot(self._store, catalog, number, UNBOUNDED))
        raise SnapshotTooOldError("The scheduler found no commit that stays readable")

    def _commit(self, work: Callable[[Transaction], R]) -> R:
        """What `work` gives, in a transaction that is committed when this returns."""
        given: list[R] = []

        def handler(ctx: Any) -> None:
            transaction: Transaction = ctx.db._snapshot  # noqa: SLF001  # livedb's own function
            with unbounded(transaction):
                given[:] = [work(transaction)]

        self._runner.run_mutation(replace(_STEP, handler=handler), {})
        return given[0]

    def _repeat(self, work: Callable[[Transaction], bool]) -> None:
        """Commit `work` until it says that there is no more to do."""
        while self._commit(work):
            pass

    def _now_ms(self) -> float:
        return self._clock.now_ns() / 1e6


def _no_function(name: str) -> FunctionNotFoundError:
    return FunctionNotFoundError(f"Could not find function {name!r}")
