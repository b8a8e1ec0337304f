"""All live queries of a workspace: run again when touched, told all together.

A commit marks the live queries it touches stale (on the publishing thread, a set operation). They
are refreshed in one *transition*: every stale one is run at the same commit number, and only then
do followers see any of it, so nobody ever sees two commits mixed. A transition is made by whoever
needs it first: the refresher's thread after a commit (push), or a reader of a handle (pull). What
changed is told to followers by the refresher's thread alone, in order.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from queue import SimpleQueue
from threading import Event, Lock, Thread, get_ident
from typing import NamedTuple

from livedb.errors import SnapshotTooOldError
from livedb.live.live_query import Computed, LiveQuery, LiveSource, LiveState
from livedb.transactions.committer import CommitRequest, Committer
from livedb.transactions.reads import ReadSet, WriteSet
from livedb.transactions.signals import run_undisturbed
from livedb.transactions.subscriptions import SubscriptionIndex

logger = logging.getLogger("livedb")

BURST_PAUSE_S = 0.003
"""Pause of the refresher between two transitions while commits come faster than it follows them."""

TRANSITION_TRIES_MAX = 8
"""Times a transition starts again at a newer commit before it stops folds meanwhile."""


class Standing(NamedTuple):
    """A moment at which every live result is current.

    Attributes:
        number: the newest published commit.
        transitions: made until then; see `LiveQueries.transitions_made`.
    """

    number: int
    transitions: int


class Change(NamedTuple):
    """One live query's part of a transition."""

    query: LiveQuery
    old: LiveState | None
    new: LiveState


Listener = Callable[[int, Sequence[Change]], None]
"""Told (number, changes) after each transition, on the refresher's thread; must not raise."""


