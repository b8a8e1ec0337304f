"""A request that surely came for the first time asks the log nothing; every other one does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import livedb
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
        runner, sessions = workspace.runner, workspace.sessions
        find, has_session = runner._find_commit, sessions._has_session
        monkeypatch.setattr(
            runner, "_find_commit", lambda each: (self.commits.append(each), find(each))[1]
        )
        monkeypatch.setattr(
            sessions,
            "_has_session",
            lambda each: (self.sessions.append(each), has_session(each))[1],
        )


@pytest.fixture
def asked(db, monkeypatch):
    return Asked(db.backend.workspace, monkeypatch)


def run(db, function, session, request, **arguments):
    call = Call(mutation_id=f"{session.name}:{request}", is_new=partial(session.is_new, request))
    return db.backend.workspace.runner.run_mutation(function, arguments, call)


def enter(db, name="s"):
    return db.backend.workspace.sessions.enter(name)


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


def test_a_session_that_the_log_knows_is_looked_up_every_time(db, add, asked):
    session = enter(db)
    first = run(db, add, session, 1, n=1)
    session.leave()
    again = enter(db)
    assert run(db, add, again, 1, n=1) == first
    run(db, add, again, 2, n=2)
    assert asked.commits == ["s:1", "s:2"]


def test_two_connections_of_a_session_are_looked_up_from_then_on(db, add, asked):
    one = enter(db)
    run(db, add, one, 1, n=1)
    other = enter(db)
    first = run(db, add, other, 2, n=2)
    assert run(db, add, one, 2, n=2) == first
    other.leave()
    run(db, add, one, 3, n=3)
    assert asked.commits == ["s:2", "s:2", "s:3"]


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


def test_nothing_is_kept_of_a_session_that_was_left():
    sessions = Sessions(lambda name: False)
    one, two = sessions.enter("s"), sessions.enter("s")
    assert not one.is_new(1)
    one.leave()
    two.leave()
    assert sessions._open == {}
    assert sessions.enter("s").is_new(1)
