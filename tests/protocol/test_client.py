"""The client's end of a session: what is sent again, what is told, and when."""

from __future__ import annotations

import pytest
from msgspec import Raw

from livedb.protocol import client
from livedb.protocol.client import Answered, AuthFailed, ClientSession, Lost, Moved, Refused
from livedb.protocol.codecs import JSON
from livedb.protocol.messages import (
    Action,
    ActionResponse,
    Authenticate,
    AuthError,
    Connect,
    FatalError,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    ProtocolError,
    QueryUpdated,
    Transition,
    TransitionChunk,
    Version,
)
from livedb.protocol.timestamps import encode_ts

NOTHING = Raw(b"{}")


@pytest.fixture
def session():
    return ClientSession(JSON, session_id="s")


def version(ts, query_set=1, identity=0):
    return Version(query_set=query_set, identity=identity, ts=encode_ts(ts))


def transition(start, end, *changes):
    return Transition(start_version=start, end_version=end, modifications=list(changes))


def succeeded(request_id, ts):
    return MutationResponse(request_id=request_id, success=True, result=Raw(b"1"), ts=encode_ts(ts))


def failed(request_id):
    return MutationResponse(request_id=request_id, success=False, result=Raw(b'"no"'), ts=None)


def kinds(messages):
    return [type(each) for each in messages]


def test_a_connection_begins_with_all_that_is_unfinished(session):
    session.authenticate("User", "token")
    query_id, messages = session.follow("q", NOTHING)
    assert messages == []
    session.mutate("m", NOTHING)
    session.act("a", NOTHING)
    first = session.connected()
    assert kinds(first) == [Connect, Authenticate, ModifyQuerySet, Mutation, Action]
    assert first[0].connection_count == 0
    assert [each.query_id for each in first[2].modifications] == [query_id]


def test_a_mutation_is_sent_again_under_its_id_until_it_is_shown(session):
    session.connected()
    request_id, _ = session.mutate("m", NOTHING)
    assert session.receive(succeeded(request_id, 10)) == []
    session.disconnected("cut")
    again = session.connected()
    assert [each.request_id for each in again if isinstance(each, Mutation)] == [request_id]
    assert again[0].connection_count == 1
    assert again[0].last_close_reason == "cut"
    assert again[0].max_observed_timestamp == encode_ts(10)
    assert session.receive(succeeded(request_id, 10)) == []
    moved, answered = session.receive(transition(Version(), version(12)))
    assert isinstance(moved, Moved)
    assert isinstance(answered, Answered)
    session.disconnected("cut")
    assert kinds(session.connected()) == [Connect, ModifyQuerySet]


def test_a_failure_is_told_at_once(session):
    session.connected()
    request_id, _ = session.mutate("m", NOTHING)
    assert session.receive(failed(request_id)) == [Answered(request_id, failed(request_id))]


def test_an_action_that_was_sent_is_lost_unless_it_may_be_repeated(session):
    session.connected()
    once, _ = session.act("a", NOTHING)
    often, _ = session.act("a", NOTHING, is_repeatable=True)
    assert session.disconnected("cut") == [Lost(once)]
    later, _ = session.act("a", NOTHING)
    sent = [each.request_id for each in session.connected() if isinstance(each, Action)]
    assert sent == [often, later]


def test_a_call_that_is_forgotten_is_not_sent_again_and_says_whether_it_was(session):
    unsent, _ = session.mutate("m", NOTHING)
    assert session.forget(unsent) is False
    session.connected()
    sent, _ = session.mutate("m", NOTHING)
    assert session.forget(sent) is True
    assert session.forget(sent) is False
    assert session.receive(failed(sent)) == []
    session.disconnected("cut")
    assert kinds(session.connected()) == [Connect, ModifyQuerySet]


