"""What the upkeep of a workspace keeps, and for how long."""

import threading

import livedb
from livedb import upkeep


def test_the_first_round_keeps_what_was_superseded_a_moment_ago(monkeypatch):
    """A timestamp that was told before the first round is readable after it."""
    monkeypatch.setattr(upkeep, "_MAINTENANCE_S", 0.2)
    with livedb.open() as db:
        committer = db.backend.workspace.committer
        db["t"].insert({"n": 1})
        told = committer.ts_of(committer.published)
        db["t"].insert({"n": 2})
        done = threading.Semaphore(0)
        release = committer.release

        def released(number, **folded):
            release(number, **folded)
            done.release()

        monkeypatch.setattr(committer, "release", released)
        for _ in range(2):
            assert done.acquire(timeout=30)
        assert committer.number_at(told) == committer.published - 1
