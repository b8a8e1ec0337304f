"""Regressions of live queries; `tests/oracle` found them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

import livedb
from livedb import Database, QueryContext
from livedb.client.backend import ChangeNotice
from livedb.errors import ArgumentValidationError, ClosedError
from livedb.live.live_queries import LiveQueries


@pytest.fixture
def db() -> Iterator[Database]:
    with livedb.open() as opened:
        yield opened


def test_live_sql_over_a_table_that_is_not_there_yet_recovers(db: Database) -> None:
    handle = db.live_sql("select count(*) as n from Tasks")
    assert handle.error is not None
    db["tasks"].insert({"title": "a"})
    assert handle.error is None
    assert handle.value.to_pylist() == [{"n": 1}]


def test_live_sql_that_failed_on_a_document_recovers_with_it(db: Database) -> None:
    task = db["tasks"].insert({"size": "big"})
    handle = db.live_sql("select sum(size::bigint)::bigint as n from tasks")
    assert handle.error is not None
    db["tasks"].patch(task, {"size": "3"})
    assert handle.value.to_pylist() == [{"n": 3}]


def test_a_query_whose_sql_failed_runs_again_when_its_table_comes(db: Database) -> None:
    @db.query
    def count_tasks(ctx: QueryContext) -> int:
        return ctx.db.sql("select count(*) as n from tasks")[0]["n"]

    handle = count_tasks.live()
    assert handle.error is not None
    db["tasks"].insert({"title": "a"})
    assert handle.value == 1


def test_what_a_run_does_to_its_arguments_no_later_run_sees(db: Database) -> None:
    @db.query
    def count_with_one_more(ctx: QueryContext, ids: list[int]) -> int:
        ids.append(ctx.db.count("tasks"))
        return len(ids)

    handle = count_with_one_more.live(ids=[1, 2])
    assert handle.value == 3
    db["tasks"].insert({"title": "a"})
    assert handle.value == count_with_one_more(ids=[1, 2]) == 3


def test_arguments_that_a_redefinition_no_longer_takes_are_refused_until_the_next(
    db: Database,
) -> None:
    @db.query
    def twice(ctx: QueryContext, n: int) -> float:
        return 2 * n

    handle = twice.live(n=2)

    @db.query(name="twice")  # type: ignore[no-redef]
    def twice(ctx: QueryContext, m: int) -> float:
        return 2 * m

    assert isinstance(handle.error, ArgumentValidationError)

    @db.query(name="twice")  # type: ignore[no-redef]
    def twice(ctx: QueryContext, n: float) -> float:
        return n / 2

    assert handle.error is None
    assert handle.value == 1.0


def test_observers_are_called_on_one_thread_that_waits_for_no_mutation_to_return(
    db: Database,
) -> None:
    @db.query
    def count_tasks(ctx: QueryContext) -> int:
        return ctx.db.count("tasks")

    handle = count_tasks.live()
    lock = threading.Lock()
    told: SimpleQueue[tuple[int, int]] = SimpleQueue()

    def tell(changed: Any) -> None:
        with lock:
            told.put((changed.value, threading.get_ident()))

    handle.observe(tell)
    with lock:  # the observer wants it, and the mutation must not wait for the observer
        db["tasks"].insert({"title": "a"})
    count, first = told.get(timeout=30)
    other = threading.Thread(target=db["tasks"].insert, args=({"title": "b"},))
    other.start()
    other.join()
    while count < 2:
        count, second = told.get(timeout=30)
    assert first == second
    assert first not in (threading.get_ident(), other.ident)


def test_where_it_cannot_be_told_what_a_commit_touches_every_handle_follows_it(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = db["tasks"].insert({"n": 1})

    @db.query
    def number(ctx: QueryContext) -> int:
        return ctx.db.query("tasks").first()["n"]

    handles = [number.live(), db["tasks"].live()]
    index = db.backend.workspace.live._index
    monkeypatch.setattr(index, "touched", lambda _change: 1 // 0)
    with pytest.raises(ClosedError, match=r"stopped taking writes.*ZeroDivisionError"):
        db["tasks"].patch(task, {"n": 2})
    assert [each.version for each in handles] == [2, 2]
    assert handles[0].value == number() == 2
    assert handles[1].value["n"].to_pylist() == [2]


def test_redefining_a_function_refreshes_the_live_queries_that_call_it(db: Database) -> None:
    @db.query(name="rate")
    def rate(_ctx: QueryContext) -> int:
        return 1

    @db.query
    def total(ctx: QueryContext) -> Any:
        return ctx.run_query("rate")

    handle = total.live()
    assert handle.value == 1

    @db.query(name="rate")
    def _(_ctx: QueryContext) -> int:
        return 2

    assert handle.value == 2


def test_a_live_query_that_calls_a_missing_function_recovers_when_it_is_defined(
    db: Database,
) -> None:
    @db.query
    def total(ctx: QueryContext) -> Any:
        return ctx.run_query("rate")

    handle = total.live()
    assert handle.error is not None

    @db.query
    def rate(_ctx: QueryContext) -> int:
        return 2

    assert handle.value == 2


def test_a_reader_waits_for_the_transition_that_is_running_its_query(db: Database) -> None:
    begun, gate = threading.Event(), threading.Event()

    @db.query(name="answer")
    def answer(_ctx: QueryContext) -> int:
        return 1

    handle = answer.live()
    assert handle.value == 1

    @db.query(name="answer")
    def _(_ctx: QueryContext) -> int:
        begun.set()
        assert gate.wait(60)
        return 2

    assert begun.wait(10), "the refresher runs the new definition"
    threading.Timer(0.05, gate.set).start()
    assert handle.value == 2


def test_a_function_and_those_that_call_it_change_in_one_transition(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marked in two steps, the first could be run before the second, which then waited for it."""

    def define(answer: int) -> None:
        @db.query(name="answer")
        def _(_ctx: QueryContext) -> int:
            return answer

    define(1)

    @db.query
    def twice(ctx: QueryContext) -> int:
        found: int = ctx.run_query("answer")
        return 2 * found

    handles = [db.function(name).live() for name in ("answer", "twice")]
    assert [handle.value for handle in handles] == [1, 2]
    told: SimpleQueue[int] = SimpleQueue()
    live: LiveQueries = db.backend.workspace.live  # type: ignore[attr-defined]  # a local one
    live.listen(lambda step: told.put(len(step.changes)))
    # Whoever is woken is quicker than who goes on.
    monkeypatch.setattr(LiveQueries, "_wake_up", LiveQueries.refresh)
    define(7)
    monkeypatch.undo()
    assert [handle.value for handle in handles] == [7, 14]
    live._wake_up()
    assert told.get(timeout=30) == 2


