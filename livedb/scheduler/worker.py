"""The scheduler of an open workspace: runs what is due, and says what became of it.

One thread (`livedb-scheduler`) looks what is due and sleeps until the next thing is; commits that
touch the ledgers, functions that are defined, and runs that end wake it. Runs are made on threads
of their own (`livedb-job`): one for mutations, a few for actions.

    mutation   its entry "success" is part of its own commit: exactly once, through any kill
    action     "inProgress" is committed before it begins: at most once; what an earlier process
               left so has failed

A mutation that fails is undone, and the failure entered by a commit of its own. What cannot be
committed just now, because of a conflict or a log that fails, is run again after a while. Nobody
waits for a mutation's commit to be durable: its thread goes on to the next, so that those due
together reach the disk together, and the answer comes to the thread that looks.

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
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, cast

from livedb.clock import Clock
from livedb.errors import (
    ClosedError,
    ConflictError,
    FunctionNotFoundError,
    LivedbError,
    TransientError,
)
from livedb.functions.call import Call
from livedb.functions.definition import FunctionDefinition, FunctionKind, Registry
from livedb.functions.runner import SNAPSHOT_EXPIRED, Runner
from livedb.functions.scheduling import require_schedulable, unbounded
from livedb.limits import SCHEDULED_KEPT_S, Limits
from livedb.scheduler.cron_runs import CronRuns
from livedb.scheduler.jobs import Jobs, forget_ended, oldest_ended_ms
from livedb.scheduler.lane import Lane
from livedb.scheduler.steps import Steps
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
from livedb.traces import trace_of
from livedb.transactions.commit_request import CommitRequest
from livedb.transactions.committer import Committer
from livedb.transactions.transaction import Snapshot, Transaction
from livedb.values import Value
from livedb.wording import counted

logger = logging.getLogger("livedb")

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
    """A run of the function `name` that has ended."""

    name: str
    kind: FunctionKind
    outcome: Outcome


class _UnderWay(NamedTuple):
    """A mutation whose commit was handed over, and what is told when it is durable."""

    task: Task
    ended: EndedRun


class _NoLongerDueError(Exception):
    """Ends the run of a mutation that was cancelled, or has run, since it was found due."""


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
        self._steps = Steps(runner, committer, store)
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
        self._mutations = Lane(self._serve, self._woken.set, threads_max=1)
        """One thread, which alone runs more than two that take turns with the interpreter."""
        actions_max = limits.scheduled_parallel_max
        self._actions = Lane(self._serve, self._woken.set, threads_max=actions_max)
        self._running: set[str] = set()
        """What waits in a lane, or runs, or is on its way to the log."""
        self._answers: SimpleQueue[CommitRequest] = SimpleQueue()
        """Commits of mutations of which it is known now what became of them."""
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
        """Have `hear` told of each run that has ended, on a thread here; returns what ends that."""
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
        if not tables or not self._mutations.is_empty:  # the thread that empties it wakes
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
        return self._steps.read(self._will_run)

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
        for lane in (self._mutations, self._actions):
            threads += lane.close()
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
                self._take_answers()
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
            self._steps.repeat(partial(ledger.abandon, now_ms=self._begun_ms))

    def _look(self) -> float:
        """Begin what is due; returns the seconds until the next look, 0 for at once."""
        self._find_functions()
        if not self._mutations.is_empty or len(self._running) > BATCH // 2:
            return LOOK_S_MAX  # a run that ends wakes
        now_ms, now_s = self._now_ms(), self._clock.monotonic_s()
        with self._state:
            held_s = {each: at for each, (at, _) in self._held.items() if at > now_s}
            passed = self._running | held_s.keys()
        found = self._steps.read(lambda snapshot: self._due(snapshot, now_ms, passed))
        if found.missing:
            self._miss(found.missing)
        for task in found.ready:
            self._begin(task)
        if found.ready or found.missing:
            return 0
        oldest_ms = self._steps.read(oldest_ended_ms)
        if oldest_ms is not None and oldest_ms <= now_ms - SCHEDULED_KEPT_S * 1000:
            self._steps.commit(lambda work: forget_ended(work, now_ms))
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
            for name in self._steps.read(partial(names_waited_for, ledger)):
                if self._registry.find(name) is not None:
                    self._steps.repeat(partial(let_go_on, ledger, name, self._now_ms()))
                elif has_folder and ":" in name:
                    self._fail_waiting(ledger, name)

    def _fail_waiting(self, ledger: Ledger, name: str) -> None:
        while found := self._steps.commit(
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
        self._steps.commit(lambda work: let_wait(waiting, work))
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
        function = self._registry.find(task.name)
        is_action = function is not None and function.kind == "action"
        (self._actions if is_action else self._mutations).put(task)

    def _serve(self, task: Task) -> None:
        is_under_way = False
        try:
            if not self._stop.is_set():
                is_under_way = self._run(task)
        finally:
            if not is_under_way:
                self._leave(task)
            if self._mutations.is_empty:
                self._woken.set()

    def _leave(self, task: Task) -> None:
        with self._state:
            self._running.discard(task.id)

    def _run(self, task: Task) -> bool:
        """Run it to its end; whether its commit is on its way instead."""
        try:
            ended = self._attempt(task)
        except Exception as error:  # noqa: BLE001  # the job worker: log it and go on
            self._try_again(task, error)
            return False
        if isinstance(ended, _UnderWay):
            return True
        self._ended(task, ended)
        return False

    def _answered(self, requests: Sequence[CommitRequest]) -> None:
        """On whichever thread made a batch durable, or could not."""
        for request in requests:
            self._answers.put(request)
        self._woken.set()

    def _take_answers(self) -> None:
        """End the mutations whose commits are durable, and have the others run again."""
        while not self._answers.empty():
            request = self._answers.get()
            under_way = cast("_UnderWay", request.about)
            if request.error is None:
                self._ended(under_way.task, under_way.ended)
            else:
                self._try_again(under_way.task, request.error)
            self._leave(under_way.task)

    def _ended(self, task: Task, ended: EndedRun | None) -> None:
        with self._state:
            self._held.pop(task.id, None)
        if ended is None:
            return
        for hear in self._listeners:
            try:
                hear(ended)
            except Exception:  # its own affair: the run is over all the same
                logger.exception("somebody who hears of ended runs failed")

    def _try_again(self, task: Task, error: Exception) -> None:
        if isinstance(error, ClosedError) and self._stop.is_set():
            return
        if isinstance(error, TransientError):
            logger.info("%s is tried again: %s", task.title, error)
        else:
            logger.error("%s could not be run", task.title, exc_info=error)
        self._hold(task)

    def _hold(self, task: Task) -> None:
        with self._state:
            _, tries = self._held.get(task.id, (0.0, 0))
            pause_s = min(RETRY_S_MIN * 2**tries, RETRY_S_MAX)
            self._held[task.id] = (self._clock.monotonic_s() + pause_s, tries + 1)

    def _attempt(self, task: Task) -> EndedRun | _UnderWay | None:
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
        return run(task, function, args, Call(job=task.job), began_ms)

    def _run_mutation(
        self,
        task: Task,
        function: FunctionDefinition,
        args: Mapping[str, Value],
        call: Call,
        began_ms: float,
    ) -> EndedRun | _UnderWay | None:
        """Run a mutation, its entry with it; None when it was not to run any more."""
        ledger = task.ledger
        outcome: Outcome | None = None
        under_way: _UnderWay | None = None

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

        def hand_over(request: CommitRequest, _result: Any) -> None:
            nonlocal under_way
            assert outcome is not None, "the handler has made it"
            sent = _UnderWay(task, _ended_run(function, outcome))
            is_last = self._mutations.is_empty
            self._committer.hand_over(request, self._answered, sent, is_last=is_last)
            under_way = sent

        entered = replace(function, handler=handler)
        run = self._runner.run_mutation
        try:
            self._run_through_conflicts(lambda: run(entered, args, call, hand_over=hand_over))
        except _NoLongerDueError:
            return None
        except Exception as error:
            if self._is_passing(error):
                raise
            failed = self._failed(error, began_ms, call.log_lines)
            self._end(task, failed)
            return _ended_run(function, failed)
        assert under_way is not None, "its entry alone needs a commit"
        return under_way

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
    ) -> EndedRun | None:
        """Enter that an action runs, run it, enter how it ended; None when it did not run."""
        if not self._steps.commit(lambda work: task.ledger.begin(work, task)):
            return None
        try:
            self._runner.run_action(function, args, call)
            outcome = Outcome(began_ms=began_ms, ended_ms=self._now_ms(), lines=call.log_lines)
        except BaseException as error:  # noqa: BLE001  # whatever it raises ends this run alone
            if self._stop.is_set() and isinstance(error, ClosedError):
                return None  # closed under it: the next who opens the workspace says so
            outcome = self._failed(error, began_ms, call.log_lines)
        self._end(task, outcome)
        return _ended_run(function, outcome)

    def _end(self, task: Task, outcome: Outcome) -> None:
        """Enter how something ended, however often it has to be tried."""
        if outcome.error is not None:
            logger.warning("%s failed: %s", task.title, outcome.told)
        pause_s = RETRY_S_MIN
        while True:
            try:
                self._steps.commit(lambda work: task.ledger.end(work, task, outcome))
            except TransientError:
                if self._stop.wait(pause_s):
                    raise
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            else:
                return

    def _failed(self, error: BaseException, began_ms: float, lines: Sequence[str] = ()) -> Outcome:
        said = error.message if isinstance(error, LivedbError) else str(error)
        text = f"{type(error).__name__}: {said}" if said else type(error).__name__
        ended_ms, trace = self._now_ms(), trace_of(error)
        return Outcome(error=text, began_ms=began_ms, ended_ms=ended_ms, lines=lines, trace=trace)

    def _now_ms(self) -> float:
        return self._clock.now_ns() / 1e6


def _ended_run(function: FunctionDefinition, outcome: Outcome) -> EndedRun:
    return EndedRun(name=function.name, kind=function.kind, outcome=outcome)


def _no_function(name: str) -> FunctionNotFoundError:
    return FunctionNotFoundError(f"Could not find function {name!r}")
