"""What a live query can follow: a function with arguments, or a SQL text.

Live SQL reruns when a table it reads is touched. A maintained view will be a third source here,
with the same `key` and `compute`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from livedb.canonical import canonical, canonical_arguments
from livedb.errors import FunctionNotFoundError, FunctionTypeError, InvalidValueError, LivedbError
from livedb.functions.call import Call
from livedb.functions.definition import FunctionDefinition
from livedb.functions.runner import QueryRun, Runner
from livedb.identity import Identity
from livedb.live.live_query import Computed
from livedb.live.result import Result, TableResult, result_of
from livedb.text import encode_value
from livedb.transactions.reads import ReadSet
from livedb.values import Value

if TYPE_CHECKING:
    import pyarrow as pa

_new_tuple = tuple.__new__
"""Makes a named tuple three times as fast as its class does."""


EVERYBODY = object()
"""Stands for the identity of a run that serves whoever follows, as most functions allow."""


class FunctionSource:
    """A query function and its arguments; follows redefinitions by name."""

    def __init__(
        self,
        runner: Runner,
        name: str,
        args: Mapping[str, Value],
        *,
        identity: Identity | object | None = None,
        is_public_only: bool = False,
        is_from_wire: bool = False,
        keeps_page: bool = False,
        journal: str | None = None,
    ) -> None:
        """Follow a function.

        Args:
            identity: as whom it runs; EVERYBODY shares the run with all others who follow as
                EVERYBODY, and a function that asks who calls then fails with `IdentityWanted`.
            is_public_only: an internal function is as one that is not there.
            is_from_wire: its arguments came as JSON, where every number is a float.
            keeps_page: a page keeps the end that its first run gave it, and grows and shrinks with
                what lies between, so that a client's pages neither gap nor overlap. Without it
                every run is a fresh one.
            journal: where the page ended when it was followed before.
        """
        self._runner = runner
        self.name = name
        self.args = dict(args)
        self.identity = identity
        self.journal = journal
        self._keeps_page = keeps_page
        self._is_public_only = is_public_only
        self._is_from_wire = is_from_wire
        ordered = [[key, self.args[key]] for key in sorted(self.args)]
        known = None
        if isinstance(identity, Identity):
            known = (identity.token_identifier, repr(sorted(identity.claims.items())))
        whose = "everybody" if identity is EVERYBODY else known
        self.key: Hashable = (
            "function", name, encode_value(ordered), whose, is_public_only, is_from_wire,
            keeps_page, journal,
        )  # fmt: skip
        self.uses_sql = False
        self._checked: tuple[FunctionDefinition, Mapping[str, Value]] | None = None
        """The definition that `args` were last checked for, and what it made of them."""

    @property
    def title(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        return f"{self.name}({shown})"

    @property
    def definition(self) -> FunctionDefinition:
        return self._runner.registry.get(self.name)

    def _visible_definition(self) -> FunctionDefinition:
        if not self._is_public_only:
            return self.definition
        found = self._runner.registry.find(self.name)
        if found is None or found.visibility != "public":  # which others there are is not said
            raise FunctionNotFoundError(f"Could not find public function for '{self.name}'.")
        return found

    def compute(self, number: int) -> Computed:
        return _apart(lambda: self._compute(number))

    def _compute(self, number: int) -> Computed:
        try:
            function = self._visible_definition()
            args = self._arguments_for(function)
        except LivedbError as error:
            return Computed(result=None, error=error, number=number, reads=ReadSet())
        is_known = self.identity is not EVERYBODY
        call = Call(
            identity=self.identity if isinstance(self.identity, Identity) else None,
            is_identity_known=is_known,
            journal=self.journal,
        )
        run = self._runner.run_query(function, args, at=number, call=call)
        self.uses_sql = bool(run.reads.whole_tables)
        if call.asks_identity and not is_known:
            return Computed(None, IdentityWanted(self.name), run.number, run.reads)
        if self._keeps_page and run.error is None:
            self.journal = call.journal
        return _computed(self._runner, run, function, call.log_lines)

    def _arguments_for(self, function: FunctionDefinition) -> Mapping[str, Value]:
        """The arguments as `function` takes them: a private copy, because a run may change them.

        Raises:
            LivedbError: it was redefined as something that does not take them.
        """
        checked = self._checked
        if checked is None or checked[0] is not function:
            if function.kind != "query":
                raise FunctionTypeError(
                    f"{self.name!r} was redefined as a {function.kind}, which cannot be followed"
                )
            arguments = function.check_arguments(self.args, from_wire=self._is_from_wire)
            checked = self._checked = (function, arguments)
        return canonical_arguments(checked[1])


def _apart(compute: Callable[[], Computed]) -> Computed:
    """`compute()`, whose errors keep nothing of whoever asked.

    An error keeps its frames, and a frame the one that called it: in a live query's state it would
    keep the variables of who happened to pull, the handle among them. A generator that stands at
    its `yield` was called by nobody.
    """

    def once() -> Iterator[Computed]:
        yield compute()

    return next(once())


def _computed(
    runner: Runner, run: QueryRun, function: FunctionDefinition, log_lines: Sequence[str] = ()
) -> Computed:
    error: Exception | None = run.error
    result: Result | None = None
    if error is None:
        try:
            is_canonical = function.signature.returns is not None
            kept = result_of(run.value, is_canonical=is_canonical)
            runner.calling.check_result_size(function, kept.size_bytes)
            result = kept
        except InvalidValueError as refused:
            error = function.no_value(refused)
        except LivedbError as refused:
            error = refused
    number, reads, is_volatile = run.number, run.reads, run.is_volatile
    return _new_tuple(Computed, (result, error, number, reads, is_volatile, tuple(log_lines)))


class IdentityWanted(LivedbError):  # noqa: N818  # no failure: an outcome that asks for another run
    """The function asks who calls, so it must be followed for each caller."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} asks who calls")


