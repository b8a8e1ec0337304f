"""The program `livedb`: every group of commands under one name."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from livedb.cli import generating, health, rows, running, serving, tokens, transfer, watching

GROUPS = (serving, health, rows, transfer, running, generating, watching, tokens)
"""Modules that bring commands, in the order of the help; each has `register`."""

app = typer.Typer(
    name="livedb",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A live data workspace: serve it, query it, move data in and out, run functions.",
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's way to call it
    if wanted:
        typer.echo(f"livedb {metadata.version('livedb')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    del version


for group in GROUPS:
    group.register(app)


def main() -> None:
    """Run the command that `sys.argv` names, and exit."""
    app()
