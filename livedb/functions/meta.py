"""`ctx.meta`: what a function can learn of its own run.

Source: Convex's `ctx.meta` (features.md 1). Places are the run's, so nothing here is a read: a live
query is not run again because of it.
"""

from __future__ import annotations

from livedb.functions.call import Call
from livedb.functions.definition import FunctionDefinition, wire_kind
from livedb.functions.run import Run
from livedb.values import Document


class FunctionMeta:
    """`ctx.meta` of every function."""

    def __init__(self, function: FunctionDefinition) -> None:
        self._function = function

    def get_function_metadata(self) -> Document:
        """`name`, `componentPath` (always ""), `type` ("query", ..) and `visibility`."""
        function = self._function
        return Document(
            name=function.name,
            componentPath="",
            type=wire_kind(function.kind)[:1].lower() + wire_kind(function.kind)[1:],
            visibility=function.visibility,
        )


class QueryMeta(FunctionMeta):
    """`ctx.meta` of a query."""

    def __init__(self, function: FunctionDefinition, run: Run) -> None:
        super().__init__(function)
        self._run = run

    def get_transaction_metrics(self) -> Document:
        """What the transaction has used of its limits so far: `{used, remaining}` of each.

        `bytesRead bytesWritten databaseQueries documentsRead documentsWritten functionsScheduled
        scheduledFunctionArgsBytes`. Nested functions share their caller's transaction.
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


class MutationMeta(QueryMeta):
    """`ctx.meta` of a mutation."""

    def get_request_metadata(self) -> Document:
        """Who asked: see `request_metadata`."""
        return request_metadata(self._run.call)


class ActionMeta(FunctionMeta):
    """`ctx.meta` of an action."""

    def __init__(self, function: FunctionDefinition, call: Call) -> None:
        super().__init__(function)
        self._call = call

    def get_request_metadata(self) -> Document:
        """Who asked: see `request_metadata`."""
        return request_metadata(self._call)


def request_metadata(call: Call | None) -> Document:
    """What is known of a request.

    `requestId`, by which a mutation that is sent again is known, and `scheduledFunctionId`, of the
    scheduled function that this is a run of; None where there is none, as in a cell's call.
    """
    return Document(
        requestId=None if call is None else call.mutation_id,
        scheduledFunctionId=None if call is None else call.job,
    )
