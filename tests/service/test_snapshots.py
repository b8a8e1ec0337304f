"""Commits that a service keeps readable for its clients, and for how long."""

from __future__ import annotations

import threading

import pytest

import livedb
from livedb.auth.access import Role
from livedb.client import remote_snapshots
from livedb.errors import LimitError, PermissionDeniedError, SnapshotTooOldError
from livedb.service import snapshots
from livedb.service.access import Access
from livedb.service.server import ServiceThread
from tests.client.cutting import Proxy
from tests.waiting import until


@pytest.fixture
def served():
    with livedb.open() as db:
        db["t"].insert({"n": 1})
        yield db


@pytest.fixture
def service(served):
    access = Access(served.backend.workspace.clock, anonymous=Role.OWNER)
    with ServiceThread(served.backend.workspace, access=access) as running:
        yield running


@pytest.fixture
def db(service):
    with livedb.connect(service.url) as connected:
        yield connected


@pytest.fixture
def kept(service):
    return service._server._service.hub().calls._verbs._snapshots


def total(db):
    return db.sql("select sum(n)::int as n from t")[0].n


def test_it_is_let_go_with_its_block(served, db, kept):
    with db.snapshot():
        assert len(kept) == 1
        served["t"].insert({"n": 10})
        assert (total(db), total(served)) == (1, 11)
    assert total(db) == 11
    until(lambda: len(kept) == 0)
    assert not served.backend.workspace.runner._active


def test_it_is_let_go_with_its_connection(served, service, kept):
    with Proxy(service.port) as proxy, livedb.connect(proxy.url) as db:
        with db.snapshot():
            assert total(db) == 1
            proxy.cut()
            until(lambda: len(kept) == 0)
            with pytest.raises(SnapshotTooOldError, match="has ended"):
                total(db)
        assert total(db) == 1


def test_it_ends_after_its_time(served, db, kept, monkeypatch):
    monkeypatch.setattr(snapshots, "SNAPSHOT_S_MAX", 0.2)
    with db.snapshot():
        until(lambda: len(kept) == 0)
        for read in (lambda: total(db), db["t"].count, lambda: db["t"].schema):
            with pytest.raises(SnapshotTooOldError, match="has ended"):
                read()
    assert total(db) == 1


def test_a_statement_that_is_running_when_it_ends_says_so(db, kept):
    running = threading.Event()
    ended = []

    def run():
        with db.snapshot():
            running.set()
            try:
                db.sql("select count(*) from range(1000000000) a, range(1000) b")
            except SnapshotTooOldError as error:
                ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    running.wait()
    until(lambda: any(each.sql._reading.locked() for each in kept._pinned.values()))
    for name in list(kept._pinned):
        kept.unpin(name)
    thread.join()
    assert len(ended) == 1
    assert total(db) == 1


def test_a_connection_has_only_so_many_and_a_service_too(service, kept, monkeypatch):
    monkeypatch.setattr(snapshots, "SNAPSHOTS_MAX", 3)
    monkeypatch.setattr(snapshots, "CONNECTION_SNAPSHOTS_MAX", 2)
    with livedb.connect(service.url) as one, livedb.connect(service.url) as two:
        pin = [each.backend.snapshot([]) for each in (one, one, one, two, two)]
        for at in (0, 1, 3):
            pin[at].__enter__()
        for at in (2, 4):
            with pytest.raises(LimitError) as refused:
                pin[at].__enter__()
            assert refused.value.code == "TooManySnapshots"
        assert len(kept) == 3
        pin[0].__exit__(None, None, None)
        until(lambda: len(kept) == 2)
        with two.snapshot():
            assert total(two) == 1
        for at in (1, 3):
            pin[at].__exit__(None, None, None)


def test_a_snapshot_is_taken_while_others_write_and_read(served, db):
    handle = db["t"].with_index("by_creation_time").live()
    is_over = threading.Event()

    def write():
        n = 1
        while not is_over.is_set():
            n += 1
            served["t"].insert({"n": n})
            if n % 20 == 0:
                total(served)  # which folds

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            with db.snapshot() as number:
                ns = [row.n for row in handle.value]
                assert ns == list(range(1, len(ns) + 1))
                for _ in range(3):
                    found = db.sql("select count(*)::int as n from t")
                    assert (found[0].n, found.number) == (len(ns), number)
                    assert db["t"].count() == len(ns)
    finally:
        is_over.set()
        writer.join()


