"""A slow query of one client and what everybody else follows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import livedb
from livedb import QueryContext
from livedb.auth.access import Role
from livedb.errors import ApplicationError
from livedb.live.live_query import HICCUP_S, SLOW_S
from livedb.protocol.messages import (
    Add,
    ModifyQuerySet,
    QueryFailed,
    QueryUpdated,
    Remove,
    ServerMessage,
    Transition,
)
from livedb.protocol.timestamps import decode_ts
from tests.faults.served import Wire, define, serving
from tests.waiting import until

MOVES_S_MAX = 3.0
"""Seconds that a transition without the slow query may take on a busy machine."""

HELD_S = 0.3
"""Seconds in which a test looks whether something comes that must not."""


def be_slow(seconds: float = 2 * SLOW_S) -> None:
    """Take so long that a run is slow, whatever the machine."""
    threading.Event().wait(seconds)


class Gate:
    """Holds up the runs of a query, which is slow anyway. Open at first."""

    def __init__(self) -> None:
        self._may_end, self.has_begun = threading.Event(), threading.Event()
        self.runs = 0
        self.error: Exception | None = None
        self._may_end.set()

    def pass_through(self) -> None:
        self.runs += 1
        be_slow()
        if not self._may_end.is_set():
            self.has_begun.set()
            assert self._may_end.wait(60)
            if self.error is not None:
                raise self.error

    @contextmanager
    def closed(self) -> Iterator[None]:
        self.runs = 0
        self.close()
        try:
            yield
        finally:
            self.open()

    def close(self) -> None:
        self.has_begun.clear()
        self._may_end.clear()

    def open(self) -> None:
        self._may_end.set()


@pytest.fixture
def gate(memory) -> Gate:
    """Of the query `slow`, which counts the notes; `count` does the same and is fast."""
    define(memory)
    made = Gate()

    @memory.query
    def slow(ctx: QueryContext) -> int:
        found = len(ctx.db.query("notes").collect())
        made.pass_through()
        return found

    @memory.query
    def count(ctx: QueryContext) -> int:
        return len(ctx.db.query("notes").collect())

    return made


def note(db: livedb.Database, table: str = "notes") -> None:
    db.function("note")(text="x", table=table)


def follow(client: Wire, *paths: str) -> Transition:
    """Follow queries, with the ids 0, 1, .., in one step."""
    added = [
        Add(query_id=query_id, udf_path=path, args=[client.codec.write({})])
        for query_id, path in enumerate(paths)
    ]
    client.say(ModifyQuerySet(base_version=0, new_version=1, modifications=added))
    return client.next_transition()


def hear_soon(client: Wire) -> Transition:
    message = client.codec.decode_server(client.socket.recv(MOVES_S_MAX))
    assert isinstance(message, Transition)
    return message


def values(client: Wire, message: ServerMessage) -> dict[int, object]:
    """The queries that a transition gives a value, with the values."""
    assert isinstance(message, Transition)
    return {
        each.query_id: client.codec.read(each.value)
        for each in message.modifications
        if isinstance(each, QueryUpdated)
    }


def hears_nothing(client: Wire) -> bool:
    try:
        client.socket.recv(HELD_S)
    except TimeoutError:
        return True
    return False


def test_a_slow_query_of_one_client_delays_no_other(memory, gate):
    with (
        serving(memory) as service,
        Wire(service.port, session="patient") as patient,
        Wire(service.port, session="other") as other,
    ):
        follow(patient, "cells:slow")
        follow(other, "cells:notes")
        with gate.closed():
            note(memory)
            assert gate.has_begun.wait(30)
            frame = other.socket.recv(MOVES_S_MAX)
    assert "QueryUpdated" in frame


def test_a_slow_query_of_one_client_delays_no_query_of_the_same_table_and_no_handle(memory, gate):
    handle = memory.function("count").live()
    told = []
    handle.observe(lambda change: told.append(change.new), names="value")
    with (
        serving(memory) as service,
        Wire(service.port, session="patient") as patient,
        Wire(service.port, session="other") as other,
    ):
        follow(patient, "cells:slow")
        follow(other, "cells:count")
        with gate.closed():
            for number in range(1, 6):
                note(memory)
                assert values(other, hear_soon(other)) == {0: number}
                assert handle.value == number
                until(lambda number=number: told[-1:] == [number], MOVES_S_MAX)
            assert gate.has_begun.wait(30)
            # Nor one that comes meanwhile, and what it calls.
            with Wire(service.port, session="new") as new:
                assert values(new, follow(new, "cells:count")) == {0: 5}
        assert values(patient, hear_soon(patient)) in ({0: 1}, {0: 5})


def test_a_client_of_slow_and_fast_queries_never_sees_two_commits(memory, gate):
    with serving(memory) as service, Wire(service.port) as client:
        shown = values(client, follow(client, "cells:slow", "cells:count", "cells:notes"))
        for _ in range(3):
            with gate.closed():
                for _ in range(3):
                    note(memory)
                assert gate.has_begun.wait(30)
                assert hears_nothing(client)
            newest = len(memory["notes"].collect())
            while shown[0] != newest:
                shown |= values(client, hear_soon(client))
                assert shown[0] == shown[1] == len(shown[2])


def test_a_client_of_two_slow_queries_goes_on_under_commits_that_never_stop(memory, gate):
    """Each of the two is also followed by somebody else, so they are run at other commits too."""
    stop = threading.Event()

    def commit() -> None:
        while not stop.wait(0.005):
            note(memory)

    for name, pause_s in (("short", 0.05), ("long", 0.08)):

        @memory.query(name=name)
        def pausing(ctx: QueryContext, pause_s: float = pause_s) -> int:
            found = ctx.db.count("notes")
            stop.wait(pause_s)
            return found

    writer = threading.Thread(target=commit)
    with (
        serving(memory) as service,
        Wire(service.port, session="both") as both,
        Wire(service.port, session="short") as short,
        Wire(service.port, session="long") as long,
    ):
        follow(short, "cells:short")
        follow(long, "cells:long")
        shown = values(both, follow(both, "cells:short", "cells:long", "cells:count"))
        writer.start()
        try:
            for _ in range(5):
                shown |= values(both, both.next_transition())
                assert shown[0] == shown[1] == shown[2]
            for client in (short, long):
                assert values(client, client.next_transition())
        finally:
            stop.set()
            writer.join()


def test_a_slow_query_that_fails_is_told_with_what_else_holds_at_its_commit(memory, gate):
    with serving(memory) as service, Wire(service.port) as client:
        follow(client, "cells:slow", "cells:count")
        with gate.closed():
            gate.error = ApplicationError("too slow")
            note(memory)
            assert gate.has_begun.wait(30)
            assert hears_nothing(client)
        message = hear_soon(client)
        assert values(client, message) == {1: 1}
        failed = [each for each in message.modifications if isinstance(each, QueryFailed)]
        assert [each.query_id for each in failed] == [0]
        gate.error = None
        note(memory)
        assert values(client, hear_soon(client)) == {0: 2, 1: 2}


def test_a_query_that_takes_longer_than_it_may_fails_alone(tmp_path):
    with livedb.open(tmp_path / "w", limits=livedb.Limits(function_s_max=0.4)) as db:
        define(db)
        is_endless = threading.Event()

        @db.query
        def endless(ctx: QueryContext) -> int:
            found = len(ctx.db.query("notes").collect())
            be_slow()
            while is_endless.is_set():
                pass
            return found

        with (
            serving(db) as service,
            Wire(service.port, session="patient") as patient,
            Wire(service.port, session="other") as other,
        ):
            follow(patient, "cells:endless")
            follow(other, "cells:notes")
            is_endless.set()
            note(db)
            assert len(values(other, hear_soon(other))[0]) == 1
            message = hear_soon(patient)
            assert [type(each) for each in message.modifications] == [QueryFailed]
            is_endless.clear()
            note(db)
            assert values(patient, hear_soon(patient)) == {0: 2}


def test_who_follows_a_slow_query_may_go_while_it_runs(memory, gate):
    live = memory.backend.workspace.live
    with serving(memory) as service, Wire(service.port, session="other") as other:
        follow(other, "cells:count")
        with Wire(service.port, session="patient") as patient:
            follow(patient, "cells:slow")
            with gate.closed():
                note(memory)
                assert gate.has_begun.wait(30)
                patient.close()
                until(lambda: live.statistics()["followed"] == 1)
                note(memory)
                while values(other, hear_soon(other)) != {0: 2}:
                    pass
        until(lambda: not live.lagging)
        note(memory)
        assert values(other, hear_soon(other)) == {0: 3}
        assert live.statistics()["live_queries"] == 1
    assert gate.runs == 1


def test_a_slow_query_that_is_no_longer_followed_holds_nothing_up(memory, gate):
    with serving(memory) as service, Wire(service.port) as client:
        follow(client, "cells:slow", "cells:count")
        with gate.closed():
            note(memory)
            assert gate.has_begun.wait(30)
            assert hears_nothing(client)
            gone = Remove(query_id=0)
            client.say(ModifyQuerySet(base_version=1, new_version=2, modifications=[gone]))
            assert values(client, hear_soon(client)) == {1: 1}
            note(memory)
            assert values(client, hear_soon(client)) == {1: 2}


def test_a_slow_query_that_several_need_runs_once(memory, gate):
    with (
        serving(memory) as service,
        Wire(service.port, session="one") as one,
        Wire(service.port, session="two") as two,
    ):
        follow(one, "cells:slow")
        follow(two, "cells:slow", "cells:count")
        for number in (1, 2, 3):
            with gate.closed():
                note(memory)
                assert gate.has_begun.wait(30)
                assert hears_nothing(one)
                assert hears_nothing(two)
            assert values(one, hear_soon(one)) == {0: number}
            assert values(two, hear_soon(two)) == {0: number, 1: number}
            assert gate.runs == 1


def test_a_slow_query_that_is_defined_anew_is_never_read_as_it_was(memory, gate):
    with (
        serving(memory, role=Role.OWNER) as service,
        livedb.connect(f"http://127.0.0.1:{service.port}") as db,
    ):
        handle = db.function("slow").live()
        for number in range(3):
            with gate.closed():
                memory.backend.workspace.invalidate_functions(["slow"])
                assert gate.has_begun.wait(30)

                @memory.query(name="slow")
                def _(_: QueryContext, number: int = number) -> str:
                    threading.Event().wait(0.1)
                    return f"anew {number}"

            assert handle.value == f"anew {number}"

            @memory.query(name="slow")
            def _(_: QueryContext) -> int:
                gate.pass_through()
                return 0

            assert handle.value == 0


def test_a_slow_query_of_one_client_delays_no_slow_one_of_another(memory, gate):
    @memory.query
    def less_slow(ctx: QueryContext) -> int:
        be_slow()
        return ctx.db.count("notes")

    with (
        serving(memory) as service,
        Wire(service.port, session="patient") as patient,
        Wire(service.port, session="other") as other,
    ):
        follow(patient, "cells:slow")
        follow(other, "cells:less_slow", "cells:count")
        with gate.closed():
            for number in (1, 2, 3):
                note(memory)
                assert values(other, hear_soon(other)) == {0: number, 1: number}
            assert gate.has_begun.wait(30)


def test_a_first_run_that_is_slow_delays_nobody_and_happens_once(memory, gate):
    with (
        serving(memory) as service,
        Wire(service.port, session="one") as one,
        Wire(service.port, session="two") as two,
        Wire(service.port, session="other") as other,
    ):
        with gate.closed():
            for client in (one, two):
                added = [Add(query_id=0, udf_path="cells:slow", args=[client.codec.write({})])]
                client.say(ModifyQuerySet(base_version=0, new_version=1, modifications=added))
            assert gate.has_begun.wait(30)
            assert values(other, follow(other, "cells:count")) == {0: 0}
            note(memory)
            assert values(other, hear_soon(other)) == {0: 1}
            assert gate.runs == 1
        for client in (one, two):
            shown = values(client, hear_soon(client))
            while shown != {0: 1}:  # it was run at the commit before
                assert shown == {0: 0}
                shown = values(client, hear_soon(client))
        assert gate.runs == 2


def test_a_client_that_waits_gets_what_else_it_follows_at_the_same_commit(memory, gate):
    with serving(memory) as service, Wire(service.port) as client:
        follow(client, "cells:slow")
        with gate.closed():
            note(memory)
            assert gate.has_begun.wait(30)
            added = [Add(query_id=1, udf_path="cells:count", args=[client.codec.write({})])]
            client.say(ModifyQuerySet(base_version=1, new_version=2, modifications=added))
            note(memory)
            assert hears_nothing(client)
        shown: dict[int, object] = {}
        while shown.get(0) != 2:
            shown |= values(client, hear_soon(client))
            assert 1 not in shown or shown[0] == shown[1]
        assert shown == {0: 2, 1: 2}


def test_a_mutation_of_a_client_that_waits_is_answered_at_once_and_shown_with_the_rest(
    memory, gate
):
    with serving(memory) as service, Wire(service.port) as client:
        follow(client, "cells:slow", "cells:count")
        with gate.closed():
            response = client.mutate(0, "cells:note", {"text": "x"})
            assert response.ts is not None
            assert gate.has_begun.wait(30)
            assert client.mutate(1, "cells:note", {"text": "y"}).success
            assert hears_nothing(client)
        shown: dict[int, object] = {}
        while shown != {0: 2, 1: 2}:
            message = hear_soon(client)
            shown |= values(client, message)
            assert shown[0] == shown[1]
        assert decode_ts(message.end_version.ts) >= decode_ts(response.ts)


def test_a_reader_of_a_handle_waits_for_its_slow_query_and_sees_its_own_commits(memory, gate):
    with (
        serving(memory, role=Role.OWNER) as service,
        livedb.connect(f"http://127.0.0.1:{service.port}") as db,
        livedb.connect(f"http://127.0.0.1:{service.port}") as other,
    ):
        slow, count, others = (
            connected.function(name).live()
            for connected, name in ((db, "slow"), (db, "count"), (other, "count"))
        )
        for number in range(1, 4):
            with gate.closed():
                note(other)
                assert others.value == number
                threading.Timer(HELD_S, gate.open).start()
                assert slow.value == number
            note(other, "others")
            with db.snapshot() as at:
                assert slow.value == count.value == number
                rows = db.sql("select count(*) as n from notes")
                assert [row["n"] for row in rows] == [number]
                assert at == other.number


def test_a_handle_of_the_kernel_may_follow_a_query_that_is_being_run_for_a_client(memory, gate):
    followed = []
    with serving(memory) as service, Wire(service.port) as client:
        follow(client, "cells:slow", "cells:count")
        reader = threading.Thread(target=lambda: followed.append(memory.function("slow").live()))
        with gate.closed():
            note(memory)
            assert gate.has_begun.wait(30)
            reader.start()
            assert hears_nothing(client)
        reader.join()
        assert followed[0].value == 1
        assert values(client, hear_soon(client)) == {0: 1, 1: 1}
        note(memory)  # it is run in transitions now
        assert values(client, hear_soon(client)) == {0: 2, 1: 2}
        assert followed[0].value == 2
        assert not memory.backend.workspace.live.lagging


def test_a_page_that_is_slow_keeps_its_end_and_grows(memory, gate):
    @memory.query
    def page(ctx: QueryContext) -> object:
        gate.pass_through()
        return ctx.db.query("notes").paginate({"numItems": 2, "cursor": None})

    for _ in range(3):
        note(memory)
    with serving(memory) as service, Wire(service.port) as client:
        first = follow(client, "cells:page", "cells:count")
        assert len(values(client, first)[0]["page"]) == 2
        ids = [each["_id"] for each in memory["notes"].collect()]
        with gate.closed():
            memory["notes"].delete(min(ids))
            assert gate.has_begun.wait(30)
        shown = values(client, hear_soon(client))
        assert (len(shown[0]["page"]), shown[1]) == (1, 2)


def test_slow_sql_goes_on_although_others_fold_the_tables_all_the_time(memory, gate):
    """DuckDB's tables are at one commit at a time, and each reader of SQL brings them further."""
    stop = threading.Event()
    slow = (
        "select count(*) as n, (select sum(a.range) from range(3000) a, range(3000) b) from notes"
    )

    def read() -> None:
        while not stop.is_set():
            note(memory)
            memory.sql("select count(*) as n from notes")

    reader = threading.Thread(target=read)
    with (
        serving(memory, role=Role.OWNER) as service,
        livedb.connect(f"http://127.0.0.1:{service.port}") as db,
    ):
        note(memory)
        handles = [db.live_sql(slow), db.live_sql("select count(*) as n from notes")]
        heard: list[int] = []
        handles[0].observe(lambda change: heard.append(change.version))
        reader.start()
        try:
            until(lambda: len(heard) >= 3, 60)
        finally:
            stop.set()
            reader.join()
        newest = len(memory["notes"].collect())
        with db.snapshot():
            assert [each.value["n"].to_pylist() for each in handles] == [[newest]] * 2


