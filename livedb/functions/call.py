"""A call from outside: for whom a function runs, and what comes of it beside its result.

Cells call for nobody in particular; a service makes one `Call` for each call and live query of its
clients.
"""

from __future__ import annotations

from livedb.identity import Identity


class Call:
    """One call.

    Attributes:
        mutation_id: by what a retry is known, `session:request`; None cannot be recognised.
        author: who is named in the log.
        identity: what `ctx.auth` shows.
        is_identity_known: without it, a run that asks who calls has a void outcome, and
            `asks_identity` says so: the same run serves everybody else.
        journal: where the page of a paginated query ends: what an earlier run left, and after a
            run what this one did.
        log_lines: what the function printed.
        asks_identity: the function looked at who calls.
        is_committing: the user's function is done and its commit is on its way, so it may be seen
            before the caller hears of it.
        ts: of the commit of a mutation that wrote or has an id.
    """

    __slots__ = (
        "asks_identity",
        "author",
        "identity",
        "is_committing",
        "is_identity_known",
        "journal",
        "log_lines",
        "mutation_id",
        "ts",
    )

    def __init__(
        self,
        *,
        mutation_id: str | None = None,
        author: str | None = None,
        identity: Identity | None = None,
        is_identity_known: bool = True,
        journal: str | None = None,
    ) -> None:
        self.mutation_id = mutation_id
        self.author = author
        self.identity = identity
        self.is_identity_known = is_identity_known
        self.journal = journal
        self.log_lines: list[str] = []
        self.asks_identity = False
        self.is_committing = False
        self.ts: int | None = None

    def ask_identity(self) -> Identity | None:
        """Who calls, as a function asks it.

        Raises:
            IdentityWantedError: the run is for everybody; it must be run again for one.
        """
        self.asks_identity = True
        if not self.is_identity_known:
            raise IdentityWantedError
        return self.identity


class IdentityWantedError(BaseException):
    """Ends a run for everybody whose function asked who calls.

    Not an `Exception`, so that no `except Exception` of a user's goes on without an answer; whoever
    catches it all the same is found by `Call.asks_identity`.
    """