@pytest.fixture
def always_late(monkeypatch):
    """Every commit that a client has is folded beyond already: SQL of others was faster."""
    monkeypatch.setattr(remote_snapshots, "SNAPSHOT_TRIES_MAX", 0)


def test_a_snapshot_is_taken_however_fast_others_commit_and_read(served, db, always_late):
    @db.query
    def numbers(ctx) -> list[int]:
        return [row.n for row in ctx.db.query("t").collect()]

    @db.query
    def last(ctx) -> None:
        raise ValueError(f"{len(ctx.db.query('t').collect())} documents")

    whole, narrowed = db["t"].live(), db["t"].with_index("by_creation_time").live()
    listed, counted = numbers.live(), db.sql("select count(*)::int as n from t").live()
    failing, present = last.live(), db.who()
    is_over = threading.Event()

    def disturb():
        n = 1
        while not is_over.is_set():
            n += 1
            served["t"].insert({"n": n})
            total(served)  # which folds

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        for _ in range(10):
            with db.snapshot() as number:
                ns = list(range(1, db["t"].count() + 1))
                assert [row.n for row in whole] == [row.n for row in narrowed] == ns
                assert (listed.value, counted[0].n, numbers()) == (ns, len(ns), ns)
                assert f"{len(ns)} documents" in str(failing.error)
                assert isinstance(failing.error, ValueError)
                assert len(present) == 1
                handles = (whole, narrowed, listed, counted, failing)
                assert {each.version for each in handles} == {number}
                assert db.sql("select count(*) from t").number == number
    finally:
        is_over.set()
        disturber.join()
    until(lambda: listed.value == numbers() and counted[0].n == len(listed.value))


def test_what_is_run_again_for_a_snapshot_may_do_no_more_than_its_caller(
    served, service, kept, always_late
):
    @served.query
    def count(ctx) -> int:
        return len(ctx.db.query("t").collect())

    secret, _ = service._server._service.hub().access.tokens.issue(Role.VIEWER, "viewer")
    with livedb.connect(service.url, token=secret) as viewer:
        handle = viewer.function("count").live()
        with viewer.snapshot():
            served["t"].insert({"n": 2})
            assert handle.value == 1
            (name,) = kept._pinned
            for path, args in (
                ("sql", {"text": "select 1", "params": None}),
                ("table", {"verb": "count", "name": "t", "args": {}}),
            ):
                with pytest.raises(PermissionDeniedError):
                    viewer.backend.ask(
                        "states", {"asked": [[path, "livedb", args]], "snapshot": name}
                    )
        assert handle.value == 2


@pytest.mark.parametrize(
    "verb, given",
    [
        ("pin", {}),
        ("pin", {"name": "x", "number": -1}),
        ("pin", {"name": "x", "number": 10**6}),
        ("unpin", {"name": 1}),
        ("states", {"asked": []}),
        ("states", {"asked": [["f"]], "snapshot": "unknown"}),
        ("sql", {"text": "select 1", "snapshot": "unknown"}),
        ("sql", {"text": "select 1", "snapshot": {"a": 1}}),
        ("export", {"download": "d", "table": "t", "format": "../x"}),
        ("export", {"download": "d", "table": "t"}),
        ("download", {"download": "none", "file": 0, "start": 0}),
        ("download", {"download": "none", "file": -1, "start": 0}),
        ("downloaded", {"download": None}),
        ("backup", {}),
        ("lacking", {"functions": [["f"]]}),
        ("lacking", {"functions": "f"}),
        ("define", {"version": -1}),
        ("define", {"version": "x"}),
    ],
)
def test_what_no_client_of_ours_asks_fails_alone_with_a_typed_error(db, kept, verb, given):
    with pytest.raises(livedb.LivedbError):
        db.backend.ask(verb, given)
    assert total(db) == 1
    assert len(kept) == 0
