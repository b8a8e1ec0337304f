"""What the server's end of a connection orders, and what it is answered: plain data.

`protocol/server.py` decides; who hosts it does what it says.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from livedb.protocol.messages import Action, Authenticate, Mutation, ServerMessage


class Send(Struct, frozen=True):
    """Send a message; call `sent` when the transport has taken it, if it is a Transition."""

    message: ServerMessage


class Close(Struct, frozen=True):
    """Close the connection, after what was sent before."""

    code: int
    reason: str


class Verify(Struct, frozen=True):
    """Check a token; answer with `verified` or `refused`."""

    request: Authenticate


class Run(Struct, frozen=True):
    """Run a mutation or action; answer with `mutation_done` or `action_done`.

    Attributes:
        mutation_id: by which a retry is known: session and request.
        identity: of whom it was sent.
    """

    request: Mutation | Action
    args: Raw
    mutation_id: str | None
    identity: Any


class Followed(Struct, frozen=True):
    """One query of the query set, as the client asked for it."""

    query_id: int
    path: str
    component: str | None
    args: Raw
    journal: str | None


class Compute(Struct, frozen=True):
    """Bring the query set to the newest commit; answer with `computed`.

    Attributes:
        added: queries that are new since the last time.
        removed: queries that are gone, which were told to `Compute` before.
        identity: as whom the queries run.
        is_identity_new: every query must be run again as `identity`.
    """

    added: tuple[Followed, ...]
    removed: tuple[int, ...]
    identity: Any
    is_identity_new: bool


Effect = Send | Close | Verify | Run | Compute


# -- what the shell answers ------------------------------------------------------------------------


class Success(Struct, frozen=True):
    """A call that returned: its value, and the ts at which what it did can be seen, if any."""

    value: Raw
    log_lines: Sequence[str] = ()
    ts: int | None = None


class Failure(Struct, frozen=True):
    """A call that raised. `data`, even null, makes it the application's own error."""

    message: str
    data: Raw | UnsetType = UNSET
    log_lines: Sequence[str] = ()


class QueryState(Struct, frozen=True):
    """A query's newest state.

    Attributes:
        key: equal when nothing the client sees differs.
        outcome: what a run of it gave.
        journal: for the client to hand back when it follows the query again.
    """

    key: Hashable
    outcome: Success | Failure
    journal: str | None = None
