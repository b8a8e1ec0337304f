"""A small service for the fault tests, and a bare client that says exactly what a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from msgspec import Raw
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import livedb
from livedb import MutationContext, QueryContext
from livedb.auth.access import Role
from livedb.protocol.codecs import JSON, PACK, Codec, Frame
from livedb.protocol.messages import (
    Add,
    ClientMessage,
    Connect,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    ServerMessage,
    Transition,
)
from livedb.service.access import Access
from livedb.service.server import ServiceThread

WAIT_S = 30.0


def define(db: livedb.Database) -> None:
    """Notes: texts that clients leave, each with a token."""

    @db.mutation
    def note(ctx: MutationContext, text: str = "", token: str = "", table: str = "notes") -> int:
        ctx.db.insert(table, {"text": text, "token": token})
        return len(text)

    @db.query
    def notes(ctx: QueryContext) -> list[Any]:
        return ctx.db.query("notes").order("desc").take(10)

    @db.query
    def tokens(ctx: QueryContext, table: str = "notes") -> list[str]:
        return [each["token"] for each in ctx.db.query(table)]


@contextmanager
def serving(
    db: livedb.Database, *, port: int = 0, role: Role = Role.MEMBER
) -> Iterator[ServiceThread]:
    """The workspace on loopback; `role` is that of everybody who comes."""
    workspace = db.backend.workspace
    access = Access(workspace.clock, anonymous=role)
    with ServiceThread(workspace, port=port, access=access) as service:
        yield service


class Wire:
    """One connection, spoken by hand."""

    def __init__(self, port: int, codec: Codec = JSON, *, session: str = "s") -> None:
        version = "livedb" if codec is PACK else "1.48.0"
        self.codec = codec
        self._stack = ExitStack()
        self.socket = self._stack.enter_context(
            connect(
                f"ws://127.0.0.1:{port}/api/{version}/sync",
                compression=None,
                max_size=None,
                open_timeout=WAIT_S,
                close_timeout=1,
            )
        )
        self.say(Connect(session_id=session))

    def say(self, message: ClientMessage) -> None:
        self.socket.send(self.codec.encode(message))

    def say_frame(self, frame: Frame) -> None:
        self.socket.send(frame)

    def hear(self) -> ServerMessage:
        """The next message.

        Raises:
            ConnectionClosed: the service closed the connection.
        """
        return self.codec.decode_server(self.socket.recv(WAIT_S))

    def hear_all(self) -> list[ServerMessage]:
        """Everything until the service closes the connection."""
        heard = []
        try:
            while True:
                heard.append(self.hear())
        except ConnectionClosed:
            return heard

    @property
    def close_code(self) -> int | None:
        return self.socket.protocol.close_code

    def follow(self, path: str, args: dict[str, Any] | None = None) -> Transition:
        self.say(
            ModifyQuerySet(
                base_version=0,
                new_version=1,
                modifications=[Add(query_id=0, udf_path=path, args=[self.codec.write(args or {})])],
            )
        )
        return self.next_transition()

    def next_transition(self) -> Transition:
        while not isinstance(message := self.hear(), Transition):
            pass
        return message

    def mutate(self, request_id: int, path: str, args: dict[str, Any]) -> MutationResponse:
        self.send_mutation(request_id, path, args)
        while True:
            message = self.hear()
            if isinstance(message, MutationResponse) and message.request_id == request_id:
                return message

    def send_mutation(self, request_id: int, path: str, args: dict[str, Any]) -> None:
        raw: Raw = self.codec.write(args)
        self.say(Mutation(request_id=request_id, udf_path=path, args=[raw]))

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
