"""What a live query can follow: a function with arguments, or a SQL text.

Live SQL reruns when a table it reads is touched. A maintained view will be a third source here,
with the same `key` and `compute`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from livedb.errors import FunctionTypeError, LivedbError
from livedb.functions.definition import FunctionDefinition
from livedb.functions.runner import QueryRun, Runner
from livedb.live.live_query import Computed
from livedb.live.result import Result, TableResult, result_of
from livedb.text import encode_value
from livedb.transactions.reads import ReadSet
from livedb.values import Value, canonical, canonical_arguments

if TYPE_CHECKING:
    import pyarrow as pa

_new_tuple = tuple.__new__
"""Makes a named tuple three times as fast as its class does."""


class FunctionSource:
    """A query function and its arguments; follows redefinitions by name."""

    def __init__(self, runner: Runner, name: str, args: Mapping[str, Value]) -> None:
        self._runner = runner
        self.name = name
        self.args = dict(args)
        ordered = [[key, self.args[key]] for key in sorted(self.args)]
        self.key: Hashable = ("function", name, encode_value(ordered))
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

    def compute(self, number: int) -> Computed:
        try:
            function = self._runner.registry.get(self.name)
            args = self._arguments_for(function)
        except LivedbError as error:
            return Computed(result=None, error=error, number=number, reads=ReadSet())
        run = self._runner.run_query(function, args, at=number)
        self.uses_sql = bool(run.reads.whole_tables)
        return _computed(self._runner, run, function)

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
            checked = self._checked = (function, function.check_arguments(self.args))
        return canonical_arguments(checked[1])


def _computed(runner: Runner, run: QueryRun, function: FunctionDefinition) -> Computed:
    error: Exception | None = run.error
    result: Result | None = None
    if error is None:
        try:
            is_canonical = function.signature.returns is not None
            kept = result_of(run.value, is_canonical=is_canonical)
            runner.check_result_size(function, kept.size_bytes)
            result = kept
        except LivedbError as refused:
            error = refused
    return _new_tuple(Computed, (result, error, run.number, run.reads, run.is_volatile))


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

    def __init__(self, runner: Runner, function: FunctionDefinition) -> None:
        self._runner = runner
        self._function = function
        self.key: Hashable = ("inline", function.name)
        self.title = function.name

    @property
    def definition(self) -> FunctionDefinition:
        return self._function

    def compute(self, number: int) -> Computed:
        run = self._runner.run_query(self._function, {}, at=number)
        return _computed(self._runner, run, self._function)