class SqlAt(Protocol):
    """Reads SQL exactly at a commit; the workspace implements it."""

    def sql_at(
        self, number: int, text: str, params: Mapping[str, Any] | Iterable[Any] | None
    ) -> tuple[pa.Table, ReadSet]: ...

    def sql_reads(self, number: int, text: str) -> ReadSet:
        """What a statement that failed may depend on: at least every table it names."""
        ...


class SqlSource:
    """A SQL text and its parameters."""

    uses_sql = True
    journal = None

    def __init__(
        self, reader: SqlAt, text: str, params: Mapping[str, Any] | Iterable[Any] | None
    ) -> None:
        self._reader = reader
        self.text = text
        self.params: Any = (
            dict(params)
            if isinstance(params, Mapping)
            else (None if params is None else list(params))
        )
        self.key: Hashable = ("sql", text, encode_value(canonical(self.params)))

    @property
    def title(self) -> str:
        return " ".join(self.text.split())

    def compute(self, number: int) -> Computed:
        return _apart(lambda: self._compute(number))

    def _compute(self, number: int) -> Computed:
        try:
            table, reads = self._reader.sql_at(number, self.text, self.params)
        except LivedbError as error:
            if error.is_transient:
                raise
            # Follow what it names, so that it recovers by itself.
            reads = self._reader.sql_reads(number, self.text)
            return Computed(result=None, error=error, number=number, reads=reads)
        return Computed(result=TableResult(table), error=None, number=number, reads=reads)


class InlineSource:
    """A query that is not registered under a name, such as a narrowed table."""

    uses_sql = False
    journal = None

    def __init__(
        self, runner: Runner, function: FunctionDefinition, args: Mapping[str, Value]
    ) -> None:
        self._runner = runner
        self._function = function
        self._args = args
        self.key: Hashable = ("inline", function.name, encode_value(canonical(dict(args))))
        self.title = function.name

    @property
    def definition(self) -> FunctionDefinition:
        return self._function

    def compute(self, number: int) -> Computed:
        return _apart(lambda: self._compute(number))

    def _compute(self, number: int) -> Computed:
        run = self._runner.run_query(self._function, self._args, at=number)
        return _computed(self._runner, run, self._function)
