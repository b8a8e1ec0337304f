"""Workspaces as commands open them: by path, and only where there is one; or by URL.

The seam between the two: a command asks for a workspace here and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from livedb.errors import (
    AuthenticationError,
    FormatError,
    PermissionDeniedError,
    WorkspaceLockedError,
)

if TYPE_CHECKING:
    from livedb.client.address import Address
    from livedb.client.backend import Backend
    from livedb.workspace import Workspace

URL_VARIABLE = "LIVEDB_URL"
ADMIN_KEY_VARIABLE = "LIVEDB_ADMIN_KEY"

_IS_URL = re.compile(r"(https?|wss?):/", re.IGNORECASE)
"""How a URL begins, also one that was read as a path, which has one slash."""


def _folder_only(path: Path) -> Path:
    if _IS_URL.match(str(path)):
        raise typer.BadParameter(
            f"{str(path)!r} is a URL, and this command reads the workspace's folder; run it where "
            "the folder is. data, sql, run, import, export, logs, env and codegen take --url."
        )
    return path


WorkspacePath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="The workspace: its folder.",
        show_default=False,
        callback=_folder_only,
    ),
]

Place = Annotated[
    str,
    typer.Argument(
        metavar="PATH",
        help="The workspace: its folder. With --url there is no PATH.",
        show_default=False,
    ),
]

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help=f"Where a service has the workspace, instead of PATH; else ${URL_VARIABLE}.",
        show_default=False,
    ),
]

AdminKeyOption = Annotated[
    str | None,
    typer.Option(
        "--admin-key",
        help="What opens the service: an admin key or an access token.",
        envvar=ADMIN_KEY_VARIABLE,
        show_default=False,
    ),
]


class PlaceCommand(TyperCommand):
    """A command on a folder or a service: with a URL the other arguments move up by one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the URL in the place of PATH; a folder that is named wins over the environment."""
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        url, place = given.get("url"), given.get("place")
        if isinstance(place, str) and not isinstance(url, str) and _IS_URL.match(place):
            raise typer.BadParameter(
                f"{place!r} is a URL, and PATH is a folder. A service is named with --url: "
                f"`livedb {ctx.info_name} --url {place} ..`"
            )
        if not isinstance(url, str):
            url = os.environ.get(URL_VARIABLE)
            if not url or (isinstance(place, str) and is_workspace(Path(place))):
                return super().parse_args(ctx, args)
            args = [f"--url={url}", *args]
        return super().parse_args(ctx, [url, *args])


def is_workspace(path: Path) -> bool:
    """Whether a workspace is there already."""
    from livedb.workspace_files import MARK_NAME

    return (path.expanduser() / MARK_NAME).exists()


def require_workspace(path: Path) -> None:
    """Refuse a path where no workspace is.

    Raises:
        FormatError: there is none.
    """
    if not is_workspace(path):
        raise FormatError(
            f"There is no workspace at {str(path)!r}. `livedb serve` and `livedb import` make one, "
            "as does livedb.open in Python."
        )


@contextmanager
def opened(
    path: Path, *, may_make: bool = False, files_url: str | None = None
) -> Iterator[Workspace]:
    """The workspace at `path`, open.

    Args:
        may_make: make one where nothing is.
        files_url: of the object store that its files lie in.

    Raises:
        FormatError: there is none.
        WorkspaceLockedError: another process has it.
    """
    from livedb.workspaces import open_workspace  # heavy, and no part of a help

    if not may_make:
        require_workspace(path)
    try:
        workspace = open_workspace(path, limits=None, files_url=files_url)
    except WorkspaceLockedError as error:
        raise _advised(error) from None
    with workspace:
        yield workspace


_WHERE_THE_URL_IS = "; `livedb serve` and db.serve() show the URL"


def _advised(error: WorkspaceLockedError) -> WorkspaceLockedError:
    """Who serves what it holds is asked through its service."""
    if error.address is None:
        return error
    # A Unix socket is no URL, and the lock file names no other place.
    is_url = error.address.startswith("http")
    address, hint = (error.address, "") if is_url else ("URL", _WHERE_THE_URL_IS)
    return WorkspaceLockedError(
        f"{error.message}, or use its service, as in `livedb data --url {address} --admin-key KEY`"
        f"{hint}",
        pid=error.pid,
        host=error.host,
        address=error.address,
    )


@contextmanager
def key_asked_for(address: Address) -> Iterator[None]:
    """Tell who is refused, and has brought nothing, how to bring a key."""
    try:
        yield
    except (AuthenticationError, PermissionDeniedError) as error:
        if address.token is not None or address.jupyter_token is not None:
            raise
        advice = f"Give a key with --admin-key, or as {ADMIN_KEY_VARIABLE} in the environment."
        raise type(error)(f"{error.message} {advice}", code=error.code) from None


@contextmanager
def backend_at(place: str, url: str | None, key: str | None) -> Iterator[Backend]:
    """The workspace of a folder, or of a service.

    Raises:
        FormatError, WorkspaceLockedError: as `opened`.
        DisconnectedError, AuthenticationError: the service does not answer, or not to this key.
    """
    if url is not None:
        from livedb.client.address import Address
        from livedb.client.remote import RemoteBackend

        address = Address.of(url, token=key)
        key = address.token
        # With a name before it, a key is known for one where a user's token is expected.
        token = key if key is None or "|" in key else f"livedb|{key}"
        with (
            key_asked_for(address),
            contextlib.closing(RemoteBackend(address.with_login, token=token)) as remote,
        ):
            yield remote
        return
    from livedb.client.local import LocalBackend

    with opened(Path(place)) as workspace:
        yield LocalBackend(workspace)
