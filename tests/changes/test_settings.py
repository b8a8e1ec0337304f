"""Settings are commits: they survive what documents survive."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import livedb
from livedb.commitlog.payload import SettingsPart, decode_payload, settings_of
from livedb.errors import LogError


def set_to(db, name, value):
    return db.backend.workspace.settings.change(name, lambda _: value)


def get(db, name):
    return db.backend.workspace.settings.get(name)


def test_a_setting_is_a_commit_of_its_own(db):
    before = db.number
    assert set_to(db, "colour", {"r": 1}) == before + 1
    assert get(db, "colour") == {"r": 1}
    [commit] = db.backend.workspace.log.read(after=before)
    [part] = decode_payload(commit.payload)
    assert isinstance(part, SettingsPart)
    assert settings_of(part) == {"colour": {"r": 1}}


def test_a_setting_that_was_never_set_is_none(db):
    assert get(db, "colour") is None


def test_settings_survive_a_close_and_the_truncation_of_the_log(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        set_to(db, "a", 1)
        set_to(db, "b", [2])
        set_to(db, "a", 3)
        workspace = db.backend.workspace
        workspace.folder.fold()
        assert workspace.log.truncate(until=db.number, before_ts=1 << 62)
    with livedb.open(tmp_path / "work") as db:
        assert (get(db, "a"), get(db, "b")) == (3, [2])


def test_settings_survive_kill_9_before_a_fold(tmp_path):
    script = """
import os, sys, livedb
db = livedb.open(sys.argv[1])
db["t"].insert({"n": 1})
db.backend.workspace.settings.change("a", lambda _: 1)
db.backend.workspace.settings.change("a", lambda old: old + 1)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "work")], check=False)
    with livedb.open(tmp_path / "work") as db:
        assert get(db, "a") == 2
        assert db["t"].count() == 1


def test_a_backup_has_the_settings(tmp_path):
    with livedb.open(tmp_path / "work") as db:
        set_to(db, "a", 1)
        db.backup(tmp_path / "copy")
    with livedb.open(tmp_path / "copy") as db:
        assert get(db, "a") == 1


def test_a_change_that_the_log_does_not_take_changes_nothing(db, monkeypatch):
    set_to(db, "a", 1)

    def refuse(_):
        raise LogError("no")

    with monkeypatch.context() as broken:
        broken.setattr(db.backend.workspace.log, "append", refuse)
        with pytest.raises(LogError):
            set_to(db, "a", 2)
    assert get(db, "a") == 1
    set_to(db, "b", 1)
    assert (get(db, "a"), get(db, "b")) == (1, 1)


def test_changes_at_once_follow_each_other(db):
    def count():
        for _ in range(20):
            db.backend.workspace.settings.change("n", lambda n: (n or 0) + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert get(db, "n") == 80


def test_settings_beside_mutations_keep_their_order(db):
    def write():
        for n in range(50):
            db["t"].insert({"n": n})

    writer = threading.Thread(target=write)
    writer.start()
    for n in range(20):
        set_to(db, "n", n)
        db.sql("select 1").to_arrow()
    writer.join()
    assert db.sql("select count(*) c from t").to_arrow()["c"].to_pylist() == [50]
    assert db.backend.workspace.tables.stored_settings() == {"n": 19}
