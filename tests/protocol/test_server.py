"""The server's end of a connection, as a list of inputs and effects."""

from __future__ import annotations

from livedb.protocol.codecs import JSON
from livedb.protocol.effects import Compute, QueryState, Run, Send, Success
from livedb.protocol.messages import (
    Add,
    Connect,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    Raw,
    Transition,
    encode_json,
)
from livedb.protocol.server import ServerConnection


def connected():
    connection = ServerConnection(JSON, newest_ts=1, now_s=0.0)
    assert connection.receive(Connect(session_id="s")) == []
    return connection


def follow(connection, query_id=0):
    """Follow one query, whose value is 1; the transition is sent."""
    add = Add(query_id=query_id, udf_path="f", args=[Raw(b"{}")])
    message = ModifyQuerySet(base_version=0, new_version=1, modifications=[add])
    [order] = connection.receive(message)
    assert isinstance(order, Compute)
    [effect] = connection.computed(2, {query_id: state(1)}, is_own_commit_near=False)
    assert connection.sent(effect.message, now_s=0.0) == []


def state(value):
    return QueryState(value, Success(encode_json(value)))


def test_a_touch_that_changes_nothing_shown_sends_nothing():
    connection = connected()
    follow(connection)
    [order] = connection.touched()
    assert isinstance(order, Compute)
    assert connection.computed(3, {0: state(1)}, is_own_commit_near=False) == []
    assert connection.tick(now_s=20.0) != []  # nothing is under way


def test_a_touch_meanwhile_is_looked_at_afterwards():
    connection = connected()
    follow(connection)
    connection.touched()
    assert connection.touched() == []
    [order] = connection.computed(3, {0: state(1)}, is_own_commit_near=False)
    assert isinstance(order, Compute)
    [effect] = connection.computed(4, {0: state(2)}, is_own_commit_near=False)
    assert isinstance(effect.message, Transition)


def test_after_a_response_comes_a_transition_although_nothing_changed():
    connection = connected()
    follow(connection)
    mutation = Mutation(request_id=0, udf_path="f", args=[Raw(b"{}")])
    [run] = connection.receive(mutation)
    assert isinstance(run, Run)
    connection.touched()
    outcome = Success(encode_json(None), ts=3)
    [response] = connection.mutation_done(0, outcome)
    assert isinstance(response, Send)
    assert isinstance(response.message, MutationResponse)
    # What was being computed is older than the commit, and does not count as what follows.
    [again] = connection.computed(2, {0: state(1)}, is_own_commit_near=False)
    assert isinstance(again, Compute)
    [effect] = connection.computed(3, {}, is_own_commit_near=False)
    assert isinstance(effect.message, Transition)
    assert effect.message.modifications == []


def test_a_transition_that_waited_for_the_response_is_the_one_that_follows_it():
    connection = connected()
    follow(connection)
    connection.receive(Mutation(request_id=0, udf_path="f", args=[Raw(b"{}")]))
    connection.touched()
    assert connection.computed(3, {0: state(2)}, is_own_commit_near=True) == []
    effects = connection.mutation_done(0, Success(encode_json(None), ts=3))
    assert [type(effect.message) for effect in effects] == [MutationResponse, Transition]


def test_a_transition_that_waited_and_is_older_than_the_commit_is_followed_by_another():
    connection = connected()
    follow(connection)
    connection.receive(Mutation(request_id=0, udf_path="f", args=[Raw(b"{}")]))
    connection.touched()
    assert connection.computed(3, {0: state(2)}, is_own_commit_near=True) == []
    effects = connection.mutation_done(0, Success(encode_json(None), ts=4))
    assert [type(effect) for effect in effects] == [Send, Send, Compute]


def test_what_was_computed_meanwhile_and_holds_the_commit_is_what_follows_the_response():
    connection = connected()
    follow(connection)
    connection.receive(Mutation(request_id=0, udf_path="f", args=[Raw(b"{}")]))
    connection.touched()
    [response] = connection.mutation_done(0, Success(encode_json(None), ts=3))
    assert isinstance(response.message, MutationResponse)
    effects = connection.computed(3, {0: state(2)}, is_own_commit_near=False)
    assert [type(effect) for effect in effects] == [Send]


def test_a_ping_follows_a_silence_and_not_while_something_waits_to_be_sent():
    connection = connected()
    follow(connection)
    assert connection.tick(now_s=14.9) == []
    [ping] = connection.tick(now_s=15.0)
    assert isinstance(ping.message, Ping)
    connection.sent(ping.message, now_s=15.0)
    assert connection.tick(now_s=29.0) == []
    connection.touched()
    [transition] = connection.computed(3, {0: state(2)}, is_own_commit_near=False)
    assert connection.tick(now_s=40.0) == []
    connection.sent(transition.message, now_s=41.0)
    assert connection.tick(now_s=55.0) == []
    assert len(connection.tick(now_s=56.0)) == 1


def test_two_transitions_wait_at_most_and_what_came_meanwhile_is_one_step():
    connection = connected()
    follow(connection)
    waiting = []
    for value in (2, 3):
        connection.touched()
        [effect] = connection.computed(value, {0: state(value)}, is_own_commit_near=False)
        waiting.append(effect)
    for _ in range(5):
        assert connection.touched() == []
    [order] = connection.sent(waiting[0].message, now_s=1.0)
    assert isinstance(order, Compute)
    [effect] = connection.computed(9, {0: state(9)}, is_own_commit_near=False)
    assert effect.message.start_version == waiting[1].message.end_version
