"""`token`: who has access to a workspace."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from livedb.auth.access import Role
from livedb.cli.commands import command, command_group
from livedb.cli.opening import WorkspacePath, require_workspace
from livedb.cli.terminal import note, say, say_json, say_table

if TYPE_CHECKING:
    from livedb.sharing.invitations import Invitation

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    tokens = command_group(
        app,
        "token",
        "Who has access to a workspace.",
        examples=[
            "token create shop.livedb --name Ann --role member",
            "token list shop.livedb",
            "token revoke shop.livedb 5d2f1c0a9b8e7f60",
        ],
    )

    @command(tokens, "create", examples=["token create shop.livedb --name Ann --role member"])
    def create(
        path: WorkspacePath,
        *,
        name: Annotated[str, typer.Option(help="Whom it is for.")],
        role: Annotated[Role, typer.Option(help="What they may do.")] = Role.EDITOR,
        days: Annotated[
            float | None, typer.Option("--expires-days", help="Days it holds; 0 for ever.")
        ] = 30,
        is_json: JsonOption = False,
    ) -> None:
        """Make an access token and print it, this once.

        A service that has the workspace open knows it at once.
        """
        import livedb

        require_workspace(path)
        with livedb.open(path) as db:
            made = db.invite(role.value, name=name, expires=timedelta(days=days) if days else None)
        if is_json:
            say_json({**_json_of(made), "token": str(made.token)})
        else:
            say(str(made.token))
            note(f"{made!r}".partition(". ")[0].lstrip("<"))

    @command(tokens, "list", examples=["token list shop.livedb"])
    def list_(path: WorkspacePath, *, is_json: JsonOption = False) -> None:
        """List the access tokens: whom they are for, never themselves."""
        import livedb

        require_workspace(path)
        with livedb.open(path) as db:
            found = [_json_of(each) for each in db.invitations]
        if is_json:
            say_json(found)
        else:
            heads = ["id", "name", "role", "created", "expires", "state"]
            say_table(heads, [[each[head] or "" for head in heads] for each in found])

    @command(tokens, "revoke", examples=["token revoke shop.livedb 5d2f1c0a9b8e7f60"])
    def revoke(path: WorkspacePath, token_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
        """End an access; whoever is connected with it is put out."""
        import livedb

        require_workspace(path)
        with livedb.open(path) as db:
            revoked = db.revoke(token_id)
        note(f"{revoked.name} has no access any more")


def _json_of(each: Invitation) -> dict[str, str | None]:
    return {
        "id": each.id,
        "name": each.name,
        "role": each.role,
        "created": each.created.isoformat(timespec="seconds"),
        "expires": None if each.expires is None else each.expires.isoformat(timespec="seconds"),
        "state": each.state,
    }
