"""Hostile clients of a real service: each is refused by the right code, and it goes on serving."""

from __future__ import annotations

import logging
import os
import pickle
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import livedb
from livedb.protocol.codecs import JSON, PACK, Frame
from livedb.protocol.messages import Add, FatalError, ModifyQuerySet, Mutation, MutationResponse
from tests.faults.hostile import Hostile, client_messages
from tests.faults.served import Wire, define, serving

CODECS = {"json": JSON, "pack": PACK}

CLOSES = {1003, 1007, 1008, 1011}
"""Of what is no message, of broken rules, and of a client that saw later commits."""


@pytest.fixture
def service(caplog):
    """The notes, served; what no test may leave is an error in the log."""
    with caplog.at_level(logging.WARNING), livedb.open() as db:
        define(db)
        with serving(db) as served:
            yield served
    assert [each.getMessage() for each in caplog.records] == []


def is_served(port: int, codec=JSON) -> bool:
    with Wire(port, codec, session=f"probe{Random().random()}") as wire:
        wire.follow("cells:notes" if codec is JSON else "notes")
        path = "cells:note" if codec is JSON else "note"
        return wire.mutate(0, path, {"text": "x", "token": "probe"}).success


class Attacker:
    """Sends frames; connects anew whenever the service has had enough."""

    def __init__(self, port: int, codec) -> None:
        self._port, self._codec = port, codec
        self._wire: Wire | None = None
        self._probes = 0
        self.closes: list[int | None] = []

    def attack(self, frame: Frame) -> None:
        """Send a frame; the connection closes properly, or answers an honest request."""
        wire = self._wire
        if wire is None:
            wire = self._wire = Wire(self._port, self._codec)
        self._probes += 1
        probe = 1_000_000 + self._probes
        path = "cells:note" if self._codec is JSON else "note"
        try:
            wire.say_frame(frame)
            wire.send_mutation(probe, path, {"text": "x", "token": "p"})
            while True:
                message = wire.hear()
                if isinstance(message, MutationResponse) and message.request_id == probe:
                    return
        except ConnectionClosed:
            self.closes.append(wire.close_code)
            wire.close()
            self._wire = None

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()


def attack(service, kind: str, seed: int, count: int) -> list[int | None]:
    codec = CODECS[kind]
    hostile = Hostile(codec, seed, client_messages(codec))
    attacker = Attacker(service.port, codec)
    for at in range(count):
        frame = hostile.frame()
        try:
            attacker.attack(frame)
        except TimeoutError as error:
            raise AssertionError(f"no answer to frame {at}: {frame[:300]!r}") from error
    attacker.close()
    return attacker.closes


@pytest.mark.parametrize("kind", CODECS)
def test_hostile_frames_are_refused_and_others_are_served(kind, service):
    closes = attack(service, kind, 1, 150)
    assert set(closes) <= CLOSES
    assert len(closes) > 50
    assert is_served(service.port, CODECS[kind])


@pytest.mark.oracle
@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("seed", [11, 12])
def test_thousands_of_hostile_frames_are_refused_and_others_are_served(kind, seed, service):
    assert set(attack(service, kind, seed, 2_000)) <= CLOSES
    assert is_served(service.port, CODECS[kind])


def test_text_that_is_no_utf_8_closes_with_its_code(service):
    wire = Wire(service.port)
    wire.socket.send(b'{"type":"Event","eventType":"\xff"}', text=True)
    wire.hear_all()
    assert wire.close_code == 1007
    assert is_served(service.port)


@pytest.mark.parametrize("kind", CODECS)
def test_the_wrong_kind_of_frame_is_told_and_closes_with_its_code(kind, service):
    wire = Wire(service.port, CODECS[kind])
    wire.say_frame(b"{}" if kind == "json" else "{}")
    (message,) = wire.hear_all()
    assert isinstance(message, FatalError)
    assert message.error.startswith("UnsupportedFrame")
    assert wire.close_code == 1003


def test_a_message_that_is_too_large_closes_with_its_code(service):
    wire = Wire(service.port)
    with suppress(ConnectionClosed):
        wire.say_frame("x" * (18 << 20))
    wire.hear_all()
    assert wire.close_code in (1009, 1006), "or the reset, which may overtake it"
    assert is_served(service.port)


