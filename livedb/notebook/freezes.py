"""`with db.snapshot()`: the handles of a workspace held at one commit.

Handles stay there for every thread that looks at them; queries called, SQL and tables do for the
thread or task that is inside: see `livedb.client.backend.SnapshotReads`. Blocks that overlap share
one commit, and the last one out ends it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from livedb.client.backend import Backend
from livedb.live.live_query import LiveState
from livedb.process_lock import ProcessLock

if TYPE_CHECKING:
    from livedb.notebook.handles import Handle

_freezing = ProcessLock()
"""Guards `_frozen` and the count of blocks in each; taken before any lock of a workspace."""
_frozen: weakref.WeakKeyDictionary[Backend, Freeze] = weakref.WeakKeyDictionary()


class Freeze:
    """The states that handles show inside `with db.snapshot()`, and what each is exact at."""

    def __init__(self, backend: Backend, handles: Sequence[Handle[Any]]) -> None:
        self._kept = ExitStack()
        followed_by = [(handle, handle.followed()[0]) for handle in handles]
        self.reads = self._kept.enter_context(
            backend.snapshot([followed for _, followed in followed_by])
        )
        self.number = self.reads.number
        known = self.reads.states
        self.states = {
            handle: (known[followed], self.number)
            for handle, followed in followed_by
            if followed in known
        }
        self.blocks = 0
        """How many `with` blocks are inside; the last one out ends it."""

    def end(self) -> None:
        """Let go of the commit."""
        self._kept.close()

    def add(self, handle: Handle[Any], state: LiveState, number: int) -> tuple[LiveState, int]:
        """Freeze a handle made meanwhile: here, unless its result changed after this commit."""
        exact_at = self.number if state.number <= self.number else number
        return self.states.setdefault(handle, (state, exact_at))


def freeze_of(backend: Backend) -> Freeze | None:
    """What holds the handles of a workspace at a commit, if something does."""
    return _frozen.get(backend)


@contextmanager
def frozen(backend: Backend, handles: Callable[[], Sequence[Handle[Any]]]) -> Iterator[int]:
    """Freeze `handles`, and what this thread or task reads; gives the commit.

    Args:
        handles: those of the workspace; asked only when nothing is frozen yet.
    """
    with _freezing:
        freeze = _frozen.get(backend)
        if freeze is None:
            freeze = _frozen[backend] = Freeze(backend, handles())
        freeze.blocks += 1
    try:
        with freeze.reads.here():
            yield freeze.number
    finally:
        with _freezing:
            freeze.blocks -= 1
            if not freeze.blocks:
                del _frozen[backend]
                freeze.end()
