"""Optimistic updates: shown at once, replayed over what arrives, gone when the truth is here."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import livedb
from livedb.errors import ApplicationError, FunctionTypeError, HandleError
from tests.conftest import connected
from tests.waiting import until


class Shop:
    """A connected `db` whose mutation `add` waits for `gate`, and what its update shows."""

    def __init__(self, served, db):
        self.served, self.db = served, db
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.fails = False

        @served.query
        def of_kind(ctx, kind: str) -> list[dict]:
            found = ctx.db.query("items").collect()
            return [{"n": each.n} for each in found if each.kind == kind]

        @served.mutation
        def add(ctx, kind: str, n: int) -> None:
            self.begun.set()
            assert self.gate.wait(10)
            if self.fails:
                raise ApplicationError("no")
            ctx.db.insert("items", {"kind": kind, "n": n})

        self.of_kind = db.function("of_kind")
        self.add = db.function("add").with_optimistic_update(self.show)

    def show(self, view, args):
        rows = view.get(self.of_kind, kind=args.kind)
        if rows is not None:
            view.set(self.of_kind, [*rows, {"n": args.n, "guessed": True}], kind=args.kind)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture
def shop(pool):
    with livedb.open() as served, connected(served) as db:
        made = Shop(served, db)
        yield made
        made.gate.set()


GUESS = {"n": 1, "guessed": True}


def test_a_handle_shows_an_update_until_the_mutation_is_shown(shop, pool):
    handle = shop.of_kind.live(kind="a")
    other = shop.of_kind.live(kind="b")
    told = []
    handle.observe(lambda change: told.append(change["new"]), "value")
    call = pool.submit(shop.add, kind="a", n=1)
    until(lambda: handle.value == [GUESS])
    assert other.value == []
    assert shop.served.function("of_kind")(kind="a") == []
    shop.gate.set()
    call.result(10)
    assert handle.value == [{"n": 1}]
    until(lambda: told == [[GUESS], [{"n": 1}]])  # and nothing in between


def test_a_failed_mutation_takes_its_update_back(shop, pool):
    handle = shop.of_kind.live(kind="a")
    shop.fails = True
    call = pool.submit(shop.add, kind="a", n=1)
    until(lambda: handle.value == [GUESS])
    shop.gate.set()
    with pytest.raises(ApplicationError, match="no"):
        call.result(10)
    until(lambda: handle.value == [])


def test_an_update_is_replayed_over_what_others_commit(shop, pool):
    handle = shop.of_kind.live(kind="a")
    call = pool.submit(shop.add, kind="a", n=1)
    until(lambda: handle.value == [GUESS])
    shop.served["items"].insert({"kind": "a", "n": 7})
    assert handle.value == [{"n": 7}, GUESS]
    shop.gate.set()
    call.result(10)
    assert sorted(each["n"] for each in handle.value) == [1, 7]


def test_updates_stand_on_one_another_in_the_order_of_the_calls(shop, pool):
    handle = shop.of_kind.live(kind="a")
    calls = []
    for n in range(3):
        calls.append(pool.submit(shop.add, kind="a", n=n))
        until(lambda n=n: len(handle.value) == n + 1)
    assert [each["n"] for each in handle.value] == [0, 1, 2]
    shop.gate.set()
    for call in calls:
        call.result(10)
    assert handle.value == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_view_shows_what_is_followed_here(shop, pool):
    shop.served["items"].insert({"kind": "a", "n": 5})
    handles = [shop.of_kind.live(kind=kind) for kind in "ab"]
    seen = []

    def look(view, args):
        seen.append(sorted((each.kind, rows) for each, rows in view.get_all(shop.of_kind)))
        seen.append(view.get("of_kind", kind="c"))
        view.set("of_kind", [], kind="c")
        view.get("of_kind", "a")[0]["n"] = 99

    shop.gate.set()
    shop.db.function("add").with_optimistic_update(look)(kind="z", n=1)
    assert seen[0] == [("a", [{"n": 5}]), ("b", [])]
    assert seen[1] is None
    assert handles[0].value == [{"n": 5}]


def test_an_update_that_raises_at_once_raises_for_the_caller_and_nothing_is_sent(shop):
    def wrong(view, args):
        raise ZeroDivisionError

    def asks(view, args):
        shop.db.sql("select 1")

    def misuses(view, args):
        view.get(shop.db["items"])

    add = shop.db.function("add")
    for update, error in (
        (wrong, ZeroDivisionError),
        (asks, FunctionTypeError),
        (misuses, HandleError),
    ):
        with pytest.raises(error):
            add.with_optimistic_update(update)(kind="a", n=1)
    assert not shop.begun.is_set()
    assert shop.db["items"].count() == 0


def test_what_is_no_function_is_no_update(shop):
    with pytest.raises(FunctionTypeError, match=r"update\(view, args\), not 3"):
        shop.add.with_optimistic_update(3)


def test_an_argument_that_is_not_there_is_called_one(shop):
    add = shop.add.with_optimistic_update(lambda view, args: args.kinds)
    with pytest.raises(AttributeError, match="there is no argument 'kinds'; did you mean 'kind'"):
        add(kind="a", n=1)


def test_arguments_can_be_shown_as_a_result(shop, pool):
    handle = shop.of_kind.live(kind="a")
    add = shop.add.with_optimistic_update(
        lambda view, args: view.set(shop.of_kind, [args], kind="a")
    )
    call = pool.submit(add, kind="a", n=1)
    until(lambda: handle.value == [{"kind": "a", "n": 1}])
    shop.gate.set()
    call.result(20)


def test_an_update_that_raises_later_is_logged_and_shown_no_longer(shop, pool, caplog):
    handle = shop.of_kind.live(kind="a")

    def once_only(view, args):
        assert view.get(shop.of_kind, kind="a") == []
        view.set(shop.of_kind, [GUESS], kind="a")

    call = pool.submit(shop.db.function("add").with_optimistic_update(once_only), kind="a", n=1)
    until(lambda: handle.value == [GUESS])
    with caplog.at_level(logging.ERROR, "livedb.client"):
        shop.served["items"].insert({"kind": "a", "n": 7})
        assert handle.value == [{"n": 7}]
        assert "optimistic update failed" in caplog.text
    shop.gate.set()
    call.result(10)


def test_a_workspace_of_this_process_needs_no_update():
    with livedb.open() as db:

        @db.mutation
        def add(ctx, n: int) -> int:
            return n

        def never(view, args):
            raise AssertionError

        assert add.with_optimistic_update(never)(n=1) == 1
        assert repr(add.with_optimistic_update(never)) == repr(add)
