"""Small worlds around the protocol's state machines, in which anything may happen in any order.

Each world has a database of a few cells. A commit appends a token to one cell and has a timestamp;
a query shows one cell; a mutation is one commit. So whatever a client is told can be compared with
what was true at the timestamp it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from msgspec import Raw

from livedb.protocol.client import Answered, ClientSession, Lost, Moved
from livedb.protocol.codecs import JSON
from livedb.protocol.effects import (
    Compute,
    Effect,
    Failure,
    Followed,
    QueryState,
    Run,
    Send,
    Success,
    Verify,
)
from livedb.protocol.messages import (
    Action,
    Add,
    Authenticate,
    ClientMessage,
    Connect,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    QueryRemoved,
    QueryUpdated,
    Remove,
    ServerMessage,
    Transition,
    Version,
)
from livedb.protocol.server import UNSENT_TRANSITIONS_MAX, ServerConnection
from livedb.protocol.timestamps import decode_ts
from tests.protocol.transcript import NOBODY, client_message

CELLS = 3


class Cells:
    """The database: cells of tokens, at every timestamp."""

    def __init__(self) -> None:
        self.ts = 1
        self.history: list[tuple[int, int, Any]] = []
        """Timestamp, cell, token."""
        self.done: dict[str, int] = {}
        """The timestamp of each identified mutation."""

    def commit(self, cell: int, token: Any, mutation_id: str | None = None) -> int:
        """Append a token, once for each mutation id; returns the timestamp."""
        if mutation_id is not None and mutation_id in self.done:
            return self.done[mutation_id]
        self.ts += 1
        self.history.append((self.ts, cell, token))
        if mutation_id is not None:
            self.done[mutation_id] = self.ts
        return self.ts

    def at(self, cell: int, ts: int) -> list[Any]:
        return [token for when, where, token in self.history if where == cell and when <= ts]


def cell_of(path: str) -> int:
    return int(path.removeprefix("cell"))


class Shell:
    """Performs the effects of one `ServerConnection`, when it is told to, in any order."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.core = ServerConnection(JSON, newest_ts=cells.ts, now_s=0.0, identity=NOBODY)
        self.outgoing: list[ServerMessage] = []
        self.is_closed = False
        self.members: dict[int, Followed] = {}
        self.order: Compute | None = None
        self.read: tuple[int, dict[int, QueryState]] | None = None
        """What an update has read and not told yet."""
        self.verifying: Authenticate | None = None
        self.runs: list[Run] = []
        self.committed: dict[int, int] = {}
        """By request id, the timestamp of a running call that has committed."""
        self.is_touched = False

    def receive(self, message: ClientMessage) -> None:
        self.perform(self.core.receive(message))

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(message):
                    self.outgoing.append(message)
                case Compute():
                    assert not self.is_computing, "one update at a time"
                    self.order = effect
                case Verify(request):
                    assert self.verifying is None, "one token at a time"
                    self.verifying = request
                case Run():
                    self.runs.append(effect)
                case _:
                    self.is_closed = True
        mutations = [run for run in self.runs if isinstance(run.request, Mutation)]
        assert len(mutations) <= 1, "mutations run one at a time"
        assert self.unsent() <= UNSENT_TRANSITIONS_MAX

    def unsent(self) -> int:
        return sum(isinstance(message, Transition) for message in self.outgoing)

    def take(self) -> ServerMessage:
        """The transport takes the oldest message."""
        message = self.outgoing.pop(0)
        self.perform(self.core.sent(message, now_s=0.0))
        return message

    def verify(self) -> None:
        assert self.verifying is not None
        request, self.verifying = self.verifying, None
        self.perform(self.core.verified(request.value or NOBODY))

    def commit(self, run: Run) -> None:
        """A running call commits; nobody has heard of it yet."""
        ts = self.cells.commit(cell_of(run.request.udf_path), token_of(run), run.mutation_id)
        self.committed[run.request.request_id] = ts

    def finish(self, run: Run, *, fails: bool = False) -> None:
        self.runs.remove(run)
        request = run.request
        outcome: Success | Failure = Failure("no")
        if not fails:
            if request.request_id not in self.committed:
                self.commit(run)
            outcome = Success(Raw(b"1"), (), self.committed[request.request_id])
        self.committed.pop(request.request_id, None)
        done = self.core.mutation_done if isinstance(request, Mutation) else self.core.action_done
        self.perform(done(request.request_id, outcome))

    @property
    def is_computing(self) -> bool:
        return self.order is not None or self.read is not None

    def compute(self) -> None:
        """Take one step of an update: read, or tell what was read."""
        if self.read is not None:
            (ts, states), self.read = self.read, None
            is_near = any(
                isinstance(run.request, Mutation) and run.request.request_id in self.committed
                for run in self.runs
            )
            self.perform(self.core.computed(ts, states, is_own_commit_near=is_near))
            return
        assert self.order is not None
        order, self.order = self.order, None
        for query_id in order.removed:
            del self.members[query_id]
        for each in order.added:
            assert each.query_id not in self.members
            self.members[each.query_id] = each
        states = {}
        for query_id, followed in self.members.items():
            value = JSON.write(self.cells.at(cell_of(followed.path), self.cells.ts))
            states[query_id] = QueryState((followed.path, bytes(value)), Success(value))
        self.read = self.cells.ts, states

    def touch(self, cell: int) -> None:
        """A commit wrote a cell."""
        if any(cell_of(each.path) == cell for each in self.members.values()):
            self.perform(self.core.touched())


