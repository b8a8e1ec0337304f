"""Workspaces as commands open them: by path, and only where there is one.

The seam for acting through a service: a command asks for a workspace here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livedb.errors import FormatError

if TYPE_CHECKING:
    from livedb.workspace import Workspace

WorkspacePath = Annotated[
    Path, typer.Argument(metavar="PATH", help="The workspace: its folder.", show_default=False)
]


def require_workspace(path: Path) -> None:
    """Refuse a path where no workspace is.

    Raises:
        FormatError: there is none.
    """
    from livedb.workspace_files import MARK_NAME

    if not (path.expanduser() / MARK_NAME).exists():
        raise FormatError(
            f"There is no workspace at {str(path)!r}. `livedb import` makes one, as does "
            "livedb.open in Python."
        )


@contextmanager
def opened(path: Path, *, may_make: bool = False) -> Iterator[Workspace]:
    """The workspace at `path`, open.

    Args:
        may_make: make one where nothing is.

    Raises:
        FormatError: there is none.
    """
    from livedb.workspaces import open_workspace  # heavy, and no part of a help

    if not may_make:
        require_workspace(path)
    with open_workspace(path, limits=None) as workspace:
        yield workspace
