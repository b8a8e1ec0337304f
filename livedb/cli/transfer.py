"""`import` and `export`: data in and out, whole or not at all."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livedb.cli.commands import command
from livedb.cli.health import JsonOption
from livedb.cli.opening import WorkspacePath, opened
from livedb.cli.terminal import confirm, note, progress_bar, say, say_json

if TYPE_CHECKING:
    from livedb.interchange.sources import Format
    from livedb.transfer import FileFormat, ImportMode


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
        examples=[
            "import shop.livedb snapshot.zip",
            "import shop.livedb tasks.csv --table tasks --append",
            "import shop.livedb snapshot.zip --replace-all --yes",
        ],
    )
    def import_(
        path: WorkspacePath,
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
    ) -> None:
        """Bring a snapshot zip, a Parquet, CSV, JSON or JSON lines file into a workspace.

        One commit, or nothing. Without a mode the tables must be empty or new; a workspace that
        does not exist is made.
        """
        from livedb import transfer

        mode = _mode(append=append, replace=replace, replace_all=replace_all)
        chosen = form or _format_of(file)
        if chosen is ImportFormat.ZIP and table is not None:
            raise typer.BadParameter("a snapshot zip names its tables itself: leave --table out")
        if chosen is not ImportFormat.ZIP and table is None:
            raise typer.BadParameter(f"--table says which table {str(file)!r} is for")
        if mode.startswith("replace"):
            what = "all tables" if mode == "replace-all" else "the imported tables"
            confirm(f"Replace what {what} of {path} have?", is_sure=yes)
        with opened(path, may_make=True) as workspace, progress_bar({}) as progress:
            if table is None:
                done = transfer.import_snapshot(workspace, file, mode=mode, progress=progress)
            else:
                done = transfer.import_file(
                    workspace,
                    table,
                    file,
                    format=_TABLE_FILES[chosen],
                    mode=mode,
                    has_new_ids=ids is Ids.NEW,
                    zone=zone,
                    null_values=null or (),
                    progress=progress,
                )
        if as_json:
            say_json({"commit": done.number, "rows": dict(done.rows), "notes": list(done.notes)})
            return
        for each in done.notes:
            note(each)
        for name, count in sorted(done.rows.items()):
            say(f"{name}: {count:,} rows")
        say(f"imported as commit {done.number:,}")

    @command(
        app,
        "export",
        examples=[
            "export shop.livedb --path backups/",
            "export shop.livedb --path tasks.parquet --table tasks",
            "export shop.livedb --path out/ --format csv",
        ],
    )
    def export(
        path: WorkspacePath,
        *,
        target: Annotated[
            Path, typer.Option("--path", help="A file; or a folder, which must exist.")
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
    ) -> None:
        """Write tables to a snapshot zip, or to one Parquet, CSV or JSON lines file each.

        All are as of one commit. A zip can be imported here and into Convex.
        """
        from livedb import transfer

        chosen = form or _export_format_of(target)
        notes: list[str] = []
        with opened(path) as workspace, progress_bar({}) as progress:
            if chosen is ExportFormat.ZIP:
                file = target
                if target.is_dir():
                    file = target / f"snapshot_{workspace.clock.now_ns()}.zip"
                done = transfer.export_snapshot(
                    workspace, file, tables=table, overwrite=overwrite, progress=progress
                )
                files = {str(file): sum(done.rows.values())}
                number = done.number
            else:
                results = transfer.export_tables(
                    workspace, target, tables=table, format=_FILES[chosen], overwrite=overwrite
                )
                files = {str(each.path): each.rows for each in results}
                number = results[0].number or 0 if results else 0
                for name in table or workspace.folded_sql.counts():
                    hidden = workspace.hidden_fields(name)
                    if hidden:
                        notes.append(f"{name} is without {len(hidden)} fields: {_HIDDEN_HINT}")
        for each in notes:
            note(each)
        if as_json:
            say_json({"commit": number, "files": files, "notes": notes})
            return
        for name, count in files.items():
            say(f"wrote {count:,} rows to {name}")
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


def _export_format_of(target: Path) -> ExportFormat:
    try:
        return ExportFormat(target.suffix[1:].lower())
    except ValueError:
        return ExportFormat.ZIP
