"""The sync protocol word by word, spoken by a client that does as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed

import livedb
from livedb.protocol.timestamps import encode_ts
from livedb.service.server import ServiceThread
from tests.service import shop
from tests.service.serving import ADMIN_KEY, Served, Wire, access_of, serving, token

FAR = 4e9


@pytest.fixture
def wire(served):
    with Wire(served) as client:
        yield client


def kinds(messages):
    return [message["type"] for message in messages]


REMOVE_OF_UNKNOWN = json.dumps(
    {
        "type": "ModifyQuerySet",
        "baseVersion": 0,
        "newVersion": 1,
        "modifications": [{"type": "Remove", "queryId": 5}],
    }
)


# -- violations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"no": "type"}',
        '{"type": "Nonsense"}',
        '{"type": "Connect", "sessionId": "again"}',
        '{"type": "Mutation", "requestId": -1, "udfPath": "tasks:add", "args": [{}]}',
        '{"type": "Mutation", "requestId": 0, "udfPath": "tasks:add", "args": [{}, {}]}',
        '{"type": "ModifyQuerySet", "baseVersion": 7, "newVersion": 8, "modifications": []}',
        '{"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 0, "modifications": []}',
        '{"type": "Authenticate", "baseVersion": 3, "tokenType": "None"}',
        REMOVE_OF_UNKNOWN,
        '{"type": "Event", "event": ' + "[" * 100_000 + "]" * 100_000 + "}",
        b"{}",
    ],
    ids=lambda text: str(text)[:60],
)
def test_a_broken_message_is_fatal_and_ends_the_connection_alone(served, wire, text):
    wire.socket.send(text)
    heard, code, _ = wire.closed()
    assert kinds(heard) == ["FatalError"]
    assert code in (1003, 1007, 1008)  # a wrong frame, no message, or one out of place
    with Wire(served) as other:
        other.add(0, "tasks")
        other.settle()
        assert other.values == {0: "the default function"}


def test_invalid_utf8_ends_the_connection(wire):
    wire.socket.send(b"\xff\xfe", text=True)
    _, code, _ = wire.closed()
    assert code == 1007


def test_a_message_beyond_the_bound_ends_the_connection(wire):
    with contextlib.suppress(ConnectionClosed):  # it may be told while it is still sending
        wire.socket.send("x" * ((17 << 20) + 1))
    heard, code, _ = wire.closed()
    # The close frame is lost where the network resets a connection that was still being sent to.
    assert (heard, code) in [([], 1009), ([], None)]


def test_unknown_fields_and_telemetry_are_ignored(wire):
    wire.say("Event", eventType="ClientConnect", event={"any": ["thing"]}, unknown=1)
    wire.add(0, "tasks", new_in_a_later_version=True)
    wire.settle()
    assert wire.values == {0: "the default function"}


def test_a_client_that_has_seen_a_later_commit_is_not_served(served):
    with Wire(served, maxObservedTimestamp=encode_ts(2**63 - 1)) as client:
        heard, code, reason = client.closed()
    assert (heard, code) == ([], 1011)
    assert reason.startswith("InternalServerError")


# -- transitions -----------------------------------------------------------------------------------


def test_an_empty_query_set_is_confirmed(wire):
    wire.modify()
    assert wire.hear()["modifications"] == []
    assert wire.version["querySet"] == 1


def test_neither_clock_skew_nor_server_time_is_null(wire):
    wire.modify()
    assert set(wire.hear()) == {"type", "startVersion", "endVersion", "modifications"}


@pytest.mark.parametrize(
    "path, args",
    [
        ("tasks:add", {"title": "one", "user": "ada"}),
        ("tasks:fail", {}),
        ("tasks:break", {}),
        ("tasks:nope", {}),
        ("tasks:add", {"title": 3}),
    ],
)
def test_a_response_comes_before_a_transition_that_follows_every_one(wire, path, args):
    wire.add(0, "tasks:titles", {"user": "ada"})
    wire.settle()
    wire.mutate(0, path, args)
    response = wire.hear()
    assert response["type"] == "MutationResponse"
    assert kinds(wire.transition()) == ["Transition"]
    assert (
        (response["ts"] is not None)
        == response["success"]
        == (path == "tasks:add" and "user" in args)
    )


def test_an_action_is_answered_and_followed_by_a_transition(wire):
    wire.act(0, "tasks:work", {"user": "ada"})
    heard = wire.hear_all(lambda message: message["type"] == "ActionResponse")
    assert "ts" not in heard[-1]
    assert heard[-1]["logLines"] == []  # pytest has put another standard output in place
    assert kinds(wire.transition())[-1] == "Transition"


def test_a_transition_never_shows_a_mutation_before_its_response(served):
    """Many mutations in a row, while the query that they touch is followed."""
    with Wire(served) as client:
        client.add(0, "tasks:list", {"user": "ada"})
        client.settle()
        for request_id in range(100):
            client.mutate(request_id, "tasks:grow", {"user": "ada"})
        answered = 0
        while client.values[0] == [] or client.values[0][0]["n"] < 100:
            message = client.hear()
            if message["type"] == "MutationResponse":
                answered = message["result"]
            shown = client.values[0][0]["n"] if client.values[0] else 0
            assert shown <= answered


def test_equal_results_and_failures_are_not_sent_again(wire):
    wire.add(0, "tasks:missing", {"user": "nobody"})
    wire.add(1, "tasks:crash")
    wire.settle()
    for request_id in range(3):
        wire.mutate(request_id, "tasks:add", {"title": "one", "user": "ada"})
        assert [each["modifications"] for each in wire.transition()[-1:]] == [[]]


def test_several_commits_may_come_as_one_step_and_the_last_is_the_truth(served, wire):
    wire.add(0, "tasks:titles", {"user": "ada"})
    wire.settle()
    add = served.db.function("tasks:add")
    for n in range(50):
        add(title=f"t{n}", user="ada")
    wire.hear_all(lambda _: len(wire.values[0]) == 50)


def test_a_query_added_and_removed_at_once_has_no_value(wire):
    wire.modify(
        {"type": "Add", "queryId": 0, "udfPath": "tasks", "args": [{}]},
        {"type": "Remove", "queryId": 0},
        {"type": "Add", "queryId": 1, "udfPath": "tasks", "args": [{}]},
    )
    wire.settle()
    assert wire.values == {1: "the default function"}
    wire.remove(1)
    assert wire.hear()["modifications"] == [{"type": "QueryRemoved", "queryId": 1}]


def test_a_function_defined_later_and_one_redefined_are_followed(served, wire):
    wire.add(0, "later:on")
    wire.settle()
    assert "Could not find public function for" in wire.values[0]
    served.db.query(name="later:on")(lambda ctx: 1)
    wire.hear_all(lambda _: wire.values[0] == 1)
    served.db.query(name="later:on")(lambda ctx: 2)
    wire.hear_all(lambda _: wire.values[0] == 2)


def test_functions_of_cells_are_reached_by_their_names(served, wire):
    @served.db.query
    def of_a_cell(ctx):
        return "cell"

    wire.add(0, "cells:of_a_cell")
    wire.add(1, "tasks", componentPath="")
    wire.add(2, "tasks", componentPath="part")
    wire.settle()
    assert wire.values[0] == "cell"
    assert wire.values[1] == "the default function"
    assert "no component 'part'" in wire.values[2]


@pytest.mark.parametrize(
    "path",
    ["_system/cli/tables", "_system/cli/updateEnvironmentVariables", "../tasks:list", "t:\0", ""],
)
def test_what_is_not_for_everybody_is_not_there(wire, path):
    wire.add(0, path)
    wire.settle()
    wire.mutate(0, path)
    answer = wire.hear_all(lambda message: message["type"] == "MutationResponse")[-1]
    for told in (wire.values[0], answer["result"]):
        assert "Could not find public function" in told


# -- exactly once ----------------------------------------------------------------------------------


def test_a_mutation_sent_again_in_its_session_is_answered_and_not_run(served):
    answers = []
    for _ in range(3):
        with Wire(served, session="mine") as client:
            client.mutate(0, "tasks:grow", {"user": "ada"})
            answers.append(client.hear())
    assert answers[0] == answers[1] == answers[2]
    with Wire(served, session="another") as client:
        client.mutate(0, "tasks:grow", {"user": "ada"})
        assert client.hear()["result"] == 2


def test_a_mutation_knows_the_request_that_it_is_of_also_when_it_is_sent_again(served):
    @served.db.mutation(name="tasks:request")
    def request(ctx):
        return ctx.meta.get_request_metadata()

    answers = []
    for request_id in (0, 0, 1):
        with Wire(served, session="mine") as client:
            client.mutate(request_id, "tasks:request")
            answers.append(client.hear()["result"])
    first, again, other = answers
    assert isinstance(first["requestId"], str)
    assert first == again != other
    assert first["scheduledFunctionId"] is None


def test_two_connections_of_one_session_race_and_one_wins(served):
    results = []

    def send():
        with Wire(served, session="mine") as client:
            for request_id in range(20):
                client.mutate(request_id, "tasks:grow", {"user": "ada"})
                answer = client.hear_all(lambda message: message["type"] == "MutationResponse")
                results.append((request_id, answer[-1]["result"]))

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted((n, n + 1) for n in range(20) for _ in threads)


def test_a_failed_mutation_may_run_again_and_an_id_means_one_call(served, wire):
    wire.mutate(0, "tasks:fail")
    assert wire.hear()["success"] is False
    wire.mutate(0, "tasks:grow", {"user": "ada"})
    answer = wire.hear_all(lambda message: message["type"] == "MutationResponse")[-1]
    assert answer["result"] == 1
    wire.mutate(0, "tasks:grow", {"user": "bob"})
    answer = wire.hear_all(lambda message: message["type"] == "MutationResponse")[-1]
    assert "was used before" in answer["result"]


# -- pages -----------------------------------------------------------------------------------------


def page(client, query_id):
    return [row["title"] for row in client.values[query_id]["page"]]


def test_a_page_keeps_its_end_on_a_connection_and_by_its_journal_on_the_next(served):
    add = served.db.function("tasks:add")
    for n in range(4):
        add(title=f"t{n}", user="ada")
    options = {"paginationOpts": {"numItems": 2, "cursor": None}}
    with Wire(served) as client:
        client.add(0, "tasks:page", options)
        [*_, transition] = client.transition()
        journal = transition["modifications"][0]["journal"]
        assert isinstance(journal, str)
        assert page(client, 0) == ["t0", "t1"]
        first = served.db["tasks"].with_index("by_creation_time").collect()[0]
        served.db["tasks"].delete(first["_id"])
        client.hear_all(lambda _: page(client, 0) == ["t1"])
    with Wire(served) as client:
        client.add(0, "tasks:page", options, journal=journal)
        client.add(1, "tasks:page", options)
        client.settle()
        assert page(client, 0) == ["t1"]
        assert page(client, 1) == ["t1", "t2"]


# -- identity --------------------------------------------------------------------------------------


def test_identity_and_query_set_are_confirmed_together_without_a_flash_of_nobody(served):
    with Wire(served) as client:
        client.authenticate("User", token("ada", FAR))
        client.add(0, "tasks:me")
        client.mutate(0, "tasks:whoami")
        heard = client.hear_all(lambda _: client.version["querySet"] == 1)
    shown = [
        each["value"]
        for message in heard
        if message["type"] == "Transition"
        for each in message["modifications"]
    ]
    assert shown == ["ada"]
    assert [each["result"] for each in heard if each["type"] == "MutationResponse"] in ([], ["ada"])


def test_a_bad_token_is_an_auth_error_with_the_version_before_it(wire):
    wire.authenticate("User", token("ada", FAR))
    wire.settle()
    wire.authenticate("User", "nonsense")
    heard, _, _ = wire.closed()
    assert heard[-1]["type"] == "AuthError"
    assert heard[-1]["baseVersion"] == 1
    assert heard[-1]["authUpdateAttempted"] is True


def test_a_mutation_after_the_identitys_time_does_not_run(served):
    soon_s = time.time() + 0.7
    with Wire(served) as client:
        client.authenticate("User", token("ada", soon_s))
        client.add(0, "tasks:me")
        client.settle()
        time.sleep(max(0.0, soon_s - time.time()) + 0.05)
        with contextlib.suppress(ConnectionClosed):  # it is over already
            client.mutate(0, "tasks:grow", {"user": "ada"})
        heard, _, _ = client.closed()
    assert kinds(heard) == ["AuthError"]
    assert heard[0]["authUpdateAttempted"] is False
    assert served.db.function("tasks:titles")(user="ada") == []


def test_a_client_that_says_nothing_is_put_out_when_its_identitys_time_is_over(served):
    with Wire(served) as client:
        client.authenticate("User", token("ada", time.time() + 0.7))
        client.settle()
        heard, code, _ = client.closed()
    assert kinds(heard) == ["AuthError"]
    assert code == 1008


def test_a_new_token_in_time_keeps_the_connection(served):
    with Wire(served) as client:
        client.authenticate("User", token("ada", time.time() + 1.5))
        client.settle()
        client.authenticate("User", token("ada", FAR))
        client.settle()
        time.sleep(1.7)
        client.add(0, "tasks:me")
        client.settle()
        assert client.values == {0: "ada"}


def test_what_an_admin_followed_is_not_shown_to_who_comes_after(served, wire):
    wire.authenticate("Admin", ADMIN_KEY)
    wire.add(0, "tasks:secret")
    wire.settle()
    assert wire.values == {0: "internal"}
    wire.authenticate("None")
    wire.settle()
    assert "Could not find public function" in wire.values[0]


def test_a_service_without_anonymous_callers_tells_nothing_before_a_token(memory):
    shop.define(memory)
    access = access_of(memory, anonymous=None)
    with (
        ServiceThread(memory.backend.workspace, access=access) as thread,
        Wire(Served(memory, thread)) as client,
    ):
        client.add(0, "tasks")
        client.mutate(0, "tasks:grow", {"user": "ada"})
        client.settle()
        assert "without a token" in client.values[0]
        client.authenticate("Admin", ADMIN_KEY)
        client.settle()
        assert client.values[0] == "the default function"
        client.authenticate("None")
        client.settle()
        assert "without a token" in client.values[0]
    assert memory.function("tasks:titles")(user="ada") == []


# -- size and speed of readers ---------------------------------------------------------------------


NATIVE = {"path": "/api/sync", "headers": {"Convex-Client": "python-0.8.1"}}


def test_only_npm_clients_that_know_chunks_get_them(served):
    args = {"kilobytes": 6000}
    with Wire(served) as client:
        client.add(0, "tasks:big", args)
        first = client.hear()
        parts = [first["chunk"]]
        for number in range(1, first["totalParts"]):
            part = client.hear()
            assert (part["partNumber"], part["transitionId"]) == (number, first["transitionId"])
            parts.append(part["chunk"])
        whole = json.loads("".join(parts))
        assert len(whole["modifications"][0]["value"]) == 6000
    for more in (NATIVE, {"path": "/api/1.27.0/sync"}):
        with Wire(served, **more) as client:
            client.add(0, "tasks:big", args)
            client.settle()
            assert len(client.values[0]) == 6000


def test_a_long_message_is_sent_in_fragments(served):
    with Wire(served, **NATIVE) as client:
        client.add(0, "tasks:big", {"kilobytes": 8190})
        sizes = [len(part) for part in client.socket.recv_streaming()]
    assert max(sizes) <= 4 << 20
    assert sum(sizes) > 8_190_000


def test_who_does_not_read_gets_few_large_steps_and_delays_nobody(served):
    """A reader that stalls while a result of 1 MB changes 60 times."""
    add = served.db.function("tasks:add")
    add(title="x" * 500_000, user="ada")
    with Wire(served, **NATIVE) as stalled, Wire(served, session="other") as other:
        stalled.add(0, "tasks:list", {"user": "ada"})
        stalled.settle()
        other.add(0, "tasks:titles", {"user": "ada"})
        other.settle()
        # The socket takes some; what is beyond waits in the service, two steps at most.
        for n in range(60):
            add(title=f"t{n}", user="ada")
            other.hear_all(lambda _, n=n: len(other.values[0]) == n + 2)
        heard = stalled.hear_all(lambda _: len(stalled.values[0]) == 61)
        assert len(heard) <= 60


def test_who_never_reads_is_dropped_and_may_come_again(served, monkeypatch):
    monkeypatch.setattr("livedb.service.websocket.UNSENT_BYTES_MAX", 4 << 20)
    with Wire(served, **NATIVE) as client:
        for request_id in range(30):
            client.act(request_id, "tasks:big_action", {"kilobytes": 1000})
        deadline = time.monotonic() + 20
        while not served.hub_is_idle() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert served.hub_is_idle()
    with Wire(served, **NATIVE) as client:
        client.add(0, "tasks")
        client.settle()


def test_a_message_that_a_native_client_cannot_take_fails_the_call_alone(memory, monkeypatch):
    monkeypatch.setattr("livedb.protocol.frames.MESSAGE_BYTES_MAX", 3_000_000)
    shop.define(memory)
    with serving(memory) as served, Wire(served, **NATIVE) as client:
        client.act(0, "tasks:big_action", {"kilobytes": 4000})
        answer = client.hear_all(lambda message: message["type"] == "ActionResponse")[-1]
        assert answer["success"] is False
        assert "ResultTooLarge" in answer["result"]
        client.modify(
            *(
                {"type": "Add", "queryId": n, "udfPath": "tasks:big", "args": [{"kilobytes": size}]}
                for n, size in enumerate((1200, 2000, 10))
            )
        )
        client.settle()
        assert len(client.values[0]) == 1200
        assert "ResultTooLarge" in client.values[1]
        assert len(client.values[2]) == 10


# -- ends ------------------------------------------------------------------------------------------


def test_a_service_that_goes_away_says_so_and_its_clients_may_come_again(memory):
    shop.define(memory)
    with serving(memory) as served:
        client = Wire(served)
        client.modify()
        client.settle()
    with client:
        _, code, _ = client.closed()
    assert code in {1001, 1012}


def test_a_workspace_that_is_closed_closes_its_connections(tmp_path):
    db = livedb.open(tmp_path / "work")
    shop.define(db)
    with serving(db) as served, Wire(served) as client:
        client.modify()
        client.settle()
        db.close()
        client.mutate(0, "tasks:grow", {"user": "ada"})
        _, code, _ = client.closed()
        assert code == 1001
