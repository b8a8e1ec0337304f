"""The verbs that read the past of a workspace, and the one that undoes a commit.

Who may read tables may read them as they were. A viewer or member may not: what they see is what
functions let them see, and a function asks the documents of then who may see what.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from livedb.errors import InvalidValueError
from livedb.live.result import ipc_bytes
from livedb.store.position import Position

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.values import Value
    from livedb.workspace import Workspace


class PastCalls:
    """Answers what clients ask of the past of one workspace: a value, and attachments."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def past(self, fields: Mapping[str, Value]) -> Value:
        """The commit that a number or time means, and when it was."""
        number = self._workspace.pasts.number_of(_when(fields))
        return [number, self._workspace.pasts.time_of(number)]

    def history(self, fields: Mapping[str, Value]) -> tuple[bytes, ...]:
        """Every kept version of a document."""
        table, document_id = _text(fields, "table"), _text(fields, "id")
        return (ipc_bytes(self._workspace.changes.history(table, document_id)),)

    def changed(self, fields: Mapping[str, Value]) -> tuple[Value, tuple[bytes, ...]]:
        """The next changes behind a position, and the position they end at."""
        try:
            position = msgspec.convert(fields.get("position"), Position)
            until = msgspec.convert(fields.get("until"), int)
            table = msgspec.convert(fields.get("table"), str | None)
        except msgspec.ValidationError as error:
            raise InvalidValueError(f"changed: {error}") from None
        rows: pa.Table
        until = min(until, self._workspace.committer.published)
        rows, end = self._workspace.changes.page(position, until=until, table=table)
        return list(end), (ipc_bytes(rows),)

    def undo(self, fields: Mapping[str, Value], author: str | None) -> Value:
        """Undo a commit; the number of the one that does it."""
        number: Any = fields.get("number")
        return self._workspace.undoing.undo(number, author=author)


def _when(fields: Mapping[str, Value]) -> int | datetime:
    when: Any = fields.get("when")
    return when  # type: ignore[no-any-return]  # `number_of` refuses what is neither


def _text(fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidValueError(f"{name!r} is a text", path=f".{name}")
    return value
