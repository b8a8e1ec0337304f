"""The one thread of a kernel that sends updates to pages.

Why a thread of our own: while a plain cell runs, the kernel's event loop does not turn, and the
committer must never wait for a socket. ipykernel's IOPub socket may be used from any thread (its
`BackgroundSocket` hands each message to the IOPub thread).

What it promises:

* The first change after a quiet moment leaves at once; then at most `BATCHES_PER_S_MAX` batches
  leave per second, each with the newest state of every table that changed. Jupyter Server drops
  messages silently above 1,000 a second, so a busy commit loop must never reach the wire as such.
* All tables of a batch that read one workspace are of one commit, those too that heard of it later
  than the first: they are brought there together before any is read.
* One comm message per batch and page, however many tables changed. Widget messages belong to one
  model, so a batch rides on the comm of one table, its *carrier*, and the page hands the entries to
  the other tables (`widgets/src/model/realm.ts`). A *realm* is one JavaScript world: all outputs of
  a JupyterLab page share one, on Colab each output has its own; a table whose realms the carrier
  does not reach travels by itself.
* A page that stops acknowledging slows the batches down; it never stops them, because on hosts
  without subshells acknowledgements wait until the cell ends.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from livedb.clock import Clock, SystemClock
from livedb.notebook.feed import Message
from livedb.notebook.rows import RowState
from livedb.process_lock import ProcessLock

BATCHES_PER_S_MAX = 30
"""Batches a second once a burst has begun; one frame of the page shows at most one."""

BATCHES_PER_S_SLOW = 5
"""Batches a second while no page acknowledges."""

UNACKNOWLEDGED_MAX = 8
"""Batches under way to a page that has not answered; beyond it batches leave slowly."""

BEAT_S = 5.0
"""Seconds between signs of life to pages that got no batch meanwhile."""

logger = logging.getLogger("livedb")


class Member(Protocol):
    """A table that the publisher serves."""

    @property
    def address(self) -> str:
        """The name by which pages know this table."""
        ...

    def realms(self) -> frozenset[str]:
        """The pages that show it."""
        ...

    def gather(self, members: Sequence[Any]) -> Sequence[tuple[Any, RowState]]:
        """The states of it and those of `members` that have a newest commit in common."""
        ...

    def take_update(self, state: RowState) -> Message | None:
        """What of a state is news that someone sees."""
        ...

    def beat(self) -> Message:
        """A sign of life that tells pages what they may have missed."""
        ...

    def send_batch(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        """Send a batch over its comm."""
        ...

    def settle(self, now_s: float) -> float | None:
        """Do what waits for a quiet moment, if its time has come; else say when it comes."""
        ...


class Pace:
    """When the next batch may leave. Pure: time comes in, decisions go out."""

    def __init__(self) -> None:
        self._sent_s = float("-inf")
        self._batch = 0
        self._acknowledged: dict[str, int] = {}  # realm -> newest batch it has answered

    def due_s(self) -> float:
        """The earliest time, on the caller's clock, for the next batch."""
        rate = BATCHES_PER_S_SLOW if self._is_unheard() else BATCHES_PER_S_MAX
        return self._sent_s + 1 / rate

    def begin(self, now_s: float) -> int:
        """Number the batch that leaves now."""
        self._sent_s = now_s
        self._batch += 1
        return self._batch

    def acknowledge(self, realm: str, batch: int) -> None:
        """Note that a page has applied everything up to `batch`."""
        self._acknowledged[realm] = max(batch, self._acknowledged.get(realm, 0))

    def keep_realms(self, realms: frozenset[str]) -> None:
        """Forget pages that are gone."""
        for realm in self._acknowledged.keys() - realms:
            del self._acknowledged[realm]

    def _is_unheard(self) -> bool:
        newest = max(self._acknowledged.values(), default=self._batch)
        return self._batch - newest > UNACKNOWLEDGED_MAX


