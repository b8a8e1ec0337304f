"""A long statement ends: by Ctrl-C, by the statement's limit, by the limit of its function."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

import livedb
from livedb.errors import FunctionTimeoutError
from livedb.live import statements
from tests.waiting import until

ENDLESS = "select count(*) from range(3000000) a, range(3000000) b where a.range * b.range % 7 = 3"


def strike_when_running(database: livedb.Database, *, later_s: float = 0) -> threading.Thread:
    """Ctrl-C once a statement is being read."""
    readers = database.backend.workspace.tables._readers

    def strike() -> None:
        while not readers:
            pass
        time.sleep(later_s)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=strike)
    thread.start()
    return thread


def assert_usable(database: livedb.Database) -> None:
    """Nothing is left open, and reads, writes and folds go on."""
    until(lambda: not database.backend.workspace.tables._readers)  # who interrupts has it a while
    database["t"].insert({"n": 2})
    assert database.sql("select count(*) as n from t").to_arrow()["n"].to_pylist() == [2]


def run_directly(database: livedb.Database) -> None:
    database.sql(ENDLESS)


def run_in_a_query(database: livedb.Database, text: str = ENDLESS) -> None:
    @database.query
    def run(ctx) -> list:
        return ctx.db.sql(text)

    run()


@pytest.mark.parametrize("run", [run_directly, run_in_a_query])
@pytest.mark.local("interrupts the thread that runs the statement")
def test_ctrl_c_ends_a_statement_and_leaves_nothing_open(
    run: Callable[[livedb.Database], None], db: livedb.Database
) -> None:
    db["t"].insert({"n": 1})
    striking = strike_when_running(db)
    with pytest.raises(KeyboardInterrupt):
        run(db)
    striking.join()
    assert_usable(db)


def test_the_statements_limit_is_named(limited: Callable[..., livedb.Database]) -> None:
    database = limited(sql_s_max=0.2)
    database["t"].insert({"n": 1})
    with pytest.raises(FunctionTimeoutError, match=r"Limits\.sql_s_max \(0\.2 s\)"):
        database.sql(ENDLESS)
    assert_usable(database)


@pytest.mark.parametrize("thread", ["main", "other"])
def test_the_time_limit_of_a_function_ends_its_statement(
    thread: str, limited: Callable[..., livedb.Database]
) -> None:
    database = limited(function_s_max=0.3)
    database["t"].insert({"n": 1})
    caught: list[BaseException] = []

    def run() -> None:
        with pytest.raises(FunctionTimeoutError, match=r"maximum duration: 0\.3s") as error:
            run_in_a_query(database)
        caught.append(error.value)

    if thread == "main":
        run()
    else:
        running = threading.Thread(target=run)
        running.start()
        running.join()
    assert len(caught) == 1
    assert_usable(database)


def test_a_function_that_catches_the_interrupted_statement_is_ended_all_the_same(
    limited: Callable[..., livedb.Database],
) -> None:
    database = limited(function_s_max=0.3)

    @database.query
    def stubborn(ctx) -> int:
        while True:
            try:
                ctx.db.sql(ENDLESS)
            except livedb.LivedbError:
                continue

    with pytest.raises(FunctionTimeoutError):
        stubborn()


DEAF = (
    "select max(levenshtein(repeat('a', 4000) || i, repeat('b', 4000) || i)) from range(140) t(i)"
)
"""One chunk of rows, in which DuckDB does not look for an interrupt for two to six seconds."""


@pytest.fixture
def leaves_soon(monkeypatch):
    """A statement is left sooner, so that it may be shorter: each keeps a core until its end."""
    monkeypatch.setattr(statements, "LEFT_AFTER_S", 0.3)


def run_deaf(database: livedb.Database) -> None:
    database.sql(DEAF)


def run_deaf_in_a_query(database: livedb.Database) -> None:
    run_in_a_query(database, DEAF)


def assert_others_go_on(database: livedb.Database) -> None:
    database["t"].insert({"n": 2})
    assert database.sql("select count(*) as n from t").to_arrow()["n"].to_pylist() == [2]


@pytest.mark.usefixtures("leaves_soon")
@pytest.mark.parametrize("run", [run_deaf, run_deaf_in_a_query])
@pytest.mark.local("interrupts the thread that waits for the statement")
def test_ctrl_c_leaves_a_statement_that_does_not_listen(
    run: Callable[[livedb.Database], None], memory: livedb.Database
) -> None:
    memory["t"].insert({"n": 1})
    striking = strike_when_running(memory, later_s=1)  # the gate would listen
    with pytest.raises(KeyboardInterrupt):
        run(memory)
    striking.join()
    assert memory.backend.workspace.tables._readers  # it is still at it
    assert_others_go_on(memory)


@pytest.mark.usefixtures("leaves_soon")
@pytest.mark.parametrize("limit", ["sql_s_max", "function_s_max"])
@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_time_limit_leaves_a_statement_that_does_not_listen(
    limit: str, thread: str, limited: Callable[..., livedb.Database]
) -> None:
    database = limited(**{limit: 0.3})
    database["t"].insert({"n": 1})
    words = "maximum duration: 0.3s" if limit == "function_s_max" else "goes on in the background"
    caught: list[BaseException] = []

    def run() -> None:
        with pytest.raises(FunctionTimeoutError, match=words) as error:
            (run_deaf_in_a_query if limit == "function_s_max" else run_deaf)(database)
        caught.append(error.value)

    if thread == "main":
        run()
    else:
        running = threading.Thread(target=run)
        running.start()
        running.join()
    assert len(caught) == 1
    assert database.backend.workspace.tables._readers
    assert_others_go_on(database)


@pytest.mark.usefixtures("leaves_soon")
def test_a_held_snapshot_ends_with_a_statement_that_was_left(
    limited: Callable[..., livedb.Database],
) -> None:
    database = limited(sql_s_max=0.3)
    database["t"].insert({"n": 1})
    with database.snapshot():
        with pytest.raises(FunctionTimeoutError):
            run_deaf(database)
        with pytest.raises(livedb.ClosedError, match="take a new one"):
            database.sql("select 1")
    assert_others_go_on(database)


def test_closing_a_workspace_ends_its_statements(tmp_path) -> None:
    database = livedb.open(tmp_path / "w")
    database["t"].insert({"n": 1})
    ended: list[BaseException] = []

    def run() -> None:
        try:
            database.sql(ENDLESS)
        except livedb.LivedbError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not database.backend.workspace.tables._readers:
        pass
    database.close()
    thread.join()
    assert len(ended) == 1
    livedb.open(tmp_path / "w").close()
