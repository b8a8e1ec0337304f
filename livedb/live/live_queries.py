"""All live queries of a workspace: run again when touched, told all together.

A commit marks the live queries it touches stale (on the publishing thread, a set operation). They
are refreshed in one *transition*: every stale one is run at the same commit number, and only then
do followers see any of it, so nobody ever sees two commits mixed. A transition is made by whoever
needs it first: the refresher's thread after a commit (push), or a reader of a handle (pull). What
changed is told to followers by the refresher's thread alone, in order.

A transition does not wait for slow queries that connections follow, nor for the first run of any:
these *lag*, and are run beside the transitions, in a *round*, at the number that the transitions
have when it begins. All that happens is one sequence of steps, told in order: transitions, with the
queries that lag from there on; beginnings of rounds; ends of rounds, with the states at their
number. So whoever follows queries that lag can go to the number of a round when it ends: what was
told before it began, and the states it gives, are exact there (`service/query_set.py` does that).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import SimpleQueue
from threading import Event, Lock, Thread, get_ident

from livedb.clock import Clock
from livedb.errors import SnapshotTooOldError
from livedb.live.live_query import SLOW_S, Computed, LiveQuery, LiveSource, Round, Work
from livedb.live.steps import Capture, Change, Listener, Outcome, Standing, States, Step
from livedb.transactions.commit_request import CommitRequest
from livedb.transactions.committer import Committer
from livedb.transactions.reads import ReadSet, WriteSet
from livedb.transactions.signals import run_undisturbed
from livedb.transactions.subscriptions import Reading, SubscriptionIndex
from livedb.wording import counted

logger = logging.getLogger("livedb")

BURST_PAUSE_S = 0.003
"""Pause of the refresher between two transitions while commits come faster than it follows them."""

TRANSITION_TRIES_MAX = 8
"""Times a transition starts again at a newer commit before it stops folds meanwhile."""

Keeping = Callable[[int, bool], AbstractContextManager[None]]
"""Given a commit, and whether SQL is read: a context within which it stays readable here.