class LiveQueries:
    """The live queries of a workspace, and the thread that refreshes them. `close()` it.

    Args:
        fold_pause: a context within which no fold happens, so that SQL keeps one number.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        cache_entries_max: int,
        fold_pause: Callable[[], AbstractContextManager[int]],
    ) -> None:
        self._committer = committer
        self._cache_entries_max = cache_entries_max
        self._fold_pause = fold_pause
        self._refresh_lock = Lock()
        """Held while a transition is computed; taken before the committer's `publish_lock`."""
        self._index: SubscriptionIndex[LiveQuery] = SubscriptionIndex()
        """Guarded by the committer's `publish_lock`, as is `_stale`."""
        self._stale: set[LiveQuery] = set()
        self._running: set[LiveQuery] = set()
        """Those a transition in progress is running: no longer stale, not yet shown."""
        self._left: SimpleQueue[LiveQuery] = SimpleQueue()
        self._by_key: dict[Hashable, LiveQuery] = {}
        self._idle: OrderedDict[Hashable, LiveQuery] = OrderedDict()
        self._listeners: list[Listener] = []
        self._transitions: list[tuple[int, list[Change]]] = []
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._is_woken = False
        self._is_closed = False
        self._closing = Event()
        self._asked: SimpleQueue[Callable[[int], None]] = SimpleQueue()
        self.transitions_made = 0
        """That changed something while somebody listened: what a state read under `held` includes.
        """
        self.transitions_told = 0
        """As many of them listeners have been told of, or are just being told."""
        self.number = committer.published
        """The commit all live results stand at."""
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
                followed.extend(self._follow_locked(source) for source in sources)
            self.refresh()
        except BaseException:  # a Ctrl-C too: who gets no query follows none
            for query in followed:
                self.unfollow(query)
            raise
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
        if query.state is None:
            with self._committer.publish_lock:
                self._stale.add(query)
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
        self._left.put(query)
        self._wake_up()

    def _take_leave(self) -> None:
        """Count down the followers that left, under the refresh lock."""
        while not self._left.empty():
            query = self._left.get()
            query.followers -= 1
            if query.followers:
                continue
            if query.state is None or query.state.error is not None or query.is_volatile:
                self._forget(query)
                continue
            self._idle[query.key] = query
            while len(self._idle) > self._cache_entries_max:
                self._forget(next(iter(self._idle.values())))

    def _forget(self, query: LiveQuery) -> None:
        run_undisturbed(self._forget_undisturbed, query)

    def _forget_undisturbed(self, query: LiveQuery) -> None:
        key = query.key
        self._idle.pop(key, None)
        if self._by_key.get(key) is query:
            del self._by_key[key]
        with self._committer.publish_lock:
            self._index.remove(query)
            self._stale.discard(query)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told of every transition; call what is returned to stop."""
        self._listeners = [*self._listeners, listener]

        def stop() -> None:
            # `==`, not `is`: a bound method is a new object each time it is looked up.
            self._listeners = [each for each in self._listeners if each != listener]

        return stop

    def runs_of(self, keys: Iterable[Hashable]) -> int:
        """How often the live queries of sources with these keys were run."""
        found = [self._by_key.get(key) for key in keys]
        return sum(query.runs for query in found if query is not None)

    def standing_nowait(self) -> Standing | None:
        """Where all live results stand, if that is the newest commit; None when some are stale.

        Cost: two comparisons. Whoever must not block learns here that nothing is to be done.
        """
        with self._committer.publish_lock:
            if self._stale or self._running:
                return None
            return Standing(self._committer.published, self.transitions_made)

    def ask(self, answer: Callable[[int], None]) -> None:
        """Have `answer` called with a commit published now or later at which all is current.

        On the refresher's thread, when listeners have been told of every transition up to it; it
        must not raise. Never called when the workspace is closed first.
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

    def invalidate(self, matches: Callable[[LiveSource], bool]) -> None:
        """Mark live queries stale for another reason than data, such as a redefined function."""
        with self._refresh_lock:
            found = [query for query in self._by_key.values() if matches(query.source)]
            with self._committer.publish_lock:
                self._stale.update(found)
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

    def invalidate_name(self, name: str) -> None:
        """Mark live queries stale whose runs looked up `name`; see `ReadSet.names`."""
        with self._committer.publish_lock:
            found = self._index.touched(WriteSet((), frozenset({name}), frozenset()))
            self._stale |= found
        if found:
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
        """Run every stale query at `number`, then show all of it at once."""
        runs: list[tuple[LiveQuery, Computed]] = []
        try:
            with self._committer.publish_lock:
                # In this order: who looks without the lock must find it in one of the two.
                stale = self._running = self._stale
                self._stale = set()
            for query in stale if len(stale) == 1 else self._in_order(stale):
                if not query.followers:
                    self._forget(query)
                    continue
                runs.append((query, query.source.compute(number)))
                query.runs += 1
            run_undisturbed(self._finish, (runs, number))
        except BaseException:  # a Ctrl-C too
            # Nobody has seen anything of it, so all of it is simply stale again. (After an
            # interrupt that came when it was finished, nothing is running any more.)
            with self._committer.publish_lock:
                self._stale |= self._running
                self._running = set()
            raise
        return number

    def _finish(self, outcome: tuple[Sequence[tuple[LiveQuery, Computed]], int]) -> None:
        """Follow what the runs read and show what they gave, where no signal comes between."""
        runs, number = outcome
        with self._committer.publish_lock:
            for query, computed in runs:
                self._register(query, computed.reads, number)
        changes = self._show(runs)
        self.number = number
        self._running = set()
        if changes and self._listeners:
            self.transitions_made += 1
            self._transitions.append((number, changes))
            if not self.is_refresher():
                self._wake_up()

    @staticmethod
    def _show(runs: Sequence[tuple[LiveQuery, Computed]]) -> list[Change]:
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
    def _in_order(stale: set[LiveQuery]) -> list[LiveQuery]:
        """SQL first: it may find that the tables are ahead, before functions are run in vain."""
        return sorted(stale, key=lambda query: not query.source.uses_sql)

    def _register(self, query: LiveQuery, reads: ReadSet, number: int) -> None:
        """Follow the new read set, minding commits published while the query ran."""
        self._index.follow(query, reads)
        published = self._committer.published
        if published == number:
            return
        log = self._committer.write_log
        if not log.covers(number) or log.first_conflict(reads, after=number, until=published):
            self._stale.add(query)
            self._wake_up()

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
            if self._transitions:
                self._wake_up()  # an observer read a handle, which made another one
            if self._stale or self._transitions:
                # Commits come faster than they are followed. To ask for the interpreter after each
                # of them costs whoever commits more than the commit.
                self._closing.wait(BURST_PAUSE_S)

    def _deliver(self) -> None:
        for _ in range(len(self._transitions)):
            number, changes = self._transitions.pop(0)
            self.transitions_told += 1
            for listener in self._listeners:
                listener(number, changes)

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
