"""Tables in and out of a workspace, many at once: snapshot zips, and files of one table each.

An export is of one commit. An import is one commit, or nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from livedb.changes.bulk_loads import TableLoad
from livedb.errors import InvalidValueError, LoadError
from livedb.files.pieces import pieces_of
from livedb.functions.definition import did_you_mean
from livedb.ids import table_number_of
from livedb.limits import JSON_ARRAY_BYTES_MAX
from livedb.schema.tables import FILES_TABLE, STORAGE_TABLE, check_table_name
from livedb.store.connection import CtrlC
from livedb.values import Value
from livedb.workspace import Workspace

if TYPE_CHECKING:
    from livedb.interchange.exports import ExportResult, Format
    from livedb.interchange.snapshot_export import SnapshotExport
    from livedb.interchange.snapshot_zip import SnapshotFile
    from livedb.interchange.sources import Source
    from livedb.live.folded_sql import FoldedSql, WholeTable

ImportMode: TypeAlias = Literal["new", "append", "replace", "replace-all"]
"""What becomes of documents that are there: "new" refuses tables that have some, "append" adds to
them, "replace" replaces them, "replace-all" empties every other table as well."""

FileFormat: TypeAlias = Literal["parquet", "csv", "jsonl", "json"]
"""Files of one table that are read; "json" is one array of objects."""

Report: TypeAlias = Callable[[str, int], None]
"""Is told a table and its rows so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import brought: rows by table, the commit, and what was left out."""

    rows: Mapping[str, int]
    number: int
    notes: Sequence[str] = ()


def export_snapshot(
    workspace: Workspace,
    path: str | os.PathLike[str],
    *,
    tables: Collection[str] | None = None,
    has_files: bool | None = None,
    overwrite: bool = False,
    progress: Report | None = None,
) -> SnapshotExport:
    """Write tables (None: all) as Convex's snapshot zip.

    Args:
        has_files: whether files are in it; by default they are when all tables are.

    Raises:
        LoadError: there is no such table; or the target exists, or cannot be written.
        DamagedError: the content of a file is lost; nothing is written.
        FileError: contents cannot be reached just now; nothing is written.
    """
    from livedb.interchange.snapshot_export import write_snapshot

    workspace.require_open()
    is_whole = tables is None if has_files is None else has_files
    files = workspace.file_storage
    with files.paused(), CtrlC(), workspace.folder.snapshot() as snapshot:
        catalog = workspace.committer.catalog_at(snapshot.number)
        chosen = {}
        for name in _chosen(tables, catalog.names()):
            table = catalog.get(name)
            assert table is not None, "it was chosen from those there are"
            chosen[name] = table.number
        return write_snapshot(
            snapshot,
            chosen,
            path,
            contents=files.contents.damage if is_whole else None,
            overwrite=overwrite,
            progress=progress,
        )


def export_tables(
    workspace: Workspace,
    target: Path,
    *,
    format: Format,  # noqa: A002 - the word users know
    tables: Collection[str] | None = None,
    overwrite: bool = False,
) -> list[ExportResult]:
    """Write tables (None: all) as files of their own, as SQL shows them.

    Args:
        target: a file, for one table; or a folder.

    Raises:
        LoadError: as `export_snapshot`.
    """
    workspace.require_open()
    known = workspace.committer.catalog_at(workspace.committer.published).names()
    files = files_of(target, tables, known, format)
    exported = _export(workspace.folded_sql, files, format, overwrite=overwrite)
    return [each for each, _ in exported]


def export_table(
    workspace: Workspace,
    name: str,
    path: Path,
    *,
    format: Format | None = None,  # noqa: A002 - the word users know
    overwrite: bool = False,
    sql: FoldedSql | None = None,
) -> tuple[ExportResult, tuple[str, ...]]:
    """Write one table as a file, as SQL shows it; returns the fields that it does not show as well.

    Args:
        format: None: what the path's ending says.
        sql: reads another commit than the newest.

    Raises:
        LoadError: the target exists, or cannot be written.
        SqlError: there is no such table.
    """
    workspace.require_open()
    reader = workspace.folded_sql if sql is None else sql
    [exported] = _export(reader, {name: path}, format, overwrite=overwrite)
    return exported


def _export(
    sql: FoldedSql,
    files: Mapping[str, Path],
    format: Format | None,  # noqa: A002 - the word users know
    *,
    overwrite: bool,
) -> list[tuple[ExportResult, tuple[str, ...]]]:
    import pyarrow as pa

    from livedb.interchange.arrow import mark_int64
    from livedb.interchange.exports import export
    from livedb.interchange.frames import fields_of
    from livedb.store.sql import RowStream

    exported = []

    def use(table: WholeTable) -> None:
        fields = fields_of(table.definition)
        schema = mark_int64(table.rows.schema.empty_table(), fields).schema
        batches = (
            pa.RecordBatch.from_arrays(each.columns, schema=schema) for each in table.rows.batches
        )
        rows = RowStream(schema, batches)
        path = files[table.name]
        result = export(rows, path, format=format, number=table.number, overwrite=overwrite)
        exported.append((result, table.hidden))

    sql.whole_tables(list(files), use)
    return exported


def files_of(
    target: Path,
    tables: Collection[str] | None,
    known: Collection[str],
    format: Format,  # noqa: A002 - the word users know
) -> dict[str, Path]:
    """The file of each table to export (None: all that are known) to a file or a folder.

    Raises:
        LoadError: there is no such table; or several, and no folder.
    """
    names = _chosen(tables, known)
    if target.is_dir():
        return {name: target / f"{name}.{format}" for name in names}
    if len(names) != 1:
        raise LoadError(
            f"{len(names)} tables need a folder that exists, and {str(target)!r} is none; make it, "
            "or name one table"
        )
    return {names[0]: target}


def import_snapshot(
    workspace: Workspace,
    path: str | os.PathLike[str],
    *,
    mode: ImportMode = "new",
    progress: Report | None = None,
) -> ImportResult:
    """Load a snapshot zip, files included; ids and creation times are kept.

    Raises:
        LoadError, ValidationError: what is wrong with it; nothing was changed.
    """
    from livedb.interchange.snapshot_zip import SnapshotZip

    workspace.require_open()
    with SnapshotZip(path) as snapshot, ExitStack() as stack:
        catalog = workspace.committer.catalog_at(workspace.committer.published)
        loads = []
        for table in snapshot.tables:
            known = catalog.get(table.name)
            source = table.source(None if known is None else known.definition)
            loads.append(
                _load(table.name, source, mode, number=table.number, keep_ids=table.has_ids)
            )
        with snapshot.blaming():
            loads += _file_loads(workspace, snapshot.files, mode, stack)
        rows, number = _run(workspace, loads, mode, progress)
    shown = {name: count for name, count in rows.items() if name != FILES_TABLE}
    return ImportResult(rows=shown, number=number, notes=tuple(snapshot.notes))


def _file_loads(
    workspace: Workspace, files: Sequence[SnapshotFile], mode: ImportMode, stack: ExitStack
) -> list[TableLoad]:
    """The documents of a snapshot's files, whose contents are under way until `stack` ends.

    Raises:
        LoadError: a content is not what its document says.
    """
    from livedb.interchange.sources import open_source

    if not files:
        return []
    documents, names = [], []
    for file in files:
        incoming = stack.enter_context(workspace.file_storage.incoming())
        with file.open() as content:
            for piece in pieces_of(content):
                incoming.write(piece)
        if incoming.size != file.fields["size"]:
            raise LoadError(
                f"the file {file.fields['_id']} has {incoming.size:,} bytes, and its document says "
                f"{file.fields['size']:,}"
            )
        try:
            incoming.finish(str(file.fields["sha256"]))
        except InvalidValueError as error:
            raise LoadError(f"the file {file.fields['_id']}: {error.message}") from error
        documents.append(file.fields)
        names.append({"name": incoming.name, "file": file.fields["_id"]})
    number = table_number_of(str(files[0].fields["_id"]))
    return [
        _load(STORAGE_TABLE, open_source(documents), mode, number=number, keep_ids=True),
        _load(FILES_TABLE, open_source(names), mode, number=None, keep_ids=False),
    ]


def import_table(
    workspace: Workspace,
    name: str,
    source: Source,
    *,
    mode: ImportMode = "new",
    has_new_ids: bool = False,
    progress: Report | None = None,
) -> ImportResult:
    """Load rows into one table.

    Args:
        has_new_ids: leave out the ids and creation times that rows have.

    Raises:
        LoadError, ValidationError: what is wrong with them; nothing was changed.
    """
    from livedb.interchange.sources import first_id, without_system_fields

    workspace.require_open()
    check_table_name(name)
    opened = without_system_fields(source) if has_new_ids else source
    found = first_id(opened)
    number = None if found is None else table_number_of(found)
    load = _load(name, opened, mode, number=number, keep_ids="_id" in opened.schema.names)
    rows, commit = _run(workspace, [load], mode, progress)
    return ImportResult(rows=rows, number=commit)


def import_file(
    workspace: Workspace,
    name: str,
    path: Path,
    *,
    format: FileFormat,  # noqa: A002 - the word users know
    mode: ImportMode = "new",
    has_new_ids: bool = False,
    zone: str | None = None,
    null_values: Sequence[str] = (),
    progress: Report | None = None,
) -> ImportResult:
    """Load a file into one table; text is read by the table's schema.

    Args:
        has_new_ids: leave out the ids and creation times that rows have.
        zone: of times without one.
        null_values: what a CSV file writes for null beside nothing at all.

    Raises:
        LoadError, ValidationError: what is wrong with it; nothing was changed.
    """
    from livedb.interchange.frames import fields_of
    from livedb.interchange.sources import open_source

    workspace.require_open()
    known = workspace.committer.catalog_at(workspace.committer.published).get(name)
    source = open_source(
        _array_of(path) if format == "json" else path,
        tz=zone,
        null_values=tuple(null_values),
        format=None if format == "json" else format,
        fields=None if known is None else fields_of(known.definition),
    )
    return import_table(
        workspace, name, source, mode=mode, has_new_ids=has_new_ids, progress=progress
    )


def replaced_by(
    workspace: Workspace, *, mode: ImportMode, table: str | None, path: Path
) -> dict[str, int]:
    """The tables, with their documents, that an import would empty first.

    Args:
        table: None when `path` is a snapshot zip.

    Raises:
        LoadError: it is none.
    """
    from livedb.interchange.snapshot_zip import SnapshotZip

    if table is not None:
        names = {table}
    else:
        with SnapshotZip(path) as snapshot:
            names = {each.name for each in snapshot.tables}
            names |= {STORAGE_TABLE} if snapshot.files else set()
    if not mode.startswith("replace"):
        return {}
    counts = workspace.folded_sql.counts() | {STORAGE_TABLE: workspace.file_storage.count()}
    return {
        name: count
        for name, count in counts.items()
        if count and (name in names or (mode == "replace-all" and name != STORAGE_TABLE))
    }


def _array_of(file: Path) -> list[Value]:
    """The documents of a file that is one JSON array."""
    from livedb.text import decode_value

    try:
        with file.open("rb") as stream:
            data = stream.read(JSON_ARRAY_BYTES_MAX + 1)
    except OSError as error:
        raise LoadError(f"{str(file)!r} cannot be read: {error.strerror}") from error
    if len(data) > JSON_ARRAY_BYTES_MAX:
        raise LoadError(
            f"{str(file)!r} is one JSON array of more than {JSON_ARRAY_BYTES_MAX >> 20} MiB; write "
            "one object per line instead (.jsonl)"
        )
    try:
        rows = decode_value(data)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{str(file)!r} is no JSON: {error}") from error
    if not isinstance(rows, list):
        raise LoadError(f"{str(file)!r} holds no array of objects")
    return rows


def _load(
    name: str, source: Source, mode: ImportMode, *, number: int | None, keep_ids: bool
) -> TableLoad:
    return TableLoad(
        table=name,
        source=source,
        keep_ids=keep_ids,
        number=number,
        # An empty table is replaced too: it takes the number of the ids.
        is_replaced=mode != "append",
        must_be_empty=mode == "new",
    )


def _run(
    workspace: Workspace, loads: list[TableLoad], mode: ImportMode, progress: Report | None
) -> tuple[dict[str, int], int]:
    names = [load.table for load in loads]
    if mode == "replace-all":
        catalog = workspace.committer.catalog_at(workspace.committer.published)
        loads += [
            TableLoad(table=other, source=None, is_replaced=True)
            for other in catalog.names()
            if other not in names
        ]
    if not loads:
        return {}, workspace.committer.published
    rows, number = workspace.load_tables(loads, progress=progress)
    return {name: rows[name] for name in names}, number


def _chosen(tables: Collection[str] | None, known: Collection[str]) -> list[str]:
    """The tables to export, each once."""
    if tables is None:
        return sorted(known)
    for name in tables:
        if name not in known:
            raise LoadError(f"There is no table {name!r} to export. {did_you_mean(name, known)}")
    return list(dict.fromkeys(tables))