def test_fragments_without_end_close_with_their_code(service):
    wire = Wire(service.port)

    def endless():
        while True:
            yield "x" * (1 << 20)

    with pytest.raises(ConnectionClosed):
        wire.socket.send(endless())
    assert wire.close_code in (1009, 1006), "or the reset, which may overtake it"
    assert is_served(service.port)


# -- what a request may do inside the service ------------------------------------------------------


@pytest.mark.parametrize("leaving", [SystemExit, GeneratorExit])
def test_a_function_that_tries_to_leave_fails_and_the_service_stays(leaving, caplog):
    with livedb.open() as db:
        define(db)

        @db.mutation
        def leave(ctx: livedb.MutationContext) -> None:
            raise leaving

        @db.query
        def left(ctx: livedb.QueryContext) -> None:
            raise leaving

        with serving(db) as service:
            with Wire(service.port) as wire:
                first = wire.follow("cells:left")
                assert [type(each).__name__ for each in first.modifications] == ["QueryFailed"]
                assert not wire.mutate(0, "cells:leave", {}).success
                assert wire.mutate(1, "cells:note", {}).success
            assert is_served(service.port)


def test_a_verb_that_commits_nothing_may_be_sent_as_a_mutation(service):
    with Wire(service.port, PACK) as wire:
        wire.say(Mutation(request_id=0, udf_path="sync", component_path="livedb"))
        assert isinstance(wire.hear(), MutationResponse)
        assert wire.mutate(1, "note", {}).success


# -- the list of reliability 2.4 -------------------------------------------------------------------


def test_a_request_that_comes_twice_has_its_first_result_and_no_second_effect(service):
    with Wire(service.port, session="once") as wire:
        first = wire.mutate(0, "cells:note", {"text": "four", "token": "t0"})
        again = wire.mutate(0, "cells:note", {"text": "four", "token": "t0"})
        assert (first.success, bytes(first.result), first.ts) == (
            again.success, bytes(again.result), again.ts,
        )  # fmt: skip
        other = wire.mutate(0, "cells:note", {"text": "other", "token": "t1"})
        assert not other.success
    with Wire(service.port, session="later") as wire:
        (change,) = wire.follow("cells:tokens").modifications
        assert JSON.read(change.value) == ["t0"]


def test_a_request_of_another_session_is_another_request(service):
    for session in ("one", "two"):
        with Wire(service.port, session=session) as wire:
            assert wire.mutate(0, "cells:note", {"token": f"t-{session}"}).success
    with Wire(service.port) as wire:
        (change,) = wire.follow("cells:tokens").modifications
        assert JSON.read(change.value) == ["t-one", "t-two"]


def test_too_many_queries_in_one_message_are_refused(service):
    adds = [Add(query_id=number, udf_path="cells:notes") for number in range(10_001)]
    wire = Wire(service.port)
    wire.say(ModifyQuerySet(base_version=0, new_version=1, modifications=adds))
    (message,) = wire.hear_all()
    assert isinstance(message, FatalError)
    assert wire.close_code == 1007
    assert is_served(service.port)


def test_compression_is_not_offered_so_no_frame_can_grow(service):
    with connect(f"ws://127.0.0.1:{service.port}/api/sync", compression="deflate") as socket:
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


@pytest.mark.parametrize("path", ["../../x", "_system/cli/tables", "a\0b", "", ":", "livedb:drop"])
def test_what_is_no_public_function_is_not_found(path, service):
    with Wire(service.port) as wire:
        answer = wire.mutate(0, path, {})
        assert not answer.success
        assert b"Could not find public function" in bytes(answer.result)


class Unpickled:
    """Ends the process of whoever loads it."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)


PICKLE = pickle.dumps(Unpickled())


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -0.0, 2.0**53 + 1, "\0", {"a b": 1.0}, PICKLE]
)
def test_values_come_back_exactly(value, caplog):
    with livedb.open() as db:

        @db.query
        def echo(ctx: livedb.QueryContext, value: Any) -> Any:
            return value

        with serving(db) as served, Wire(served.port) as wire:
            (change,) = wire.follow("cells:echo", {"value": value}).modifications
            assert repr(JSON.read(change.value)) == repr(value)