Raises: SnapshotTooOldError: it is not readable any more.
"""

_new_tuple = tuple.__new__
"""Makes a named tuple three times as fast as its class does."""

_Runs = Sequence[tuple[LiveQuery, Computed]]


class LiveQueries:
    """The live queries of a workspace, and the thread that refreshes them. `close()` it.

    Args:
        fold_pause: a context within which no fold happens, so that SQL keeps one number.
        keeping: keeps a commit readable for a round.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        clock: Clock,
        cache_entries_max: int,
        fold_pause: Callable[[], AbstractContextManager[int]],
        keeping: Keeping,
    ) -> None:
        self._committer = committer
        self._cache_entries_max = cache_entries_max
        self._fold_pause = fold_pause
        self._keeping = keeping
        self._now_s = clock.monotonic_s
        self._refresh_lock = Lock()
        """Held while a transition is computed; taken before the committer's `publish_lock`."""
        self._index: SubscriptionIndex[LiveQuery] = SubscriptionIndex()
        """Guarded by the committer's `publish_lock`, as is `_stale`."""
        self._stale: set[LiveQuery] = set()
        self._running: set[LiveQuery] = set()
        """Those a transition in progress is running: no longer stale, not yet shown."""
        self.lagging: set[LiveQuery] = set()
        """Those whose states are of earlier commits than that of the transitions, if they have any:
        a round will tell. Guarded by the refresh lock."""
        self._left: SimpleQueue[tuple[LiveQuery, bool]] = SimpleQueue()
        self._by_key: dict[Hashable, LiveQuery] = {}
        self._idle: OrderedDict[Hashable, LiveQuery] = OrderedDict()
        self._listeners: list[Listener] = []
        self._steps: list[Step] = []
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._is_woken = False
        self._is_closed = False
        self._closing = Event()
        self._asked: SimpleQueue[Callable[[int], None]] = SimpleQueue()
        self.steps_made = 0
        """While somebody listened: what states captured or read under `held` include."""
        self.steps_told = 0
        """As many of them listeners have been told of, or are just being told."""
        self.number = committer.published
        """The commit all live results stand at, but for those that lag."""
        self._thread = Thread(target=self._loop, name="livedb-live", daemon=True)
        self._thread.start()

    # -- following -----------------------------------------------------------------------------

    def follow(self, source: LiveSource) -> LiveQuery:
        """The live query of `source`, computed; pair with `unfollow`.

        Cost: nothing is run when an equal one is already followed and current.
        """
        return self.follow_all([source])[0]

    def follow_all(self, sources: Sequence[LiveSource]) -> list[LiveQuery]:
        """The live query of each source, computed in one transition; pair each with `unfollow`."""
        followed: list[LiveQuery] = []
        try:
            with self._refresh_lock:
                self._take_leave()
                # One by one: those already followed must be known when the next one fails.
                followed.extend(self._follow_at_once(source) for source in sources)
            self.refresh()
        except BaseException:  # a Ctrl-C too: who gets no query follows none
            for query in followed:
                self.unfollow(query)
            raise
        return followed

    def _follow_at_once(self, source: LiveSource) -> LiveQuery:
        query = self._follow_locked(source)
        query.handles += 1
        if query.state is None or query in self.lagging:
            with self._committer.publish_lock:
                self._stale.add(query)
        return query

    def follow_lagging(self, sources: Sequence[LiveSource]) -> list[LiveQuery]:
        """The live query of each source, which may lag; pair each with `leave`.

        For connections: whoever has no use for a state of an earlier commit takes `follow_all`.
        """
        with self._refresh_lock:
            self._take_leave()
            followed = [self._follow_locked(source) for source in sources]
            for query in followed:
                if query.round is not None:
                    query.round.is_private = False
            self.lagging.update(query for query in followed if query.state is None)
            return followed

    def _follow_locked(self, source: LiveSource) -> LiveQuery:
        query = self._by_key.get(source.key)
        if query is not None and not query.is_shared_with(source):
            self._set_aside(query)
            query = None
        if query is None:
            query = self._by_key[source.key] = LiveQuery(source)
        query.followers += 1
        self._idle.pop(source.key, None)
        return query

    def _set_aside(self, query: LiveQuery) -> None:
        """Keep a live query for those who follow it, under a key that nobody asks for."""
        del self._by_key[query.key]
        is_idle = self._idle.pop(query.key, None) is not None
        query.key = (query.key, id(query))
        self._by_key[query.key] = query
        if is_idle:
            self._forget(query)

    def unfollow(self, query: LiveQuery) -> None:
        """Stop following; a live query that nobody follows is kept a while, until it is touched.

        Takes no lock: the garbage collector calls this, on any thread and under any lock.
        """
        self._left.put((query, True))
        self._wake_up()

    def leave(self, query: LiveQuery) -> None:
        """Stop following what `follow_lagging` gave; as `unfollow`."""
        self._left.put((query, False))
        self._wake_up()

    def _take_leave(self) -> None:
        """Count down the followers that left, under the refresh lock."""
        while not self._left.empty():
            query, is_handle = self._left.get()
            query.followers -= 1
            query.handles -= is_handle
            if query.followers:
                continue
            is_kept = query.state is not None and query.state.error is None
            if not is_kept or query in self.lagging or query.is_volatile:
                self._forget(query)
                continue
            self._idle[query.key] = query
            while len(self._idle) > self._cache_entries_max:
                self._forget(next(iter(self._idle.values())))

    def _forget(self, query: LiveQuery) -> None:
        run_undisturbed(self._forget_undisturbed, query)

    def _forget_undisturbed(self, query: LiveQuery) -> None:
        key = query.key
        if self._by_key.get(key) is query:
            del self._by_key[key]
            self._idle.pop(key, None)
        self.lagging.discard(query)
        with self._committer.publish_lock:
            self._index.remove(query)
            self._stale.discard(query)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told of every step; call what is returned to stop."""
        self._listeners = [*self._listeners, listener]

        def stop() -> None:
            # `==`, not `is`: a bound method is a new object each time it is looked up.
            self._listeners = [each for each in self._listeners if each != listener]

        return stop

    def work_of(self, keys: Iterable[Hashable]) -> Work:
        """What the live queries of sources with these keys cost, all together."""
        found = [query for key in keys if (query := self._by_key.get(key)) is not None]
        with self._committer.publish_lock:
            reads = [each for query in found for each in self._index.reads_of(query)]
        return Work(
            sum(query.runs for query in found),
            sum(query.run_s for query in found if query.runs),
            tuple(map(self._words_of, reads)),
        )

    def _words_of(self, reading: Reading) -> str:
        """A reading as people say it: `flights by_origin, 3 documents`."""
        name = self._committer.catalog.name_of(reading.table) or str(reading.table)
        if reading.is_whole:
            return f"{name}, all of it"
        documents = [counted(reading.documents, "document")] if reading.documents else []
        return ", ".join([" ".join([name, *reading.indexes[:1]]), *reading.indexes[1:], *documents])

    def standing_nowait(self) -> Standing | None:
        """Where live results stand, if that is the newest commit; None when some are stale.

        Those that lag stand elsewhere; which these are is told.

        Cost: two comparisons. Whoever must not block learns here that nothing is to be done.
        """
        with self._committer.publish_lock:
            if self._stale or self._running:
                return None
            return Standing(self._committer.published, self.steps_made)

    def ask(self, answer: Callable[[int], None]) -> None:
        """Have `answer` called with a commit published now or later at which all is current.

        Or is known to lag. On the refresher's thread, when listeners have been told of every step
        up to it; it must not raise. Never called when the workspace is closed first.
        """
        self._asked.put(answer)
        self._wake_up()

    def followed(self) -> list[LiveQuery]:
        """The live queries that somebody follows."""
        return [query for query in list(self._by_key.values()) if query.followers]

    def statistics(self) -> dict[str, int]:
        """How many live queries there are, are followed, are idle, and were touched."""
        if self._refresh_lock.acquire(blocking=False):
            try:
                self._take_leave()
            finally:
                self._refresh_lock.release()
        return {
            "live_queries": len(self._by_key),
            "followed": len(self.followed()),
            "idle": len(self._idle),
            "stale": len(self._stale),
            "lagging": len(self.lagging),
        }

    # -- invalidation --------------------------------------------------------------------------

    def publish(self, batch: Sequence[CommitRequest]) -> None:
        """Mark what a published batch touches; the committer calls it under its publish lock.

        Cost: a few dict look-ups per key written, plus the live queries touched.
        """
        if not self._by_key:
            return
        touched: set[LiveQuery] = set()
        try:
            for request in batch:
                touched |= self._index.touched(request.change)
        except BaseException:  # a bug of ours, say: better run too much than too little
            touched.update(list(self._by_key.values()))  # the batch is visible: any may be touched
            raise
        finally:
            if touched:
                self._stale |= touched
                self._wake_up()

    def invalidate(
        self, matches: Callable[[LiveSource], bool] | None = None, *, names: Collection[str] = ()
    ) -> None:
        """Mark live queries stale for another reason than data, such as a redefined function.

        All at once: whoever is woken runs them in one transition.

        Args:
            matches: whether a source is one of them.
            names: also those whose runs looked one of them up; see `ReadSet.names`.
        """
        with self._refresh_lock:
            known = () if matches is None else self._by_key.values()
            found = {query for query in known if matches and matches(query.source)}
            with self._committer.publish_lock:
                if names:
                    found |= self._index.touched(WriteSet((), frozenset(names), frozenset()))
                    # What is in a round may have looked one up just now.
                    found |= {query for query in self.lagging if query.round is not None}
                self._stale |= found
        if found:
            self._wake_up()

    def invalidate_key(self, key: Hashable) -> None:
        """Mark the live query of one source stale, if it is followed. Cost: not that of others."""
        with self._refresh_lock:
            found = self._by_key.get(key)
            if found is not None:
                with self._committer.publish_lock:
                    self._stale.add(found)
        if found is not None:
            self._wake_up()

    def _wake_up(self) -> None:
        # A flag and a queue in C: a Condition costs three times as much on the commit's path. Two
        # who see the flag down at once put two tokens, and the second one finds nothing to do.
        if not self._is_woken:
            self._is_woken = True
            self._wake.put(True)

    # -- transitions ---------------------------------------------------------------------------

    def refresh(self) -> int:
        """Bring every live result to the newest published commit; returns its number.

        Cost: nothing but a comparison when no live query was touched since the last time.
        """
        is_current = self.number == self._committer.published and not self._stale
        if is_current and not self._running and self._left.empty():
            return self.number
        with self._refresh_lock:
            return self._refresh_locked()

    @contextmanager
    def held(self, *, pauses_folds: bool = False) -> Iterator[int]:
        """Within it every live result stays at one commit, whose number it gives.

        Others who need a newer result wait meanwhile: be quick. With `pauses_folds` the tables
        are not folded beyond that commit, and others who read SQL wait as well.
        """
        with self._refresh_lock:
            if not pauses_folds:
                yield self._refresh_locked()
                return
            with self._fold_pause() as number:
                yield self._transition(number)

    def _refresh_locked(self) -> int:
        self._take_leave()
        for _ in range(TRANSITION_TRIES_MAX):
            try:
                return self._transition(self._committer.published)
            except SnapshotTooOldError:
                continue
        with self._fold_pause() as number:
            return self._transition(number)

    def _transition(self, number: int) -> int:
        """Run every stale query at `number` but slow ones, then show all of it at once."""
        runs: list[tuple[LiveQuery, Computed]] = []
        slow: list[LiveQuery] = []
        try:
            with self._committer.publish_lock:
                # In this order: who looks without the lock must find it in one of the two.
                stale = self._running = self._stale
                self._stale = set()
            now_s = self._now_s
            began_s = now_s() if stale else 0.0
            is_late = False
            for query in stale if len(stale) == 1 else self._in_order(stale):
                if not query.followers:
                    self._forget(query)
                    continue
                if (is_late or query.run_s > SLOW_S) and not query.handles:
                    slow.append(query)
                    continue
                runs.append((query, query.source.compute(number)))
                ended_s = now_s()
                query.took(ended_s - began_s)
                began_s = ended_s
                if query.run_s > SLOW_S:
                    is_late = True  # which nobody knew: the others wait already
            run_undisturbed(self._finish, (runs, slow, number))
        except BaseException:  # a Ctrl-C too
            # Nobody has seen anything of it, so all of it is simply stale again. (After an
            # interrupt that came when it was finished, nothing is running any more.)
            with self._committer.publish_lock:
                self._stale |= self._running
                self._running = set()
            raise
        return number

    def _finish(self, outcome: tuple[_Runs, Sequence[LiveQuery], int]) -> None:
        """Follow what the runs read and show what they gave, where no signal comes between."""
        runs, slow, number = outcome
        with self._committer.publish_lock:
            for query, computed in runs:
                if self._register(query, computed.reads, number):
                    self._stale.add(query)
                    self._wake_up()
        changes = self._show(runs)
        caught_up = self._catch_up(runs) if self.lagging else None
        lagging = self._let_lag(slow) if slow else ()
        self.number = number
        self._running = set()
        if changes or lagging or caught_up is not None:
            self._tell(_new_tuple(Step, (number, changes, lagging, None, None, caught_up)))

    def _catch_up(self, runs: _Runs) -> Outcome | None:
        """Those that lagged, and were run nevertheless: a handle follows them, or they are fast."""
        states: States = {}
        for query, _ in runs:
            if query in self.lagging:
                self.lagging.discard(query)
                query.round = None
                assert query.state is not None, "it was run and shown"
                states[query] = query.state
        return Outcome(states, {}) if states else None

    def _let_lag(self, slow: Sequence[LiveQuery]) -> Sequence[LiveQuery]:
        """Leave these to a round; those of which that is news: also if they are in one already."""
        told = [query for query in slow if query not in self.lagging or not query.is_touched]
        self.lagging.update(slow)
        for query in slow:
            query.is_touched = True
        return told

    def _tell(self, step: Step) -> None:
        """Have followers told of a step; under the refresh lock."""
        if self._listeners:
            self.steps_made += 1
            self._steps.append(step)
            if not self.is_refresher():
                self._wake_up()

    @staticmethod
    def _show(runs: _Runs) -> list[Change]:
        changes: list[Change] = []
        for query, computed in runs:
            old = query.state
            new, is_changed = query.absorb(computed)
            # A first result is nobody's news: who followed reads it. Telling it would race with the
            # first real change.
            if is_changed and old is not None:
                changes.append(Change(query, old, new))
        return changes

    @staticmethod
    def _in_order(stale: Iterable[LiveQuery]) -> list[LiveQuery]:
        """SQL first: it may find that the tables are ahead, before functions are run in vain."""
        return sorted(stale, key=lambda query: not query.source.uses_sql)

    def _register(self, query: LiveQuery, reads: ReadSet, number: int) -> bool:
        """Follow the new read set; whether what was published while the query ran touches it."""
        self._index.follow(query, reads)
        published = self._committer.published
        if published == number:
            return False
        log = self._committer.write_log
        if not log.covers(number):
            return True
        return log.first_conflict(reads, after=number, until=published) is not None

    # -- rounds --------------------------------------------------------------------------------

    def capture(self, queries: Iterable[LiveQuery]) -> Capture:
        """Where `queries` stand now, and a round of those that lag; blocks as long as they take.

        Without a round when one of them is in a round already. Listeners are told of the end of
        either, unless nobody but the caller can wait for it.
        """
        return self._capture(queries, is_private=True)

    def catch_up(self, queries: Iterable[LiveQuery]) -> bool:
        """A round of those of `queries` that lag, of which listeners are told.

        Returns whether there was none because one of them is in a round already.
        """
        captured = self._capture(queries, is_private=False)
        return bool(captured.lagging) and captured.round is None

    def _capture(self, queries: Iterable[LiveQuery], *, is_private: bool) -> Capture:
        for attempt in range(TRANSITION_TRIES_MAX):
            with self._refresh_lock:
                self._refresh_locked()
                try:
                    captured = self._capture_locked(
                        queries, is_private=is_private, pins_sql=attempt > 0
                    )
                except SnapshotTooOldError:
                    continue  # a fold of what was committed meanwhile
            try:
                return self._with_outcome(captured, self._refresh_lock)
            except SnapshotTooOldError:
                continue
        with self._refresh_lock, self._fold_pause() as number:
            self._transition(number)
            captured = self._capture_locked(queries, is_private=is_private, pins_sql=False)
            return self._with_outcome(captured, nullcontext())

    def _capture_locked(
        self, queries: Iterable[LiveQuery], *, is_private: bool, pins_sql: bool
    ) -> Capture:
        number, ts = self.number, self._committer.ts_of(self.number)  # before it is forgotten
        states: States = {}
        lagging: list[LiveQuery] = []
        for query in queries:
            if query in self.lagging:
                lagging.append(query)
            elif query.state is not None:  # else it was dropped meanwhile
                states[query] = query.state
        begun = None
        if lagging and all(query.round is None for query in lagging):
            is_private = is_private and all(
                query.followers == 1 and query.state is None for query in lagging
            )
            begun = self._begin_round(lagging, is_private=is_private, pins_sql=pins_sql)
        return Capture(number, ts, self.steps_made, states, frozenset(lagging), begun)

    def _begin_round(self, queries: list[LiveQuery], *, is_private: bool, pins_sql: bool) -> Round:
        """Claim `queries` for a round at the commit of the transitions; under the refresh lock."""
        begun = Round(self.number, self._in_order(queries), is_private)
        pins_sql = pins_sql or any(query.source.uses_sql for query in queries)
        begun.kept.enter_context(self._keeping(begun.number, pins_sql))
        for query in queries:
            query.round, query.is_touched = begun, False
        if not is_private:
            self._tell(Step(begun.number, begun=begun))
        return begun

    def _with_outcome(self, captured: Capture, lock: AbstractContextManager[object]) -> Capture:
        """Run the round that a capture began, if it did, and end it under `lock`."""
        begun = captured.round
        if begun is None:
            return captured
        try:
            with begun.kept:
                runs = self._runs_of(begun)
                with lock:
                    return captured._replace(outcome=self._end_round(begun, runs))
        except BaseException:
            with lock:
                self._give_up(begun)
            raise

    def _runs_of(self, begun: Round) -> _Runs:
        runs: list[tuple[LiveQuery, Computed]] = []
        for query in begun.queries:
            if query.round is begun and query.followers:
                began_s = self._now_s()
                runs.append((query, query.source.compute(begun.number)))
                query.took(self._now_s() - began_s)
        return runs

    def _end_round(self, ended: Round, runs: _Runs) -> Outcome:
        """Follow what the runs of a round read and show what they gave."""
        # Without those that a transition has run meanwhile: what is known of them is newer.
        runs = [run for run in runs if run[0].round is ended]
        again: set[LiveQuery] = set()
        with self._committer.publish_lock:
            for query, computed in runs:
                if self._register(query, computed.reads, ended.number) or query.is_touched:
                    again.add(query)
            self._stale |= {query for query in again if not query.is_slow}
        if again:
            self._wake_up()
        self._show(runs)
        outcome = Outcome({}, {})
        for query, _ in runs:
            assert query.state is not None, "it was run and shown"
            if query in again:
                outcome.again[query] = query.state
            else:
                outcome.settled[query] = query.state
        self.lagging.difference_update(outcome.settled)
        self._let_go(ended)
        if not ended.is_private:
            self._tell(Step(ended.number, ended=ended, outcome=outcome))
        return outcome

    def _give_up(self, ended: Round) -> None:
        """A round came to nothing: its queries lag as before."""
        if any(query.round is ended for query in ended.queries):
            self._let_go(ended)
            if not ended.is_private:
                self._tell(Step(ended.number, ended=ended, outcome=Outcome({}, {})))

    def _let_go(self, ended: Round) -> None:
        for query in ended.queries:
            if query.round is ended:
                query.round = None
                if not query.followers:
                    self._forget(query)

    # -- the refresher -------------------------------------------------------------------------

    def _loop(self) -> None:
        while True:
            if not self._wake.get() or self._is_closed:
                return
            self._is_woken = False
            # Taken first: an answer is for who asked before the results were brought up to date.
            asked = [self._asked.get() for _ in range(self._asked.qsize())]
            try:
                number = self.refresh()
                self._deliver()
                for answer in asked:
                    answer(number)
            except Exception:  # the job worker: log it and go on with the next one
                logger.exception("refreshing live queries failed")
            if self._steps:
                self._wake_up()  # an observer read a handle, which made another one
            if self._stale or self._steps:
                # Commits come faster than they are followed. To ask for the interpreter after each
                # of them costs whoever commits more than the commit.
                self._closing.wait(BURST_PAUSE_S)

    def _deliver(self) -> None:
        for _ in range(len(self._steps)):
            step = self._steps.pop(0)
            self.steps_told += 1
            for listener in self._listeners:
                listener(step)

    def is_refresher(self) -> bool:
        """Whether the calling thread is the one that tells followers."""
        return get_ident() == self._thread.ident

    def close(self) -> None:
        """Stop refreshing; states stay readable."""
        self._is_closed = True
        self._closing.set()
        self._wake.put(False)
        if not self.is_refresher():
            self._thread.join()
