"""The client's end of the sync protocol, rule by rule; the words are those of `transcript`."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from livedb.errors import LimitError
from livedb.protocol.client import ClientSession
from livedb.protocol.codecs import JSON
from livedb.protocol.messages import (
    CLIENT_MESSAGE_BYTES_MAX,
    MutationResponse,
    ProtocolError,
    Transition,
    Version,
)
from tests.protocol.transcript import ClientTranscript, server_message


@pytest.fixture
def session():
    return ClientSession(JSON, session_id="s")


def play(script: str) -> ClientTranscript:
    return ClientTranscript().play(script)


# A session that is up, follows query 0 and has its first value.
FOLLOWING = """
    follow
    up                -> connect 0 InitialConnect, queries 0>1 +0
    transition 0.0@0>1.0@5 0=a -> at 5 0=a
"""


# -- connecting ------------------------------------------------------------------------------------


def test_connect_comes_first_then_the_identity_then_queries_then_calls():
    play("""
        mutate
        follow
        auth ann
        act
        up -> connect 0 InitialConnect, auth 0 ann, queries 0>1 +0, mutation 0, action 1
    """)


def test_the_query_set_is_sent_after_each_connect_even_when_it_is_empty():
    play("""
        up                -> connect 0 InitialConnect, queries 0>1
        down
        up                -> connect 1 cut, queries 0>1
    """)


def test_a_reconnect_tells_the_newest_timestamp_that_was_seen():
    play(f"""
        {FOLLOWING}
        mutate            -> mutation 0
        response 0 @9
        down
        up                -> connect 1 cut ts=9, queries 0>1 +0, mutation 0
    """)


def test_a_reconnect_hands_back_the_journal_of_each_query():
    play("""
        follow
        up                -> connect 0 InitialConnect, queries 0>1 +0
        transition 0.0@0>1.0@5 0=a/page -> at 5 0=a
        down
        up                -> connect 1 cut ts=5, queries 0>1 +0/page
    """)


def test_versions_start_anew_with_each_connection():
    play(f"""
        {FOLLOWING}
        auth ann          -> auth 0 ann
        auth ben          -> auth 1 ben
        follow            -> queries 1>2 +1
        down
        up                -> connect 1 cut ts=5, auth 0 ben, queries 0>1 +0 +1
        unfollow 0        -> queries 1>2 -0
        auth cid          -> auth 1 cid
        transition 0.0@0>1.0@5 1=b -> at 5 1=b
    """)


def test_a_query_left_while_there_is_no_connection_is_not_followed_again():
    play(f"""
        {FOLLOWING}
        down
        unfollow 0
        unfollow 0
        up                -> connect 1 cut ts=5, queries 0>1
    """)


def test_a_connection_that_is_gone_twice_is_gone():
    play(f"""
        {FOLLOWING}
        down
        down
    """)


# -- calls -----------------------------------------------------------------------------------------


def test_a_mutation_is_told_with_the_transition_that_shows_it():
    play(f"""
        {FOLLOWING}
        mutate            -> mutation 0
        response 0 @9
        transition 1.0@5>1.0@8 0=b -> at 8 0=b
        transition 1.0@8>1.0@9 0=c -> at 9 0=c, answered 0
    """)


def test_mutations_shown_by_one_transition_are_told_in_their_order():
    play(f"""
        {FOLLOWING}
        mutate            -> mutation 0
        mutate            -> mutation 1
        response 0 @8
        response 1 @9
        transition 1.0@5>1.0@9 0=c -> at 9 0=c, answered 0, answered 1
    """)


def test_a_failed_mutation_and_an_action_are_told_at_once():
    play(f"""
        {FOLLOWING}
        mutate            -> mutation 0
        act               -> action 1
        response 0 failed -> answered 0 failed
        answer 1          -> answered 1
    """)


def test_unanswered_mutations_are_sent_again_in_order_under_their_ids():
    play(f"""
        {FOLLOWING}
        mutate            -> mutation 0
        mutate            -> mutation 1
        mutate            -> mutation 2
        response 1 failed -> answered 1 failed
        down
        mutate
        up                -> connect 1 cut ts=5, queries 0>1 +0, mutation 0, mutation 2, mutation 3
    """)


def test_a_mutation_answered_and_not_shown_is_sent_again_and_told_once():
    play(f"""
        {FOLLOWING}
        mutate            -> mutation 0
        response 0 @9
        down
        up                -> connect 1 cut ts=9, queries 0>1 +0, mutation 0
        transition 0.0@0>1.0@9 0=c -> at 9 0=c
        response 0 @9
        transition 1.0@9>1.0@9 -> at 9, answered 0
        response 0 @9
        transition 1.0@9>1.0@9 -> at 9
    """)


def test_an_action_that_was_sent_is_lost_with_its_connection():
    play(f"""
        {FOLLOWING}
        act               -> action 0
        act again         -> action 1
        down              -> lost 0
        act
        up                -> connect 1 cut ts=5, queries 0>1 +0, action 1, action 2
        down              -> lost 2
    """)


def test_a_call_that_nobody_waits_for_is_not_sent_again_and_its_answer_is_not_told():
    play(f"""
        {FOLLOWING}
        mutate            -> mutation 0
        forget 0
        response 0 @9
        down
        up                -> connect 1 cut ts=5, queries 0>1 +0
    """)


def test_an_answer_to_nothing_is_ignored():
    play(f"""
        {FOLLOWING}
        response 7 failed
        answer 8
    """)


def test_what_comes_before_the_queries_of_a_new_connection_shows_nothing():
    # Values held from the connection before are not at its timestamp.
    play("""
        follow
        auth ann
        up                -> connect 0 InitialConnect, auth 0 ann, queries 0>1 +0
        transition 0.0@0>1.1@5 0=a -> at 5 0=a
        mutate            -> mutation 0
        down
        up                -> connect 1 cut ts=5, auth 0 ann, queries 0>1 +0, mutation 0
        response 0 @9
        transition 0.0@0>0.1@9
        transition 0.1@9>1.1@9 0=b -> at 9 0=b, answered 0
    """)


# -- what arrives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["0.0@0", "1.0@4", "1.1@5", "2.0@5"])
def test_a_transition_that_does_not_join_the_last_one_is_refused(start):
    play(f"""
        {FOLLOWING}
        transition {start}>3.3@9 0=b -> refused: OutOfOrder
    """)


def test_a_transition_without_a_connection_is_refused():
    play(f"""
        {FOLLOWING}
        down
        transition 1.0@5>1.0@9 0=b -> refused: OutOfOrder
    """)


def test_what_comes_of_a_query_that_was_left_is_not_told():
    play(f"""
        {FOLLOWING}
        unfollow 0        -> queries 1>2 -0
        transition 1.0@5>1.0@8 0=b -> at 8
        transition 1.0@8>2.0@8 -0  -> at 8
    """)


def test_a_failed_query_is_told():
    play(f"""
        {FOLLOWING}
        transition 1.0@5>1.0@8 0!boom -> at 8 0!boom
    """)


def test_refusals_and_pings():
    play("""
        up                -> connect 0 InitialConnect, queries 0>1
        ping
        auth-error        -> auth failed
        fatal             -> refused for good
    """)


def test_a_timestamp_that_is_none_is_refused_as_a_violation():
    session = ClientSession(JSON, session_id="s")
    session.mutate("m", Raw(b"{}"))
    session.connected()
    response = MutationResponse(request_id=0, success=True, result=Raw(b"1"), ts="soon")
    with pytest.raises(ProtocolError):
        session.receive(response)
    transition = server_message("transition", "0.0@0>1.0@5")
    assert isinstance(transition, Transition)
    broken = msgspec.structs.replace(transition, end_version=Version(query_set=1, ts="soon"))
    with pytest.raises(ProtocolError):
        session.receive(broken)
    assert session.receive(transition), "a refused message leaves everything as it was"


# -- what no message has room for ------------------------------------------------------------------

TOO_MUCH = Raw(b'"' + b"y" * (17 << 20) + b'"')


def test_a_call_that_no_message_has_room_for_is_refused_and_not_sent(session):
    session.connected()
    for ask in (session.mutate, session.act):
        with pytest.raises(LimitError, match="nothing was sent"):
            ask("m", TOO_MUCH)
    request_id, messages = session.mutate("m", Raw(b"{}"))
    assert (request_id, [each.request_id for each in messages]) == (0, [0])


def test_what_is_followed_has_room_in_one_message_on_the_next_connection(session):
    session.connected()
    part = Raw(b'"' + b"y" * (3 << 20) + b'"')
    ids = [session.follow("q", part)[0] for _ in range(2)]
    with pytest.raises(LimitError, match="Follow less"):
        session.follow("q", part)
    session.disconnected("gone")
    _, adds = session.connected()
    assert len(JSON.encode(adds)) < CLIENT_MESSAGE_BYTES_MAX
    session.unfollow(ids[0])
    session.follow("q", part)
