"""What the commit log holds beyond the tables, read when a workspace opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from livedb.commitlog.contract import CommitLog
from livedb.commitlog.payload import (
    ClearPart,
    DocumentsPart,
    FillPart,
    LoadPart,
    SchemaPart,
    SettingsPart,
    WholeTablePart,
    catalog_of,
    decode_payload,
    settings_of,
)
from livedb.schema.catalog import Catalog
from livedb.store.contract import StoredDocument, Write


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredCommit:
    """One commit as the log has it, with the catalog that holds from it on."""

    number: int
    catalog: Catalog
    writes: Sequence[Write]
    whole: Sequence[WholeTablePart]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those that changed."""


def recover(log: CommitLog, *, after: int, catalog: Catalog) -> list[RecoveredCommit]:
    """The commits beyond `after`, where the tables with this catalog end, in order."""
    commits = []
    for commit in log.read(after=after):
        recovered = _recovered(commit.number, decode_payload(commit.payload), catalog)
        catalog = recovered.catalog
        commits.append(recovered)
    return commits


def _recovered(number: int, parts: Sequence[Any], catalog: Catalog) -> RecoveredCommit:
    writes: list[Write] = []
    whole: list[WholeTablePart] = []
    settings: dict[str, Any] = {}
    for part in parts:
        match part:
            case SchemaPart():
                catalog = Catalog.from_json(catalog_of(part))
            case DocumentsPart():
                writes += [_recovered_write(write) for write in part.writes]
            case LoadPart() | FillPart() | ClearPart():
                whole.append(part)
            case SettingsPart():
                settings |= settings_of(part)
            case _:
                pass  # functions: read by their own floor
    return RecoveredCommit(
        number=number, catalog=catalog, writes=writes, whole=whole, settings=settings
    )


def _recovered_write(write: Any) -> Write:
    """A logged write. What it replaced is in the tables, which is where the fold looks for it."""
    table, document_id, creation_time, text = write
    if text is None:
        return Write(table, document_id, None, None)
    return Write(table, document_id, None, StoredDocument(creation_time, text))
