"""`serve`: a workspace on the network, until it is told to end."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livedb.cli.commands import command
from livedb.cli.opening import WorkspacePath, opened
from livedb.cli.terminal import complain, note, say
from livedb.errors import InvalidValueError, LivedbError
from livedb.wording import counted

if TYPE_CHECKING:
    from livedb.functions.loader import LoadedFunctions
    from livedb.sharing.serving import ServeOptions
    from livedb.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(
        app,
        "serve",
        examples=[
            "serve shop.livedb",
            "serve shop.livedb --functions app/functions --watch --anonymous",
            "serve shop.livedb --host 0.0.0.0 --auth-config auth.json",
        ],
    )
    def serve(
        path: WorkspacePath,
        *,
        functions: Annotated[
            Path | None,
            typer.Option("--functions", metavar="DIR", help="Python modules with functions."),
        ] = None,
        watch: Annotated[bool, typer.Option("--watch", help="Load them again when saved.")] = False,
        host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="0 for any that is free.")] = 3210,
        site_port: Annotated[
            int | None,
            typer.Option(
                metavar="PORT",
                help="Where HTTP actions are answered.",
                show_default="the one after --port",
            ),
        ] = None,
        auth_config: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help='Who vouches for users: {"providers": [...]}.'),
        ] = None,
        admin_key: Annotated[
            str | None,
            typer.Option(
                envvar="LIVEDB_ADMIN_KEY",
                show_envvar=True,
                help="A key that opens everything; others see it in the list of processes.",
            ),
        ] = None,
        admin_key_file: Annotated[
            Path | None, typer.Option(metavar="FILE", help="A file that holds such a key.")
        ] = None,
        anonymous: Annotated[
            bool,
            typer.Option(
                "--anonymous/--no-anonymous",
                help="Programs of this machine may call public functions without a token.",
            ),
        ] = False,
        anonymous_as: Annotated[
            str | None,
            typer.Option(
                metavar="ROLE", help="So may all who reach the host: as member, or viewer."
            ),
        ] = None,
        allow_origin: Annotated[
            list[str] | None,
            typer.Option(metavar="ORIGIN", help="A web page that may call; may be repeated."),
        ] = None,
        show_errors: Annotated[
            bool | None,
            typer.Option(
                "--show-errors/--hide-errors",
                help="Clients read what functions raise; without it on loopback only.",
            ),
        ] = None,
    ) -> None:
        """Serve a workspace to its own clients and to those of Convex.

        It is made if it is not there. Processes of the same user that open the path use it through
        this one. SIGTERM and Ctrl-C end it, when what was begun is finished.
        """
        from livedb.sharing.local import LocalSharing
        from livedb.sharing.opening import database_of
        from livedb.sharing.vigil import Vigil

        if watch and functions is None:
            raise typer.BadParameter("--watch needs --functions, the folder to watch")
        with opened(path, may_make=True) as workspace:
            vigil = Vigil(workspace.presence)
            database_of(workspace)  # what functions of notebooks call `db`
            with _functions(workspace, functions, is_watched=watch) as loaded:
                options = _options(
                    host,
                    port,
                    site_port=site_port,
                    auth=auth_config if auth_config is not None else _auth_of(loaded),
                    anonymous=anonymous_as or anonymous,
                    allow_origins=allow_origin or (),
                    show_errors=show_errors,
                    admin_keys=_admin_keys(admin_key, admin_key_file),
                )
                serving = LocalSharing(workspace).serve_as(options)
                say(f"{path} is served at {serving.url}")
                say(f"its HTTP actions are at {serving.site_url}")
                if loaded is not None:
                    note(_summary(loaded, functions))
                vigil.keep()
                note("ending")


@contextlib.contextmanager
def _functions(workspace: Workspace, folder: Path | None, *, is_watched: bool) -> Any:
    """Push the functions of a folder, and again when they are saved; gives the first load."""
    from livedb.functions.loader import FunctionFolder

    if folder is None:
        yield None
        return
    first: list[LoadedFunctions] = []

    def push(loaded: LoadedFunctions, before: LoadedFunctions | None) -> None:
        for each in loaded.notes:
            note(each)
        workspace.push_functions(loaded, before=() if before is None else before.names())
        first.append(loaded)
        if before is not None:
            note(f"{_summary(loaded, folder)}, loaded again")

    with contextlib.closing(FunctionFolder(folder)) as opened_folder:
        if is_watched:
            from livedb.cli.function_watcher import FunctionWatcher

            def told(error: LivedbError) -> None:
                complain(f"{error.message}\nThe functions stay as they were.")

            with FunctionWatcher(opened_folder, push, on_error=told):
                yield first[0]
        else:
            push(opened_folder.load(), None)
            yield first[0]


def _summary(loaded: LoadedFunctions, folder: Path | None) -> str:
    """`3 functions and 1 route of app`."""
    routes = sum(1 for each in loaded.functions if each.kind == "http_action")
    shown = counted(len(loaded.functions) - routes, "function")
    if routes:
        shown += f" and {counted(routes, 'route')}"
    return f"{shown} of {folder}"


def _auth_of(loaded: LoadedFunctions | None) -> dict[str, Any] | None:
    """What `auth_config.py` of the folder says."""
    if loaded is None or loaded.auth_providers is None:
        return None
    return {"providers": list(loaded.auth_providers)}


def _options(host: str, port: int, **asked: Any) -> ServeOptions:
    from livedb.sharing.serving import serve_options

    return serve_options(host, port, **asked)


def _admin_keys(key: str | None, file: Path | None) -> Sequence[str]:
    keys = [] if key is None else [key]
    if file is not None:
        try:
            keys.append(file.read_text(encoding="utf-8").strip())
        except OSError as error:
            raise InvalidValueError(
                f"Cannot read the admin key in {str(file)!r}: {error.strerror}"
            ) from None
    return keys
