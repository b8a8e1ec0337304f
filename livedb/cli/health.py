"""`check` and `repair`: whether a workspace is sound, and what is left of one that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from livedb.cli.commands import command
from livedb.cli.opening import WorkspacePath, opened
from livedb.cli.terminal import say, say_json
from livedb.wording import counted

if TYPE_CHECKING:
    from livedb.repairing import RepairReport

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(app, "check", examples=["check shop.livedb", "check shop.livedb --json"])
    def check(path: WorkspacePath, *, as_json: JsonOption = False) -> None:
        """Read everything a workspace holds, and say whether it is sound.

        Nothing is changed, but that commits of the log are brought to the tables, as every open
        does.
        """
        from livedb.repairing import check_workspace

        with opened(path) as workspace:
            found = check_workspace(workspace)
        facts = {
            "path": str(path),
            "sound": True,
            "commit": found.number,
            "commitsRead": found.commits,
            "documents": dict(found.documents),
            "files": found.files,
        }
        if as_json:
            say_json(facts)
            return
        rows = sum(found.documents.values())
        say(
            f"{path}: sound, at commit {found.number:,}; read: "
            f"{counted(found.commits, 'commit')} and {counted(rows, 'document')} in "
            f"{counted(len(found.documents), 'table')}"
            + (f", {counted(found.files, 'file')}" if found.files else "")
        )

    @command(app, "repair", examples=["repair shop.livedb"])
    def repair(path: WorkspacePath, *, as_json: JsonOption = False) -> None:
        """Make a damaged workspace open again, and say what was lost.

        The files as they were are kept in a folder beside them. One that is sound is left as it is.
        The exit code is 1 when something is lost: acknowledged commits, or contents of files.
        """
        from livedb.repairing import repair_workspace

        report = repair_workspace(path)
        if as_json:
            say_json(_facts(report))
        else:
            say(str(report))
        if not report.is_whole:
            raise typer.Exit(1)


def _facts(report: RepairReport) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "sound": report.is_sound,
        "commit": report.kept,
        "lost": report.lost,
        "lostFiles": list(report.lost_files),
        "problems": list(report.problems),
        "changes": list(report.changes),
        "backup": None if report.backup is None else str(report.backup),
    }
