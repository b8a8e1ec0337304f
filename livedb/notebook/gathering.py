"""Handles of one workspace brought to one commit, for the tables of a page.

Each handle hears of a commit by itself, one after the other, and reading one brings only that one
to the newest. A page that shows several must not mix commits: so what leaves in one batch is taken
here at one number, however far each has heard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from livedb.client.backend import Backend
from livedb.errors import WorkspaceError
from livedb.live.live_query import LiveState
from livedb.notebook.freezes import freeze_of

if TYPE_CHECKING:
    from livedb.notebook.handles import Handle

TRIES_MAX = 5
"""Times it is tried anew because a handle heard of a commit that came meanwhile."""

Held = tuple[LiveState | None, int]
"""A state, None for a handle that never had one, and the commit it is exact at."""


def gathered(
    backend: Backend, handles: Sequence[Handle[Any]]
) -> Sequence[tuple[Handle[Any], Held]]:
    """What each of the handles shows, brought to one newest commit of their workspace.

    Inside `with db.snapshot()`, and when the workspace is closed, handles stay where they are.
    """
    held = {handle: handle.held() for handle in handles}
    if freeze_of(backend) is None:
        for _ in range(TRIES_MAX):
            try:
                taken = _taken_together(backend, handles)
            except WorkspaceError:  # closed or gone: the last rows stay
                break
            held |= {handle: each for handle, each in taken.items() if each is not None}
            if None not in taken.values():
                break
    return list(held.items())


def _taken_together(
    backend: Backend, handles: Sequence[Handle[Any]]
) -> Mapping[Handle[Any], Held | None]:
    """What those handles that still follow took; None of one that shows a newer state already."""
    followed = [(each, *each.followed()) for each in handles]
    number, states = backend.states([subscription for _, subscription, _ in followed])
    return {
        handle: handle.take(states[subscription], number, turn)
        for handle, subscription, turn in followed
        if subscription in states
    }
