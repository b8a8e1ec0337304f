"""`ctx.meta`: what a function can learn of its own run.

Source: Convex's `ctx.meta` (features.md 1). Places are the run's, so nothing here is a read: a live
query is not run again because of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from livedb.functions.absent import absent
from livedb.functions.call import Call
from livedb.functions.definition import FunctionDefinition, wire_kind
from livedb.functions.run import Run
from livedb.identity import NOWHERE
from livedb.values import Document, Int64

_FILE_METRICS = ("filesWritten", "fileWriteBytes", "filesRead", "fileReadBytes")
"""Of Convex's mutations, which may store and read files; here actions do that."""


class Commits(Protocol):
    """Knows when a run's snapshot was committed; `functions.calling` implements it."""

    def snapshot_ts(self, run: Run) -> int: ...


class FunctionMeta:
    """`ctx.meta` of every function."""

    def __init__(self, function: FunctionDefinition, workspace: str) -> None:
        self._function = function
        self._workspace = workspace

    if not TYPE_CHECKING:  # else no misspelt attribute would be found

        def __getattr__(self, name: str) -> Any:
            raise absent(self._function.kind, f"meta.{name}")

    def get_function_metadata(self) -> Document:
        """`name`, `componentPath` (always ""), `type` ("query", ..) and `visibility`."""
        function = self._function
        return Document(
            name=function.name,
            componentPath="",
            type=wire_kind(function.kind)[:1].lower() + wire_kind(function.kind)[1:],
            visibility=function.visibility,
        )

    def get_deployment_metadata(self) -> Document:
        """`name` of the workspace; `region` and `class`, which Convex's cloud has, are None."""
        return Document({"name": self._workspace, "region": None, "class": None})


class QueryMeta(FunctionMeta):
    """`ctx.meta` of a query."""

    def __init__(
        self, function: FunctionDefinition, workspace: str, run: Run, commits: Commits
    ) -> None:
        super().__init__(function, workspace)
        self._run = run
        self._commits = commits

    def get_transaction_metrics(self) -> Document:
        """What the transaction has used of its limits so far: `{used, remaining}` of each.

        `bytesRead bytesWritten databaseQueries documentsRead documentsWritten functionsScheduled
        scheduledFunctionArgsBytes`. Nested functions share their caller's transaction.
        `filesWritten fileWriteBytes filesRead fileReadBytes` have 0 used and 0 remaining: the
        bytes of files are for actions.
        """
        usage = self._run.snapshot.usage
        limits = usage.limits
        pairs = {
            "bytesRead": (usage.bytes_read, limits.bytes_read_max),
            "bytesWritten": (usage.bytes_written, limits.bytes_written_max),
            "databaseQueries": (usage.index_ranges, limits.index_ranges_max),
            "documentsRead": (usage.documents_read, limits.documents_read_max),
            "documentsWritten": (usage.documents_written, limits.documents_written_max),
            "functionsScheduled": (usage.functions_scheduled, limits.functions_scheduled_max),
            "scheduledFunctionArgsBytes": (usage.scheduled_bytes, limits.scheduled_bytes_max),
            **dict.fromkeys(_FILE_METRICS, (0, 0)),
        }
        return Document(
            {
                name: {"used": used, "remaining": max(0, most - used)}
                for name, (used, most) in pairs.items()
            }
        )

    def get_snapshot_number(self) -> int:
        """The number of the commit that the transaction reads.

        As with `ctx.now`, a result that was made with it is given out once and not kept.
        """
        self._run.is_observed = True
        return self._run.snapshot.number

    def get_snapshot_ts(self) -> Int64:
        """When the commit that the transaction reads was made, in ns since the Unix epoch.

        Commits follow each other in it, so no later one has this timestamp or an earlier one. A
        result that was made with it is given out once and not kept.

        Raises:
            SnapshotTooOldError: in the past, the log no longer has that commit.
        Cost: a mutation that began while the commit was on its way to the disk waits for that.
        """
        self._run.is_observed = True
        return Int64(self._commits.snapshot_ts(self._run))


class MutationMeta(QueryMeta):
    """`ctx.meta` of a mutation."""

    def get_request_metadata(self) -> Document:
        """Who asked: see `request_metadata`."""
        return request_metadata(self._run.call)


class ActionMeta(FunctionMeta):
    """`ctx.meta` of an action."""

    def __init__(self, function: FunctionDefinition, workspace: str, call: Call) -> None:
        super().__init__(function, workspace)
        self._call = call

    def get_request_metadata(self) -> Document:
        """Who asked: see `request_metadata`."""
        return request_metadata(self._call)


def request_metadata(call: Call | None) -> Document:
    """What is known of a request.

    `ip` of the client and its `userAgent`, when the call came over a service; `requestId`, by which
    a mutation that is sent again is known, and `scheduledFunctionId`, of the scheduled function
    that this is a run of; None where there is none, as in a cell's call. What a function calls has
    the same.
    """
    origin = NOWHERE if call is None else call.origin
    return Document(
        ip=origin.ip,
        userAgent=origin.user_agent,
        requestId=None if call is None else call.mutation_id,
        scheduledFunctionId=None if call is None else call.job,
    )