def test_a_service_ends_while_a_slow_query_is_run(memory, gate):
    with gate.closed():
        gate.open()
        with serving(memory) as service, Wire(service.port) as client:
            follow(client, "cells:slow")
            gate.close()
            note(memory)
            assert gate.has_begun.wait(30)
        # It is still being run, for nobody.
        with serving(memory) as service, Wire(service.port) as client:
            assert values(client, follow(client, "cells:count")) == {0: 1}
            note(memory)
            assert values(client, hear_soon(client)) == {0: 2}
    live = memory.backend.workspace.live
    until(lambda: not (live.statistics()["followed"] or live.lagging))


def test_queries_that_become_slow_at_once_hold_the_others_up_for_one_run_only(memory, gate):
    runs: list[int] = []
    is_slow = threading.Event()

    @memory.query
    def later(ctx: QueryContext, at: int) -> int:
        if is_slow.is_set():
            runs.append(at)
            if len(runs) == 1:
                be_slow(2 * HICCUP_S)
            else:
                gate.pass_through()
        return ctx.db.count("notes") + at

    with (
        serving(memory) as service,
        Wire(service.port, session="patient") as patient,
        Wire(service.port, session="other") as other,
    ):
        added = [
            Add(query_id=at, udf_path="cells:later", args=[patient.codec.write({"at": at})])
            for at in range(20)
        ]
        patient.say(ModifyQuerySet(base_version=0, new_version=1, modifications=added))
        assert values(patient, patient.next_transition()) == {at: at for at in range(20)}
        follow(other, "cells:count")
        is_slow.set()
        with gate.closed():
            note(memory)
            assert values(other, hear_soon(other)) == {0: 1}
        assert values(patient, hear_soon(patient)) == {at: 1 + at for at in range(20)}


def test_a_function_that_a_slow_query_calls_is_never_left_as_it_was(memory, gate):
    @memory.query
    def rate(_: QueryContext) -> int:
        return 1

    @memory.query
    def rated(ctx: QueryContext) -> object:
        found = ctx.run_query("rate")
        gate.pass_through()
        return found

    with serving(memory) as service, Wire(service.port) as client:
        added = [Add(query_id=0, udf_path="cells:rated", args=[client.codec.write({})])]
        with gate.closed():  # it is run for the first time: nobody knows yet what it calls
            client.say(ModifyQuerySet(base_version=0, new_version=1, modifications=added))
            assert gate.has_begun.wait(30)

            @memory.query(name="rate")
            def _(_: QueryContext) -> int:
                return 2

        shown = values(client, hear_soon(client))
        while shown != {0: 2}:
            assert shown == {0: 1}
            shown = values(client, hear_soon(client))
