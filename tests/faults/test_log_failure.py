"""The commit log fails under 64 callers: none of the doomed is acknowledged, all agree after."""

from __future__ import annotations

import shutil
import threading
from collections import Counter

import pytest

import livedb
from livedb.commitlog.sqlite import SqliteCommitLog
from livedb.errors import ClosedError, ConflictError, LogError, TransientError
from tests.faults.checks import check_agreement, workspace_of

CALLERS = 64
CALLS = 6


class FailingLog:
    """A commit log whose appends fail while `fails(number of this append)`.

    `then(number)` is called when the log has taken it.
    """

    def __init__(self, log, fails, then=lambda _: None):
        self._log = log
        self._fails = fails
        self._then = then
        self.appends = 0
        self.failures = 0

    def append(self, commits):
        self.appends += 1
        if self._fails(self.appends):
            self.failures += 1
            raise LogError("the disk said no")
        self._log.append(commits)
        self._then(self.appends)

    def __getattr__(self, name):
        return getattr(self._log, name)


def put_between(db, fails, **options):
    workspace = workspace_of(db)
    assert isinstance(workspace.log, SqliteCommitLog)
    failing = FailingLog(workspace.log, fails, **options)
    workspace.committer._log = failing
    return failing


REFUSALS = (LogError, ConflictError)


def run_callers(db, add, *, callers=CALLERS, calls=CALLS, refusals=REFUSALS):
    """(acknowledged, refused) of all calls; anything but a typed refusal fails the test."""
    acknowledged, refused, wrong = [], [], []
    start = threading.Barrier(callers)

    def call(caller):
        start.wait()
        for n in range(calls):
            try:
                add(caller, n)
            except refusals as error:
                refused.append(((caller, n), error))
            except BaseException as error:  # noqa: BLE001  # shown below
                wrong.append(error)
            else:
                acknowledged.append((caller, n))

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a caller hangs"
    assert not wrong, wrong
    return acknowledged, refused


def stored(db):
    return Counter(
        (row["caller"], row["n"]) for row in db.sql("select * from items").to_arrow().to_pylist()
    )


@pytest.fixture
def db(tmp_path):
    with livedb.open(tmp_path / "w") as opened:
        opened["items"].insert({"caller": -1, "n": 0})
        opened["totals"].insert({"n": 0})
        yield opened


@pytest.fixture
def add(db):
    @db.mutation
    def add(ctx, caller: int, n: int) -> str:
        total = ctx.db.query("totals").first()
        ctx.db.patch(total["_id"], {"n": total["n"] + 1})
        return ctx.db.insert("items", {"caller": caller, "n": n})

    return add


@pytest.fixture
def followed(db):
    """A live query of the total; (version, value) of every call back."""

    @db.query
    def total(ctx) -> int:
        return ctx.db.query("totals").first()["n"]

    handle = total.live()
    seen = [(handle.version, handle.value)]
    handle.observe(lambda change: seen.append((handle.version, handle.value)))
    yield seen
    assert handle.value == db.sql("select n from totals").to_arrow().column(0)[0].as_py()
    handle.close()


@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])
def test_a_passing_failure_refuses_only_what_was_in_flight(db, add, followed, k):
    log = put_between(db, lambda append: append == k)
    acknowledged, refused = run_callers(db, add)
    assert log.failures == 1
    assert refused, "somebody was in flight"
    assert len(acknowledged) + len(refused) == CALLERS * CALLS
    check_outcome(db, acknowledged, followed)


@pytest.mark.parametrize("k", [1, 4])
def test_a_lasting_failure_refuses_all_until_it_ends(db, add, followed, k):
    is_failing = True
    log = put_between(db, lambda append: is_failing and append >= k)
    acknowledged, refused = run_callers(db, add, calls=2)
    assert log.failures
    assert len(acknowledged) + len(refused) == CALLERS * 2
    check_outcome(db, acknowledged, followed, is_writable=False)
    is_failing = False
    more, none = run_callers(db, add, calls=2)
    assert not none
    assert len(more) == CALLERS * 2
    check_outcome(db, acknowledged + more, followed)


def test_a_failure_every_third_append_with_retries_loses_and_doubles_nothing(db, add, followed):
    put_between(db, lambda append: append % 3 == 0)

    def insist(caller, n):
        while True:
            try:
                return add(caller, n)
            except TransientError:
                continue

    acknowledged, refused = run_callers(db, insist, callers=16, calls=10)
    assert not refused
    check_outcome(db, acknowledged, followed, is_writable=False)