class Publisher:
    """Sends the updates of its members from one daemon thread; see the module's docstring."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._pace = Pace()
        self._members: dict[str, Member] = {}
        self._changed: set[str] = set()
        self._is_closed = False
        # Guards the fields above. Held for a moment only and never while a member is called.
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._beat_s = self._clock.monotonic_s() + BEAT_S

    def join(self, member: Member) -> None:
        """Serve `member` from now on."""
        with self._condition:
            self._members[member.address] = member
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(
                    target=self._run, name="livedb-publisher", daemon=True
                )
                self._thread.start()

    def leave(self, address: str) -> None:
        """Forget a member."""
        with self._condition:
            self._members.pop(address, None)
            self._changed.discard(address)

    def publish(self, address: str) -> None:
        """Say that a member has something to send; returns at once, from any thread."""
        with self._condition:
            if address in self._members:
                self._changed.add(address)
                self._condition.notify()

    def acknowledge(self, realm: str, batch: int) -> None:
        """A page has applied everything up to `batch`."""
        with self._condition:
            self._pace.acknowledge(realm, batch)
            self._condition.notify()

    def close(self) -> None:
        """End the thread; changes not yet sent are dropped."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self) -> None:
        for is_changed in self._iter_turns():
            if is_changed:
                self._send_changes()
            self._send_beats()

    def _iter_turns(self) -> Iterator[bool]:
        """A turn each time changes are due, or a quiet-time task or a beat may be; which it is."""
        wake_s = 0.0
        while True:
            with self._condition:
                while not self._is_closed:
                    now_s = self._clock.monotonic_s()
                    target_s = self._pace.due_s() if self._changed else wake_s
                    if now_s >= target_s:
                        break
                    self._condition.wait(target_s - now_s)
                if self._is_closed:
                    return
                # From now on a change is one that this turn may miss.
                is_changed, self._changed = bool(self._changed), set()
            yield is_changed
            wake_s = self._settle()

    def _settle(self) -> float:
        """Let members do what waits for a quiet moment; returns when to look again."""
        now_s = self._clock.monotonic_s()
        wakes_s = [self._beat_s]
        for member in self._snapshot():
            with _reported("settle"):
                if (wake_s := member.settle(now_s)) is not None:
                    wakes_s.append(wake_s)
        return min(wakes_s)

    def _snapshot(self) -> Sequence[Member]:
        with self._condition:
            return tuple(self._members.values())

    def _send_changes(self) -> None:
        """What has changed of all that is on screen, heard of or not, at one commit."""
        states = self._gathered()
        members = [member for member, _ in states.values()]
        self._send_batch(members, lambda each: each.take_update(states[each.address][1]))

    def _gathered(self) -> Mapping[str, tuple[Member, RowState]]:
        gathered: dict[str, tuple[Member, RowState]] = {}
        waiting = [member for member in self._snapshot() if member.realms()]
        while waiting:
            with _reported("update"):
                gathered |= {each.address: (each, at) for each, at in waiting[0].gather(waiting)}
            waiting = [each for each in waiting[1:] if each.address not in gathered]
        return gathered

    def _send_beats(self) -> None:
        """Tell every open table that the kernel lives, when its time has come."""
        now_s = self._clock.monotonic_s()
        if now_s < self._beat_s:
            return
        self._beat_s = now_s + BEAT_S
        self._send_batch(
            self._snapshot(), lambda member: member.beat() if member.realms() else None
        )

    def _send_batch(
        self, members: Sequence[Member], take: Callable[[Member], Message | None]
    ) -> None:
        """One batch of what `take` gives; a member that fails is reported, the others go on."""
        messages: dict[str, Message] = {}
        for member in members:
            with _reported("update"):
                if (message := take(member)) is not None:
                    messages[member.address] = message
        sending = [member for member in members if member.address in messages]
        if not sending:
            return
        realms = frozenset[str]().union(*(member.realms() for member in self._snapshot()))
        with self._condition:
            batch = self._pace.begin(self._clock.monotonic_s())
            self._pace.keep_realms(realms)
        for carrier, riders in carriers(sending):
            with _reported("send"):
                carrier.send_batch(*_batch_message(batch, riders, messages))


def carriers(members: Sequence[Member]) -> list[tuple[Member, list[Member]]]:
    """Group `members` under as few carriers as reach every page that shows them.

    A member rides on a carrier whose realms include all of its own.
    """
    realms = {member.address: member.realms() for member in members}
    groups: list[tuple[Member, list[Member]]] = []
    for member in sorted(members, key=lambda member: -len(realms[member.address])):
        own = realms[member.address]
        for carrier, riders in groups:
            if own <= realms[carrier.address]:
                riders.append(member)
                break
        else:
            groups.append((member, [member]))
    return groups


def _batch_message(
    batch: int, riders: Sequence[Member], messages: Mapping[str, Message]
) -> tuple[dict[str, Any], list[bytes]]:
    """The entries of `riders` as one message; each entry says where its buffers begin."""
    entries: list[dict[str, Any]] = []
    buffers: list[bytes] = []
    for rider in riders:
        message = messages[rider.address]
        entries.append(message.content | {"address": rider.address, "buffers": len(buffers)})
        buffers.extend(message.buffers)
    return {"kind": "batch", "batch": batch, "entries": entries}, buffers


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    """Log what a widget callback raised and go on: one broken table must not silence the others."""
    try:
        yield
    except Exception:  # the widget callback: log it and go on
        logger.exception("livedb: a table's %s failed", what)


_kernel_publisher: Publisher | None = None
_kernel_lock = ProcessLock()  # guards `_kernel_publisher`


def kernel_publisher() -> Publisher:
    """The publisher of this process, made at first use."""
    global _kernel_publisher  # noqa: PLW0603 - one per process is what it is for
    with _kernel_lock:
        if _kernel_publisher is None:
            _kernel_publisher = Publisher()
        return _kernel_publisher
