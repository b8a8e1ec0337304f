"""How a message is put into WebSocket frames that a kind of client takes.

npm clients from 1.28 on take a long Transition in chunks, messages of their own. PyPI and Rust
clients must never see a chunk; they refuse frames over 16 MiB and messages over 64 MiB.

Source: spec sync-protocol.md 6.2.
"""

from __future__ import annotations

import re
from enum import Enum

import msgspec
from msgspec import UNSET

from livedb.protocol.codecs import JSON, PACK, Frame
from livedb.protocol.messages import (
    ActionResponse,
    MutationResponse,
    QueryFailed,
    QueryUpdated,
    ServerMessage,
    Transition,
    TransitionChunk,
    encode_message,
)

CHUNK_BYTES_MAX = 5_000_000
"""UTF-8 bytes of the text of a Transition beyond which npm clients get it in chunks."""

MESSAGE_BYTES_MAX = 64 << 20
"""Bytes of one message that PyPI and Rust clients take."""

_TOO_LARGE = (
    "Server Error\nResultTooLarge: the result would make a message of more than "
    f"{MESSAGE_BYTES_MAX:,} bytes, which this client cannot take. Return less, or paginate."
)

_VERSION = re.compile(r"(\d+)\.(\d+)")


class ClientKind(Enum):
    """What a client can take."""

    NPM = "npm"
    NPM_CHUNKS = "npm, chunks"
    NATIVE = "python, rust"
    LIVEDB = "livedb"

    @classmethod
    def of(cls, version: str | None, header: str | None) -> ClientKind:
        """By the version in the URL, or the header `Convex-Client` of native ones."""
        if version == "livedb":
            return cls.LIVEDB
        if header is not None and not header.startswith("npm"):
            return cls.NATIVE
        found = _VERSION.match(version or (header or "").removeprefix("npm-"))
        if found is None:
            return cls.NATIVE
        return cls.NPM_CHUNKS if (int(found[1]), int(found[2])) >= (1, 28) else cls.NPM


def frames_of(message: ServerMessage, client: ClientKind) -> list[Frame]:
    """What to send, in order."""
    if client is ClientKind.LIVEDB:
        return [PACK.encode(message)]
    text = encode_message(message)
    if client is ClientKind.NATIVE and len(text) > MESSAGE_BYTES_MAX:
        text = encode_message(_fitting(message, len(text)))
    if client is not ClientKind.NPM_CHUNKS or len(text) <= CHUNK_BYTES_MAX:
        return [text.decode()]
    if not isinstance(message, Transition):
        return [text.decode()]
    return _chunks(text.decode(), message.end_version.ts)


def _fitting(message: ServerMessage, size: int) -> ServerMessage:
    """The message with results left out until it can be delivered.

    One that cannot be would be asked for again and again: such a client repeats what is not
    answered, actions too.
    """
    if isinstance(message, Transition):
        return _fitting_transition(message, size)
    if not isinstance(message, MutationResponse | ActionResponse):
        return message
    failed = msgspec.structs.replace(
        message, success=False, result=JSON.write(_TOO_LARGE), log_lines=[], error_data=UNSET
    )
    return (
        msgspec.structs.replace(failed, ts=None) if isinstance(failed, MutationResponse) else failed
    )


def _fitting_transition(transition: Transition, size: int) -> Transition:
    modifications = list(transition.modifications)
    sizes = [
        len(bytes(each.value)) if isinstance(each, QueryUpdated) else 0 for each in modifications
    ]
    for place in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        if size <= MESSAGE_BYTES_MAX or not sizes[place]:
            break
        size -= sizes[place]
        modifications[place] = QueryFailed(
            query_id=modifications[place].query_id, error_message=_TOO_LARGE
        )
    return msgspec.structs.replace(transition, modifications=modifications)


def _chunks(text: str, transition_id: str) -> list[Frame]:
    # By characters: one takes at most 4 bytes, so no chunk is longer than the bound.
    size = CHUNK_BYTES_MAX // 4 if not text.isascii() else CHUNK_BYTES_MAX
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return [
        encode_message(
            TransitionChunk(
                chunk=part,
                part_number=number,
                total_parts=len(parts),
                transition_id=transition_id,
            )
        ).decode()
        for number, part in enumerate(parts)
    ]
