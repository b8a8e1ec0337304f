"""The server's end of the sync protocol, rule by rule; the words are those of `transcript`."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from livedb.protocol import server
from livedb.protocol.codecs import JSON, PACK
from livedb.protocol.effects import Close, Run, Send
from livedb.protocol.messages import Action, Add, Connect, ModifyQuerySet, Mutation, ProtocolError
from livedb.protocol.server import ServerConnection
from tests.protocol.transcript import ServerTranscript


def play(script: str) -> ServerTranscript:
    return ServerTranscript().play(script)


# A connection that follows query 7 and has its first value.
FOLLOWING = """
    connect
    queries 0>1 +7        -> compute +7 as nobody
    computed @5 7=a       -> transition 0.0@0>1.0@5 7=a
    sent
"""


# -- connecting ------------------------------------------------------------------------------------


def test_connect_has_no_answer():
    play("connect")


@pytest.mark.parametrize("first", ["queries 0>1", "mutation 0", "action 0", "auth 0 ann", "event"])
def test_whatever_comes_before_connect_ends_the_connection(first):
    play(f"{first} -> fatal OutOfOrder, close 1008")


def test_a_second_connect_ends_the_connection():
    play("""
        connect
        connect           -> fatal OutOfOrder, close 1008
    """)


def test_a_client_that_saw_a_later_commit_is_not_served_and_may_come_again():
    # No FatalError, which would stop npm clients for good.
    play("connect ts=101  -> close 1011")


def test_a_client_that_saw_the_newest_commit_is_served():
    play("""
        connect ts=100
        queries 0>1       -> compute as nobody
    """)


def test_a_timestamp_that_is_none_ends_the_connection():
    connection = ServerConnection(JSON, newest_ts=100, now_s=0.0)
    effects = connection.receive(Connect(session_id="s", max_observed_timestamp="seven"))
    assert isinstance(effects[-1], Close)


@pytest.mark.parametrize("client_ts", [float("nan"), float("inf"), -1e300, 1e300])
def test_the_clock_of_a_client_is_not_trusted(client_ts):
    connection = ServerConnection(PACK, newest_ts=100, now_s=0.0)
    assert connection.receive(Connect(session_id="s", client_ts=client_ts)) == []


def test_events_are_ignored():
    play("""
        connect
        event
    """)


# -- the query set ---------------------------------------------------------------------------------


def test_a_query_gets_its_value_in_a_transition_that_joins_the_last_one():
    play(f"""
        {FOLLOWING}
        queries 1>2 +8    -> compute +8 as nobody
        computed @6 8=b   -> transition 1.0@5>2.0@6 8=b
    """)


def test_an_empty_query_set_is_confirmed_too():
    play("""
        connect
        queries 0>1       -> compute as nobody
        computed @5       -> transition 0.0@0>1.0@5
    """)


def test_query_sets_may_be_pipelined_and_are_taken_in_one_step():
    play("""
        connect
        queries 0>1 +7    -> compute +7 as nobody
        queries 1>2 +8
        queries 2>3 +9
        computed @5 7=a   -> transition 0.0@0>1.0@5 7=a, compute +8 +9 as nobody
        computed @5 8=b   -> transition 1.0@5>3.0@5 8=b
    """)


@pytest.mark.parametrize("versions", ["0>2", "2>3", "1>1", "1>0"])
def test_a_query_set_that_does_not_continue_the_last_one_ends_the_connection(versions):
    play(f"""
        {FOLLOWING}
        queries {versions} -> fatal BaseVersionMismatch, close 1008
    """)


def test_a_version_counts_from_what_was_received_not_from_what_was_sent():
    play("""
        connect
        queries 0>1 +7    -> compute +7 as nobody
        queries 0>1 +8    -> fatal BaseVersionMismatch, close 1008
    """)


def test_versions_may_leave_out_numbers():
    play("""
        connect
        queries 0>5 +7    -> compute +7 as nobody
        computed @5 7=a   -> transition 0.0@0>5.0@5 7=a
    """)


def test_an_id_that_is_there_cannot_be_added():
    play(f"""
        {FOLLOWING}
        queries 1>2 +7    -> fatal DuplicateQuery, close 1008
    """)


def test_an_id_that_is_not_there_cannot_be_removed():
    play(f"""
        {FOLLOWING}
        queries 1>2 -8    -> fatal UnknownQuery, close 1008
    """)


def test_a_removed_query_is_confirmed():
    play(f"""
        {FOLLOWING}
        queries 1>2 -7    -> compute -7 as nobody
        computed @6       -> transition 1.0@5>2.0@6 -7
    """)


def test_a_query_added_and_removed_in_one_message_has_no_value():
    play("""
        connect
        queries 0>1 +7 -7 -> compute as nobody
        computed @5       -> transition 0.0@0>1.0@5
    """)


def test_a_query_removed_while_it_runs_has_no_value():
    play("""
        connect
        queries 0>1 +7    -> compute +7 as nobody
        queries 1>2 -7
        computed @5 7=a   -> transition 0.0@0>1.0@5, compute -7 as nobody
        computed @6       -> transition 1.0@5>2.0@6 -7
    """)


def test_an_id_taken_anew_in_one_message_gets_the_new_value_and_one_modification():
    play(f"""
        {FOLLOWING}
        queries 1>2 -7 +7 -> compute +7 -7 as nobody
        computed @6 7=a   -> transition 1.0@5>2.0@6 7=a
    """)


def test_an_id_taken_anew_while_its_query_runs_never_gets_the_old_value():
    play("""
        connect
        queries 0>1 +7    -> compute +7 as nobody
        queries 1>2 -7
        queries 2>3 +7
        computed @5 7=old -> transition 0.0@0>1.0@5, compute +7 -7 as nobody
        computed @5 7=new -> transition 1.0@5>3.0@5 7=new
    """)


def test_a_connection_follows_so_many_queries_and_not_more(monkeypatch):
    monkeypatch.setattr(server, "QUERIES_MAX", 2)
    play("""
        connect
        queries 0>1 +1 +2 -> compute +1 +2 as nobody
        queries 1>2 +3    -> fatal MalformedMessage, close 1007
    """)


def test_arguments_are_one_object():
    connection = ServerTranscript().play("connect").core
    add = Add(query_id=1, udf_path="q", args=[Raw(b"{}"), Raw(b"{}")])
    message = ModifyQuerySet(base_version=0, new_version=1, modifications=[add])
    assert isinstance(connection.receive(message)[-1], Close)


# -- transitions -----------------------------------------------------------------------------------


def test_only_what_differs_from_what_was_sent_is_sent():
    play("""
        connect
        queries 0>1 +7 +8 -> compute +7 +8 as nobody
        computed @5 7=a 8!boom -> transition 0.0@0>1.0@5 7=a 8!boom
        touched           -> compute as nobody
        computed @6 7=a 8=ok -> transition 1.0@5>1.0@6 8=ok
    """)


def test_a_touch_during_an_update_makes_another_one():
    play("""
        connect
        queries 0>1 +7    -> compute +7 as nobody
        touched
        touched
        computed @5 7=a   -> transition 0.0@0>1.0@5 7=a, compute as nobody
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b
    """)


def test_timestamps_never_go_back():
    play(f"""
        {FOLLOWING}
        touched           -> compute as nobody
        computed @3 7=b   -> transition 1.0@5>1.0@5 7=b
    """)


def test_at_most_two_transitions_are_unsent_and_then_one_large_step_follows():
    play("""
        connect
        queries 0>1 +7    -> compute +7 as nobody
        computed @5 7=a   -> transition 0.0@0>1.0@5 7=a
        touched           -> compute as nobody
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b
        touched
        queries 1>2 +8
        touched
        sent              -> compute +8 as nobody
        computed @9 7=e 8=x -> transition 1.0@6>2.0@9 7=e 8=x
        sent
    """)


def test_responses_do_not_wait_for_a_slow_reader():
    play("""
        connect
        queries 0>1 +7    -> compute +7 as nobody
        computed @5 7=a   -> transition 0.0@0>1.0@5 7=a
        touched           -> compute as nobody
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b
        mutation 0        -> run 0 as nobody
        done 0 @7         -> response 0 @7
        sent              -> compute as nobody
    """)


def test_an_update_that_shows_nothing_new_sends_nothing():
    play(f"""
        {FOLLOWING}
        touched           -> compute as nobody
        computed @6 7=a
        touched           -> compute as nobody
        computed @7 7=b   -> transition 1.0@5>1.0@7 7=b
    """)


def test_an_update_begun_before_a_commit_does_not_stand_for_the_one_that_shows_it():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        touched           -> compute as nobody
        done 0 @7         -> response 0 @7
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b, compute as nobody
        computed @7       -> transition 1.0@6>1.0@7
    """)


