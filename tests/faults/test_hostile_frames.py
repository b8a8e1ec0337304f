"""Frames that no honest client sends: refused by a word of the protocol, noticed by nobody else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from livedb.clock import SystemClock
from livedb.errors import LivedbError
from livedb.protocol.client import ClientSession, Moved
from livedb.protocol.codecs import JSON, PACK, Codec, Frame
from livedb.protocol.effects import Close, Compute, Effect, Failure, QueryState, Run, Send, Verify
from livedb.protocol.messages import Authenticate, Connect, ProtocolError, QueryUpdated
from livedb.protocol.results import read_result
from livedb.protocol.server import ServerConnection
from livedb.service.access import Access
from tests.faults.hostile import Hostile, client_messages, server_messages

CODECS = {"json": JSON, "pack": PACK}
ACCESS = Access(SystemClock())


def feed(codec: Codec, frame: Frame, *, is_first: bool) -> None:
    """What a service does with a frame, without I/O; raises what would end a connection badly."""
    core = ServerConnection(codec, newest_ts=100, now_s=0.0)
    if not is_first:
        core.receive(Connect(session_id="s"))
    try:
        effects = core.receive(codec.decode_client(frame))
    except ProtocolError as error:
        effects = core.violated(error)
        assert isinstance(effects[-1], Close), "a violation ends the connection"
    while effects:
        effects = [each for effect in effects for each in _perform(codec, core, effect)]


def _perform(codec: Codec, core: ServerConnection, effect: Effect) -> list[Effect]:
    match effect:
        case Send(message):
            codec.encode(message)
            return core.sent(message, now_s=0.0)
        case Run(request=request, args=args):
            _read(codec, args)
            done = core.mutation_done if effect.mutation_id else core.action_done
            return done(request.request_id, Failure("no"))
        case Compute(added=added):
            for each in added:
                _read(codec, each.args)
            states = {each.query_id: QueryState(1, Failure("no")) for each in added}
            return core.computed(7, states, is_own_commit_near=False)
        case Verify(request):
            return _verify(core, request)
        case Close():
            return []


def _verify(core: ServerConnection, request: Authenticate) -> list[Effect]:
    try:
        return core.verified(ACCESS.authenticate(request, ACCESS.arriving({})))
    except LivedbError as error:
        return core.refused(str(error))


def _read(codec: Codec, args: Any) -> None:
    with suppress(LivedbError):
        codec.read(args)


def feed_client(codec: Codec, frame: Frame) -> None:
    """What livedb's own client does with a frame; everything but a ProtocolError is a bug."""
    session = ClientSession(codec, session_id="s")
    session.follow("q", codec.write({}))
    session.mutate("m", codec.write({}))
    session.connected()
    with suppress(ProtocolError):
        for event in session.receive(codec.decode_server(frame)):
            if isinstance(event, Moved) and codec is PACK:
                _take(event)


def _take(event: Moved) -> None:
    shown = None
    for change in event.changes:
        if isinstance(change, QueryUpdated):
            shown = read_result(change.value, shown)


def _fuzz(kind: str, seed: int, count: int) -> None:
    codec = CODECS[kind]
    client = Hostile(codec, seed, client_messages(codec))
    server = Hostile(codec, seed, server_messages(codec))
    for at in range(count):
        frame = client.frame()
        try:
            feed(codec, frame, is_first=at % 4 == 0)
            frame = server.frame()
            feed_client(codec, frame)
        except Exception as error:
            raise AssertionError(f"frame {at} of seed {seed}: {frame[:300]!r}") from error


@pytest.mark.parametrize("kind", CODECS)
def test_hostile_frames_raise_nothing(kind):
    _fuzz(kind, 1, 3_000)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("seed", range(10, 15))
def test_a_hundred_thousand_hostile_frames_raise_nothing(kind, seed):
    _fuzz(kind, seed, 10_000)
