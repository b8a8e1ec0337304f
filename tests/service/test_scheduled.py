"""Scheduled functions of a served workspace, in the logs that administrators read."""

from __future__ import annotations

import time

import httpx

import livedb
from tests.service.serving import ADMIN_KEY, serving


def test_what_ran_by_itself_is_in_the_logs_with_what_it_printed():
    with livedb.open() as db:

        @db.mutation
        def speak(ctx, text: str) -> None:
            print("hello", text)
            if text == "nobody":
                raise ValueError("nobody is there")

        @db.action
        def act(ctx) -> None:
            ctx.run_mutation(speak, text="from an action")

        @db.mutation
        def plan(ctx) -> None:
            ctx.scheduler.run_after(0, speak, text="you")
            ctx.scheduler.run_after(0, speak, text="nobody")
            ctx.scheduler.run_after(0, act)

        with serving(db) as served:
            plan()
            db.backend.workspace.scheduler.settle(30)
            admin = {"authorization": f"Convex {ADMIN_KEY}"}
            url = f"{served.url}/api/stream_function_logs?cursor=0"
            deadline = time.monotonic() + 30
            while len(entries := httpx.get(url, headers=admin).json()["entries"]) < 3:
                assert time.monotonic() < deadline, entries
    found = {tuple(entry["logLines"]): entry for entry in entries}
    assert found["[LOG] hello you",]["success"] == {"status": "success"}
    assert "nobody is there" in found["[LOG] hello nobody",]["error"]
    assert found["[LOG] hello from an action",]["udfType"] == "Action"