def token_of(run: Run) -> str:
    return f"{run.mutation_id}" if run.mutation_id is not None else f"a{run.request.request_id}"


# -- one connection, watched -----------------------------------------------------------------------


class Query(NamedTuple):
    """A query that a client follows; an id may stand for another one later."""

    cell: int
    made: int


@dataclass
class Viewer:
    """A client that believes whatever transitions say, and compares it with the truth."""

    cells: Cells
    query_sets: dict[int, dict[int, Query]] = field(default_factory=lambda: {0: {}})
    """By version, what the client asked for."""
    version: Version = field(default_factory=Version)
    view: dict[int, Any] = field(default_factory=dict)
    owed_ts: int | None = None
    """A response came, and no transition after it that shows what it did."""

    def see(self, message: ServerMessage, unanswered: Mapping[int, int]) -> None:
        """Take a message; `unanswered` says when mutations committed whose response is to come."""
        if isinstance(message, Transition):
            self._move(message, min(unanswered.values(), default=None))
        elif isinstance(message, MutationResponse) and message.success:
            self.owed_ts = max(self.owed_ts or 0, decode_ts(message.ts))
        else:
            self.owed_ts = self.owed_ts or 0

    def _move(self, message: Transition, unanswered: int | None) -> None:
        start, end = message.start_version, message.end_version
        assert start == self.version, "transitions join end to start"
        ts = decode_ts(end.ts)
        assert end.query_set >= start.query_set
        assert end.identity >= start.identity
        assert ts >= decode_ts(start.ts), "nothing goes back"
        told = [each.query_id for each in message.modifications]
        assert len(set(told)) == len(told), "one modification for each query"
        for each in message.modifications:
            if isinstance(each, QueryRemoved):
                self.view.pop(each.query_id, None)
            else:
                assert isinstance(each, QueryUpdated)
                self.view[each.query_id] = JSON.read(each.value)
        current = self.query_sets[max(self.query_sets)]
        for query_id, query in self.query_sets[end.query_set].items():
            # Of a query that the client has left meanwhile, the service need not tell.
            if current.get(query_id) == query:
                truth = self.cells.at(query.cell, ts)
                assert self.view.get(query_id) == truth, "all that is shown is true at one moment"
        assert unanswered is None or unanswered > ts, "a response goes before what it did"
        self.version = end
        if self.owed_ts is not None and ts >= self.owed_ts:
            self.owed_ts = None


