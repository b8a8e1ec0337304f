"""mypy --strict and pyright read the notebook API: silent on cells, exact about mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def checked(path, *command):
    """Run a checker where users do: outside the checkout, whose livedb is found as installed.

    A path in PYTHONPATH counts as a folder of installed packages, so types are read only if the
    package says that it has them (`py.typed`), and no settings of ours apply.
    """
    done = subprocess.run(
        [sys.executable, "-m", *command, str(path)],
        cwd=path.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy_errors(path):
    """The lines of `path` that mypy finds wrong, with what it says."""
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'outside'}"
    options = ("--strict", "--no-error-summary", "--hide-error-context")
    said = checked(path, "mypy", cache, *options)
    found = re.findall(rf"^.*{path.name}:(\d+):(?:\d+:)? error: (.*)$", said, re.MULTILINE)
    return [(int(line), text) for line, text in found]


def pyright_errors(path):
    """The same for pyright, warnings of its strict mode included."""
    report = json.loads(checked(path, "pyright", "--outputjson"))
    return [
        (one["range"]["start"]["line"] + 1, one["message"])
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    ]


CHECKERS = [mypy_errors, pyright_errors]


@pytest.mark.parametrize("errors_of", CHECKERS)
def test_cells_as_users_write_them_are_clean(errors_of, tmp_path):
    assert errors_of(shutil.copy(HERE / "cells.py", tmp_path / "cells.py")) == []


@pytest.mark.parametrize("errors_of", CHECKERS)
def test_every_mistake_is_found_and_nothing_else(errors_of, tmp_path):
    path = shutil.copy(HERE / "mistakes.py.txt", tmp_path / "mistakes.py")
    lines = path.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    found = errors_of(path)
    assert {line for line, _ in found} == marked, found
