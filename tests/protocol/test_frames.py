"""How messages are cut for each kind of client, and what is done when one cannot be delivered."""

from __future__ import annotations

import json

import pytest

from livedb.protocol import frames
from livedb.protocol.frames import ClientKind, frames_of
from livedb.protocol.messages import (
    ActionResponse,
    MutationResponse,
    QueryRemoved,
    QueryUpdated,
    Transition,
    Version,
    decode_client_message,
    encode_json,
)


def transition(*sizes):
    return Transition(
        start_version=Version(),
        end_version=Version(query_set=1),
        modifications=[
            QueryUpdated(query_id=n, value=encode_json("é" * size)) for n, size in enumerate(sizes)
        ],
    )


@pytest.mark.parametrize(
    "version, header, kind",
    [
        ("1.48.0", None, ClientKind.NPM_CHUNKS),
        ("1.28.0-alpha.3", None, ClientKind.NPM_CHUNKS),
        ("1.27.9", None, ClientKind.NPM),
        ("2.0", None, ClientKind.NPM_CHUNKS),
        (None, "python-0.8.1", ClientKind.NATIVE),
        (None, "rust-0.10.4", ClientKind.NATIVE),
        (None, None, ClientKind.NATIVE),
        ("nonsense", None, ClientKind.NATIVE),
        (None, "npm-1.30.0", ClientKind.NPM_CHUNKS),
    ],
)
def test_a_client_is_known_by_its_url_or_its_header(version, header, kind):
    assert ClientKind.of(version, header) is kind


def test_chunks_join_to_the_message_and_none_is_too_long(monkeypatch):
    monkeypatch.setattr(frames, "CHUNK_BYTES_MAX", 1000)
    whole = transition(2000, 10)
    chunks = [json.loads(text) for text in frames_of(whole, ClientKind.NPM_CHUNKS)]
    assert [each["partNumber"] for each in chunks] == list(range(chunks[0]["totalParts"]))
    assert all(len(each["chunk"].encode()) <= 1000 for each in chunks)
    [text] = frames_of(whole, ClientKind.NPM)
    assert "".join(each["chunk"] for each in chunks) == text


def test_of_a_message_too_long_for_a_native_client_the_largest_results_fail(monkeypatch):
    monkeypatch.setattr(frames, "MESSAGE_BYTES_MAX", 3000)
    removed = QueryRemoved(query_id=9)
    whole = transition(100, 1400, 20, 900)
    whole.modifications.append(removed)
    [text] = frames_of(whole, ClientKind.NATIVE)
    types = [each["type"] for each in json.loads(text)["modifications"]]
    assert types == ["QueryUpdated", "QueryFailed", "QueryUpdated", "QueryUpdated", "QueryRemoved"]
    [whole_text] = frames_of(whole, ClientKind.NPM_CHUNKS)
    assert "QueryFailed" not in whole_text


@pytest.mark.parametrize(
    "response",
    [
        ActionResponse(request_id=1, success=True, result=encode_json("x" * 4000)),
        MutationResponse(request_id=1, success=True, result=encode_json("x" * 4000), ts="AAAA"),
    ],
)
def test_a_response_too_long_for_a_native_client_is_a_failure(monkeypatch, response):
    monkeypatch.setattr(frames, "MESSAGE_BYTES_MAX", 3000)
    [text] = frames_of(response, ClientKind.NATIVE)
    answer = json.loads(text)
    assert (answer["success"], answer["requestId"]) == (False, 1)
    assert "ResultTooLarge" in answer["result"]
    assert answer.get("ts") is None


@pytest.mark.parametrize("event", ["null", "7", '{"any": ["thing"]}', '"text"'])
def test_any_telemetry_and_any_identity_to_act_as_is_read(event):
    read = decode_client_message(f'{{"type": "Event", "eventType": "x", "event": {event}}}')
    assert bytes(read.event) == event.encode()
    read = decode_client_message(
        '{"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": "k", '
        f'"impersonating": {event}}}'
    )
    assert bytes(read.impersonating) == event.encode()
