"""`import` and `export`: data in and out, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livedb.cli.commands import command
from livedb.cli.health import JsonOption
from livedb.cli.opening import AdminKeyOption, Place, PlaceCommand, UrlOption, backend_at, opened
from livedb.cli.terminal import confirm, note, progress_bar, say, say_json
from livedb.errors import LoadError
from livedb.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from livedb.client.backend import Backend
    from livedb.interchange.exports import ExportResult, Format
    from livedb.transfer import FileFormat, ImportMode, ImportResult


class ImportFormat(StrEnum):
    """Kinds of files that are read."""

    ZIP = "zip"
    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"


class ExportFormat(StrEnum):
    """Kinds of files that are written."""

    ZIP = "zip"
    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


class Ids(StrEnum):
    """What becomes of the ids of rows."""

    KEEP = "keep"
    NEW = "new"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(
        app,
        "import",
        cls=PlaceCommand,
        examples=[
            "import shop.livedb snapshot.zip",
            "import shop.livedb tasks.csv --table tasks --append",
            "import shop.livedb snapshot.zip --replace-all --yes",
            "import --url http://127.0.0.1:3210 snapshot.zip",
        ],
    )
    def import_(
        place: Place,
        file: Annotated[Path, typer.Argument(metavar="FILE", help="What to import.")],
        *,
        table: Annotated[
            str | None, typer.Option(help="The table, unless FILE is a snapshot zip.")
        ] = None,
        append: Annotated[bool, typer.Option("--append", help="Add to what tables have.")] = False,
        replace: Annotated[
            bool, typer.Option("--replace", help="Replace what the imported tables have.")
        ] = False,
        replace_all: Annotated[
            bool, typer.Option("--replace-all", help="Empty every other table as well.")
        ] = False,
        form: Annotated[
            ImportFormat | None, typer.Option("--format", help="When the name does not say.")
        ] = None,
        ids: Annotated[
            Ids, typer.Option(help="Keep the ids that rows have, or give each a new one.")
        ] = Ids.KEEP,
        zone: Annotated[
            str | None, typer.Option("--tz", help="The zone of times without one.")
        ] = None,
        null: Annotated[
            list[str] | None, typer.Option(help="What a CSV file writes for null, such as NA.")
        ] = None,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        as_json: JsonOption = False,
        url: UrlOption = None,
        admin_key: AdminKeyOption = None,
    ) -> None:
        """Bring a snapshot zip, a Parquet, CSV, JSON or JSON lines file into a workspace.

        One commit, or nothing. Without a mode the tables must be empty or new; a workspace that
        does not exist is made.
        """
        mode = _mode(append=append, replace=replace, replace_all=replace_all)
        chosen = form or _format_of(file)
        if chosen is ImportFormat.ZIP and table is not None:
            raise typer.BadParameter("a snapshot zip names its tables itself: leave --table out")
        if chosen is ImportFormat.ZIP and ids is Ids.NEW:
            raise typer.BadParameter("a snapshot zip keeps its ids: --ids new is for other files")
        if chosen is not ImportFormat.ZIP and table is None:
            raise typer.BadParameter(f"--table says which table {str(file)!r} is for")
        if mode.startswith("replace"):
            what = "all tables" if mode == "replace-all" else "the imported tables"
            confirm(f"Replace what {what} of {place} have?", is_sure=yes)
        how = _Import(
            file=file,
            table=table,
            form=chosen,
            mode=mode,
            has_new_ids=ids is Ids.NEW,
            zone=zone,
            null_values=tuple(null or ()),
        )
        done = _import_here(Path(place), how) if url is None else _send(url, admin_key, how)
        if as_json:
            say_json({"commit": done.number, "rows": dict(done.rows), "notes": list(done.notes)})
            return
        for each in done.notes:
            note(each)
        for name, count in sorted(done.rows.items()):
            say(f"{name}: {counted(count, 'row')}")
        say(f"imported as commit {done.number:,}")

    @command(
        app,
        "export",
        cls=PlaceCommand,
        examples=[
            "export shop.livedb --path backups/",
            "export shop.livedb --path tasks.parquet --table tasks",
            "export shop.livedb --path out/ --format csv",
            "export --url http://127.0.0.1:3210 --path backups/",
        ],
    )
    def export(
        place: Place,
        *,
        target: Annotated[
            str, typer.Option("--path", help="A file; or a folder, which must exist.")
        ],
        form: Annotated[
            ExportFormat | None,
            typer.Option("--format", help="By default what --path ends with, else zip."),
        ] = None,
        table: Annotated[
            list[str] | None, typer.Option(help="Only this table; may be repeated.")
        ] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace files that are there.")
        ] = False,
        as_json: JsonOption = False,
        url: UrlOption = None,
        admin_key: AdminKeyOption = None,
    ) -> None:
        """Write tables to a snapshot zip, or to one Parquet, CSV or JSON lines file each.

        All are as of one commit. A zip can be imported here and into Convex.
        """
        file = _target(target)
        how = _Export(
            target=file,
            form=form or _export_format_of(file),
            tables=table,
            is_overwriting=overwrite,
        )
        if url is None:
            files, number, notes = _export_here(Path(place), how)
        else:
            files, number, notes = _fetch(url, admin_key, how)
        for each in notes:
            note(each)
        if as_json:
            say_json({"commit": number, "files": files, "notes": notes})
            return
        for name, count in files.items():
            say(f"wrote {counted(count, 'row')} to {name}")
        say(f"exported as of commit {number:,}")


def _mode(*, append: bool, replace: bool, replace_all: bool) -> ImportMode:
    if append + replace + replace_all > 1:
        raise typer.BadParameter("--append, --replace and --replace-all exclude each other")
    if append:
        return "append"
    if replace:
        return "replace"
    return "replace-all" if replace_all else "new"


def _format_of(file: Path) -> ImportFormat:
    name = file.name.lower().removesuffix(".gz")
    ending = {"pq": "parquet", "ndjson": "jsonl"}.get(Path(name).suffix[1:], Path(name).suffix[1:])
    try:
        return ImportFormat(ending)
    except ValueError:
        endings = ", ".join(ImportFormat)
        raise typer.BadParameter(
            f"the name {file.name!r} does not say what kind of file it is; --format is one of "
            f"{endings}"
        ) from None


_HIDDEN_HINT = "SQL has no columns for them (docs/reference.md); a zip has the documents whole"

_TABLE_FILES: dict[ImportFormat, FileFormat] = {
    ImportFormat.PARQUET: "parquet",
    ImportFormat.CSV: "csv",
    ImportFormat.JSONL: "jsonl",
    ImportFormat.JSON: "json",
}

_FILES: dict[ExportFormat, Format] = {
    ExportFormat.PARQUET: "parquet",
    ExportFormat.CSV: "csv",
    ExportFormat.JSONL: "jsonl",
}


def _target(text: str) -> Path:
    """Where to export to; a name that ends as a folder's does is of no file.

    Raises:
        LoadError: there is no such folder.
    """
    target = Path(text)
    if text.endswith(("/", os.sep)) and not target.is_dir():
        raise LoadError(
            f"There is no folder {text!r} to export to; make it first, or name a file, without "
            f"{text[-1]!r} at its end"
        )
    return target


def _export_format_of(target: Path) -> ExportFormat:
    try:
        return ExportFormat(target.suffix[1:].lower())
    except ValueError:
        return ExportFormat.ZIP


# -- imports ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Import:
    """What an import was asked to do."""

    file: Path
    table: str | None
    form: ImportFormat
    mode: ImportMode
    has_new_ids: bool
    zone: str | None
    null_values: tuple[str, ...]


def _import_here(path: Path, how: _Import) -> ImportResult:
    from livedb import transfer

    if not how.file.exists():  # else an empty workspace were left of it
        raise LoadError(f"There is no file {str(how.file)!r} to import")
    with opened(path, may_make=True) as workspace, progress_bar({}) as progress:
        if how.table is None:
            return transfer.import_snapshot(workspace, how.file, mode=how.mode, progress=progress)
        return transfer.import_file(
            workspace,
            how.table,
            how.file,
            format=_TABLE_FILES[how.form],
            mode=how.mode,
            has_new_ids=how.has_new_ids,
            zone=how.zone,
            null_values=how.null_values,
            progress=progress,
        )


def _send(url: str, key: str | None, how: _Import) -> ImportResult:
    from livedb.cli.service_client import ServiceClient
    from livedb.transfer import ImportResult

    with ServiceClient(url, key) as service:
        done = service.import_file(
            how.file,
            mode=how.mode,
            format=_WIRE_FORMATS[how.form],
            tableName=how.table,
            newIds=how.has_new_ids,
            timeZone=how.zone,
            nullValues=how.null_values,
        )
    return ImportResult(
        rows={name: int(count) for name, count in done["rows"]},
        number=int(done["commit"]),
        notes=done["notes"],
    )


_WIRE_FORMATS = {
    ImportFormat.ZIP: "zip",
    ImportFormat.PARQUET: "parquet",
    ImportFormat.CSV: "csv",
    ImportFormat.JSONL: "jsonLines",
    ImportFormat.JSON: "jsonArray",
}


# -- exports ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Export:
    """What an export was asked to do."""

    target: Path
    form: ExportFormat
    tables: list[str] | None
    is_overwriting: bool

    def zip_file(self, moment_ns: int) -> Path:
        """The zip to write."""
        folder = self.target
        return folder / f"snapshot_{moment_ns}.zip" if folder.is_dir() else folder


Exported = tuple[dict[str, int], int, list[str]]
"""The rows of each file, the commit, and what a person should know."""


def _export_here(path: Path, how: _Export) -> Exported:
    from livedb import transfer
    from livedb.client.local import LocalBackend

    with opened(path) as workspace, progress_bar({}) as progress:
        if how.form is ExportFormat.ZIP:
            done = transfer.export_snapshot(
                workspace,
                how.zip_file(workspace.clock.now_ns()),
                tables=how.tables,
                overwrite=how.is_overwriting,
                progress=progress,
            )
            return {str(done.path): sum(done.rows.values())}, done.number, []
        results = transfer.export_tables(
            workspace,
            how.target,
            tables=how.tables,
            format=_FILES[how.form],
            overwrite=how.is_overwriting,
        )
        return _told(results, LocalBackend(workspace), how)


def _fetch(url: str, key: str | None, how: _Export) -> Exported:
    from livedb.cli.service_client import ServiceClient
    from livedb.clock import SystemClock
    from livedb.interchange.exports import export
    from livedb.transfer import files_of

    if how.form is ExportFormat.ZIP:
        file = how.zip_file(SystemClock().now_ns())
        with ServiceClient(url, key) as service:
            done = service.export_snapshot(
                file, tables=how.tables or (), overwrite=how.is_overwriting
            )
        return {str(file): sum(int(count) for _, count in done["rows"])}, int(done["commit"]), []
    form = _FILES[how.form]
    with backend_at("", url, key) as backend:
        files = files_of(how.target, how.tables, backend.catalog().names(), form)
        tables = _at_one_commit(backend, list(files))
        results = [
            export(rows, files[name], format=form, number=number, overwrite=how.is_overwriting)
            for name, (rows, number) in tables.items()
        ]
        return _told(results, backend, how)


def _told(results: Sequence[ExportResult], backend: Backend, how: _Export) -> Exported:
    files = {str(each.path): each.rows for each in results}
    notes = []
    for name in how.tables or backend.counts():
        hidden = backend.hidden_fields(name)
        if hidden:
            notes.append(f"{name} is without {counted(len(hidden), 'field')}: {_HIDDEN_HINT}")
    return files, results[0].number or 0 if results else 0, notes


def _at_one_commit(backend: Backend, names: Sequence[str]) -> dict[str, tuple[pa.Table, int]]:
    """The rows of tables: read again when somebody commits meanwhile.

    Raises:
        LoadError: somebody always does.
    """
    for _ in range(READ_TRIES_MAX):
        read = {
            name: backend.sql(
                f'select * from {_quoted(name)} order by "_creationTime", "_id"',  # noqa: S608
                None,
            )
            for name in names
        }
        if len({number for _, number in read.values()}) <= 1:
            return read
    raise LoadError(
        "The workspace changes while its tables are read one after another; export a zip, or one "
        "table at a time with --table"
    )


READ_TRIES_MAX = 5
"""Times that tables are read until no commit comes between."""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
