"""Connections whose queries lag, against a model: each message is exact at its commit.

Queries that are slow are held up by gates, so what is run when is up to the test: rounds that go on
while commits come, queries followed and dropped meanwhile, and connections that end.
"""

from __future__ import annotations

import threading
from random import Random

import pytest

import livedb
from livedb import MutationContext, QueryContext
from livedb.live.live_query import SLOW_S
from livedb.protocol.codecs import PACK
from livedb.protocol.messages import (
    Add,
    ModifyQuerySet,
    QueryRemoved,
    QueryUpdated,
    Remove,
    Transition,
)
from livedb.protocol.results import read_result
from livedb.text import decode_value
from livedb.values import Value
from tests.faults.served import Wire, serving

CELLS = 6
SLOW = 3
"""So many of the cells are read slowly, and held up by gates."""

SOON_S = 0.05
LATE_S = 30.0


class Cells:
    """A workspace of numbers, how they were at each commit, and gates before the slow ones."""

    def __init__(self, db: livedb.Database) -> None:
        ids = db["cells"].insert([{"n": 0} for _ in range(CELLS)])
        self.db = db
        self.gates = [threading.Event() for _ in range(SLOW)]
        self.open_all()
        self.history: dict[int, list[int]] = {db.number: [0] * CELLS}

        @db.query
        def cell(ctx: QueryContext, at: int) -> Value:
            row = ctx.db.get(ids[at])
            assert row is not None
            found = row["n"]
            if at < SLOW:
                threading.Event().wait(1.5 * SLOW_S)
                assert self.gates[at].wait(LATE_S)
            return found

        @db.query
        def total(ctx: QueryContext, at: int) -> Value:
            rows = [ctx.db.get(each) for each in ids[at:]]
            return sum(row["n"] for row in rows if row is not None)

        @db.mutation
        def step(ctx: MutationContext, at: list[int]) -> None:
            for each in at:
                row = ctx.db.get(ids[each])
                assert row is not None
                ctx.db.patch(ids[each], {"n": row["n"] + 1})

    def step(self, at: list[int]) -> None:
        newest = self.history[self.db.number]
        self.db.function("step")(at=at)
        self.history[self.db.number] = [n + (k in at) for k, n in enumerate(newest)]

    def value(self, path: str, at: int, number: int) -> int:
        cells = self.history[number]
        return cells[at] if path == "cells:cell" else sum(cells[at:])

    def open_all(self) -> None:
        for gate in self.gates:
            gate.set()


class Client:
    """A connection that knows what it follows, and looks at each transition."""

    def __init__(self, cells: Cells, port: int, name: str) -> None:
        self.cells = cells
        self.wire = Wire(port, PACK, session=name)
        self.followed: dict[int, tuple[str, int]] = {}
        self.shown: dict[int, int] = {}
        self._wires: dict[int, object] = {}
        self._versions: dict[int, list[int]] = {}
        self._next_id = self._version = 0
        self.confirmed = 0
        self.number = 0

    def modify(self, added: list[tuple[str, int]], removed: list[int]) -> None:
        changes: list[Add | Remove] = [Remove(query_id=each) for each in removed]
        for path, at in added:
            args = [self.wire.codec.write({"at": at})]
            changes.append(Add(query_id=self._next_id, udf_path=path, args=args))
            self.followed[self._next_id] = (path, at)
            self._next_id += 1
        for each in removed:
            del self.followed[each]
        base, self._version = self._version, self._version + 1
        self._versions[self._version] = list(self.followed)
        self.wire.say(
            ModifyQuerySet(base_version=base, new_version=self._version, modifications=changes)
        )

    def hear(self, seconds: float) -> bool:
        """Take a message, if one comes in time, and hold it against the model."""
        try:
            frame = self.wire.socket.recv(seconds)
        except TimeoutError:
            return False
        message = self.wire.codec.decode_server(frame)
        if isinstance(message, Transition):
            self.take(message)
        return True

    def take(self, message: Transition) -> None:
        number = message.number
        assert isinstance(number, int)
        assert number >= self.number, "it never goes back"
        self.number = number
        for each in message.modifications:
            if isinstance(each, QueryRemoved):
                self.shown.pop(each.query_id, None)
                continue
            assert isinstance(each, QueryUpdated), each
            wire = read_result(each.value, None)
            assert wire.text is not None
            value = decode_value(wire.text)
            assert isinstance(value, int)
            self.shown[each.query_id] = value
        self.confirmed = message.end_version.query_set
        for query_id in self._versions.get(self.confirmed, ()):
            if query_id in self.followed:
                path, at = self.followed[query_id]
                expected = self.cells.value(path, at, number)
                assert self.shown[query_id] == expected, f"{path} {at} at {number}"

    def is_level(self) -> bool:
        """Whether all it follows is shown as it is now."""
        now = self.cells.db.number
        return self.confirmed == self._version and all(
            self.shown.get(query_id) == self.cells.value(path, at, now)
            for query_id, (path, at) in self.followed.items()
        )


def some_queries(random: Random) -> list[tuple[str, int]]:
    paths = ["cells:cell", "cells:cell", "cells:total"]
    return [(random.choice(paths), random.randrange(CELLS)) for _ in range(random.randrange(1, 4))]


def play(seed: int, *, moves: int) -> None:
    random = Random(seed)
    with livedb.open() as db:
        cells = Cells(db)
        with serving(db) as service:
            names = iter(range(10_000))
            clients = [Client(cells, service.port, f"c{next(names)}") for _ in range(3)]
            for client in clients:
                client.modify(some_queries(random), [])
            try:
                for _ in range(moves):
                    move(random, cells, clients)
                    gone = random.randrange(40 * len(clients))
                    if gone < len(clients):  # whatever is being run for it
                        clients[gone].wire.close()
                        clients[gone] = Client(cells, service.port, f"c{next(names)}")
                        clients[gone].modify(some_queries(random), [])
            finally:
                cells.open_all()
            for client in clients:
                while not client.is_level():
                    assert client.hear(LATE_S), f"{client.followed} shows {client.shown}"
            live = db.backend.workspace.live  # type: ignore[attr-defined]  # a local one
            assert not live.lagging
            for client in clients:
                client.wire.close()


def move(random: Random, cells: Cells, clients: list[Client]) -> None:
    """One thing of those that may happen."""
    client = random.choice(clients)
    match random.randrange(8):
        case 0 | 1 | 2:
            cells.step(random.sample(range(CELLS), random.randrange(1, 3)))
        case 3:
            gate = random.choice(cells.gates)
            if gate.is_set():
                gate.clear()
            else:
                gate.set()
        case 4:
            removed = random.sample(sorted(client.followed), len(client.followed) // 2)
            client.modify(some_queries(random), removed)
        case 5:
            cells.open_all()
        case _:
            while client.hear(SOON_S * random.random()):
                pass


@pytest.mark.parametrize("seed", range(4))
def test_every_message_is_exact_at_its_commit_whatever_lags(seed):
    play(seed, moves=150)


@pytest.mark.oracle
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 160))
def test_every_message_is_exact_at_its_commit_whatever_lags_at_length(seed):
    play(seed, moves=400)
