"""What a commit did to documents, in words: for each its fields before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livedb.notebook.cells import cut, visible
from livedb.text import decode_fields

if TYPE_CHECKING:
    from livedb.activity import CommitChanges, DocumentChange
    from livedb.values import Value

FIELDS_MAX = 40
"""Fields of one document that are shown."""

VALUE_CHARACTERS_MAX = 120
"""Characters of a value that are shown."""


def lines_of_changes(changes: CommitChanges) -> dict[str, Any]:
    """What the page shows of a commit: `CommitLines` in `widgets/src/model/explorer.ts`."""
    return {
        "documents": [_lines_of(each) for each in changes.documents],
        "others": changes.others,
    }


def _lines_of(change: DocumentChange) -> dict[str, Any]:
    before = None if change.before is None else decode_fields(change.before)
    after = None if change.after is None else decode_fields(change.after)
    what = "deleted" if after is None else "inserted" if before is None else "changed"
    old, new = before or {}, after or {}
    names = [name for name in {**new, **old} if not _same(name, old, new)]
    return {
        "table": visible(change.table),
        "id": change.id,
        "what": what,
        "fields": [[visible(cut(name, 60)), _text(name, old), _text(name, new)]
                   for name in names[:FIELDS_MAX]],
        "others": max(0, len(names) - FIELDS_MAX),
    }  # fmt: skip


def _same(name: str, old: dict[str, Value], new: dict[str, Value]) -> bool:
    """Whether a field is the same to the last bit, of its text."""
    return name in old and name in new and repr(old[name]) == repr(new[name])


def _text(name: str, fields: dict[str, Value]) -> str | None:
    return cut(visible(repr(fields[name])), VALUE_CHARACTERS_MAX) if name in fields else None
