"""`logs` and `env`: what a service runs, and the environment variables of functions."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from livedb.cli.commands import command, command_group, fail
from livedb.cli.health import JsonOption
from livedb.cli.opening import (
    URL_VARIABLE,
    AdminKeyOption,
    Place,
    PlaceCommand,
    UrlOption,
    backend_at,
)
from livedb.cli.terminal import note, say, say_json, shown

Name = Annotated[str, typer.Argument(metavar="NAME", help="The variable.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""

    @command(
        app,
        "logs",
        examples=[
            "logs --url http://127.0.0.1:3210",
            "logs --url http://127.0.0.1:3210 --history 100 --json --no-follow",
        ],
    )
    def logs(
        *,
        url: Annotated[
            str, typer.Option("--url", envvar=URL_VARIABLE, help="The service.", show_default=False)
        ],
        admin_key: AdminKeyOption = None,
        history: Annotated[int, typer.Option(min=0, help="Calls of before to show first.")] = 0,
        is_following: Annotated[
            bool, typer.Option("--follow/--no-follow", help="Show calls as they end, until Ctrl-C.")
        ] = True,
        as_json: Annotated[bool, typer.Option("--json", help="A JSON object per line.")] = False,
    ) -> None:
        """Show the calls that a service runs: when, how long, what they print, how they fail."""
        from livedb.cli.service_client import ServiceClient

        with ServiceClient(url, admin_key) as service:
            entries, cursor = service.logs_since(0)
            _say_calls(entries[len(entries) - min(history, len(entries)) :], as_json=as_json)
            with contextlib.suppress(KeyboardInterrupt):  # that is how it is ended
                while is_following:
                    entries, cursor = service.logs_since(cursor)
                    _say_calls(entries, as_json=as_json)

    variables = command_group(
        app,
        "env",
        "Environment variables, which functions read as ctx.env.",
        examples=[
            "env set shop.livedb GREETING hello",
            "env get shop.livedb GREETING",
            "env list --url http://127.0.0.1:3210",
        ],
    )

    @command(
        variables, "list", cls=PlaceCommand, examples=["env list shop.livedb", "env list --url URL"]
    )
    def list_(
        place: Place,
        *,
        as_json: JsonOption = False,
        url: UrlOption = None,
        admin_key: AdminKeyOption = None,
    ) -> None:
        """Show every variable."""
        found = _read(place, url, admin_key)
        if as_json:
            say_json(found)
        elif not found:
            note("There are no environment variables.")
        for name, value in sorted(found.items()) if not as_json else ():
            say(f"{name}={value}")

    @command(variables, "get", cls=PlaceCommand, examples=["env get shop.livedb GREETING"])
    def get(
        place: Place, name: Name, *, url: UrlOption = None, admin_key: AdminKeyOption = None
    ) -> None:
        """Print the value of a variable."""
        found = _read(place, url, admin_key)
        if name not in found:
            fail(f"There is no environment variable {name!r}")
        say(found[name])

    @command(variables, "set", cls=PlaceCommand, examples=["env set shop.livedb GREETING hello"])
    def set_(
        place: Place,
        name: Name,
        value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.")],
        *,
        url: UrlOption = None,
        admin_key: AdminKeyOption = None,
    ) -> None:
        """Set a variable; functions see it from their next run on."""
        _change(place, url, admin_key, {"name": name, "value": value})

    @command(variables, "remove", cls=PlaceCommand, examples=["env remove shop.livedb GREETING"])
    def remove(
        place: Place, name: Name, *, url: UrlOption = None, admin_key: AdminKeyOption = None
    ) -> None:
        """Remove a variable."""
        _change(place, url, admin_key, {"name": name})


def _read(place: str, url: str | None, key: str | None) -> dict[str, str]:
    """All variables."""
    from livedb.functions.system_functions import READ_ENVIRONMENT

    found: Any
    if url is not None:
        from livedb.cli.service_client import ServiceClient

        with ServiceClient(url, key) as service:
            found = service.call(READ_ENVIRONMENT, {})
    else:
        with backend_at(place, None, None) as backend:
            found = backend.run(backend.definition(READ_ENVIRONMENT), {})
    return dict(found)


def _change(place: str, url: str | None, key: str | None, change: dict[str, str]) -> None:
    from livedb.functions.system_functions import UPDATE_ENVIRONMENT

    if url is not None:
        from livedb.cli.service_client import ServiceClient

        with ServiceClient(url, key) as service:
            service.update_environment([change])
        return
    with backend_at(place, None, None) as backend:
        backend.run(backend.definition(UPDATE_ENVIRONMENT), {"changes": [change]})


def _say_calls(entries: list[dict[str, Any]], *, as_json: bool) -> None:
    for entry in entries:
        if as_json:
            say(json.dumps(entry, ensure_ascii=False))
            continue
        moment = datetime.fromtimestamp(entry["timestamp"], UTC).astimezone()
        took_ms = entry["executionTime"] * 1000
        state = "failed" if entry["error"] is not None else "ok"
        say(
            f"{moment:%Y-%m-%d %H:%M:%S} {entry['udfType']} {shown(entry['identifier'])} "
            f"{state} {took_ms:.1f} ms"
        )
        for line in entry["logLines"]:
            say(f"  {shown(line)}")
        for line in (entry["error"] or "").splitlines():
            say(f"  {shown(line)}")