def test_an_update_begun_before_an_answer_does_not_stand_for_the_one_after_it():
    # livedb's client asks by an action how far the service is, and waits until it is shown that.
    play(f"""
        {FOLLOWING}
        action 0          -> run 0 as nobody
        touched           -> compute as nobody
        acted 0 @7        -> answer 0
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b, compute as nobody
        computed @7       -> transition 1.0@6>1.0@7
    """)


# -- mutations -------------------------------------------------------------------------------------


def test_a_response_goes_out_before_the_transition_that_follows_it():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        done 0 @6         -> response 0 @6, compute as nobody
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b
    """)


def test_a_transition_follows_a_failed_mutation_too():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        failed 0          -> response 0 failed, compute as nobody
        computed @5       -> transition 1.0@5>1.0@5
    """)


def test_a_transition_follows_a_response_when_no_query_is_followed():
    play("""
        connect
        mutation 0        -> run 0 as nobody
        done 0 @6         -> response 0 @6, compute as nobody
        computed @6       -> transition 0.0@0>0.0@6
    """)


def test_a_transition_that_may_show_an_unanswered_mutation_waits_for_its_response():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        touched           -> compute as nobody
        computed @6 7=b near
        touched
        done 0 @6         -> response 0 @6, transition 1.0@5>1.0@6 7=b, compute as nobody
        computed @6
    """)


def test_a_held_transition_goes_out_when_its_mutation_fails_after_all():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        touched           -> compute as nobody
        computed @6 7=b near
        failed 0          -> response 0 failed, transition 1.0@5>1.0@6 7=b
    """)


