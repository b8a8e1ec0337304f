"""The floors of the layout, and who alone may import what, hold."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},  # else an installed livedb would be read instead
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_import_obeys_the_contracts():
    done = lint_imports(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module,statement,contract",
    [
        ("keys/planted.py", "from livedb.transactions import committer", "floors"),
        ("planted.py", "import math", "floors"),
        ("transactions/planted.py", "import duckdb", "duckdb only in"),
        ("functions/planted.py", "import sqlite3", "sqlite3 only in"),
        ("transactions/planted.py", "import livedb.store.tables", "transactions and functions"),
        ("live/planted.py", "import pandas", "pandas and polars only in"),
        ("protocol/planted.py", "from joserfc import jwk", "joserfc only in"),
        ("auth/planted.py", "from livedb.functions import runner", "auth knows no functions"),
        ("client/planted.py", "import typer", "typer, rich and watchfiles only in"),
        ("client/planted.py", "import anywidget", "widgets and IPython only in"),
        ("sharing/planted.py", "import tornado", "Jupyter's server only in"),
        ("jupyter/planted.py", "import livedb.workspace", "jupyter opens no workspace"),
    ],
)
def test_a_planted_import_is_caught(tmp_path, module, statement, contract):
    """Without this the contracts could be empty and nobody would know."""
    for source in (REPOSITORY / "livedb").rglob("*.py"):
        copy = tmp_path / source.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())
    planted = tmp_path / "livedb" / module
    planted.write_text(statement + "\n")

    done = lint_imports(tmp_path)

    assert done.returncode != 0
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert any(line.startswith(contract) for line in broken), done.stdout


def test_every_package_that_the_floors_name_exists():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    floors = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    names = {name for floor in floors for name in floor.replace("|", " ").replace(":", " ").split()}
    there = {path.stem for path in (REPOSITORY / "livedb").iterdir()}
    needed = {name for name in names if not name.startswith("(")}  # those in () may be absent
    assert needed - there == set()
