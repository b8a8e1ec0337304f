"""Pushed functions: what each looked like, as commits like any other.

Whoever replays the log (another node, a look at the past) learns in order which functions a
workspace had: their source, their kind and the types of their arguments. Nothing is ever run from
there. Functions of cells are not logged: they belong to their notebook.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from contextlib import suppress

from livedb.changes.parts import Parts
from livedb.changes.schema_changes import Documents, SchemaChanges
from livedb.commitlog.payload import REMOVED, PushedFunction, functions_part
from livedb.functions.definition import FunctionDefinition, Registry
from livedb.schema.tables import TableDefinition
from livedb.transactions.commit_request import CommitDetails, CommitRequest
from livedb.transactions.reads import ReadSet, WriteSet


class PushedFunctions:
    """Logs the functions pushed to one workspace, when they changed since the last push."""

    def __init__(self, parts: Parts, *, registry: Registry, schema_changes: SchemaChanges) -> None:
        self._parts = parts
        self._registry = registry
        self._schema_changes = schema_changes
        self._known: dict[str, PushedFunction] = {}
        """As last logged by this process; a first push after an open is logged again."""

    def log(self, functions: Sequence[FunctionDefinition], *, author: str | None = None) -> None:
        """Commit what changed of `functions`; costs nothing when none did."""
        changed = self._changed(functions)
        if not changed:
            return
        begin, epoch, _ = self._parts.committer.begin()
        self._parts.committer.commit(
            CommitRequest(
                begin=begin,
                epoch=epoch,
                reads=ReadSet(),
                change=WriteSet((), frozenset(), frozenset()),
                catalog=None,
                details=CommitDetails(author=author),
                extra_parts=(functions_part(changed),),
            )
        )
        self._known.update((pushed.name, pushed) for pushed in changed)

    def replace(
        self,
        functions: Sequence[FunctionDefinition],
        *,
        gone: Collection[str],
        tables: Sequence[TableDefinition],
        documents: Documents | None = None,
        author: str | None = None,
    ) -> frozenset[str]:
        """Define functions and tables and drop the functions named `gone`, as one commit.

        Args:
            documents: writes documents of livedb's own in the same commit: crons.

        Returns the names whose function is another one now, or none.

        Raises:
            SchemaChangeError: existing documents do not fit; nothing was changed.
        """
        changed = self._changed(functions)
        removed = [_removed(name) for name in sorted(gone) if self._registry.find(name)]
        names: frozenset[str] = frozenset()

        def swap() -> None:
            nonlocal names
            names = self._registry.replace(functions, gone=gone)

        part = functions_part([*changed, *removed]) if changed or removed else None
        self._schema_changes.apply(
            tables, author=author, functions=part, documents=documents, before_visible=swap
        )
        self._known.update((pushed.name, pushed) for pushed in changed)
        for each in removed:
            self._known.pop(each.name, None)
        return names

    def _changed(self, functions: Sequence[FunctionDefinition]) -> list[PushedFunction]:
        return [
            pushed
            for function in functions
            if (pushed := _pushed(function)) != self._known.get(function.name)
        ]


def _removed(name: str) -> PushedFunction:
    return PushedFunction(
        name=name, kind=REMOVED, visibility="internal", source=None, args=None, returns=None
    )


def _pushed(function: FunctionDefinition) -> PushedFunction:
    source = None
    with suppress(OSError, TypeError):  # made by code, or its file is gone
        source = inspect.getsource(function.handler)
    return PushedFunction(
        name=function.name,
        kind=function.kind,
        visibility=function.visibility,
        source=source,
        args=function.signature.args_json(),
        returns=function.signature.returns_json(),
    )
