"""What the connections of a service share: how far they are, and what an update looks at."""

from __future__ import annotations

import time
from threading import Event, current_thread

import pytest

import livedb
from livedb.auth.providers import parse_providers
from livedb.errors import ClosedError
from livedb.live.live_query import SLOW_S
from livedb.service.access import Access
from livedb.service.query_set import PROMPT_BYTES_MAX, QuerySet
from livedb.service.server import ServiceThread
from tests.service.serving import Wire, token


def is_response(message):
    return message["type"] == "MutationResponse"


def until(client, values):
    while client.values != values:
        client.hear()


@pytest.fixture
def updates(monkeypatch):
    """The query sets that followed or were shown on a thread, as counted by the work they do."""
    made = []

    def counting(work):
        def counted(self, *args, **options):
            if current_thread().name.startswith(("livedb-follow", "livedb-update")):
                made.append(self)
            return work(self, *args, **options)

        return counted

    monkeypatch.setattr(QuerySet, "follow", counting(QuerySet.follow))
    monkeypatch.setattr(QuerySet, "show", counting(QuerySet.show))
    return made


def test_a_mutation_of_what_its_client_follows_leads_to_one_transition(served):
    with Wire(served) as client:
        client.add(1, "tasks:titles", {"user": "ann"})
        client.transition()
        for number in range(50):
            client.mutate(number, "tasks:add", {"title": f"{number}", "user": "ann"})
            client.hear_all(is_response)
            (message,) = client.transition()
            assert [each["queryId"] for each in message["modifications"]] == [1]
        client.remove(1)
        (last,) = client.transition()  # no further one is in between
        assert [each["type"] for each in last["modifications"]] == ["QueryRemoved"]


def test_a_mutation_that_touches_nobody_leads_to_one_transition_at_its_timestamp(served):
    with Wire(served) as client:
        client.add(1, "tasks:titles", {"user": "ann"})
        client.transition()
        for number in range(50):
            client.mutate(number, "tasks:add", {"title": f"{number}", "user": "bob"})
            *_, response = client.hear_all(is_response)
            (message,) = client.transition()
            assert message["modifications"] == []
            assert message["endVersion"]["ts"] == response["ts"]


def test_an_update_without_new_queries_takes_no_thread(served, updates):
    with Wire(served) as client, Wire(served, session="other") as other:
        client.add(1, "tasks:titles", {"user": "ann"})
        client.transition()
        other.add(1, "tasks:titles", {"user": "ann"})
        other.transition()
        following = len(updates)
        for number in range(20):
            client.mutate(number, "tasks:add", {"title": f"{number}", "user": "ann"})
            client.hear_all(is_response)
            client.transition()
            other.hear_all(lambda _, number=number: len(other.values[1]) == number + 1)
        assert len(updates) == following


def test_a_long_result_is_made_into_a_message_on_a_thread(served, updates):
    title = "x" * PROMPT_BYTES_MAX
    with Wire(served) as client, Wire(served, session="other") as other:
        other.add(1, "tasks:titles", {"user": "ann"})
        other.transition()
        following = len(updates)
        client.mutate(1, "tasks:add", {"title": title, "user": "ann"})
        other.hear_all(lambda _: other.values[1] == [title])
        assert len(updates) > following
        # And a short one after it, of another query, without.
        other.add(2, "tasks:titles", {"user": "bob"})
        other.hear_all(lambda _: 2 in other.values)
        following = len(updates)
        client.mutate(2, "tasks:add", {"title": "short", "user": "bob"})
        other.hear_all(lambda _: other.values[2] == ["short"])
        assert len(updates) == following


def test_a_query_that_begins_to_ask_who_calls_is_run_for_its_caller(served):
    db = served.db

    @db.query(name="tasks:mine")
    def mine(ctx):
        first = ctx.db.query("tasks").first()
        return None if first is None else [first.title, ctx.auth.get_user_identity()]

    with Wire(served) as client:
        client.add(1, "tasks:mine")
        client.transition()
        assert client.values[1] is None
        client.mutate(1, "tasks:add", {"title": "first", "user": "ann"})
        client.hear_all(lambda _: client.values[1] == ["first", None])


def test_a_client_may_sign_in_while_its_query_lags(served):
    db = served.db
    begun, gate = Event(), Event()
    gate.set()

    @db.query(name="tasks:mine")
    def mine(ctx):
        identity = ctx.auth.get_user_identity()
        found = [None if identity is None else identity.subject, ctx.db.count("tasks")]
        Event().wait(1.5 * SLOW_S)
        if not gate.is_set():
            begun.set()
            assert gate.wait(30)
        return found

    @db.query(name="tasks:count")
    def count(ctx):
        return ctx.db.count("tasks")

    with Wire(served) as client, Wire(served, session="other") as other:
        client.add(1, "tasks:mine")
        client.add(2, "tasks:count")
        client.settle()
        other.add(1, "tasks:count")
        other.settle()
        assert client.values == {1: [None, 0], 2: 0}
        gate.clear()
        other.mutate(1, "tasks:add", {"title": "first", "user": "ann"})
        assert begun.wait(30)
        client.authenticate("User", token("ann", time.time() + 60))
        until(other, {1: 1})
        gate.set()
        client.settle()
        until(client, {1: ["ann", 1], 2: 1})
        other.mutate(2, "tasks:add", {"title": "second", "user": "ann"})
        until(client, {1: ["ann", 2], 2: 2})


def test_all_queries_of_a_connection_are_always_at_one_commit(served):
    """Two queries that are followed one after the other, under commits that never stop."""
    db = served.db

    @db.query(name="tasks:count")
    def count(ctx):
        return ctx.db.count("tasks")

    @db.query(name="tasks:count_again")
    def count_again(ctx, n: int):
        return ctx.db.count("tasks")

    with Wire(served) as writer, Wire(served, session="reader") as reader:
        for number in range(200):
            writer.mutate(number, "tasks:add", {"title": f"{number}", "user": "ann"})
        reader.add(1, "tasks:count")
        for number in range(2, 10):
            reader.add(number, "tasks:count_again", {"n": number})
            message = reader.hear()
            assert message["type"] == "Transition"
            assert len(set(reader.values.values())) == 1, reader.values
        reader.hear_all(lambda _: len(set(reader.values.values())) == 1 and reader.values[1] == 200)


def test_a_service_that_has_ended_asks_no_issuer_for_keys():
    (provider,) = parse_providers(
        {"providers": [{"domain": "http://127.0.0.1:9", "applicationID": "shop"}]}
    )
    with livedb.open() as db:
        access = Access(db.backend.workspace.clock, providers=[provider])
        with ServiceThread(db.backend.workspace, access=access):
            pass
        with pytest.raises(ClosedError):
            access._key_sets.key(provider, "k", "EdDSA")