def test_a_query_is_followed_on_from_its_journal(session):
    session.connected()
    query_id, (message,) = session.follow("q", NOTHING)
    assert (message.base_version, message.new_version) == (1, 2)
    change = QueryUpdated(query_id=query_id, value=Raw(b"1"), journal="here")
    (moved,) = session.receive(transition(Version(), version(5, query_set=2), change))
    assert moved == Moved(5, None, (change,))
    session.disconnected("cut")
    assert session.connected()[1].modifications[0].journal == "here"
    assert kinds(session.unfollow(query_id)) == [ModifyQuerySet]
    assert session.unfollow(query_id) == []
    session.disconnected("cut")
    assert session.connected()[1].modifications == []


def test_a_change_of_what_is_followed_no_longer_is_dropped(session):
    session.connected()
    query_id, _ = session.follow("q", NOTHING)
    session.unfollow(query_id)
    change = QueryUpdated(query_id=query_id, value=Raw(b"1"))
    (moved,) = session.receive(transition(Version(), version(5, query_set=3), change))
    assert moved.changes == ()


@pytest.mark.parametrize(
    "message",
    [
        transition(version(3), version(4)),
        TransitionChunk(chunk="x", part_number=0, total_parts=2, transition_id="t"),
    ],
    ids=["a gap", "a chunk"],
)
def test_what_does_not_continue_ends_the_connection(session, message):
    session.connected()
    with pytest.raises(ProtocolError):
        session.receive(message)


def test_answers_that_nobody_waits_for_are_nothing(session):
    session.connected()
    answer = ActionResponse(request_id=9, success=True, result=Raw(b"1"))
    assert session.receive(answer) == []
    assert session.receive(succeeded(9, 10)) == []
    assert session.receive(Ping()) == []


def test_refusals_are_told(session):
    session.connected()
    error = AuthError(error="expired", base_version=0, auth_update_attempted=True)
    assert session.receive(error) == [AuthFailed("expired")]
    assert session.receive(FatalError(error="wrong")) == [Refused("wrong")]


def test_a_connection_may_be_held_until_something_was_done_first(session):
    session.follow("q", NOTHING)
    before, _ = session.mutate("m", NOTHING)
    assert kinds(session.connected(is_held=True)) == [Connect]
    meanwhile, messages = session.act("a", NOTHING)
    assert (messages, session.follow("r", NOTHING)[1], session.flow()) == ([], [], [])
    ahead, messages = session.act("first", NOTHING, is_ahead=True)
    assert [each.request_id for each in messages] == [ahead]
    query_set, *calls = session.resume()
    assert [each.query_id for each in query_set.modifications] == [0, 1]
    assert [each.request_id for each in calls] == [before, meanwhile]
    assert session.flow() == []


def test_what_was_asked_ahead_is_lost_with_its_connection(session):
    session.connected(is_held=True)
    ahead, _ = session.act("first", NOTHING, is_ahead=True)
    assert session.disconnected("cut") == [Lost(ahead)]
    assert kinds(session.connected()) == [Connect, ModifyQuerySet]


@pytest.mark.parametrize("bound", ["UNANSWERED_MAX", "UNANSWERED_BYTES_MAX"])
def test_no_more_is_sent_than_the_service_is_to_have_unanswered(session, monkeypatch, bound):
    size = len(bytes(NOTHING))
    monkeypatch.setattr(client, bound, 2 if bound == "UNANSWERED_MAX" else 2 * size)
    calls = [session.mutate("m", NOTHING)[0] for _ in range(3)]
    session.act("a", NOTHING)
    sent = session.connected()[2:]
    assert [each.request_id for each in sent] == calls[:2]
    session.forget(calls[2])
    session.receive(failed(calls[0]))
    assert kinds(session.flow()) == [Action]
    session.receive(succeeded(calls[1], 5))
    assert session.mutate("m", NOTHING)[1] != []
    assert session.mutate("m", NOTHING)[1] == []


def test_one_call_of_any_size_is_sent(session, monkeypatch):
    monkeypatch.setattr(client, "UNANSWERED_BYTES_MAX", 1)
    session.connected()
    assert len(session.mutate("m", NOTHING)[1]) == 1
    assert session.mutate("m", NOTHING)[1] == []
