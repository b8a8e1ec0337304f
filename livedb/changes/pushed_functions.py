"""Pushed functions: what each looked like, as commits like any other.

Whoever replays the log (another node, a look at the past) learns in order which functions a
workspace had: their source, their kind and the types of their arguments. Nothing is ever run from
there. Functions of cells are not logged: they belong to their notebook.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress

from livedb.changes.parts import Parts
from livedb.commitlog.payload import PushedFunction, functions_part
from livedb.functions.definition import FunctionDefinition
from livedb.transactions.committer import CommitDetails, CommitRequest
from livedb.transactions.reads import ReadSet, WriteSet


class PushedFunctions:
    """Logs the functions pushed to one workspace, when they changed since the last push."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: dict[str, PushedFunction] = {}
        """As last logged by this process; a first push after an open is logged again."""

    def log(self, functions: Sequence[FunctionDefinition], *, author: str | None = None) -> None:
        """Commit what changed of `functions`; costs nothing when none did."""
        changed = [
            pushed
            for function in functions
            if (pushed := _pushed(function)) != self._known.get(function.name)
        ]
        if not changed:
            return
        begin, epoch, _ = self._parts.committer.begin()
        self._parts.runner.commit(
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
