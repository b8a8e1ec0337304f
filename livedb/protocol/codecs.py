"""Two ways to write the same messages: Convex's JSON, and livedb's own MessagePack.

Official clients speak JSON text, in which every number is a float. livedb's own Python client asks
for `/api/livedb/sync` and gets binary frames, in which a value is its exact text form
(`livedb.text`) beside binary attachments such as Arrow: nothing is lost, and official clients never
see any of it. Both run on the same state machines.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from livedb.canonical import canonical
from livedb.protocol.convex_json import from_wire, to_wire
from livedb.protocol.messages import (
    ClientMessage,
    ProtocolError,
    ServerMessage,
    decode_client_message,
    decode_json,
    decode_server_message,
    encode_json,
    encode_message,
)
from livedb.text import decode_value, encode_value
from livedb.values import Value

Frame = str | bytes


class Codec(Protocol):
    """How messages and the values in them become frames."""

    def encode(self, message: ClientMessage | ServerMessage) -> Frame:
        """The frame of a message."""

    def decode_client(self, frame: Frame) -> ClientMessage:
        """What a client sent.

        Raises:
            ProtocolError: it is no message of the protocol.
        """

    def decode_server(self, frame: Frame) -> ServerMessage:
        """What a server sent.

        Raises:
            ProtocolError: it is no message of the protocol.
        """

    def write(self, value: Value) -> Raw:
        """A canonical value, as it stands in messages."""

    def read(self, raw: Raw) -> Value:
        """The canonical value that stands in a message.

        Raises:
            ProtocolError, InvalidValueError: it is none.
        """


class JsonCodec:
    """Convex's JSON text."""

    def encode(self, message: ClientMessage | ServerMessage) -> str:
        return encode_message(message).decode()

    def decode_client(self, frame: Frame) -> ClientMessage:
        return decode_client_message(_require(frame, str))

    def decode_server(self, frame: Frame) -> ServerMessage:
        return decode_server_message(_require(frame, str))

    def write(self, value: Value) -> Raw:
        return encode_json(to_wire(value))

    def read(self, raw: Raw) -> Value:
        return from_wire(decode_json(raw)) if raw else {}


class Payload(Struct, frozen=True, array_like=True):
    """A value of the MessagePack form: its text, and what is better sent as bytes."""

    text: bytes
    attachments: list[bytes] = []


_encoder = msgspec.msgpack.Encoder()
_client_decoder = msgspec.msgpack.Decoder(ClientMessage)
_server_decoder = msgspec.msgpack.Decoder(ServerMessage)
_payload_decoder = msgspec.msgpack.Decoder(Payload)


class PackCodec:
    """livedb's own MessagePack."""

    def encode(self, message: ClientMessage | ServerMessage) -> bytes:
        return _encoder.encode(message)

    def decode_client(self, frame: Frame) -> ClientMessage:
        message: ClientMessage = _decoded(_client_decoder, _require(frame, bytes))
        return message

    def decode_server(self, frame: Frame) -> ServerMessage:
        message: ServerMessage = _decoded(_server_decoder, _require(frame, bytes))
        return message

    def write(self, value: Value) -> Raw:
        return self.write_payload(encode_value(value))

    def read(self, raw: Raw) -> Value:
        return canonical(_decode_text(self.read_payload(raw).text)) if raw else {}

    def write_payload(self, text: bytes, attachments: list[bytes] | None = None) -> Raw:
        """A value by its text, with attachments."""
        return Raw(_encoder.encode(Payload(text, attachments or [])))

    def read_payload(self, raw: Raw) -> Payload:
        """Text and attachments of a value.

        Raises:
            ProtocolError: it is no such payload.
        """
        payload: Payload = _decoded(_payload_decoder, raw)
        return payload


def _decode_text(text: bytes) -> Value:
    try:
        return decode_value(text)
    except (msgspec.DecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(f"This is no text of a value: {error}") from None


def _decoded(decoder: msgspec.msgpack.Decoder[Any], data: bytes | Raw) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"This is no message of the protocol: {error}") from None


def _require(frame: Frame, kind: type[Any]) -> Any:
    if not isinstance(frame, kind):
        words = "text" if kind is str else "binary"
        raise ProtocolError(
            f"Messages of this connection are {words} frames", code="UnsupportedFrame"
        )
    return frame


JSON = JsonCodec()
PACK = PackCodec()
