"""What every command has: examples in its help, words for what went wrong, an exit code."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, ParamSpec

import typer
from typer.core import TyperCommand

from livedb.cli.option_words import in_options
from livedb.cli.terminal import complain
from livedb.errors import LivedbError

P = ParamSpec("P")

TRACEBACK_VARIABLE = "LIVEDB_TRACEBACK"
"""Set to anything in the environment, a failure shows where it came from as well."""


def command(
    app: typer.Typer,
    name: str,
    *,
    examples: Sequence[str],
    cls: type[TyperCommand] | None = None,
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Add a function to `app` as the command `name`.

    What it raises ends the program with exit code 1 and its message on stderr.

    Args:
        cls: how its arguments are read, when not as typer does.
    """

    def register(function: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
                raise
            except LivedbError as error:
                fail(in_options(error.message))
            except Exception as error:  # noqa: BLE001 - a program has no caller to pass it to
                fail(foreign_error(error))

        help_text = _paragraphs(function.__doc__ or "")
        app.command(name, cls=cls, help=help_text, epilog=_epilog(examples))(guarded)
        return guarded

    return register


def command_group(
    app: typer.Typer, name: str, about: str, *, examples: Sequence[str]
) -> typer.Typer:
    """Add a group of commands to `app`, which are called as `name` and their own."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    app.add_typer(group, name=name, help=about, epilog=_epilog(examples))
    return group


def _epilog(examples: Sequence[str]) -> str:
    return "\n\n".join(["[bold]Examples[/bold]", *(f"$ livedb {each}" for each in examples)])


def _paragraphs(doc: str) -> str:
    """A docstring for a help that is as wide as the terminal: a line per paragraph."""
    texts = inspect.cleandoc(doc).split("\n\n")
    return "\n\n".join(" ".join(text.split()) for text in texts)


def fail(message: str) -> NoReturn:
    """End the program with exit code 1."""
    if os.environ.get(TRACEBACK_VARIABLE) and sys.exc_info()[0] is not None:
        traceback.print_exc()
    complain(message)
    raise typer.Exit(1)


def foreign_error(error: BaseException, *, is_of_service: bool = False) -> str:
    """One line for an exception that is not livedb's: what it is, and where it was raised.

    Args:
        is_of_service: it was raised there; what is known of the place is in its notes.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    if is_of_service:
        where = "".join(f" ({each})" for each in getattr(error, "__notes__", ()))
    text = str(error)
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"