class ConnectionWorld:
    """One connection, a client that sends what it likes, and a database that others write too."""

    def __init__(self) -> None:
        self.cells = Cells()
        self.shell = Shell(self.cells)
        self.viewer = Viewer(self.cells)
        self.shell.receive(Connect(session_id="s"))
        self.query_set = 0
        self.identity = 0
        self.as_whom = NOBODY
        self.queries: dict[int, Query] = {}
        self.gone: list[int] = []
        self.made = 0
        self.next_request = 0
        self.expected: list[tuple[int, str]] = []
        """Mutations sent and not started: request id, as whom."""
        self.running: dict[int, str] = {}
        self.unanswered: dict[int, int] = {}
        """When mutations committed whose response was not taken."""

    # -- the client ----------------------------------------------------------------------------

    def modify(self, add: list[int], remove: int, *, is_reused: bool) -> None:
        """Add queries of cells and remove some, by one message."""
        modifications: list[Add | Remove] = []
        for query_id in list(self.queries)[:remove]:
            del self.queries[query_id]
            self.gone.append(query_id)
            modifications.append(Remove(query_id=query_id))
        for cell in add:
            self.made += 1
            query_id = self.gone.pop() if is_reused and self.gone else self.made
            self.queries[query_id] = Query(cell, self.made)
            modifications.append(Add(query_id=query_id, udf_path=f"cell{cell}"))
        base, self.query_set = self.query_set, self.query_set + 1
        self.viewer.query_sets[self.query_set] = dict(self.queries)
        self.shell.receive(
            ModifyQuerySet(
                base_version=base, new_version=self.query_set, modifications=modifications
            )
        )
        self.check()

    def authenticate(self, name: str) -> None:
        base, self.identity = self.identity, self.identity + 1
        self.as_whom = name
        self.shell.receive(client_message("auth", str(base), name))
        self.check()

    def call(self, cell: int, *, is_action: bool) -> None:
        request_id, self.next_request = self.next_request, self.next_request + 1
        kind = Action if is_action else Mutation
        if is_action:
            self.running[request_id] = self.as_whom
        else:
            self.expected.append((request_id, self.as_whom))
        self.shell.receive(kind(request_id=request_id, udf_path=f"cell{cell}"))
        self.check()

    # -- the service ---------------------------------------------------------------------------

    def possible(self) -> Iterator[Callable[[], None]]:
        """What the service may do next."""
        shell = self.shell
        if shell.outgoing:
            yield self.take
        if shell.verifying is not None:
            yield shell.verify
        if shell.is_computing:
            yield shell.compute
        for run in shell.runs:
            yield lambda run=run: shell.finish(run)
            yield lambda run=run: shell.finish(run, fails=True)
            if run.request.request_id not in shell.committed:
                yield lambda run=run: self.commit(run)

    def commit(self, run: Run) -> None:
        self.shell.commit(run)
        self.shell.touch(cell_of(run.request.udf_path))

    def take(self) -> None:
        message = self.shell.take()
        if isinstance(message, MutationResponse):
            self.unanswered.pop(message.request_id, None)
        self.viewer.see(message, self.unanswered)

    def serve(self, choice: int) -> None:
        """One of the possible things happens."""
        possible = list(self.possible())
        if possible:
            possible[choice % len(possible)]()
        self.check()

    def others_commit(self, cell: int) -> None:
        self.cells.commit(cell, f"other{self.cells.ts}")
        self.shell.touch(cell)
        self.check()

    # -- what holds ----------------------------------------------------------------------------

    def check(self) -> None:
        assert not self.shell.is_closed
        for run in self.shell.runs:
            request_id = run.request.request_id
            if request_id not in self.running:
                first, as_whom = self.expected.pop(0)
                assert request_id == first, "mutations run in order"
                self.running[request_id] = as_whom
            assert run.identity == self.running[request_id], "as whom it was sent"
            if isinstance(run.request, Mutation) and request_id in self.shell.committed:
                self.unanswered[request_id] = self.shell.committed[request_id]
        is_at_rest = next(self.possible(), None) is None
        assert not is_at_rest or self.viewer.owed_ts is None, "a transition follows a response"

    def settle(self) -> None:
        """Everything that was begun ends; then the client is up to date."""
        while possible := [each for each in self.possible() if each]:
            possible[0]()
            self.check()
        self.check()
        assert not self.expected
        viewer = self.viewer
        assert viewer.version.query_set == self.query_set
        assert viewer.version.identity == self.identity
        newest = {
            query_id: self.cells.at(query.cell, self.cells.ts)
            for query_id, query in self.queries.items()
        }
        assert viewer.view == newest


# -- a session over connections that are cut -------------------------------------------------------


