"""How far back the past is kept: for a time and for a size, and never half of a commit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from livedb import testing
from livedb.errors import InvalidValueError, PastTooOldError
from livedb.limits import Limits


def forget(trial):
    workspace = trial.db.backend.workspace
    workspace.folder.fold()
    return workspace.retention.forget()


def test_the_past_is_kept_for_its_time(tmp_path):
    with testing.workspace(tmp_path / "w", limits=Limits(history_keep_s=100)) as trial:
        db = trial.db
        document = db["t"].insert({"n": 1})
        trial.clock.advance(60)
        db["t"].patch(document, {"n": 2})
        assert forget(trial) == 0
        assert db.at(0).tables == []
        trial.clock.advance(60)
        db["t"].patch(document, {"n": 3})
        assert forget(trial) == 1
        assert db.at(1)["t"].get(document)["n"] == 1
        with pytest.raises(PastTooOldError, match="back to commit 1") as refused:
            db.at(0)
        assert refused.value.number == 1
        trial.clock.advance(1_000)
        assert forget(trial) == 3
        assert db.at(3)["t"].get(document)["n"] == 3
        for when in (2, datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)):
            with pytest.raises(PastTooOldError, match=r"Limits\.history_keep_s"):
                db.at(when)
        for read in (
            lambda: db.changes(2).to_arrow(),
            lambda: db.undo(3),
        ):
            with pytest.raises(PastTooOldError, match="commit 3"):
                read()


def test_the_moment_of_the_time_ago_is_still_readable(tmp_path):
    with testing.workspace(tmp_path / "w", limits=Limits(history_keep_s=100)) as trial:
        for n in range(30):
            trial.db["t"].insert({"n": n})
            trial.clock.advance(10)
            forget(trial)
            now = datetime.fromtimestamp(trial.clock.now_ns() / 1e9, UTC)
            earliest = max(now - timedelta(seconds=100), datetime(2026, 1, 1, tzinfo=UTC))
            assert trial.db.at(earliest).number == max(1, n - 8)


def test_the_past_is_kept_up_to_its_size(tmp_path):
    limits = Limits(history_bytes_max=50_000)
    with testing.workspace(tmp_path / "w", limits=limits) as trial:
        db = trial.db
        document = db["t"].insert({"s": "x" * 1_000})
        for n in range(30):
            db["t"].patch(document, {"n": n})
        assert forget(trial) == 0
        for n in range(200):
            db["t"].patch(document, {"n": n})
            if n % 50 == 0:
                forget(trial)
        oldest = forget(trial)
        held = db.backend.workspace.tables.measure_history(after=0, until=db.number)
        assert sum(size for _, size in held) <= 50_000
        assert db.number - 50 < oldest < db.number - 30, "and not much less"
        assert db.at(oldest).number == oldest


def test_one_commit_larger_than_the_size_is_forgotten_whole(tmp_path):
    with testing.workspace(tmp_path / "w", limits=Limits(history_bytes_max=1_000)) as trial:
        db = trial.db
        db.load("t", [{"s": "x" * 100} for _ in range(100)])
        db.drop_table("t")
        assert forget(trial) == db.number
        assert db.at(db.number).tables == []


def test_the_log_has_every_commit_of_the_past_and_no_others(tmp_path):
    limits = Limits(history_keep_s=100, retry_window_s=10)
    with testing.workspace(tmp_path / "w", limits=limits) as trial:
        db, workspace = trial.db, trial.db.backend.workspace
        for n in range(20):
            db["t"].insert({"n": n})
            trial.clock.advance(10)
        workspace.folder.fold()
        workspace._upkeep._truncate_log()
        assert workspace.log.anchor_number == workspace.pasts.oldest == 11
        assert db.changes(11).to_arrow().num_rows == 9
        assert db.at(11).time is not None
        with pytest.raises(PastTooOldError):
            db.changes(10)


def test_how_far_back_survives_a_reopen(tmp_path):
    limits = Limits(history_keep_s=100)
    with testing.workspace(tmp_path / "w", limits=limits) as trial:
        trial.db["t"].insert({"n": 1})
        trial.clock.advance(1_000)
        forget(trial)
        trial.db["t"].insert({"n": 2})
    with testing.workspace(tmp_path / "w", limits=limits) as trial:
        assert trial.db.at(1)["t"].count() == 1
        with pytest.raises(PastTooOldError):
            trial.db.at(0)


def test_no_past_can_be_wanted(tmp_path):
    with testing.workspace(tmp_path / "w", limits=Limits(history_keep_s=0)) as trial:
        document = trial.db["t"].insert({"n": 1})
        trial.db["t"].patch(document, {"n": 2})
        trial.clock.advance(1)
        assert forget(trial) == 2
        assert trial.db.backend.workspace.tables.measure_history(after=0, until=2) == []
        assert trial.db.at(2)["t"].first()["n"] == 2


def test_a_workspace_in_memory_keeps_ten_minutes():
    with testing.workspace() as trial:
        trial.db["t"].insert({"n": 1})
        trial.clock.advance(599)
        assert forget(trial) == 0
        trial.clock.advance(2)
        assert forget(trial) == 1


@pytest.mark.parametrize("given", [{"history_keep_s": -1}, {"history_bytes_max": 1.5}])
def test_a_retention_that_is_none_is_refused(given):
    with pytest.raises(InvalidValueError):
        Limits(**given)
