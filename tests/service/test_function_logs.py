"""What `livedb logs` is told of: the same of livedb's own clients as of Convex's."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

import livedb
from livedb.auth.access import Role
from livedb.clock import ManualClock
from livedb.service.function_logs import FunctionLogs
from tests.service.serving import ADMIN_KEY, connected


@pytest.fixture
def speaking(served):
    """Functions that say something, and fail if they are told to."""
    db = served.db

    @db.query(name="tasks:ask")
    def ask(ctx, *, fails: bool):
        return spoken("query", fails=fails)

    @db.mutation(name="tasks:change")
    def change(ctx, *, fails: bool):
        return spoken("mutation", fails=fails)

    @db.action(name="tasks:act")
    async def act(ctx, *, fails: bool):
        return spoken("action", fails=fails)

    def spoken(kind, *, fails):
        logging.getLogger("shop").warning("from %s", kind)
        if fails:
            raise ValueError("no luck")

    return served


FUNCTIONS = [("ask", "query"), ("change", "mutation"), ("act", "action")]


def logged(served):
    """What the log has, but for times and the ids of requests; it is asked from its beginning."""
    headers = {"authorization": f"Convex {ADMIN_KEY}"}
    answer = httpx.get(f"{served.url}/api/stream_function_logs?cursor=0", headers=headers)
    return [
        (
            each["udfType"],
            each["identifier"],
            each["logLines"],
            each["error"] and each["error"].rpartition("\n")[2],
            each["success"] and each["success"]["status"],
        )
        for each in answer.json()["entries"]
    ]


def expected(fails):
    error, status = ("Uncaught ValueError: no luck", None) if fails else (None, "success")
    return [
        (kind.capitalize(), f"tasks:{name}", [f"[WARN] from {kind}"], error, status)
        for name, kind in FUNCTIONS
    ]


def test_the_last_1000_calls_are_remembered_newest_last_with_when_and_how_long():
    clock, loop = ManualClock(), asyncio.new_event_loop()
    try:
        logs = FunctionLogs(clock, loop)
        for n in range(1_001):
            began_s = clock.monotonic_s()
            clock.advance(0.5)
            logs.add(identifier=f"f{n}", kind="query", began_s=began_s, log_lines=[], error=None)
        entries, cursor = logs.since(0)
    finally:
        loop.close()
    assert [each["identifier"] for each in entries] == [f"f{n}" for n in range(1, 1_001)]
    assert {each["executionTime"] for each in entries} == {0.5}
    times = [each["timestamp"] for each in entries]
    assert times == sorted(times)
    assert times[-1] == clock.now_ns() / 1e9
    assert logs.since(cursor) == ([], cursor)


@pytest.mark.parametrize("fails", [False, True])
def test_the_calls_of_convexs_clients_are_in_the_log(speaking, fails):
    for name, kind in FUNCTIONS:
        asked = {"path": f"tasks:{name}", "args": {"fails": fails}}
        httpx.post(f"{speaking.url}/api/{kind}", json=asked)
    assert logged(speaking) == expected(fails)


@pytest.mark.parametrize("fails", [False, True])
def test_the_same_calls_of_a_connected_notebook_are_there_alike(speaking, fails):
    with connected(speaking, Role.OWNER) as remote:
        for name, _ in FUNCTIONS:
            call = remote.function(f"tasks:{name}")
            if fails:
                with pytest.raises(ValueError, match="no luck"):
                    call(fails=True)
            else:
                call(fails=False)
    assert logged(speaking) == expected(fails)


def test_a_call_that_finds_nothing_is_there_by_the_name_it_asked_for(speaking):
    with connected(speaking, Role.OWNER) as remote:
        gone = remote.function("tasks:ask")
        speaking.db.backend.workspace.registry.replace([], gone=["tasks:ask"])
        with pytest.raises(livedb.FunctionNotFoundError):
            gone(fails=False)
    [(kind, name, lines, error, _)] = logged(speaking)
    assert (kind, name, lines) == ("Query", "tasks:ask", [])
    assert "Could not find function 'tasks:ask'" in error


def test_what_a_notebook_asks_that_is_no_function_is_not_there(served):
    with connected(served, Role.OWNER) as remote:
        remote.sql("select 1").df  # noqa: B018
        remote["tasks"].collect()
        remote["tasks"].insert({"title": "x", "user": "ada", "n": 1})
        with pytest.raises(livedb.SqlError):
            remote.sql("select nope").df  # noqa: B018
        with pytest.raises(livedb.InvalidIdError):
            remote["tasks"].get("no id")
    assert logged(served) == []
