"""`import livedb` is light: what is heavy loads when it is first needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "IPython",
    "anywidget",
    "duckdb",
    "httpx",
    "ipywidgets",
    "joserfc",
    "numpy",
    "obstore",
    "pandas",
    "polars",
    "pyarrow",
    "rich",
    "sqlglot",
    "starlette",
    "traitlets",
    "typer",
    "watchfiles",
)


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statement`."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_livedb_loads_nothing_heavy():
    assert loaded_after("import livedb").isdisjoint(HEAVY)


def test_the_help_of_the_command_line_loads_nothing_heavy():
    heavy = set(HEAVY) - {"rich", "typer"}
    assert loaded_after("import livedb.cli.main").isdisjoint(heavy)


def test_what_serves_in_the_background_loads_no_frame_library_and_no_client():
    """They would take most of the time until it serves, and most workspaces never need them."""
    heavy = {"IPython", "httpx", "ipywidgets", "pandas", "polars", "rich", "typer"}
    assert loaded_after("import livedb.sharing.__main__").isdisjoint(heavy)


def test_the_public_names_that_annotate_a_function_load_nothing_heavy():
    names = "UNSET, Id, Int64, Missing, MutationContext, QueryContext, v, mutation, query"
    assert loaded_after(f"from livedb import {names}").isdisjoint(HEAVY)


def test_the_extension_of_a_jupyter_server_loads_no_engine():
    modules = "livedb.jupyter.extension, livedb.jupyter.handlers, livedb.sharing.background"
    heavy = set(HEAVY) - {"traitlets"}
    assert loaded_after(f"import {modules}").isdisjoint(heavy)


@pytest.mark.parametrize("name", ["duckdb", "pandas", "pyarrow", "ipywidgets", "traitlets"])
def test_the_probe_sees_what_is_loaded(name):
    assert name in loaded_after(f"import {name}")