def test_a_held_transition_goes_out_before_the_next_mutation_starts():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        mutation 1
        touched           -> compute as nobody
        computed @6 7=b near
        done 0 @6         -> response 0 @6, transition 1.0@5>1.0@6 7=b, run 1 as nobody
    """)


def test_an_update_whose_mutation_was_answered_meanwhile_is_not_held():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        touched           -> compute as nobody
        done 0 @6         -> response 0 @6
        computed @6 7=b near -> transition 1.0@5>1.0@6 7=b
    """)


def test_a_mutation_that_does_not_commit_yet_delays_no_transition():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        touched           -> compute as nobody
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b
    """)


def test_mutations_run_one_at_a_time_in_order():
    play("""
        connect
        mutation 3        -> run 3 as nobody
        mutation 1
        mutation 2
        done 3 @6         -> response 3 @6, run 1 as nobody, compute as nobody
        failed 1          -> response 1 failed, run 2 as nobody
        done 2 @7         -> response 2 @7
        computed @7       -> transition 0.0@0>0.0@7
    """)


def test_a_request_that_comes_twice_is_run_twice_under_one_id():
    # Whoever runs it finds the commit of the first one by that id, and gives its result.
    connection = ServerTranscript().play("connect").core
    request = Mutation(request_id=4, udf_path="m")
    first = connection.receive(request)
    connection.receive(request)
    second = connection.mutation_done(4, server.Success(Raw(b"1"), (), 6))
    runs = [each for each in (*first, *second) if isinstance(each, Run)]
    assert [run.mutation_id for run in runs] == ["s:4", "s:4"]


def test_a_mutation_that_committed_nothing_is_shown_by_the_next_transition():
    play(f"""
        {FOLLOWING}
        mutation 0        -> run 0 as nobody
        done 0            -> response 0 @5, compute as nobody
        computed @5       -> transition 1.0@5>1.0@5
    """)


def test_mutations_do_not_wait_for_actions_nor_actions_for_anything():
    play(f"""
        {FOLLOWING}
        action 0          -> run 0 as nobody
        mutation 1        -> run 1 as nobody
        action 2          -> run 2 as nobody
        acted 2           -> answer 2, compute as nobody
        computed @5       -> transition 1.0@5>1.0@5
        act-failed 0      -> answer 0 failed, compute as nobody
    """)


def test_too_many_waiting_mutations_end_the_connection_resumably(monkeypatch):
    monkeypatch.setattr(server, "QUEUED_MUTATIONS_MAX", 2)
    play("""
        connect
        mutation 0        -> run 0 as nobody
        mutation 1
        mutation 2
        mutation 3        -> close 1013
    """)


def test_too_many_running_actions_end_the_connection_resumably(monkeypatch):
    monkeypatch.setattr(server, "RUNNING_ACTIONS_MAX", 2)
    play("""
        connect
        action 0          -> run 0 as nobody
        action 1          -> run 1 as nobody
        acted 0           -> answer 0, compute as nobody
        action 2          -> run 2 as nobody
        action 3          -> close 1013
    """)


def test_actions_of_one_id_are_counted_each(monkeypatch):
    monkeypatch.setattr(server, "RUNNING_ACTIONS_MAX", 2)
    play("""
        connect
        action 0          -> run 0 as nobody
        action 0          -> run 0 as nobody
        action 0          -> close 1013
    """)


def test_arguments_of_unanswered_calls_are_bounded_in_bytes(monkeypatch):
    call = Mutation(request_id=0, udf_path="f", args=[Raw(b'{"a":1}')])
    monkeypatch.setattr(server, "UNANSWERED_BYTES_MAX", 14)
    connection = ServerTranscript().play("connect").core
    for number in range(2):
        assert connection.receive(replace(call, request_id=number)) is not None
    connection.mutation_done(0, server.Success(Raw(b"1")))
    action = Action(request_id=2, udf_path="f", args=call.args)
    assert isinstance(connection.receive(action)[0], Run)
    [closed] = connection.receive(replace(call, request_id=3))
    assert (closed.code, "MiB wait" in closed.reason) == (1013, True)


def test_one_call_may_have_more_bytes_than_all_others_together(monkeypatch):
    monkeypatch.setattr(server, "UNANSWERED_BYTES_MAX", 1)
    connection = ServerTranscript().play("connect").core
    [run] = connection.receive(Action(request_id=0, udf_path="f", args=[Raw(b'{"a":1}')]))
    assert isinstance(run, Run)


def test_a_failure_that_carries_data_carries_it_even_when_it_is_null():
    connection = ServerTranscript().play("connect\n mutation 0 -> run 0 as nobody").core
    effects = connection.mutation_done(0, server.Failure("no", Raw(b"null")))
    assert isinstance(effects[0], Send)
    assert b'"errorData":null' in str(JSON.encode(effects[0].message)).encode()


# -- identity --------------------------------------------------------------------------------------


def test_a_new_identity_is_confirmed_by_the_next_transition_without_queries_too():
    play("""
        connect
        auth 0 ann        -> verify ann
        verified ann      -> compute as ann anew
        computed @5       -> transition 0.0@0>0.1@5
    """)


def test_identity_comes_before_results_after_a_reconnect():
    # No flash of what an anonymous caller would see.
    play("""
        connect
        auth 0 ann        -> verify ann
        queries 0>1 +7
        mutation 0
        action 1
        verified ann      -> run 0 as ann, run 1 as ann, compute +7 as ann anew
        computed @5 7=a   -> transition 0.0@0>1.1@5 7=a
    """)


def test_a_transition_does_not_carry_an_identity_that_is_not_verified():
    play(f"""
        {FOLLOWING}
        touched           -> compute as nobody
        auth 0 ann        -> verify ann
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b
        verified ann      -> compute as ann anew
        computed @6 7=c   -> transition 1.0@6>1.1@6 7=c
    """)


def test_an_update_computed_for_the_old_identity_does_not_confirm_the_new_one():
    play(f"""
        {FOLLOWING}
        touched           -> compute as nobody
        auth 0 ann        -> verify ann
        verified ann
        computed @6 7=b   -> transition 1.0@5>1.0@6 7=b, compute as ann anew
        computed @6 7=c   -> transition 1.0@6>1.1@6 7=c
    """)


def test_tokens_are_verified_in_order_and_each_raises_the_version():
    play("""
        connect
        auth 0 ann        -> verify ann
        auth 1 ben        ->
        auth 2 nobody     ->
        verified ann      -> verify ben
        verified ben      -> verify nobody
        verified nobody   -> compute as nobody anew
        computed @5       -> transition 0.0@0>0.3@5
    """)


def test_a_call_runs_as_whom_it_was_sent_whatever_comes_after():
    play("""
        connect
        auth 0 ann        -> verify ann
        mutation 0
        action 1
        auth 1 nobody
        mutation 2
        action 3
        verified ann      -> run 0 as ann, run 1 as ann, verify nobody
        done 0 @6         -> response 0 @6
        verified nobody   -> run 2 as nobody, run 3 as nobody, compute as nobody anew
    """)


def test_a_call_that_was_sent_before_a_token_does_not_wait_for_it():
    play("""
        connect
        mutation 0        -> run 0 as nobody
        mutation 1
        auth 0 ann        -> verify ann
        mutation 2
        done 0 @6         -> response 0 @6, run 1 as nobody
        done 1 @7         -> response 1 @7
        verified ann      -> run 2 as ann, compute as ann anew
    """)


@pytest.mark.parametrize("base", [1, 2])
def test_an_identity_that_does_not_continue_the_last_one_ends_the_connection(base):
    play(f"""
        connect
        auth {base} ann   -> fatal BaseVersionMismatch, close 1008
    """)


def test_the_identity_version_counts_tokens_that_are_being_verified():
    play("""
        connect
        auth 0 ann        -> verify ann
        auth 0 ben        -> fatal BaseVersionMismatch, close 1008
    """)


def test_a_refused_token_names_the_version_before_it():
    play(f"""
        {FOLLOWING}
        auth 0 ann        -> verify ann
        refused           -> auth-error 0 update, close 1008
    """)


def test_a_refused_token_behind_a_good_one_names_the_good_one():
    # npm takes the error as its newest token's when the version after it is what it has sent.
    play("""
        connect
        auth 0 ann        -> verify ann
        auth 1 ben
        verified ann      -> verify ben
        refused           -> auth-error 1 update, close 1008
    """)


def test_an_expired_identity_ends_the_connection_and_its_mutation_is_not_answered():
    play("""
        connect
        auth 0 ann        -> verify ann
        verified ann      -> compute as ann anew
        mutation 0        -> run 0 as ann
        computed @5       -> transition 0.0@0>0.1@5
        expired           -> auth-error 1, close 1008
        done 0 @6
        computed @6
        verified ben
        refused
    """)


# -- silence and the end ---------------------------------------------------------------------------


def test_a_ping_follows_fifteen_seconds_of_silence():
    play("""
        connect
        tick 14
        tick 15           -> ping
        tick 20
        sent
        tick 34
        tick 35           -> ping
    """)


def test_any_message_ends_a_silence():
    play("""
        connect
        tick 10
        mutation 0        -> run 0 as nobody
        done 0 @6         -> response 0 @6, compute as nobody
        sent
        tick 24
        tick 25           -> ping
    """)


def test_pings_do_not_pile_up_before_a_reader_who_is_stuck():
    play("""
        connect
        queries 0>1 +7    -> compute +7 as nobody
        computed @5 7=a   -> transition 0.0@0>1.0@5 7=a
        tick 15
        tick 300
    """)


def test_nothing_comes_of_anything_after_the_end():
    play("""
        connect
        mutation 0        -> run 0 as nobody
        action 1          -> run 1 as nobody
        queries 0>1 +7    -> compute +7 as nobody
        gone
        done 0 @5
        acted 1
        computed @5 7=a
        touched
        tick 99
        queries 1>2
        mutation 2
    """)


def test_a_violation_after_the_end_is_not_told():
    connection = play("connect \n gone").core
    assert connection.violated(ProtocolError("again")) == []


@pytest.mark.parametrize(
    "code, close",
    [("MalformedMessage", 1007), ("UnsupportedFrame", 1003), ("OutOfOrder", 1008)],
)
def test_a_violation_is_told_and_closes_with_its_code(code: str, close: int):
    effects: list[Any] = play("connect").core.violated(ProtocolError("no", code=code))
    assert effects[0].message.error.startswith(code)
    assert effects[1].code == close


def test_an_action_without_arguments_has_none():
    connection = play("connect").core
    (run,) = connection.receive(Action(request_id=0, udf_path="a"))
    assert isinstance(run, Run)
    assert JSON.read(run.args) == {}
