"""A request that surely came for the first time asks the log nothing; every other one does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import livedb
from livedb.commitlog import sqlite_file
from livedb.functions.call import Call
from livedb.functions.sessions import Sessions


@pytest.fixture(params=["memory", "disk"])
def db(request, tmp_path):
    with livedb.open(tmp_path / "w" if request.param == "disk" else None) as opened:
        yield opened


@pytest.fixture
def add(db):
    @db.mutation
    def add(ctx, n: int):
        ctx.db.insert("a", {"n": n})
        return ctx.random.random()

    return add.definition


class Asked:
    """Counts what the log is asked."""

    def __init__(self, workspace, monkeypatch):
        self.commits, self.sessions = [], []
        ids, sessions = workspace.runner._mutation_ids, workspace.sessions
        find, newest = ids._find_commit, sessions._newest_request
        monkeypatch.setattr(
            ids, "_find_commit", lambda each: (self.commits.append(each), find(each))[1]
        )
        monkeypatch.setattr(
            sessions, "_newest_request", lambda each: (self.sessions.append(each), newest(each))[1]
        )


@pytest.fixture
def asked(db, monkeypatch):
    return Asked(db.backend.workspace, monkeypatch)


def run(db, function, session, request, **arguments):
    call = Call(mutation_id=f"{session.name}:{request}", is_new=partial(session.is_new, request))
    return db.backend.workspace.runner.run_mutation(function, arguments, call)


def enter(db, name="s"):
    return db.backend.workspace.sessions.enter(name)


def leave(db, session):
    db.backend.workspace.sessions.leave(session)


def test_first_time_requests_ask_the_log_once_whether_it_knows_their_session(db, add, asked):
    session = enter(db)
    for request in range(20):
        run(db, add, session, request, n=request)
    assert asked.sessions == ["s"]
    assert asked.commits == []


def test_a_request_sent_again_is_found_in_the_log(db, add, asked):
    session = enter(db)
    first = run(db, add, session, 1, n=1)
    run(db, add, session, 2, n=2)
    assert run(db, add, session, 1, n=1) == first
    assert asked.commits == ["s:1"]


def test_who_comes_again_is_looked_up_for_what_it_sent_before_alone(db, add, asked):
    session = enter(db)
    first = [run(db, add, session, request, n=1) for request in (9, 10)]
    leave(db, session)
    again = enter(db)
    assert [run(db, add, again, request, n=1) for request in (9, 10)] == first
    run(db, add, again, 11, n=2)
    assert asked.commits == ["s:9", "s:10"]
    assert asked.sessions == ["s", "s"]


def test_connections_of_one_session_know_what_each_other_sent(db, add, asked):
    one, other = enter(db), enter(db)
    first = run(db, add, one, 1, n=1)
    assert run(db, add, other, 1, n=1) == first
    run(db, add, other, 2, n=2)
    leave(db, other)
    run(db, add, one, 3, n=3)
    assert asked.commits == ["s:1"]
    assert asked.sessions == ["s"]


def test_a_session_of_very_many_commits_is_looked_up_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "SESSION_ROWS_MAX", 3)
    with livedb.open(tmp_path / "w") as db:
        add = db.mutation(lambda ctx, n: ctx.db.insert("a", {"n": n}), name="add").definition
        session = enter(db)
        for request in range(4):
            run(db, add, session, request, n=1)
        log = db.backend.workspace.log
        assert log.newest_request("s") is None
        leave(db, session)
        again = enter(db)
        assert not again.is_new(100)


def test_the_newest_request_is_the_highest_number_and_no_other_sessions(db, add):
    log = db.backend.workspace.log
    assert log.newest_request("s") == -1
    for name, request in (("s", 9), ("s", 10), ("s\0t", 7), ("s:1", 99), ("r", 98), ("t", 97)):
        run(db, add, enter(db, name), request, n=1)
    assert [log.newest_request(name) for name in ("s", "s\0t", "s:1")] == [99, 7, 99] or [
        log.newest_request(name) for name in ("s", "s\0t", "s:1")
    ] == [10, 7, 99]


def test_sessions_of_other_names_do_not_matter(db, add, asked):
    for name in ("s", "s:1", "t", "", "ü", "s;"):
        session = enter(db, name)
        run(db, add, session, 1, n=1)
    assert asked.commits == []


def test_what_another_connection_commits_between_the_look_and_the_commit_happens_once(db):
    """The second connection comes, and commits the same request, while the first one runs it."""
    runs, results = [], []

    @db.mutation
    def add(ctx, n: int):
        runs.append(n)
        if len(runs) == 1:
            with ThreadPoolExecutor(1) as others:
                results.append(others.submit(run, db, add.definition, enter(db), 1, n=1).result())
        ctx.db.insert("a", {"n": n})
        return len(runs)

    results.append(run(db, add.definition, enter(db), 1, n=1))
    assert results == [2, 2]
    assert db["a"].count() == 1


def test_nothing_is_kept_of_a_session_that_all_have_left():
    sessions = Sessions(lambda name: -1)
    one, two = sessions.enter("s"), sessions.enter("s")
    assert one.is_new(1)
    assert not two.is_new(1)
    for each in (one, two):
        sessions.leave(each)
    assert sessions._open == {}
