"""Commits of a service that stay readable, with the states of what is followed at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from livedb.client.backend import SNAPSHOT_TRIES_MAX, Subscription
from livedb.client.remote_subscription import RemoteSubscription, state_from
from livedb.client.verbs import Verbs
from livedb.clock import Clock
from livedb.errors import LivedbError, SnapshotTooOldError
from livedb.live.live_query import LiveState
from livedb.protocol.codecs import PACK


@dataclass(slots=True, kw_only=True)
class RemoteSnapshotReads:
    """A commit of a service that stays readable, and the states of handles there."""

    number: int
    states: Mapping[Subscription, LiveState]
    verbs: Verbs
    name: str
    """By which the service knows it."""

    def here(self) -> AbstractContextManager[None]:
        return self.verbs.holding(self.name)


def known_states(followed: Sequence[RemoteSubscription]) -> dict[Subscription, LiveState]:
    """The states of those that have one."""
    return {each: each.known for each in followed if each.known is not None}


class RemoteSnapshots:
    """Takes snapshots of one service.

    Args:
        known: gives the newest commit that is known, and the states of subscriptions at it.
    """

    def __init__(
        self,
        verbs: Verbs,
        clock: Clock,
        known: Callable[[Sequence[RemoteSubscription]], tuple[int, dict[Subscription, LiveState]]],
    ) -> None:
        self._verbs = verbs
        self._clock = clock
        self._known = known

    @contextmanager
    def taken(self, followed: Sequence[RemoteSubscription]) -> Iterator[RemoteSnapshotReads]:
        """A commit that stays readable until the block ends.

        Raises:
            LimitError: this connection, or the service, has too many.
        """
        name = self._clock.random_bytes(16).hex()
        try:
            yield self._pinned(name, followed)
        finally:
            with suppress(LivedbError):  # it ends by itself, a little later
                self._verbs.ask("unpin", {"name": name})

    def _pinned(self, name: str, followed: Sequence[RemoteSubscription]) -> RemoteSnapshotReads:
        for _ in range(SNAPSHOT_TRIES_MAX):
            number, states = self._known(followed)
            with suppress(SnapshotTooOldError):  # somebody's SQL has read a later commit meanwhile
                self._verbs.act("pin", {"name": name, "number": number})
                return self._reads(name, number, states)
        return self._pinned_first(name, followed)

    def _pinned_first(
        self, name: str, followed: Sequence[RemoteSubscription]
    ) -> RemoteSnapshotReads:
        """The newest commit, whichever it is, and what is followed, run again at it."""
        number: int = PACK.read(self._verbs.act("pin", {"name": name, "number": None}))
        runs = [each for each in followed if each.asked.path != "who"]  # which has no commit
        asked = [[each.asked.path, each.asked.component, each.asked.args] for each in runs]
        with self._verbs.holding(name):
            answer = PACK.read_payload(self._verbs.act("states", {"asked": asked}))
        described: list[tuple[bool, list[str]]] = msgspec.json.decode(answer.text)
        states = known_states(followed)
        for each, (is_good, log_lines), raw in zip(
            runs, described, answer.attachments, strict=True
        ):
            states[each] = state_from(Raw(raw), log_lines, is_good=is_good)
        return self._reads(name, number, states)

    def _reads(
        self, name: str, number: int, states: Mapping[Subscription, LiveState]
    ) -> RemoteSnapshotReads:
        return RemoteSnapshotReads(number=number, states=states, verbs=self._verbs, name=name)