def test_schema_changes_and_loads_are_undone_too(db):
    is_failing = False
    put_between(db, lambda _: is_failing)
    before = db.backend.catalog()
    is_failing = True
    with pytest.raises(LogError):
        db.load("bulk", [{"a": 1}])
    with pytest.raises(LogError):
        db.push(livedb.define_schema({"shape": livedb.define_table({"a": livedb.v.integer()})}))
    with pytest.raises(LogError):
        db["fresh"].insert({"a": 1})
    with pytest.raises(LogError):
        db.drop_table("items")
    assert db.backend.catalog() == before
    check_agreement(db)
    is_failing = False
    db.load("bulk", [{"a": 1}])
    db["fresh"].insert({"a": 1})
    db.push(livedb.define_schema({"shape": livedb.define_table({"a": livedb.v.integer()})}))
    is_failing = True
    with pytest.raises(LogError):
        db.load("bulk", [{"a": 2}, {"a": 3}])
    is_failing = False
    check_agreement(db)
    assert db.sql("select a from bulk").to_arrow().to_pylist() == [{"a": 1}]
    assert not list(workspace_of(db).files.loads.iterdir()) or len(db["bulk"].collect()) == 1


def test_callers_without_writes_never_answer_from_what_is_undone(db, add):
    """A read in a mutation that saw a doomed write runs again."""
    put_between(db, lambda append: append % 2 == 0)
    seen = []

    @db.mutation
    def look(ctx) -> list[int]:
        return sorted(each["n"] for each in ctx.db.query("items").collect())

    def both(caller, n):
        add(caller, 1_000 * caller + n)
        seen.append(look())

    run_callers(db, both, callers=16, calls=5)
    final = {each["n"] for each in db["items"].collect()}
    for each in seen:
        assert set(each) <= final, "an answer held what was never committed"


def check_outcome(db, acknowledged, followed, *, is_writable=True):
    check_agreement(db)
    found = stored(db)
    del found[-1, 0]
    assert found == Counter(acknowledged), "exactly the acknowledged ones are kept"
    total = db.sql("select n from totals").to_arrow().column(0)[0].as_py()
    assert total == len(acknowledged)
    versions = [version for version, _ in followed]
    assert versions == sorted(versions), "a call back went back"
    values = [value for _, value in followed]
    assert values == sorted(values)
    numbers = db.statistics()
    assert numbers.applied == numbers.durable == numbers.published
    if is_writable:
        last = db["items"].insert({"caller": -1, "n": 1})
        db["items"].delete(last)


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_bug_on_the_log_writers_thread_ends_writes_and_nothing_else(db, add, is_kept):
    """Before the log has taken the third append, or after that."""

    def break_down(append):
        assert append < 3, "a bug"

    put_between(db, lambda _: False, then=break_down) if is_kept else put_between(db, break_down)
    handle = db["items"].live()
    acknowledged, refused = run_callers(db, add, refusals=(*REFUSALS, ClosedError))
    unknown = [call for call, error in refused if error.code == "LogUnknown"]
    assert len(acknowledged) + len(refused) == CALLERS * CALLS
    assert unknown
    assert all(error.code in ("LogUnknown", "Closed") for _, error in refused)
    found = stored(db)
    del found[-1, 0]
    assert found == Counter(acknowledged), "what is unknown is not shown"
    for write in (lambda: add(0, 99), lambda: db.load("bulk", [{"a": 1}])):
        with pytest.raises(ClosedError, match=r"stopped taking writes.*a bug"):
            write()
    assert len(db["items"].collect()) == handle.value.num_rows == len(acknowledged) + 1
    path = workspace_of(db).path
    db.close()
    with livedb.open(path) as again:
        found = stored(again)
        del found[-1, 0]
        assert found == Counter(acknowledged + (unknown if is_kept else []))
        again["items"].insert({"caller": -1, "n": 1})


def test_in_a_folder_that_was_deleted_nothing_is_acknowledged_any_more(tmp_path):
    path = tmp_path / "w"
    with livedb.open(path) as db:
        db["items"].insert({"n": 1})
        shutil.rmtree(path)
        with pytest.raises(LogError, match="was deleted while it was open") as refused:
            db["items"].insert({"n": 2})
        assert refused.value.code == "LogDeleted"
        assert [each["n"] for each in db["items"].collect()] == [1]
    with livedb.open(path) as anew:
        assert anew.number == 0


def test_a_load_that_the_log_took_before_a_bug_is_there_when_opened_again(db):
    put_between(db, lambda _: False, then=lambda _: 1 // 0)
    with pytest.raises(LogError, match="whether it is kept") as caught:
        db.load("bulk", [{"a": 1}])
    assert caught.value.code == "LogUnknown"
    path = workspace_of(db).path
    db.close()
    with livedb.open(path) as again:
        assert again.sql("select a from bulk").to_arrow().to_pylist() == [{"a": 1}]
