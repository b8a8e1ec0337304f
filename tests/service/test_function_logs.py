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
from tests.service.serving import ADMIN_KEY, connected, serving


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


def entries(served):
    """All that the log has."""
    headers = {"authorization": f"Convex {ADMIN_KEY}"}
    answer = httpx.get(f"{served.url}/api/stream_function_logs?cursor=0", headers=headers)
    return answer.json()["entries"]


def said(error):
    """An error without the id of its request and the lines that it came by."""
    lines = error.split("\n")
    return "\n".join(each for each in lines if not each.startswith(("[Request", "    at ")))


def logged(served):
    """What the log has, but for times and the ids of requests; it is asked from its beginning."""
    return [
        (
            each["udfType"],
            each["identifier"],
            each["logLines"],
            each["error"] and said(each["error"]),
            each["success"] and each["success"]["status"],
        )
        for each in entries(served)
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


def test_what_clients_are_not_told_is_in_the_log_with_its_line_and_request(db):
    @db.query
    def quoting(ctx) -> int:
        raise RuntimeError("hush")

    with serving(db, shows_details=False) as served:
        told = httpx.post(f"{served.url}/api/query", json={"path": "quoting", "args": {}}).json()
        with connected(served, Role.OWNER) as remote:
            ask = remote.function("quoting")
            with pytest.raises(livedb.RemoteError, match="`livedb logs` shows it") as caught:
                ask()
        errors = [each["error"].split("\n") for each in entries(served)]
    for (request, what, line), told_of in zip(
        errors, (told["errorMessage"], str(caught.value)), strict=True
    ):
        assert request in told_of
        assert what == "Uncaught RuntimeError: hush"
        assert line.startswith(f"    at quoting ({__file__}:")
    assert "hush" not in str(told)


def test_a_client_that_is_told_why_a_function_failed_is_told_where(speaking):
    asked = {"path": "tasks:ask", "args": {"fails": True}}
    told = httpx.post(f"{speaking.url}/api/query", json=asked).json()["errorMessage"]
    assert [each.split()[1] for each in told.split("\n")[2:]] == ["ask", "spoken"]
    with connected(speaking, Role.OWNER) as remote:
        ask = remote.function("tasks:ask")
        with pytest.raises(ValueError, match="no luck") as caught:
            ask(fails=True)
    assert f"spoken ({__file__}:" in caught.value.__notes__[0]
