"""`codegen`: the functions and tables of a workspace as source for its clients."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from livedb.cli.commands import command, fail
from livedb.cli.opening import AdminKeyOption, PlaceCommand, UrlOption, backend_at
from livedb.cli.running import FunctionsOption
from livedb.cli.terminal import note, say

if TYPE_CHECKING:
    from livedb.client.backend import Backend
    from livedb.codegen.api import Api
    from livedb.functions.definition import FunctionDefinition
    from livedb.schema.tables import TableDefinition
    from livedb.workspace import Workspace

Target = Literal["typescript", "python", "spec"]

FOLDERS = {"typescript": Path("convex/_generated"), "python": Path(), "spec": Path()}
"""Where files go that nobody sent elsewhere: the first is where Convex's pages look for theirs."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(
        app,
        "codegen",
        cls=PlaceCommand,
        examples=[
            "codegen --functions functions --out web/convex/_generated",
            "codegen shop.livedb --target python --out shop",
            "codegen --url http://127.0.0.1:3210 --admin-key KEY",
            "codegen --functions functions --check",
        ],
    )
    def codegen(
        place: Annotated[
            str | None,
            typer.Argument(
                metavar="[PATH]",
                help="The workspace: its folder. A folder of functions alone needs none.",
                show_default=False,
            ),
        ] = None,
        *,
        functions: FunctionsOption = Path("functions"),
        target: Annotated[
            Target,
            typer.Option(
                help="typescript: api.d.ts, api.js, dataModel.d.ts. python: api.py. "
                "spec: function_spec.json, as `npx convex function-spec` prints it."
            ),
        ] = "typescript",
        out: Annotated[
            Path | None, typer.Option("--out", "-o", help="The folder to write to.")
        ] = None,
        check: Annotated[
            bool, typer.Option("--check", help="Write nothing; exit 1 when a file would change.")
        ] = False,
        url: UrlOption = None,
        admin_key: AdminKeyOption = None,
    ) -> None:
        """Write the types of functions and documents, for pages and scripts.

        The TypeScript is used with Convex's own `convex` package, as what `npx convex codegen`
        makes. From a folder of functions the tables are those of its schema.py; a workspace adds
        its own, and a service has both.
        """
        api = _api(place, functions, url, admin_key)
        folder = FOLDERS[target] if out is None else out
        changed = write_files(folder, _files(api, target), may_write=not check)
        if check and changed:
            fail(f"These would change: {', '.join(map(str, changed))}")
        for path in changed:
            say(str(path))
        if not changed:
            note("Nothing has changed.")


def write_files(folder: Path, files: dict[str, str], *, may_write: bool = True) -> list[Path]:
    """Write what is not so already; the paths of those files.

    Others stay untouched, so that whoever watches the folder builds nothing anew for them.
    """
    changed = {folder / name: text for name, text in files.items() if _read(folder / name) != text}
    for path, text in changed.items() if may_write else ():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(changed)


def write_types(folder: Path, workspace: Workspace) -> list[Path]:
    """Write the TypeScript of a workspace, functions and tables; the files that changed."""
    from livedb.codegen.api import Api
    from livedb.codegen.typescript import typescript_files

    registry = workspace.registry
    catalog = workspace.committer.catalog_at(workspace.committer.published)
    functions = (registry.get(name) for name in registry.names())
    api = Api.of(functions, (each.definition for each in catalog))
    return write_files(folder, typescript_files(api))


def _api(place: str | None, folder: Path, url: str | None, key: str | None) -> Api:
    from livedb.codegen.api import Api

    functions: dict[str, FunctionDefinition] = {}
    tables: dict[str, TableDefinition] = {}
    with contextlib.ExitStack() as stack:
        if place is not None:
            backend = stack.enter_context(backend_at(place, url, key))
            functions |= _functions_of(backend)
            tables |= {each.definition.name: each.definition for each in backend.catalog()}
        if url is None and (place is None or folder.exists()):
            from livedb.functions.loader import FunctionFolder

            loaded = stack.enter_context(contextlib.closing(FunctionFolder(folder))).load()
            functions |= {each.name: each for each in loaded.functions}
            tables |= {each.name: each for each in loaded.schema or ()}
        return Api.of(functions.values(), tables.values())


def _functions_of(backend: Backend) -> dict[str, FunctionDefinition]:
    return {name: backend.definition(name) for name in backend.function_names()}


def _files(api: Api, target: Target) -> dict[str, str]:
    if target == "typescript":
        from livedb.codegen.typescript import typescript_files

        return typescript_files(api)
    if target == "python":
        from livedb.codegen.python import python_files

        return python_files(api)
    from livedb.functions.system_functions import function_spec

    spec = {"functions": function_spec([*api.functions, *api.routes])}
    return {"function_spec.json": json.dumps(spec, indent=2) + "\n"}


def _read(path: Path) -> str | None:
    """What a file has; None when it is not there."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
