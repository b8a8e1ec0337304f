"""`run`: one function of a folder, on a workspace."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livedb.canonical import canonical
from livedb.cli.commands import command, fail, foreign_error
from livedb.cli.opening import AdminKeyOption, Place, PlaceCommand, UrlOption, backend_at
from livedb.cli.terminal import note, say
from livedb.errors import LivedbError
from livedb.text import decode_value, encode_value
from livedb.values import Value

if TYPE_CHECKING:
    from livedb.client.backend import Backend
    from livedb.functions.definition import FunctionDefinition
    from livedb.functions.loader import LoadedFunctions

FunctionsOption = Annotated[
    Path, typer.Option("--functions", help="The folder of Python modules with functions.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(
        app,
        "run",
        cls=PlaceCommand,
        examples=[
            'run shop.livedb tasks:add \'{"title": "Write the docs"}\'',
            "run shop.livedb tasks:open_tasks --functions app/functions",
            "run --url http://127.0.0.1:3210 tasks:open_tasks",
        ],
    )
    def run(
        place: Place,
        function: Annotated[str, typer.Argument(help="Its name, as in tasks:add.")],
        arguments: Annotated[
            str, typer.Argument(metavar="[ARGS]", help="Its arguments, a JSON object.")
        ] = "{}",
        *,
        functions: FunctionsOption = Path("functions"),
        as_json: Annotated[
            bool, typer.Option("--json", help="As always: a result is printed as JSON.")
        ] = False,
        url: UrlOption = None,
        admin_key: AdminKeyOption = None,
    ) -> None:
        """Run a query, mutation or action and print its result as JSON.

        Internal functions can be run too. What the function prints goes to stderr. A service has
        its functions already, and --functions does not count.
        """
        del as_json
        args = _arguments(arguments)
        name = _name(function)
        with contextlib.ExitStack() as stack:
            # Loaded first: a folder that cannot be loaded touches no workspace.
            loaded = None if url is not None else _loaded(functions, stack)
            backend = stack.enter_context(backend_at(place, url, admin_key))
            if loaded is not None:
                _define(backend, loaded)
            found = backend.definition(name)
            checked = found.check_arguments(args, tables=backend.catalog())
            with contextlib.redirect_stdout(sys.stderr):
                result = _run(backend, found, checked, is_remote=url is not None)
        text = encode_value(canonical(result)).decode()
        say(json.dumps(json.loads(text), indent=2, ensure_ascii=False))


def _loaded(folder: Path, stack: contextlib.ExitStack) -> LoadedFunctions:
    from livedb.functions.loader import FunctionFolder

    return stack.enter_context(contextlib.closing(FunctionFolder(folder))).load()


def _define(backend: Backend, loaded: LoadedFunctions) -> None:
    for each in loaded.notes:
        note(each)
    backend.apply_tables(list(loaded.schema or ()))
    for definition in loaded.functions:
        backend.define(definition)


def _run(
    backend: Backend, definition: FunctionDefinition, args: dict[str, Value], *, is_remote: bool
) -> Value:
    try:
        return backend.run(definition, args)
    except LivedbError:
        raise
    except KeyboardInterrupt as interrupt:
        if str(interrupt):  # what becomes of the call on a service
            note(str(interrupt))
        raise
    except Exception as error:  # noqa: BLE001 - the user's function: whatever it raises
        shown = foreign_error(error, is_of_service=is_remote)
        fail(f"{definition.name} raised {shown}")


def _arguments(text: str) -> dict[str, Value]:
    try:
        args = decode_value(text.encode())
    except (ValueError, RecursionError, LivedbError) as error:
        raise typer.BadParameter(f"the arguments are no JSON: {error}") from None
    if not isinstance(args, dict):
        raise typer.BadParameter(f"the arguments are one JSON object, not {text[:40]}")
    return args


def _name(function: str) -> str:
    """`tasks.py:add` is `tasks:add`, as Convex's command line has it."""
    module, colon, name = function.rpartition(":")
    return f"{module.removesuffix('.py')}{colon}{name}"
