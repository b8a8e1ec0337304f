"""Which queries that lag are run next, and on which thread.

A query set whose queries lag wants a round of them, all at one commit (`LiveQueries.catch_up`). Two
rounds go on at once as long as they have no query in common, so a slow query holds up those who
follow it, and no slow one of others. Who wants a query that is being run waits for the end of that
round, in which it may be told all it needs; who has waited longest comes first, and what it waits
for is kept from those behind it.

Everything here happens on the event loop but for the rounds.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from livedb.errors import ClosedError
from livedb.live.live_queries import LiveQueries
from livedb.live.live_query import LiveQuery
from livedb.service.query_set import QuerySet

logger = logging.getLogger("livedb.service")

ROUNDS_MAX = 8
"""Rounds that go on at once; more wait."""

AGAIN_S = 0.5
"""Pause after a round that failed, which no function of a user can bring about."""


class Rounds:
    """The rounds of one service. Made and closed on the event loop's thread."""

    def __init__(self, live: LiveQueries) -> None:
        self._live = live
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(ROUNDS_MAX, thread_name_prefix="livedb-round")
        self._waiting: dict[QuerySet, None] = {}
        """Who wants a round, who came first first."""
        self._going_on = 0
        self._is_closed = False

    def want(self, query_set: QuerySet) -> None:
        """Queries of a set may lag; call `begin` behind it."""
        if query_set.lagging and not query_set.is_closed:
            self._waiting.setdefault(query_set)

    def begin(self) -> None:
        """Begin the rounds that can begin."""
        kept: set[LiveQuery] = set()
        for query_set in list(self._waiting):
            if self._going_on >= ROUNDS_MAX or self._is_closed:
                return
            lagging = query_set.lagging
            if not lagging or query_set.is_closed:
                del self._waiting[query_set]
            elif kept.isdisjoint(lagging) and all(each.round is None for each in lagging):
                del self._waiting[query_set]
                self._going_on += 1
                future = self._threads.submit(self._live.catch_up, list(lagging))
                future.add_done_callback(lambda done, of=query_set: self._tell(of, done))  # type: ignore[misc]
            kept |= lagging

    def _tell(self, query_set: QuerySet, done: Future[bool]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._ended, query_set, done)

    def _ended(self, query_set: QuerySet, done: Future[bool]) -> None:
        self._going_on -= 1
        error = None if done.cancelled() else done.exception()
        if error is not None and not self._is_closed:
            if not isinstance(error, ClosedError):
                logger.error("running queries that lag failed", exc_info=error)
            self._loop.call_later(AGAIN_S, self._again, query_set)
        elif error is None and not done.cancelled() and done.result():
            self.want(query_set)  # another round took one of the queries just before
        self.begin()

    def _again(self, query_set: QuerySet) -> None:
        self.want(query_set)
        self.begin()

    def close(self) -> None:
        """Begin no more; what goes on ends unheard."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
