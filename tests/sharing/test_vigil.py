"""How long a service process stays."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

import livedb
from livedb.sharing.vigil import Vigil, signals_given_back


@contextmanager
def keeping(idle_s=None):
    """A vigil that is kept on another thread, its workspace, and what it gave in the end."""
    with signals_given_back(), livedb.open() as db:
        presence = db.backend.workspace.presence
        has_work = db.backend.workspace.scheduler.has_work
        vigil, given = Vigil(presence, idle_s=idle_s, has_work=has_work), []
        thread = threading.Thread(target=lambda: given.append(vigil.keep()))
        try:
            yield vigil, presence, thread, given
        finally:
            vigil._end()
            thread.join(30)


def test_a_signal_that_came_in_the_instant_before_the_wait_ends_it():
    with keeping() as (vigil, _, thread, given):
        thread.start()
        vigil._is_ended = True  # as its handler does, and nobody is woken
        thread.join(30)
        assert given == [True]


@pytest.mark.parametrize("idle_s", [0.0, 0.7])
def test_it_ends_for_want_of_visitors_and_not_while_there_is_one(idle_s):
    with keeping(idle_s) as (_, presence, thread, given):
        visitor = presence.enter("ana", "editor", "livedb")
        thread.start()
        thread.join(1.5)
        assert (thread.is_alive(), given) == (True, [])
        presence.leave(visitor)
        thread.join(30)
        assert given == [False]


def test_it_stays_while_something_is_scheduled_that_can_run_there():
    with signals_given_back(), livedb.open() as db:
        workspace = db.backend.workspace

        @db.mutation
        def tick(ctx): ...

        @db.mutation
        def later(ctx):
            return ctx.scheduler.run_after(3600, tick)

        has_work = workspace.scheduler.has_work
        vigil = Vigil(workspace.presence, idle_s=0.0, has_work=has_work)
        assert not vigil.keep()
        db.crons.interval("ticking", hours=1, fn=tick)
        assert vigil.is_needed
        db.crons.remove("ticking")
        assert workspace.scheduler.settle(30)
        assert not vigil.is_needed
        job = later()
        thread = threading.Thread(target=vigil.keep)
        thread.start()
        thread.join(1.5)
        assert thread.is_alive()

        @db.mutation
        def cancel(ctx, job: str):
            ctx.scheduler.cancel(job)

        cancel(job=job)
        thread.join(30)
        assert not thread.is_alive()
