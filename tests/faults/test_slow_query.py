"""A slow query of one client and what everybody else follows."""

from __future__ import annotations

import threading

import pytest

from livedb import QueryContext
from tests.faults.served import Wire, define, serving

MOVES_S_MAX = 3.0
"""Seconds that a transition without the slow query may take on a busy machine."""


@pytest.mark.xfail(
    raises=TimeoutError,
    reason="all live queries of a workspace move together; see ARCHITECTURE, a cut per connection",
)
def test_a_slow_query_of_one_client_delays_no_other(memory):
    define(memory)
    may_end, has_begun = threading.Event(), threading.Event()
    may_end.set()

    @memory.query
    def slow(ctx: QueryContext) -> int:
        found = len(ctx.db.query("notes").collect())
        if not may_end.is_set():
            has_begun.set()
            assert may_end.wait(60)
        return found

    with (
        serving(memory) as service,
        Wire(service.port, session="patient") as patient,
        Wire(service.port, session="other") as other,
    ):
        patient.follow("cells:slow")
        other.follow("cells:notes")
        may_end.clear()
        try:
            memory.function("note")(text="x")
            assert has_begun.wait(30)
            frame = other.socket.recv(MOVES_S_MAX)
        finally:
            may_end.set()
    assert "QueryUpdated" in frame
