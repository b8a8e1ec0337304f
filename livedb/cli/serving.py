"""`serve`: a workspace on the network, until it is told to end."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livedb.cli.commands import command
from livedb.cli.generating import write_types
from livedb.cli.opening import WorkspacePath, is_workspace, opened
from livedb.cli.terminal import complain, note, say
from livedb.errors import InvalidValueError, LivedbError, WorkspaceError
from livedb.wording import counted

if TYPE_CHECKING:
    from livedb.cli.function_watcher import FunctionWatcher
    from livedb.functions.loader import FunctionFolder, LoadedFunctions
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
        codegen: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Keep their TypeScript there: see livedb codegen."),
        ] = None,
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
        public_url: Annotated[
            str | None,
            typer.Option(
                metavar="URL", help="Where clients find it, if not there: for URLs of files."
            ),
        ] = None,
        files: Annotated[
            str | None,
            typer.Option(
                "--files",
                metavar="URL",
                help="The object store that files lie in, as s3://bucket/prefix; it is remembered.",
            ),
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
        from livedb.sharing.vigil import Vigil, signals_given_back

        if watch and functions is None:
            raise typer.BadParameter("--watch needs --functions, the folder to watch")
        if codegen is not None and functions is None:
            raise typer.BadParameter("--codegen needs --functions, of which the types are")
        with contextlib.ExitStack() as stack:
            stack.enter_context(signals_given_back())
            folder = _folder(functions, stack)
            loaded = None if folder is None else folder.load()
            options = _options(
                host,
                port,
                site_port=site_port,
                auth=auth_config if auth_config is not None else _auth_of(loaded),
                anonymous=anonymous_as or anonymous,
                allow_origins=allow_origin or (),
                public_url=public_url,
                show_errors=show_errors,
                admin_keys=_admin_keys(admin_key, admin_key_file),
            )
            if not is_workspace(path):
                _refuse_before_it_is_made(options)
            workspace = stack.enter_context(opened(path, may_make=True, files_url=files))
            _refuse_closed_house(workspace, options)
            vigil = Vigil(workspace.presence)
            database_of(workspace)  # what functions of notebooks call `db`
            if folder is not None and loaded is not None:
                _push(workspace, loaded, types=codegen)
                if watch:
                    watcher = _watcher(workspace, folder, loaded, functions, codegen)
                    stack.enter_context(watcher)
            serving = LocalSharing(workspace).serve_as(options)
            say(f"{path} is served at {serving.url}")
            say(f"its HTTP actions are at {serving.site_url}")
            if loaded is not None:
                note(_summary(loaded, functions))
            vigil.keep()
            note("ending")


def _folder(path: Path | None, stack: contextlib.ExitStack) -> FunctionFolder | None:
    from livedb.functions.loader import FunctionFolder

    if path is None:
        return None
    return stack.enter_context(contextlib.closing(FunctionFolder(path)))


def _refuse_before_it_is_made(options: ServeOptions) -> None:
    """Refuse what cannot be served while there is no workspace yet: none is left behind then."""
    from livedb.auth.access import Role
    from livedb.auth.access_tokens import AccessTokens
    from livedb.clock import SystemClock
    from livedb.service.server import listening

    _refuse_closed_house(None, options)
    for key in options.admin_keys:
        AccessTokens(SystemClock()).admit(key, Role.OWNER, "admin key")
    for port in (options.port, options.site_port or 0):
        listening(options.host, port).close()


def _refuse_closed_house(workspace: Workspace | None, options: ServeOptions) -> None:
    """Refuse an address of the network by which nobody could come in, in this program's words."""
    from livedb.sharing.serving import is_closed_house

    if not is_closed_house(workspace, options):
        return
    raise WorkspaceError(
        f"{options.host} can be reached from other machines, and nobody has been given access. "
        "Make a token first with `livedb token create`, or give --auth-config or --admin-key-file; "
        "or serve on 127.0.0.1, and let others come in through ssh."
    )


def _push(
    workspace: Workspace,
    loaded: LoadedFunctions,
    before: LoadedFunctions | None = None,
    *,
    types: Path | None,
) -> None:
    for each in loaded.notes:
        note(each)
    workspace.push_functions(loaded, before=() if before is None else before.names())
    if types is None:
        return
    try:
        changed = write_types(types, workspace)
    except OSError as error:  # the functions are served all the same
        complain(f"The types could not be written: {error}")
        return
    if changed:
        note(f"wrote {', '.join(map(str, changed))}")


def _watcher(
    workspace: Workspace,
    folder: FunctionFolder,
    loaded: LoadedFunctions,
    named: Path | None,
    types: Path | None,
) -> FunctionWatcher:
    """Push the functions of a folder again when they are saved."""
    from livedb.cli.function_watcher import FunctionWatcher

    def push(loaded: LoadedFunctions, before: LoadedFunctions) -> None:
        _push(workspace, loaded, before, types=types)
        note(f"{_summary(loaded, named)}, loaded again")

    def told(error: LivedbError) -> None:
        complain(f"{error.message}\nThe functions stay as they were.")

    return FunctionWatcher(folder, loaded, push, on_error=told)


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