class SessionWorld:
    """A client's session and a service, joined by a pipe that is cut at any moment."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.cells = Cells()
        self.session = ClientSession(JSON, session_id="s")
        self.shell: Shell | None = None
        self.ghosts: list[Shell] = []
        """Ended connections whose calls still run."""
        self.upward: list[ClientMessage] = []
        self.downward: list[ServerMessage] = []
        self.view: dict[int, Any] = {}
        self.followed: dict[int, int] = {}
        self.wanted: dict[int, int] = {}
        """Mutations by request id: the cell."""
        self.answered: list[int] = []
        self.actions: set[int] = set()
        self.lost: set[int] = set()
        self.cuts = 0

    # -- what the client wants -----------------------------------------------------------------

    def mutate(self) -> None:
        cell = self.random.randrange(CELLS)
        request_id, messages = self.session.mutate(f"cell{cell}", Raw(b"{}"))
        self.wanted[request_id] = cell
        self.upward += messages

    def act(self) -> None:
        request_id, messages = self.session.act(
            f"cell{self.random.randrange(CELLS)}", Raw(b"{}"), is_repeatable=False
        )
        self.actions.add(request_id)
        self.upward += messages

    def follow(self) -> None:
        cell = self.random.randrange(CELLS)
        query_id, messages = self.session.follow(f"cell{cell}", Raw(b"{}"))
        self.followed[query_id] = cell
        self.upward += messages

    def unfollow(self) -> None:
        if self.followed:
            query_id = self.random.choice(list(self.followed))
            del self.followed[query_id]
            self.view.pop(query_id, None)
            self.upward += self.session.unfollow(query_id)

    def authenticate(self) -> None:
        self.upward += self.session.authenticate("User", self.random.choice(["ann", "ben"]))

    # -- the pipe ------------------------------------------------------------------------------

    def connect(self) -> None:
        if self.shell is None:
            self.shell = Shell(self.cells)
            self.upward = self.session.connected()
            self.downward = []

    def cut(self) -> None:
        """Both ends lose what is on the way; the service may go on with what it runs."""
        if self.shell is None:
            return
        self.cuts += 1
        self._hear(self.session.disconnected("cut"))
        self.shell.core.close()
        self.shell.order = self.shell.read = None
        if self.random.random() < 0.5:
            self.ghosts.append(self.shell)
        self.shell, self.upward, self.downward = None, [], []

    def deliver_up(self) -> None:
        if self.shell is not None and self.upward:
            self.shell.receive(self.upward.pop(0))
            assert not self.shell.is_closed, "a client that keeps the protocol is served"

    def deliver_down(self) -> None:
        if self.shell is not None and self.shell.outgoing:
            self.downward.append(self.shell.take())
        if self.downward:
            self._hear(self.session.receive(self.downward.pop(0)))

    # -- the service ---------------------------------------------------------------------------

    def work(self) -> None:
        """The service does one of the things that wait."""
        shells = [*self.ghosts, *([] if self.shell is None else [self.shell])]
        for shell in self.random.sample(shells, len(shells)):
            for run in list(shell.runs):
                self.random.choice([shell.commit, shell.finish])(run)
                if self.shell is not None:
                    self.shell.touch(cell_of(run.request.udf_path))
                return
            if shell.verifying is not None:
                shell.verify()
                return
            if shell.is_computing:
                shell.compute()
                return

    def others_commit(self) -> None:
        cell = self.random.randrange(CELLS)
        self.cells.commit(cell, f"other{self.cells.ts}")
        if self.shell is not None:
            self.shell.touch(cell)

    # -- what the client hears -----------------------------------------------------------------

    def _hear(self, events: Any) -> None:
        for event in events:
            match event:
                case Moved(ts=ts, changes=changes):
                    for change in changes:
                        assert isinstance(change, QueryUpdated)
                        self.view[change.query_id] = JSON.read(change.value)
                    for query_id, value in self.view.items():
                        truth = self.cells.at(self.followed[query_id], ts)
                        assert value == truth, "everything shown is true at one timestamp"
                case Answered(request_id, MutationResponse(success=success)):
                    assert success
                    self.answered.append(request_id)
                    for query_id, cell in self.followed.items():
                        if cell == self.wanted[request_id] and query_id in self.view:
                            assert f"s:{request_id}" in self.view[query_id], "reads its own write"
                case Answered(request_id):
                    self.actions.remove(request_id)
                case Lost(request_id):
                    self.lost.add(request_id)
                    self.actions.remove(request_id)

    # -- runs ----------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Random steps, then an end in which all is answered."""
        weighted = [
            (self.mutate, 3), (self.act, 1), (self.follow, 1), (self.unfollow, 1),
            (self.authenticate, 1), (self.connect, 3), (self.cut, 1), (self.deliver_up, 12),
            (self.deliver_down, 12), (self.work, 12), (self.others_commit, 2),
        ]  # fmt: skip
        choices, weights = zip(*weighted, strict=True)
        for step in self.random.choices(choices, weights, k=steps):
            step()
        self.settle()

    def settle(self) -> None:
        self.connect()
        for _ in range(10_000):
            for step in (self.deliver_up, self.work, self.deliver_down):
                step()
            shells = [*self.ghosts, self.shell]
            is_busy = any(
                each.runs or each.is_computing or each.verifying for each in shells if each
            )
            assert self.shell is not None
            if not (is_busy or self.upward or self.downward or self.shell.outgoing):
                break
        else:
            raise AssertionError("it never comes to rest")
        assert self.answered == sorted(self.wanted), "each is answered once, in order"
        tokens = [token for _, _, token in self.cells.history]
        for request_id in self.wanted:
            assert tokens.count(f"s:{request_id}") == 1, "each happens once"
        assert not self.actions
        newest = {query_id: self.cells.at(cell, self.cells.ts)
                  for query_id, cell in self.followed.items()}  # fmt: skip
        assert self.view == newest, "everything followed converges"
