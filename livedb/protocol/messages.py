"""The messages of Convex's sync protocol, as tagged structs, and their JSON.

One JSON object is one WebSocket text message. Fields that nobody knows are ignored, an unknown
`type` is a protocol error. Values are `Raw`: JSON that was made once, for however many subscribers.

Source: spec sync-protocol.md 5 and 6.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from livedb.errors import LivedbError

M = TypeVar("M")

PATH_CHARACTERS_MAX = 1024
"""Of a function's path; longer names nothing."""

CLIENT_MESSAGE_BYTES_MAX = 17 << 20
"""Bytes of one message from a client: arguments take at most 16 MiB."""

MODIFICATIONS_MAX = 10_000
"""Queries added and removed by one message."""

U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Path = Annotated[str, Meta(max_length=PATH_CHARACTERS_MAX)]
Args = list[Raw]
"""An array with one object; what is in it is looked at when the function runs."""

NO_ARGS = Raw(b"")
"""Stands for no argument."""

NO_VALUE = Raw(b"null")
"""What stands for an absent field of any JSON. (`Raw | None` would take nothing but null.) It is no
MessagePack, so fields that hold it are left out."""


class ProtocolError(LivedbError):
    """What a peer sent breaks the protocol, so that repeating it cannot help.

    `code` is one of MalformedMessage, UnsupportedFrame, BaseVersionMismatch, OutOfOrder,
    DuplicateQuery, UnknownQuery.
    """

    code = "MalformedMessage"
    status = 400


class _Message(Struct, frozen=True, rename="camel", tag_field="type", kw_only=True):
    """Base of all messages."""


# -- from the client -------------------------------------------------------------------------------


class Connect(_Message, frozen=True, tag=True):
    """First on every connection."""

    session_id: Annotated[str, Meta(max_length=128)]
    connection_count: U32 = 0
    last_close_reason: str | None = None
    max_observed_timestamp: str | None = None
    client_ts: float | None = None


class Add(_Message, frozen=True, tag=True):
    """Follow a query under an id of the client's choosing."""

    query_id: U32
    udf_path: Path
    args: Args = []
    journal: str | None = None
    component_path: str | None = None


class Remove(_Message, frozen=True, tag=True):
    """Stop following."""

    query_id: U32


class ModifyQuerySet(_Message, frozen=True, tag=True):
    """Add and remove queries, as one step from version to version."""

    base_version: U32
    new_version: U32
    modifications: Annotated[list[Add | Remove], Meta(max_length=MODIFICATIONS_MAX)]


class Mutation(_Message, frozen=True, tag=True):
    """Run a mutation; once, however often it is sent in one session."""

    request_id: U32
    udf_path: Path
    args: Args = []
    component_path: str | None = None


class Action(_Message, frozen=True, tag=True):
    """Run an action, beside everything else."""

    request_id: U32
    udf_path: Path
    args: Args = []
    component_path: str | None = None


class Authenticate(_Message, frozen=True, tag=True, omit_defaults=True):
    """Act as somebody else from here on; raises the identity version by one."""

    base_version: U32
    token_type: str
    value: str | None = None
    impersonating: Raw = NO_VALUE
    acting_as: Raw = NO_VALUE


class Event(_Message, frozen=True, tag=True, omit_defaults=True):
    """Telemetry, ignored."""

    event_type: str = ""
    event: Raw = NO_VALUE


ClientMessage = Connect | ModifyQuerySet | Mutation | Action | Authenticate | Event


# -- from the server -------------------------------------------------------------------------------


class Version(Struct, frozen=True, rename="camel", kw_only=True):
    """How far a connection has come: what each Transition leads from and to."""

    query_set: int = 0
    identity: int = 0
    ts: str = "AAAAAAAAAAA="


class QueryUpdated(_Message, frozen=True, tag=True):
    """A new value of a query."""

    query_id: int
    value: Raw
    log_lines: list[str] = []
    journal: str | None = None


class QueryFailed(_Message, frozen=True, tag=True):
    """A query fails now. `error_data`, even null, makes it the application's own error."""

    query_id: int
    error_message: str
    log_lines: list[str] = []
    journal: str | None = None
    error_data: Raw | UnsetType = UNSET


class QueryRemoved(_Message, frozen=True, tag=True):
    """A query is no longer followed."""

    query_id: int


StateModification = QueryUpdated | QueryFailed | QueryRemoved


class Transition(_Message, frozen=True, tag=True):
    """One step of everything the client sees, to one commit."""

    start_version: Version
    end_version: Version
    modifications: list[StateModification]
    number: int | UnsetType = UNSET
    """Of the commit; for livedb's own client only."""


class TransitionChunk(_Message, frozen=True, tag=True):
    """A part of the text of a Transition that is too long for one frame; npm clients only."""

    chunk: str
    part_number: int
    total_parts: int
    transition_id: str


class MutationResponse(_Message, frozen=True, tag=True):
    """How a mutation ended; `result` is the message when it failed."""

    request_id: int
    success: bool
    result: Raw
    ts: str | None
    log_lines: list[str] = []
    error_data: Raw | UnsetType = UNSET


class ActionResponse(_Message, frozen=True, tag=True):
    """How an action ended."""

    request_id: int
    success: bool
    result: Raw
    log_lines: list[str] = []
    error_data: Raw | UnsetType = UNSET


class AuthError(_Message, frozen=True, tag=True):
    """The identity is not, or no longer, accepted; the connection closes."""

    error: str
    base_version: int
    auth_update_attempted: bool


class FatalError(_Message, frozen=True, tag=True):
    """The client broke the protocol; npm clients stop for good."""

    error: str


class Ping(_Message, frozen=True, tag=True):
    """Sent after a silence."""


ServerMessage = (
    Transition | TransitionChunk | MutationResponse | ActionResponse | AuthError | FatalError | Ping
)

_client_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_server_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
_encoder = msgspec.json.Encoder()


def decode_client_message(text: str | bytes) -> ClientMessage:
    """What a client sent.

    Raises:
        ProtocolError: it is no message of the protocol.
    """
    return _decode(_client_decoder, text)


def decode_server_message(text: str | bytes) -> ServerMessage:
    """What a server sent.

    Raises:
        ProtocolError: it is no message of the protocol.
    """
    return _decode(_server_decoder, text)


def _decode(decoder: msgspec.json.Decoder[M], text: str | bytes) -> M:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"This is no message of the sync protocol: {error}") from None


def encode_message(message: ClientMessage | ServerMessage) -> bytes:
    """The JSON of a message, as UTF-8."""
    return _encoder.encode(message)


def encode_json(value: Any) -> Raw:
    """JSON made once, to stand in messages: of a wire form, a text, a dict."""
    return Raw(_encoder.encode(value))


def decode_json(raw: Raw | bytes) -> Any:
    """The wire form that stands in a message.

    Raises:
        ProtocolError: it is no JSON.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"This is no JSON: {error}") from None
