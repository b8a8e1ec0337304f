"""A call from outside: for whom a function runs, and what comes of it beside its result.

Cells call for nobody in particular; a service makes one `Call` for each call and live query of its
clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from livedb.errors import FunctionTypeError
from livedb.identity import NOWHERE, Identity, Origin

LOG_LINES_MAX = 256
"""Lines of one call that are kept (Convex); a last one says that there were more."""

LOG_LINE_CHARACTERS_MAX = 32_768
"""Of one line (Convex); what is longer is cut."""


class Cancellation:
    """Whether whoever asked for an action still waits for it. Used on any thread; takes no lock."""

    __slots__ = ("_hearing", "is_cancelled")

    def __init__(self) -> None:
        self.is_cancelled = False
        self._hearing: set[Callable[[], object]] = set()

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self.is_cancelled = True
        self._tell()

    @contextmanager
    def telling(self, hear: Callable[[], object]) -> Iterator[None]:
        """Within it `hear` is called once if this is cancelled, or was; on whichever thread."""
        self._hearing.add(hear)
        try:
            if self.is_cancelled:
                self._tell()
            yield
        finally:
            self._hearing.discard(hear)

    def _tell(self) -> None:
        with suppress(KeyError):  # when there is none left; each is taken by one thread
            while True:
                self._hearing.pop()()


class Call:
    """One call.

    Attributes:
        mutation_id: by what a retry is known, `session:request`; None cannot be recognised.
        is_new: whether that id surely was never committed, so that the log need not be asked.
        author: who is named in the log.
        origin: from where it came.
        job: the id of the scheduled function that this is a run of, or is called by.
        identity: what `ctx.auth` shows.
        is_identity_known: without it, a run that asks who calls has a void outcome, and
            `asks_identity` says so: the same run serves everybody else.
        journal: where the page of a paginated query ends: what an earlier run left, and after a
            run what this one did.
        log_lines: what the function printed and logged, each as `[LEVEL] text`.
        parent: the call of the action that makes this one, whose log lines these become.
        depth: how many actions are around it.
        cancellation: of an action, by whoever waits for it; None where nobody can.
        unfinished: what was printed without a line's end.
        asks_identity: the function looked at who calls.
        is_committing: the user's function is done and its commit is on its way, so it may be seen
            before the caller hears of it.
        ts: of the commit of a mutation that wrote or has an id.
    """

    __slots__ = (
        "asks_identity",
        "author",
        "cancellation",
        "depth",
        "identity",
        "is_committing",
        "is_identity_known",
        "is_new",
        "job",
        "journal",
        "log_lines",
        "mutation_id",
        "origin",
        "parent",
        "ts",
        "unfinished",
    )

    def __init__(
        self,
        *,
        mutation_id: str | None = None,
        is_new: Callable[[], bool] | None = None,
        author: str | None = None,
        identity: Identity | None = None,
        is_identity_known: bool = True,
        journal: str | None = None,
        parent: Call | None = None,
        job: str | None = None,
        cancellation: Cancellation | None = None,
        origin: Origin = NOWHERE,
    ) -> None:
        self.mutation_id = mutation_id
        self.is_new = is_new
        self.author = author
        self.identity = identity
        self.is_identity_known = is_identity_known
        self.journal = journal
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.job = job
        self.cancellation = cancellation
        self.origin = origin
        self.log_lines: list[str] = []
        self.unfinished = ""
        self.asks_identity = False
        self.is_committing = False
        self.ts: int | None = None

    def nested(self, cancellation: Cancellation | None) -> Call:
        """A call by an action that runs for this one, as the same caller."""
        return Call(
            author=self.author,
            identity=self.identity,
            parent=self,
            job=self.job,
            cancellation=cancellation,
            origin=self.origin,
        )

    # -- log lines -----------------------------------------------------------------------------

    def print(self, text: str) -> None:
        """Keep what was printed; lines end where `text` ends them."""
        *lines, self.unfinished = f"{self.unfinished}{text}".split("\n")
        for line in lines:
            self.log("LOG", line)
        self.unfinished = self.unfinished[:LOG_LINE_CHARACTERS_MAX]

    def log(self, level: str, text: str) -> None:
        """Keep a line of one of the levels LOG, DEBUG, INFO, WARN, ERROR."""
        self._keep(f"[{level}] {text[:LOG_LINE_CHARACTERS_MAX]}")

    def _keep(self, line: str) -> None:
        if len(self.log_lines) < LOG_LINES_MAX:
            self.log_lines.append(line)
        elif len(self.log_lines) == LOG_LINES_MAX:
            self.log_lines.append(f"[WARN] More than {LOG_LINES_MAX} lines; the rest is left out")

    def begin_run(self) -> None:
        """Forget the lines of a run that is made again."""
        self.log_lines = []
        self.unfinished = ""

    def end_run(self) -> None:
        """End the last line, and hand the lines to the action that made this call."""
        if self.unfinished:
            self.log("LOG", self.unfinished)
            self.unfinished = ""
        if self.parent is not None:
            for line in self.log_lines:
                self.parent._keep(line)  # noqa: SLF001 - a call of its own kind

    # -- identity ------------------------------------------------------------------------------

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


NO_ARGUMENTS: Mapping[str, Any] = {}
"""Stands for no arguments by position."""


def run_arguments(given: Mapping[str, Any], named: dict[str, Any]) -> Mapping[str, Any]:
    """The arguments of a nested call, given in one dict, by keyword, or both.

    Raises:
        FunctionTypeError: one by position that is no dict.
        TypeError: one is given twice, as Python raises it.
    """
    if given is NO_ARGUMENTS:
        return named
    if not isinstance(given, Mapping):
        raise FunctionTypeError(
            f"Functions take their arguments by name, as in ctx.run_query(f, x=1) or "
            f"ctx.run_query(f, {{'x': 1}}), and this is {given!r} by position"
        )
    twice = [name for name in named if name in given]
    if twice:
        raise TypeError(f"the call got multiple values for argument {twice[0]!r}")
    return {**given, **named}
