"""One client of a hundred stops reading: it costs a bounded amount, and nobody else notices.

Nothing is timed: the others have seen the last commit before the stalled one reads again, and what
was kept for it is counted in transitions and bytes when it does.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

import livedb
from livedb import MutationContext, QueryContext
from livedb.protocol.codecs import JSON
from livedb.protocol.messages import Add, Connect, ModifyQuerySet, QueryUpdated, Transition
from tests.faults.served import WAIT_S, serving

CLIENTS = 100
COMMITS = 120
LARGE = 256 << 10

KERNEL_BYTES_MAX = 16 << 20
"""What the sockets of one connection may hold on any machine; the service keeps less than that."""


def define(db: livedb.Database) -> None:
    @db.mutation
    def count(ctx: MutationContext, to: int) -> None:
        for document in ctx.db.query("counts").collect():
            ctx.db.delete(document["_id"])
        ctx.db.insert("counts", {"to": to})

    @db.query
    def counted(ctx: QueryContext) -> int:
        return max((each["to"] for each in ctx.db.query("counts")), default=0)

    @db.query
    def large(ctx: QueryContext) -> list[str]:
        newest = max((each["to"] for each in ctx.db.query("counts")), default=0)
        return [f"{newest}", "x" * LARGE]


async def follow(port: int, path: str, **options: Any) -> ClientConnection:
    url = f"ws://127.0.0.1:{port}/api/1.48.0/sync"
    connection = await connect(url, compression=None, max_size=None, **options)
    await connection.send(JSON.encode(Connect(session_id="s")))
    add = Add(query_id=0, udf_path=f"cells:{path}")
    await connection.send(
        JSON.encode(ModifyQuerySet(base_version=0, new_version=1, modifications=[add]))
    )
    return connection


async def read_until(connection: ClientConnection, newest: int) -> tuple[int, int]:
    """How many transitions and bytes came until the newest count is shown."""
    transitions = size = 0
    while True:
        text = await asyncio.wait_for(connection.recv(decode=True), WAIT_S)
        message = JSON.decode_server(text)
        transitions += isinstance(message, Transition)
        size += len(text)
        for each in getattr(message, "modifications", ()):
            assert isinstance(each, QueryUpdated)
            value = JSON.read(each.value)
            if int(value[0] if isinstance(value, list) else value) == newest:
                return transitions, size


async def stall(service: Any, count: Any) -> tuple[int, int]:
    """What the stalled reader gets when it reads again, after all others saw every commit."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    narrow.setblocking(False)  # the name of a method of Python's
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", service.port))
    stalled = await follow(service.port, "large", sock=narrow, max_queue=1)
    others = [await follow(service.port, "counted") for _ in range(CLIENTS - 1)]
    await asyncio.gather(*(read_until(each, 0) for each in others))
    for to in range(1, COMMITS + 1):
        await asyncio.to_thread(count, to=to)
        # One at a time, so that every commit is a transition of its own for who reads.
        seen = await asyncio.gather(*(read_until(each, to) for each in others))
        assert {transitions for transitions, _ in seen} == {1}
    found = await read_until(stalled, COMMITS)
    for each in (stalled, *others):
        await each.close()
    return found


def test_a_stalled_reader_costs_a_bounded_amount_and_delays_nobody(memory):
    define(memory)
    with serving(memory) as service:
        transitions, size = asyncio.run(stall(service, memory.function("count")))
    assert transitions < COMMITS // 2, "it gets few and large steps"
    assert size < KERNEL_BYTES_MAX < COMMITS * LARGE