def test_a_handle_does_not_go_back_when_an_older_notice_comes_late(db: Database) -> None:
    db["tasks"].insert({"title": "a"})
    handle = db["tasks"].order("asc").live()
    old, number = handle._subscription.state(), handle.version
    db["tasks"].insert({"title": "b"})
    assert len(handle.value) == 2
    handle._hear(ChangeNotice(number, old))
    assert len(handle._trait_values["value"]) == 2
    assert handle._trait_values["version"] > number


def test_states_of_a_snapshot_leave_out_what_another_thread_has_closed(db: Database) -> None:
    db["tasks"].insert({"title": "a"})
    kept, closed = db["tasks"].order("asc").live(), db["tasks"].order("desc").live()
    subscriptions = [each._subscription for each in (kept, closed)]
    closed.close()
    with db.backend.snapshot(subscriptions) as reads:
        assert reads.number == db.number
        assert list(reads.states) == [kept._subscription]


@pytest.mark.parametrize("names", [[], ["value"]], ids=["plain", "trait"])
def test_an_observer_that_raises_keeps_no_change_from_the_others(
    names: list[str], db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ValueError("planned")

    handles = [db["tasks"].order(order).live() for order in ("asc", "desc") * 2]
    heard = [threading.Event() for _ in handles]
    for handle, event in zip(handles, heard, strict=True):
        handle.observe(fail, *names)
        handle.observe(lambda _, event=event: event.set())
    db["tasks"].insert({"title": "a"})
    assert all(event.wait(10) for event in heard)
    assert [len(handle.value) for handle in handles] == [1] * 4
    assert {each.message for each in caplog.records} == {"an observer of a live handle failed"}


def test_a_handle_closed_while_it_is_read_keeps_its_value(db: Database) -> None:
    db["tasks"].insert({"title": "a"})
    handle = db["tasks"].order("asc").live()
    assert len(handle.value) == 1
    handle._subscription.close()  # as another thread does between two steps of a read
    assert len(handle.value) == 1


@pytest.mark.local("reads the live queries of the workspace")
def test_who_comes_new_to_a_page_gets_a_fresh_one_and_the_others_keep_theirs(memory):
    """A page keeps the end of its first run: shared for ever, it would grow or shrink for all."""
    from livedb.live.sources import FunctionSource

    @memory.query
    def page(ctx):
        return ctx.db.query("a").paginate({"numItems": 2, "cursor": None})

    ids = memory["a"].insert([{"n": n} for n in range(4)])
    workspace = memory.backend.workspace
    live = workspace.live

    def follow():
        return live.follow(FunctionSource(workspace.runner, "page", {}, keeps_page=True))

    def shown(query):
        return [row["n"] for row in query.state.result.value()["page"]]

    first, second = follow(), follow()
    assert first is second
    memory["a"].delete(ids[0])
    live.refresh()
    third = follow()
    assert (shown(first), shown(third)) == ([1], [1, 2])
    workspace.invalidate_functions(["page"])
    live.refresh()
    assert (shown(first), shown(third)) == ([1], [1, 2])
    for query in (first, second, third):
        live.unfollow(query)
    live.refresh()
    assert live.statistics()["followed"] == 0


def test_results_stand_at_the_newest_commit_unless_some_are_stale(db: Database) -> None:
    live = db.backend.workspace.live  # type: ignore[attr-defined]  # a local one
    db["tasks"].insert({"title": "a"})
    handle = db["tasks"].live()
    standing = live.standing_nowait()
    assert standing is not None
    assert standing.number == db.statistics().published
    with live.held():
        db["tasks"].insert({"title": "b"})  # nobody can refresh meanwhile
        assert live.standing_nowait() is None
    assert len(handle.value) == 2
    later = live.standing_nowait()
    assert later is not None
    assert later.number == db.statistics().published


def test_an_answer_comes_after_listeners_were_told_of_all_that_leads_to_it(db: Database) -> None:
    live = db.backend.workspace.live  # type: ignore[attr-defined]  # a local one
    told: list[int] = []
    stop = live.listen(lambda step: told.append(step.number))
    handle = db["tasks"].live()
    answers: SimpleQueue[tuple[int, list[int]]] = SimpleQueue()
    for _ in range(20):
        db["tasks"].insert({"title": "a"})
        published = db.statistics().published
        live.ask(lambda number: answers.put((number, list(told))))
        number, known = answers.get(timeout=10)
        assert number >= published
        assert known[-1] >= published
        assert live.steps_told == live.steps_made == len(known)
    stop()
    handle.close()
